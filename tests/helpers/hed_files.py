"""Files with random weights of HED, by the names of the public port: no published ones are at hand."""

from itertools import pairwise

import torch
from safetensors.torch import save_file

from diptych.networks.hed import BLOCKS


def port_state(seed=0, prefix="net", dtype=torch.float16):
    """The state dict of the port, with random weights, and with a gain that makes outputs differ between pixels."""
    generator = torch.Generator().manual_seed(seed)
    state = {}

    def layer(name, outputs, inputs, size, gain):
        scale = gain * (2 / (inputs * size * size)) ** 0.5
        state[f"{prefix}{name}.weight"] = torch.randn(outputs, inputs, size, size, generator=generator) * scale
        state[f"{prefix}{name}.bias"] = torch.randn(outputs, generator=generator) * 0.1

    for block, channels in BLOCKS.items():
        for number, (inputs, outputs) in enumerate(pairwise(channels)):
            layer(f"Vgg{block}.{2 * number + (block != 'One')}", outputs, inputs, 3, 1)
        layer(f"Score{block}", 1, channels[-1], 1, 0.01)
    layer("Combine.0", 1, len(BLOCKS), 1, 1)
    return {key: value.to(dtype) for key, value in state.items()}


def hed_file(folder, **options):
    """A safetensors file with `port_state`."""
    path = folder / "hed.safetensors"
    save_file(port_state(**options), path)
    return path
