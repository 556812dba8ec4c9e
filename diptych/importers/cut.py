"""Generators of CUT and FastCUT: pytorch-CycleGAN-and-pix2pix's ResNet with filters where it halves and doubles.

One Sequential: 1, 4, 8, blocks from 12 on, two more convolutions and the last; `.filt` are the filters.
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
HALVE, DOUBLE = (1.0, 2.0, 1.0), (1.0, 3.0, 3.0, 1.0)  # rows of the filters that `diptych.networks.blur` applies


def fits(state: Mapping[str, Tensor]) -> bool:
    """Whether these are its keys: residual blocks, and filters beside them."""
    return any(key.endswith(".filt") for key in state) and any(re.match(BLOCK, key) for key in state)


def model(state: dict[str, Tensor], labels: Sequence[Labels], where: str) -> Conversion:
    """What `translate` needs of a file. Raises ImportRefused."""
    refuse_labels(labels, where)
    places = {int(match[1]) for key in state if (match := re.match(BLOCK, key))}
    check_gaps(places, FIRST_BLOCK, "residual block model.*", where)
    blocks = len(places)
    up = FIRST_BLOCK + blocks + 1
    _check_filters(state, up, where)
    try:
        first, last = state["model.1.weight"], state[f"model.{up + 8}.weight"]
    except KeyError as error:
        raise ImportRefused(f"{where}: looks like a generator of CUT, but {error} is missing") from error
    if first.shape[1] != last.shape[0]:
        raise ImportRefused(f"{where}: CUT's domains have as many channels; here {first.shape[1]} and {last.shape[0]}")
    layers = {1: "stem.1", 4: "down.0.0", 8: "down.1.0", up: "up.0.1", up + 4: "up.1.1"}
    biases = rf"model\.({'|'.join(map(str, layers))})\.bias|{BLOCK}[15]\.bias"
    norm = _norm(state, biases, where)
    config = {"channels": first.shape[1], "ngf": first.shape[0], "n_blocks": blocks, "norm": norm}
    second = 5 if norm == "instance" else 4  # of ours: no norm, no place for it
    found = rename_keys(
        state,
        [
            *((rf"model\.{at}\.weight", f"G.{ours}.weight") for at, ours in layers.items()),
            (rf"model\.{up + 8}\.(\w+)", r"G.head.1.\1"),
            *(
                (rf"model\.{FIRST_BLOCK + n}\.conv_block\.{at}\.weight", f"G.blocks.{n}.body.{our}.weight")
                for n in range(blocks)
                for at, our in ((1, 1), (5, second))
            ),
        ],
        rf".*\.filt|{STATISTICS}|{biases}",
    )
    if norm == "none":  # the public code then leaves these biases out, ours has them
        convs = [name for name in found if name.endswith(".weight") and "head" not in name]
        found |= {f"{name.removesuffix('weight')}bias": torch.zeros(found[name].shape[0]) for name in convs}
    return config, fit_to_config(CUT, config, found, NAME, where), ("G",)


def _norm(state: Mapping[str, Tensor], biases: str, where: str) -> str:
    """`instance` or `none`: InstanceNorm is given away by biases before it, all of them without effect."""
    if any(key.endswith(".running_mean") for key in state) and any(_scales(key, state) for key in state):
        raise ImportRefused(f"{where}: a generator of CUT with BatchNorm; Diptych's has InstanceNorm or none")
    return "instance" if any(re.fullmatch(biases, key) for key in state) else "none"


def _scales(key: str, state: Mapping[str, Tensor]) -> bool:
    return key.endswith(".weight") and state[key].dim() == 1


def _check_filters(state: Mapping[str, Tensor], up: int, where: str) -> None:
    """ImportRefused if an image would be filtered in another way than it was in training."""
    rows = {7: (HALVE, 1.0), 11: (HALVE, 1.0), up - 1: (DOUBLE, 4.0), up + 3: (DOUBLE, 4.0)}
    there = {key for key in state if key.endswith(".filt")}
    wanted = {f"model.{at}.filt" for at in rows}
    if there != wanted:
        odd = sorted(there ^ wanted)[0]
        raise ImportRefused(
            f"{where}: a generator of CUT {'without' if odd in wanted else 'with'} {odd}; Diptych's filters where it "
            f"halves and where it doubles (neither --no_antialias nor --no_antialias_up)"
        )
    for at, (row, gain) in rows.items():
        kernel = torch.outer(torch.tensor(row), torch.tensor(row))
        given, expected = state[f"model.{at}.filt"].float(), gain * kernel / kernel.sum()
        if given.shape[-2:] != expected.shape or not torch.allclose(given, expected.expand_as(given), atol=1e-4):
            values = [round(value, 4) for value in given.flatten()[:4].tolist()]
            raise ImportRefused(
                f"{where}: model.{at}.filt is not the filter {list(row)} of CUT's code, but {tuple(given.shape)} that "
                f"begins {values}; Diptych has that filter alone"
            )
