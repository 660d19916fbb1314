// A field for photos from files, by drop or paste, or from the camera.

import { grab, openCamera } from "./camera.js";
import { element, problemBox } from "./elements.js";
import { describeFace, drawPhoto } from "./faces.js";

export class PhotoField {
  constructor(host) {
    this.name = host.dataset.photo;
    this.many = "many" in host.dataset;
    this.photos = [];
    this.problems = new Map();
    this.host = host;
    this.build();
  }

  build() {
    const id = `file-${this.name.toLowerCase().replaceAll(" ", "-")}`;
    this.file = element("input", {
      id, type: "file", accept: "image/*,.heic,.heif,.avif", multiple: this.many,
      onchange: () => this.take(this.file.files),
    });
    this.camera = element("button", { type: "button", onclick: () => this.toggleCamera() },
      "Use the camera");
    this.shoot = element("button", { type: "button", hidden: true, onclick: () => this.takePhoto() },
      "Take the photo");
    this.video = element("video", { "aria-label": "The camera", muted: true, playsinline: true, hidden: true });
    this.list = element("ul", { class: "shots" });
    this.status = element("div", { role: "status" });
    this.host.setAttribute("role", "group");
    this.host.setAttribute("aria-label", this.name);
    this.host.append(
      element("label", { for: id }, this.name),
      this.file,
      element("p", { class: "note" }, "You can also drop or paste a photo here, or"),
      element("div", { class: "row" }, this.camera, this.shoot),
      this.video, this.list, this.status,
    );
    this.listen();
  }

  listen() {
    this.host.addEventListener("dragover", (event) => {
      event.preventDefault();
      this.host.classList.add("over");
    });
    this.host.addEventListener("dragleave", () => this.host.classList.remove("over"));
    this.host.addEventListener("drop", (event) => {
      event.preventDefault();
      this.host.classList.remove("over");
      this.take(event.dataTransfer.files);
    });
  }

  take(files) {
    const given = [...files];
    if (!given.length) return;
    this.photos = this.many ? [...this.photos, ...given] : given.slice(0, 1);
    this.status.replaceChildren();
    this.clearProblems();
    this.show();
  }

  clear() {
    this.photos = [];
    this.clearProblems();
    this.show();
  }

  async show(faces = []) {
    const turn = (this.turn = (this.turn ?? 0) + 1);
    const shown = await Promise.all(this.photos.map((photo, at) => this.item(photo, at, faces[at])));
    // A large photo may be ready after a call that came later.
    if (turn === this.turn) this.list.replaceChildren(...shown);
  }

  async item(photo, at, face) {
    const name = photo.name ?? "photo";
    const label = face ? `${name}: ${describeFace(face)}` : name;
    const canvas = element("canvas", { role: "img", "aria-label": label });
    const readable = await drawPhoto(canvas, photo, face ?? null);
    return element("li", {},
      readable || face ? canvas : null,
      element("p", { class: "note" }, name,
        readable ? null : " (this browser cannot show the photo, but the service may be able to read it)"),
      element("button", { type: "button", onclick: () => this.remove(at) }, `Remove ${name}`),
      this.problems.has(at) ? problemBox(this.problems.get(at)) : null);
  }

  // Also remember the problem: a large photo may be shown after its problem is known.
  showProblem(at, problem) {
    this.problems.set(at, problem);
    this.list.children[at]?.append(problemBox(problem));
  }

  clearProblems() {
    this.problems.clear();
    for (const box of this.list.querySelectorAll(".problem")) box.remove();
  }

  remove(at) {
    this.photos.splice(at, 1);
    this.clearProblems();
    // Allow the user to choose the same file again.
    this.file.value = "";
    this.show();
    this.file.focus();
  }

  async toggleCamera() {
    if (this.close) {
      this.closeCamera();
      return;
    }
    this.status.replaceChildren();
    try {
      this.close = await openCamera(this.video);
    } catch (problem) {
      this.status.replaceChildren(problemBox(problem));
      return;
    }
    this.video.hidden = this.shoot.hidden = false;
    this.camera.textContent = "Close the camera";
    this.shoot.focus();
  }

  closeCamera() {
    this.close?.();
    this.close = null;
    this.video.hidden = this.shoot.hidden = true;
    this.camera.textContent = "Use the camera";
  }

  async takePhoto() {
    const photo = await grab(this.video);
    photo.name = `camera ${this.photos.length + 1}`;
    this.take([photo]);
    if (!this.many) {
      this.closeCamera();
      this.camera.focus();
    }
  }
}

// Put pasted photos into the first field of the page that is empty or takes several photos.
export function pasteInto(section, fields) {
  document.addEventListener("paste", (event) => {
    const files = event.clipboardData?.files ?? [];
    if (section.hidden || !files.length) return;
    event.preventDefault();
    (fields.find((field) => field.many || !field.photos.length) ?? fields.at(-1)).take(files);
  });
}
