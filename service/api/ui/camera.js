// The camera, where the browser has one and the page may use it.

import { Problem } from "./api.js";

const WIDTH = 1280;

// Fills a video element with the camera's picture, and gives what ends it.
export async function openCamera(video) {
  if (!navigator.mediaDevices) {
    throw new Problem({
      code: "no_camera",
      detail: "This page may not use a camera.",
      advice: "Browsers give a camera to pages over https and on localhost only.",
    });
  }
  const stream = await ask();
  video.srcObject = stream;
  await video.play();
  return () => {
    stream.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
  };
}

async function ask() {
  try {
    return await navigator.mediaDevices.getUserMedia({
      video: { facingMode: "user", width: { ideal: WIDTH } },
    });
  } catch (error) {
    throw new Problem({
      code: "no_camera",
      detail: error.name === "NotAllowedError" ? "The camera was not allowed." : "No camera was found.",
      advice: "Allow the camera for this page, or use photos from files.",
    });
  }
}

// The picture as the camera sees it, not mirrored: the service gets what others see.
export function grab(video) {
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
}
