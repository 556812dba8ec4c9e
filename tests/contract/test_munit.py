"""MUNIT by its paper and public code: constants, networks, every term by hand, and passes saved without a change."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn

from diptych.check.subject import Glance
from diptych.contract import Clock
from diptych.engine.step import Engine
from diptych.errors import ConfigError
from diptych.methods.munit import MUNIT
from diptych.nn.content import AdaptiveBlock, LayerNorm
from diptych.translator import Translator

SMALL = {
    "in_channels": 1, "out_channels": 1, "size": 32, "width": 4, "hidden": 8, "blocks": 1, "style_dim": 3,
    "d_width": 4, "depth": 2, "scales": 2, "steps": 10,
}  # fmt: skip
START = Clock("train", 0, 10)
EXACT = {"rel": 1e-9}


def tiny(**over):
    torch.manual_seed(0)
    method = MUNIT(MUNIT.Config(**{**SMALL, **over})).double()
    for name, p in method.named_parameters():  # biases are 0 at first, and critics almost: that hides mistakes
        if name.endswith("bias"):
            nn.init.normal_(p, 0, 0.1)
        elif name.startswith("D"):
            nn.init.normal_(p, 0, 0.2)
    method.lent["features"] = Glance()
    return method


def batch(channels=(1, 1), count=2):
    torch.manual_seed(1)
    return {
        name: torch.rand(count, each, 32, 32, dtype=torch.float64) * 2 - 1
        for name, each in zip("ab", channels, strict=True)
    }


def updates_of(method, given):
    torch.manual_seed(2)
    return [
        (players, {name: term.item() for name, term in terms.items()})
        for players, terms in method.updates(given, START)
    ]


def size_of(net):
    return sum(p.numel() for p in net.parameters())


def test_constants_of_the_paper_and_the_public_code():
    """Appendix B: Adam 1e-4 (.5, .999), decay 1e-4, halved every 100,000 steps; weights 1, 10, 1, 1."""
    c = MUNIT.Config()
    assert (c.gan, c.image, c.style, c.content, c.cycle, c.perceptual) == (1.0, 10.0, 1.0, 1.0, 0.0, 0.0)
    assert (c.style_dim, c.prior, c.width, c.hidden, c.blocks) == (8, "normal", 64, 256, 4)
    assert (c.d_width, c.depth, c.scales, c.size, c.steps, c.ema_decay) == (64, 4, 3, 256, 1_000_000, 0.0)
    assert MUNIT.Config(**MUNIT.presets["paper"]) == c
    scenes, streets = (MUNIT.Config(**MUNIT.presets[name]) for name in ("scenes", "streets"))
    assert (scenes.cycle, scenes.perceptual) == (10.0, 0.0)
    assert (streets.cycle, streets.perceptual, streets.features) == (10.0, 1.0, "vgg16")
    with torch.device("meta"):
        method = MUNIT(c)
    (stage,) = method.stages()
    nets = {name: player.nets for name, player in stage.players.items()}
    assert nets == {"D": (method.D_a, method.D_b), "G": (method.G_a, method.G_b)}
    for player in stage.players.values():
        assert (player.lr, player.betas, player.weight_decay, player.clip) == (1e-4, (0.5, 0.999), 1e-4, None)
        steps = (0, 99_999, 100_000, 199_999, 200_000, 999_999)
        assert [player.schedule(Clock("train", step, 10**6)) for step in steps] == [1, 1, 0.5, 0.5, 0.25, 0.5**9]


def test_parameters_as_published():
    """Less the biases that an InstanceNorm removes: of the content encoder, and before AdaIN."""
    with torch.device("meta"):
        method = MUNIT(MUNIT.Config())
    coder = method.G_a
    in_content, before_styles = 64 + 128 + 256 + 4 * 2 * 256, 4 * 2 * 256
    content, decoder = size_of(coder.content) + in_content, size_of(coder.decoder) + before_styles
    published = [size_of(coder.style), content, decoder, size_of(coder.mapping)]
    assert [each / 1e6 for each in published] == pytest.approx([2.76, 5.39, 5.75, 1.12], abs=0.005)
    assert sum(published) == size_of(coder) + 4544 == 15_026_187
    of_scale = sum(16 * narrow * wide + wide for narrow, wide in ((3, 64), (64, 128), (128, 256), (256, 512))) + 513
    assert size_of(method.D_a) == 3 * of_scale == 8_271_171


def whitened(h):
    return (h - h.mean((2, 3), keepdim=True)) / (h.var((2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()


def test_networks_by_hand():
    """Shift first, then scale (the published code names them bias and weight); LayerNorm's deviation is unbiased."""
    torch.manual_seed(0)
    block, norm = AdaptiveBlock(4).double(), LayerNorm(4).double()
    x, given = torch.randn(2, 4, 8, 8).double(), torch.randn(2, 16).double()

    def padded(conv, h):
        return F.conv2d(F.pad(h, (1, 1, 1, 1), mode="reflect"), conv.weight)

    shift, scale, shift2, scale2 = (given[:, 4 * at : 4 * at + 4, None, None] for at in range(4))
    h = (whitened(padded(block.conv1, x)) * scale + shift).relu()
    assert torch.allclose(block(x, given), x + whitened(padded(block.conv2, h)) * scale2 + shift2, atol=1e-12)
    nn.init.normal_(norm.shift)
    for image, made in zip(x, norm(x), strict=True):
        deviation = ((image - image.mean()).square().sum() / (image.numel() - 1)).sqrt()
        wanted = (image - image.mean()) / (deviation + 1e-5) * norm.scale[:, None, None] + norm.shift[:, None, None]
        assert torch.allclose(made, wanted, atol=1e-12)
    with torch.device("meta"):
        coder = MUNIT(MUNIT.Config()).G_a
        content = coder.content(torch.empty(1, 3, 256, 256))
        assert content.shape == (1, 256, 64, 64)
        assert coder.style(torch.empty(1, 3, 256, 256)).shape == (1, 8)
        assert coder.decode(content, torch.empty(1, 8)).shape == (1, 3, 256, 256)
    assert not any(isinstance(m, nn.InstanceNorm2d | LayerNorm) for m in coder.style.modules())


def looks(critic, x):
    """The first network at full size, the second at half, whose means leave the border's zeros out."""
    return critic.nets[0](x), critic.nets[1](F.avg_pool2d(x, 3, 2, 1, count_include_pad=False))


def test_terms_by_hand():
    """Equations 1 to 5 and section 5.1; each player has styles of its own, drawn before either moves."""
    weights = {"gan": 2.0, "image": 3.0, "style": 5.0, "content": 7.0, "cycle": 11.0, "perceptual": 13.0}
    method, given = tiny(**weights, features="vgg16"), batch()
    (first, d), (second, g) = updates_of(method, given)
    assert (first, second) == ("D", "G")
    a, b, A, B, see = given["a"], given["b"], method.G_a, method.G_b, Glance()
    torch.manual_seed(2)
    drawn = [torch.randn(4, 3, dtype=torch.float64).chunk(2) for _ in "DG"]

    def translated(style_a, style_b):
        return A.decode(B.content(b), style_a), B.decode(A.content(a), style_b)

    wanted = {}
    for name, critic, real, fake in zip("ab", (method.D_a, method.D_b), (a, b), translated(*drawn[0]), strict=True):
        made = sum(each.square().mean() for each in looks(critic, fake))
        wanted[name] = 2 * (made + sum((each - 1).square().mean() for each in looks(critic, real))).item()
    assert d == pytest.approx(wanted, **EXACT)

    style_a, style_b = drawn[1]
    ba, ab = translated(style_a, style_b)
    terms = {
        "gan_a": 2 * sum((each - 1).square().mean() for each in looks(method.D_a, ba)),
        "gan_b": 2 * sum((each - 1).square().mean() for each in looks(method.D_b, ab)),
        "image_a": 3 * (A.decode(A.content(a), A.style(a)) - a).abs().mean(),
        "image_b": 3 * (B.decode(B.content(b), B.style(b)) - b).abs().mean(),
        "style_a": 5 * (A.style(ba) - style_a).abs().mean(),
        "style_b": 5 * (B.style(ab) - style_b).abs().mean(),
        "content_a": 7 * (B.content(ab) - A.content(a)).abs().mean(),
        "content_b": 7 * (A.content(ba) - B.content(b)).abs().mean(),
        "cycle_a": 11 * (A.decode(B.content(ab), A.style(a)) - a).abs().mean(),
        "cycle_b": 11 * (B.decode(A.content(ba), B.style(b)) - b).abs().mean(),
        "perceptual_a": 13 * (whitened(see(ba)[1]) - whitened(see(b)[1])).square().mean(),
        "perceptual_b": 13 * (whitened(see(ab)[1]) - whitened(see(a)[1])).square().mean(),
    }
    assert g == pytest.approx({name: term.item() for name, term in terms.items()}, **EXACT)


@pytest.mark.parametrize(
    ("over", "kinds"),
    [
        ({}, {"gan", "image", "style", "content"}),
        ({"image": 0.0}, {"gan", "style", "content"}),
        ({"content": 0.0}, {"gan", "image", "style"}),
        ({"style": 0.0}, {"gan", "image", "content"}),
        (MUNIT.presets["scenes"], {"gan", "image", "style", "content", "cycle"}),
    ],
)
def test_the_ablations_are_weights_of_0(over, kinds):
    """The table without x-, c- and s-reconstruction, and the preset with a cycle."""
    _, (_, g) = updates_of(tiny(**over), batch())
    assert set(g) == {f"{kind}_{name}" for kind in kinds for name in "ab"}


@pytest.mark.parametrize("saving", ["plain", "passes", "most"])
def test_styles_are_drawn_at_the_start_of_a_step(saving):
    method, drawn = tiny(saving=saving), []
    plain = method.draw
    method.draw = lambda x: (drawn.append(1), plain(x))[1]
    rule = method.updates(batch(), START)
    counts = [(next(rule, None) is not None, len(drawn)) for _ in range(3)]
    assert counts == [(True, 2), (True, 2), (False, 2)], "so that all ways of saving draw alike"


def two_steps(saving, alike=False):
    """Losses, everything that moved, and how often each kind of network ran in a step."""
    method, calls, logged = tiny(saving=saving, cycle=10.0), [], []
    for coder in (method.G_a, method.G_b):
        for name in ("content", "style", "decoder"):
            getattr(coder, name).register_forward_hook(lambda *each, name=name: calls.append(name))
    if alike:  # both players see the same styles
        drawn, plain = [], method.draw
        method.draw = lambda x: drawn.pop() if drawn else (drawn.append(plain(x)), drawn[0])[1]
    engine = Engine(method)
    for _ in range(2):
        engine.take(batch())
        logged.append(engine.ledger.close().means())
    return logged, engine.state()[0], tuple(calls.count(name) / 2 for name in ("content", "style", "decoder"))


@pytest.mark.parametrize(("saving", "calls"), [("passes", (4, 4, 8)), ("most", (4, 4, 6))])
def test_saved_passes_change_nothing(saving, calls):
    """In float64, over two steps. `most` gives both players one draw, and is the published order but for that."""
    one, state, plainly = two_steps("plain", alike=saving == "most")
    other, same, fewer = two_steps(saving, alike=saving == "most")
    assert (plainly, fewer) == ((6, 4, 8), calls)
    for ours, theirs in zip(one, other, strict=True):
        assert theirs == pytest.approx(ours, rel=1e-9)
    assert set(state) == set(same)
    worst = max((float((state[name] - same[name]).abs().max()), name) for name in state)
    assert worst[0] < 1e-9, worst


@pytest.mark.parametrize("saving", ["plain", "passes", "most"])
def test_every_weight_gets_a_gradient_under_autocast(saving):
    """Casts of weights made without a graph must not be met again; some versions of torch keep them."""
    method = tiny(saving=saving).float()
    given = {name: value.float() for name, value in batch().items()}
    players, rule = method.stages()[0].players, method.updates(given, START)
    for name in ("D", "G"):
        with torch.autocast("cpu", torch.bfloat16):
            terms = next(rule)[1]
        torch.stack([term.float() for term in terms.values()]).sum().backward(inputs=players[name].parameters())
        assert all(p.grad is not None for p in players[name].parameters()), name


def answering(**over):
    """Of two kinds of images, grey and in colour, whose translations lie inside of [-1, 1] and hear their style."""
    method = tiny(**{"in_channels": 1, "out_channels": 3, **over})
    with torch.no_grad():
        for coder in (method.G_a, method.G_b):
            coder.decoder.head.weight.mul_(0.1)
    return method


def far(one, other):
    return float((one - other).abs().max())


def test_a_seed_is_one_of_many_styles():
    method, x = answering(), batch(count=3)["a"]
    torch.manual_seed(5)
    plain = method.translate(x)
    torch.manual_seed(6)
    assert torch.equal(plain, method.translate(x, "a2b", 0)), "global randomness changes no translation"
    assert plain.shape == (3, 3, 32, 32)
    assert plain.abs().max() <= 1
    assert not plain.requires_grad
    assert far(plain, method.translate(x, seed=1)) > 1e-3
    assert far(method.translate(x[1:2], seed=1), method.translate(x, seed=1)[1:2]) < 1e-12, "whatever batch it is in"
    back = method.translate(plain, "b2a", seed=1)
    assert back.shape == (3, 1, 32, 32)
    assert far(back, method.translate(plain, "b2a", seed=2)) > 1e-3
    assert method.training
    assert method.G_a.content.training


def test_references_are_one_for_all_or_one_for_each():
    method, given = answering(), batch((1, 3), 3)
    x, reference = given["a"], given["b"]
    own = method.translate(x, reference=reference)
    for place in range(3):
        alone = method.translate(x[place : place + 1], reference=reference[place : place + 1])
        assert far(own[place : place + 1], alone) < 1e-12
        with torch.no_grad():
            style = method.G_b.style(reference[place : place + 1])
            assert far(alone, method.G_b.decode(method.G_a.content(x[place : place + 1]), style)) < 1e-12
    first = method.translate(x, reference=reference[:1])
    assert far(first[0], own[0]) < 1e-12
    assert far(first[1], own[1]) > 1e-3
    assert torch.equal(own, method.translate(x, seed=7, reference=reference)), "instead of the seed's"
    for direction, wrong in (("a2b", reference[:2]), ("b2a", x[:2])):
        with pytest.raises(ConfigError, match="2 references for 3 images"):
            method.translate(x if direction == "a2b" else reference, direction, reference=wrong)


def test_styles_of_a_batch_do_not_meet():
    """Known mistake: what a style gives to the norms, kept as a state of the module, is that of the last call."""
    method, given = answering(), batch((1, 3))
    styles = torch.randn(2, 3, dtype=torch.float64)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    with torch.no_grad():
        content = method.G_a.content(given["a"])
        content[1] = content[0]
        together = method.G_b.decode(content, styles)
        alone = [method.G_b.decode(content[at : at + 1], styles[at : at + 1])[0] for at in (0, 1)]
    assert far(together, torch.stack(alone)) < 1e-12
    assert far(alone[0], alone[1]) > 1e-3
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


def test_an_image_is_coded_once_for_many_styles():
    method, given, calls = answering(), batch((1, 1)), []
    method = tiny()
    for name, coder in (("a", method.G_a), ("b", method.G_b)):
        coder.content.register_forward_hook(lambda *each, name=name: calls.append(name))
    choices = [
        {"seed": 1},
        {"seed": 2},
        {"direction": "b2a"},
        {"reference": given["b"]},
        {"direction": "b2a", "seed": 4},
    ]
    made = method.translate_each(given["a"], choices)
    assert calls == ["a", "b"]
    assert all(
        far(image, method.translate(given["a"], **each)) < 1e-12 for image, each in zip(made, choices, strict=True)
    )


def test_a_reference_is_an_image_of_what_is_made():
    """From grey to colour it is in colour; the other way, grey. A file or an array is brought to that."""
    method = answering().float()
    translator = Translator(method, "munit", method.ships, {})
    grey, colour = (batch((1, 3))[name].float() for name in "ab")
    assert [control.image for control in method.controls] == ["", "", "->"]
    assert [method.controls[2].entry(route) for route in method.routes] == ["b", "a"]
    there = translator(grey, reference=colour[:1])
    assert torch.allclose(there, method.translate(grey, reference=colour[:1]), atol=1e-6)
    assert translator(colour, direction="b2a", reference=grey[0]).shape == (2, 1, 32, 32)
    for controls, wrong, message in [
        ({}, grey, "reference has 1 channels; this model's images have 3"),
        ({"direction": "b2a"}, colour, "reference has 3 channels; this model's images have 1"),
    ]:
        with pytest.raises(ConfigError, match=message):
            translator(grey, reference=wrong[:1], **controls)
    picture = np.random.RandomState(0).randint(0, 256, (40, 48, 3)).astype(np.uint8)
    assert translator.ready({"reference": picture})["reference"].shape == (1, 3, 32, 32)
    assert translator.ready({"direction": "b2a", "reference": picture})["reference"].shape == (1, 1, 32, 32)


def test_settings_that_do_not_fit_are_refused():
    for over, message in [
        ({"perceptual": 1.0}, "perceptual looks through features: name a network, such as vgg16"),
        ({"perceptual": 1.0, "features": "vgg16", "in_channels": 1}, "their channels differ"),
        ({"size": 32}, "crop=32: 3 discriminators that halve 4 times need 64 pixels; set depth or scales lower"),
    ]:
        with pytest.raises(ValidationError, match=message):
            MUNIT.Config(**over)
