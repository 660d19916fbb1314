// Use the camera, if the browser has one and the page may use it.

import { Problem } from "./api.js";

const WIDTH = 1280;

// Show the camera's picture in a video element, and return a function that closes the camera.
export async function openCamera(video) {
  if (!navigator.mediaDevices) {
    throw new Problem({
      code: "no_camera",
      detail: "This page may not use a camera.",
      advice: "Browsers give a camera only to pages over https and on localhost.",
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
      detail: error.name === "NotAllowedError" ? "The browser did not allow the camera." : "No camera was found.",
      advice: "Allow the camera for this page, or use photos from files.",
    });
  }
}

// Take the picture as the camera sees it, not mirrored.
export function grab(video) {
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
}
