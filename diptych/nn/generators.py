"""Generators by the names that the field gives them."""

from typing import Literal

from torch import nn

from diptych.nn.blocks import Norm
from diptych.nn.resnet import ResNet
from diptych.nn.unet import Dropout, UNet

Generator = Literal[
    "unet_32",
    "unet_64",
    "unet_128",
    "unet_256",
    "encoder_decoder_32",
    "encoder_decoder_64",
    "encoder_decoder_128",
    "encoder_decoder_256",
    "resnet_6",
    "resnet_9",
]


def generator(
    name: Generator, in_channels: int, out_channels: int, width: int, norm: Norm, dropout: Dropout
) -> nn.Module:
    """`unet_N` and `encoder_decoder_N` bring N pixels down to one; `resnet_N` has N blocks, with dropout or without."""
    family, _, number = name.rpartition("_")
    if family == "resnet":
        return ResNet(in_channels, out_channels, width, int(number), norm, dropout != "none")
    depth = int(number).bit_length() - 1
    return UNet(in_channels, out_channels, width, depth, norm, dropout, skip=family == "unet")


def multiple_of(name: Generator) -> int:
    """Heights and widths must be multiples of this."""
    family, _, number = name.rpartition("_")
    return 4 if family == "resnet" else int(number)
