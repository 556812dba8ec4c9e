"""Networks of the public StarGAN code (`200000-G.ckpt`, `200000-D.ckpt`): architecture from keys and shapes alone.

Running statistics are dropped: they were kept, but never used in training or in translating. What a file does not say
is how its labels are called, whether they are classes or attributes, and whether they are of one data set or several.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from diptych.contract import Labels
from diptych.errors import ImportRefused, printable, shown
from diptych.importers.pix2pix_family import STATISTICS, Pairs
from diptych.importers.rename_keys import check_gaps, unfit
from diptych.inference.load import mismatches
from diptych.networks.stargan import Discriminator, Generator

NAME = "stargan"
Model = tuple[dict[str, Any], dict[str, Tensor], tuple[str, ...]]  # config, weights with our keys, networks


@dataclass(frozen=True)
class Found:
    """A recognised network: `state` has our keys and loads into `build()`."""

    kind: Literal["G", "D"]
    channels: int
    labels: int  # that it reads or tells: of G with the mask of several data sets
    width: int
    deep: int  # residual blocks of G, halvings of D
    kernel: int = 0  # of D's second head
    state: dict[str, Tensor] = field(default_factory=dict)

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
            return found | {"ngf": self.width, "n_blocks": self.deep}
        return found | {"ndf": self.width, "d_layers": self.deep, "image_size": self.kernel << self.deep}

    def blank(self) -> nn.Module:
        """The network, not yet with these weights."""
        if self.kind == "G":
            return Generator(self.channels, self.labels, self.width, self.deep)
        return Discriminator(self.channels, self.labels, self.kernel << self.deep, self.width, self.deep)

    def build(self) -> nn.Module:
        net = self.blank()
        net.load_state_dict(self.state)
        return net


def fits(state: dict[str, Tensor]) -> bool:
    """Whether the keys look like a network of this family."""
    return "main.0.weight" in state and ("conv1.weight" in state or any(_block(key) for key in state))


def model(state: dict[str, Tensor], labels: Sequence[Labels], where: str) -> Model:
    """A generator as what `translate` needs. Raises ImportRefused."""
    net = recognise(state, where)
    if net.kind == "D":
        raise ImportRefused(f"{where}: a discriminator, which translates nothing; import the generator (...-G.ckpt)")
    return net.config(labels), {f"G.{key}": value for key, value in net.state.items()}, ("G",)


def recognise(state: dict[str, Tensor], where: str) -> Found:
    """Which network of StarGAN this is. Raises ImportRefused that says what is missing or odd."""
    if not fits(state):
        raise ImportRefused(
            f"{where}: no network of StarGAN (main.0.weight, then main.9.main.0.weight or conv1.weight); its first "
            f"keys are " + ", ".join(map(shown, list(state)[:3]))
        )
    try:
        return _discriminator(state, where) if "conv1.weight" in state else _generator(state, where)
    except (KeyError, IndexError, ValueError, RuntimeError, OverflowError) as error:  # absurd shapes among them
        raise unfit(error, "a network of StarGAN", where) from error


def _generator(state: dict[str, Tensor], where: str) -> Found:
    """One Sequential: stem 0, down 3 and 6, blocks from 9, up, head; a norm follows each convolution but the last."""
    blocks = sorted({at for key in state if (at := _block(key))})
    check_gaps(blocks, 9, "residual block main.*", where)
    after = blocks[-1] + 1
    pairs: Pairs = [("main.0", "stem.0"), ("main.1", "stem.1")]
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
    return _renamed(Found("G", channels, labels, first.shape[0], len(blocks)), state, pairs, where)


def _discriminator(state: dict[str, Tensor], where: str) -> Found:
    """Convolutions at 0, 2, 4...; the kernel of the second head is what is left of the image."""
    depth = sum(1 for key, value in state.items() if re.fullmatch(r"main\.\d+\.weight", key) and value.dim() == 4)
    pairs: Pairs = [(f"main.{2 * n}", f"body.{2 * n}") for n in range(depth)]
    pairs += [("conv1", "source"), ("conv2", "label")]
    first, heads = state["main.0.weight"], state["conv2.weight"]
    found = Found("D", first.shape[1], heads.shape[0], first.shape[0], depth, heads.shape[-1])
    return _renamed(found, state, pairs, where)


def _block(key: str) -> int | None:
    """The place of the residual block that a key belongs to."""
    match = re.match(r"main\.(\d{1,4})\.main\.", key)
    return int(match[1]) if match else None


def _renamed(found: Found, state: dict[str, Tensor], pairs: Pairs, where: str) -> Found:
    """With our keys, which must then be exactly those of the network, save for statistics."""
    with torch.device("meta"):
        wanted = found.blank().state_dict()
    ours = dict(pairs)
    renamed, unknown = {}, []
    for key, value in state.items():
        layer, _, leaf = key.rpartition(".")
        if layer in ours and f"{ours[layer]}.{leaf}" in wanted:
            renamed[f"{ours[layer]}.{leaf}"] = value
        elif layer not in ours or leaf not in STATISTICS:
            unknown.append(f"{printable(key[:120])} is unknown")
    wrong = mismatches(wanted, renamed) + unknown
    if wrong:
        what = f"{found.kind} of width {found.width} with {found.deep} {'blocks' if found.kind == 'G' else 'halvings'}"
        raise ImportRefused(
            f"{where}: taken for StarGAN's {what}, but {'; '.join(wrong[:5])}"
            + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        )
    return replace(found, state=renamed)
