"""Generators of CUT and FastCUT: pytorch-CycleGAN-and-pix2pix's ResNet with filters where it halves and doubles.

One Sequential: 1, 4, 8, blocks from 12 on, two more convolutions and the last; `.filt` are filters, always the same.
"""

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from diptych.contract import Labels
from diptych.errors import ImportRefused
from diptych.importers.keys import Model, count, fitted, renamed, without_labels
from diptych.methods.cut import CUT

NAME = "cut"
FIRST_BLOCK = 12
BLOCK = r"model\.(\d+)\.conv_block\."
IDLE = r".*\.filt|.*\.(running_mean|running_var|num_batches_tracked)"


def fits(state: Mapping[str, Tensor]) -> bool:
    """Whether these are its keys: residual blocks, and filters beside them."""
    return any(key.endswith(".filt") for key in state) and any(re.match(BLOCK, key) for key in state)


def model(state: dict[str, Tensor], labels: Sequence[Labels], where: str) -> Model:
    """What `translate` needs of a file. Raises ImportRefused."""
    without_labels(labels, where)
    blocks = count(state, BLOCK)
    up = FIRST_BLOCK + blocks + 1
    try:
        first, last = state["model.1.weight"], state[f"model.{up + 8}.weight"]
    except KeyError as error:
        raise ImportRefused(f"{where}: looks like a generator of CUT, but {error} is missing") from error
    if first.shape[1] != last.shape[0]:
        raise ImportRefused(f"{where}: CUT's domains have as many channels; here {first.shape[1]} and {last.shape[0]}")
    config = {"channels": first.shape[1], "width": first.shape[0], "blocks": blocks}
    places = {1: "stem.1", 4: "down.0.0", 8: "down.1.0", up: "up.0.1", up + 4: "up.1.1"}
    found = renamed(
        state,
        [
            *((rf"model\.{at}\.weight", f"G.{ours}.weight") for at, ours in places.items()),
            (rf"model\.{up + 8}\.(\w+)", r"G.head.1.\1"),
            *(
                (rf"model\.{FIRST_BLOCK + n}\.conv_block\.([15])\.weight", rf"G.blocks.{n}.body.\1.weight")
                for n in range(blocks)
            ),
        ],
        IDLE + rf"|model\.({'|'.join(map(str, places))})\.bias|{BLOCK}[15]\.bias",
    )
    return config, fitted(CUT, config, found, NAME, where), ("G",)
