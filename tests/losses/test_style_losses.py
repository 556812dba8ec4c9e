"""Losses of MUNIT's kin by hand: mode seeking, PatchNCE by a double loop, gradients taken ahead, or made shorter."""

import math

import pytest
import torch
from torch import nn

from diptych.contract import Method, MethodConfig, Player, Stage
from diptych.losses.deferred import deferred
from diptych.losses.patchnce import patchnce
from diptych.losses.perceptual import mode_seeking
from diptych.training.engine import Engine


def images(count=3):
    torch.manual_seed(0)
    return tuple(torch.rand(count, 2, 4, 4, dtype=torch.float64) for _ in range(2))


def noises(count=3):
    torch.manual_seed(1)
    return tuple(torch.randn(count, 5, dtype=torch.float64) for _ in range(2))


def test_mode_seeking_by_hand():
    """MSGAN, equation 2 turned over: means over the whole batch, of both, before the ratio."""
    (one, other), (z, w) = images(), noises()
    apart = sum(abs(a - b) for a, b in zip(one.flatten().tolist(), other.flatten().tolist(), strict=True)) / 96
    drawn = sum(abs(a - b) for a, b in zip(z.flatten().tolist(), w.flatten().tolist(), strict=True)) / 15
    assert mode_seeking((one, other), (z, w)).item() == pytest.approx(1 / (apart / drawn + 1e-5), rel=1e-12)
    assert mode_seeking((one, other), (z, w), 0.5).item() == pytest.approx(1 / (apart / drawn + 0.5), rel=1e-12)


def test_the_ratio_is_of_the_batch_and_not_of_each_sample():
    """Known mistake: a mean of ratios is another estimator, which no table of the paper is of."""
    (one, other), (z, w) = images(), noises()
    each = [mode_seeking((one[n : n + 1], other[n : n + 1]), (z[n : n + 1], w[n : n + 1])) for n in range(3)]
    together = mode_seeking((one, other), (z, w)).item()
    assert abs(torch.stack(each).mean().item() - together) > 1e-3 * together


def test_mode_seeking_falls_where_images_differ_more_for_the_same_noise():
    (one, other), (z, w) = images(), noises()
    found = [mode_seeking((one, one + share * (other - one)), (z, w)).item() for share in (0.0, 0.1, 0.5, 1.0)]
    assert found == sorted(found, reverse=True)
    assert found[0] == pytest.approx(1e5), "of equal images it is 1 / clamp, and never more"
    assert mode_seeking((one, one), (z, w), 0.25).item() == 4
    assert mode_seeking((one, other), (2 * z, 2 * w)).item() > found[-1], "more noise asks for more"


def test_going_down_mode_seeking_drives_images_apart():
    (one, other), drawn = images(), noises()
    one.requires_grad_()
    mode_seeking((one, other), drawn).backward()
    assert torch.equal(-one.grad.sign(), (one.detach() - other).sign())


def test_mode_seeking_of_half_precision_is_taken_in_full():
    pairs = [tuple(each.bfloat16() for each in pair) for pair in (images(), noises())]
    found = mode_seeking(*pairs)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(mode_seeking(*[tuple(x.double() for x in pair) for pair in pairs]).item())


def units(count=2, places=5, size=3):
    made = torch.randn(count, places, size, dtype=torch.float64)
    return made / made.norm(dim=2, keepdim=True)


def told(queries, keys, temperature):
    """PatchNCE, equation 3, one patch at a time; itself as a negative counts -10, as published."""
    losses = []
    for ours, theirs in zip(queries.tolist(), keys.tolist(), strict=True):
        for at, query in enumerate(ours):
            alike = [sum(q * k for q, k in zip(query, key, strict=True)) for key in theirs]
            others = [-10.0 if at == place else value for place, value in enumerate(alike)]
            raised = [math.exp(value / temperature) for value in (alike[at], *others)]
            losses.append(-math.log(raised[0] / sum(raised)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("temperature", [0.07, 5.0])
def test_patchnce_is_the_plain_double_loop(temperature):
    """At the higher temperature the -10 counts too."""
    torch.manual_seed(2)
    queries, keys = units(), units()
    assert patchnce(queries, keys, temperature).item() == pytest.approx(told(queries, keys, temperature), rel=1e-12)


def test_patchnce_has_the_temperature_of_the_paper():
    torch.manual_seed(2)
    queries, keys = units(), units()
    assert patchnce(queries, keys).item() == pytest.approx(told(queries, keys, 0.07), rel=1e-12)


def test_negatives_of_a_patch_are_of_its_own_image():
    """Known mistake: all patches of a batch as negatives, which makes the loss depend on the batch."""
    torch.manual_seed(3)
    queries, keys = units(3), units(3)
    each = [patchnce(queries[n : n + 1], keys[n : n + 1]).item() for n in range(3)]
    assert patchnce(queries, keys).item() == pytest.approx(sum(each) / 3, rel=1e-12)


def test_keys_carry_no_gradient():
    torch.manual_seed(4)
    queries, keys = units().requires_grad_(), units().requires_grad_()
    patchnce(queries, keys).backward()
    assert keys.grad is None
    assert float(queries.grad.abs().min()) > 0


def test_patchnce_of_half_precision_is_taken_in_full():
    torch.manual_seed(5)
    queries, keys = (each.bfloat16() for each in (units(), units()))
    found = patchnce(queries, keys)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(told(queries.double(), keys.double(), 0.07), rel=1e-5)


def weights():
    return [nn.Parameter(torch.tensor(each, dtype=torch.float64)) for each in ([1.0, 2.0], [3.0, -1.0], [5.0, 4.0])]


def move(*parameters):
    with torch.no_grad():
        for p in parameters:
            p.add_(10)


def test_the_gradient_is_of_the_weights_of_then():
    """What torch before 1.5 did not refuse, and DRIT's second step on G was meant to be."""
    w, v, other = weights()
    terms = {"one": (w.square() * v).sum(), "two": 3 * (w * other).sum()}
    wanted = torch.autograd.grad(terms["one"] + terms["two"], [w, v], retain_graph=True)
    found = deferred(terms, [w, v])
    before = {name: term.item() for name, term in terms.items()}
    move(w, v, other)
    assert {name: term.item() for name, term in found.items()} == before
    (torch.stack(list(found.values())).sum() / 4).backward()
    assert torch.equal(w.grad, wanted[0] / 4), "a loss may be scaled, as micro-batches do"
    assert torch.equal(v.grad, wanted[1] / 4)
    assert other.grad is None, "it was not asked for"


def test_what_the_terms_share_with_another_loss_is_kept():
    w, v, _ = weights()
    shared = w.square()
    found = deferred({"one": (shared * v).sum()}, [w])
    shared.sum().backward()
    assert torch.equal(w.grad, 2 * w.detach())
    found["one"].backward()
    assert torch.equal(w.grad, 2 * w.detach() + 2 * w.detach() * v.detach())


def test_weights_that_no_term_reaches_get_no_gradient():
    w, v, other = weights()
    deferred({"one": w.sum()}, [w, other])["one"].backward()
    assert torch.equal(w.grad, torch.ones_like(w))
    assert v.grad is None
    assert other.grad is None


def test_terms_that_reach_nothing_are_refused_by_name():
    w, v, _ = weights()
    with pytest.raises(RuntimeError, match="the terms one, two have no gradient"):
        deferred({"one": w.sum(), "two": (2 * w).sum()}, [v])


class Pull(Method):
    """Two weights that are pulled by what a batch says."""

    Config = MethodConfig

    def __init__(self, clip):
        super().__init__(MethodConfig())
        self.one, self.two, self.free, self.clip = *(nn.Linear(n, 1, bias=False) for n in (3, 1, 1)), clip

    def updates(self, batch, clock):
        x = batch["x"]
        yield ("P", "Q"), {"pull": (self.one(x[:3]) + self.two(x[3:4]) + self.free(x[4:])).sum()}

    def stages(self):
        players = {"P": Player((self.one, self.two), clip=self.clip), "Q": Player((self.free,))}
        return [Stage("train", 1, self.updates, players)]


@pytest.mark.parametrize(("clip", "share"), [(2.5, 0.5), (5.5, 1.0), (None, 1.0)])
def test_a_long_gradient_is_scaled_to_the_length_and_a_short_one_left_alone(clip, share):
    """All weights of the player together, and of no other: (1, 2, 2) and 4 are 5 long."""
    engine = Engine(Pull(clip))
    engine.train_step({"x": torch.tensor([1.0, 2.0, 2.0, 4.0, 100.0])})
    seen = [
        state["exp_avg"].flatten().tolist()
        for mover in engine.optimizers.values()
        for state in mover.adam.state.values()
    ]
    wanted = [[0.5, 1.0, 1.0], [2.0], [50.0]]  # Adam keeps one half of a gradient at first
    assert seen[0] == pytest.approx([share * each for each in wanted[0]], rel=1e-5)
    assert seen[1] == pytest.approx([share * each for each in wanted[1]], rel=1e-5)
    assert seen[2] == wanted[2]
    assert engine.loss_tracker.close().means()["P+Q/gradient"] == pytest.approx(math.sqrt(25 + 100**2))
