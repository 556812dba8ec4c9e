"""The engine: schedules, what is refused, averages, the finite check, precision."""

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from toy_method import Toy

from diptych.contract import Clock, Stage
from diptych.errors import CheckpointError, TrainingError
from diptych.methods.cyclegan import CycleGAN
from diptych.seeds import seed_for
from diptych.settings.train_config import TrainConfig
from diptych.training.ema import EMA
from diptych.training.engine import Engine

BATCH = {"source": torch.ones(4, 1)}


def weights(engine):
    return torch.cat([p.detach().flatten() for p in engine.method.parameters()]).clone()


@given(st.integers(1, 10_000), st.floats(0, 0.99))
def test_decay_is_one_then_a_line_that_ends_above_zero(steps, start):
    values = [Clock("train", step, steps).decay(start) for step in (0, int(start * steps), steps - 1)]
    assert values[0] == 1
    assert values[1] == pytest.approx(1)
    assert values[-1] == pytest.approx(min(1, 1 / steps / (1 - start)))
    assert values[-1] > 0


def test_decay_of_the_cyclegan_paper():
    """100 epochs constant, then linearly to zero over 100; the last epoch still learns."""
    (stage,) = CycleGAN(CycleGAN.Config(**CycleGAN.checks.tiny, steps=200)).stages()
    factors = [stage.players["G"].schedule(Clock("train", epoch, 200)) for epoch in range(200)]
    assert factors[:101] == [1.0] * 101
    assert factors[101:] == pytest.approx([1 - k / 100 for k in range(1, 100)])
    assert factors[-1] > 0


def test_decay_may_end_before_the_stage():
    assert [Clock("s", step, 10).decay(end=0.5) for step in (0, 1, 5, 9)] == pytest.approx([1, 0.8, 0, 0])


def test_seeds_are_functions_of_their_place():
    assert seed_for(0, "train", 3, 1) == seed_for(0, "train", 3, 1)
    assert (
        len(
            {seed_for(run, stage, step, rank) for run in (0, 1) for stage in "ab" for step in (0, 1) for rank in (0, 1)}
        )
        == 16
    )
    assert 0 <= seed_for("x") < 2**63


def not_finite_at(step, where):
    """A rule whose G term, or only its gradient, is not finite at that step."""

    def rule(method, batch, clock):
        yield "D", {"real": method.D(batch["source"]).square().mean()}
        out = method.G(batch["source"])
        good = out.square().mean()
        if clock.step == step:
            good = good * math.nan if where == "term" else good + (out - out.detach()).abs().sqrt().sum()
        yield "G", {"gan": good, "l1": out.abs().mean()}

    return rule


@pytest.mark.parametrize(("where", "named"), [("term", "G/gan"), ("gradient", "G/gradient")])
def test_not_finite_stops_before_the_step_and_is_named(where, named):
    engine = Engine(Toy(not_finite_at(2, where)))
    engine.train_step(BATCH)
    engine.train_step(BATCH)
    before = engine.method.G.weight.clone()
    with pytest.raises(TrainingError, match=rf"stage 'train' step 2: .*{named}.* is not finite"):
        engine.train_step(BATCH)
    assert torch.equal(engine.method.G.weight, before)


def test_where_the_device_is_not_waited_for_optimisers_stand_still(monkeypatch):
    """On a GPU nobody looks until the next line of the log: until then nothing moves, and the first step is named."""
    engine = Engine(Toy(not_finite_at(1, "term")))
    monkeypatch.setattr(engine, "verify", lambda: None)
    engine.train_step(BATCH)
    g, adam = engine.method.G.weight.clone(), copy.deepcopy(engine.optimizers["G"].state())
    for _ in range(4):
        engine.train_step(BATCH)
    assert torch.equal(engine.method.G.weight, g)
    assert all(torch.equal(value, adam[name]) for name, value in engine.optimizers["G"].state().items())
    monkeypatch.undo()
    with pytest.raises(TrainingError, match="step 1: G/gan"):
        engine.verify()


def unknown_player(method, batch, clock):
    yield "E", {"x": method.G(batch["source"]).mean()}


def no_terms(method, batch, clock):
    yield "G", {}


def by_data(method, batch, clock):
    yield (
        ("G" if batch["source"].sum() > 0 else "D"),
        {"x": (method.G(batch["source"]) + method.D(batch["source"])).mean()},
    )


def other_terms(method, batch, clock):
    yield "G", {f"term{clock.step}": method.G(batch["source"]).mean()}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (unknown_player, "yields E with 1 loss terms.*players: G, D"),
        (no_terms, "yields G with 0 loss terms"),
        (by_data, "different players"),
        (other_terms, "term1 after term0|term1.*after.*term0"),
    ],
)
def test_a_rule_that_breaks_the_contract_is_refused(rule, message):
    engine = Engine(Toy(rule), TrainConfig(grad_accum_steps=2, precision="fp32"))
    batch = {"source": torch.tensor([[1.0], [1.0], [-9.0], [1.0]])}
    with pytest.raises(TrainingError, match=message):
        for _ in range(2):
            engine.train_step(batch)


def test_players_named_together_move_together():
    def rule(method, batch, clock):
        yield ("G", "D"), {"x": (method.G(batch["source"]) + method.D(batch["source"])).square().mean()}

    engine = Engine(Toy(rule))
    before = weights(engine)
    engine.train_step(BATCH)
    assert (weights(engine) != before).all()
    assert list(engine.loss_tracker.close().means()) == ["G+D/x", "G+D/gradient"]


def test_averages_follow_by_the_decay_and_translate():
    method = Toy(unknown_player)
    averages = EMA(method)
    old = method.G.weight.detach().clone()
    with torch.no_grad():
        method.G.weight += 1
    averages.update(method)
    with averages.applied_to(method):
        assert method.G.weight.item() == pytest.approx(old.item() + 0.25)
        assert not method.G.weight.requires_grad
    assert method.G.weight.item() == pytest.approx(old.item() + 1)


def test_a_line_of_the_log_is_the_mean_of_its_steps():
    def rule(method, batch, clock):
        yield "G", {"x": method.G(batch["source"]).mean() * 0 + clock.step}
        if clock.step % 2 == 1:
            yield "D", {"y": method.D(batch["source"]).mean() * 0 + 10 * clock.step}

    engine = Engine(Toy(rule))
    for _ in range(4):
        engine.train_step(BATCH)
    means = engine.loss_tracker.close().means()
    assert means == {"G/x": 1.5, "G/gradient": 0.0, "D/y": 20.0, "D/gradient": 0.0}
    assert engine.loss_tracker.close().means() == {}


def test_a_stage_has_its_own_adam():
    class Two(Toy):
        def stages(self):
            (stage,) = super().stages()
            return [
                Stage("one", 1, stage.updates, {"G": stage.players["G"]}),
                Stage("two", 1, stage.updates, {"G": stage.players["G"]}),
            ]

    def rule(method, batch, clock):
        yield "G", {"x": method.G(batch["source"]).mean()}

    engine = Engine(Two(rule))
    engine.train_step(BATCH)
    assert engine.optimizers["G"].state()
    engine.start_stage(1)
    assert (engine.clock.stage, engine.clock.step, engine.optimizers["G"].state()) == ("two", 0, {})


def test_bf16_is_close_to_fp32():
    """Autocast inside the rule; weights, gradients and terms stay float32."""
    batch = {"a": torch.rand(2, 3, 64, 64) * 2 - 1, "b": torch.rand(2, 3, 64, 64) * 2 - 1}
    lines = []
    for precision in ("fp32", "bf16"):
        torch.manual_seed(0)
        engine = Engine(CycleGAN(CycleGAN.Config(**CycleGAN.checks.tiny, steps=9)), TrainConfig(precision=precision))
        engine.train_step(batch)
        assert all(p.dtype == torch.float32 for p in engine.method.parameters())
        lines.append(engine.loss_tracker.close().means())
    assert lines[0] != lines[1], "autocast did nothing"
    for name, value in lines[0].items():
        assert lines[1][name] == pytest.approx(value, rel=0.05), name


def test_the_earliest_of_several_bad_terms_is_named(monkeypatch):
    def rule(method, batch, clock):
        yield "G", {"x": method.G(batch["source"]).mean() * (math.nan if clock.step >= 3 else 1)}
        yield "D", {"y": method.D(batch["source"]).mean() * (math.nan if clock.step >= 1 else 1)}

    engine = Engine(Toy(rule))
    monkeypatch.setattr(engine, "verify", lambda: None)
    for _ in range(5):
        engine.train_step(BATCH)
    monkeypatch.undo()
    with pytest.raises(TrainingError, match="step 1: D/y, D/gradient is"):
        engine.verify()


def test_resume_across_stages_is_exact():
    """Cut at every step of two stages: the second has its own Adam and its own players."""

    class Two(Toy):
        def stages(self):
            (stage,) = super().stages()
            players = stage.players
            return [Stage("one", 3, stage.updates, {"G": players["G"]}), Stage("two", 3, stage.updates, players)]

    def rule(method, batch, clock):
        if clock.stage == "two":
            yield "D", {"y": (method.D(batch["source"]) + torch.rand(4, 1)).square().mean()}
        yield "G", {"x": (method.G(batch["source"]) + torch.rand(4, 1)).square().mean()}

    def go(engine):
        lines = []
        while (engine.stage_index, engine.step) != (1, 3):
            if engine.step == engine.stage.steps:
                engine.start_stage(engine.stage_index + 1)
            engine.train_step(BATCH)
            lines += [engine.loss_tracker.close().means()] if engine.step == 3 else []
            yield engine, lines

    torch.manual_seed(0)
    states = [copy.deepcopy(engine.state()) for engine, _ in go(Engine(Two(rule)))]
    for cut, state in enumerate(states[:-1], 1):
        engine = Engine(Two(rule))
        torch.manual_seed(cut)
        engine.load(copy.deepcopy(state))
        assert engine.total == cut
        for _ in go(engine):
            pass
        assert all(torch.equal(value, states[-1][0][name]) for name, value in engine.state()[0].items())


def test_a_state_of_other_networks_is_refused_by_name():
    state = Engine(Toy(no_terms)).state()
    other = Toy(no_terms)
    other.G = nn.Linear(2, 2)
    with pytest.raises(CheckpointError, match=r"(?s)does not fit the settings.*G\.weight"):
        Engine(other).load(state)
