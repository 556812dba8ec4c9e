"""The promises of the contract, one function each; each raises AssertionError that says what is broken, and where."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diptych.contract import Clock
from diptych.errors import ConfigError
from diptych.inference.load import assembled, load
from diptych.networks.latents import constant_latents
from diptych.runs import checkpoint
from diptych.testing.harness import (
    MethodUnderTest,
    errors,
    fingerprint,
    in_fresh_process,
    largest_difference,
    run,
    scramble,
    ways,
)
from diptych.training.cuda_graphs import DeviceClock

MOST_STEPS = 5  # of a stage, where each step is looked at
RECORDED = 24  # steps: enough that a turn which comes every fifth time is recorded and done again


def batch_fits_its_data(subject: MethodUnderTest) -> None:
    """The method declares its kind of data, and names as many batch entries, images and labels, as that delivers."""
    try:
        subject.cls.check_batch()
    except ConfigError as error:
        raise AssertionError(str(error)) from error


def players_move_alone(subject: MethodUnderTest) -> None:
    """The named players all move and nothing else does; no gradient is left anywhere."""
    engine = subject.engine()
    plain = engine._update

    def watched(rules: list[Any], clock: Clock) -> tuple[str, ...]:
        before = {name: p.detach().clone() for name, p in engine.method.named_parameters()}
        players = plain(rules, clock)
        allowed = {id(p) for player in players for p in engine.optimizers[player].parameters}
        for name, p in engine.method.named_parameters():
            moved = not torch.equal(p, before[name])
            assert not moved or id(p) in allowed, f"{name} moved while {players} were named"
            assert p.grad is None, f"a gradient is left in {name} after {players} moved"
        by_id = {id(p): before[name] for name, p in engine.method.named_parameters()}
        for player in players:
            for net in engine.stage.players[player].nets:
                assert any(not torch.equal(p, by_id[id(p)]) for p in net.parameters()), (
                    f"player {player} was named but its {type(net).__name__} stood still at step {clock.step}"
                )
        return players

    engine._update = watched  # type: ignore[method-assign]
    for _ in run(engine, subject.batches()):
        pass


def same_seed_same_bytes(subject: MethodUnderTest) -> None:
    """Two runs of one seed end in the same bytes, whatever the global generators did before; another seed does not."""
    ends: list[tuple[str, list[dict[str, float]]]] = []
    for seed in (0, 0, 1):
        engine = subject.engine(seed)
        scramble(len(ends))
        lines = list(run(engine, subject.batches(seed=seed)))
        ends.append((fingerprint(engine.state()), lines))
    assert ends[0] == ends[1], "two runs with the same seed differ"
    assert ends[0] != ends[2], "the seed changes nothing"


def resume_is_exact(subject: MethodUnderTest) -> None:
    """Cut at every step, resumed in a fresh process by 0 and 2 workers: same weights, Adam, averages, pools, log."""
    with tempfile.TemporaryDirectory() as folder:
        engine = subject.engine()
        checkpoint.save(Path(folder) / "cut-0.safetensors", engine.state())
        lines = []
        cuts = {0: 0}
        for line in run(engine, subject.batches()):
            lines += [line] if line else []
            at = len(cuts)
            cuts[at] = len(lines)
            checkpoint.save(Path(folder) / f"cut-{at}.safetensors", engine.state())
        wanted = fingerprint(engine.state())
        answers = in_fresh_process("resume", subject.spec, folder).splitlines()
        assert len(answers) == 2 * len(cuts), f"the resuming process answered {answers}"
        for answer in answers:
            cut, workers, end, logged = answer.split(" ", 3)
            assert end == wanted, f"cut at step {cut} and resumed with {workers} workers, the run ends in other bytes"
            assert logged == repr(lines[cuts[int(cut)] :]), (
                f"cut at step {cut}, {workers} workers: the log differs: {logged}"
            )


def micro_batches_add_up(subject: MethodUnderTest) -> None:
    """A batch cut into 2 or 4 parts gives the weights of the whole, where samples do not mix (config `apart`)."""
    ends: list[dict[str, Tensor]] = []
    for grad_accum_steps in (1, 2, 4):
        engine = subject.engine(grad_accum_steps=grad_accum_steps, double=True, **subject.cls.checks.independent)
        with constant_latents():
            for _ in run(engine, subject.batches(4, grad_accum_steps=grad_accum_steps), double=True):
                pass
        ends.append(engine.state()[0])
    for grad_accum_steps, end in zip((2, 4), ends[1:], strict=True):
        worst, name = largest_difference(ends[0], end)
        assert worst < 1e-6, (
            f"grad_accum_steps={grad_accum_steps} differs from the whole batch by {worst:.1e} in {name}"
        )


def ranks_add_up(subject: MethodUnderTest) -> None:
    """Two gloo processes, as torchrun starts them, give the weights of one to 1e-6, pools included."""
    engine = subject.engine(double=True, **subject.cls.checks.independent)
    with constant_latents():
        for _ in run(engine, subject.batches(4), double=True):
            pass
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "end.safetensors"
        in_fresh_process("ranks", subject.spec, str(file), ranks=2)
        worst, name = largest_difference(engine.state()[0], checkpoint.load(file)[0])
    assert worst < 1e-6, f"two ranks differ from one process by {worst:.1e} in {name}"


def translate_is_pure(subject: MethodUnderTest) -> None:
    """`translate` keeps height and width, times `scale`, has no gradient, changes nothing, takes images one by one."""
    engine = subject.engine()
    method = engine.method
    for _ in run(engine, subject.batches()):
        pass
    before, training = fingerprint(engine.state()), method.training
    for route, controls in ways(method):
        x = subject.truth(3)[route.source]
        x = x if method.traits.fixed_size else torch.cat([x, x.flip(-1)], -1)  # twice as wide as high
        y = method.translate(x, **controls)
        sides = [method.traits.upscale_factor * side for side in x.shape[2:]]
        assert y.shape == (3, method.channels()[route.target], *sides), (
            f"{controls}: {tuple(x.shape)} became {tuple(y.shape)}"
        )
        assert not y.requires_grad, f"{controls}: the translation carries a gradient"
        assert y.isfinite().all()
        assert y.abs().max() <= 1, f"{controls}: a translation leaves [-1, 1]"
        for i in range(3):
            apart = float((method.translate(x[i : i + 1], **controls) - y[i : i + 1]).abs().max())
            assert apart < 1e-5, f"{controls}: image {i} alone differs by {apart:.1e} from the same image in a batch"
    assert fingerprint(engine.state()) == before, "translate changed the method"
    assert method.training == training, "translate left the method in another mode"


def samples_are_their_numbers(subject: MethodUnderTest) -> None:
    """`sample` makes of one seed and number one image, whichever others are made, in [-1, 1], and changes nothing."""
    engine = subject.engine()
    method = engine.method
    if not method.traits.unconditional:
        return
    for _ in run(engine, subject.batches()):
        pass
    before, training = fingerprint(engine.state()), method.training
    made = method.sample(range(4))
    scramble(1)
    assert made.shape[0] == 4
    assert not made.requires_grad, "an image out of noise carries a gradient"
    assert made.isfinite().all()
    assert made.abs().max() <= 1, "an image out of noise leaves [-1, 1]"
    apart = float((method.sample(range(2, 3)) - made[2:3]).abs().max())
    assert apart < 1e-5, f"image 2 alone differs by {apart:.1e} from the same image among others"
    assert float((method.sample(range(4), seed=1) - made).abs().max()) > 1e-4, "the seed changes nothing"
    assert float((made[0] - made[1]).abs().max()) > 1e-4, "all images are one"
    assert fingerprint(engine.state()) == before, "sample changed the method"
    assert method.training == training, "sample left the method in another mode"


def files_round_trip(subject: MethodUnderTest) -> None:
    """State and config come back from their files as they were, and a model folder translates as the method does."""
    engine = subject.engine()
    for _ in run(engine, subject.batches()):
        pass
    config = engine.method.config
    assert type(config).model_validate_json(config.model_dump_json()) == config, (
        "the config changes on its way through JSON"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.safetensors"
        checkpoint.save(path, engine.state())
        other = subject.engine(seed=7)
        other.load(checkpoint.load(path))
        assert fingerprint(other.state()) == fingerprint(engine.state()), "the state changes on its way through a file"
        state = {
            name: value
            for name, value in engine.method.state_dict().items()
            if name.partition(".")[0] in subject.cls.inference_networks
        }
        assembled(
            subject.cls, subject.spec, config.model_dump(), state, subject.cls.inference_networks, {}, "check"
        ).save(path.parent / "model")
        translator = load(path.parent / "model", device="cpu", method=subject.cls)
    for route, controls in ways(engine.method):
        x = subject.truth(2)[route.source]
        assert torch.equal(translator.tensor(x, **controls), engine.method.translate(x, **controls)), (
            f"{controls}: translates differently"
        )
    if engine.method.traits.unconditional:
        assert torch.equal(translator.method.sample(range(2)), engine.method.sample(range(2))), "samples differently"


def clock_orders_players(subject: MethodUnderTest) -> None:
    """Which players move, and down which terms, depends on the clock alone, never on what is in the batch."""
    engine, batches = subject.engine(), subject.batches()
    for stage in engine.stages:
        turns: dict[Any, set[Any]] = {}
        for step in range(stage.steps):
            batch, clock = batches[step], Clock(stage.name, step, stage.steps)
            orders: set[Any] = set()
            for kind, other in enumerate(
                (batch, {k: torch.zeros_like(v) for k, v in batch.items()}, {k: v.flip(0) for k, v in batch.items()})
            ):
                torch.manual_seed(kind)
                orders.add(tuple((players, tuple(terms)) for players, terms in stage.updates(other, clock)))
            assert len(orders) == 1, (
                f"stage {stage.name} step {step}: the order of players depends on the data: {orders}"
            )
            known = turns.setdefault(stage.schedule_key(clock), orders)
            assert known == orders, f"stage {stage.name} step {step}: {orders} in the turn of {known}; see Stage.turn"


def rule_never_waits(subject: MethodUnderTest) -> None:
    """Run on tensors without content, where an `.item()` or an `if` on a tensor cannot be answered."""
    engine, batches = subject.engine(), subject.batches()
    engine.method.to("meta")
    for stage in engine.stages:
        for step in range(min(stage.steps, MOST_STEPS)):
            try:
                batch = {name: value.to("meta") for name, value in batches[step].items()}
                clock = DeviceClock(stage.name, step, stage.steps, {}, torch.device("meta"))
                for _, terms in stage.updates(batch, clock):
                    torch.stack([term.reshape(()) for term in terms.values()]).sum()
            except (RuntimeError, NotImplementedError) as error:
                raise AssertionError(
                    f"stage {stage.name} step {step}: the rule waits for the device ({error})"
                ) from error


def recorded_steps_are_the_steps(subject: MethodUnderTest) -> None:
    """Done again without Python, as a CUDA graph would: all that differs between steps of a turn is on the device."""
    ends = []
    for capture in (None, lambda work: work):
        engine = subject.engine(capture=capture, steps=RECORDED)
        for _ in run(engine, subject.batches()):
            pass
        ends.append(fingerprint(engine.state()))
    assert ends[0] == ends[1], "recorded once and done again, the steps end in other bytes"


def _odds(made: Tensor, real: Tensor) -> float:
    """How far means and spreads of two heaps of images (N, C, H, W) are apart, pixel by pixel."""
    return sum(float((of(made) - of(real)).abs().mean()) for of in (lambda x: x.mean(0), lambda x: x.std(0)))


def a_short_run_learns(subject: MethodUnderTest) -> None:
    """On letters not trained on, translations come nearer to the truth than any single picture could.

    Of a method that names mistakes of its own, those are few instead: for it a truth may be one answer of many.
    """
    truth = subject.truth(64)
    engine = subject.engine(**subject.cls.checks.learning)
    for _ in run(engine, subject.batches(4, flip=False)):
        pass
    with engine.ema_weights.applied_to(engine.method):
        mistakes = engine.method.validation_errors(truth)
        for name, share in mistakes.items():
            assert share < 0.75, f"{name}: {share:.2f} after {engine.total} steps"
        if engine.method.traits.unconditional and not engine.method.routes:
            real = next(iter(truth.values()))
            found, start = (_odds(each.method.sample(range(64)), real) for each in (engine, subject.engine()))
            assert found < 0.5 * start, f"pixel by pixel, means and spreads are {found:.3f} off, and were {start:.3f}"
    for route, error in {} if mistakes else errors(engine, truth).items():
        target = route.target_in(truth, aligned=True)
        assert target is not None
        single = float((target - target.median(0).values).abs().mean())
        assert error < single, (
            f"{route.source} to {route.target}: the error after {engine.total} steps is {error:.3f}; always giving the "
            f"same picture would score {single:.3f}"
        )


CHECKS: dict[str, Callable[[MethodUnderTest], None]] = {
    check.__name__: check
    for check in (
        batch_fits_its_data,
        players_move_alone,
        same_seed_same_bytes,
        resume_is_exact,
        micro_batches_add_up,
        ranks_add_up,
        translate_is_pure,
        samples_are_their_numbers,
        files_round_trip,
        clock_orders_players,
        rule_never_waits,
        recorded_steps_are_the_steps,
        a_short_run_learns,
    )
}
