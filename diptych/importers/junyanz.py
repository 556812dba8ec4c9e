"""Networks of pytorch-CycleGAN-and-pix2pix and its descendants: architecture from keys and shapes, no flags."""

import re
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import torch
from torch import Tensor, nn

from diptych.errors import ImportRefused, printable, shown
from diptych.loading import misfits
from diptych.nn.blocks import Norm
from diptych.nn.generators import Generator, generator
from diptych.nn.patchgan import HALVINGS, PatchGAN
from diptych.nn.unet import Dropout

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
Pairs = list[tuple[str, str]]  # (prefix of theirs, prefix of ours), one a layer


@dataclass(frozen=True)
class Found:
    """A recognised network: `state` has our keys and loads into `build()`."""

    kind: str  # unet, resnet or patchgan
    name: Any  # as in nn.generators, or the receptive field
    in_channels: int
    out_channels: int
    width: int
    norm: Norm
    dropout: bool = False
    state: dict[str, Tensor] = field(default_factory=dict)

    @property
    def identity(self) -> tuple[str, int, Norm]:
        return self.name, self.width, self.norm

    def config(self) -> dict[str, Any]:
        """Fields of a method's config that this generator settles."""
        return {
            "generator": self.name,
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "width": self.width,
            "norm": self.norm,
            "dropout": "repo" if self.dropout else "none",
        }

    def blank(self) -> nn.Module:
        """The network, not yet with these weights."""
        if self.kind == "patchgan":
            return PatchGAN(self.in_channels, self.name, self.width, self.norm)
        dropout: Dropout = "repo" if self.dropout else "none"
        return generator(self.name, self.in_channels, self.out_channels, self.width, self.norm, dropout)

    def build(self) -> nn.Module:
        net = self.blank()
        net.load_state_dict(self.state)
        return net


def recognise(state: dict[str, Tensor], where: str) -> Found:
    """Which network of the family this is. Raises ImportRefused that says what is missing or not supported."""
    if any(key.endswith(".filt") for key in state):
        raise ImportRefused(
            f"{where}: a discriminator of CUT, which translates nothing; import the generator (..._net_G.pth)"
        )
    try:
        if "model.model.0.weight" in state:
            return _unet(state, where)
        if any(".conv_block." in key for key in state):
            return _resnet(state, where)
        if "net.0.weight" in state or "model.0.weight" in state:
            return _patchgan(state, where)
    except (KeyError, IndexError, ValueError, RuntimeError, OverflowError) as error:  # absurd shapes among them
        raise ImportRefused(
            f"{where}: looks like a network of the pix2pix family, but {shown(str(error))} is missing or odd"
        ) from error
    raise ImportRefused(
        f"{where}: no network of the pix2pix family (U-Net, ResNet, PatchGAN), nor of another method that can be "
        f"imported (a model folder of Diptych is used as it is); its first keys are "
        + ", ".join(map(shown, list(state)[:3]))
    )


def _unet(state: dict[str, Tensor], where: str) -> Found:
    """Levels are nested: `model.model`, then `.1.model`, then `.3.model` again and again."""
    prefixes = ["model.model", "model.model.1.model"]
    while f"{prefixes[-1]}.3.model.1.weight" in state:
        prefixes.append(f"{prefixes[-1]}.3.model")
    depth = len(prefixes)
    inner = range(1, depth - 1)
    pairs: Pairs = [("model.model.0", "down.0.0")]
    for level in inner:
        pairs += [(f"{prefixes[level]}.1", f"down.{level}.1"), (f"{prefixes[level]}.2", f"down.{level}.2")]
    pairs.append((f"{prefixes[-1]}.1", f"down.{depth - 1}.1"))
    pairs += [(f"{prefixes[-1]}.3", "up.0.1"), (f"{prefixes[-1]}.4", "up.0.2")]
    for level in inner:
        up = depth - 1 - level
        pairs += [(f"{prefixes[level]}.5", f"up.{up}.1"), (f"{prefixes[level]}.6", f"up.{up}.2")]
    pairs.append(("model.model.3", f"up.{depth - 1}.1"))
    first, last = state["model.model.0.weight"], state["model.model.3.weight"]
    norm = _norm(state, f"{prefixes[-1]}.4", f"{prefixes[-1]}.3", where)
    # dropout has no weights and leaves no trace in the keys: the published U-Nets all have it
    return _renamed(
        Found("unet", f"unet_{2**depth}", first.shape[1], last.shape[1], first.shape[0], norm, True),
        state,
        pairs,
        where,
    )


def _resnet(state: dict[str, Tensor], where: str) -> Found:
    """One Sequential: stem 1, down 4 and 7, blocks from 10, up, head; the norm follows each convolution."""
    blocks = sorted({int(match[1]) for key in state if (match := re.match(r"model\.(\d+)\.conv_block\.", key))})
    after = blocks[-1] + 1
    dropout = (
        f"model.{blocks[0]}.conv_block.6.weight" in state and state[f"model.{blocks[0]}.conv_block.6.weight"].dim() == 4
    )
    second = 6 if dropout else 5
    pairs: Pairs = [("model.1", "stem.1"), ("model.2", "stem.2")]
    for n, at in enumerate((4, 7)):
        pairs += [(f"model.{at}", f"down.{n}.0"), (f"model.{at + 1}", f"down.{n}.1")]
    norm = _norm(state, "model.2", "model.1", where)
    our_second = second - (norm == "none")
    for n, at in enumerate(blocks):
        their, our = f"model.{at}.conv_block", f"blocks.{n}.body"
        pairs += [
            (f"{their}.1", f"{our}.1"),
            (f"{their}.2", f"{our}.2"),
            (f"{their}.{second}", f"{our}.{our_second}"),
            (f"{their}.{second + 1}", f"{our}.{our_second + 1}"),
        ]
    for n, at in enumerate((after, after + 3)):
        pairs += [(f"model.{at}", f"up.{n}.0"), (f"model.{at + 1}", f"up.{n}.1")]
    pairs.append((f"model.{after + 7}", "head.1"))
    first, last = state["model.1.weight"], state[f"model.{after + 7}.weight"]
    found = Found("resnet", f"resnet_{len(blocks)}", first.shape[1], last.shape[0], first.shape[0], norm, dropout)
    return _renamed(found, state, pairs, where)


def _patchgan(state: dict[str, Tensor], where: str) -> Found:
    root = "net" if "net.0.weight" in state else "model"
    convs = sorted(
        int(key.split(".")[1]) for key, value in state.items() if key.endswith(".weight") and value.dim() == 4
    )
    first = state[f"{root}.0.weight"]
    fields = {halvings: size for size, halvings in HALVINGS.items()}
    receptive = 1 if first.shape[-1] == 1 else fields[len(convs) - 2]
    norm = _norm(state, f"{root}.{convs[1] + 1}", f"{root}.{convs[1]}", where)
    gap = 3 if norm != "none" else 2  # from one hidden convolution of ours to the next
    pairs: Pairs = [(f"{root}.0", "layers.0")]
    for n, at in enumerate(convs[1:-1]):
        pairs += [(f"{root}.{at}", f"layers.{2 + gap * n}"), (f"{root}.{at + 1}", f"layers.{3 + gap * n}")]
    pairs.append((f"{root}.{convs[-1]}", f"layers.{2 + gap * (len(convs) - 2)}"))
    return _renamed(Found("patchgan", receptive, first.shape[1], 1, first.shape[0], norm), state, pairs, where)


def _norm(state: dict[str, Tensor], norm: str, conv: str, where: str) -> Norm:
    """BatchNorm has weights and no bias before it; InstanceNorm is given away by that bias."""
    scaled = f"{norm}.weight" in state and state[f"{norm}.weight"].dim() == 1
    if scaled and f"{conv}.bias" in state:
        raise ImportRefused(
            f"{where}: InstanceNorm with weights (a file of mid-2017), which no later code reads either"
        )
    if scaled:
        return "batch"
    return "instance" if f"{conv}.bias" in state else "none"


def _renamed(found: Found, state: dict[str, Tensor], pairs: Pairs, where: str) -> Found:
    """With our keys, which must then be exactly those of the network, save for what versions added or left out."""
    if found.kind != "patchgan" and found.name not in get_args(Generator):
        raise ImportRefused(f"{where}: a {found.name}; Diptych has {', '.join(get_args(Generator))}")
    with torch.device("meta"):
        wanted = found.blank().state_dict()
    left, ours = dict(state), dict(pairs)
    renamed = {}
    for key in state:
        layer, _, leaf = key.rpartition(".")
        if layer in ours and (f"{ours[layer]}.{leaf}" in wanted or _dead(found, leaf)):
            renamed[f"{ours[layer]}.{leaf}"] = left.pop(key)
    for key, value in wanted.items():
        if key not in renamed and (
            key.endswith("num_batches_tracked") or (found.norm == "none" and key.endswith("bias"))
        ):
            renamed[key] = torch.zeros(value.shape, dtype=value.dtype)  # older torch, or no bias beside no norm
    renamed = {key: value for key, value in renamed.items() if key in wanted}
    wrong = misfits(wanted, renamed) + [f"{printable(key[:120])} is unknown" for key in left]
    if wrong:
        raise ImportRefused(
            f"{where}: taken for {found.kind} {found.name} of width {found.width}, but {'; '.join(wrong[:5])}"
            + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        )
    return replace(found, state=renamed)


def _dead(found: Found, leaf: str) -> bool:
    """What InstanceNorm networks carry without effect: biases before the norm, and statistics until mid-2018."""
    return found.norm == "instance" and (leaf == "bias" or leaf in STATISTICS)
