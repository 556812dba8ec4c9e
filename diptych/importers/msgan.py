"""Generators of MSGAN's pix2pix, which are BicycleGAN's U-Net with noise at all levels (`latest_net_G.pth`).

model.down.0  model.submodule.down.1  model.submodule.submodule.down.1 ...  model.submodule.up.1  model.up.1
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
FIRST, STATISTICS = "model.down.0.weight", r".*\.(running_mean|running_var|num_batches_tracked)"
UPS = {"basic": 1, "bilinear": 3}  # the place of the convolution: behind ReLU; behind ReLU, Upsample and padding


def fits(state: Mapping[str, Tensor]) -> bool:
    """Whether these are its keys."""
    return any(key.startswith("model.submodule.") for key in state)


def model(state: dict[str, Tensor], labels: Sequence[Labels], where: str) -> Conversion:
    """What `translate` needs of a file. Raises ImportRefused, for one with another norm than InstanceNorm too."""
    refuse_labels(labels, where)
    upsample = "bilinear" if "model.up.3.weight" in state else "basic"
    up = UPS[upsample]
    _check_form(state, where)
    levels = ["model"]
    while f"{levels[-1]}.submodule.down.1.weight" in state:
        levels.append(f"{levels[-1]}.submodule")
    first, last = state[FIRST], state[f"model.up.{up}.weight"]
    depth, width = len(levels), first.shape[0]
    noise = state["model.submodule.down.1.weight"].shape[1] - width
    if noise < 1:
        raise ImportRefused(f"{where}: a U-Net without noise in its inner levels; only noise at all levels is read")
    config = {
        "in_channels": first.shape[1] - noise,
        "out_channels": last.shape[1 if upsample == "basic" else 0],
        "latent_dim": noise,
        "ngf": width,
        "image_size": 2**depth,
        "upsample": upsample,
    }
    turned = {key: _turned(key, value, levels, up) for key, value in state.items()}
    named = [re.escape(level) for level in levels]
    patterns = [(rf"{at}\.down\.[01]\.(\w+)", rf"G.down.{n}.{min(n, 1)}.\1") for n, at in enumerate(named)]
    patterns += [(rf"{at}\.up\.{up}\.(\w+)", rf"G.up.{depth - 1 - n}.{up}.\1") for n, at in enumerate(named)]
    before_norms = [rf"{at}\.down\.1\.bias" for at in named[1:-1]] + [rf"{at}\.up\.{up}\.bias" for at in named[1:]]
    found = rename_keys(turned, patterns, "|".join([STATISTICS, *before_norms]))
    return config, fit_to_config(MSGAN, config, found, NAME, where), ("G",)


def _check_form(state: Mapping[str, Tensor], where: str) -> None:
    """ImportRefused for what BicycleGAN's code can make and Diptych cannot."""
    second = state.get("model.submodule.down.2.weight")
    if "model.down.1.weight" in state or (second is not None and second.dim() == 4):
        raise ImportRefused(f"{where}: a U-Net with noise and padding_type reflect or replicate; only zero is read")
    if second is not None:
        raise ImportRefused(
            f"{where}: a U-Net with noise and BatchNorm; MSGAN's has InstanceNorm, and only that is read"
        )


def _turned(key: str, value: Tensor, levels: Sequence[str], up: int) -> Tensor:
    """On the way up theirs has what comes from below before what skipped past it, ours behind it."""
    level = key.removesuffix(f".up.{up}.weight")
    if level == key or level == levels[-1] or level not in levels:
        return value
    inputs = 0 if up == UPS["basic"] else 1  # transposed convolutions have them first
    below, skipped = value.chunk(2, inputs)
    return torch.cat([skipped, below], inputs)
