"""DIAT and DIAT-A by their paper: every term by hand, the stages, the frozen networks, and both enhancements."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from diptych.contract import Clock
from diptych.methods.diat import DIAT
from diptych.networks.diat import blur_bicubic
from diptych.testing.harness import MethodUnderTest, TinyFeatures

SMALL = {"channels": 1, "image_size": 32, "ngf": 4, "n_blocks": 1, "ndf": 4, "feature_layers": (1, 2), "norm": "none"}
EXACT = {"rel": 1e-9}


def tiny(**over):
    torch.manual_seed(0)
    method = DIAT(DIAT.Config(**{**SMALL, **over})).double()
    for name, p in method.named_parameters():  # biases are 0 at first, and all weights small: that hides mistakes
        if p.dim() > 1 or name.endswith("bias"):
            nn.init.normal_(p, 0, 0.15)
    if method.config.feature_network != "none":
        method.perceptual["features"] = TinyFeatures()
    return method


def batch_of(count=2):
    torch.manual_seed(1)
    return {name: torch.rand(count, 1, 32, 32, dtype=torch.float64) * 2 - 1 for name in "ab"}


def terms_of(rule, batch):
    return dict(rule(batch, Clock("transfer", 0, 10)))


def identity(ours, theirs):
    """1 / (2 C H W) of the squared norm of the difference, for each image, added up over layers."""
    total = 0.0
    for one, other in zip(ours, theirs, strict=True):
        size = one[0].numel()
        total += sum((a - b).square().sum().item() / (2 * size) for a, b in zip(one, other, strict=True)) / len(one)
    return total


def test_constants():
    """Layers 4 and 5 are the paper's; the other numbers are ours, and what the page says."""
    c = DIAT.Config()
    assert (c.identity_features, c.feature_layers, c.lambda_id, c.lambda_smooth) == ("network", (4, 5), 1.0, 0.1)
    assert (c.image_size, c.ngf, c.n_blocks, c.ndf, c.d_max_channels, c.d_layers, c.norm) == (
        128,
        32,
        5,
        64,
        512,
        5,
        "instance",
    )
    assert DIAT.Config(**DIAT.presets["paper"], enhancement_steps=20_000) == c.model_copy(
        update={"enhancement": "global"}
    )
    adaptive = DIAT.Config(**DIAT.presets["adaptive"])
    assert (adaptive.identity_features, adaptive.feature_network, adaptive.feature_layers, adaptive.smooths) == (
        "adaptive",
        "none",
        (4, 5),
        False,
    )
    with torch.device("meta"):
        stages = DIAT(DIAT.Config(**DIAT.presets["paper"])).stages()
        assert DIAT(adaptive).stages()[-1].name == "enhance"
    assert [(stage.name, stage.steps) for stage in stages] == [
        ("denoise", 5000),
        ("warm", 1000),
        ("transfer", 50_000),
        ("enhance", 20_000),
    ]
    for player in (player for stage in stages for player in stage.players.values()):
        assert (player.lr, player.betas, player.weight_decay, player.clip) == (2e-4, (0.5, 0.999), 0.0, None)


def test_sizes_that_the_authors_of_stargan_used():
    method = DIAT(DIAT.Config(**DIAT.presets["stargan-baseline"]))
    weights = [sum(p.numel() for p in net.parameters()) for net in (method.T, method.D)]
    assert weights[0] / 1e6 == pytest.approx(7.84, abs=0.01), "without biases that a norm removes"
    assert weights[1] / 1e6 == pytest.approx(44.7, abs=0.05)


def test_the_transfer_by_hand():
    method, batch = tiny(lambda_id=3.0, lambda_smooth=2.0), batch_of()
    made = terms_of(method.updates, batch)
    x, fake, see = batch["a"], method.T(batch["a"]), TinyFeatures()
    real, judged = method.D(batch["b"])[0].sigmoid(), method.D(fake)[0].sigmoid()
    assert list(made) == ["D", "T"]
    assert made["D"]["real"].item() == pytest.approx(-real.log().mean().item(), **EXACT)
    assert made["D"]["fake"].item() == pytest.approx(-(1 - judged).log().mean().item(), **EXACT)
    assert made["T"]["gan"].item() == pytest.approx(-judged.log().mean().item(), **EXACT)
    assert made["T"]["identity"].item() == pytest.approx(3 * identity(see(fake), see(x)), **EXACT)
    assert made["T"]["smooth"].item() == pytest.approx(2 * (method.N(fake) - fake).square().mean().item(), **EXACT)


def test_diat_a_looks_through_d_itself_and_passes_once():
    method, batch = tiny(**DIAT.presets["adaptive"], lambda_id=3.0), batch_of()
    passes = []
    method.D.register_forward_hook(lambda *each: passes.append(1))
    made = terms_of(method.updates, batch)
    assert len(passes) == 4, "real, made for D, made for T, and the source"
    x, fake = batch["a"], method.T(batch["a"])
    wanted = 3 * identity(method.D(fake)[1][:2], method.D(x)[1][:2])
    assert set(made["T"]) == {"gan", "identity"}
    assert made["T"]["identity"].item() == pytest.approx(wanted, **EXACT)
    assert [stage.name for stage in method.stages()] == ["warm", "transfer", "enhance"]
    ((player, terms),) = method.warmup_step(batch, Clock("warm", 0, 10))
    assert player == "T"
    assert terms["same"].item() == pytest.approx((method.T(x) - x).square().mean().item(), **EXACT)


def test_the_denoiser_by_hand():
    method, batch = tiny(), batch_of()
    made = terms_of(method.train_denoiser_step, batch)
    x, see = batch["a"], TinyFeatures()
    again = method.R(x)
    assert made["R"]["content"].item() == pytest.approx(identity(see(again), see(x)), **EXACT)
    assert made["N"]["again"].item() == pytest.approx((method.N(again) - x).square().mean().item(), **EXACT)
    assert made["N"]["same"].item() == pytest.approx((method.N(x) - x).square().mean().item(), **EXACT)


def test_local_enhancement_by_hand():
    """Outside the region the source, inside what T made, in pixels and in the first two maps."""
    method, batch = tiny(enhancement="local", region=(0.5, 0.25, 1, 0.75), lambda_inside=(2.0, 3.0, 4.0)), batch_of()
    made = terms_of(method.train_enhancer_step, batch)["E"]
    x, fake, see = batch["a"], method.T(batch["a"]), TinyFeatures()
    better = method.E(fake)
    mask = torch.zeros(32, 32)
    mask[16:, 8:24] = 1
    assert torch.equal(method.region_mask(x), mask)
    assert made["outside"].item() == pytest.approx(((1 - mask) * (better - x)).square().mean().item(), **EXACT)
    ours, theirs = mask * better, mask * fake
    assert made["inside_0"].item() == pytest.approx(2 * identity([ours], [theirs]), **EXACT)
    for at, weight in ((0, 3), (1, 4)):
        wanted = weight * identity([see(ours)[at]], [see(theirs)[at]])
        assert made[f"inside_{at + 1}"].item() == pytest.approx(wanted, **EXACT)
    assert torch.allclose(method.translate(x), better.clamp(-1, 1), atol=1e-6)
    assert (better - fake).abs().mean() > 0.01


def test_enhancement_adds_nothing_before_it_has_learned():
    method, x = DIAT(DIAT.Config(**SMALL, enhancement="local", region=(0, 0, 1, 1))).double(), batch_of()["a"]
    for p in method.T.parameters():
        nn.init.normal_(p, 0, 0.1)
    assert torch.equal(method.translate(x), method.T(x))


def test_global_enhancement_restores_what_was_blurred():
    method, batch = tiny(enhancement="global"), batch_of()
    made = terms_of(method.train_enhancer_step, batch)["E"]
    x = batch["a"]
    assert made["restored"].item() == pytest.approx((method.E(blur_bicubic(x)) - x).square().mean().item(), **EXACT)
    assert blur_bicubic(x).shape == x.shape
    assert 0.01 < (blur_bicubic(x) - x).abs().mean() < 1
    flat = torch.full_like(x, 1 / 3)
    assert torch.allclose(blur_bicubic(flat), flat, atol=0.01)


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_what_is_frozen_stays_bit_for_bit(norm):
    """The denoiser and its image network in the transfer, T and D in the enhancement; running statistics too."""
    subject = MethodUnderTest(DIAT)
    engine = subject.engine(norm=norm)
    for place, moving in enumerate(("RN", "T", "DT", "E")):
        if place:
            engine.start_stage(place)
        before = {key: value.clone() for key, value in engine.method.state_dict().items()}
        for batch in subject.batches().stream(0, 2):
            engine.train_step(batch)
        moved = {key[0] for key, value in engine.method.state_dict().items() if not torch.equal(value, before[key])}
        assert moved == set(moving)


def test_settings_that_do_not_fit_are_refused():
    for over, message in [
        ({"feature_network": "none"}, "name one, or set identity_features=adaptive"),
        ({"identity_features": "adaptive", "feature_layers": (4, 6)}, "D has only 5 layers"),
        ({"image_size": 48}, "not a multiple of 32"),
        ({"enhancement": "local"}, r"needs the region of the attribute: region=.* for the eyes"),
        ({"region": (0.5, 0.5, 0.4, 1)}, "expected top < bottom and left < right"),
    ]:
        with pytest.raises(ValidationError, match=message):
            DIAT.Config(**over)
