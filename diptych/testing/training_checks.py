"""Checks of the update rule: which networks it changes, and that training is deterministic and resumes exactly."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diptych.contract import Batch, Clock, Stage
from diptych.errors import TrainingError, listed
from diptych.networks.latents import constant_latents
from diptych.runs import checkpoint
from diptych.testing.harness import (
    MethodUnderTest,
    fingerprint,
    largest_difference,
    observe_updates,
    set_global_seeds,
    train,
)
from diptych.testing.processes import resume_all, run_in_new_processes, train_as_rank
from diptych.training.cuda_graphs import DeviceClock
from diptych.training.engine import Engine

MAX_STEPS = 5  # of a stage that are checked one by one
REPLAY_STEPS = 24  # enough for updates that happen every fifth step to be captured and replayed
TOLERANCE = 1e-6  # largest difference of weights in float64
INDEPENDENT = (
    "make each loss a mean over the samples of the batch; if the loss draws noise or uses batch statistics, turn them "
    "off in `checks.independent`; a layer right before a norm has no bias (`bias=False`), as its gradient is rounding "
    "errors alone"
)
STATE = (
    "keep everything that changes between steps in parameters or buffers of the method, so that `state_dict` holds it"
)


def updates_change_only_named_players(method: MethodUnderTest) -> None:
    """An update changes weights of each network of the named players and of no other; no gradients remain.

    Each weight with `requires_grad` belongs to a player of a stage.
    """
    engine = method.engine()
    _check_that_players_have_all_weights(engine)
    before: dict[str, Tensor] = {}

    def remember() -> None:
        before.update({name: p.detach().clone() for name, p in engine.method.named_parameters()})

    def compare(players: tuple[str, ...]) -> None:
        allowed = {id(p) for player in players for p in engine.optimizers[player].parameters}
        changed = set()
        for name, p in engine.method.named_parameters():
            if not torch.equal(p, before[name]):
                changed.add(id(p))
                assert id(p) in allowed, (
                    f"step {engine.step}: {name} changed in an update of {players}: do not change weights in the "
                    f"update rule; networks to update belong in a `Player`"
                )
            assert p.grad is None, (
                f"step {engine.step}: {name} has a gradient after an update of {players}: do not call `backward` in "
                f"the update rule"
            )
        for player in players:
            for net in engine.stage.players[player].nets:
                assert any(id(p) in changed for p in net.parameters()), (
                    f"step {engine.step}: an update of player {player} left its {type(net).__name__} unchanged: no "
                    f"loss term depends on it; add one, or remove the network from the `Player`"
                )

    observe_updates(engine, remember, compare)
    try:
        for _ in train(engine, method.batches()):
            pass
    except TrainingError as error:  # an update that the engine refuses
        raise AssertionError(str(error)) from error


def _check_that_players_have_all_weights(engine: Engine) -> None:
    players = [player for stage in engine.stages for player in stage.players.values()]
    updated = {id(p) for player in players for net in player.nets for p in net.parameters()}
    never = [name for name, p in engine.method.named_parameters() if p.requires_grad and id(p) not in updated]
    assert not never, (
        f"no `Player` has {listed(never, 3)}: name the network in the `Player` that updates it, or freeze it by "
        f"`requires_grad_(False)`"
    )


def training_is_deterministic(method: MethodUnderTest) -> None:
    """Two runs with one seed end in equal states, whatever the global generators are; another seed gives another."""
    results: list[tuple[str, list[dict[str, float]]]] = []
    for number, seed in enumerate((0, 0, 1)):
        engine = method.engine(seed)
        set_global_seeds(number)
        records = list(train(engine, method.batches(seed=seed)))
        results.append((fingerprint(engine.state()), records))
    assert results[0] == results[1], (
        "two runs with the same seed differ: draw random numbers only from torch's global generator, which is seeded "
        "in each step"
    )
    assert results[0] != results[2], (
        "runs with seeds 0 and 1 are equal: initialise weights with random numbers, and do not set seeds in the method"
    )


def resume_is_exact(method: MethodUnderTest) -> None:
    """A run resumed at any step, in a new process with 0 or 2 data workers, ends in the same state and log."""
    with tempfile.TemporaryDirectory() as folder:
        engine = method.engine()
        checkpoint.save(Path(folder) / "step-000.safetensors", engine.state())
        records: list[dict[str, float]] = []
        records_before = [0]  # number of log records at each checkpoint
        for record in train(engine, method.batches()):
            records += [record] if record else []
            checkpoint.save(Path(folder) / f"step-{len(records_before):03}.safetensors", engine.state())
            records_before.append(len(records))
        expected = fingerprint(engine.state())
        (results,) = run_in_new_processes(resume_all, method.cls, Path(folder))
    for step, workers, final, log in results:
        assert final == expected, (
            f"the run resumed at step {step} with {workers} data workers ends in another state: {STATE}"
        )
        assert repr(log) == repr(records[records_before[step] :]), (
            f"the run resumed at step {step} with {workers} data workers has another log: {log}: {STATE}"
        )


def gradient_accumulation_is_exact(method: MethodUnderTest) -> None:
    """A batch in 2 or 4 micro-batches gives the weights of the full batch, with the config of `checks.independent`."""
    states: dict[int, dict[str, Tensor]] = {}
    for grad_accum_steps in (1, 2, 4):
        engine = method.engine(grad_accum_steps=grad_accum_steps, double=True, **method.cls.checks.independent)
        with constant_latents():
            for _ in train(engine, method.batches(4, grad_accum_steps=grad_accum_steps), double=True):
                pass
        states[grad_accum_steps] = engine.state()[0]
    for grad_accum_steps in (2, 4):
        difference, name = largest_difference(states[1], states[grad_accum_steps])
        assert difference < TOLERANCE, (
            f"grad_accum_steps={grad_accum_steps} differs from the full batch by {difference:.1e} in {name}: "
            f"{INDEPENDENT}"
        )


def ranks_match_one_process(method: MethodUnderTest) -> None:
    """Two gloo processes, as torchrun starts them, give the weights and image pools of one process."""
    engine = method.engine(double=True, **method.cls.checks.independent)
    with constant_latents():
        for _ in train(engine, method.batches(4), double=True):
            pass
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "state.safetensors"
        run_in_new_processes(train_as_rank, method.cls, file, ranks=2)
        difference, name = largest_difference(engine.state()[0], checkpoint.load(file)[0])
    assert difference < TOLERANCE, f"two ranks differ from one process by {difference:.1e} in {name}: {INDEPENDENT}"


def player_order_depends_on_clock(method: MethodUnderTest) -> None:
    """The order of players and the names of terms do not depend on the batch, only on the clock by `schedule_key`."""
    engine, batches = method.engine(), method.batches()
    for stage in engine.stages:
        orders_by_key: dict[Any, set[Any]] = {}
        for step in range(stage.steps):
            clock = Clock(stage.name, step, stage.steps)
            orders = _orders(stage, batches[step], clock)
            assert len(orders) == 1, (
                f"stage {stage.name} step {step}: the order of players depends on the data: {orders}: choose players "
                f"by the clock alone"
            )
            expected = orders_by_key.setdefault(stage.schedule_key(clock), orders)
            assert orders == expected, (
                f"stage {stage.name} step {step}: {orders}, but {expected} in another step with the same "
                f"`Stage.schedule_key`: return a key that differs between the two"
            )


def _orders(stage: Stage, batch: Batch, clock: Clock) -> set[tuple[Any, ...]]:
    """Return the orders of players and terms for a batch, for zeros, and for the batch in reverse order."""
    zeros = {name: torch.zeros_like(value) for name, value in batch.items()}
    reverse = {name: value.flip(0) for name, value in batch.items()}
    orders = set()
    for seed, variant in enumerate((batch, zeros, reverse)):
        torch.manual_seed(seed)
        orders.add(tuple((players, tuple(terms)) for players, terms in stage.updates(variant, clock)))
    return orders


def updates_never_wait_for_device(method: MethodUnderTest) -> None:
    """The update rule runs on meta tensors, which have no values: it has no `.item()` and no `if` on a tensor."""
    engine, batches = method.engine(), method.batches()
    engine.method.to("meta")
    for stage in engine.stages:
        for step in range(min(stage.steps, MAX_STEPS)):
            try:
                batch = {name: value.to("meta") for name, value in batches[step].items()}
                clock = DeviceClock(stage.name, step, stage.steps, {}, torch.device("meta"))
                for _, terms in stage.updates(batch, clock):
                    torch.stack([term.reshape(()) for term in terms.values()]).sum()
            except (RuntimeError, NotImplementedError) as error:
                raise AssertionError(
                    f"stage {stage.name} step {step}: the update rule waits for the device ({error}): avoid `.item()`, "
                    f"`float(tensor)` and `if tensor:`; use `torch.where`"
                ) from error


def cuda_graph_replay_is_exact(method: MethodUnderTest) -> None:
    """Steps replayed without Python, as a CUDA graph does, end in the state of normal steps."""
    states = []
    for capture in (None, lambda work: work):
        engine = method.engine(capture=capture, steps=REPLAY_STEPS)
        for _ in train(engine, method.batches()):
            pass
        states.append(fingerprint(engine.state()))
    assert states[0] == states[1], (
        "replayed steps end in another state than normal steps: compute what changes between steps with equal "
        "`Stage.schedule_key` from the clock or from buffers, not from Python numbers"
    )
