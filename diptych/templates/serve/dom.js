// Elements of a page. Texts from outside are set as text, never as markup.

let count = 0;

// Returns an element; properties that the element does not have become attributes, those that are undefined are skipped.
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined) continue;
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== undefined));
  return made;
}

export const button = (text, onclick, properties = {}) =>
  element("button", { type: "button", textContent: text, onclick, ...properties });

export const newId = (name) => `${name.replace(/[^\w-]/g, "-")}-${++count}`;

// Returns a name of the interface as words: "toward_reference" is "toward reference".
export const words = (name) => name.replaceAll("_", " ");

// A set of radio buttons that look like one bar; `onpick` receives the value.
export class Segments {
  constructor(legend, options, value, onpick, properties = {}) {
    const name = newId("segments");
    this.inputs = options.map(({ value: each }) =>
      element("input", { type: "radio", name, value: each, checked: each === value, onchange: () => onpick(each) }));
    this.node = element("fieldset", { className: "segments", ...properties }, element("legend", { textContent: legend }),
      element("div", {}, ...options.map(({ text, label }, at) =>
        element("label", { title: label ?? "" }, this.inputs[at], element("span", { textContent: text })))));
  }

  get value() {
    return this.inputs.find((input) => input.checked)?.value ?? "";
  }

  set value(value) {
    for (const input of this.inputs) input.checked = input.value === value;
  }
}

// A line under a field that says what is wrong with it, and is read aloud.
export class FieldError {
  constructor(field) {
    this.field = field;
    this.node = element("p", { className: "error", id: newId("error"), role: "alert", hidden: true });
  }

  show(text) {
    this.node.textContent = text;
    this.node.hidden = !text;
    this.field?.toggleAttribute("aria-invalid", Boolean(text));
    if (text) this.field?.setAttribute("aria-errormessage", this.node.id);
    else this.field?.removeAttribute("aria-errormessage");
  }
}

// Copies a text; also where the clipboard interface is missing, as on pages without TLS.
export async function copyText(text) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return;
    } catch { /* not allowed: the older way below */ }
  }
  const area = element("textarea", { value: text, className: "offscreen" });
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

export function saveFile(blob, name) {
  const url = URL.createObjectURL(blob);
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
