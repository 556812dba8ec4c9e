// What controls become: the inputs of a network beside the image.

import { squareOf, toTensor } from "./pixels.js";

const NONE = -1; // of `toward`

// Returns a function from descriptions of inputs to arrays; `companion(role, arrays)` runs a network beside the model.
export async function controlInputs(facts, values, images, companion) {
  const { metadata, codes, domains } = facts;
  const reference = await referenceOf(metadata, images.reference);
  const second = await referenceOf(metadata, images.toward_reference);

  const number = Number(values.number ?? 0); // of generated images
  const code = (seed) => {
    const { dim } = metadata.latent;
    check("seed", seed, facts.seeds);
    check("number", number, facts.numbers);
    const at = (seed * facts.numbers + number) * dim;
    return { data: codes.slice(at, at + dim), dims: [1, dim] };
  };

  const ofLabels = (name) => {
    if (!domains[values.domain]) throw Object.assign(new Error("Choose a domain."), { field: "domain" });
    return domains[values.domain][name];
  };

  const encode = (inputs, seed, image, style) => Object.fromEntries(inputs.filter(({ name }) => name !== "image").map(({ name }) => {
    switch (name) {
      case "latent": return [name, code(seed)];
      case "style": return [name, style];
      case "labels": return [name, { data: Float32Array.from(ofLabels(name)), dims: [1, ofLabels(name).length] }];
      case "domain": return [name, { data: BigInt64Array.from(ofLabels(name), BigInt), dims: [1] }];
      default: return [name, image];
    }
  }));

  const styleOf = async (seed, image) => {
    const role = image ? "style_encoder" : "mapping_network";
    const network = metadata.companions.find((each) => each.role === role);
    return network ? companion(role, encode(network.inputs, seed, image)) : code(seed);
  };

  const seed = Number(values.seed ?? 0);
  const toward = Number(values.toward ?? NONE);
  const mix = Number(values.mix ?? 0);
  const hasSecond = second || toward > NONE;
  let style;
  if (metadata.inputs.some(({ name }) => name === "style")) {
    style = await styleOf(seed, reference);
    if (mix && !hasSecond) throw Object.assign(new Error("Mixing needs a second style."), { field: "mix" });
    if (mix) style = interpolated(style, await styleOf(toward, second), mix);
  }
  return (inputs) => encode(inputs, seed, reference, style);
}

function check(name, value, count) {
  if (!Number.isInteger(value) || value < 0 || value >= count) throw Object.assign(new Error(`This page has the ${name}s 0 to ${count - 1}.`), { field: name });
}

async function referenceOf(metadata, file) {
  if (!file) return undefined;
  const { shape } = metadata.companions.concat([metadata]).flatMap(({ inputs }) => inputs).find(({ name }) => name === "reference");
  return toTensor(await squareOf(file, metadata.image_size), shape[0]);
}

const interpolated = (first, second, weight) => ({
  data: first.data.map((value, at) => value + weight * (second.data[at] - value)),
  dims: first.dims,
});
