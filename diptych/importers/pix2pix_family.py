"""Networks of pytorch-CycleGAN-and-pix2pix and its descendants: architecture from keys and shapes, no flags."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from diptych.errors import ImportRefused
from diptych.importers.nearest import nearest_family
from diptych.importers.rename_keys import (
    LEAF,
    STATISTICS,
    RecognisedNetwork,
    check_gaps,
    check_state,
    fold_biases,
    refusal,
    rename_keys,
)
from diptych.networks.factory import generator, known
from diptych.networks.layers import Norm
from diptych.networks.patchgan import HALVINGS, PatchGAN
from diptych.networks.unet import Dropout


@dataclass(frozen=True)
class Layer:
    """A convolution, their prefix and ours, and that of the norm behind it, if there is one."""

    theirs: str
    ours: str
    their_norm: str = ""
    our_norm: str = ""


@dataclass(frozen=True)
class Pix2PixNetwork(RecognisedNetwork):
    """A recognised network: `state` has our keys and loads into `build()`."""

    kind: str  # unet, resnet or patchgan
    name: Any  # as in nn.generators, or the receptive field
    in_channels: int
    out_channels: int
    width: int
    norm: Norm
    dropout: bool = False
    use_bias: bool = False  # of a BatchNorm U-Net, where no norm follows

    @property
    def identity(self) -> tuple[str, int, Norm]:
        return self.name, self.width, self.norm

    def config(self) -> dict[str, Any]:
        """Fields of a method's config that this generator settles."""
        return {
            "generator": self.name,
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "ngf": self.width,
            "norm": self.norm,
            "dropout": "repo" if self.dropout else "none",
            "use_bias": self.use_bias,
        }

    def blank(self) -> nn.Module:
        """The network, not yet with these weights."""
        if self.kind == "patchgan":
            return PatchGAN(self.in_channels, self.name, self.width, self.norm)
        dropout: Dropout = "repo" if self.dropout else "none"
        sizes = (self.in_channels, self.out_channels, self.width)
        return generator(self.name, *sizes, self.norm, dropout, self.use_bias)


def recognise(state: dict[str, Tensor], where: str) -> Pix2PixNetwork:
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
    except (KeyError, IndexError, ValueError, RuntimeError, OverflowError) as error:  # absurd shapes among them
        raise refusal(error, "a network of the pix2pix family", where) from error
    try:  # any Sequential has these names, so what does not fit throughout is none
        if "net.0.weight" in state or "model.0.weight" in state:
            return _patchgan(state, where)
    except (ImportRefused, KeyError, IndexError, ValueError, RuntimeError, OverflowError):
        pass
    if _is_critic(state):
        raise ImportRefused(
            f"{where}: a PatchGAN discriminator, which translates nothing; import the generator (..._net_G.pth)"
        )
    raise ImportRefused(
        f"{where}: no network of the pix2pix family (U-Net, ResNet, PatchGAN), nor of another method that can be "
        f"imported (a model folder of Diptych is used as it is); {nearest_family(state)}"
    )


def _is_critic(state: dict[str, Tensor]) -> bool:
    """Whether this is one Sequential of convolutions that ends in one channel."""
    weights = r"weight|bias|weight_(orig|u|v|g)|running_mean|running_var|num_batches_tracked"
    kernels = [value for value in state.values() if value.dim() == 4]
    layers = all(re.fullmatch(rf"(model|net|main)\.\d+\.({weights})", key) for key in state)
    return layers and len(kernels) > 1 and kernels[-1].shape[0] == 1


def _unet(state: dict[str, Tensor], where: str) -> Pix2PixNetwork:
    """Levels are nested: `model.model`, then `.1.model`, then `.3.model` again and again."""
    prefixes = ["model.model", "model.model.1.model"]
    while f"{prefixes[-1]}.3.model.1.weight" in state:
        prefixes.append(f"{prefixes[-1]}.3.model")
    depth = len(prefixes)
    layers = [Layer("model.model.0", "down.0.0"), Layer(f"{prefixes[-1]}.1", f"down.{depth - 1}.1")]
    layers.append(Layer(f"{prefixes[-1]}.3", "up.0.1", f"{prefixes[-1]}.4", "up.0.2"))
    for level in range(1, depth - 1):
        at, up = prefixes[level], f"up.{depth - 1 - level}"
        layers.append(Layer(f"{at}.1", f"down.{level}.1", f"{at}.2", f"down.{level}.2"))
        layers.append(Layer(f"{at}.5", f"{up}.1", f"{at}.6", f"{up}.2"))
    layers.append(Layer("model.model.3", f"up.{depth - 1}.1"))
    first, last = state["model.model.0.weight"], state["model.model.3.weight"]
    norm = _norm(state, layers, where)
    # dropout has no weights and leaves no trace in the keys: the published U-Nets all have it
    sizes = (first.shape[1], last.shape[1], first.shape[0])
    use_bias = norm == "batch" and "model.model.0.bias" in state
    return _complete(Pix2PixNetwork("unet", f"unet_{2**depth}", *sizes, norm, True, use_bias), state, layers, where)


def _resnet(state: dict[str, Tensor], where: str) -> Pix2PixNetwork:
    """One Sequential: stem 1, down 4 and 7, blocks from 10, up, head; the norm follows each convolution."""
    blocks = sorted({int(match[1]) for key in state if (match := re.match(r"model\.(\d{1,5})\.conv_block\.", key))})
    downsamplings = (blocks[0] - 4) // 3
    if blocks[0] != 10 and _is_kernel(state.get(f"model.{blocks[0] - 3}.weight")):
        raise ImportRefused(
            f"{where}: a ResNet generator with {downsamplings} downsampling layers, as of pix2pixHD; only 2, as of "
            f"CycleGAN, are supported"
        )
    check_gaps(blocks, 10, "residual block model.*", where)
    after = blocks[-1] + 1
    dropout = _is_kernel(state.get(f"model.{blocks[0]}.conv_block.6.weight"))
    second = 6 if dropout else 5
    layers = [_then("model", 1, "stem", 1), *(_then("model", at, f"down.{n}", 0) for n, at in enumerate((4, 7)))]
    layers += [_then("model", at, f"up.{n}", 0) for n, at in enumerate((after, after + 3))]
    for n, at in enumerate(blocks):
        layers.append(_then(f"model.{at}.conv_block", 1, f"blocks.{n}.body", 1))
        layers.append(_then(f"model.{at}.conv_block", second, f"blocks.{n}.body", second))
    layers.append(Layer(f"model.{after + 7}", "head.1"))
    norm = _norm(state, layers, where)
    if norm == "none":  # ours has no place for a norm then
        ours = {f"blocks.{n}.body.{second}": f"blocks.{n}.body.{second - 1}" for n in range(len(blocks))}
        layers = [replace(layer, ours=ours.get(layer.ours, layer.ours)) for layer in layers]
    first, last = state["model.1.weight"], state[f"model.{after + 7}.weight"]
    sizes = (first.shape[1], last.shape[0], first.shape[0])
    return _complete(Pix2PixNetwork("resnet", f"resnet_{len(blocks)}", *sizes, norm, dropout), state, layers, where)


def _then(theirs: str, at: int, ours: str, our: int) -> Layer:
    """A convolution at these places, each with its norm right behind it."""
    return Layer(f"{theirs}.{at}", f"{ours}.{our}", f"{theirs}.{at + 1}", f"{ours}.{our + 1}")


def _patchgan(state: dict[str, Tensor], where: str) -> Pix2PixNetwork:
    root = "net" if "net.0.weight" in state else "model"
    convs = sorted(
        int(key.split(".")[1]) for key, value in state.items() if key.endswith(".weight") and value.dim() == 4
    )
    first = state[f"{root}.0.weight"]
    fields = {halvings: size for size, halvings in HALVINGS.items()}
    receptive = 1 if first.shape[-1] == 1 else fields[len(convs) - 2]
    norm = _norm(state, [_then(root, at, "", 0) for at in convs[1:-1]], where)
    gap = 3 if norm != "none" else 2  # from one hidden convolution of ours to the next
    layers = [Layer(f"{root}.0", "layers.0")]
    layers += [_then(root, at, "layers", 2 + gap * n) for n, at in enumerate(convs[1:-1])]
    layers.append(Layer(f"{root}.{convs[-1]}", f"layers.{2 + gap * (len(convs) - 2)}"))
    return _complete(
        Pix2PixNetwork("patchgan", receptive, first.shape[1], 1, first.shape[0], norm), state, layers, where
    )


def _norm(state: dict[str, Tensor], layers: Sequence[Layer], where: str) -> Norm:
    """BatchNorm has weights and statistics; InstanceNorm is given away by biases before it, all of them without effect.

    One such bias alone may be missing: it has none. Without norm the public code leaves all of them out.
    """
    normed = [layer for layer in layers if layer.their_norm]
    biased = any(f"{layer.theirs}.bias" in state for layer in normed)
    scaled = [layer for layer in normed if _is_vector(state.get(f"{layer.their_norm}.weight"))]
    if not scaled:
        return "instance" if biased else "none"
    counted = any(f"{layer.their_norm}.num_batches_tracked" in state for layer in scaled)
    tracked = any(f"{layer.their_norm}.running_mean" in state for layer in scaled)
    if not tracked or (biased and not counted):
        raise ImportRefused(
            f"{where}: norm layers with weights "
            + (
                "that are InstanceNorm's, or BatchNorm with biases from torch before 0.4.1: the file does not say which"
                if tracked
                else "and without running statistics, which is not supported: InstanceNorm with weights "
                "(affine=True), BatchNorm with track_running_stats=False, or an average of the parameters alone. "
                "If the file has the network itself too, choose it by --which"
            )
        )
    return "batch"


def _is_kernel(value: Tensor | None) -> bool:
    return value is not None and value.dim() == 4


def _is_vector(value: Tensor | None) -> bool:
    return value is not None and value.dim() == 1


def _complete(net: Pix2PixNetwork, state: dict[str, Tensor], layers: Sequence[Layer], where: str) -> Pix2PixNetwork:
    """Return the network with its weights under our keys, whatever version of torch and of the code saved them."""
    if net.kind != "patchgan":
        try:
            known(net.name)
        except ValueError as error:
            raise ImportRefused(f"{where}: a {net.name}; {error}") from error
    expected = net.expected()
    names = [(layer.theirs, layer.ours) for layer in layers]
    names += [(layer.their_norm, layer.our_norm) for layer in layers if layer.their_norm]
    patterns = [(rf"{re.escape(theirs)}\.{LEAF}", rf"{ours}.\1") for theirs, ours in names]
    normed = [layer for layer in layers if layer.their_norm]
    ignored = [rf"({'|'.join(re.escape(layer.theirs) for layer in normed)})\.bias"]  # a norm cancels these biases
    if net.norm == "instance":
        ignored.append(rf"(.*\.)?({'|'.join(STATISTICS)})")
    weights = rename_keys(state, patterns, "|".join(ignored), expected)
    if net.norm == "batch":
        fold_biases(state, {layer.theirs: layer.our_norm for layer in normed}, weights)
    _fill_missing(weights, expected, net.norm, layers[-1].ours)
    check_state(expected, weights, f"{net.kind} {net.name} of width {net.width}", where)
    return replace(net, state=weights)


def _fill_missing(weights: dict[str, Tensor], expected: dict[str, Tensor], norm: Norm, head: str) -> None:
    """Add zeros for counters that older torch did not save and, without norm, for biases that the public code omits.

    The bias of the `head` is in every file.
    """
    for key, value in expected.items():
        is_omitted_bias = norm == "none" and key.endswith("bias") and not key.startswith(f"{head}.")
        if key not in weights and (key.endswith("num_batches_tracked") or is_omitted_bias):
            weights[key] = torch.zeros(value.shape, dtype=value.dtype)
