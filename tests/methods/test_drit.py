"""DRIT and DRIT++ by their papers and public code: constants, every term by hand, and a step against a plain one."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn

from diptych.contract import Clock
from diptych.methods.drit import DRIT, confusion_loss, kl_loss
from diptych.networks.drit import ContentDiscriminator
from diptych.training.engine import Engine

SMALL = {
    "in_channels": 1, "out_channels": 1, "image_size": 32, "ngf": 4, "ndf": 4, "d_layers": 2, "num_scales": 2,
    "style_dim": 3, "content_d_layers": 1, "content_d_kernel": 3, "d_iter": 1, "steps": 12, "content_noise_std": 0.0,
}  # fmt: skip
ODD = {
    "lambda_gan": 1.5, "lambda_content": 2.0, "lambda_recon": 3.0, "lambda_cc": 5.0,
    "lambda_latent": 7.0, "lambda_kl": 0.5, "lambda_ms": 0.3, "ms_eps": 0.1,
}  # fmt: skip
START = Clock("train", 0, 12)
EXACT = {"rel": 1e-9}


def tiny(**over):
    torch.manual_seed(0)
    method = DRIT(DRIT.Config(**{**SMALL, **over})).double()
    for name, p in method.named_parameters():  # biases are 0 at first, and all weights small: that hides mistakes
        if p.dim() > 1 or name.endswith("bias"):
            nn.init.normal_(p, 0, 0.1)
    return method


def batch(count=4):
    torch.manual_seed(1)
    return {name: torch.rand(count, 1, 32, 32, dtype=torch.float64) * 2 - 1 for name in "ab"}


def drawn(prior, count, size, like):
    """Instead of a draw: numbers that depend on how many there are, so that the order of draws does not count."""
    return torch.randn(count, size, generator=torch.Generator().manual_seed(count), dtype=torch.float64).to(like)


@pytest.fixture
def still(monkeypatch):
    monkeypatch.setattr("diptych.methods.drit.sample_latents", drawn)


def values(updates):
    return [(players, {name: term.item() for name, term in terms.items()}) for players, terms in updates]


def plainly(m, a, b):
    """All images of a step by one plain call each."""
    eps, z = drawn("", len(a), 3, a), drawn("", 2 * len(a), 3, a).chunk(2)

    def attributes(x, at):
        mean, log_variance = m.E_a[at](x)
        return mean if log_variance is None else mean + log_variance.exp().sqrt() * eps

    own, content = (attributes(a, 0), attributes(b, 1)), (m.E_c(a, 0), m.E_c(b, 1))
    swapped = m.G(content[1], own[0], 0), m.G(content[0], own[1], 1)
    of_a, of_b = m.E_c(swapped[1], 1), m.E_c(swapped[0], 0)
    random = [[m.G(content[1 - at], each, at) for each in z] for at in (0, 1)]
    return SimpleNamespace(
        x=(a, b), content=content, translated=swapped, random=random, z=z,
        said=(m.E_a[0](a), m.E_a[1](b)),
        reconstructed=(m.G(content[0], own[0], 0), m.G(content[1], own[1], 1)),
        cycled=(m.G(of_a, attributes(swapped[0], 0), 0), m.G(of_b, attributes(swapped[1], 1), 1)),
        recovered=[m.E_a[at](random[at][0])[0] for at in (0, 1)],
    )  # fmt: skip


def looks(critic, x):
    """Probabilities that an image is real, by the image and by its half, whose means leave the border's zeros out."""
    scales = critic.nets[0](x), critic.nets[1](F.avg_pool2d(x, 3, 2, 1, count_include_pad=False))
    return [each.sigmoid() for each in scales]


def real(critic, x):
    """Cross entropy, added up over scales."""
    return sum(-each.log().mean() for each in looks(critic, x))


def made(critic, x):
    return sum(-(1 - each).log().mean() for each in looks(critic, x))


def of_critics(m, p, others):
    terms = {}
    for at, name in enumerate("ab"):
        first, second = ((m.D_a, m.D_a2), (m.D_b, m.D_b2))[at]
        terms[name] = real(first, p.x[at]) + made(first, p.translated[at].detach())
        terms[f"{name}2"] = sum(real(second, others[at]) + made(second, x.detach()) for x in p.random[at])
    return terms


def of_content(m, content):
    a, b = (m.D_content(each.detach()).sigmoid() for each in content)
    return {"a": -(1 - a).log().mean(), "b": -b.log().mean()}


def with_attributes(m, p):
    terms = {}
    for at, name in enumerate("ab"):
        told, (mean, log_variance) = m.D_content(p.content[at]).sigmoid(), p.said[at]
        far = mean.square().mean()
        if log_variance is not None:  # the divergence: a sum over numbers, a mean over images
            far = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum() / len(mean)
        terms |= {
            f"gan_{name}": 1.5 * real((m.D_a, m.D_b)[at], p.translated[at]),
            f"content_{name}": 2 * -(0.5 * told.log() + 0.5 * (1 - told).log()).mean(),
            f"self_{name}": 3 * (p.reconstructed[at] - p.x[at]).abs().mean(),
            f"cross_{name}": 5 * (p.cycled[at] - p.x[at]).abs().mean(),
            f"prior_{name}": 0.5 * (p.content[at].square().mean() + far),
        }
    return terms


def without_attributes(m, p):
    terms = {}
    for at, name in enumerate("ab"):
        one, other = p.random[at]
        terms |= {
            f"gan2_{name}": 1.5 * (real((m.D_a2, m.D_b2)[at], one) + real((m.D_a2, m.D_b2)[at], other)),
            f"latent_{name}": 7 * (p.recovered[at] - p.z[0]).abs().mean(),
            f"seek_{name}": 0.3 / ((one - other).abs().mean() / (p.z[0] - p.z[1]).abs().mean() + 0.1),
        }
    return terms


def test_constants_of_the_papers_and_the_public_code():
    """Adam 1e-4 (.5, .999), decay 1e-4, the content critic 4e-5 and clipped at 5; decay from the half on."""
    c = DRIT.Config()
    assert (c.lambda_gan, c.lambda_content, c.lambda_recon, c.lambda_cc, c.lambda_latent, c.lambda_kl) == (
        1.0,
        1.0,
        10.0,
        10.0,
        10.0,
        0.01,
    )
    assert (c.lambda_ms, c.ms_eps, c.style_dim, c.prior, c.content_noise_std, c.d_iter) == (
        1.0,
        1e-5,
        8,
        "normal",
        1.0,
        3,
    )
    assert c.split_batch
    assert (c.image_size, c.ngf, c.ndf, c.d_layers, c.num_scales, c.content_d_shape, c.ema_decay) == (
        216,
        64,
        64,
        4,
        3,
        (3, 7),
        0.0,
    )
    assert DRIT.Config(**DRIT.presets["paper"]) == c
    assert DRIT.Config(**DRIT.presets["drit"]).lambda_ms == 0
    assert DRIT.Config(**DRIT.presets["shapes"]).attribute_injection == "feature_wise"
    assert DRIT.presets["one-scale"] == {"num_scales": 1, "d_layers": 6, "d_kernel": 3}
    with torch.device("meta"):
        m = DRIT(c)
        assert m.D_content(m.E_c(torch.empty(1, 3, 216, 216), 0)).shape == (1, 1, 1, 1)
    (stage,) = m.stages()
    nets = {name: player.nets for name, player in stage.players.items()}
    assert nets == {"D": (m.D_a, m.D_a2, m.D_b, m.D_b2), "C": (m.D_content,), "G": (m.E_c, m.G), "E": (m.E_a,)}
    for name, player in stage.players.items():
        assert (player.lr, player.clip) == ((pytest.approx(4e-5), 5.0) if name == "C" else (1e-4, None))
        assert (player.betas, player.weight_decay) == ((0.5, 0.999), 1e-4)
        assert [player.schedule(Clock("train", step, 4)) for step in range(4)] == [1.0, 1.0, 1.0, 0.5]
    count = {name: sum(p.numel() for p in net.parameters()) for name, net in m.named_children()}
    assert [round(count[name] / 1e6, 2) for name in ("D_a", "D_a2", "D_b", "D_b2")] == [8.27] * 4
    assert count["D_content"] == 3 * (49 * 256 * 256 + 256) + (16 * 256 * 256 + 256) + 257 == 10_683_649


@pytest.mark.parametrize("variant", ["concat", "feature_wise"])
def test_terms_by_hand(still, variant):
    """Section 3 of both papers; one half of the batch is translated, the other is what the second critics see."""
    m, given = tiny(**ODD, attribute_injection=variant), batch()
    found = values(m.updates(given, START))
    p = plainly(m, given["a"][::2], given["b"][::2])
    wanted = [
        ("D", of_critics(m, p, (given["a"][1::2], given["b"][1::2]))),
        ("C", of_content(m, p.content)),
        (("G", "E"), with_attributes(m, p)),
        ("G", without_attributes(m, p)),
    ]
    assert [players for players, _ in found] == [players for players, _ in wanted]
    for (_, ours), (players, theirs) in zip(found, values(wanted), strict=True):
        assert ours == pytest.approx(theirs, **EXACT), players


def test_critics_send_encoders_and_generator_no_gradient():
    m = tiny()
    rule = m.updates(batch(), START)
    for _ in "DC":
        sum(next(rule)[1].values()).backward()
    reached = {name.partition(".")[0] for name, p in m.named_parameters() if p.grad is not None}
    assert reached == {"D_a", "D_a2", "D_b", "D_b2", "D_content"}


def by_hand(m, adams, given, late=False):
    """A step as it was meant: both gradients of encoders and generator, then two steps of Adam, one after the other."""

    def move(names, gradients):
        weights = [w for name in names for w in m.stages()[0].players[name].parameters()]
        for w, gradient in zip(weights, gradients, strict=True):
            w.grad = gradient
        for name in names:
            adams[name].step()

    def slopes(terms, *nets):
        weights = [w for net in nets for w in net.parameters()]
        return torch.autograd.grad(sum(terms.values()), weights, retain_graph=True)

    a, b, others = given["a"][::2], given["b"][::2], (given["a"][1::2], given["b"][1::2])
    p = plainly(m, a, b)
    move("D", slopes(of_critics(m, p, others), m.D_a, m.D_a2, m.D_b, m.D_b2))
    long = slopes(of_content(m, p.content), m.D_content)
    length = math.sqrt(sum(float(each.square().sum()) for each in long))
    assert length > 2 * m.config.content_grad_clip
    move("C", [each * m.config.content_grad_clip / (length + 1e-6) for each in long])  # as torch clips
    first, second = slopes(with_attributes(m, p), m.E_c, m.G, m.E_a), slopes(without_attributes(m, p), m.E_c, m.G)
    move("GE", first)
    move("G", slopes(without_attributes(m, plainly(m, a, b)), m.E_c, m.G) if late else second)


def test_the_second_step_of_the_generator_has_the_gradient_of_before_the_first(still):
    """Known mistake: torch since 1.5 refuses the authors' order, and one step down the sum moves E_a too.

    Two steps of the engine in float64 against plain ones, with Adam's moments, decay and the clipped critic.
    """
    m = tiny(**ODD, lr=1e-2, content_grad_clip=1e-3)
    plain, late, engine = copy.deepcopy(m), copy.deepcopy(m), Engine(m)
    for other in (plain, late):
        adams = {
            name: torch.optim.Adam(p.parameters(), p.lr, p.betas, weight_decay=p.weight_decay)
            for name, p in other.stages()[0].players.items()
        }
        for _ in range(2):
            by_hand(other, adams, batch(), other is late)
    for _ in range(2):
        engine.train_step(batch())

    def worst(other):
        state = other.state_dict()
        return max((float((value - state[name]).abs().max()), name) for name, value in m.state_dict().items())

    assert worst(plain)[0] < 1e-9, worst(plain)
    assert worst(late)[0] > 1e-4, "the other gradient would be another step"


def test_of_most_batches_the_content_critic_alone_learns():
    """Of three batches two teach it alone, the third all; a function of the step and of nothing else."""
    m, given = tiny(d_iter=3, content_noise_std=1.0), batch()
    orders = [[players for players, _ in m.updates(given, Clock("train", step, 12))] for step in range(6)]
    full = ["D", "C", ("G", "E"), "G"]
    assert orders == [["C"], ["C"], full, ["C"], ["C"], full]
    (stage,) = m.stages()
    assert [stage.schedule_key(Clock("train", step, 12)) for step in range(6)] == [False, False, True] * 2
    engine, seen = Engine(m), []
    m.D_content.register_forward_pre_hook(lambda _, args: seen.append(args[0].requires_grad))
    before = {name: value.clone() for name, value in m.state_dict().items()}
    for count, moved in ((2, {"D_content"}), (1, set(dict(m.named_children())))):
        for _ in range(count):
            engine.train_step(given)
        changed = {
            name.partition(".")[0] for name, value in m.state_dict().items() if not torch.equal(value, before[name])
        }
        assert changed == moved
    assert seen == [False] * 4 + [False, False, True, True], "no graph of the encoder where only the critic learns"


def test_the_critic_alone_learns_from_the_same_terms():
    m, given = tiny(d_iter=2), batch()
    ((players, found),) = values(m.updates(given, START))
    contents = m.E_c(given["a"][::2], 0), m.E_c(given["b"][::2], 1)
    assert (players, found) == ("C", pytest.approx({k: v.item() for k, v in of_content(m, contents).items()}, **EXACT))


@pytest.mark.parametrize(
    ("over", "count", "coded", "looked"),
    [
        ({}, 4, [0, 2], [1, 3]),
        ({}, 5, [0, 2, 4], [1, 3]),
        ({}, 1, [0], [0]),
        ({"split_batch": False}, 3, [0, 1, 2], [0, 1, 2]),
    ],
)
def test_halves_are_taken_by_turns(over, count, coded, looked):
    """Known mistake: half of a batch is written as 1, so with more than 2 images all translations are alike."""
    m, given, seen = tiny(**over), batch(count=count), {}
    m.E_c.own[0].register_forward_pre_hook(lambda _, args: seen.setdefault("coded", args[0]))
    m.D_a.register_forward_pre_hook(lambda _, args: seen.setdefault("first", args[0]))
    m.D_a2.register_forward_pre_hook(lambda _, args: seen.setdefault("second", args[0]))
    list(m.updates(given, START))
    assert torch.equal(seen["coded"], given["a"][coded])
    assert torch.equal(seen["first"], given["a"][coded])
    assert torch.equal(seen["second"], given["a"][looked])


@pytest.mark.parametrize(
    ("over", "kinds"),
    [
        (DRIT.presets["drit"], {"gan", "content", "self", "cross", "prior", "gan2", "latent"}),
        ({"lambda_content": 0.0, "lambda_recon": 0.0}, {"gan", "cross", "prior", "gan2", "latent", "seek"}),
        ({"lambda_cc": 0.0, "lambda_latent": 0.0, "lambda_kl": 0.0}, {"gan", "content", "self", "gan2", "seek"}),
    ],
)
def test_weights_of_0_leave_terms_out(still, over, kinds):
    """Without mode seeking there is one drawn image, so the real one of the second critic counts once."""
    m, given = tiny(**over), batch()
    found = values(m.updates(given, START))
    assert {name for _, terms in found[2:] for name in terms} == {f"{kind}_{name}" for kind in kinds for name in "ab"}
    if "seek" not in kinds:
        random = m.G(m.E_c(given["b"][::2], 1), drawn("", 2, 3, given["a"]), 0)
        wanted = real(m.D_a2, given["a"][1::2]) + made(m.D_a2, random)
        assert found[0][1]["a2"] == pytest.approx(wanted.item(), **EXACT)


def test_attributes_and_contents_by_hand():
    mean, log_variance = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, math.log(2.0)], [0.0, 0.0]])
    assert kl_loss(mean, log_variance).item() == pytest.approx((1 + 4 + 2 - 1 - math.log(2)) / 2 / 2)
    assert kl_loss(mean, None).item() == 5 / 4
    logits = torch.zeros(2, 1, 1, 1, requires_grad=True)
    confusion_loss(logits).backward()
    assert confusion_loss(logits).item() == pytest.approx(math.log(2))
    assert float(logits.grad.abs().max()) == 0, "there the encoder has nothing more to gain"
    m = tiny(prior="uniform")  # of codes; attributes spread as the divergence has it
    spread = m.sample_attributes(torch.full((20_000, 1), 3.0), torch.full((20_000, 1), math.log(4.0)))
    assert (spread.mean().item(), spread.std().item()) == pytest.approx((3, 2), abs=0.1)


def test_contents_are_noisy_in_training_alone():
    m, x = tiny(content_noise_std=0.5), batch()["a"]
    clean, noisy = (m.train(training).E_c(x, 0) for training in (False, True))
    assert (noisy - clean).std().item() == pytest.approx(0.5, rel=0.1)
    assert not torch.equal(noisy, m.E_c(x, 0))
    assert torch.equal(m.translate(x), m.translate(x))
    assert torch.equal(tiny().E_c(x, 0), clean)


def test_the_content_critic_is_as_deep_as_contents_allow():
    """Its published form needs 54 x 54; each size that is let through gives it at least one logit."""
    assert [DRIT.Config(image_size=size).content_d_shape for size in (216, 128, 64)] == [(3, 7), (2, 7), (1, 7)]
    assert DRIT.Config(**{**SMALL, "content_d_layers": None, "content_d_kernel": None}).content_d_shape == (1, 3)
    for size in range(28, 260, 4):
        depth, kernel = DRIT.Config(
            **{**SMALL, "image_size": size, "content_d_layers": None, "content_d_kernel": None}
        ).content_d_shape
        with torch.device("meta"):
            critic = ContentDiscriminator(16, depth, kernel)
            assert min(critic(torch.empty(2, 16, size // 4, size // 4)).shape) >= 1
        assert [conv.kernel_size[0] for conv in critic if isinstance(conv, nn.Conv2d)] == [*[kernel] * depth, 4, 1]


def test_settings_that_do_not_fit_are_refused():
    for over, message in [
        ({"image_size": 50}, "crop_size=50 is not a multiple of 4: set crop_size=48"),
        (
            {"image_size": 32},
            "crop_size=32: num_scales=3 with d_layers=4 need 64 pixels; lower num_scales or d_layers",
        ),
        ({"image_size": 16, "d_layers": 2}, "crop_size=16: 4 pixels of contents are too small"),
        (
            {"image_size": 64, "content_d_layers": 5},
            "16 pixels of contents are too small .* set crop_size=388 at least",
        ),
    ]:
        with pytest.raises(ValidationError, match=message):
            DRIT.Config(**over)
