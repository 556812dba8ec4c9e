"""State dicts as the public code of pix2pix and CycleGAN writes them."""

from collections import OrderedDict

import torch


def conv(state, name, shape, bias):
    state[f"{name}.weight"] = torch.randn(shape) * 0.1
    if bias:
        state[f"{name}.bias"] = torch.randn(shape[0] if "up" not in name else shape[1])


def bn(state, name, channels, tracked=True):
    for leaf in ("weight", "bias", "running_mean", "running_var"):
        state[f"{name}.{leaf}"] = torch.rand(channels) + 0.5
    if tracked:
        state[f"{name}.num_batches_tracked"] = torch.tensor(5)


def resnet(blocks=6, width=4, norm="instance", dropout=False, into=3, out=3):
    """A state dict as the public code writes it."""
    state, biased = OrderedDict(), norm == "instance"
    layers = [(1, (width, into, 7, 7)), (4, (2 * width, width, 3, 3)), (7, (4 * width, 2 * width, 3, 3))]
    second = 6 if dropout else 5
    for block in range(10, 10 + blocks):
        layers += [
            (f"{block}.conv_block.1", (4 * width, 4 * width, 3, 3)),
            (f"{block}.conv_block.{second}", (4 * width, 4 * width, 3, 3)),
        ]
    for at, shape in layers:
        conv(state, f"model.{at}", shape, biased)
        if norm == "batch":
            head, _, last = str(at).rpartition(".")
            bn(state, f"model.{head + '.' if head else ''}{int(last) + 1}", shape[0])
    for at, (wide, narrow) in ((10 + blocks, (4 * width, 2 * width)), (13 + blocks, (2 * width, width))):
        state[f"model.{at}.weight"] = torch.randn(wide, narrow, 3, 3) * 0.1
        if biased:
            state[f"model.{at}.bias"] = torch.randn(narrow)
        if norm == "batch":
            bn(state, f"model.{at + 1}", narrow)
    state[f"model.{17 + blocks}.weight"], state[f"model.{17 + blocks}.bias"] = (
        torch.randn(out, width, 7, 7),
        torch.randn(out),
    )
    return state
