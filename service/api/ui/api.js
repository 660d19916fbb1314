// Call the public API, with the key of this tab if there is one.

const KEY = "likeness-key";

// Only this tab keeps the key: it is not in the address, and not on the disk after the tab is closed.
export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

export class Problem extends Error {
  constructor({ code, detail, advice, errors, status }) {
    super(detail);
    Object.assign(this, { code, detail, advice, errors, status });
  }

  // The names of the fields that held the bad photos.
  get photos() {
    return this.code === "invalid_request" ? [] : (this.errors ?? []).map((each) => each.field);
  }

  get isAboutKey() {
    return this.status === 401 || this.code === "key_forbidden";
  }
}

export async function call(method, path, { query = {}, form, json, signal } = {}) {
  const words = new URLSearchParams(query).toString();
  const headers = {
    ...(key.get() ? { "x-api-key": key.get() } : {}),
    ...(json ? { "content-type": "application/json" } : {}),
  };
  const body = json ? JSON.stringify(json) : form;
  const answer = await send(path + (words && `?${words}`), { method, headers, body, signal });
  const content = await read(answer);
  if (answer.ok) return content;
  const problem = new Problem({ ...content, status: answer.status });
  if (problem.isAboutKey) document.dispatchEvent(new CustomEvent("key-refused", { detail: problem }));
  throw problem;
}

export function multipart(fields) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== "" && each !== null && each !== undefined && each !== false) form.append(name, each);
    }
  }
  return form;
}

async function send(path, options) {
  try {
    return await fetch(path, { ...options, cache: "no-store", referrerPolicy: "no-referrer" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({
      code: "unreachable",
      detail: "The service did not answer.",
      advice: "Check the connection, and try again.",
    });
  }
}

// A proxy in between may answer with a page of its own.
async function read(answer) {
  try {
    return await answer.json();
  } catch {
    return { code: `http_${answer.status}`, detail: `The answer could not be read (status ${answer.status}).` };
  }
}
