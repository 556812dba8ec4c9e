"""CycleGAN by its paper: constants, loss switches, and the batched calls against the plain ones."""

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from diptych.contract import Clock
from diptych.methods.cyclegan import CycleGAN
from diptych.training.engine import Engine


def tiny(**over):
    torch.manual_seed(0)
    return CycleGAN(CycleGAN.Config(**{**CycleGAN.checks.tiny, "steps": 10, "pool_size": 0, **over}))


def batch():
    torch.manual_seed(1)
    return {name: torch.rand(2, 3, 32, 32) * 2 - 1 for name in ("a", "b")}


def terms_of(method):
    return [
        (players, {name: term.item() for name, term in terms.items()})
        for players, terms in method.updates(batch(), Clock("train", 0, 10))
    ]


def test_constants_of_the_paper():
    """Section 4: lambda 10, Adam 2e-4, batch 1, pool of 50, LSGAN; 7.2: InstanceNorm, 9 blocks, 70 x 70 PatchGAN;
    constant for half of the training, then linearly to zero; no identity term except for paintings.
    """
    c = CycleGAN.Config()
    assert (
        c.lambda_gan,
        c.lambda_cycle_a,
        c.lambda_cycle_b,
        c.lambda_identity,
        c.pool_size,
        c.lr,
        c.lr_decay_start,
    ) == (
        1.0,
        10.0,
        10.0,
        0.0,
        50,
        2e-4,
        0.5,
    )
    assert (c.generator, c.ngf, c.norm, c.dropout, c.receptive_field, c.ndf) == (
        "resnet_9",
        64,
        "instance",
        "none",
        70,
        64,
    )
    assert (c.init, c.init_gain, c.ema_decay) == ("normal", 0.02, 0.0)
    with torch.device("meta"):
        (stage,) = CycleGAN(c).stages()
    assert {name: len(player.nets) for name, player in stage.players.items()} == {"G": 2, "D": 2}
    for player in stage.players.values():
        assert (player.lr, player.betas) == (2e-4, (0.5, 0.999))
        assert [player.schedule(Clock("train", step, 4)) for step in range(4)] == [1.0, 1.0, 1.0, 0.5]
    assert CycleGAN.Config(**CycleGAN.presets["repo"]).lambda_identity == 0.5


FORMS = {  # equation 1 with G maximising log D (Goodfellow et al. 2014), and section 4
    "vanilla": (lambda logits: -F.logsigmoid(logits).mean(), lambda logits: -F.logsigmoid(-logits).mean()),
    "lsgan": (lambda logits: (logits - 1).square().mean(), lambda logits: logits.square().mean()),
}


@pytest.mark.parametrize("form", FORMS)
def test_terms_by_hand(form):
    """Each term against its definition in section 3, with plain calls one image at a time."""
    method, b = tiny(gan_loss=form, lambda_identity=0.5, lambda_cycle_a=10, lambda_cycle_b=7), batch()
    as_real, as_fake = FORMS[form]
    (_, g), (_, d) = terms_of(method)
    with torch.no_grad():
        fake_b, fake_a = method.to_b(b["a"]), method.to_a(b["b"])
        expected = {
            "gan_b": as_real(method.D_b(fake_b)),
            "gan_a": as_real(method.D_a(fake_a)),
            "cycle_a": 10 * F.l1_loss(method.to_a(fake_b), b["a"]),
            "cycle_b": 7 * F.l1_loss(method.to_b(fake_a), b["b"]),
            "identity_b": 0.5 * 7 * F.l1_loss(method.to_b(b["b"]), b["b"]),
            "identity_a": 0.5 * 10 * F.l1_loss(method.to_a(b["a"]), b["a"]),
        }
        contests = {
            name: (as_real(D(real)) + as_fake(D(fake))) / 2
            for name, D, real, fake in (("a", method.D_a, b["a"], fake_a), ("b", method.D_b, b["b"], fake_b))
        }
    assert g == pytest.approx({name: float(value) for name, value in expected.items()}, rel=1e-5)
    assert d == pytest.approx({name: float(value) for name, value in contests.items()}, rel=1e-5)


@pytest.mark.parametrize(
    ("over", "calls"),
    [
        ({"lambda_identity": 0.5}, 4),
        ({"lambda_identity": 0.5, "norm": "batch"}, 6),
        ({"lambda_identity": 0.5, "dropout": "repo"}, 6),
        ({"lambda_identity": 0.0}, 4),
        ({"lambda_identity": 0.0, "lambda_cycle_a": 0.0, "lambda_cycle_b": 0.0}, 2),
    ],
)
def test_four_calls_instead_of_six_where_the_norm_allows_it(over, calls):
    method, counted = tiny(**over), []
    for net in (method.to_a, method.to_b):
        net.register_forward_hook(lambda *_: counted.append(1))
    terms_of(method)
    assert len(counted) == calls


@pytest.mark.parametrize(
    ("over", "terms"),
    [
        ({"lambda_gan": 0.0}, {"cycle_a", "cycle_b", "identity_a", "identity_b"}),
        ({"lambda_cycle_a": 0.0, "lambda_cycle_b": 0.0, "lambda_identity": 0.0}, {"gan_a", "gan_b"}),
        ({"lambda_cycle_b": 0.0, "lambda_identity": 0.0}, {"gan_a", "gan_b", "cycle_a"}),
    ],
)
def test_the_ablations_of_table_4_train(over, terms):
    """Cycle alone, GAN alone, one direction."""
    method = tiny(**over)
    updates = terms_of(method)
    assert set(updates[0][1]) == terms
    assert [players for players, _ in updates] == (["G"] if over.get("lambda_gan") == 0 else ["G", "D"])
    Engine(method).train_step(batch())


def test_discriminators_see_the_pool():
    """After the pool is full, what they see differs from what was just made, about half of the time."""
    method = tiny(pool_size=2)
    engine, seen, made = Engine(method), [], []
    method.D_b.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().clone()))
    method.to_b.register_forward_hook(lambda *args: made.append(args[2].detach().clone()))
    for _ in range(6):
        engine.train_step(batch())
    judged = [x[2:] for x in seen if len(x) == 4]  # real and fake together: the discriminator's own step
    fresh = [x[:2] for x in made[::2]]
    assert torch.equal(judged[0], fresh[0]), "an empty pool gives back what it is given"
    assert any(not torch.equal(one, other) for one, other in zip(judged[1:], fresh[1:], strict=True))


def test_identity_needs_equal_channels():
    with pytest.raises(ValidationError, match="set lambda_identity=0"):
        CycleGAN.Config(in_channels=1, out_channels=3, lambda_identity=0.5)
    method = tiny(in_channels=1, out_channels=3, lambda_identity=0.0)
    assert method.translate(torch.zeros(1, 1, 32, 32)).shape == (1, 3, 32, 32)
    assert method.translate(torch.zeros(1, 3, 32, 32), direction="b2a").shape == (1, 1, 32, 32)
