"""Published weights of StarGAN v2's face landmark network: `wing.ckpt`, or `fan` in a checkpoint of that code."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from diptych.errors import ImportRefused
from diptych.importers.rename_keys import check_state, rename_keys
from diptych.networks.face_landmarks import FaceLandmarks

DEPTH = 4  # of the hourglass
COUNTER = "num_batches_tracked"  # of BatchNorm: absent in files of old versions of torch, and used only in training
LAYERS = {
    r"conv1\.conv": "stem.conv",
    "bn1": "stem_norm",
    r"m0\.coordconv\.conv": "entry.conv",
    "conv_last0": "last",
    "bn_end0": "last_norm",
    "l0": "head",
}
BLOCKS = {"conv2": "blocks.0", "conv3": "blocks.1", "conv4": "blocks.2", "top_m_0": "exit"}


def fits(state: Mapping[str, Tensor]) -> bool:
    """Return whether the state dict has the keys of the landmark network."""
    return "m0.coordconv.conv.weight" in state


def convert(state: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Return the weights by the names of `FaceLandmarks`. Other tensors are ignored: files have further hourglasses.

    Raises ImportRefused for missing tensors and wrong shapes.
    """
    if not fits(state):
        raise ImportRefused(f"{where}: not the face landmark network of StarGAN v2 (`wing.ckpt`)")
    with torch.device("meta"):
        expected = FaceLandmarks().state_dict()
    weights = rename_keys(state, list(_patterns()), ".*", expected)
    counters = {key: torch.zeros((), dtype=torch.long) for key in expected if key.endswith(COUNTER)}
    weights = counters | weights
    check_state(expected, weights, "the face landmark network of StarGAN v2", where)
    return weights


def _patterns() -> Iterator[tuple[str, str]]:
    """Yield the key patterns; the hourglass is flat in the file, and nested here."""
    blocks = dict(BLOCKS)
    for level in range(DEPTH, 0, -1):
        hourglass = ".".join(["hourglass", *["inner"] * (DEPTH - level)])
        blocks |= {
            rf"m0\.b{index}_{level}": f"{hourglass}.{name}" for index, name in ((1, "skip"), (2, "down"), (3, "up"))
        }
    blocks[r"m0\.b2_plus_1"] = f"{hourglass}.inner"
    for source, name in blocks.items():
        for index in range(3):
            yield rf"{source}\.bn{index + 1}\.(.*)", rf"{name}.norms.{index}.\1"
            yield rf"{source}\.conv{index + 1}\.(.*)", rf"{name}.convs.{index}.\1"
        yield rf"{source}\.downsample\.(.*)", rf"{name}.shortcut.\1"
    for source, name in LAYERS.items():
        yield rf"{source}\.(.*)", rf"{name}.\1"
