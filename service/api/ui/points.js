// Show both measured error rates at every threshold of the curve.

import { call } from "./api.js";
import { Curve } from "./curve.js";
import { byId, element, facts, interval, percent, problemBox, table } from "./elements.js";

export const model = () => call("GET", "model");

export function start() {
  return { enter: show };
}

async function show() {
  try {
    const card = await model();
    byId("points-about").textContent = about(card);
    byId("points-curve").replaceChildren(...(card.curve ? slider(card) : []));
    byId("points-table").replaceChildren(...pointsTable(card));
  } catch (problem) {
    byId("points-about").replaceChildren();
    byId("points-curve").replaceChildren(problemBox(problem));
  }
}

function about(card) {
  const measured = card.calibrated_on ? `Measured on ${card.calibrated_on}.` : "Its error rates were not measured.";
  return `Bundle ${card.name}. ${measured} Not good for: ${card.not_good_for}.`;
}

function slider(card) {
  const curve = card.curve;
  const drawn = new Curve(curve);
  const default_ = card.operating_points.find((point) => point.name === card.default_operating_point);
  const range = element("input", {
    id: "points-slider", type: "range", min: 0, max: curve.thresholds.length - 1, step: 1,
    value: nearest(curve.thresholds, default_?.threshold),
  });
  const figures = element("div", { id: "points-figures" });
  const update = () => {
    const at = Number(range.value);
    drawn.mark(at);
    range.setAttribute("aria-valuetext", spoken(curve, at));
    figures.replaceChildren(...numbers(curve, at));
  };
  range.addEventListener("input", update);
  update();
  return [
    drawn.picture,
    element("label", { for: "points-slider" }, "Threshold"),
    range,
    figures,
  ];
}

function nearest(thresholds, wanted = thresholds[Math.floor(thresholds.length / 2)]) {
  const distances = thresholds.map((threshold) => Math.abs(threshold - wanted));
  return distances.indexOf(Math.min(...distances));
}

function numbers(curve, at) {
  return [
    facts([
      ["Threshold", curve.thresholds[at].toFixed(4)],
      ["Different people who match (FMR)", figure(curve.fmr[at], curve.impostor_pairs, curve.errors_wanted)],
      ["Same person who does not match (FNMR)", figure(curve.fnmr[at], curve.genuine_pairs, curve.errors_wanted)],
    ]),
    element("p", {}, inWords(curve.fmr[at], "comparisons of different people", "match"), " ",
      inWords(curve.fnmr[at], "comparisons of one person", "do not match")),
  ];
}

// Doddington's rule: a rate that rests on fewer errors may be wrong by a third or more.
function figure(rate, pairs, wanted) {
  const errors = Math.round(rate * pairs);
  if (errors >= wanted) return `${percent(rate)}, from ${errors.toLocaleString()} errors`;
  return element("span", { class: "unsupported" },
    `${percent(rate)}, from only ${errors} errors: not supported`);
}

function inWords(rate, of, what) {
  if (rate === 0) return `None of the measured ${of} ${what}.`;
  const scale = Math.max(100, 10 ** Math.ceil(-Math.log10(rate)));
  return `About ${Math.round(rate * scale)} of ${scale.toLocaleString()} ${of} ${what}.`;
}

function spoken(curve, at) {
  return `${curve.thresholds[at].toFixed(4)}: FMR ${percent(curve.fmr[at])}, FNMR ${percent(curve.fnmr[at])}`;
}

function pointsTable(card) {
  if (!card.operating_points.length) {
    return [element("p", {}, "This bundle has no operating points. Send a threshold with each request, or calibrate the bundle with `likeness evaluate`.")];
  }
  const rows = card.operating_points.map((point) => [
    point.name + (point.name === card.default_operating_point ? " (default)" : ""),
    point.threshold.toFixed(4),
    interval(point.fmr),
    interval(point.fnmr),
    point.extrapolated ? "extrapolated from few false matches" : "",
  ]);
  return [table("Operating points", ["Name", "Threshold", "FMR, 95 % interval", "FNMR, 95 % interval", ""], rows)];
}
