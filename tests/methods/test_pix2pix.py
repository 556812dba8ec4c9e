"""pix2pix by its paper: constants, every switch of its ablations, its two ways to translate."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from diptych.contract import Clock
from diptych.methods.pix2pix import Pix2Pix
from diptych.networks.patchgan import PatchGAN
from diptych.testing import MethodUnderTest
from diptych.testing.harness import errors, run
from diptych.training.engine import Engine

LOSSES = {
    "l1": {"G/l1"},
    "gan": {"D/real", "D/fake", "G/gan"},
    "cgan": {"D/real", "D/fake", "G/gan"},
    "l1+gan": {"D/real", "D/fake", "G/gan", "G/l1"},
    "l1+cgan": {"D/real", "D/fake", "G/gan", "G/l1"},
}


def tiny(**over):
    torch.manual_seed(0)
    return Pix2Pix(Pix2Pix.Config(**{**Pix2Pix.checks.tiny, "steps": 10, **over}))


def batch(size=2, pixels=32):
    torch.manual_seed(1)
    return {name: torch.rand(size, 3, pixels, pixels) * 2 - 1 for name in ("source", "target")}


def test_constants_of_the_paper():
    """Section 3.3: Adam 2e-4 (.5, .999), lambda 100, D halved; appendix 6.1: U-Net of 256, 70 x 70 PatchGAN, BatchNorm,
    dropout on the first three layers of the decoder, weights from N(0, .02).
    """
    c = Pix2Pix.Config()
    assert (c.loss, c.lambda_l1, c.gan_loss, c.lr, c.lr_decay_start) == ("l1+cgan", 100.0, "vanilla", 2e-4, 1.0)
    assert (c.generator, c.ngf, c.norm, c.dropout, c.receptive_field, c.ndf, c.d_norm) == (
        "unet_256",
        64,
        "batch",
        "paper",
        70,
        64,
        "batch",
    )
    assert (c.init, c.init_gain, c.ema_decay, c.steps) == ("normal", 0.02, 0.0, 200 * 400)
    with torch.device("meta"):
        (stage,) = Pix2Pix(c).stages()
    assert list(stage.players) == ["D", "G"]
    for player in stage.players.values():
        assert (player.lr, player.betas, player.weight_decay) == (2e-4, (0.5, 0.999), 0.0)
        assert {player.schedule(Clock("train", step, 100)) for step in range(100)} == {1.0}


def test_preset_of_the_public_code():
    c = Pix2Pix.Config(**Pix2Pix.presets["repo"])
    assert (c.dropout, c.lr_decay_start) == ("repo", 0.5)
    assert Pix2Pix.Config(**Pix2Pix.presets["paper"]) == Pix2Pix.Config()


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_of_table_1(loss):
    method = tiny(loss=loss)
    engine = Engine(method)
    engine.train_step(batch())
    terms = {name for name in engine.loss_tracker.close().means() if not name.endswith("gradient")}
    assert terms == LOSSES[loss]
    seen = next((net for net in method.modules() if isinstance(net, PatchGAN)), None)
    assert (seen.layers[0].in_channels if seen else 0) == {"l1": 0, "gan": 3, "l1+gan": 3, "cgan": 6, "l1+cgan": 6}[
        loss
    ]


@pytest.mark.parametrize("adversarial", ["vanilla", "lsgan", "hinge", "wgan-gp"])
@pytest.mark.parametrize("generator", ["unet_32", "encoder_decoder_32", "resnet_6"])
def test_every_form_trains(adversarial, generator):
    method = tiny(
        gan_loss=adversarial,
        generator=generator,
        d_norm="instance",
        receptive_field=1 if generator == "resnet_6" else 16,
    )
    engine = Engine(method)
    before = [p.detach().clone() for p in method.parameters()]
    for _ in range(2):
        engine.train_step(batch())
    moved = [not torch.equal(p, old) for p, old in zip(method.parameters(), before, strict=True)]
    assert sum(moved) > 0.9 * len(moved)
    assert ("D/penalty" in engine.loss_tracker.close().means()) == (adversarial == "wgan-gp")


def test_the_penalty_acts():
    """With a heavy penalty alone the critic's gradient is drawn to length 1."""
    method = tiny(gan_loss="wgan-gp", d_norm="none", lambda_gp=1000.0, lr=1e-2)
    engine, lines = Engine(method), []
    for _ in range(8):
        engine.train_step(batch())
        lines.append(engine.loss_tracker.close().means()["D/penalty"])
    assert lines[0] == pytest.approx(500, rel=0.05), (
        "a fresh critic is flat: (0 - 1)^2 x 1000, halved with all of D's terms"
    )
    assert lines[-1] < lines[0] / 2


def test_a_penalty_through_batch_norm_is_refused():
    with pytest.raises(ValidationError, match="d_norm=instance or d_norm=none"):
        Pix2Pix.Config(gan_loss="wgan-gp")


def test_the_paper_draws_noise_and_users_get_none():
    method = tiny()
    x = batch(2)["source"]
    assert torch.equal(method.translate(x), method.translate(x))
    drawn = [method.translate(x, inference="paper", seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_the_paper_normalises_by_the_image_itself():
    """Without dropout, `paper` is BatchNorm over the one image: InstanceNorm with the trained scale."""
    method = tiny(dropout="none")
    x = batch(1)["source"]
    with torch.no_grad():
        expected = method.G.train()(x)
    assert torch.equal(method.translate(x, inference="paper"), expected)
    assert not torch.allclose(method.translate(x), expected, atol=1e-3)


def test_translating_does_not_disturb_the_generators_of_chance():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    tiny_state = tiny()
    torch.set_rng_state(state)
    tiny_state.translate(batch(1)["source"] * 0, inference="paper", seed=9)
    torch.manual_seed(3)
    assert torch.equal(torch.get_rng_state(), state)


def test_it_beats_doing_nothing_on_letters():
    """The demo in small: translations of letters not trained on are nearer to the truth than their sources."""
    subject = MethodUnderTest(Pix2Pix)
    engine = subject.engine(steps=250, ngf=8, dropout="none", lr=2e-3, lr_decay_start=0.5)
    truth = subject.truth(64)
    for _ in run(engine, subject.batches(16, flip=False)):
        pass
    nothing = float((truth["source"] - truth["target"]).abs().mean())
    assert errors(engine, truth)[Pix2Pix.routes[0]] < 0.9 * nothing


def test_batch_norm_at_one_pixel_is_never_met():
    """The innermost layer has no norm, so batch 1 trains at the smallest size a U-Net takes."""
    engine = Engine(tiny())
    engine.train_step(batch(1))
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in engine.method.G.down[-1])
