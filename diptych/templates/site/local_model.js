// A model in the browser as the backend of the playground: exported networks, run by onnxruntime-web.

import { controlInputs } from "./network_inputs.js";
import { pixelsOf, toBlob, toTensor } from "./pixels.js";

const MAX_DIFFERENCE = 2; // levels of 255, of the image that a device is checked with
const MAX_THREADS = 4;

let facts; // model.json
let device; // { name, ort, provider, sessions }

const bytesOf = async (address) => new Uint8Array(await (await fetched(address)).arrayBuffer());

async function fetched(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address} is missing: copy the entire folder to the server.`);
  return response;
}

async function webGpu() {
  if (!(await navigator.gpu?.requestAdapter())) return null;
  return { name: "WebGPU", provider: "webgpu", ort: await import("./ort/ort.webgpu.min.mjs") };
}

async function webAssembly() {
  const ort = await import("./ort/ort.wasm.min.mjs");
  const threads = crossOriginIsolated ? Math.min(MAX_THREADS, navigator.hardwareConcurrency) : 1;
  return { name: `WebAssembly, ${threads} ${threads > 1 ? "threads" : "thread"}`, provider: "wasm", ort, threads };
}

// Opens the network with the first device that translates the image of the check as onnxruntime does in Python.
async function open() {
  const network = await bytesOf("model.onnx");
  const reasons = [];
  for (const start of [webGpu, webAssembly]) {
    try {
      const tried = await start();
      if (!tried) continue;
      Object.assign(tried.ort.env.wasm, { wasmPaths: new URL("./ort/", import.meta.url).href, numThreads: tried.threads ?? 1 });
      tried.sessions = { "": await session(tried, network) };
      const difference = facts.has_check ? await largestDifference(tried) : 0;
      if (difference <= MAX_DIFFERENCE) return tried;
      reasons.push(`${tried.name} is off by ${difference} levels`);
    } catch (error) {
      reasons.push(error.message);
    }
  }
  throw new Error(`This browser cannot run the model: ${reasons.join("; ")}.`);
}

const session = ({ ort, provider }, bytes) => ort.InferenceSession.create(bytes, { executionProviders: [provider] });

async function largestDifference(tried) {
  const pixels = async (file) => pixelsOf(await (await fetched(file)).blob());
  const input = facts.description.translates ? await pixels("check-input.png") : null;
  const expected = await pixels("check-output.png");
  const output = await run(tried, input, defaults(), {});
  return output.data.reduce((largest, value, at) => Math.max(largest, Math.abs(value - expected.data[at])), 0);
}

const defaults = () => Object.fromEntries(facts.description.controls.map((control) => [control.name, control.default]));

// Runs one graph on named arrays { data, dims } and returns the data and dims of its output.
async function compute({ ort }, graph, arrays) {
  const feeds = Object.fromEntries(Object.entries(arrays).map(([name, { data, dims }]) => [name, new ort.Tensor(data instanceof BigInt64Array ? "int64" : "float32", data, dims)]));
  const outputs = await graph.run(feeds);
  const output = outputs[graph.outputNames[0]];
  return { data: await output.getData(), dims: output.dims };
}

async function companion(tried, role, arrays) {
  const { file } = facts.metadata.companions.find((each) => each.role === role);
  tried.sessions[role] ??= session(tried, await bytesOf(file));
  return compute(tried, await tried.sessions[role], arrays);
}

// Returns the translation of pixels, or without them a generated image, as pixels (RGBA).
async function run(tried, pixels, values, images) {
  const { metadata, description } = facts;
  const image = pixels && { image: toTensor(pixels, description.source.channels) };
  const inputs = await controlInputs(facts, values, images, (role, arrays) => companion(tried, role, arrays));
  const { data, dims } = await compute(tried, tried.sessions[""], { ...image, ...inputs(metadata.inputs) });
  return fromTensor(data, dims);
}

function fromTensor(data, [, channels, height, width]) {
  const pixels = new ImageData(width, height);
  const plane = height * width;
  for (let at = 0; at < plane; at++) {
    for (let channel = 0; channel < 3; channel++) {
      const value = data[(channels === 1 ? 0 : channel) * plane + at];
      pixels.data[4 * at + channel] = Math.round((Math.min(Math.max(value, -1), 1) + 1) * 127.5);
    }
    pixels.data[4 * at + 3] = 255;
  }
  return pixels;
}

export async function models() {
  facts = await (await fetched("model.json")).json();
  if (facts.metadata.latent) facts.codes = new Float32Array((await bytesOf("codes.bin")).buffer);
  device = await open();
  document.getElementById("device").textContent = `Computed in this browser by ${device.name}; no image leaves this machine.`;
  return [facts.description];
}

export const example = async (address) => (await fetched(address)).blob();

// Returns the translation of `image`, or image `number` of a seed, as a Blob.
export async function translate(model, { image, values, images, seed, number }, format, signal) {
  const pixels = model.translates ? await sourcePixels(model, image) : null;
  signal?.throwIfAborted();
  const controls = { ...defaults(), ...values, ...(!model.translates && { seed, number }) };
  return toBlob(await run(device, pixels, controls, images), format);
}

async function sourcePixels(model, image) {
  const { fixed_size: isFixed, image_size: side } = facts.metadata;
  const pixels = await pixelsOf(image, isFixed ? side : null);
  const megapixels = (pixels.width * pixels.height) / 1e6;
  if (megapixels > model.max_megapixels) throw Object.assign(new Error(`The image has ${megapixels.toFixed(1)} megapixels; this page takes ${model.max_megapixels}.`), { field: "image" });
  return pixels;
}
