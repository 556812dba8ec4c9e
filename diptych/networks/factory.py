"""Generators by the names that the field gives them."""

import re
from typing import Annotated

from pydantic import AfterValidator
from torch import nn

from diptych.errors import nearest
from diptych.networks import user_code
from diptych.networks.layers import Norm
from diptych.networks.resnet import ResNet
from diptych.networks.unet import Dropout, UNet

SIZES = (32, 64, 128, 256, 512, 1024)  # pixels a side that a U-Net brings down to one
MOST_BLOCKS = 100
SIZED = tuple(f"{family}_{size}" for family in ("unet", "encoder_decoder") for size in SIZES)


def known(name: str) -> str:
    """`name`, if there is such a generator. Raises ValueError that lists what there is."""
    match = re.fullmatch(r"resnet_([1-9]\d{0,2})", name)
    if name in SIZED or (match and int(match[1]) <= MOST_BLOCKS):
        return name
    sizes = ", ".join(map(str, SIZES))
    raise ValueError(
        f"expected unet_N or encoder_decoder_N for N x N pixels (N: {sizes}), or resnet_N with N residual blocks "
        f"(1 to {MOST_BLOCKS}){nearest(name, [*SIZED, 'resnet_6', 'resnet_9'])}"
    )


def known_or_allowed(name: str) -> str:
    """Return `name` as `known` does, or if it is a class of the user that is allowed. Raises ValueError."""
    if user_code.is_code(name):
        user_code.find(name)
        return name
    return known(name)


Generator = Annotated[str, AfterValidator(known_or_allowed)]


def generator(
    name: Generator,
    in_channels: int,
    out_channels: int,
    width: int,
    norm: Norm,
    dropout: Dropout,
    use_bias: bool = False,
) -> nn.Module:
    """Return the generator of that name.

    `unet_N` and `encoder_decoder_N` bring N pixels down to one; `resnet_N` has N blocks, with dropout or without.
    `use_bias` is as in `UNet`; a ResNet has no convolution that it concerns. A class of the user,
    `package.module:Class`, is called with the numbers of channels alone.
    """
    if user_code.is_code(name):
        return user_code.build(name, in_channels, out_channels)
    family, _, number = name.rpartition("_")
    if family == "resnet":
        return ResNet(in_channels, out_channels, width, int(number), norm, dropout != "none")
    depth = int(number).bit_length() - 1
    skip = family == "unet"
    return UNet(in_channels, out_channels, width, depth, norm, dropout, skip=skip, use_bias=use_bias)


def check_use_bias(name: Generator, norm: Norm, use_bias: bool) -> None:
    """Raises ValueError where `use_bias` would be accepted and ignored."""
    if use_bias and (norm != "batch" or name.startswith("resnet_") or user_code.is_code(name)):
        raise ValueError(
            f"use_bias=True changes U-Nets and encoder-decoders with norm=batch alone; here are generator={name} and "
            f"norm={norm}: set use_bias=False"
        )


def multiple_of(name: Generator) -> int:
    """Heights and widths must be multiples of this."""
    if user_code.is_code(name):
        return user_code.size_multiple_of(name)
    family, _, number = name.rpartition("_")
    return 4 if family == "resnet" else int(number)


def unused_by_own(name: Generator, settings: tuple[str, ...] = ("ngf", "norm", "dropout")) -> dict[str, str]:
    """Return the settings of built-in generators that have no effect on a class of the user, with what they need."""
    return dict.fromkeys(settings, "a built-in generator") if user_code.is_code(name) else {}
