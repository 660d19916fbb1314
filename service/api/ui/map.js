// Draw the gallery as a map: similar templates lie together.

import { call } from "./api.js";
import { element, problemBox, table } from "./elements.js";

const WIDTH = 720;
const HEIGHT = 480;
const MARGIN = 24;
const NAMED = 12;

export async function showMap(host, after = null) {
  host.replaceChildren(element("p", { role: "status" }, "Drawing…"));
  try {
    const map = await call("GET", "map", { query: after ? { after } : {} });
    const people = bySubject(map.points);
    const canvas = element("canvas", {
      role: "img", width: WIDTH, height: HEIGHT, class: "map", hidden: !people.size,
      "aria-label": "Templates as dots, one colour for each subject. The table below says which subjects are nearest to each other",
    });
    host.replaceChildren(...describe(map, people, canvas, host));
    // Draw only now: the canvas takes its colours and font from the page that it is in.
    draw(canvas, people);
    host.querySelector("h2").focus();
  } catch (problem) {
    host.replaceChildren(problemBox(problem));
  }
}

function describe(map, people, canvas, host) {
  const title = element("h2", { tabindex: "-1" },
    `Map: ${map.points.length} templates of ${people.size} subjects`);
  if (!people.size) return [title, canvas];
  return [
    title,
    element("p", {}, "Similar templates lie together. Long distances on the map have no meaning. ",
      `The templates are placed by ${map.method}. `,
      map.complete ? null : "Similar ones may be too far apart, because scikit-learn is not installed. ",
      map.others ? `${map.others} templates of other bundles are not shown.` : null),
    canvas,
    table("Subjects on the map", ["Subject", "Templates", "Nearest other subject"],
      [...people].map(([name, places]) => [name, String(places.length), nearest(name, people)])),
    map.next
      ? element("button", { type: "button", onclick: () => showMap(host, map.next) }, "Map the next templates")
      : null,
  ].filter(Boolean);
}

function bySubject(points) {
  const people = new Map();
  for (const point of points) people.set(point.subject, [...(people.get(point.subject) ?? []), point]);
  return people;
}

function centre(places) {
  const mean = (side) => places.reduce((sum, place) => sum + place[side], 0) / places.length;
  return { x: mean("x"), y: mean("y") };
}

function nearest(name, people) {
  const own = centre(people.get(name));
  const others = [...people].filter(([other]) => other !== name)
    .map(([other, places]) => {
      const there = centre(places);
      return [other, Math.hypot(there.x - own.x, there.y - own.y)];
    });
  return others.sort((a, b) => a[1] - b[1])[0]?.[0] ?? "none";
}

function draw(canvas, people) {
  const ink = canvas.getContext("2d");
  const style = getComputedStyle(canvas);
  const lightness = matchMedia("(prefers-color-scheme: dark)").matches ? 65 : 38;
  const points = [...people.values()].flat();
  const [across, down] = fit(points);
  [...people].forEach(([name, places], number) => {
    // The golden angle gives neighbours in the list different colours.
    ink.fillStyle = `hsl(${(number * 137.5) % 360} 65% ${lightness}%)`;
    for (const place of places) {
      ink.beginPath();
      ink.arc(across(place.x), down(place.y), 5, 0, 2 * Math.PI);
      ink.fill();
    }
    if (number >= NAMED) return;
    const middle = centre(places);
    ink.fillStyle = style.color;
    ink.font = `13px ${style.fontFamily}`;
    ink.textAlign = across(middle.x) > WIDTH / 2 ? "right" : "left";
    ink.fillText(name, across(middle.x) + (ink.textAlign === "left" ? 9 : -9), down(middle.y) + 4);
  });
}

// Use one scale in both directions, so that distances are not distorted.
function fit(points) {
  const ranges = ["x", "y"].map((side) => points.map((point) => point[side]))
    .map((values) => [Math.min(...values), Math.max(...values)]);
  const lengths = [WIDTH, HEIGHT];
  const scale = Math.min(...ranges.map(([low, high], way) => (lengths[way] - 2 * MARGIN) / (high - low || 1)));
  return ranges.map(([low, high], way) =>
    (value) => lengths[way] / 2 + (value - (low + high) / 2) * scale);
}
