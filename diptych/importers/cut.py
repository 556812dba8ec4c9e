"""Import of CUT and FastCUT generators: the ResNet of CycleGAN with antialiased down- and upsampling.

The checkpoint holds one Sequential: convolutions at 1, 4 and 8, residual blocks from 12, two upsampling convolutions
and the output convolution. Keys that end in `.filt` are the blur filters.
"""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from diptych.contract import Labels
from diptych.errors import ImportRefused
from diptych.importers.rename_keys import Conversion, check_gaps, fit_to_config, refuse_labels, rename_keys
from diptych.methods.cut import CUT

NAME = "cut"
FIRST_BLOCK = 12
BLOCK = r"model\.(\d+)\.conv_block\."
STATISTICS = r".*\.(running_mean|running_var|num_batches_tracked)"
BLUR_DOWN, BLUR_UP = (1.0, 2.0, 1.0), (1.0, 3.0, 3.0, 1.0)  # filter rows of `diptych.networks.blur`


def fits(state: Mapping[str, Tensor]) -> bool:
    """Return whether the state dict has residual blocks and blur filters."""
    return any(key.endswith(".filt") for key in state) and any(re.match(BLOCK, key) for key in state)


def model(state: dict[str, Tensor], labels: Sequence[Labels], where: str) -> Conversion:
    """Return the config, the renamed weights and the names of the imported networks. Raises ImportRefused."""
    refuse_labels(labels, where)
    block_indices = {int(match[1]) for key in state if (match := re.match(BLOCK, key))}
    check_gaps(block_indices, FIRST_BLOCK, "residual block model.*", where)
    n_blocks = len(block_indices)
    up_start = FIRST_BLOCK + n_blocks + 1
    _check_filters(state, up_start, where)
    try:
        first, last = state["model.1.weight"], state[f"model.{up_start + 8}.weight"]
    except KeyError as error:
        raise ImportRefused(f"{where}: looks like a generator of CUT, but {error} is missing") from error
    if first.shape[1] != last.shape[0]:
        raise ImportRefused(f"{where}: CUT's domains have as many channels; here {first.shape[1]} and {last.shape[0]}")
    layers = {1: "stem.1", 4: "down.0.0", 8: "down.1.0", up_start: "up.0.1", up_start + 4: "up.1.1"}
    biases = rf"model\.({'|'.join(map(str, layers))})\.bias|{BLOCK}[15]\.bias"
    norm = _norm_type(state, biases, where)
    config = {"channels": first.shape[1], "ngf": first.shape[0], "n_blocks": n_blocks, "norm": norm}
    second_conv = 5 if norm == "instance" else 4  # index of the block's second convolution in Diptych's network
    weights = rename_keys(
        state,
        [
            *((rf"model\.{index}\.weight", f"G.{layer}.weight") for index, layer in layers.items()),
            (rf"model\.{up_start + 8}\.(\w+)", r"G.head.1.\1"),
            *(
                (rf"model\.{FIRST_BLOCK + n}\.conv_block\.{index}\.weight", f"G.blocks.{n}.body.{layer}.weight")
                for n in range(n_blocks)
                for index, layer in ((1, 1), (5, second_conv))
            ),
        ],
        rf".*\.filt|{STATISTICS}|{biases}",
    )
    if norm == "none":  # the original code has no biases here; Diptych's network has them
        conv_keys = [key for key in weights if key.endswith(".weight") and "head" not in key]
        weights |= {f"{key.removesuffix('weight')}bias": torch.zeros(weights[key].shape[0]) for key in conv_keys}
    return config, fit_to_config(CUT, config, weights, NAME, where), ("G",)


def _norm_type(state: Mapping[str, Tensor], bias_keys: str, where: str) -> str:
    """Return `instance` if convolutions before a norm have biases, else `none`. InstanceNorm cancels these biases."""
    if any(key.endswith(".running_mean") for key in state) and any(_is_norm_weight(key, state) for key in state):
        raise ImportRefused(f"{where}: a generator of CUT with BatchNorm; Diptych's has InstanceNorm or none")
    return "instance" if any(re.fullmatch(bias_keys, key) for key in state) else "none"


def _is_norm_weight(key: str, state: Mapping[str, Tensor]) -> bool:
    """Return whether a key is the weight of an affine norm."""
    return key.endswith(".weight") and state[key].dim() == 1


def _check_filters(state: Mapping[str, Tensor], up_start: int, where: str) -> None:
    """Raise ImportRefused unless the blur filters are those of Diptych's network."""
    filters = {7: (BLUR_DOWN, 1.0), 11: (BLUR_DOWN, 1.0), up_start - 1: (BLUR_UP, 4.0), up_start + 3: (BLUR_UP, 4.0)}
    present = {key for key in state if key.endswith(".filt")}
    required = {f"model.{index}.filt" for index in filters}
    if present != required:
        key = sorted(present ^ required)[0]
        raise ImportRefused(
            f"{where}: a generator of CUT {'without' if key in required else 'with'} {key}; Diptych's filters where it "
            f"halves and where it doubles (neither --no_antialias nor --no_antialias_up)"
        )
    for index, (row, gain) in filters.items():
        kernel = torch.outer(torch.tensor(row), torch.tensor(row))
        actual, expected = state[f"model.{index}.filt"].float(), gain * kernel / kernel.sum()
        if actual.shape[-2:] != expected.shape or not torch.allclose(actual, expected.expand_as(actual), atol=1e-4):
            values = [round(value, 4) for value in actual.flatten()[:4].tolist()]
            raise ImportRefused(
                f"{where}: model.{index}.filt is not the filter {list(row)} of CUT's code, but "
                f"{tuple(actual.shape)} that begins {values}; Diptych has that filter alone"
            )
