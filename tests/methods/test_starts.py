"""What the weights of each method are before the first step, as its page says."""

import pytest
import torch
from torch import nn

from diptych.contract import Labels
from diptych.methods import METHODS, find
from diptych.methods.drit import DRIT

FEWEST = 500  # numbers in a weight of which the spread is judged: then it is known to 6 %
STARTS = {
    "pix2pix": {"": "normal"},
    "cyclegan": {"": "normal"},
    "gan": {"": "torch"},
    "stargan": {"": "torch"},
    "starganv2": {"": "he"},
    "srgan": {"": "torch"},
    "dtn": {"f.": "torch", "head.": "torch", "g.": "normal", "D.": "normal"},
    "diat": {"": "normal", "D.": "he"},
    "twostep": {"": "normal"},
    "munit": {"G_a.": "he", "G_b.": "he", "D_a.": "normal", "D_b.": "normal"},
    "drit": {"": "normal", "E_a.0.mean": "torch", "E_a.1.mean": "torch", "E_a.0.log": "torch", "E_a.1.log": "torch"},
    "drit shapes": {"": "normal", "G.own.0.mapping": "torch", "G.own.1.mapping": "torch"},
    "msgan": {"": "xavier"},
    "cut": {"": "xavier"},
}
LETTERS = (Labels(names=tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")),)
OVER = {
    "dtn": {"labels": LETTERS},
    "drit": {"ngf": 16},
    "diat": {"enhancement": "none"},  # E begins by adding nothing
}


def spread(kind, weight):
    """The standard deviation that it should have."""
    into, out = nn.init._calculate_fan_in_and_fan_out(weight)
    known = {"normal": 0.02, "xavier": 0.02 * (2 / (into + out)) ** 0.5, "he": (2 / into) ** 0.5}
    return known[kind] if kind in known else (3 * into) ** -0.5


@pytest.mark.parametrize("name", STARTS)
def test_weights_at_the_start(name):
    torch.manual_seed(0)
    known, _, preset = name.partition(" ")
    cls, judged = find(known), set()
    method = cls(cls.Config(**cls.checks.tiny | OVER.get(known, {}) | dict(cls.presets.get(preset, {}))))
    for key, weight in method.named_parameters():
        if weight.dim() > 1 and weight.numel() >= FEWEST:
            start = max((each for each in STARTS[name] if key.startswith(each)), key=len)
            assert weight.std().item() == pytest.approx(spread(STARTS[name][start], weight), rel=0.2), key
            judged.add(start)
    assert judged == set(STARTS[name])


def test_no_method_is_left_out():
    assert {name.partition(" ")[0] for name in STARTS} == set(METHODS)


def test_drit_hears_drawn_attributes_from_the_start():
    """Dense layers of N(0, 0.02) would make the mapping deaf: a thirtieth of this."""
    torch.manual_seed(0)
    mapping = (
        DRIT(DRIT.Config(attribute_injection="feature_wise", image_size=32, d_layers=2, num_scales=1, ndf=4))
        .G.own[0]
        .mapping
    )
    with torch.no_grad():
        assert 0.05 < mapping(torch.randn(100, 8)).std(0).mean().item() < 0.1
