"""The generator rule: a method's `updates` is resumed once for each optimiser step, and that is all the engine knows.

players, terms = next(rule);  sum(terms).backward(inputs=params(players));  one all-reduce;  check finite;  step
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from diptych.contract import Batch, Clock, Method, Stage, Terms, Update
from diptych.engine.ema import Averages
from diptych.engine.ledger import Ledger
from diptych.engine.optim import Mover
from diptych.engine.ranks import Ranks
from diptych.errors import CheckpointError, TrainingError
from diptych.seeds import seed_for

State = tuple[dict[str, Tensor], dict[str, Any]]  # tensors by name, and what fits into JSON


class Engine:
    """Trains a method step by step. Its state: weights, Adam, averages, the open line of the log, two integers."""

    def __init__(
        self, method: Method, *, seed: int = 0, micro: int = 1, precision: str = "fp32", ranks: Ranks = Ranks()
    ) -> None:
        self.method = method.to(ranks.device)
        self.seed, self.micro, self.precision, self.ranks = seed, micro, precision, ranks
        self.stages = method.stages()
        self.averages = Averages(method)
        self.statistics = [
            buffer
            for module in method.modules()
            if isinstance(module, _BatchNorm)
            for buffer in (module.running_mean, module.running_var)
            if buffer is not None
        ]
        self.enter(0)

    @property
    def stage(self) -> Stage:
        return self.stages[self.place]

    @property
    def total(self) -> int:
        """Steps taken over all stages."""
        return sum(stage.steps for stage in self.stages[: self.place]) + self.step

    @property
    def clock(self) -> Clock:
        return Clock(self.stage.name, self.step, self.stage.steps)

    def enter(self, place: int) -> None:
        """Begin a stage: its players are built now, so that each stage has its own Adams."""
        self.place, self.step = place, 0
        self.movers = {name: Mover(player) for name, player in self.stage.players.items()}
        self.ledger = Ledger(self.ranks.device)

    def take(self, batch: Batch) -> None:
        """One step of the stage on this rank's part of the global batch.

        On a CPU, raises TrainingError before anything that is not finite is applied; on a GPU the optimisers stand
        still from then on, and `verify` raises when it is next called.
        """
        clock = self.clock
        torch.manual_seed(seed_for(self.seed, clock.stage, clock.step, self.ranks.rank))
        self.method.train()
        rules = [self.stage.updates(part, clock) for part in parts(batch, self.micro)]
        while self._update(rules, clock):
            pass
        self.ranks.mean_(self.statistics)
        self.averages.follow(self.method)
        self.step += 1

    def verify(self) -> None:
        """Raise TrainingError if a term or gradient so far was not finite. Waits for the device."""
        self.ledger.verify(self.stage.name)

    def _update(self, rules: list[Iterator[Update]], clock: Clock) -> tuple[str, ...]:
        """Resume each micro-batch's rule once and move the players it names: returned, none when rules are done."""
        asked = [self._resume(rule, clock) for rule in rules]
        players, rows = asked[0][0], [row for _, row in asked]
        if any(other != players for other, _ in asked):
            raise TrainingError(
                f"stage {clock.stage!r} step {clock.step}: micro-batches asked to move different players "
                f"({asked}); the order of players may depend on the clock alone"
            )
        if not players:
            return ()
        movers = [self.movers[player] for player in players]
        gradients = [p.grad for mover in movers for p in mover.parameters if p.grad is not None]
        terms = torch.stack([torch.stack([row[name].float() for row in rows]).mean() for name in rows[0]])
        self.ranks.mean_([*gradients, terms])
        norm = torch.stack(torch._foreach_norm(gradients)).norm().float()
        self.ledger.add("+".join(players), [*rows[0], "gradient"], torch.cat([terms, norm[None]]), clock.step)
        if self.ranks.device.type == "cpu":  # where a look costs nothing
            self.verify()
        for mover in movers:
            mover.move(clock, self.ledger.bad)
        return players

    def _resume(self, rule: Iterator[Update], clock: Clock) -> tuple[tuple[str, ...], Terms]:
        """Run one rule to its next yield and add its gradients to those of the players it names."""
        with torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            update = next(rule, None)
        if update is None:
            return (), {}
        players, terms = (update[0],) if isinstance(update[0], str) else update[0], update[1]
        if not terms or any(player not in self.movers for player in players):
            raise TrainingError(
                f"stage {clock.stage!r} step {clock.step}: the rule asked to move {', '.join(players)} down "
                f"{len(terms)} terms; the stage's players are {', '.join(self.movers)}"
            )
        loss = torch.stack([term.reshape(()) for term in terms.values()]).sum() / self.micro
        loss.backward(inputs=list(dict.fromkeys(p for player in players for p in self.movers[player].parameters)))
        return players, {name: term.detach() for name, term in terms.items()}

    def state(self) -> State:
        """Everything that `load` needs to go on to the last bit."""
        sums, ledger = self.ledger.state()
        tensors = {f"method.{name}": value for name, value in self.method.state_dict().items()}
        tensors |= {f"ema.{name}": value for name, value in self.averages.state().items()}
        tensors |= {
            f"adam.{player}.{name}": value
            for player, mover in self.movers.items()
            for name, value in mover.state().items()
        }
        tensors |= {f"ledger.{player}": value for player, value in sums.items()}
        meta = {"place": self.place, "stage": self.stage.name, "step": self.step, "total": self.total, "ledger": ledger}
        return tensors, meta

    def load(self, state: State) -> None:
        tensors, meta = state
        self.enter(int(meta["place"]))
        self.step = int(meta["step"])
        try:
            self.method.load_state_dict(section(tensors, "method."))
            self.averages.load(section(tensors, "ema."))
        except RuntimeError as error:
            raise CheckpointError(f"the checkpoint does not fit the settings: {error}") from error
        for player, mover in self.movers.items():
            mover.load(section(tensors, f"adam.{player}."))
        self.ledger.load(section(tensors, "ledger."), meta["ledger"])


def parts(batch: Batch, micro: int) -> list[Batch]:
    """The batch cut into `micro` equal parts."""
    chunks = {name: value.chunk(micro) for name, value in batch.items()}
    return [{name: chunk[part] for name, chunk in chunks.items()} for part in range(micro)]


def section(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries whose names begin with the prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
