// The controls of a model, made from its description alone.

import { button, element, FieldError, newId, Segments, words } from "./dom.js";
import { ImageField } from "./image_field.js";

const MAX_SEGMENTS = 8; // choices that are buttons; more are a list
const SLIDER_RANGE = 100; // of numbers without a maximum, such as seeds
const RANDOM_RANGE = 10_000;
const NONE = -1; // minimum and default of numbers that are optional
const SECOND = ["toward", "toward_reference"]; // the second style; `mix` is between the two

class Field {
  // `changed(isFinal)` is called with false while a slider moves.
  constructor(control, changed) {
    Object.assign(this, { control, changed, id: newId(control.name) });
    this.help = element("p", { className: "help", id: `${this.id}-help`, textContent: control.help });
  }

  labelled(field, ...children) {
    field.setAttribute("aria-describedby", this.help.id);
    this.error = new FieldError(field);
    return element("div", { className: "control" }, element("label", { htmlFor: this.id, textContent: words(this.control.name) }),
      ...children, this.error.node, this.help);
  }

  get isDefault() {
    return String(this.value) === String(this.control.default ?? "");
  }
}

class NumberField extends Field {
  constructor(control, changed) {
    super(control, changed);
    const { minimum, maximum, step, default: value } = control;
    const isInteger = step === 1;
    this.isOptional = isInteger && minimum === NONE && value === NONE;
    this.lowest = this.isOptional ? 0 : minimum;
    const bounds = { min: this.lowest ?? "", max: maximum ?? "", step };
    this.input = element("input", { type: "number", id: this.id, ...bounds, inputMode: isInteger ? "numeric" : "decimal" });
    this.slider = element("input", { type: "range", step, min: this.lowest ?? -SLIDER_RANGE, max: maximum ?? (this.lowest ?? 0) + SLIDER_RANGE, "aria-label": `${words(control.name)}, slider` });
    this.slider.oninput = () => this.#take(this.slider.value, false);
    this.slider.onchange = () => this.#take(this.slider.value, true);
    this.input.oninput = () => this.#take(this.input.value, true);
    const random = () => this.#take(Math.floor(Math.random() * RANDOM_RANGE), true);
    const dice = isInteger && maximum === null ? button("⚄", random, { className: "dice", title: "Random", "aria-label": `${words(control.name)}: random` }) : undefined;
    this.node = this.labelled(this.input, element("div", { className: "row number" }, this.#switch(), this.slider, this.input, dice));
    this.value = value;
  }

  #switch() {
    if (!this.isOptional) return undefined;
    this.isUsed = element("input", { type: "checkbox", "aria-label": `use ${words(this.control.name)}`, onchange: () => this.#take(this.isUsed.checked ? 1 : NONE, true) });
    return element("label", { className: "use" }, this.isUsed, " use");
  }

  #take(value, isFinal) {
    this.value = value;
    this.changed(isFinal);
  }

  get value() {
    return this.isOptional && !this.isUsed.checked ? String(NONE) : this.input.value;
  }

  set value(value) {
    const isUsed = !this.isOptional || (value !== "" && Number(value) !== NONE);
    if (this.isOptional) {
      this.isUsed.checked = isUsed;
      this.slider.disabled = this.input.disabled = !isUsed;
    }
    if (this.input.value !== String(value)) this.input.value = isUsed ? value : "";
    this.slider.value = isUsed && value !== "" ? value : (this.lowest ?? 0);
  }
}

class ChoiceField extends Field {
  constructor(control, changed) {
    super(control, changed);
    const options = control.choices.map((value) => ({ value, text: value }));
    if (!control.choices.includes(control.default)) options.unshift({ value: control.default ?? "", text: "none" });
    if (options.length <= MAX_SEGMENTS) {
      this.field = new Segments(words(control.name), options, control.default, () => changed(true), { "aria-describedby": this.help.id });
      this.error = new FieldError(this.field.node);
      this.node = element("div", { className: "control" }, this.field.node, this.error.node, this.help);
    } else {
      this.field = element("select", { id: this.id, onchange: () => changed(true) },
        ...options.map(({ value, text }) => element("option", { value, textContent: text })));
      this.node = this.labelled(this.field, this.field);
      this.field.value = control.default;
    }
  }

  get value() {
    return this.field.value;
  }

  set value(value) {
    this.field.value = String(value);
  }
}

class FlagField extends Field {
  constructor(control, changed) {
    super(control, changed);
    this.input = element("input", { type: "checkbox", id: this.id, checked: Boolean(control.default), onchange: () => changed(true) });
    this.node = this.labelled(this.input, this.input);
    this.node.classList.add("flag");
  }

  get value() {
    return String(this.input.checked);
  }

  set value(value) {
    this.input.checked = String(value) === "true";
  }
}

class TextField extends Field {
  constructor(control, changed) {
    super(control, changed);
    this.input = element("input", { type: "text", id: this.id, value: control.default ?? "", spellcheck: false, onchange: () => changed(true) });
    this.node = this.labelled(this.input, this.input);
  }

  get value() {
    return this.input.value;
  }

  set value(value) {
    this.input.value = value;
  }
}

class ImageControl {
  constructor(control, changed, maxMegapixels) {
    this.control = control;
    this.field = new ImageField(words(control.name), { maxMegapixels, help: control.help, isOptional: true, changed: () => changed(true) });
    this.error = this.field.error;
    this.node = element("div", { className: "control" }, element("span", { className: "label", textContent: words(control.name) }), this.field.node, this.error.node);
  }
}

const KINDS = { number: NumberField, choice: ChoiceField, flag: FlagField, text: TextField, image: ImageControl };

export class Controls {
  constructor(model, changed) {
    const notify = (isFinal) => {
      this.#showMix();
      changed(isFinal);
    };
    this.fields = new Map(model.controls.map((control) => [control.name, new KINDS[control.kind](control, notify, model.max_megapixels)]));
    this.node = element("div", { className: "controls" }, ...[...this.fields.values()].map((field) => field.node));
    this.#showMix();
  }

  // The mix of two styles is of use only if there is a second one.
  #showMix() {
    const mix = this.fields.get("mix");
    if (!mix?.slider || !SECOND.some((name) => this.fields.has(name))) return;
    const [toward, reference] = SECOND.map((name) => this.fields.get(name));
    const isUsed = Boolean((toward && !toward.isDefault) || reference?.field.file);
    mix.slider.disabled = mix.input.disabled = !isUsed;
    mix.node.classList.toggle("unused", !isUsed);
    if (isUsed && mix.isDefault && !mix.wasUsed) mix.value = 0.5;
    if (!isUsed) mix.value = mix.control.default;
    mix.wasUsed = isUsed;
  }

  #of(isImage) {
    return [...this.fields.values()].filter((field) => (field.control.kind === "image") === isImage);
  }

  // The values that differ from the defaults, as text by name.
  get values() {
    return Object.fromEntries(this.#of(false).filter((field) => !field.isDefault).map((field) => [field.control.name, String(field.value)]));
  }

  set values(values) {
    for (const field of this.#of(false)) field.value = values[field.control.name] ?? field.control.default ?? "";
    if (this.fields.has("mix")) this.fields.get("mix").wasUsed = true;
    this.#showMix();
  }

  // The images that were given, by name.
  get images() {
    return Object.fromEntries(this.#of(true).filter(({ field }) => field.file).map(({ control, field }) => [control.name, field.file]));
  }

  async setImages(images) {
    for (const { control, field } of this.#of(true)) await field.set(images[control.name] ?? null, control.name);
    this.#showMix();
  }

  get imageFields() {
    return this.#of(true).map(({ field }) => field);
  }

  // Shows an error under the control that it is about; returns whether there is such a control.
  showError(name, text) {
    for (const field of this.fields.values()) field.error.show(field.control.name === name ? text : "");
    return this.fields.has(name);
  }
}
