"""`check_method`: what every method must hold, for the methods here and for yours.

    from diptych import check_method
    check_method(MyMethod)              # raises AssertionError that says which promise is broken, and where

or one test for each promise: `@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)`. The method's `tiny`
config is trained on the embedded letters at 32 pixels; a class must be importable by name, for checks in fresh processes.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diptych.contract import Batch, Clock, Method, MethodConfig, Route
from diptych.data import open_data
from diptych.data.config import DataConfig
from diptych.data.loader import Batches, held_out
from diptych.data.transforms import Augment
from diptych.engine import checkpoint
from diptych.engine.preview import translated
from diptych.engine.ranks import Ranks, join, leave
from diptych.engine.step import Engine, State
from diptych.methods import find
from diptych.seeds import seed_for
from diptych.translator import assembled, load

PIXELS = 32
STEPS = 5               # enough that each kind of state (Adam, averages, pools) has been written and read
LOG_EVERY = 2           # so that cuts fall inside a line of the log


@dataclass(frozen=True)
class Subject:
    """A method class as it is checked: tiny, on letters."""

    cls: type[Method]

    @property
    def spec(self) -> str:
        return f"{self.cls.__module__}:{self.cls.__qualname__}"

    def config(self, **over: Any) -> MethodConfig:
        channels = dict.fromkeys(self.cls.batch.values(), 1)
        return self.cls.Config(**{"steps": STEPS, **channels, **self.cls.tiny, **over})

    def engine(self, seed: int = 0, micro: int = 1, ranks: Ranks = Ranks(), double: bool = False, **over: Any) -> Engine:  # noqa: B008
        torch.manual_seed(seed)
        method = self.cls(self.config(**over))
        return Engine(method.double() if double else method, seed=seed, micro=micro, ranks=ranks)

    def batches(self, size: int = 2, seed: int = 0, **place: int) -> Batches:
        data = open_data(DataConfig(root="glyphs", crop=PIXELS), tuple(self.cls.batch))
        return Batches(data.train, dict.fromkeys(self.cls.batch, 1), Augment(36, PIXELS), size, seed, **place)

    def truth(self, count: int = 32) -> Batch:
        data = open_data(DataConfig(root="glyphs", crop=PIXELS), tuple(self.cls.batch))
        return held_out(data.held_out, dict.fromkeys(self.cls.batch, 1), Augment(PIXELS, PIXELS), count)


def check_method(cls: type[Method]) -> None:
    """Run every check on one method class. Raises AssertionError at the first broken promise."""
    for check in CHECKS.values():
        check(Subject(cls))


def players_move_alone(subject: Subject) -> None:
    """The named players all move and nothing else does; no gradient is left anywhere."""
    engine = subject.engine()
    plain = engine._update

    def watched(rules: list[Any], clock: Clock) -> tuple[str, ...]:
        before = {name: p.detach().clone() for name, p in engine.method.named_parameters()}
        players = plain(rules, clock)
        allowed = {id(p) for player in players for p in engine.movers[player].parameters}
        for name, p in engine.method.named_parameters():
            moved = not torch.equal(p, before[name])
            assert not moved or id(p) in allowed, f"{name} moved while {players} were named"
            assert p.grad is None, f"a gradient is left in {name} after {players} moved"
        by_id = {id(p): before[name] for name, p in engine.method.named_parameters()}
        for player in players:
            for net in engine.stage.players[player].nets:
                assert any(not torch.equal(p, by_id[id(p)]) for p in net.parameters()), \
                    f"player {player} was named but its {type(net).__name__} stood still at step {clock.step}"
        return players

    engine._update = watched            # type: ignore[method-assign]
    for _ in run(engine, subject.batches()):
        pass


def same_seed_same_bytes(subject: Subject) -> None:
    """Two runs of one seed end in the same bytes, whatever the global generators did before; another seed does not."""
    ends = []
    for seed in (0, 0, 1):
        engine = subject.engine(seed)
        scramble(len(ends))
        lines = list(run(engine, subject.batches(seed=seed)))
        ends.append((fingerprint(engine.state()), lines))
    assert ends[0] == ends[1], "two runs with the same seed differ"
    assert ends[0] != ends[2], "the seed changes nothing"


def resume_is_exact(subject: Subject) -> None:
    """Cut at every step and resumed in a fresh process, with 0 and 2 workers: same weights, Adam, averages, pools, log."""
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
            at, workers, end, logged = answer.split(" ", 3)
            assert end == wanted, f"cut at step {at} and resumed with {workers} workers, the run ends in other bytes"
            assert logged == repr(lines[cuts[int(at)]:]), f"cut at step {at}, {workers} workers: the log differs: {logged}"


def micro_batches_add_up(subject: Subject) -> None:
    """A batch cut into 2 or 4 parts gives the weights of the whole, where samples do not mix (config `apart`)."""
    ends = []
    for micro in (1, 2, 4):
        engine = subject.engine(micro=micro, double=True, **subject.cls.apart)
        for _ in run(engine, subject.batches(4, micro=micro), double=True):
            pass
        ends.append(engine.state()[0])
    for micro, end in zip((2, 4), ends[1:], strict=True):
        worst, name = furthest(ends[0], end)
        assert worst < 1e-6, f"micro={micro} differs from the whole batch by {worst:.1e} in {name}"


def ranks_add_up(subject: Subject) -> None:
    """Two gloo processes under torchrun give the weights of one to 1e-6, pools included."""
    engine = subject.engine(double=True, **subject.cls.apart)
    for _ in run(engine, subject.batches(4), double=True):
        pass
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "end.safetensors"
        in_fresh_process("ranks", subject.spec, str(file), ranks=2)
        worst, name = furthest(engine.state()[0], checkpoint.load(file)[0])
    assert worst < 1e-6, f"two ranks differ from one process by {worst:.1e} in {name}"


def translate_is_pure(subject: Subject) -> None:
    """`translate` keeps height and width, carries no gradient, changes nothing, and treats each image by itself."""
    engine = subject.engine()
    method = engine.method
    for _ in run(engine, subject.batches()):
        pass
    before, training = fingerprint(engine.state()), method.training
    for route, controls in ways(method):
        x = subject.truth(3)[route.source]
        x = torch.cat([x, x.flip(-1)], -1)              # twice as wide as high
        y = method.translate(x, **controls)
        assert y.shape == (3, method.channels()[route.target], *x.shape[2:]), f"{controls}: {tuple(x.shape)} became {tuple(y.shape)}"
        assert not y.requires_grad, f"{controls}: the translation carries a gradient"
        assert y.isfinite().all()
        assert y.abs().max() <= 1, f"{controls}: a translation leaves [-1, 1]"
        for i in range(3):
            apart = float((method.translate(x[i:i + 1], **controls) - y[i:i + 1]).abs().max())
            assert apart < 1e-5, f"{controls}: image {i} alone differs by {apart:.1e} from the same image in a batch"
    assert fingerprint(engine.state()) == before, "translate changed the method"
    assert method.training == training, "translate left the method in another mode"


def files_round_trip(subject: Subject) -> None:
    """State and config come back from their files as they were, and a model folder translates as the method does."""
    engine = subject.engine()
    for _ in run(engine, subject.batches()):
        pass
    config = engine.method.config
    assert type(config).model_validate_json(config.model_dump_json()) == config, "the config changes on its way through JSON"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.safetensors"
        checkpoint.save(path, engine.state())
        other = subject.engine(seed=7)
        other.load(checkpoint.load(path))
        assert fingerprint(other.state()) == fingerprint(engine.state()), "the state changes on its way through a file"
        state = {name: value for name, value in engine.method.state_dict().items() if name.partition(".")[0] in subject.cls.ships}
        assembled(subject.spec, config.model_dump(), state, subject.cls.ships, {}, "check").save(path.parent / "model")
        translator = load(path.parent / "model", device="cpu")
    for route, controls in ways(engine.method):
        x = subject.truth(2)[route.source]
        assert torch.equal(translator.tensor(x, **controls), engine.method.translate(x, **controls)), f"{controls}: translates differently"


def clock_orders_players(subject: Subject) -> None:
    """Which players move, and down which terms, depends on the clock alone, never on what is in the batch."""
    engine = subject.engine()
    batch = next(subject.batches().stream(0, 1))
    for stage in engine.stages:
        for step in range(stage.steps):
            clock = Clock(stage.name, step, stage.steps)
            orders = set()
            for kind, other in enumerate((batch, {k: torch.zeros_like(v) for k, v in batch.items()}, {k: -v for k, v in batch.items()})):
                torch.manual_seed(kind)
                orders.add(tuple((players, tuple(terms)) for players, terms in stage.updates(other, clock)))
            assert len(orders) == 1, f"stage {stage.name} step {step}: the order of players depends on the data: {orders}"


def rule_never_waits(subject: Subject) -> None:
    """Run on tensors without content, where an `.item()` or an `if` on a tensor cannot be answered."""
    engine = subject.engine()
    batch = {name: value.to("meta") for name, value in next(subject.batches().stream(0, 1)).items()}
    engine.method.to("meta")
    for stage in engine.stages:
        for step in range(min(stage.steps, STEPS)):
            try:
                for players, terms in stage.updates(batch, Clock(stage.name, step, stage.steps)):
                    torch.stack([term.reshape(()) for term in terms.values()]).sum()
            except (RuntimeError, NotImplementedError) as error:
                raise AssertionError(f"stage {stage.name} step {step}: the rule waits for the device ({error})") from error


def a_short_run_learns(subject: Subject) -> None:
    """On letters, the error to the true drawing of letters not trained on falls below a third of where it began."""
    steps = 120
    engine = subject.engine(steps=steps)
    start = errors(engine, subject.truth())
    for _ in run(engine, subject.batches(8)):
        pass
    for route, error in errors(engine, subject.truth()).items():
        assert error < start[route] / 3, f"{route}: the error went from {start[route]:.3f} to {error:.3f} in {steps} steps"


CHECKS: dict[str, Callable[[Subject], None]] = {check.__name__: check for check in (
    players_move_alone, same_seed_same_bytes, resume_is_exact, micro_batches_add_up, ranks_add_up, translate_is_pure,
    files_round_trip, clock_orders_players, rule_never_waits, a_short_run_learns)}


def run(engine: Engine, batches: Batches, workers: int = 0, double: bool = False) -> Iterator[dict[str, float]]:
    """Train to the end; yields after each step the line of the log, or nothing between two lines."""
    while True:
        for batch in batches.stream(engine.step, engine.stage.steps, workers):
            engine.take({name: value.double() for name, value in batch.items()} if double else batch)
            yield engine.ledger.averages(engine.ranks) if engine.step % LOG_EVERY == 0 else {}
        if engine.place + 1 == len(engine.stages):
            return
        engine.enter(engine.place + 1)


def ways(method: Method) -> list[tuple[Route, dict[str, Any]]]:
    """Every route with every choice of every control."""
    found = [(route, dict(route.controls)) for route in method.routes]
    for control in method.controls:
        found += [(route, {**route.controls, control.name: choice}) for route in method.routes
                  for choice in control.choices if control.name not in route.controls]
    return found


def errors(engine: Engine, truth: Batch) -> dict[str, float]:
    with engine.averages.inside(engine.method):
        return {f"{route.source}->{route.target}":
                float((translated(engine.method, truth[route.source], route, torch.device("cpu")) - truth[route.target]).abs().mean())
                for route in engine.method.routes}


def fingerprint(state: State) -> str:
    tensors, meta = state
    return checkpoint.digest({name: value.contiguous() for name, value in tensors.items()}, json.dumps(meta, sort_keys=True))


def furthest(one: dict[str, Tensor], other: dict[str, Tensor]) -> tuple[float, str]:
    """The largest difference between two states, and where. The open line of the log is no part of what is compared."""
    names = [name for name in one if not name.startswith("ledger.")]
    assert set(names) == {name for name in other if not name.startswith("ledger.")}, "the states have different entries"
    return max(((float((one[name].double() - other[name].double()).abs().max()) if one[name].numel() else 0.0), name) for name in names)


def scramble(seed: int) -> None:
    """Leave every global generator somewhere else."""
    for generator in (random.seed, np.random.seed, torch.manual_seed):
        generator(seed_for("scramble", seed) % 2**32)


def in_fresh_process(*words: str, ranks: int = 0) -> str:
    """What `python -m diptych.check WORDS` prints, under torchrun if `ranks` are given."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks else []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run([sys.executable, *launcher, "-m", "diptych.check", *words], capture_output=True, text=True,
                          env=environment, timeout=600, check=False)
    assert done.returncode == 0, f"the fresh process failed:\n{done.stderr[-4000:]}"
    return done.stdout


def answer_resume(spec: str, folder: str) -> None:
    """For each checkpoint in the folder and each number of workers: cut, workers, fingerprint of the end, log."""
    subject = Subject(find(spec))
    for path in sorted(Path(folder).glob("cut-*.safetensors")):
        for workers in (0, 2):
            engine = subject.engine(seed=0)
            scramble(workers)
            engine.load(checkpoint.load(path))
            lines = [line for line in run(engine, subject.batches(), workers) if line]
            print(path.stem.removeprefix("cut-"), workers, fingerprint(engine.state()), repr(lines))


def answer_ranks(spec: str, file: str) -> None:
    subject, ranks = Subject(find(spec)), join("cpu")
    engine = subject.engine(ranks=ranks, double=True, **find(spec).apart)
    for _ in run(engine, subject.batches(4, rank=ranks.rank, world=ranks.world), double=True):
        pass
    if ranks.first:
        checkpoint.save(Path(file), engine.state())
    leave()


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    {"resume": answer_resume, "ranks": answer_ranks}[sys.argv[1]](*sys.argv[2:])
