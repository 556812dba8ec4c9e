"""Generators by their usual names, `unet_256` or `resnet_9`."""

import re
from typing import Annotated

from pydantic import AfterValidator
from torch import nn

from diptych.errors import nearest
from diptych.networks import user_code
from diptych.networks.layers import Norm
from diptych.networks.resnet import ResNet
from diptych.networks.unet import Dropout, UNet
from diptych.networks.upsampling import Upsample

SIZES = (32, 64, 128, 256, 512, 1024)  # height and width in pixels that a U-Net reduces to 1
MAX_BLOCKS = 100
UNET_NAMES = tuple(f"{family}_{size}" for family in ("unet", "encoder_decoder") for size in SIZES)


def check_generator_name(name: str) -> str:
    """Return the name of a generator. Raises ValueError with the valid names if there is none of that name."""
    match = re.fullmatch(r"resnet_([1-9]\d{0,2})", name)
    if name in UNET_NAMES or (match and int(match[1]) <= MAX_BLOCKS):
        return name
    sizes = ", ".join(map(str, SIZES))
    raise ValueError(
        f"expected unet_N or encoder_decoder_N for N x N pixels (N: {sizes}), or resnet_N with N residual blocks "
        f"(1 to {MAX_BLOCKS}){nearest(name, [*UNET_NAMES, 'resnet_6', 'resnet_9'])}"
    )


def check_generator(name: str) -> str:
    """Return the name of a generator, or `package.module:Class` that the user allowed. Raises ValueError."""
    if user_code.is_code(name):
        user_code.find(name)
        return name
    return check_generator_name(name)


GeneratorName = Annotated[str, AfterValidator(check_generator)]


def build_generator(
    name: GeneratorName,
    in_channels: int,
    out_channels: int,
    width: int,
    norm: Norm,
    dropout: Dropout,
    use_bias: bool = False,
    upsample: Upsample = "deconv",
) -> nn.Module:
    """Return the generator of that name.

    `unet_N` and `encoder_decoder_N` reduce N pixels to 1. `resnet_N` has N residual blocks, with dropout unless
    `dropout` is "none". `use_bias` is as in `UNet` and does not affect a ResNet. `upsample` is how the
    decoder doubles the size. A class of the user, `package.module:Class`, is called with the numbers of channels only.
    """
    if user_code.is_code(name):
        return user_code.build(name, in_channels, out_channels)
    family, _, number = name.rpartition("_")
    if family == "resnet":
        return ResNet(in_channels, out_channels, width, int(number), norm, dropout != "none", upsample=upsample)
    depth = int(number).bit_length() - 1
    skip = family == "unet"
    return UNet(in_channels, out_channels, width, depth, norm, dropout, skip=skip, use_bias=use_bias, upsample=upsample)


def check_use_bias(name: GeneratorName, norm: Norm, use_bias: bool) -> None:
    """Raise ValueError if `use_bias` has no effect on this generator."""
    if use_bias and (norm != "batch" or name.startswith("resnet_") or user_code.is_code(name)):
        raise ValueError(
            f"use_bias=True changes only U-Nets and encoder-decoders with norm=batch; got generator={name} and "
            f"norm={norm}: set use_bias=False"
        )


def size_multiple_of(name: GeneratorName) -> int:
    """Return the number of which heights and widths of input images are multiples."""
    if user_code.is_code(name):
        return user_code.size_multiple_of(name)
    family, _, number = name.rpartition("_")
    return 4 if family == "resnet" else int(number)


def unused_by_own(
    name: GeneratorName, settings: tuple[str, ...] = ("ngf", "norm", "dropout", "upsample")
) -> dict[str, str]:
    """Return the settings of built-in generators that have no effect on a class of the user, with what they need."""
    return dict.fromkeys(settings, "a built-in generator") if user_code.is_code(name) else {}
