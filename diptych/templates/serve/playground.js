// The playground of a model: input, controls, translation, and their state in the address.
// A backend has models(), translate(), example(), and perhaps command(), as server.js.

import { Controls } from "./controls.js";
import { element } from "./dom.js";
import { InputCard } from "./input_card.js";
import { LatestRequest } from "./latest_request.js";
import { ResultCard } from "./result_card.js";

const page = document.getElementById("page");
const OWN = ["example", "input", "view"]; // settings of the page beside the controls

export async function startPlayground(backend) {
  try {
    const models = await backend.models();
    const name = decodeURIComponent(/^\/models\/([^/]+)/.exec(location.pathname)?.[1] ?? "");
    const model = name ? models.find((each) => each.name === name) : models.length === 1 ? models[0] : undefined;
    if (model) await new Playground(model, backend, models.length > 1).open();
    else showList(models, name && `There is no model ${name} on this server.`);
  } catch (error) {
    page.replaceChildren(element("main", { className: "message" }, element("h1", { textContent: "The page cannot be shown" }), element("p", { role: "alert", className: "error", textContent: error.message })));
  }
}

const sizeText = ({ image_size: side }) => side && `trained on ${side} × ${side} pixels`;

function showList(models, note) {
  document.title = "Models";
  const items = models.map((model) => element("li", { className: "card" },
    element("a", { href: `/models/${encodeURIComponent(model.name)}`, textContent: model.name }),
    element("p", { className: "help", textContent: [model.method, `${model.translates ? "translates" : "generates"} images`, sizeText(model)].filter(Boolean).join(" · ") })));
  page.replaceChildren(element("header", {}, element("h1", { textContent: "Models" })),
    element("main", {}, note ? element("p", { className: "error", role: "alert", textContent: note }) : undefined, element("ul", { className: "models" }, ...items)));
}

class Playground {
  constructor(model, backend, hasOthers) {
    Object.assign(this, { model, backend, isEditing: true });
    const changed = (isFinal) => this.#changed(isFinal);
    if (model.translates) this.input = new InputCard(model, backend, changed);
    this.controls = new Controls(model.translates ? model : { ...model, controls: [...model.sample_controls, ...model.controls] }, changed);
    this.result = new ResultCard(model, {
      translate: () => this.#translate(true),
      fetch: (format) => this.#fetch(format),
      command: backend.command && (() => backend.command(model, this.#settings(), this.result.format.value)),
      restore: (entry) => this.#restore(entry),
    }, () => this.#writeAddress());
    this.requests = new LatestRequest((request, signal) => this.#send(request, signal), {
      started: () => this.result.showBusy(),
      answered: (blob, request, isFinal, ms) => this.#answered(blob, request, isFinal, ms),
      failed: (error) => this.#showProblem(error),
    });
    this.#build(hasOthers);
  }

  #build(hasOthers) {
    const { model } = this;
    document.title = `${model.name} · Diptych`;
    const links = element("nav", { "aria-label": "Pages" }, hasOthers ? element("a", { href: "/", textContent: "All models" }) : "",
      this.backend.command ? element("a", { href: "/docs", textContent: "REST API" }) : "");
    const header = element("header", {}, element("div", {}, element("h1", { textContent: model.name }),
      element("p", { className: "help", textContent: [model.method, sizeText(model), model.upscale_factor > 1 && `${model.upscale_factor}× upscaling`].filter(Boolean).join(" · ") })), links);
    const hasControls = this.controls.fields.size > 0;
    const controls = element("section", { className: "card settings", "aria-labelledby": "controls-title" }, element("div", { className: "head" }, element("h2", { id: "controls-title", textContent: "Controls" })), this.controls.node);
    const main = element("main", { className: `playground${hasControls ? "" : " plain"}${this.input ? "" : " generator"}` }, this.input?.node, this.result.node, hasControls ? controls : undefined);
    page.replaceChildren(header, main);
    document.addEventListener("paste", (event) => this.#paste(event));
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      this.input?.takeFrom(event.dataTransfer);
    });
    window.addEventListener("hashchange", () => this.#readAddress());
  }

  #paste(event) {
    const field = this.controls.imageFields.find(({ node }) => node.contains(document.activeElement));
    if ((field ?? this.input)?.takeFrom(event.clipboardData)) event.preventDefault();
  }

  // Loads the examples and translates the first one, or what the address says.
  async open() {
    await this.input?.loadExamples();
    await this.#readAddress();
  }

  // ------------------------------------------------------------------------------------------------ the address

  async #readAddress() {
    const settings = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
    this.controls.values = settings;
    this.result.view = settings.view === "compare" ? "compare" : "result";
    if (this.input) {
      if (settings.input) this.input.mode = settings.input;
      const isFresh = this.input.isEmpty || !this.result.blob;
      if (settings.example || isFresh) await this.input.choose(Number(settings.example ?? 1) - 1);
    }
    if (!this.input?.isEmpty) this.#translate(true);
  }

  #writeAddress() {
    const settings = new URLSearchParams(Object.entries(this.controls.values).filter(([name]) => !OWN.includes(name)));
    if (this.input?.example >= 0) settings.set("example", this.input.example + 1);
    if (this.input?.board && this.input.mode !== "draw") settings.set("input", "image");
    if (this.result.view === "compare") settings.set("view", "compare");
    history.replaceState(null, "", `${location.pathname}#${settings}`);
  }

  // ---------------------------------------------------------------------------------------------- translations

  #changed(isFinal) {
    if (isFinal) this.#writeAddress();
    if (this.result.live.checked) this.#translate(isFinal);
  }

  #settings() {
    const values = this.controls.values;
    if (this.model.translates) return { values, images: this.controls.images };
    const { seed = 0, number = 0, ...rest } = values;
    return { values: rest, images: {}, seed: Number(seed), number: Number(number) };
  }

  #translate(isFinal) {
    if (this.input?.isEmpty) {
      this.input.error.show("Give an image first: drop, paste or choose one, or take an example.");
      return;
    }
    this.requests.ask({ ...this.#settings(), snapshot: isFinal ? this.input?.snapshot() : undefined, controlValues: this.controls.values }, isFinal);
  }

  async #send(request, signal) {
    request.image ??= await this.input?.image();
    for (;;) {
      try {
        return await this.backend.translate(this.model, request, "png", signal);
      } catch (error) {
        if (!error.retryAfter) throw error;
        this.result.showError(`${error.message} The page sends it again in ${error.retryAfter} s.`);
        await new Promise((done) => setTimeout(done, 1000 * error.retryAfter));
        signal.throwIfAborted();
      }
    }
  }

  async #answered(blob, request, isFinal, ms) {
    this.#clearErrors();
    await this.result.show(blob, request.image, ` · ${Math.round(ms)} ms`);
    if (!isFinal) return;
    const key = JSON.stringify([request.controlValues, request.snapshot?.example, await digestOf(request.image), ...Object.values(request.images).map(({ size }) => size)]);
    const title = Object.entries(request.controlValues).map(([name, value]) => `${name} ${value}`).join(", ") || "default controls";
    this.result.remember({ ...request, blob, key, title, ms });
  }

  async #restore(entry) {
    this.requests.cancel();
    this.controls.values = entry.controlValues;
    await this.controls.setImages(entry.images);
    if (entry.snapshot) await this.input.restore(entry.snapshot);
    this.#clearErrors();
    await this.result.show(entry.blob, entry.image, " · from the last results");
    this.#writeAddress();
  }

  async #fetch(format) {
    try {
      return await this.backend.translate(this.model, { ...this.#settings(), image: await this.input?.image() }, format);
    } catch (error) {
      this.#showProblem(error);
      return null;
    }
  }

  #clearErrors() {
    this.controls.showError("", "");
    this.result.frame.classList.remove("stale");
    this.input?.error.show("");
    this.result.showError("");
  }

  // Shows an error at the field that it is about.
  #showProblem(error) {
    this.#clearErrors();
    this.result.frame.classList.add("stale");
    if (this.controls.showError(error.field, error.message)) return;
    if (error.field === "image" && this.input) this.input.error.show(error.message);
    else this.result.showError(error.message);
  }
}

async function digestOf(blob) {
  if (!blob) return "";
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let hash = 0;
  for (const byte of bytes) hash = (Math.imul(hash, 31) + byte) | 0;
  return `${bytes.length}-${hash}`;
}
