// List the enrolled subjects by page; show, rename and delete one subject.

import { call } from "./api.js";
import { byId, element, facts, moment, problemBox, table } from "./elements.js";
import { showMap } from "./map.js";

const PAGE = 20;

export function start() {
  const gallery = new Gallery();
  byId("gallery-first").addEventListener("click", () => gallery.list());
  byId("gallery-next").addEventListener("click", () => gallery.list(gallery.next));
  byId("map-draw").addEventListener("click", () => showMap(byId("map")));
  return { enter: () => gallery.list() };
}

class Gallery {
  next = null;
  after = null;

  async list(after = null) {
    const status = byId("gallery-status");
    this.after = after;
    try {
      const page = await call("GET", "subjects", { query: { limit: PAGE, ...(after ? { after } : {}) } });
      this.next = page.next;
      byId("gallery-next").disabled = !page.next;
      status.textContent = page.items.length
        ? `${page.items.length} subjects${page.next ? ", and more on the next page" : ""}`
        : "No person is enrolled.";
      byId("gallery-list").replaceChildren(...(page.items.length ? [this.table(page.items)] : []));
    } catch (problem) {
      byId("gallery-list").replaceChildren(problemBox(problem));
      status.textContent = "";
    }
  }

  table(items) {
    return table("Subjects", ["Subject", "Templates", "Enrolled", "Purpose"], items.map((item) => [
      element("button", { type: "button", class: "link", onclick: () => this.look(item.subject) }, item.subject),
      String(item.templates),
      moment(item.created_at),
      item.terms.purpose ?? "",
    ]));
  }

  async look(subject) {
    const detail = byId("gallery-detail");
    if (isFolder(subject)) {
      detail.replaceChildren(
        element("h2", { tabindex: "-1" }, subject),
        element("p", {}, "A browser reads this name as a folder, so this page cannot open it. The service no longer accepts such names."),
        this.removal(subject));
      detail.querySelector("h2").focus();
      return;
    }
    try {
      detail.replaceChildren(...this.describe(await call("GET", pathOf(subject))));
      detail.querySelector("h2").focus();
    } catch (problem) {
      detail.replaceChildren(problemBox(problem));
    }
  }

  describe(subject) {
    const notes = Object.entries(subject.metadata).map(([name, value]) => `${name}: ${value}`);
    return [
      element("h2", { tabindex: "-1" }, subject.subject),
      facts([
        ["Enrolled", moment(subject.created_at)],
        ["Consent", subject.terms.consent],
        ["Purpose", subject.terms.purpose],
        ["Notes", notes.join(", ") || null],
      ]),
      table("Templates", ["Template", "Enrolled", "Erased after", "Face, pixels", ""],
        subject.templates.map((template) => [
          template.template_id,
          moment(template.created_at),
          template.expires_at ? moment(template.expires_at) : "never",
          String(Math.round(template.quality.face_px ?? 0) || ""),
          element("button", {
            type: "button", "aria-label": `Delete template ${template.template_id}`,
            onclick: () => this.remove(subject.subject, template.template_id),
          }, "Delete"),
        ])),
      this.naming(subject.subject),
      this.removal(subject.subject),
    ];
  }

  removal(subject) {
    return element("button", { type: "button", class: "danger", onclick: () => this.remove(subject) },
      `Delete ${subject}`);
  }

  naming(subject) {
    const name = element("input", {
      id: "gallery-name", required: true, maxlength: 256, autocomplete: "off", value: subject,
    });
    const refused = element("div", { role: "status" });
    const form = element("form", {},
      element("label", { for: "gallery-name" }, "Name of the subject"),
      element("div", { class: "row" }, name, element("button", {}, "Rename")),
      refused);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const to = name.value;
      if (to === subject) return;
      try {
        await call("POST", `${pathOf(subject)}/rename`, { json: { to } });
      } catch (problem) {
        refused.replaceChildren(problemBox(problem));
        return;
      }
      await this.list(this.after);
      await this.look(to);
    });
    return form;
  }

  async remove(subject, template = null) {
    const what = template ? `template ${template} of ${subject}` : `${subject} with all templates`;
    if (!(await confirmed(`This erases ${what}. It cannot be undone.`))) return;
    const detail = byId("gallery-detail");
    try {
      // The id is in the query: in a path, a browser would read some ids as another path.
      const deleted = template
        ? await call("DELETE", `${pathOf(subject)}/templates`, { query: { template_id: template } })
        : await call("DELETE", "subjects", { query: { subject } });
      detail.replaceChildren(...receipt(what, deleted));
      detail.querySelector("h2").focus();
      await this.list(this.after);
    } catch (problem) {
      detail.replaceChildren(problemBox(problem));
    }
  }
}

function receipt(what, deleted) {
  const entry = deleted.receipt;
  return [
    element("h2", { tabindex: "-1" }, `Erased: ${what}`),
    facts([
      ["Subjects", String(deleted.subjects)],
      ["Templates", String(deleted.templates)],
      ["At", moment(entry.at)],
      ["Receipt", `${entry.number}:${entry.digest}`],
    ]),
    element("p", { class: "note" }, "Keep the receipt: `likeness audit verify --receipt` checks the audit log against it."),
  ];
}

// Make a new dialog for each question. The event `close` comes after the dialog is closed, so a
// dialog that is used again at once would take the first answer for the second question.
function confirmed(text) {
  const dialog = byId("gallery-confirm").content.firstElementChild.cloneNode(true);
  dialog.querySelector("p").textContent = text;
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      // The key Escape sets no value.
      resolve(dialog.returnValue === "yes");
    });
  });
}

const isFolder = (name) => name === "." || name === "..";

const pathOf = (subject) => `subjects/${encodeURIComponent(subject)}`;
