// The REST API of `diptych serve` as the backend of the playground.

import { button, element, FieldError, newId } from "./dom.js";

// An error of a request: what is wrong, and the field that it is about.
export class Problem extends Error {
  constructor(detail, field = "", retryAfter = 0) {
    super(detail);
    Object.assign(this, { field, retryAfter });
  }
}

let token = tokenOfAddress() ?? sessionStorage.getItem("diptych-token") ?? "";
let asked = null; // the promise of a token while its dialog is open

// Takes the token out of the address, so that a shared address does not have it.
function tokenOfAddress() {
  const settings = new URLSearchParams(location.hash.slice(1));
  const given = settings.get("token");
  if (given === null) return null;
  settings.delete("token");
  history.replaceState(null, "", `${location.pathname}#${settings}`);
  sessionStorage.setItem("diptych-token", given);
  return given;
}

async function request(path, options = {}) {
  const used = token;
  let response;
  try {
    response = await fetch(path, { ...options, headers: { ...(used && { Authorization: `Bearer ${used}` }), ...options.headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server cannot be reached. Is it running?");
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  if (response.status === 401) {
    if (token === used) token = await (asked ??= askToken(used ? "This is not the token of the server." : ""));
    asked = null;
    return request(path, options);
  }
  throw new Problem(problem.detail ?? `The server answered with ${response.status}.`, problem.field, Number(response.headers.get("Retry-After")));
}

function askToken(reason) {
  return new Promise((done) => {
    const input = element("input", { type: "password", id: newId("token"), autocomplete: "off", required: true });
    const error = new FieldError(input);
    error.show(reason);
    const dialog = element("dialog", { "aria-labelledby": "token-title" }, element("form", {
      onsubmit: (event) => {
        event.preventDefault();
        sessionStorage.setItem("diptych-token", input.value);
        dialog.remove();
        done(input.value);
      },
    }, element("h2", { id: "token-title", textContent: "This server needs its token" }),
    element("label", { htmlFor: input.id, textContent: "Token" }), input, error.node,
    button("Open", undefined, { type: "submit", className: "primary" })));
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    document.body.append(dialog);
    dialog.showModal();
  });
}

const addressOf = (model, action) => `/v1/models/${encodeURIComponent(model.name)}/${action}`;

export const models = async () => (await (await request("/v1/models")).json()).models;

export const example = async (address) => (await request(address)).blob();

// Returns the translation of `input.image`, or a generated image, as a Blob.
export async function translate(model, { image, values, images, number, seed }, format, signal) {
  if (!model.translates) {
    const body = JSON.stringify({ number, seed, controls: values, format });
    const headers = { "Content-Type": "application/json" };
    return (await request(addressOf(model, "sample"), { method: "POST", headers, body, signal })).blob();
  }
  const form = new FormData();
  form.append("image", image, "image");
  for (const [name, value] of Object.entries(values)) form.append(name, value);
  for (const [name, file] of Object.entries(images)) form.append(name, file, name);
  form.append("format", format);
  return (await request(addressOf(model, "translate"), { method: "POST", body: form, signal })).blob();
}

const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

// Returns the same request as a curl command, with file names to replace.
export function command(model, { values, images, number, seed }, format) {
  const parts = ["curl", "--fail-with-body"];
  if (token) parts.push('-H "Authorization: Bearer $DIPTYCH_TOKEN"');
  if (model.translates) {
    parts.push("-F image=@input.png");
    for (const [name, value] of Object.entries(values)) parts.push(`--form-string ${quoted(`${name}=${value}`)}`);
    for (const name of Object.keys(images)) parts.push(`-F ${quoted(`${name}=@${name}.png`)}`);
    if (format !== "png") parts.push(`-F format=${format}`);
  } else {
    parts.push(`--json ${quoted(JSON.stringify({ number, seed, controls: values, format }))}`);
  }
  parts.push(`-o output.${format}`, quoted(location.origin + addressOf(model, model.translates ? "translate" : "sample")));
  return parts.join(" ");
}
