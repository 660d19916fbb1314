// Two photos, one decision, and the evidence for it.

import { call, multipart } from "./api.js";
import { byId, element, facts, interval, percent, problemBox } from "./elements.js";
import { pasteInto, PhotoField } from "./photos.js";
import { model } from "./points.js";

const FIELDS = ["source_image", "target_image"];
const WORDS = { match: "Match", no_match: "No match", inconclusive: "Inconclusive" };

export function start() {
  const form = byId("compare-form");
  const result = byId("compare-result");
  const fields = [...form.querySelectorAll(".photo")].map((host) => new PhotoField(host));
  pasteInto(byId("compare"), fields);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const missing = fields.find((field) => !field.photos.length);
    if (missing) {
      result.replaceChildren(`Choose a photo: ${missing.name.toLowerCase()}.`);
      missing.file.focus();
      return;
    }
    await compare(fields, result);
  });
  return {
    enter: fillPoints,
    leave: () => fields.forEach((field) => field.closeCamera()),
  };
}

async function compare(fields, result) {
  result.replaceChildren("Comparing…");
  fields.forEach((field) => field.acquit());
  const [source_image, target_image] = fields.map((field) => field.photos[0]);
  const operating_point = byId("compare-point").value;
  try {
    const answer = await call("POST", "verify", {
      form: multipart({ source_image, target_image, operating_point }),
    });
    await Promise.all(fields.map((field, at) => field.show([answer.faces[at]])));
    result.replaceChildren(decisionHeading(answer.decision), ...evidence(answer, fields));
  } catch (problem) {
    const blamed = fields.filter((_, at) => problem.photos?.includes(FIELDS[at]));
    blamed.forEach((field) => field.blame(0, problem));
    const names = blamed.map((field) => `${field.name}: ${problem.detail}`);
    result.replaceChildren(...(names.length ? names : [problemBox(problem)]));
  }
}

export function decisionHeading(decision) {
  return element("p", { class: `decision ${decision}` }, WORDS[decision]);
}

export function evidence(answer, fields = []) {
  const point = answer.operating_point;
  return [
    element("p", {}, answer.explanation),
    facts([
      ["Similarity", answer.similarity.toFixed(4)],
      ["Cosine", answer.cosine.toFixed(4)],
      ["Match from", answer.threshold.toFixed(4)],
      ["No match below", answer.floor.toFixed(4)],
      ["Probability, at even odds", answer.probability && percent(answer.probability)],
      ["Strangers who match (FMR)", point && interval(point.fmr)],
      ["Own photos that do not (FNMR)", point && interval(point.fnmr)],
      ["Templates, taken together", answer.subject ? String(answer.comparisons) : null],
      ["Rates measured on", answer.evidence.data],
      ["Outside the evidence", answer.doubts.map((doubt) => doubt.replace("_", " ")).join(", ") || null],
      ["Liveness", answer.liveness === "passed" ? "passed" : "not checked"],
    ]),
    ...advice(answer.faces, fields),
  ];
}

function advice(faces, fields) {
  const lines = faces.flatMap((face, at) =>
    face.quality.issues.map((issue) => `${fields[at]?.name ?? "Photo"}: ${issue.advice}`));
  if (!lines.length) return [];
  return [
    element("p", {}, "What would make the next photo better:"),
    element("ul", {}, lines.map((line) => element("li", {}, line))),
  ];
}

async function fillPoints() {
  const choice = byId("compare-point");
  const card = await model().catch(() => null);
  // Such as without a key: there is no list yet, and the service's default is right anyway.
  if (!card) return;
  const kept = choice.value;
  choice.replaceChildren(
    element("option", { value: "" }, `the default (${card.default_operating_point ?? "as the bundle says"})`),
    ...card.operating_points.map((point) =>
      element("option", { value: point.name },
        `${point.name}: ${percent(point.fmr.value)} of strangers match`)));
  choice.value = kept;
}
