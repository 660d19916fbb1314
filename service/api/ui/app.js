// Show one page at a time, and keep the key that all pages use.

import { call, key } from "./api.js";
import { start as compare } from "./compare.js";
import { byId } from "./elements.js";
import { start as enroll } from "./enroll.js";
import { start as gallery } from "./gallery.js";
import { start as live } from "./live.js";
import { start as points } from "./points.js";

const pages = Object.fromEntries(
  Object.entries({ compare, enroll, live, gallery, points }).map(([name, start]) => [name, start()]));
let shown = null;

function go(focus) {
  const name = location.hash.slice(1) || "compare";
  if (!(name in pages) || name === shown) return;
  if (shown) pages[shown].leave?.();
  shown = name;
  for (const each of Object.keys(pages)) byId(each).hidden = each !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const title = byId(`${name}-title`);
  document.title = `${title.textContent} - Likeness`;
  if (focus) title.focus();
  pages[name].enter?.();
}

function showKeyStatus(text) {
  byId("key-status").textContent = text;
  byId("key-forget").hidden = !key.get();
}

async function checkKey() {
  try {
    await call("GET", "model");
    showKeyStatus("This key is valid.");
    byId("key-field").value = "";
    pages[shown].enter?.();
  } catch (problem) {
    showKeyStatus(problem.detail);
  }
}

byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const value = byId("key-field").value.trim();
  if (!value) return;
  key.set(value);
  checkKey();
});
byId("key-forget").addEventListener("click", () => {
  key.forget();
  showKeyStatus("The key is forgotten.");
  byId("key-field").focus();
});
document.addEventListener("key-refused", (event) => {
  showKeyStatus(event.detail.detail);
  byId("key").open = true;
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("main").focus();
});
window.addEventListener("hashchange", () => go(true));
showKeyStatus(key.get() ? "This tab uses a key." : "");
go(false);
