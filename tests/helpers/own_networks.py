"""A small generator of a user, for `generator=own_networks:Small`."""

import torch
from torch import nn


class Small(nn.Module):
    """Two convolutions."""

    size_multiple = 2

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.first, self.last = nn.Conv2d(in_channels, 4, 3, padding=1), nn.Conv2d(4, out_channels, 3, padding=1)

    def forward(self, x):
        return torch.tanh(self.last(torch.relu(self.first(x))))


class Pretrained(Small):
    """Keeps the weights that it is built with."""

    keep_init = True

    def __init__(self, in_channels, out_channels):
        super().__init__(in_channels, out_channels)
        nn.init.constant_(self.first.weight, 0.125)


class Broken(nn.Module):
    def __init__(self, in_channels):
        super().__init__()


def not_a_network(in_channels, out_channels):
    return "text"


class Halves(nn.Module):
    """Halves sizes and doubles them again; it does not say so by `size_multiple`."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.down = nn.Conv2d(in_channels, 4, 4, 2, 1)
        self.up = nn.ConvTranspose2d(4, out_channels, 4, 2, 1)

    def forward(self, x):
        return torch.tanh(self.up(torch.relu(self.down(x))))


class HalvesWithSkip(Halves):
    def forward(self, x):
        return x + super().forward(x)


class ReturnsTuple(Small):
    def forward(self, x):
        return super().forward(x), x


class Shrinks(Small):
    def forward(self, x):
        return super().forward(x)[..., 1:]


class Fails(Small):
    def forward(self, x):
        return x.no_such_attribute
