"""What MUNIT and DRIT can be asked for: a direction, and a seed or a reference, whose style is an argument."""

import numpy as np
import pytest
import torch
from torch import nn

from diptych.errors import ConfigError
from diptych.inference.translator import Translator
from diptych.methods.drit import DRIT
from diptych.methods.munit import MUNIT

GREY_TO_COLOUR = {
    "in_channels": 1,
    "out_channels": 3,
    "image_size": 32,
    "ngf": 4,
    "ndf": 4,
    "d_layers": 2,
    "num_scales": 2,
}
SMALL = {
    "munit": (MUNIT, {"mlp_dim": 8, "n_blocks": 2, "style_dim": 3}),
    "drit": (DRIT, {"style_dim": 3, "content_noise_std": 1.0}),
    "drit feature_wise": (DRIT, {"style_dim": 3, "content_noise_std": 1.0, "attribute_injection": "feature_wise"}),
}


@pytest.fixture(params=SMALL)
def method(request):
    """Its translations lie inside of [-1, 1] and hear their style."""
    cls, over = SMALL[request.param]
    torch.manual_seed(0)
    method = cls(cls.Config(**GREY_TO_COLOUR, **over)).double()
    for name, p in method.named_parameters():
        if p.dim() > 1 or name.endswith("bias"):
            nn.init.normal_(p, 0, 0.2)
    return method


def batch(count=3):
    torch.manual_seed(1)
    return tuple(torch.rand(count, channels, 32, 32, dtype=torch.float64) * 2 - 1 for channels in (1, 3))


def encoders(method):
    """Of contents, of both domains."""
    return (method.G_a.content, method.G_b.content) if isinstance(method, MUNIT) else tuple(method.E_c.own)


@torch.no_grad()
def plainly(method, grey, reference):
    """From grey to colour by plain calls; of attributes that are spread their mean, and contents without noise."""
    if isinstance(method, MUNIT):
        return method.G_b.decode(method.G_a.content(grey), method.G_b.style(reference))
    content = method.E_c.shared(method.E_c.own[0](grey))
    return method.G(content, method.E_a[1](reference)[0], 1)


def far(one, other):
    return float((one - other).abs().max())


def test_a_seed_is_one_of_many_styles(method):
    x, colour = batch()
    torch.manual_seed(5)
    plain = method.translate(x)
    torch.manual_seed(6)
    assert torch.equal(plain, method.translate(x, "a2b", 0)), "global randomness changes no translation"
    assert plain.shape == (3, 3, 32, 32)
    assert plain.abs().max() <= 1
    assert not plain.requires_grad
    for direction, images, channels in (("a2b", x, 3), ("b2a", colour, 1)):
        one, other = (method.translate(images, direction, seed) for seed in (1, 2))
        assert one.shape == (3, channels, 32, 32)
        assert far(one, other) > 1e-3
        assert far(method.translate(images[1:2], direction, 1), one[1:2]) < 1e-12, "whatever batch it is in"
    assert all(module.training for module in method.modules())


def test_references_are_one_for_all_or_one_for_each(method):
    x, reference = batch()
    own = method.translate(x, reference=reference)
    for place in range(3):
        alone = method.translate(x[place : place + 1], reference=reference[place : place + 1])
        assert far(own[place : place + 1], alone) < 1e-12
        assert far(alone, plainly(method, x[place : place + 1], reference[place : place + 1])) < 1e-12
    first = method.translate(x, reference=reference[:1])
    assert far(first[0], own[0]) < 1e-12
    assert far(first[1], own[1]) > 1e-4
    assert torch.equal(own, method.translate(x, seed=7, reference=reference)), "instead of the seed's"


def test_as_many_references_as_images(method):
    x, colour = batch()
    for direction, images, reference in (("a2b", x, colour[:2]), ("b2a", colour, x[:2]), ("a2b", x[:1], colour)):
        says = f"{len(reference)} references for {len(images)} images: give one, or one for each"
        with pytest.raises(ConfigError, match=says):
            method.translate(images, direction, reference=reference)


def test_styles_of_a_batch_do_not_meet(method):
    """Known mistake: what a style gives to the norms, kept as a state of the module, is that of the last call."""
    x, reference = batch(2)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    same = x[:1].expand(2, -1, -1, -1)
    together = method.translate(same, reference=reference)
    turned = method.translate(same, reference=reference.flip(0))
    assert far(together, turned.flip(0)) < 1e-12
    assert far(together[0], together[1]) > 1e-4
    assert far(together[:1], plainly(method, x[:1], reference[:1])) < 1e-12
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


def test_an_image_is_encoded_once_a_direction(method):
    x, reference = batch()
    calls = []
    for name, net in zip("ab", encoders(method), strict=True):
        net.register_forward_hook(lambda *each, name=name: calls.append(name))
    choices = [{"seed": 1}, {}, {"reference": reference}, {"direction": "a2b", "seed": 4}]
    made = method.translate_each(x, choices)
    assert calls == ["a"]
    assert all(far(image, method.translate(x, **each)) < 1e-12 for image, each in zip(made, choices, strict=True))
    calls.clear()
    method.translate_each(reference, [{"direction": "b2a"}, {"direction": "b2a", "seed": 1}])
    assert calls == ["b"]


@pytest.mark.parametrize("cls", [MUNIT, DRIT])
def test_both_directions_in_one_call(cls):
    small = {**GREY_TO_COLOUR, "out_channels": 1, **SMALL[cls.__name__.lower()][1]}
    method, (x, _), calls = cls(cls.Config(**small)).double(), batch(), []
    for name, net in zip("ab", encoders(method), strict=True):
        net.register_forward_hook(lambda *each, name=name: calls.append(name))
    choices = [{}, {"direction": "b2a"}, {"seed": 2}, {"direction": "b2a", "seed": 3}]
    made = method.translate_each(x, choices)
    assert calls == ["a", "b"]
    assert all(far(image, method.translate(x, **each)) < 1e-12 for image, each in zip(made, choices, strict=True))


def test_a_reference_is_an_image_of_what_is_made(method):
    """From grey to colour it is in colour; the other way, grey. An array is brought to that."""
    assert [control.image for control in method.controls] == ["", "", "->", "", "->", ""]
    assert [method.controls[2].entry(route) for route in method.routes] == ["b", "a"]
    translator = Translator(method.float(), "styles", method.inference_networks, {})
    grey, colour = (each.float() for each in batch(2))
    there = translator(grey, reference=colour[:1])
    assert torch.allclose(there, method.translate(grey, reference=colour[:1]), atol=1e-6)
    assert translator(colour, direction="b2a", reference=grey[0]).shape == (2, 1, 32, 32)
    for images, controls, message in [
        (grey, {"reference": grey[:1]}, "reference has 1 channels; this model's images have 3"),
        (grey, {"direction": "a2b", "reference": grey[:1]}, "reference has 1 channels; this model's images have 3"),
        (colour, {"direction": "b2a", "reference": colour[:1]}, "reference has 3 channels; this model's images have 1"),
    ]:
        with pytest.raises(ConfigError, match=message):
            translator(images, **controls)
    picture = np.random.RandomState(0).randint(0, 256, (40, 48, 3)).astype(np.uint8)
    assert translator.prepare_controls({"reference": picture})["reference"].shape == (1, 3, 32, 32)
    assert translator.prepare_controls({"direction": "b2a", "reference": picture})["reference"].shape == (1, 1, 32, 32)
