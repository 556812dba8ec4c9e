"""What StarGAN v2 can be asked for: a domain and a seed, a reference, a way between two styles."""

import pytest
import torch
from small_starganv2 import DOMAINS, batch, drawing, preset, tiny

from diptych.errors import ConfigError


def test_controls():
    method, x = drawing(), batch()["image"]
    plain = method.translate(x)
    assert torch.equal(plain, method.translate(x, "cat", 0))
    assert plain.abs().max() <= 1
    assert not plain.requires_grad
    for other in ({"domain": "dog"}, {"seed": 1}, {"reference": batch()["other"][:1]}, {"toward": 3, "mix": 0.5}):
        assert not torch.allclose(plain, method.translate(x, **other), atol=1e-4), other
    assert torch.equal(plain, method.translate(x, toward=3))
    assert torch.equal(method.translate(x, seed=3), method.translate(x, toward=3, mix=1.0))
    assert [control.default for control in method.controls] == ["cat", 0, None, -1, None, 0.0]
    assert method.controls[0].choices == DOMAINS
    assert method.controls[2].image == "reference"
    assert [(route.controls["domain"], route.ground_truth) for route in method.routes] == [
        (name, f"image of {name}") for name in DOMAINS
    ]


def test_global_randomness_changes_no_translation():
    method, x = drawing(), batch()["image"]
    torch.manual_seed(5)
    one = method.translate(x, seed=4)
    torch.manual_seed(6)
    assert torch.equal(one, method.translate(x, seed=4))
    assert not torch.equal(method.style_from("cat", None, count=2)[0], method.style_from("cat", None, count=2)[0])


def test_each_image_by_itself():
    """With a seed all have one style; with as many references each has its own."""
    method, b = drawing(), batch()
    for controls in ({}, {"reference": b["other"]}):
        together = method.translate(b["image"], **controls)
        for place in range(2):
            own = {name: value[place : place + 1] for name, value in controls.items()}
            alone = method.translate(b["image"][place : place + 1], **own)
            assert float((together[place] - alone[0]).abs().max()) < 1e-5


def test_an_image_is_encoded_once_for_many_styles():
    method, b = drawing(), batch()
    content = method.encode(b["image"])
    for seed in range(3):
        style = method.style_from("dog", seed, None, 2)
        assert style.shape == (2, 8)
        assert torch.equal(style[0], style[1])
        assert torch.equal(method.decode(content, style), method.translate(b["image"], "dog", seed))
    shown = method.style_from("dog", None, b["other"], 2)
    assert not torch.equal(shown[0], shown[1])
    assert not any(tensor.requires_grad for tensor in (*content, style, shown))


def test_images_beyond_one_are_clamped():
    method = tiny()
    with torch.no_grad():
        method.G.head[-1].weight.mul_(100)
    made = method.translate(batch()["image"])
    assert made.abs().max() == 1
    assert method.G(batch()["image"], method.style_from(count=2)).abs().max() > 1


@pytest.mark.parametrize(
    ("controls", "says"),
    [
        ({"domain": "dgo"}, "did you mean 'dog'"),
        ({"reference": torch.zeros(1, 1, 64, 48)}, "32x32 pixels, got 48x64"),
        ({"reference": torch.zeros(3, 1, 32, 32)}, "3 references for 2 images"),
        ({"mix": 0.5}, "mix=0.5: .* needs toward=SEED or toward_reference=IMAGE"),
        ({"mix": 1.5, "toward": 1}, "mix=1.5"),
        ({"mix": float("nan"), "toward": 1}, "mix=nan"),
    ],
)
def test_controls_that_do_not_fit(controls, says):
    with pytest.raises(ConfigError, match=says):
        tiny().translate(batch()["image"], **controls)


def test_without_styles_there_is_no_reference():
    with pytest.raises(ConfigError, match="no style encoder"):
        preset("c").translate(batch()["image"], reference=batch()["other"])
