// Compare two photos, and show the decision with its evidence.

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
  fields.forEach((field) => field.clearProblems());
  const [source_image, target_image] = fields.map((field) => field.photos[0]);
  const operating_point = byId("compare-point").value;
  try {
    const answer = await call("POST", "verify", {
      form: multipart({ source_image, target_image, operating_point }),
    });
    await Promise.all(fields.map((field, at) => field.show([answer.faces[at]])));
    result.replaceChildren(decisionHeading(answer.decision), ...evidence(answer, fields));
  } catch (problem) {
    const atFault = fields.filter((_, at) => problem.photos?.includes(FIELDS[at]));
    atFault.forEach((field) => field.showProblem(0, problem));
    const names = atFault.map((field) => `${field.name}: ${problem.detail}`);
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
      ["Probability, if both were equally likely before", answer.probability && percent(answer.probability)],
      ["Different people who match (FMR)", point && interval(point.fmr)],
      ["Same person who does not match (FNMR)", point && interval(point.fnmr)],
      ["Templates, fused into one", answer.subject ? String(answer.comparisons) : null],
      ["Error rates measured on", answer.evidence.data],
      ["Error rates do not hold because of", answer.doubts.map((doubt) => doubt.replace("_", " ")).join(", ") || null],
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
    element("p", {}, "The next photo will be better if you follow this advice:"),
    element("ul", {}, lines.map((line) => element("li", {}, line))),
  ];
}

async function fillPoints() {
  const choice = byId("compare-point");
  const card = await model().catch(() => null);
  // Without a key, for example: there is no list yet, and the default is right anyway.
  if (!card) return;
  const kept = choice.value;
  choice.replaceChildren(
    element("option", { value: "" }, `the default (${card.default_operating_point ?? "as the bundle says"})`),
    ...card.operating_points.map((point) =>
      element("option", { value: point.name },
        `${point.name}: ${percent(point.fmr.value)} of different people match`)));
  choice.value = kept;
}
