// The input of a translation: an image, an example, or a drawing.

import { element, Segments } from "./dom.js";
import { DrawingBoard } from "./drawing_board.js";
import { ImageField } from "./image_field.js";
import { lineWidthOf } from "./line_drawing.js";

const DEFAULT_SIDE = 256; // of drawings for a model whose training size is not known
const NO_EXAMPLE = -1;

export class InputCard {
  // `changed(isFinal)` is called for each new image, and while drawing.
  constructor(model, backend, changed) {
    Object.assign(this, { model, backend, changed, example: NO_EXAMPLE, examples: [] });
    this.field = new ImageField("Input image", { maxMegapixels: model.max_megapixels, changed: () => this.#changed(true) });
    this.error = this.field.error;
    if (model.source.drawing !== "none") this.board = new DrawingBoard(model.source, this.#side(), (isFinal) => this.#changed(isFinal));
    const modes = [{ value: "draw", text: "Draw" }, { value: "image", text: "Image" }];
    this.modes = new Segments("Kind of input", modes, this.board ? "draw" : "image", () => this.#switch());
    this.strip = element("div", { className: "strip", role: "group", "aria-label": "Examples" });
    this.node = element("section", { className: "card input", "aria-labelledby": "input-title" },
      element("div", { className: "head" }, element("h2", { id: "input-title", textContent: "Input" }), this.board ? this.modes.node : undefined),
      this.board?.node, this.field.node, this.error.node, this.strip);
    this.#showMode();
  }

  #side() {
    const { image_size: side, size_multiple: multiple } = this.model;
    return Math.ceil((side ?? DEFAULT_SIDE) / multiple) * multiple;
  }

  #changed(isFinal) {
    if (isFinal || this.mode === "draw") this.#mark(NO_EXAMPLE);
    this.changed(isFinal);
  }

  get mode() {
    return this.board ? this.modes.value : "image";
  }

  set mode(mode) {
    if (this.board) this.modes.value = mode;
    this.#showMode();
  }

  #showMode() {
    if (this.board) this.board.node.hidden = this.mode !== "draw";
    this.field.node.hidden = this.mode === "draw";
  }

  #switch() {
    this.#showMode();
    this.error.show("");
    this.#mark(NO_EXAMPLE);
    if (this.mode === "draw" || this.field.file) this.changed(true);
  }

  get isEmpty() {
    return this.mode === "image" && !this.field.file;
  }

  // Returns the image to translate as a Blob.
  async image() {
    return this.mode === "draw" ? this.board.toPng() : this.field.file;
  }

  // Takes an image that was dropped beside the field or pasted; returns whether there was one.
  takeFrom(transfer) {
    if (transfer?.files.length) this.mode = "image";
    return this.field.takeFrom(transfer);
  }

  // Fetches the example images and shows them.
  async loadExamples() {
    const blobs = await Promise.all(this.model.examples.map((address) => this.backend.example(address).catch(() => null)));
    this.examples = await Promise.all(blobs.map((blob) => blob && createImageBitmap(blob).then((bitmap) => ({ blob, bitmap }), () => null)));
    this.strip.replaceChildren(...this.examples.map((each, at) => this.#thumbnail(each, at)).filter(Boolean));
    if (this.model.source.drawing === "lines") this.#setLineWidth();
  }

  #thumbnail(example, at) {
    if (!example) return null;
    const image = element("img", { src: URL.createObjectURL(example.blob), alt: "" });
    return element("button", { type: "button", className: "thumbnail", onclick: () => this.choose(at).then(() => this.changed(true)), "aria-label": `Example ${at + 1}`, "aria-pressed": "false", "data-example": at }, image);
  }

  #setLineWidth() {
    const widths = this.examples.filter(Boolean).map(({ bitmap }) => (lineWidthOf(bitmap, this.model.source) * this.#side()) / bitmap.width);
    const median = widths.sort((a, b) => a - b)[Math.floor(widths.length / 2)];
    if (median >= 1) this.board.lineWidth = Math.round(median);
  }

  // Takes an example, into the drawing board if that is open.
  async choose(at) {
    const example = this.examples[at];
    if (!example) return;
    if (this.mode === "draw") this.board.load(example.bitmap);
    else await this.field.set(example.blob, `example ${at + 1}`);
    this.#mark(at);
  }

  #mark(at) {
    this.example = at;
    for (const each of this.strip.children) each.setAttribute("aria-pressed", String(Number(each.dataset.example) === at));
  }

  // What is needed to show the same input again.
  snapshot() {
    return { mode: this.mode, example: this.example, drawing: this.mode === "draw" ? this.board.surface.snapshot() : null, file: this.field.file, name: this.field.name };
  }

  async restore({ mode, example, drawing, file, name }) {
    this.mode = mode;
    if (drawing) this.board.surface.restore(drawing);
    else await this.field.set(file, name);
    this.#mark(example);
  }
}
