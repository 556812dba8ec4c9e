"""MSGAN by its paper and public code: constants, every term by hand, and the noise, which each level hears."""

import pytest
import torch
from pydantic import ValidationError

from diptych.contract import Clock
from diptych.methods.msgan import MSGAN
from diptych.training.engine import Engine

SMALL = {
    "in_channels": 2,
    "out_channels": 1,
    "image_size": 32,
    "ngf": 4,
    "ndf": 4,
    "receptive_field": 16,
    "latent_dim": 3,
}
START = Clock("train", 0, 10)
EXACT = {"rel": 1e-9}


def tiny(**over):
    torch.manual_seed(0)
    method = MSGAN(MSGAN.Config(**{**SMALL, "steps": 10, **over})).double()
    for name, p in method.named_parameters():  # biases are 0 at first, and weights so small that all is linear
        torch.nn.init.normal_(p, 0, 0.1 if name.endswith("bias") else 0.2)
    return method


def batch(count=3):
    torch.manual_seed(1)
    shapes = {"source": (count, 2, 32, 32), "target": (count, 1, 32, 32)}
    return {name: torch.rand(shape, dtype=torch.float64) * 2 - 1 for name, shape in shapes.items()}


def updates_of(method, given):
    torch.manual_seed(2)
    return [
        (player, {name: term.item() for name, term in terms.items()}) for player, terms in method.updates(given, START)
    ]


def noise_of(count=3):
    """What a step draws from the seed of `updates_of`."""
    torch.manual_seed(2)
    return torch.randn(2 * count, 3, dtype=torch.float64).chunk(2)


def told(method, x, y):
    """Both scales of the discriminator, on the pair and on its half, whose means leave the border's zeros out."""
    pair = torch.cat([x, y], 1)
    half = torch.nn.functional.avg_pool2d(pair, 3, 2, 1, count_include_pad=False)
    return [net(each) for net, each in zip(method.D.nets, (pair, half), strict=True)]


def squares(logits, wanted):
    return sum((each - wanted).square().mean() for each in logits)


def test_constants_of_the_public_code():
    """pix2pix with BicycleGAN's networks: Adam 2e-4, 200 epochs of 400 facades, L1 10, 8 numbers at all levels."""
    c = MSGAN.Config()
    assert (c.lambda_ms, c.ms_eps, c.lambda_l1, c.lambda_gan, c.latent_dim, c.prior) == (
        1.0,
        1e-5,
        10.0,
        1.0,
        8,
        "normal",
    )
    assert (c.ngf, c.norm, c.receptive_field, c.ndf, c.num_scales, c.image_size) == (64, "instance", 70, 64, 2, 256)
    assert (c.lr, c.steps, c.lr_decay_start, c.ema_decay) == (2e-4, 200 * 400, 0.5, 0.0)
    assert MSGAN.Config(**MSGAN.presets["paper"]) == c
    with torch.device("meta"):
        method = MSGAN(c)
    (stage,) = method.stages()
    assert {name: player.nets for name, player in stage.players.items()} == {"G": (method.G,), "D": (method.D,)}
    for player in stage.players.values():
        assert (player.lr, player.betas, player.weight_decay, player.clip) == (2e-4, (0.5, 0.999), 0.0, None)
        assert [player.schedule(Clock("train", step, 4)) for step in range(4)] == [1.0, 1.0, 1.0, 0.5]


def test_networks_are_those_of_pix2pix_with_noise_beside():
    with torch.device("meta"):
        method = MSGAN(MSGAN.Config())
    planes = 8 * 4 * 4 * (64 + 128 + 256 + 5 * 512)
    normed = 128 + 256 + 4 * 512 + 4 * 512 + 256 + 128 + 64  # InstanceNorm is not affine, and others have biases
    assert sum(p.numel() for p in method.G.parameters()) == 54_413_955 - 2 * normed + (64 + 512) + planes
    first, second = (sum(p.numel() for p in net.parameters()) for net in method.D.nets)
    assert first == 2_764_737 + 3 * 64 * 16 - (128 + 256 + 512), "a pair has 6 channels; less what a norm removes"
    assert second == (6 * 32 + 32 * 64 + 64 * 128 + 128 * 256 + 256) * 16 + 32 + 1, "half as wide"


def test_terms_by_hand():
    """Section 3.2: least squares on pairs of both images, L1 of the first, mode seeking between the two."""
    method, b = tiny(lambda_ms=3.0, ms_eps=0.5, lambda_l1=7.0, lambda_gan=2.0), batch()
    (first, g), (second, d) = updates_of(method, b)
    x, y, (z, w) = b["source"], b["target"], noise_of()
    one, other = method.G(x, z), method.G(x, w)
    assert (first, second) == ("G", "D"), "the authors' order"
    apart, drawn = (one - other).abs().mean(), (z - w).abs().mean()
    assert g == pytest.approx(
        {
            "gan_1": 2 * squares(told(method, x, one), 1).item(),
            "gan_2": 2 * squares(told(method, x, other), 1).item(),
            "l1": 7 * (one - y).abs().mean().item(),
            "seek": 3 / (apart / drawn + 0.5).item(),
        },
        **EXACT,
    )
    assert d == pytest.approx(
        {
            "real": 2 * squares(told(method, x, y), 1).item(),
            "fake_1": squares(told(method, x, one), 0).item(),
            "fake_2": squares(told(method, x, other), 0).item(),
        },
        **EXACT,
    )


def test_the_discriminator_sends_g_no_gradient_and_g_runs_once():
    method, b, passes = tiny(), batch(), []
    method.G.register_forward_hook(lambda *each: passes.append(len(each[1][0])))
    _, (_, terms) = list(method.updates(b, START))
    torch.stack(list(terms.values())).sum().backward()
    assert passes == [6], "both images of a source, in one pass, for both players"
    assert all(p.grad is None for p in method.G.parameters())
    assert all(p.grad is not None for p in method.D.parameters())


@pytest.mark.parametrize(
    ("over", "terms"),
    [
        (MSGAN.presets["plain"], {"gan_1", "gan_2", "l1"}),
        ({"lambda_l1": 0.0}, {"gan_1", "gan_2", "seek"}),
        ({"lambda_l1": 0.0, "lambda_ms": 0.0}, {"gan_1", "gan_2"}),
    ],
)
def test_weights_of_0_leave_terms_out(over, terms):
    """`plain` is the baseline of the paper's table: the same networks and images, without the term."""
    (_, g), (_, d) = updates_of(tiny(**over), batch())
    assert set(g) == terms
    assert set(d) == {"real", "fake_1", "fake_2"}
    Engine(tiny(**over)).train_step(batch())


def deaf(method, hearing=()):
    """The generator hears noise at these levels alone."""
    with torch.no_grad():
        for place, down in enumerate(method.G.down):
            conv = next(each for each in down if isinstance(each, torch.nn.Conv2d))
            if place not in hearing:
                conv.weight[:, -method.config.latent_dim :] = 0
    return method


def test_noise_that_is_left_out_costs_most():
    """Where both images are the same, the term is 1 / clamp, whatever was drawn."""
    for clamp in (1e-5, 0.25):
        (_, g), _ = updates_of(deaf(tiny(lambda_ms=2.0, ms_eps=clamp)), batch())
        assert g["seek"] == pytest.approx(2 / clamp, **EXACT)
        (_, hearing), _ = updates_of(tiny(lambda_ms=2.0, ms_eps=clamp), batch())
        assert hearing["seek"] < g["seek"]


@pytest.mark.parametrize("level", range(5))
def test_each_level_hears_the_noise_by_itself(level):
    """BicycleGAN, figure 3b: the planes go into all layers on the way down, not into the first alone."""
    method, x, (z, w) = deaf(tiny(), {level}), batch()["source"], noise_of()
    with torch.no_grad():
        changed = [
            float((one - other).abs().max())
            for one, other in zip(method.G.encode(x, z), method.G.encode(x, w), strict=True)
        ]
        assert all(each == 0 for each in changed[:level])
        assert all(each > 1e-3 for each in changed[level:])
        assert float((method.G(x, z) - method.G(x, w)).abs().max()) > 1e-4


def test_without_planes_the_noise_is_not_heard():
    method, x, (z, w) = deaf(tiny()), batch()["source"], noise_of()
    with torch.no_grad():
        assert torch.equal(method.G(x, z), method.G(x, w))


def test_a_seed_is_one_of_many_answers():
    method, x = tiny(), batch()["source"]
    torch.manual_seed(3)
    plain = method.translate(x)
    torch.manual_seed(4)
    assert torch.equal(plain, method.translate(x, seed=0)), "global randomness changes no translation"
    assert float((plain - method.translate(x, seed=1)).abs().max()) > 1e-3
    assert torch.equal(method.translate(x, seed=1), method.translate_each(x, [{"seed": 0}, {"seed": 1}])[1])
    alone = method.translate(x[1:2], seed=1)
    assert torch.allclose(alone, method.translate(x, seed=1)[1:2], rtol=0, atol=1e-12), "whatever batch it is in"
    assert plain.abs().max() <= 1
    assert not plain.requires_grad
    assert method.G.training


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ValidationError, match="crop_size=48 is not a power of two: set crop_size=32"):
        MSGAN.Config(image_size=48)
    with pytest.raises(ValidationError, match="ndf=4 must be at least 8 for num_scales=4"):
        MSGAN.Config(ndf=4, num_scales=4)
    for over in ({"ms_eps": 0.0}, {"lambda_ms": -1.0}, {"latent_dim": 0}):
        with pytest.raises(ValidationError):
            MSGAN.Config(**over)
