// Draw both error rates over the threshold as SVG, which is sharp at any size.

const WIDEST = 640;
const HEIGHT = 300;
const LEFT = 82;
const RIGHT = 12;
const TOP = 10;
const BOTTOM = 34;
const NAMESPACE = "http://www.w3.org/2000/svg";

export class Curve {
  constructor(curve) {
    this.curve = curve;
    this.least = 10 ** Math.floor(Math.log10(1 / curve.impostor_pairs));
    // On a phone, draw it narrower instead of smaller, so that its text stays readable.
    this.width = Math.min(WIDEST, document.documentElement.clientWidth - 32);
    this.picture = svg("svg", {
      viewBox: `0 0 ${this.width} ${HEIGHT}`, role: "img", class: "curve",
      "aria-label": "FMR falls and FNMR rises with the threshold. The numbers are below",
    });
    this.line = svg("line", { class: "mark", y1: TOP, y2: HEIGHT - BOTTOM });
    this.draw();
  }

  draw() {
    this.axes();
    this.rate("fmr", this.curve.impostor_pairs, "start");
    this.rate("fnmr", this.curve.genuine_pairs, "end");
    this.picture.append(this.line);
  }

  axes() {
    for (let rate = 1; rate > this.least * 0.99; rate /= 10) {
      const y = this.y(rate);
      this.picture.append(
        svg("line", { class: "grid", x1: LEFT, x2: this.width - RIGHT, y1: y, y2: y }),
        text(LEFT - 8, y + 4, `${Number((100 * rate).toPrecision(1))} %`, "end"));
    }
    const last = this.curve.thresholds.length - 1;
    for (const [part, anchor] of [[0, "start"], [0.25, "middle"], [0.5, "middle"], [0.75, "middle"], [1, "end"]]) {
      const at = Math.round(part * last);
      this.picture.append(text(this.x(at), HEIGHT - 12, this.curve.thresholds[at].toFixed(3), anchor));
    }
  }

  // Towards one end of the curve there are fewer errors. Where they are too few, draw it in grey.
  rate(name, pairs, anchor) {
    const rates = this.curve[name];
    const supported = rates.map((rate) => Math.round(rate * pairs) >= this.curve.errors_wanted);
    const joined = rates.map((_, at) => [at - 1, at, at + 1].some((each) => supported[each] === false));
    for (const [shown, kind] of [[supported, name], [joined, "unsupported"]]) {
      const places = rates.flatMap((rate, at) =>
        rate > 0 && shown[at] ? [`${this.x(at)},${this.y(rate)}`] : []);
      this.picture.append(svg("polyline", { class: `rate ${kind}`, points: places.join(" ") }));
    }
    const at = name === "fmr" ? 0 : rates.length - 1;
    this.picture.append(text(this.x(at), this.y(rates[at]) + (name === "fmr" ? -8 : 18), name.toUpperCase(), anchor, name));
  }

  mark(at) {
    this.line.setAttribute("x1", this.x(at));
    this.line.setAttribute("x2", this.x(at));
  }

  x(at) {
    return LEFT + (at / (this.curve.thresholds.length - 1)) * (this.width - LEFT - RIGHT);
  }

  y(rate) {
    const share = Math.log(rate) / Math.log(this.least);
    return TOP + share * (HEIGHT - TOP - BOTTOM);
  }
}

function svg(tag, attributes) {
  const made = document.createElementNS(NAMESPACE, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function text(x, y, words, anchor, kind = "") {
  const made = svg("text", { x, y, "text-anchor": anchor, class: `label ${kind}` });
  made.textContent = words;
  return made;
}
