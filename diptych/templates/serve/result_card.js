// The translation: picture, comparison with the input, download, address and command to copy, and earlier results.

import { button, copyText, element, newId, saveFile, Segments } from "./dom.js";

const MAX_HISTORY = 12;
const MAX_SMALL = 128; // longer side of images that are shown with hard pixels

export class ResultCard {
  #url = "";
  #history = [];

  // `actions` has translate(), fetch(format), command(), and restore(entry).
  constructor(model, actions, changedView) {
    Object.assign(this, { model, actions, blob: null });
    this.picture = element("img", { className: "after", alt: "Translation", hidden: true });
    this.before = element("img", { className: "before", alt: "", hidden: true });
    this.handle = element("span", { className: "handle", hidden: true });
    this.empty = element("p", { className: "hint", textContent: model.translates ? "The translation appears here" : "The image appears here" });
    this.frame = element("div", { className: "frame result" }, this.picture, this.before, this.handle, this.empty);
    this.views = new Segments("View", [{ value: "result", text: "Result" }, { value: "compare", text: "Compare" }], "result", () => {
      this.showView();
      changedView();
    });
    this.slider = element("input", { type: "range", min: 0, max: 100, value: 50, className: "wide", "aria-label": "Boundary between input and translation", oninput: () => this.#divide(), hidden: true });
    this.live = element("input", { type: "checkbox", id: newId("live"), checked: true });
    this.status = element("p", { className: "status", role: "status" });
    this.error = element("p", { className: "error", role: "alert", hidden: true });
    this.strip = element("div", { className: "strip", role: "group", "aria-label": "Last results" });
    this.node = element("section", { className: "card output", "aria-labelledby": "output-title" },
      element("div", { className: "head" }, element("h2", { id: "output-title", textContent: model.translates ? "Translation" : "Image" }), model.translates ? this.views.node : undefined),
      this.frame, this.#corner(), this.slider, this.#actionRow(), this.error, this.status, this.#copyRow(),
      element("h3", { textContent: "Last results", className: "strip-title" }), this.strip);
    this.#drag();
  }

  // A small copy in the corner of a phone, for as long as the picture itself is not on the screen.
  #corner() {
    this.small = element("img", { alt: "" });
    this.corner = element("button", { type: "button", className: "corner", "aria-label": "Go to the translation", hidden: true, onclick: () => this.node.scrollIntoView({ behavior: "smooth" }) }, this.small);
    new IntersectionObserver(([entry]) => {
      this.isOnScreen = entry.intersectionRatio > 0.3;
      this.#showCorner();
    }, { threshold: [0, 0.3] }).observe(this.frame);
    return this.corner;
  }

  #showCorner() {
    this.corner.hidden = !this.blob || this.isOnScreen;
  }

  #actionRow() {
    const verb = this.model.translates ? "Translate" : "Generate";
    const live = element("label", { className: "live", htmlFor: this.live.id, title: "A new result after each change" }, this.live, " Live");
    return element("div", { className: "row" }, button(verb, () => this.actions.translate(), { className: "primary translate" }), live);
  }

  #copyRow() {
    const id = newId("format");
    this.format = element("select", { id, "aria-label": "File format" }, ...this.model.formats.map((format) => element("option", { value: format, textContent: format.toUpperCase() })));
    this.download = button("Download", () => this.#save(), { disabled: true, className: "download" });
    const copied = (what, text) => async () => {
      await copyText(text());
      this.status.textContent = `${what} copied.`;
    };
    const curl = this.actions.command ? button("Copy as curl", copied("Command", () => this.actions.command()), { className: "curl" }) : undefined;
    return element("div", { className: "row more" }, this.download, this.format, button("Copy link", copied("Address with these settings", () => location.href)), curl);
  }

  async #save() {
    const format = this.format.value;
    this.download.disabled = true;
    const blob = format === "png" ? this.blob : await this.actions.fetch(format);
    this.download.disabled = false;
    if (blob) saveFile(blob, `${this.model.name}.${format === "jpeg" ? "jpg" : format}`);
  }

  #drag() {
    const move = (event) => {
      if (this.view !== "compare" || !event.buttons) return;
      const box = this.picture.getBoundingClientRect();
      this.slider.value = (100 * (event.clientX - box.left)) / box.width;
      this.#divide();
    };
    this.frame.addEventListener("pointerdown", move);
    this.frame.addEventListener("pointermove", move);
  }

  #divide() {
    const share = Number(this.slider.value);
    this.before.style.clipPath = `inset(0 ${100 - share}% 0 0)`;
    this.handle.style.left = `${share}%`;
  }

  get view() {
    return this.views.value;
  }

  set view(view) {
    this.views.value = view;
    this.showView();
  }

  showView() {
    const isCompared = this.view === "compare" && Boolean(this.blob) && Boolean(this.beforeUrl);
    this.before.hidden = this.handle.hidden = this.slider.hidden = !isCompared;
    this.frame.classList.toggle("compared", isCompared);
    this.#divide();
  }

  showBusy() {
    this.node.setAttribute("aria-busy", "true");
    this.frame.classList.add("busy");
  }

  showError(text) {
    this.#idle();
    this.error.textContent = text;
    this.error.hidden = !text;
    if (text) this.status.textContent = "";
  }

  #idle() {
    this.node.removeAttribute("aria-busy");
    this.frame.classList.remove("busy");
  }

  // Shows a translation and its input, which may be an image that the browser cannot show.
  async show(blob, input, text) {
    const [bitmap, before] = await Promise.all([blob, input].map((each) => each && createImageBitmap(each).catch(() => null)));
    this.showError("");
    URL.revokeObjectURL(this.#url);
    URL.revokeObjectURL(this.beforeUrl);
    this.blob = blob;
    this.#url = URL.createObjectURL(blob);
    this.beforeUrl = before ? URL.createObjectURL(input) : "";
    this.picture.src = this.small.src = this.#url;
    this.before.src = this.beforeUrl || "data:,";
    for (const [image, { width, height } = {}] of [[this.picture, bitmap ?? {}], [this.before, before ?? {}]]) {
      image.classList.toggle("small", Math.max(width, height) <= MAX_SMALL);
    }
    this.picture.hidden = false;
    this.empty.hidden = true;
    this.#showCorner();
    this.download.disabled = false;
    this.status.textContent = bitmap ? `${bitmap.width} × ${bitmap.height} pixels${text}` : text;
    this.showView();
  }

  // Adds a result to the strip; one with the same key is replaced.
  remember(entry) {
    const same = this.#history.findIndex(({ key }) => key === entry.key);
    if (same >= 0) this.#forget(same);
    if (this.#history.length === MAX_HISTORY) this.#forget(MAX_HISTORY - 1);
    entry.url = URL.createObjectURL(entry.blob);
    entry.node = element("button", { type: "button", className: "thumbnail", title: entry.title, "aria-label": `Result: ${entry.title}`, onclick: () => this.actions.restore(entry) }, element("img", { src: entry.url, alt: "" }));
    this.#history.unshift(entry);
    this.strip.prepend(entry.node);
  }

  #forget(at) {
    const [entry] = this.#history.splice(at, 1);
    entry.node.remove();
    URL.revokeObjectURL(entry.url);
  }
}
