"""Import of SRGAN generators of the leftthomas/SRGAN code and its forks, with any depth and scale.

    block1.{0,1} block2..N.{conv1,bn1,prelu,conv2,bn2} block7.{0,1} block8.K.{conv,prelu} block8.2

The input range is [0, 1]. The original output (tanh + 1) / 2 corresponds to Diptych's tanh output in [-1, 1].
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
FIRST_CONV = "block1.0.weight"
LEAF = "(weight|bias|running_mean|running_var|num_batches_tracked)"


def fits(state: Mapping[str, Tensor]) -> bool:
    """Return whether the state dict has the keys of an SRGAN generator."""
    return FIRST_CONV in state and any(key.endswith(".conv.weight") for key in state)


def model(
    state: Mapping[str, Tensor], labels: Sequence[Labels], where: str
) -> tuple[dict[str, Any], dict[str, Tensor], tuple[str, ...]]:
    """Return the config, the renamed weights and the names of the imported networks. Raises ImportRefused."""
    refuse_labels(labels, where)
    block_numbers = sorted({int(match[1]) for key in state if (match := re.match(r"block(\d{1,4})\.", key))})
    check_gaps(block_numbers, 1, "block*", where)
    if len(block_numbers) < 3:
        raise ImportRefused(
            f"{where}: looks like a generator of SRGAN, but has only {len(block_numbers)} of its blocks"
        )
    up_block, joint_block = block_numbers[-1], block_numbers[-2]
    shuffle_indices = sorted(
        {int(match[1]) for key in state if (match := re.match(rf"block{up_block}\.(\d{{1,4}})\.conv\.", key))}
    )
    if not shuffle_indices:
        raise ImportRefused(f"{where}: looks like a generator of SRGAN, but block{up_block}.0.conv.weight is missing")
    check_gaps(shuffle_indices, 0, f"block{up_block}.*.conv", where)
    has_norm = f"block{joint_block}.1.running_mean" in state
    prefixes = {"stem": "block1", "joint": f"block{joint_block}", "head": f"block{up_block}.{shuffle_indices[-1] + 1}"}
    weights: dict[str, Tensor] = {}
    try:
        for leaf in ("0.weight", "0.bias", "1.weight"):
            weights[f"G.stem.{leaf}"] = state[f"{prefixes['stem']}.{leaf}"]
        for index, block in enumerate(block_numbers[1:-2]):
            for layer, conv, norm in ((0, "conv1", "bn1"), (3, "conv2", "bn2")):
                weights |= _fold_conv_and_norm(
                    state, f"block{block}.{conv}", f"block{block}.{norm}", f"G.blocks.{index}.body", layer
                )
            weights[f"G.blocks.{index}.body.2.weight"] = state[f"block{block}.prelu.weight"]
        if has_norm:
            weights |= _fold_conv_and_norm(state, f"{prefixes['joint']}.0", f"{prefixes['joint']}.1", "G.joint", 0)
        else:
            for leaf in ("0.weight", "0.bias", "1.weight"):
                weights[f"G.joint.{leaf}"] = state[f"{prefixes['joint']}.{leaf}"]
        for index, block in enumerate(shuffle_indices):
            for leaf, source in (("0.weight", "conv.weight"), ("0.bias", "conv.bias"), ("2.weight", "prelu.weight")):
                weights[f"G.up.{index}.{leaf}"] = state[f"block{up_block}.{block}.{source}"]
        for leaf in ("weight", "bias"):
            weights[f"G.head.{leaf}"] = state[f"{prefixes['head']}.{leaf}"]
    except KeyError as error:
        raise ImportRefused(f"{where}: looks like a generator of SRGAN, but {error} is missing") from error
    known_keys = (
        rf"block1\.[01]|block{joint_block}\.[01]|block{up_block}\.\d+\.(conv|prelu)|{re.escape(prefixes['head'])}"
    )
    known_keys += rf"|block({'|'.join(map(str, block_numbers[1:-2]))})\.(conv[12]|bn[12]|prelu)"
    if unknown := [key for key in state if not re.fullmatch(rf"({known_keys})\.{LEAF}", key)]:
        suffix = f", and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise ImportRefused(f"{where}: looks like a generator of SRGAN, but {shown(unknown[0])} is unknown{suffix}")
    ngf, channels = state[FIRST_CONV].shape[:2]
    config = {
        "channels": channels,
        "ngf": ngf,
        "n_blocks": len(block_numbers) - 3,
        "scale": 2 ** len(shuffle_indices),
        "pre_upsample": "norm" if has_norm else "prelu",
        "output_activation": "tanh",
    }
    return config, weights, ("G",)


def _fold_conv_and_norm(
    state: Mapping[str, Tensor], conv: str, norm: str, prefix: str, index: int
) -> dict[str, Tensor]:
    """Return the renamed weights of a convolution and its BatchNorm, with the bias folded into the running mean."""
    bias = state.get(f"{conv}.bias", torch.zeros(()))
    return {
        f"{prefix}.{index}.weight": state[f"{conv}.weight"],
        f"{prefix}.{index + 1}.weight": state[f"{norm}.weight"],
        f"{prefix}.{index + 1}.bias": state[f"{norm}.bias"],
        f"{prefix}.{index + 1}.running_mean": state[f"{norm}.running_mean"] - bias,
        f"{prefix}.{index + 1}.running_var": state[f"{norm}.running_var"],
        f"{prefix}.{index + 1}.num_batches_tracked": state.get(
            f"{norm}.num_batches_tracked", torch.zeros((), dtype=torch.int64)
        ),
    }
