// A field for an image: by drop, paste, file or camera, with a preview.

import { hasCamera, takePhoto } from "./camera.js";
import { button, element, FieldError, newId } from "./dom.js";

const ACCEPT = "image/png,image/jpeg,image/webp,image/bmp,image/tiff,.npy,.pgm,.ppm,.tif,.tiff";

// Returns an image file that is not larger than the limit, and what was done to it. Files of other kinds stay as they are.
async function withinLimit(file, maxMegapixels) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap) return { file, note: "", size: "" };
  const { width, height } = bitmap;
  const scale = Math.sqrt((maxMegapixels * 1e6) / (width * height));
  if (scale >= 1) return { file, note: "", size: `${width} × ${height} pixels` };
  const canvas = element("canvas", { width: Math.max(1, Math.floor(width * scale)), height: Math.max(1, Math.floor(height * scale)) });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const small = await new Promise((done) => canvas.toBlob(done));
  const note = `Scaled down from ${width} × ${height}: the limit is ${maxMegapixels} megapixels.`;
  return { file: small, note, size: `${canvas.width} × ${canvas.height} pixels` };
}

export class ImageField {
  #url = "";

  // `changed()` is called when a person gives or removes an image.
  constructor(label, { maxMegapixels, help, isOptional, changed }) {
    Object.assign(this, { label, maxMegapixels, changed, file: null, name: "" });
    this.input = element("input", { type: "file", accept: ACCEPT, id: newId("file"), className: "offscreen", tabIndex: -1, onchange: () => this.#pick() });
    this.preview = element("img", { hidden: true, alt: `${label}: preview` });
    this.hint = element("span", { className: "hint", textContent: "Drop an image here, paste it, or choose a file" });
    this.zone = element("label", { htmlFor: this.input.id, className: "zone" }, this.preview, this.hint);
    this.caption = element("p", { className: "help", "aria-live": "polite" });
    this.error = new FieldError(this.input);
    this.removeButton = button("Remove", () => this.give(null), { hidden: true });
    this.node = element("div", { className: "image-field", role: "group", "aria-label": label }, this.input, this.zone,
      element("div", { className: "row" }, button("Choose a file", () => this.input.click(), { "aria-label": `${label}: choose a file` }),
        hasCamera() ? button("Camera", () => this.#photograph(), { "aria-label": `${label}: camera` }) : undefined,
        isOptional ? this.removeButton : undefined),
      this.caption, help ? element("p", { className: "help", textContent: help }) : undefined);
    this.input.setAttribute("aria-label", label);
    for (const kind of ["dragenter", "dragover"]) this.node.addEventListener(kind, (event) => this.#drag(event, true));
    for (const kind of ["dragleave", "drop"]) this.node.addEventListener(kind, (event) => this.#drag(event, false));
  }

  #drag(event, isOver) {
    event.preventDefault();
    this.zone.classList.toggle("over", isOver);
    if (event.type !== "drop") return;
    event.stopPropagation();
    this.takeFrom(event.dataTransfer);
  }

  // Takes the first image of a drop or of the clipboard; returns whether there was one.
  takeFrom(transfer) {
    const file = [...(transfer?.files ?? [])][0];
    if (file) this.give(file, file.name);
    return Boolean(file);
  }

  #pick() {
    const [file] = this.input.files;
    if (file) this.give(file, file.name);
    this.input.value = ""; // the same file can be chosen again
  }

  async #photograph() {
    try {
      const photo = await takePhoto();
      if (photo) await this.give(photo, "photograph");
    } catch (error) {
      this.error.show(error.message);
    }
  }

  // Takes an image of a person.
  async give(file, name = "") {
    await this.set(file, name);
    this.changed();
  }

  async set(file, name = "") {
    const taken = file ? await withinLimit(file, this.maxMegapixels) : { file: null, note: "", size: "" };
    Object.assign(this, { file: taken.file, name });
    this.error.show("");
    URL.revokeObjectURL(this.#url);
    this.#url = taken.size ? URL.createObjectURL(taken.file) : "";
    this.preview.hidden = !taken.size;
    this.preview.src = this.#url || "data:,";
    this.hint.hidden = Boolean(taken.size);
    this.hint.textContent = file ? `${name}: the browser shows no preview of this kind of file` : "Drop an image here, paste it, or choose a file";
    this.caption.textContent = [taken.size && name, taken.size, taken.note].filter(Boolean).join(" · ");
    this.removeButton.hidden = !file;
  }

  get isShown() {
    return Boolean(this.#url);
  }
}
