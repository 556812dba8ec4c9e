// A line drawing: a pen and an eraser, with smooth edges as in images that were scaled down.

import { encodePng } from "./png_encoder.js";

const SHOWN = 512; // about the side of the canvas, from which drawings are scaled down

export class LineDrawing {
  tools = ["pen", "eraser"];

  constructor(canvas, { width, height, source }) {
    this.halvings = Math.max(0, Math.floor(Math.log2(SHOWN / Math.max(width, height))));
    this.scale = 2 ** this.halvings;
    Object.assign(canvas, { width: width * this.scale, height: height * this.scale });
    Object.assign(this, { width, height, canvas, pen: source.pen, background: source.background, channels: source.channels === 1 ? 1 : 3 });
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.lineWidth = Math.max(2, Math.round(width / 100));
    this.clear();
  }

  get defaultSize() {
    return this.lineWidth;
  }

  stroke([x0, y0], [x1, y1], size, isEraser) {
    const { context, scale } = this;
    Object.assign(context, { lineWidth: size * scale, lineCap: "round", strokeStyle: isEraser ? this.background : this.pen });
    context.beginPath();
    context.moveTo(x0 * scale, y0 * scale);
    context.lineTo(x1 * scale, y1 * scale);
    context.stroke();
  }

  clear() {
    this.context.fillStyle = this.background;
    this.context.fillRect(0, 0, this.canvas.width, this.canvas.height);
  }

  load(bitmap) {
    this.clear();
    this.context.imageSmoothingQuality = "high";
    this.context.drawImage(bitmap, 0, 0, this.canvas.width, this.canvas.height);
  }

  snapshot() {
    return this.context.getImageData(0, 0, this.canvas.width, this.canvas.height);
  }

  restore(snapshot) {
    this.context.putImageData(snapshot, 0, 0);
  }

  // Returns a PNG of the size that the model was trained with. Each halving is the mean of 2x2 pixels.
  toPng() {
    let [from, width, height] = [this.canvas, this.canvas.width, this.canvas.height];
    for (let count = 0; count < this.halvings; count++) {
      [width, height] = [width / 2, height / 2];
      const half = new OffscreenCanvas(width, height);
      half.getContext("2d").drawImage(from, 0, 0, width, height);
      from = half;
    }
    const { data } = from.getContext("2d").getImageData(0, 0, width, height);
    const { channels } = this;
    const pixels = new Uint8Array(width * height * channels);
    for (let at = 0; at < width * height; at++) {
      for (let channel = 0; channel < channels; channel++) pixels[at * channels + channel] = data[4 * at + channel];
    }
    return encodePng(width, height, channels, pixels);
  }
}

// Returns the width in pixels of the lines of an image: their area by half the length of their outline.
export function lineWidthOf(bitmap, source) {
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  const isLine = (x, y) => (data[4 * (y * width + x)] < 128) === (source.pen === "#000000");
  let [area, outline] = [0, 0];
  for (let y = 1; y < height; y++) {
    for (let x = 1; x < width; x++) {
      area += isLine(x, y);
      outline += (isLine(x, y) !== isLine(x - 1, y)) + (isLine(x, y) !== isLine(x, y - 1));
    }
  }
  return outline ? (2 * area) / outline : 0;
}
