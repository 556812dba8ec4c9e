"""Import of networks of pytorch-CycleGAN-and-pix2pix and its forks. Keys and shapes determine the architecture."""

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
from diptych.networks.factory import build_generator, check_generator_name
from diptych.networks.layers import Norm
from diptych.networks.patchgan import N_LAYERS, PatchGAN
from diptych.networks.unet import Dropout


@dataclass(frozen=True)
class Layer:
    """Key prefixes of a convolution and of the optional norm after it, in the file and in Diptych's network."""

    source: str
    target: str
    source_norm: str = ""
    target_norm: str = ""


@dataclass(frozen=True)
class Pix2PixNetwork(RecognisedNetwork):
    """A recognised network; the keys of `state` are those of `build()`."""

    kind: str  # unet, resnet or patchgan
    name: Any  # the name of the generator, or the receptive field of the discriminator
    in_channels: int
    out_channels: int
    width: int
    norm: Norm
    dropout: bool = False
    use_bias: bool = False  # biases of the convolutions without a norm in a BatchNorm U-Net

    @property
    def identity(self) -> tuple[str, int, Norm]:
        """Return the name, width and norm, which both generators of CycleGAN share."""
        return self.name, self.width, self.norm

    def config(self) -> dict[str, Any]:
        """Return the config fields that the generator determines."""
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
        """Return the network without the imported weights."""
        if self.kind == "patchgan":
            return PatchGAN(self.in_channels, self.name, self.width, self.norm)
        dropout: Dropout = "repo" if self.dropout else "none"
        sizes = (self.in_channels, self.out_channels, self.width)
        return build_generator(self.name, *sizes, self.norm, dropout, self.use_bias)


def recognise(state: dict[str, Tensor], where: str) -> Pix2PixNetwork:
    """Return the network of a state dict. Raises ImportRefused if it is incomplete, unknown or not supported."""
    if any(key.endswith(".filt") for key in state):
        raise ImportRefused(
            f"{where}: a discriminator of CUT, which translates nothing; import the generator (..._net_G.pth)"
        )
    try:
        if "model.model.0.weight" in state:
            return _unet(state, where)
        if any(".conv_block." in key for key in state):
            return _resnet(state, where)
    except (KeyError, IndexError, ValueError, RuntimeError, OverflowError) as error:  # also for impossible shapes
        raise refusal(error, "a network of the pix2pix family", where) from error
    try:  # any Sequential has these keys, so a mismatch means another network
        if "net.0.weight" in state or "model.0.weight" in state:
            return _patchgan(state, where)
    except (ImportRefused, KeyError, IndexError, ValueError, RuntimeError, OverflowError):
        pass
    if _is_discriminator(state):
        raise ImportRefused(
            f"{where}: a PatchGAN discriminator, which translates nothing; import the generator (..._net_G.pth)"
        )
    raise ImportRefused(
        f"{where}: no network of the pix2pix family (U-Net, ResNet, PatchGAN), nor of another method that can be "
        f"imported (a model folder of Diptych is used as it is); {nearest_family(state)}"
    )


def _is_discriminator(state: dict[str, Tensor]) -> bool:
    """Return whether the state dict is a Sequential of convolutions with one output channel."""
    leaf = r"weight|bias|weight_(orig|u|v|g)|running_mean|running_var|num_batches_tracked"
    kernels = [value for value in state.values() if value.dim() == 4]
    is_sequential = all(re.fullmatch(rf"(model|net|main)\.\d+\.({leaf})", key) for key in state)
    return is_sequential and len(kernels) > 1 and kernels[-1].shape[0] == 1


def _unet(state: dict[str, Tensor], where: str) -> Pix2PixNetwork:
    """Return a U-Net. Its levels are nested: `model.model`, then `.1.model`, then `.3.model` repeatedly."""
    prefixes = ["model.model", "model.model.1.model"]
    while f"{prefixes[-1]}.3.model.1.weight" in state:
        prefixes.append(f"{prefixes[-1]}.3.model")
    depth = len(prefixes)
    layers = [Layer("model.model.0", "down.0.0"), Layer(f"{prefixes[-1]}.1", f"down.{depth - 1}.1")]
    layers.append(Layer(f"{prefixes[-1]}.3", "up.0.1", f"{prefixes[-1]}.4", "up.0.2"))
    for level in range(1, depth - 1):
        source, target = prefixes[level], f"up.{depth - 1 - level}"
        layers.append(Layer(f"{source}.1", f"down.{level}.1", f"{source}.2", f"down.{level}.2"))
        layers.append(Layer(f"{source}.5", f"{target}.1", f"{source}.6", f"{target}.2"))
    layers.append(Layer("model.model.3", f"up.{depth - 1}.1"))
    first, last = state["model.model.0.weight"], state["model.model.3.weight"]
    norm = _norm_type(state, layers, where)
    # dropout has no weights; all published U-Nets have it
    sizes = (first.shape[1], last.shape[1], first.shape[0])
    use_bias = norm == "batch" and "model.model.0.bias" in state
    return _with_weights(Pix2PixNetwork("unet", f"unet_{2**depth}", *sizes, norm, True, use_bias), state, layers, where)


def _resnet(state: dict[str, Tensor], where: str) -> Pix2PixNetwork:
    """Return a ResNet: one Sequential with the stem at 1, downsampling at 4 and 7, and blocks from 10."""
    block_indices = sorted(
        {int(match[1]) for key in state if (match := re.match(r"model\.(\d{1,5})\.conv_block\.", key))}
    )
    n_downsample = (block_indices[0] - 4) // 3
    if block_indices[0] != 10 and _is_conv_weight(state.get(f"model.{block_indices[0] - 3}.weight")):
        raise ImportRefused(
            f"{where}: a ResNet generator with {n_downsample} downsampling layers, as of pix2pixHD; only 2, as of "
            f"CycleGAN, are supported"
        )
    check_gaps(block_indices, 10, "residual block model.*", where)
    up_start = block_indices[-1] + 1
    dropout = _is_conv_weight(state.get(f"model.{block_indices[0]}.conv_block.6.weight"))
    second_conv = 6 if dropout else 5
    layers = [
        _conv_with_norm("model", 1, "stem", 1),
        *(_conv_with_norm("model", index, f"down.{n}", 0) for n, index in enumerate((4, 7))),
    ]
    layers += [_conv_with_norm("model", index, f"up.{n}", 0) for n, index in enumerate((up_start, up_start + 3))]
    for n, index in enumerate(block_indices):
        layers.append(_conv_with_norm(f"model.{index}.conv_block", 1, f"blocks.{n}.body", 1))
        layers.append(_conv_with_norm(f"model.{index}.conv_block", second_conv, f"blocks.{n}.body", second_conv))
    layers.append(Layer(f"model.{up_start + 7}", "head.1"))
    norm = _norm_type(state, layers, where)
    if norm == "none":  # Diptych's blocks then have one layer fewer
        renumbered = {
            f"blocks.{n}.body.{second_conv}": f"blocks.{n}.body.{second_conv - 1}" for n in range(len(block_indices))
        }
        layers = [replace(layer, target=renumbered.get(layer.target, layer.target)) for layer in layers]
    first, last = state["model.1.weight"], state[f"model.{up_start + 7}.weight"]
    sizes = (first.shape[1], last.shape[0], first.shape[0])
    return _with_weights(
        Pix2PixNetwork("resnet", f"resnet_{len(block_indices)}", *sizes, norm, dropout), state, layers, where
    )


def _conv_with_norm(source: str, source_index: int, target: str, target_index: int) -> Layer:
    """Return a convolution at the given indices, with the norm at the next index."""
    return Layer(
        f"{source}.{source_index}",
        f"{target}.{target_index}",
        f"{source}.{source_index + 1}",
        f"{target}.{target_index + 1}",
    )


def _patchgan(state: dict[str, Tensor], where: str) -> Pix2PixNetwork:
    """Return a PatchGAN discriminator."""
    prefix = "net" if "net.0.weight" in state else "model"
    conv_indices = sorted(
        int(key.split(".")[1]) for key, value in state.items() if key.endswith(".weight") and value.dim() == 4
    )
    first = state[f"{prefix}.0.weight"]
    receptive_fields = {n_layers: size for size, n_layers in N_LAYERS.items()}
    receptive_field = 1 if first.shape[-1] == 1 else receptive_fields[len(conv_indices) - 2]
    norm = _norm_type(state, [_conv_with_norm(prefix, index, "", 0) for index in conv_indices[1:-1]], where)
    stride = 3 if norm != "none" else 2  # index distance of hidden convolutions in Diptych's network
    layers = [Layer(f"{prefix}.0", "layers.0")]
    layers += [_conv_with_norm(prefix, index, "layers", 2 + stride * n) for n, index in enumerate(conv_indices[1:-1])]
    layers.append(Layer(f"{prefix}.{conv_indices[-1]}", f"layers.{2 + stride * (len(conv_indices) - 2)}"))
    return _with_weights(
        Pix2PixNetwork("patchgan", receptive_field, first.shape[1], 1, first.shape[0], norm), state, layers, where
    )


def _norm_type(state: dict[str, Tensor], layers: Sequence[Layer], where: str) -> Norm:
    """Return the type of norm: `batch`, `instance` or `none`. Raises ImportRefused if it is ambiguous.

    BatchNorm has weights and running statistics. InstanceNorm has neither, but the convolutions before it have biases,
    which the original code omits without a norm.
    """
    normed_layers = [layer for layer in layers if layer.source_norm]
    has_biases = any(f"{layer.source}.bias" in state for layer in normed_layers)
    affine_layers = [layer for layer in normed_layers if _is_vector(state.get(f"{layer.source_norm}.weight"))]
    if not affine_layers:
        return "instance" if has_biases else "none"
    has_counters = any(f"{layer.source_norm}.num_batches_tracked" in state for layer in affine_layers)
    has_statistics = any(f"{layer.source_norm}.running_mean" in state for layer in affine_layers)
    if not has_statistics or (has_biases and not has_counters):
        raise ImportRefused(
            f"{where}: norm layers with weights "
            + (
                "that are InstanceNorm's, or BatchNorm with biases from torch before 0.4.1: the file does not say which"
                if has_statistics
                else "and without running statistics, which is not supported: InstanceNorm with weights "
                "(affine=True), BatchNorm with track_running_stats=False, or an average of the parameters alone. "
                "If the file has the network itself too, choose it by --which"
            )
        )
    return "batch"


def _is_conv_weight(value: Tensor | None) -> bool:
    """Return whether a value is the weight of a 2-D convolution."""
    return value is not None and value.dim() == 4


def _is_vector(value: Tensor | None) -> bool:
    """Return whether a value is a 1-D tensor."""
    return value is not None and value.dim() == 1


def _with_weights(net: Pix2PixNetwork, state: dict[str, Tensor], layers: Sequence[Layer], where: str) -> Pix2PixNetwork:
    """Return the network with the renamed weights. Checkpoints of old torch versions are converted."""
    if net.kind != "patchgan":
        try:
            check_generator_name(net.name)
        except ValueError as error:
            raise ImportRefused(f"{where}: a {net.name}; {error}") from error
    expected = net.expected()
    names = [(layer.source, layer.target) for layer in layers]
    names += [(layer.source_norm, layer.target_norm) for layer in layers if layer.source_norm]
    patterns = [(rf"{re.escape(source)}\.{LEAF}", rf"{target}.\1") for source, target in names]
    normed_layers = [layer for layer in layers if layer.source_norm]
    # the norm cancels the biases of the convolutions before it
    ignored = [rf"({'|'.join(re.escape(layer.source) for layer in normed_layers)})\.bias"]
    if net.norm == "instance":
        ignored.append(rf"(.*\.)?({'|'.join(STATISTICS)})")
    weights = rename_keys(state, patterns, "|".join(ignored), expected)
    if net.norm == "batch":
        fold_biases(state, {layer.source: layer.target_norm for layer in normed_layers}, weights)
    _fill_missing(weights, expected, net.norm, layers[-1].target)
    check_state(expected, weights, f"{net.kind} {net.name} of width {net.width}", where)
    return replace(net, state=weights)


def _fill_missing(weights: dict[str, Tensor], expected: dict[str, Tensor], norm: Norm, head: str) -> None:
    """Add zeros for missing counters (old torch versions) and, without a norm, for biases that the original code omits.

    The bias of the `head` is always required.
    """
    for key, value in expected.items():
        is_omitted_bias = norm == "none" and key.endswith("bias") and not key.startswith(f"{head}.")
        if key not in weights and (key.endswith("num_batches_tracked") or is_omitted_bias):
            weights[key] = torch.zeros(value.shape, dtype=value.dtype)
