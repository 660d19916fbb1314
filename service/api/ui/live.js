// Compare the camera's picture with a subject: one request at a time, about one a second.

import { call, multipart } from "./api.js";
import { grab, openCamera } from "./camera.js";
import { decisionHeading, evidence } from "./compare.js";
import { byId, problemBox } from "./elements.js";
import { drawPhoto } from "./faces.js";

const PERIOD_MS = 1000;
// The next picture, or a later one, may not have these problems. All others end the session.
const PASSING = new Set([
  "no_face", "several_faces", "face_too_small", "queue_full", "too_many_requests", "key_busy",
  "deadline_passed",
]);

export function start() {
  const session = new LiveSession();
  byId("live-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (session.running) session.stop();
    else session.run(byId("live-subject").value);
  });
  document.addEventListener("visibilitychange", () => document.hidden && session.stop());
  return { leave: () => session.stop() };
}

class LiveSession {
  running = null;

  async run(subject) {
    const running = new AbortController();
    this.running = running;
    this.press(true);
    byId("live-details").replaceChildren();
    const video = byId("live-video");
    let close = () => {};
    try {
      close = await openCamera(video);
      video.hidden = byId("live-canvas").hidden = false;
      while (!running.signal.aborted) {
        const begun = performance.now();
        await this.look(video, subject, running.signal);
        await pause(PERIOD_MS - (performance.now() - begun), running.signal);
      }
    } catch (problem) {
      if (problem.name !== "AbortError") byId("live-details").replaceChildren(problemBox(problem));
    } finally {
      close();
      video.hidden = true;
      if (this.running === running) this.stop();
    }
  }

  async look(video, subject, signal) {
    const image = await grab(video);
    try {
      const answer = await call("POST", "verify", { form: multipart({ subject, image }), signal });
      await drawPhoto(byId("live-canvas"), image, answer.faces[0]);
      this.say(decisionHeading(answer.decision));
      byId("live-details").replaceChildren(...evidence(answer));
    } catch (problem) {
      if (!PASSING.has(problem.code)) throw problem;
      await drawPhoto(byId("live-canvas"), image);
      this.say(problem.detail);
      byId("live-details").replaceChildren(problem.advice ?? "");
    }
  }

  // Change the text only if it is new: a screen reader would repeat it every second.
  say(content) {
    const place = byId("live-decision");
    const text = content.textContent ?? content;
    if (place.textContent === text) return;
    place.className = content.className ?? "decision";
    place.textContent = text;
  }

  stop() {
    this.running?.abort();
    this.running = null;
    this.press(false);
    this.say("");
  }

  press(on) {
    const button = byId("live-toggle");
    button.setAttribute("aria-pressed", String(on));
    button.textContent = on ? "Stop" : "Start";
  }
}

function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, Math.max(0, ms));
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    }, { once: true });
  });
}
