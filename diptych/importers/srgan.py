"""Generators of SRGAN as leftthomas published them, and forks of that code: whatever their depth, scale and joint.

    block1.{0,1} block2..N.{conv1,bn1,prelu,conv2,bn2} block7.{0,1} block8.K.{conv,prelu} block8.2

Their input is in [0, 1], as ours; their output, (tanh + 1) / 2, is ours in [-1, 1].
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from diptych.contract import Labels
from diptych.errors import ImportRefused, shown
from diptych.importers.rename_keys import check_gaps, refuse_labels

NAME = "srgan"
FIRST = "block1.0.weight"
LEAF = "(weight|bias|running_mean|running_var|num_batches_tracked)"


def fits(state: Mapping[str, Tensor]) -> bool:
    """Whether these are its keys."""
    return FIRST in state and any(key.endswith(".conv.weight") for key in state)


def model(
    state: Mapping[str, Tensor], labels: Sequence[Labels], where: str
) -> tuple[dict[str, Any], dict[str, Tensor], tuple[str, ...]]:
    """Its config, its weights under our names, and the networks they are of. ImportRefused for what is not whole."""
    refuse_labels(labels, where)
    numbers = sorted({int(match[1]) for key in state if (match := re.match(r"block(\d{1,4})\.", key))})
    check_gaps(numbers, 1, "block*", where)
    if len(numbers) < 3:
        raise ImportRefused(f"{where}: looks like a generator of SRGAN, but has only {len(numbers)} of its blocks")
    up, joint = numbers[-1], numbers[-2]
    shuffles = sorted({int(match[1]) for key in state if (match := re.match(rf"block{up}\.(\d{{1,4}})\.conv\.", key))})
    if not shuffles:
        raise ImportRefused(f"{where}: looks like a generator of SRGAN, but block{up}.0.conv.weight is missing")
    check_gaps(shuffles, 0, f"block{up}.*.conv", where)
    normed = f"block{joint}.1.running_mean" in state
    names = {"stem": "block1", "joint": f"block{joint}", "head": f"block{up}.{shuffles[-1] + 1}"}
    found: dict[str, Tensor] = {}
    try:
        for part in ("0.weight", "0.bias", "1.weight"):
            found[f"G.stem.{part}"] = state[f"{names['stem']}.{part}"]
        for place, number in enumerate(numbers[1:-2]):
            for ours, conv, norm in ((0, "conv1", "bn1"), (3, "conv2", "bn2")):
                found |= _normed(
                    state, f"block{number}.{conv}", f"block{number}.{norm}", f"G.blocks.{place}.body", ours
                )
            found[f"G.blocks.{place}.body.2.weight"] = state[f"block{number}.prelu.weight"]
        if normed:
            found |= _normed(state, f"{names['joint']}.0", f"{names['joint']}.1", "G.joint", 0)
        else:
            for part in ("0.weight", "0.bias", "1.weight"):
                found[f"G.joint.{part}"] = state[f"{names['joint']}.{part}"]
        for place, number in enumerate(shuffles):
            for part, theirs in (("0.weight", "conv.weight"), ("0.bias", "conv.bias"), ("2.weight", "prelu.weight")):
                found[f"G.up.{place}.{part}"] = state[f"block{up}.{number}.{theirs}"]
        for part in ("weight", "bias"):
            found[f"G.head.{part}"] = state[f"{names['head']}.{part}"]
    except KeyError as error:
        raise ImportRefused(f"{where}: looks like a generator of SRGAN, but {error} is missing") from error
    layers = rf"block1\.[01]|block{joint}\.[01]|block{up}\.\d+\.(conv|prelu)|{re.escape(names['head'])}"
    layers += rf"|block({'|'.join(map(str, numbers[1:-2]))})\.(conv[12]|bn[12]|prelu)"
    if unknown := [key for key in state if not re.fullmatch(rf"({layers})\.{LEAF}", key)]:
        more = f", and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise ImportRefused(f"{where}: looks like a generator of SRGAN, but {shown(unknown[0])} is unknown{more}")
    width, channels = state[FIRST].shape[:2]
    config = {
        "channels": channels,
        "ngf": width,
        "n_blocks": len(numbers) - 3,
        "scale": 2 ** len(shuffles),
        "pre_upsample": "norm" if normed else "prelu",
        "output_activation": "tanh",
    }
    return config, found, ("G",)


def _normed(state: Mapping[str, Tensor], conv: str, norm: str, ours: str, place: int) -> dict[str, Tensor]:
    """A convolution and its BatchNorm. Ours has no bias there: it is taken from the running mean, which is the same."""
    bias = state.get(f"{conv}.bias", torch.zeros(()))
    return {
        f"{ours}.{place}.weight": state[f"{conv}.weight"],
        f"{ours}.{place + 1}.weight": state[f"{norm}.weight"],
        f"{ours}.{place + 1}.bias": state[f"{norm}.bias"],
        f"{ours}.{place + 1}.running_mean": state[f"{norm}.running_mean"] - bias,
        f"{ours}.{place + 1}.running_var": state[f"{norm}.running_var"],
        f"{ours}.{place + 1}.num_batches_tracked": state.get(
            f"{norm}.num_batches_tracked", torch.zeros((), dtype=torch.int64)
        ),
    }
