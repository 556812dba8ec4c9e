// A label map that is drawn: a class for each pixel, shown in the colours of the palette.

import { encodePng } from "./png_encoder.js";

const MIN_DISTANCE = 24; // of two colours that people tell apart; class ids are nearly black

export const rgbOf = (color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);

// Returns the colours that the classes are shown in: those of the files, or well spaced hues if these look alike.
export function shownColors(labels) {
  const colors = labels.map(({ color }) => color);
  const rgb = colors.map(rgbOf);
  if (!rgb.some((a, at) => rgb.slice(0, at).some((b) => distance(a, b) < MIN_DISTANCE))) return colors;
  const context = document.createElement("canvas").getContext("2d");
  return colors.map((_, at) => {
    context.fillStyle = at ? `hsl(${(at * 137.5) % 360} 65% ${at % 2 ? 45 : 65}%)` : "#202020";
    return context.fillStyle; // as #rrggbb
  });
}

export class LabelMap {
  tools = ["brush", "fill", "rectangle"];

  constructor(canvas, { width, height, source }) {
    Object.assign(canvas, { width, height });
    Object.assign(this, { width, height, channels: source.channels === 1 ? 1 : 3 });
    this.context = canvas.getContext("2d");
    this.colors = source.labels.map(({ color }) => rgbOf(color));
    this.shown = shownColors(source.labels).map(rgbOf);
    this.background = Math.max(0, source.labels.findIndex(({ color }) => color === source.background));
    this.classes = new Uint8Array(width * height).fill(this.background);
    this.show();
  }

  get defaultSize() {
    return Math.max(1, Math.round(this.width / 16));
  }

  // Draws a round brush of a diameter in pixels from one point to another.
  stroke([x0, y0], [x1, y1], size, label) {
    const steps = Math.max(1, Math.ceil(Math.hypot(x1 - x0, y1 - y0) / Math.max(0.5, size / 4)));
    for (let step = 0; step <= steps; step++) {
      this.#disc(x0 + ((x1 - x0) * step) / steps, y0 + ((y1 - y0) * step) / steps, size / 2, label);
    }
    this.show();
  }

  #disc(x, y, radius, label) {
    if (radius < 1) {
      this.#run(Math.floor(x), Math.floor(x) + 1, Math.floor(y), label);
      return;
    }
    for (let row = Math.ceil(y - radius - 0.5); row <= y + radius - 0.5; row++) {
      const half = Math.sqrt(Math.max(0, radius ** 2 - (row + 0.5 - y) ** 2));
      this.#run(Math.round(x - half), Math.round(x + half), row, label);
    }
  }

  // Sets the pixels from x0 to x1 - 1 of a row.
  #run(x0, x1, y, label) {
    if (y < 0 || y >= this.height || x1 <= 0 || x0 >= this.width) return;
    this.classes.fill(label, y * this.width + Math.max(0, x0), y * this.width + Math.min(this.width, x1));
  }

  rectangle([x0, y0], [x1, y1], label) {
    const [left, right] = [Math.floor(Math.min(x0, x1)), Math.ceil(Math.max(x0, x1))];
    for (let y = Math.floor(Math.min(y0, y1)); y < Math.ceil(Math.max(y0, y1)); y++) this.#run(left, Math.max(right, left + 1), y, label);
    this.show();
  }

  // Fills the area of one class around a point.
  fill([x, y], label) {
    const { width, height, classes } = this;
    const [startX, startY] = [Math.floor(x), Math.floor(y)];
    if (startX < 0 || startX >= width || startY < 0 || startY >= height) return;
    const old = classes[startY * width + startX];
    if (old === label) return;
    const left = [startY * width + startX];
    while (left.length) {
      const at = left.pop();
      if (classes[at] !== old) continue;
      classes[at] = label;
      const column = at % width;
      if (column > 0) left.push(at - 1);
      if (column < width - 1) left.push(at + 1);
      if (at >= width) left.push(at - width);
      if (at < width * (height - 1)) left.push(at + width);
    }
    this.show();
  }

  clear() {
    this.classes.fill(this.background);
    this.show();
  }

  // Takes an image: each pixel becomes the class of the nearest colour.
  load(bitmap) {
    const canvas = new OffscreenCanvas(this.width, this.height);
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(bitmap, 0, 0, this.width, this.height);
    const { data } = context.getImageData(0, 0, this.width, this.height);
    const known = new Map();
    for (let at = 0; at < this.classes.length; at++) {
      const key = (data[4 * at] << 16) | (data[4 * at + 1] << 8) | data[4 * at + 2];
      if (!known.has(key)) known.set(key, this.#nearest([data[4 * at], data[4 * at + 1], data[4 * at + 2]]));
      this.classes[at] = known.get(key);
    }
    this.show();
  }

  #nearest(rgb) {
    const distances = this.colors.map((color) => distance(color, rgb));
    return distances.indexOf(Math.min(...distances));
  }

  snapshot() {
    return this.classes.slice();
  }

  restore(snapshot) {
    this.classes.set(snapshot);
    this.show();
  }

  show() {
    const image = this.context.createImageData(this.width, this.height);
    const words = new Uint32Array(image.data.buffer); // one a pixel, in the byte order of the machine
    const packed = this.shown.map((rgb) => new Uint32Array(Uint8Array.of(...rgb, 255).buffer)[0]);
    for (let at = 0; at < words.length; at++) words[at] = packed[this.classes[at]];
    this.context.putImageData(image, 0, 0);
  }

  // Returns a PNG in the colours of the training data.
  toPng() {
    const { channels } = this;
    const pixels = new Uint8Array(this.classes.length * channels);
    for (let at = 0; at < this.classes.length; at++) {
      for (let channel = 0; channel < channels; channel++) pixels[at * channels + channel] = this.colors[this.classes[at]][channel];
    }
    return encodePng(this.width, this.height, channels, pixels);
  }
}
