"""MUNIT by its paper and public code: constants, networks, every term by hand, and passes saved without a change."""

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn

from diptych.contract import Clock
from diptych.methods.munit import MUNIT
from diptych.networks.munit import AdaINBlock, Decoder, LayerNorm
from diptych.testing.harness import TinyFeatures
from diptych.training.engine import Engine

SMALL = {
    "in_channels": 1, "out_channels": 1, "image_size": 32, "ngf": 4, "mlp_dim": 8, "n_blocks": 1, "style_dim": 3,
    "ndf": 4, "d_layers": 2, "num_scales": 2, "steps": 10,
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
    method.perceptual["features"] = TinyFeatures()
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
    assert (c.lambda_gan, c.lambda_image, c.lambda_style, c.lambda_content, c.lambda_cycle, c.lambda_perceptual) == (
        1.0,
        10.0,
        1.0,
        1.0,
        0.0,
        0.0,
    )
    assert (c.style_dim, c.prior, c.ngf, c.mlp_dim, c.n_blocks) == (8, "normal", 64, 256, 4)
    assert (c.ndf, c.d_layers, c.num_scales, c.image_size, c.steps, c.ema_decay) == (64, 4, 3, 256, 1_000_000, 0.0)
    assert MUNIT.Config(**MUNIT.presets["paper"]) == c
    scenes, streets = (MUNIT.Config(**MUNIT.presets[name]) for name in ("scenes", "streets"))
    assert (scenes.lambda_cycle, scenes.lambda_perceptual) == (10.0, 0.0)
    assert (streets.lambda_cycle, streets.lambda_perceptual, streets.feature_network) == (10.0, 1.0, "vgg16")
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
    block, norm = AdaINBlock(4).double(), LayerNorm(4).double()
    x, given = torch.randn(2, 4, 8, 8).double(), torch.randn(2, 16).double()

    def padded(conv, h):
        return F.conv2d(F.pad(h, (1, 1, 1, 1), mode="reflect"), conv.weight)

    shift, scale, shift2, scale2 = (given[:, 4 * at : 4 * at + 4, None, None] for at in range(4))
    h = (whitened(padded(block.conv1, x)) * scale + shift).relu()
    assert torch.allclose(block(x, given), x + whitened(padded(block.conv2, h)) * scale2 + shift2, atol=1e-12)
    decoder, parts = Decoder(1, 1, 2).double(), torch.randn(2, 32).double()
    blocks = decoder.blocks[1](decoder.blocks[0](x, parts[:, :16]), parts[:, 16:])
    assert torch.allclose(decoder(x, parts), decoder.head(decoder.up[1](decoder.up[0](blocks))).tanh(), atol=1e-12)
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
    weights = {
        "lambda_gan": 2.0,
        "lambda_image": 3.0,
        "lambda_style": 5.0,
        "lambda_content": 7.0,
        "lambda_cycle": 11.0,
        "lambda_perceptual": 13.0,
    }
    method, given = tiny(**weights, feature_network="vgg16"), batch()
    (first, d), (second, g) = updates_of(method, given)
    assert (first, second) == ("D", "G")
    a, b, A, B, see = given["a"], given["b"], method.G_a, method.G_b, TinyFeatures()
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
        ({"lambda_image": 0.0}, {"gan", "style", "content"}),
        ({"lambda_content": 0.0}, {"gan", "image", "style"}),
        ({"lambda_style": 0.0}, {"gan", "image", "content"}),
        (MUNIT.presets["scenes"], {"gan", "image", "style", "content", "cycle"}),
    ],
)
def test_the_ablations_are_weights_of_0(over, kinds):
    """The table without x-, c- and s-reconstruction, and the preset with a cycle."""
    _, (_, g) = updates_of(tiny(**over), batch())
    assert set(g) == {f"{kind}_{name}" for kind in kinds for name in "ab"}


@pytest.mark.parametrize("reuse", ["none", "exact", "max"])
def test_styles_are_drawn_at_the_start_of_a_step(reuse):
    method, drawn = tiny(reuse=reuse), []
    plain = method.sample_styles
    method.sample_styles = lambda x: (drawn.append(1), plain(x))[1]
    rule = method.updates(batch(), START)
    counts = [(next(rule, None) is not None, len(drawn)) for _ in range(3)]
    assert counts == [(True, 2), (True, 2), (False, 2)], "so that all ways of reuse draw alike"


@pytest.mark.parametrize("reuse", ["none", "exact", "max"])
def test_discriminators_send_coders_no_gradient(reuse):
    method = tiny(reuse=reuse)
    terms = next(method.updates(batch(), START))[1]
    sum(terms.values()).backward()
    assert all(p.grad is None for coder in (method.G_a, method.G_b) for p in coder.parameters())
    assert all(p.grad is not None for critic in (method.D_a, method.D_b) for p in critic.parameters())


@pytest.mark.parametrize(("reuse", "graph"), [("exact", False), ("max", True)])
def test_no_graph_is_built_of_translations_that_discriminators_alone_see(reuse, graph):
    method, seen, built = tiny(reuse=reuse), [], []
    plain = method.discriminator_terms
    method.discriminator_terms = lambda real, fake: (seen.extend(fake), plain(real, fake))[1]
    for coder in (method.G_a, method.G_b):
        for part in (coder.mapping, coder.decoder):
            part.register_forward_hook(lambda net, given, out: built.append(out.requires_grad))
    rule = method.updates(batch(), START)
    next(rule)
    assert [each.grad_fn is not None for each in seen] == [graph] * 2
    assert built == [graph] * 4
    built.clear()
    next(rule)
    assert all(built), "those that coders learn from have one"


def two_steps(reuse, alike=False):
    """Losses, everything that moved, and how often each kind of network ran in a step."""
    method, calls, logged = tiny(reuse=reuse, lambda_cycle=10.0), [], []
    for coder in (method.G_a, method.G_b):
        for name in ("content", "style", "decoder"):
            getattr(coder, name).register_forward_hook(lambda *each, name=name: calls.append(name))
    if alike:  # both players see the styles that are drawn first
        drawn, plain = [], method.sample_styles
        method.sample_styles = lambda x: drawn.pop() if drawn else (drawn.append(plain(x)), drawn[0])[1]
    engine = Engine(method)
    for _ in range(2):
        engine.train_step(batch())
        logged.append(engine.loss_tracker.close().means())
    return logged, engine.state()[0], tuple(calls.count(name) / 2 for name in ("content", "style", "decoder"))


@pytest.mark.parametrize(("reuse", "calls"), [("exact", (4, 4, 8)), ("max", (4, 4, 6))])
def test_saved_passes_change_nothing(reuse, calls):
    """In float64, over two steps. `most` takes the first draw for both players, and changes nothing else."""
    one, state, plainly = two_steps("none", alike=reuse == "max")
    other, same, fewer = two_steps(reuse)
    assert (plainly, fewer) == ((6, 4, 8), calls)
    for ours, theirs in zip(one, other, strict=True):
        assert theirs == pytest.approx(ours, rel=1e-9)
    assert set(state) == set(same)
    worst = max((float((state[name] - same[name]).abs().max()), name) for name in state)
    assert worst[0] < 1e-9, worst


@pytest.mark.parametrize("reuse", ["none", "exact", "max"])
def test_every_weight_gets_a_gradient_under_autocast(reuse):
    """Casts of weights made without a graph must not be met again; some versions of torch keep them."""
    method = tiny(reuse=reuse).float()
    given = {name: value.float() for name, value in batch().items()}
    players, rule = method.stages()[0].players, method.updates(given, START)
    for name in ("D", "G"):
        with torch.autocast("cpu", torch.bfloat16):
            terms = next(rule)[1]
        torch.stack([term.float() for term in terms.values()]).sum().backward(inputs=players[name].parameters())
        assert all(p.grad is not None for p in players[name].parameters()), name


def test_settings_that_do_not_fit_are_refused():
    for over, message in [
        ({"lambda_perceptual": 1.0}, "lambda_perceptual needs a feature network: set feature_network=vgg16"),
        ({"lambda_perceptual": 1.0, "feature_network": "vgg16", "in_channels": 1}, "but a has 1 channels and b has 3"),
        (
            {"image_size": 32},
            "crop_size=32: num_scales=3 with d_layers=4 need 64 pixels; lower num_scales or d_layers",
        ),
    ]:
        with pytest.raises(ValidationError, match=message):
            MUNIT.Config(**over)
