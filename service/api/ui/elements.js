// Build elements from text, never from markup, so that an answer of the API stays text.

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

// Build a table that scrolls if it is wider than the page, by keyboard too.
export function table(caption, head, rows) {
  const cells = (tag, row) => row.map((cell) => element(tag, tag === "th" ? { scope: "col" } : {}, cell));
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    element("table", {},
      element("caption", {}, caption),
      element("thead", {}, element("tr", {}, cells("th", head))),
      element("tbody", {}, rows.map((row) => element("tr", {}, cells("td", row))))));
}

export function facts(pairs) {
  return element("dl", { class: "facts" },
    pairs.filter(([, value]) => value !== null && value !== undefined)
      .map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}

export function problemBox(problem, kind = "problem") {
  return element("div", { class: kind },
    element("p", {}, element("strong", {}, (kind === "warning" ? "Warning: " : "") + problem.detail)),
    problem.advice ? element("p", { class: "advice" }, problem.advice) : null,
    listed(problem),
    element("p", { class: "note" }, `Code ${problem.code}`));
}

// List the wrong fields. A bad photo has the sentence itself beside it.
function listed(problem) {
  const errors = (problem.errors ?? []).filter((each) => each.message !== problem.detail);
  if (!errors.length) return null;
  return element("ul", {}, errors.map((each) => element("li", {}, `${each.field}: ${each.message}`)));
}

export function percent(rate) {
  if (rate === 0) return "0 %";
  // Show two significant digits, however small the rate is. Number drops the exponent.
  return `${Number((100 * rate).toPrecision(rate >= 0.1 ? 3 : 2))} %`;
}

export function interval(rate) {
  return `${percent(rate.value)} (${percent(rate.low)} to ${percent(rate.high)})`;
}

export function moment(text) {
  return new Date(text).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

export const byId = (id) => document.getElementById(id);
