"""Networks of the public StarGAN code (`200000-G.ckpt`, `200000-D.ckpt`): architecture from keys and shapes alone.

Running statistics are dropped: they were kept, but never used in training or in translating. What a file does not say
is how its labels are called, whether they are classes or attributes, and whether they are of one data set or several.
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
Layers = list[tuple[str, str]]  # (their prefix, our prefix) of each layer


@dataclass(frozen=True)
class StarGANNetwork(RecognisedNetwork):
    """A recognised network: `state` has our keys and loads into `build()`."""

    kind: Literal["G", "D"]
    channels: int
    labels: int  # that it reads or tells: of G with the mask of several data sets
    width: int
    depth: int  # residual blocks of G, halvings of D
    kernel: int = 0  # of D's second head

    def config(self, labels: Sequence[Labels] = ()) -> dict[str, Any]:
        """Fields of StarGAN's config that this network settles, with the labels that a person gives.

        Without any they are attributes called label 1, label 2... Raises ImportRefused if they are too many or too few.
        """
        sets = tuple(labels) or (Labels(names=tuple(f"label {n + 1}" for n in range(self.labels)), kind="attributes"),)
        mask = len(sets) if len(sets) > 1 and self.kind == "G" else 0
        slots = sum(map(len, sets))
        if slots + mask != self.labels:
            also = f" and {mask} for the data sets" if mask else ""
            raise ImportRefused(f"the network has {self.labels} labels, not {slots}{also}: name each of them, in order")
        found: dict[str, Any] = {"channels": self.channels, "labels": [each.model_dump() for each in sets]}
        if self.kind == "G":
            return found | {"ngf": self.width, "n_blocks": self.depth}
        return found | {"ndf": self.width, "d_layers": self.depth, "image_size": self.kernel << self.depth}

    def blank(self) -> nn.Module:
        """The network, not yet with these weights."""
        if self.kind == "G":
            return Generator(self.channels, self.labels, self.width, self.depth)
        return Discriminator(self.channels, self.labels, self.kernel << self.depth, self.width, self.depth)


def fits(state: dict[str, Tensor]) -> bool:
    """Whether the keys look like a network of this family."""
    return "main.0.weight" in state and ("conv1.weight" in state or any(_block(key) for key in state))


def model(state: dict[str, Tensor], labels: Sequence[Labels], where: str) -> Conversion:
    """A generator as what `translate` needs. Raises ImportRefused."""
    net = recognise(state, where)
    if net.kind == "D":
        raise ImportRefused(f"{where}: a discriminator, which translates nothing; import the generator (...-G.ckpt)")
    return net.config(labels), {f"G.{key}": value for key, value in net.state.items()}, ("G",)


def recognise(state: dict[str, Tensor], where: str) -> StarGANNetwork:
    """Which network of StarGAN this is. Raises ImportRefused that says what is missing or odd."""
    if not fits(state):
        raise ImportRefused(
            f"{where}: no network of StarGAN (main.0.weight, then main.9.main.0.weight or conv1.weight); its first "
            f"keys are " + ", ".join(map(shown, list(state)[:3]))
        )
    try:
        return _discriminator(state, where) if "conv1.weight" in state else _generator(state, where)
    except (KeyError, IndexError, ValueError, RuntimeError, OverflowError) as error:  # absurd shapes among them
        raise refusal(error, "a network of StarGAN", where) from error


def _generator(state: dict[str, Tensor], where: str) -> StarGANNetwork:
    """One Sequential: stem 0, down 3 and 6, blocks from 9, up, head; a norm follows each convolution but the last."""
    blocks = sorted({at for key in state if (at := _block(key))})
    check_gaps(blocks, 9, "residual block main.*", where)
    after = blocks[-1] + 1
    pairs: Layers = [("main.0", "stem.0"), ("main.1", "stem.1")]
    for n, at in enumerate((3, 6)):
        pairs += [(f"main.{at}", f"down.{n}.0"), (f"main.{at + 1}", f"down.{n}.1")]
    for n, at in enumerate(blocks):
        pairs += [(f"main.{at}.main.{layer}", f"blocks.{n}.body.{layer}") for layer in (0, 1, 3, 4)]
    for n, at in enumerate((after, after + 3)):
        pairs += [(f"main.{at}", f"up.{n}.0"), (f"main.{at + 1}", f"up.{n}.1")]
    pairs.append((f"main.{after + 6}", "head.0"))
    first, last = state["main.0.weight"], state[f"main.{after + 6}.weight"]
    channels, labels = last.shape[0], first.shape[1] - last.shape[0]
    if labels < 1:
        raise ImportRefused(f"{where}: a generator of {channels} channels that reads {first.shape[1]}, so no labels")
    return _complete(StarGANNetwork("G", channels, labels, first.shape[0], len(blocks)), state, pairs, where)


def _discriminator(state: dict[str, Tensor], where: str) -> StarGANNetwork:
    """Convolutions at 0, 2, 4...; the kernel of the second head is what is left of the image."""
    depth = sum(1 for key, value in state.items() if re.fullmatch(r"main\.\d+\.weight", key) and value.dim() == 4)
    pairs: Layers = [(f"main.{2 * n}", f"body.{2 * n}") for n in range(depth)]
    pairs += [("conv1", "source"), ("conv2", "label")]
    first, heads = state["main.0.weight"], state["conv2.weight"]
    found = StarGANNetwork("D", first.shape[1], heads.shape[0], first.shape[0], depth, heads.shape[-1])
    return _complete(found, state, pairs, where)


def _block(key: str) -> int | None:
    """The place of the residual block that a key belongs to."""
    match = re.match(r"main\.(\d{1,4})\.main\.", key)
    return int(match[1]) if match else None


def _complete(net: StarGANNetwork, state: dict[str, Tensor], layers: Layers, where: str) -> StarGANNetwork:
    """Return the network with its weights under our keys; statistics of InstanceNorm are dropped."""
    patterns = [(rf"{re.escape(theirs)}\.{LEAF}", rf"{ours}.\1") for theirs, ours in layers]
    theirs = "|".join(re.escape(layer) for layer, _ in layers)
    expected = net.expected()
    weights = rename_keys(state, patterns, rf"({theirs})\.({'|'.join(STATISTICS)})", expected)
    depth = f"{net.depth} {'blocks' if net.kind == 'G' else 'downsampling layers'}"
    check_state(expected, weights, f"StarGAN's {net.kind} of width {net.width} with {depth}", where)
    return replace(net, state=weights)
