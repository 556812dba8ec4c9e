// Images as pixels and as network inputs.

// Returns an image file as ImageData over white; at `side` x `side` pixels, or in its size.
export async function pixelsOf(blob, side = null) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const [width, height] = side ? [side, side] : [bitmap.width, bitmap.height];
  return drawn(bitmap, [0, 0, bitmap.width, bitmap.height], width, height);
}

// Returns the square in the middle of an image file as ImageData of `side` x `side` pixels.
export async function squareOf(blob, side) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const length = Math.min(bitmap.width, bitmap.height);
  const corner = [bitmap.width, bitmap.height].map((size) => Math.floor((size - length) / 2));
  return drawn(bitmap, [...corner, length, length], side, side);
}

function drawn(bitmap, part, width, height) {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, ...part, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

// Returns pixels as a network input (1, channels, height, width) in [-1, 1].
export function toTensor({ data, width, height }, channels) {
  const plane = width * height;
  const values = new Float32Array(channels * plane);
  for (let at = 0; at < plane; at++) {
    const [red, green, blue] = data.subarray(4 * at, 4 * at + 3);
    if (channels === 1) values[at] = grey(red, green, blue) / 127.5 - 1;
    else [red, green, blue].forEach((value, channel) => { values[channel * plane + at] = value / 127.5 - 1; });
  }
  return { data: values, dims: [1, channels, height, width] };
}

// Luminance by ITU-R 601-2, in the integers that Python uses.
const grey = (red, green, blue) => (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;

export async function toBlob(pixels, format) {
  const canvas = new OffscreenCanvas(pixels.width, pixels.height);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas.convertToBlob({ type: `image/${format}`, quality: 0.95 });
}
