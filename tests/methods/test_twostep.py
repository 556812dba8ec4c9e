"""The two-step method by its paper: networks, terms by hand, both stages; and the mistakes of public code."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn

from diptych.contract import Clock, Labels
from diptych.data.images import image_io
from diptych.errors import ConfigError
from diptych.inference.translator import Translator
from diptych.methods.twostep import TwoStep
from diptych.networks.latents import sample_latents
from diptych.testing.harness import MethodUnderTest

AB = (Labels(names=("a", "b")),)
MALE = (Labels(names=("Male",), kind="attributes"),)
SMALL = {"channels": 1, "image_size": 16, "latent_dim": 6, "ngf": 4, "ndf": 4, "labels": AB}
EXACT = {"rel": 1e-9}


def tiny(**over):
    torch.manual_seed(0)
    method = TwoStep(TwoStep.Config(**{**SMALL, **over})).double()
    for name, p in method.named_parameters():  # biases are 0 at first, and all weights small: that hides mistakes
        if p.dim() > 1 or name.endswith("bias"):
            nn.init.normal_(p, 0, 0.1 if name.endswith("bias") else 0.2)
    return method


def batch_of(count=4):
    torch.manual_seed(1)
    return {"image": torch.rand(count, 1, 16, 16, dtype=torch.float64) * 2 - 1, "label": torch.arange(count) % 2}


def test_constants_of_the_paper_and_the_public_code():
    """Adam 2e-4 (.5, .999), and 1e-4 for the 30,000 steps of E; codes of 100 numbers, beside them a class in 5."""
    c = TwoStep.Config()
    assert (c.steps, c.latent_dim, c.embedding_dim, c.image_size, c.prior, c.lambda_cls) == (
        30_000,
        100,
        5,
        64,
        "uniform",
        1.0,
    )
    assert TwoStep.Config(**TwoStep.presets["paper"]) == c
    repo = TwoStep.Config(**TwoStep.presets["repo"])
    assert repo == c.model_copy(
        update={"prior": "normal", "embedding_init_limit": 0.1, "pretrain_steps": 100 * -(-2 * 94_509 // 64)}
    ), "the larger class of CelebA's training images has 94,509; batches of 64, 100 epochs"
    torch.manual_seed(0)
    embedding = TwoStep(repo.model_copy(update={"ngf": 8, "ndf": 8})).G.embedding.weight
    assert 0.05 < embedding.abs().max() <= 0.1
    with torch.device("meta"):
        method = TwoStep(c)
    first, second = method.stages()
    assert [(stage.name, stage.steps) for stage in (first, second)] == [("gan", 60_000), ("encoder", 30_000)]
    players = first.players | second.players
    lr = {name: (player.nets, player.lr) for name, player in players.items()}
    assert lr == {"D": ((method.D,), 2e-4), "G": ((method.G,), 2e-4), "E": ((method.E,), 1e-4)}
    for player in players.values():
        assert (player.betas, player.weight_decay, player.clip) == ((0.5, 0.999), 0.0, None)
        assert [player.schedule(Clock("gan", step, 4)) for step in range(4)] == [1.0] * 4


def test_networks_of_the_public_code():
    method = TwoStep(TwoStep.Config())
    assert tuple(method.G.start.weight.shape) == (1024 * 16, 105)
    assert [m.out_channels for m in method.G.body if isinstance(m, torch.nn.ConvTranspose2d)] == [512, 256, 128, 3]
    convs = [m for m in method.D.trunk.body if isinstance(m, torch.nn.Conv2d)]
    assert [(m.out_channels, m.kernel_size, m.stride) for m in convs] == [
        (each, (5, 5), (2, 2)) for each in (64, 128, 256, 512)
    ]
    assert sum(isinstance(m, torch.nn.BatchNorm2d) for m in method.D.trunk.body) == 3
    assert {m.negative_slope for m in method.D.modules() if isinstance(m, torch.nn.LeakyReLU)} == {0.2}
    with torch.no_grad():
        drawn = method.G(torch.rand(2, 100), torch.tensor([0, 1]))
        assert drawn.shape == (2, 3, 64, 64)
        assert [tuple(each.shape) for each in method.D(drawn)] == [(2, 1), (2, 2)]
        assert method.E(drawn).shape == (2, 100)
    bigger = TwoStep(TwoStep.Config(image_size=128))
    widths = [m.out_channels for m in bigger.G.body if isinstance(m, torch.nn.ConvTranspose2d)]
    assert widths == [1024, 512, 256, 128, 3]


def test_at_the_start_the_code_says_more_than_the_class():
    """Embeddings as large as PyTorch's drown the code: G then draws one picture for each class, and stays there."""
    torch.manual_seed(0)
    method = TwoStep(TwoStep.Config(image_size=32, ngf=16, latent_dim=32))
    code, label = torch.rand(64, 32) * 2 - 1, torch.arange(64) % 2
    with torch.no_grad():
        drawn = method.G(code, label)
    of_class = torch.stack([drawn[label == each].mean(0) for each in (0, 1)]).var(0).mean()
    within = torch.stack([drawn[label == each].var(0) for each in (0, 1)]).mean()
    assert of_class < within / 10


def test_first_stage_by_hand():
    """D once and G twice, on the same noise; D names the classes of real images alone."""
    method, batch = tiny(norm="none", lambda_cls=2.0), batch_of()
    torch.manual_seed(5)
    updates = [
        (player, {name: term.item() for name, term in terms.items()})
        for player, terms in method.train_gan_step(batch, Clock("gan", 0, 10))
    ]
    torch.manual_seed(5)
    fake = method.G(sample_latents("uniform", 4, 6, batch["image"]), batch["label"])
    real, named = method.D(batch["image"])
    made, called = method.D(fake)
    of_d = {
        "real": -real.sigmoid().log().mean().item(),
        "fake": -(1 - made.sigmoid()).log().mean().item(),
        "class": 2 * F.cross_entropy(named, batch["label"]).item(),
    }
    of_g = {
        "gan": -made.sigmoid().log().mean().item(),
        "class": 2 * F.cross_entropy(called, batch["label"]).item(),
    }
    assert [player for player, _ in updates] == ["D", "G", "G"]
    assert updates[0][1] == pytest.approx(of_d, **EXACT)
    assert [terms for _, terms in updates[1:]] == [pytest.approx(of_g, **EXACT)] * 2


def test_second_stage_by_hand():
    method, batch = tiny(), batch_of()
    for _ in method.train_gan_step(batch, Clock("gan", 0, 10)):
        pass  # statistics have moved, so that it matters which are used
    torch.manual_seed(5)
    ((player, terms),) = method.train_encoder_step(batch, Clock("encoder", 0, 10))
    torch.manual_seed(5)
    code = sample_latents("uniform", 4, 6, batch["image"])
    method.G.eval()
    found = method.E(method.G(code, batch["label"]))
    assert player == "E"
    assert terms["code"].item() == pytest.approx(((found - code) ** 2).mean().item(), **EXACT)


def test_g_is_the_same_bit_for_bit_after_the_second_stage():
    subject = MethodUnderTest(TwoStep)
    engine = subject.engine()
    for batch in subject.batches().stream(0, 4):
        engine.train_step(batch)
    engine.start_stage(1)
    kept = {name: value.clone() for name, value in engine.method.state_dict().items() if name[0] in "GD"}
    before = engine.method.E.head.weight.clone()
    for batch in subject.batches().stream(0, 4):
        engine.train_step(batch)
    assert all(torch.equal(value, engine.method.state_dict()[name]) for name, value in kept.items())
    assert not torch.equal(before, engine.method.E.head.weight)


def test_priors_and_ends():
    """The paper: uniform and tanh; the public code: normal and linear."""
    paper, repo = tiny(), tiny(**TwoStep.presets["repo"])
    x = torch.randn(3, 1, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        for method in (paper, repo):
            method.E.head.weight.mul_(1000)
        assert paper.E(x).abs().max() <= 1
        assert repo.E(x).abs().max() > 1


@pytest.mark.parametrize("labels", [AB, MALE])
def test_labels_mean_the_same_in_training_and_translation(labels):
    """In public code a class is 0 when it trains and 1 when it translates."""
    method = tiny(labels=labels)
    seen = []
    method.G.register_forward_pre_hook(lambda net, given: seen.append(given[1].tolist()))
    batch = batch_of()
    label = batch["label"] if labels is AB else batch["label"][:, None]
    next(method.train_gan_step({**batch, "label": label}, Clock("gan", 0, 10)))
    assert seen.pop() == [0, 1, 0, 1]
    x = batch["image"]
    if labels is AB:
        for number, name in enumerate("ab"):
            method.translate(x, domain=name)
            assert seen.pop() == [number] * 4
    else:
        for has, flip, number in (("", "", 0), ("Male", "", 1), ("", "Male", 1), ("Male", "Male", 0)):
            method.translate(x, has=has, flip=flip)
            assert seen.pop() == [number] * 4
        assert method.source_controls(torch.tensor([1]), method.routes[0]) == {"has": "Male"}
        assert method.source_controls(torch.tensor([0]), method.routes[0]) == {"has": ""}


def test_a_translation_is_the_code_drawn_as_another_class():
    method, x = tiny().eval(), batch_of()["image"]
    with torch.no_grad():
        wanted = method.G(method.E(x), torch.ones(4, dtype=torch.long))
    assert torch.equal(method.translate(x, domain="b"), wanted)
    with pytest.raises(ConfigError, match=r"domain='c': no such label"):
        method.translate(x, domain="c")
    assert not torch.equal(method.sample(range(2), domain="a"), method.sample(range(2), domain="b"))


def test_recovery_is_the_share_of_the_code_that_is_lost():
    method = tiny()
    with torch.no_grad():
        for p in method.E.head.parameters():
            p.zero_()
    assert method.validation_errors({})["recovery"] == pytest.approx(1.0)


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ValidationError, match="not a power of two: set crop_size=64"):
        TwoStep.Config(image_size=96)
    two = (Labels(names=("Male", "Young"), kind="attributes"),)
    with pytest.raises(ValidationError, match=r"choose one attribute, attributes=\[Male\]"):
        TwoStep.Config(labels=two)


def test_pictures_of_other_sizes_are_resized_to_the_one_that_it_takes():
    translator = Translator(tiny().float().eval(), "twostep", ("G", "E"), {})
    wide = np.random.default_rng(0).integers(0, 256, (40, 90, 1), np.uint8)
    made = translator(wide, domain="b")
    assert made.shape == (16, 16, 1)
    squashed = image_io.resize(wide, 16, 16)
    assert np.abs(made.astype(int) - translator(squashed, domain="b")).max() <= 2, "as training images are"
