// Enrol photos of a person, and show the result of each photo.

import { call, multipart } from "./api.js";
import { byId, element, problemBox } from "./elements.js";
import { pasteInto, PhotoField } from "./photos.js";

const WORDS = { enrolled: "enrolled", already_enrolled: "already enrolled", failed: "not enrolled" };

export function start() {
  const form = byId("enroll-form");
  const result = byId("enroll-result");
  const field = new PhotoField(form.querySelector(".photo"));
  pasteInto(byId("enroll"), [field]);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!field.photos.length) {
      result.replaceChildren("Choose one photo or more.");
      field.file.focus();
      return;
    }
    result.replaceChildren("Enrolling…");
    field.clearProblems();
    try {
      const answer = await call("POST", "enroll", { form: multipart(fieldsOf(field)) });
      await field.show(answer.images.map((image) => image.face));
      for (const image of answer.images) if (image.problem) field.showProblem(image.image, image.problem);
      result.replaceChildren(...report(answer, field.photos));
    } catch (problem) {
      field.photos.forEach((_, at) => {
        if (problem.photos?.includes(`image.${at}`)) field.showProblem(at, problem);
      });
      result.replaceChildren(problemBox(problem));
    }
  });
  return { leave: () => field.closeCamera() };
}

function fieldsOf(field) {
  const day = byId("enroll-expires").value;
  return {
    subject: byId("enroll-subject").value,
    image: field.photos,
    consent: byId("enroll-consent").value,
    purpose: byId("enroll-purpose").value,
    expires_at: day && `${day}T23:59:59Z`,
    accept_quality: byId("enroll-quality").checked,
    accept_inconsistent: byId("enroll-inconsistent").checked,
  };
}

function report(answer, photos) {
  const stored = answer.images.filter((image) => image.status !== "failed").length;
  return [
    element("p", { class: "decision" }, `${answer.subject}: ${stored} of ${answer.images.length} enrolled`),
    element("ul", { class: "report" }, answer.images.map((image) => entry(image, photos))),
  ];
}

function entry(image, photos) {
  const name = photos[image.image]?.name ?? `photo ${image.image + 1}`;
  const near = image.possible_duplicates.map((each) => each.subject);
  return element("li", {},
    element("p", {}, `${name}: ${WORDS[image.status]}`),
    image.problem ? problemBox(image.problem) : null,
    image.warnings.map((warning) => problemBox(warning, "warning")),
    near.length ? element("p", {}, `Resembles: ${near.join(", ")}`) : null);
}
