"""A small StarGAN v2, and batches for it, by hand."""

import torch

from diptych.contract import Clock, Labels
from diptych.methods.starganv2 import StarGANv2

DOMAINS = ("cat", "dog", "wild")
LABELS = (Labels(names=DOMAINS),)
START = Clock("train", 0, 10)
SMALL = {**StarGANv2.checks.tiny, "width": 4, "max_width": 8, "steps": 10, "channels": 1, "labels": LABELS}


def tiny(**over):
    torch.manual_seed(0)
    method = StarGANv2(StarGANv2.Config(**{**SMALL, **over}))
    for name, p in method.named_parameters():  # biases are 0 at first, which would hide a wrong one
        if name.endswith("bias"):
            torch.nn.init.normal_(p, 0, 0.1)
    return method


def batch(size=32, dtype=torch.float32):
    torch.manual_seed(1)
    images = {name: torch.rand(2, 1, size, size, dtype=dtype) * 2 - 1 for name in ("image", "reference", "other")}
    return {**images, "label": torch.tensor([0, 2]), "target": torch.tensor([1, 0])}


def updates_of(method, clock=START):
    given = batch()
    torch.manual_seed(2)
    return [
        (players, {name: term.item() for name, term in terms.items()})
        for players, terms in method.updates(given, clock)
    ]


def preset(name, **over):
    return tiny(**{**StarGANv2.presets[name], **over})


def drawing(**over):
    """A method that tells everything apart: its images lie inside of [-1, 1] and differ."""
    method = tiny(**over)
    with torch.no_grad():
        method.G.head[-1].weight.mul_(0.1)
    return method
