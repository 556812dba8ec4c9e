"""Import of MSGAN's pix2pix generators: BicycleGAN's U-Net with noise at all levels (`latest_net_G.pth`).

Keys: model.down.0  model.submodule.down.1  model.submodule.submodule.down.1 ...  model.submodule.up.1  model.up.1
"""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from diptych.contract import Labels
from diptych.errors import ImportRefused
from diptych.importers.rename_keys import Conversion, fit_to_config, refuse_labels, rename_keys
from diptych.methods.msgan import MSGAN

NAME = "msgan"
FIRST_CONV, STATISTICS = "model.down.0.weight", r".*\.(running_mean|running_var|num_batches_tracked)"
UP_CONV_INDEX = {"deconv": 1, "resize_conv": 3}  # convolution after ReLU; after ReLU, Upsample and padding


def fits(state: Mapping[str, Tensor]) -> bool:
    """Return whether the state dict has the nested keys of BicycleGAN's U-Net."""
    return any(key.startswith("model.submodule.") for key in state)


def model(state: dict[str, Tensor], labels: Sequence[Labels], where: str) -> Conversion:
    """Return the config, the renamed weights and the names of the imported networks. Raises ImportRefused."""
    refuse_labels(labels, where)
    upsample = "resize_conv" if "model.up.3.weight" in state else "deconv"
    up = UP_CONV_INDEX[upsample]
    _check_variant(state, where)
    levels = ["model"]
    while f"{levels[-1]}.submodule.down.1.weight" in state:
        levels.append(f"{levels[-1]}.submodule")
    first_conv, last_conv = state[FIRST_CONV], state[f"model.up.{up}.weight"]
    depth, ngf = len(levels), first_conv.shape[0]
    noise = state["model.submodule.down.1.weight"].shape[1] - ngf
    if noise < 1:
        raise ImportRefused(f"{where}: a U-Net without noise in its inner levels; only noise at all levels is read")
    config = {
        "in_channels": first_conv.shape[1] - noise,
        "out_channels": last_conv.shape[1 if upsample == "deconv" else 0],
        "latent_dim": noise,
        "ngf": ngf,
        "image_size": 2**depth,
        "upsample": upsample,
    }
    reordered = {key: _reorder_channels(key, value, levels, up) for key, value in state.items()}
    level_patterns = [re.escape(level) for level in levels]
    patterns = [
        (rf"{level}\.down\.[01]\.(\w+)", rf"G.down.{n}.{min(n, 1)}.\1") for n, level in enumerate(level_patterns)
    ]
    patterns += [
        (rf"{level}\.up\.{up}\.(\w+)", rf"G.up.{depth - 1 - n}.{up}.\1") for n, level in enumerate(level_patterns)
    ]
    unused_biases = [rf"{level}\.down\.1\.bias" for level in level_patterns[1:-1]] + [
        rf"{level}\.up\.{up}\.bias" for level in level_patterns[1:]
    ]
    weights = rename_keys(reordered, patterns, "|".join([STATISTICS, *unused_biases]))
    return config, fit_to_config(MSGAN, config, weights, NAME, where), ("G",)


def _check_variant(state: Mapping[str, Tensor], where: str) -> None:
    """Raise ImportRefused for variants of the U-Net that Diptych does not support."""
    second_layer = state.get("model.submodule.down.2.weight")
    if "model.down.1.weight" in state or (second_layer is not None and second_layer.dim() == 4):
        raise ImportRefused(f"{where}: a U-Net with noise and padding_type reflect or replicate; only zero is read")
    if second_layer is not None:
        raise ImportRefused(
            f"{where}: a U-Net with noise and BatchNorm; MSGAN's has InstanceNorm, and only that is read"
        )


def _reorder_channels(key: str, value: Tensor, levels: Sequence[str], up: int) -> Tensor:
    """Return a weight with its input channels in Diptych's order: skip connection first, then the lower level.

    BicycleGAN's decoder concatenates them in the reverse order. Only decoder weights are changed.
    """
    level = key.removesuffix(f".up.{up}.weight")
    if level == key or level == levels[-1] or level not in levels:
        return value
    input_dim = 0 if up == UP_CONV_INDEX["deconv"] else 1  # transposed convolutions: (in, out, height, width)
    lower, skip = value.chunk(2, input_dim)
    return torch.cat([skip, lower], input_dim)
