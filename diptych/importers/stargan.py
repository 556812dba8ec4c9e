"""Import of networks of the StarGAN code (`200000-G.ckpt`, `200000-D.ckpt`). The architecture is inferred from shapes.

Running statistics of InstanceNorm are removed, because they are never used. The file does not store the names of the
labels, their type (class or attributes) or the number of datasets.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor, nn

from diptych.contract import Labels
from diptych.errors import ImportRefused, shown
from diptych.importers.rename_keys import (
    LEAF,
    STATISTICS,
    Conversion,
    RecognisedNetwork,
    check_gaps,
    check_state,
    refusal,
    rename_keys,
)
from diptych.networks.stargan import Discriminator, Generator

NAME = "stargan"
Layers = list[tuple[str, str]]  # (prefix in the file, new prefix) of each layer


@dataclass(frozen=True)
class StarGANNetwork(RecognisedNetwork):
    """A recognised network; the keys of `state` are those of `build()`."""

    kind: Literal["G", "D"]
    channels: int
    labels: int  # number of labels; for G including the dataset mask
    width: int
    depth: int  # residual blocks of G, downsampling layers of D
    kernel: int = 0  # kernel size of D's classification head

    def config(self, labels: Sequence[Labels] = ()) -> dict[str, Any]:
        """Return the config fields that the network determines, with the given labels.

        By default the labels are attributes called "label 1", "label 2", ... Raises ImportRefused if
        their number differs.
        """
        label_sets = tuple(labels) or (
            Labels(names=tuple(f"label {n + 1}" for n in range(self.labels)), kind="attributes"),
        )
        mask_size = len(label_sets) if len(label_sets) > 1 and self.kind == "G" else 0
        num_labels = sum(map(len, label_sets))
        if num_labels + mask_size != self.labels:
            mask_text = f" and {mask_size} for the data sets" if mask_size else ""
            raise ImportRefused(
                f"the network has {self.labels} labels, not {num_labels}{mask_text}: name each of them, in order"
            )
        config: dict[str, Any] = {
            "channels": self.channels,
            "labels": [label_set.model_dump() for label_set in label_sets],
        }
        if self.kind == "G":
            return config | {"ngf": self.width, "n_blocks": self.depth}
        return config | {"ndf": self.width, "d_layers": self.depth, "image_size": self.kernel << self.depth}

    def blank(self) -> nn.Module:
        """Return the network without the imported weights."""
        if self.kind == "G":
            return Generator(self.channels, self.labels, self.width, self.depth)
        return Discriminator(self.channels, self.labels, self.kernel << self.depth, self.width, self.depth)


def fits(state: dict[str, Tensor]) -> bool:
    """Return whether the state dict has the keys of a StarGAN network."""
    return "main.0.weight" in state and ("conv1.weight" in state or any(_block_index(key) for key in state))


def model(state: dict[str, Tensor], labels: Sequence[Labels], where: str) -> Conversion:
    """Return the config, the renamed weights and the names of the imported networks. Raises ImportRefused."""
    net = recognise(state, where)
    if net.kind == "D":
        raise ImportRefused(f"{where}: a discriminator, which translates nothing; import the generator (...-G.ckpt)")
    return net.config(labels), {f"G.{key}": value for key, value in net.state.items()}, ("G",)


def recognise(state: dict[str, Tensor], where: str) -> StarGANNetwork:
    """Return the network of a state dict. Raises ImportRefused if it is incomplete or unknown."""
    if not fits(state):
        raise ImportRefused(
            f"{where}: no network of StarGAN (main.0.weight, then main.9.main.0.weight or conv1.weight); its first "
            f"keys are " + ", ".join(map(shown, list(state)[:3]))
        )
    try:
        return _discriminator(state, where) if "conv1.weight" in state else _generator(state, where)
    except (KeyError, IndexError, ValueError, RuntimeError, OverflowError) as error:  # also for impossible shapes
        raise refusal(error, "a network of StarGAN", where) from error


def _generator(state: dict[str, Tensor], where: str) -> StarGANNetwork:
    """Return a generator: one Sequential with the stem at 0, downsampling at 3 and 6, and blocks from 9."""
    block_indices = sorted({index for key in state if (index := _block_index(key))})
    check_gaps(block_indices, 9, "residual block main.*", where)
    up_start = block_indices[-1] + 1
    layers: Layers = [("main.0", "stem.0"), ("main.1", "stem.1")]
    for n, index in enumerate((3, 6)):
        layers += [(f"main.{index}", f"down.{n}.0"), (f"main.{index + 1}", f"down.{n}.1")]
    for n, index in enumerate(block_indices):
        layers += [(f"main.{index}.main.{layer}", f"blocks.{n}.body.{layer}") for layer in (0, 1, 3, 4)]
    for n, index in enumerate((up_start, up_start + 3)):
        layers += [(f"main.{index}", f"up.{n}.0"), (f"main.{index + 1}", f"up.{n}.1")]
    layers.append((f"main.{up_start + 6}", "head.0"))
    first, last = state["main.0.weight"], state[f"main.{up_start + 6}.weight"]
    channels, labels = last.shape[0], first.shape[1] - last.shape[0]
    if labels < 1:
        raise ImportRefused(f"{where}: a generator of {channels} channels that reads {first.shape[1]}, so no labels")
    return _with_weights(
        StarGANNetwork("G", channels, labels, first.shape[0], len(block_indices)), state, layers, where
    )


def _discriminator(state: dict[str, Tensor], where: str) -> StarGANNetwork:
    """Return a discriminator: convolutions at 0, 2, 4, ...; the classification kernel covers the whole feature map."""
    depth = sum(1 for key, value in state.items() if re.fullmatch(r"main\.\d+\.weight", key) and value.dim() == 4)
    layers: Layers = [(f"main.{2 * n}", f"body.{2 * n}") for n in range(depth)]
    layers += [("conv1", "source"), ("conv2", "label")]
    first_conv, label_head = state["main.0.weight"], state["conv2.weight"]
    net = StarGANNetwork(
        "D", first_conv.shape[1], label_head.shape[0], first_conv.shape[0], depth, label_head.shape[-1]
    )
    return _with_weights(net, state, layers, where)


def _block_index(key: str) -> int | None:
    """Return the index of the residual block of a key, else None."""
    match = re.match(r"main\.(\d{1,4})\.main\.", key)
    return int(match[1]) if match else None


def _with_weights(net: StarGANNetwork, state: dict[str, Tensor], layers: Layers, where: str) -> StarGANNetwork:
    """Return the network with the renamed weights, without the statistics of InstanceNorm."""
    patterns = [(rf"{re.escape(source)}\.{LEAF}", rf"{target}.\1") for source, target in layers]
    prefixes = "|".join(re.escape(layer) for layer, _ in layers)
    expected = net.expected()
    weights = rename_keys(state, patterns, rf"({prefixes})\.({'|'.join(STATISTICS)})", expected)
    depth = f"{net.depth} {'blocks' if net.kind == 'G' else 'downsampling layers'}"
    check_state(expected, weights, f"StarGAN's {net.kind} of width {net.width} with {depth}", where)
    return replace(net, state=weights)
