// The drawing board: canvas, tools, palette, undo. It works by pointer, by touch, and by the arrow keys.

import { button, element, newId, Segments } from "./dom.js";
import { LabelMap, shownColors } from "./label_map.js";
import { LineDrawing } from "./line_drawing.js";

const MAX_UNDO = 30;
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const HELP = "Arrow keys move the tool, Shift and an arrow key draws, Space uses the tool, Control and Z takes back.";

export class DrawingBoard {
  #undo = [];
  #redo = [];
  #from = null; // the last point of a stroke, or the first corner of a rectangle
  #before = null; // the drawing before a rectangle

  // `changed(isFinal)` is called while drawing, and with true when a stroke has ended.
  constructor(source, size, changed) {
    this.changed = changed;
    this.canvas = element("canvas", { tabIndex: 0, className: source.drawing, role: "application", "aria-label": "Drawing", "aria-description": HELP });
    const options = { width: size, height: size, source };
    this.surface = source.labels ? new LabelMap(this.canvas, options) : new LineDrawing(this.canvas, options);
    this.cursor = element("span", { className: "cursor", hidden: true });
    this.at = [size / 2, size / 2];
    this.tools = new Segments("Tool", this.surface.tools.map((tool) => ({ value: tool, text: tool })), this.surface.tools[0], () => this.#endRectangle());
    this.node = element("div", { className: "board" }, element("div", { className: "frame" }, this.canvas, this.cursor),
      this.#toolbar(size), source.labels ? this.#palette(source.labels) : undefined,
      element("p", { className: "help keys", textContent: HELP }));
    this.#listen();
    this.#showSteps();
  }

  #toolbar(size) {
    const id = newId("size");
    this.size = element("input", { type: "range", id, min: 1, max: Math.max(4, Math.round(size / 4)), step: 1, value: this.surface.defaultSize });
    this.undoButton = button("Undo", () => this.undo());
    this.redoButton = button("Redo", () => this.redo());
    return element("div", { className: "row tools" }, this.tools.node,
      element("div", { className: "size" }, element("label", { htmlFor: id, textContent: "Size" }), this.size),
      element("div", { className: "row" }, this.undoButton, this.redoButton, button("Clear", () => this.clear())));
  }

  #palette(labels) {
    const name = newId("label");
    const colors = shownColors(labels);
    this.labels = labels.map((label, at) => element("input", { type: "radio", name, value: at, checked: at === (labels.length > 1 ? 1 : 0) }));
    return element("fieldset", { className: "palette" }, element("legend", { textContent: "Label" }),
      ...labels.map((label, at) => {
        const swatch = element("span", { className: "swatch" });
        swatch.style.backgroundColor = colors[at];
        const isNamed = label.name !== label.color; // a colour says itself
        return element("label", { title: label.name }, this.labels[at], swatch, element("span", { className: isNamed ? "name" : "offscreen", textContent: label.name }));
      }));
  }

  get label() {
    return this.labels ? Number(this.labels.find((input) => input.checked).value) : this.tools.value === "eraser";
  }

  set lineWidth(pixels) {
    this.surface.lineWidth = pixels;
    this.size.value = pixels;
  }

  toPng() {
    return this.surface.toPng();
  }

  load(bitmap) {
    this.#remember();
    this.surface.load(bitmap);
  }

  clear() {
    this.#remember();
    this.surface.clear();
    this.changed(true);
  }

  undo() {
    this.#step(this.#undo, this.#redo);
  }

  redo() {
    this.#step(this.#redo, this.#undo);
  }

  #step(from, to) {
    this.#endRectangle();
    if (!from.length) return;
    to.push(this.surface.snapshot());
    this.surface.restore(from.pop());
    this.#showSteps();
    this.changed(true);
  }

  #remember() {
    this.#undo.push(this.surface.snapshot());
    if (this.#undo.length > MAX_UNDO) this.#undo.shift();
    this.#redo = [];
    this.#showSteps();
  }

  #showSteps() {
    this.undoButton.disabled = !this.#undo.length;
    this.redoButton.disabled = !this.#redo.length;
  }

  // ------------------------------------------------------------------------------------------ pointer and touch

  #listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => {
      if (!event.isPrimary || event.button) return;
      canvas.setPointerCapture(event.pointerId);
      this.#begin(this.#pointOf(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!event.isPrimary) return;
      this.#showCursor(this.#pointOf(event), event.pointerType === "mouse");
      if (!canvas.hasPointerCapture(event.pointerId)) return;
      const events = event.getCoalescedEvents?.() ?? [];
      for (const each of events.length ? events : [event]) this.#continue(this.#pointOf(each));
      if (this.tools.value !== "fill") this.changed(false);
    });
    canvas.addEventListener("pointerup", () => this.#end());
    canvas.addEventListener("pointercancel", () => this.#end());
    canvas.addEventListener("pointerleave", () => { this.cursor.hidden = !canvas.matches(":focus-visible"); });
    canvas.addEventListener("blur", () => { this.cursor.hidden = true; });
    canvas.addEventListener("keydown", (event) => this.#press(event));
  }

  // Returns the place of an event in pixels of the image.
  #pointOf(event) {
    const box = this.canvas.getBoundingClientRect();
    const { width, height } = this.surface;
    return [((event.clientX - box.left) * width) / box.width, ((event.clientY - box.top) * height) / box.height];
  }

  #begin(point) {
    this.#endRectangle();
    this.#remember();
    this.at = this.#from = point;
    const tool = this.tools.value;
    if (tool === "fill") this.surface.fill(point, this.label);
    else if (tool === "rectangle") this.#before = this.surface.snapshot();
    else this.surface.stroke(point, point, Number(this.size.value), this.label);
    if (tool !== "rectangle") this.changed(false);
  }

  #continue(point) {
    if (this.#from === null) return;
    this.at = point;
    if (this.#before) {
      this.surface.restore(this.#before);
      this.surface.rectangle(this.#from, point, this.label);
    } else if (this.tools.value !== "fill") {
      this.surface.stroke(this.#from, point, Number(this.size.value), this.label);
      this.#from = point;
    }
  }

  #end() {
    if (this.#from === null) return;
    this.#endRectangle();
    this.changed(true);
  }

  #endRectangle() {
    this.#from = this.#before = null;
  }

  // ------------------------------------------------------------------------------------------------- keyboard

  #press(event) {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") {
      event.preventDefault();
      if (event.shiftKey) this.redo();
      else this.undo();
    } else if (event.key in KEYS) {
      event.preventDefault();
      this.#move(KEYS[event.key], event.shiftKey);
    } else if (event.key === " " || event.key === "Enter") {
      event.preventDefault();
      if (this.#before) this.#end();
      else {
        this.#begin(this.at);
        if (!this.#before) this.#end();
      }
    }
  }

  #move([right, down], isDrawing) {
    const step = Math.max(1, Number(this.size.value) / 2);
    const { width, height } = this.surface;
    const to = [Math.min(width, Math.max(0, this.at[0] + right * step)), Math.min(height, Math.max(0, this.at[1] + down * step))];
    if (this.#before) {
      this.#continue(to);
      this.changed(false);
    } else if (isDrawing && !["fill", "rectangle"].includes(this.tools.value)) {
      this.#begin(this.at);
      this.#continue(to);
      this.#end();
    }
    this.at = to;
    this.#showCursor(to, true);
  }

  // Shows the tool as a ring at a point.
  #showCursor([x, y], isShown) {
    const { width, height } = this.surface;
    const size = this.tools.value === "brush" || this.labels === undefined ? Number(this.size.value) : 1;
    this.cursor.hidden = !isShown;
    Object.assign(this.cursor.style, {
      left: `${(100 * x) / width}%`, top: `${(100 * y) / height}%`, width: `${(100 * size) / width}%`, height: `${(100 * size) / height}%`,
    });
  }
}
