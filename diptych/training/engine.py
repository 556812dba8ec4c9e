"""The generator rule: a method's `updates` is resumed once for each optimiser step, and that is all the engine knows.

players, terms = next(rule);  sum(terms).backward(inputs=params(players));  one all-reduce;  check finite;  step
"""

import warnings
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from diptych.contract import Batch, Clock, Method, Stage, Terms, Update
from diptych.errors import CheckpointError, TrainingError
from diptych.runs.checkpoint import State
from diptych.seeds import seed_for
from diptych.system.distributed import Ranks
from diptych.system.hardware import is_out_of_memory
from diptych.training.cuda_graphs import CannotCapture, Capture, GraphRunner
from diptych.training.ema import EMA
from diptych.training.loss_tracker import LossTracker
from diptych.training.optim import PlayerOptimizer


class Engine:
    """Trains a method step by step. Its state: weights, Adam, averages, the open line of the log, two integers."""

    def __init__(
        self,
        method: Method,
        *,
        seed: int = 0,
        grad_accum_steps: int = 1,
        precision: str = "fp32",
        ranks: Ranks = Ranks(),
        capture: Capture | None = None,
    ) -> None:
        self.device = ranks.device
        self.layout = torch.channels_last if self.device.type == "cuda" else torch.preserve_format
        self.method = method.to(device=self.device)
        if self.device.type == "cuda":  # tensor cores read channels last; on CPUs that measured slower
            self.method = method.to(memory_format=torch.channels_last)
        self.seed, self.grad_accum_steps, self.precision, self.ranks, self.capture = (
            seed,
            grad_accum_steps,
            precision,
            ranks,
            capture,
        )
        self.stages = method.stages()
        self.ema_weights = EMA(method)
        self.statistics = [
            buffer
            for module in method.modules()
            if isinstance(module, _BatchNorm)
            for buffer in (module.running_mean, module.running_var)
            if buffer is not None
        ]
        self.start_stage(0)

    def compile(self) -> None:
        """Compile each network that a player moves; the rule itself stays plain Python."""
        for net in dict.fromkeys(net for s in self.stages for player in s.players.values() for net in player.nets):
            net.compile()

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

    def start_stage(self, place: int) -> None:
        """Begin a stage: its players are built now, so that each stage has its own Adams."""
        self.place, self.step = place, 0
        self.optimizers = {name: PlayerOptimizer(player, self.device) for name, player in self.stage.players.items()}
        self.loss_tracker = LossTracker(self.device)
        self.recorder = GraphRunner(self._step, self.device, self.capture) if self.capture else None

    def train_step(self, batch: Batch) -> None:
        """One step of the stage on this rank's part of the global batch.

        On a CPU, raises TrainingError before anything that is not finite is applied; on a GPU the optimisers stand
        still from then on, and `verify` raises when it is next called.
        """
        clock = self.clock
        self._seed(seed_for(self.seed, clock.stage, clock.step, self.ranks.rank))
        self.method.train()
        self.loss_tracker.now.fill_(clock.step)
        for mover in self.optimizers.values():
            mover.set_lr(clock)
        batch = {name: self._here(value) for name, value in batch.items()}
        if self.recorder is None:
            self._step(batch, clock)
        else:
            self._take_recorded(self.recorder, batch, clock)
        self.step += 1

    def _seed(self, seed: int) -> None:
        """As `torch.manual_seed`, without its round of all kinds of device, which takes longer than an empty step."""
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def _here(self, value: Tensor) -> Tensor:
        """On this rank's device, images in the layout that it is fast with; without waiting."""
        layout = self.layout if value.dim() == 4 else torch.preserve_format
        return value.to(self.device, non_blocking=True, memory_format=layout)

    def _take_recorded(self, recorder: GraphRunner, batch: Batch, clock: Clock) -> None:
        try:
            recorder.train_step(batch, clock, self.stage.schedule_key(clock))
        except CannotCapture as error:
            warnings.warn(
                f"stage {clock.stage!r}: its steps cannot be recorded ({error}); they are taken one kernel at a time, "
                f"which is slower",
                stacklevel=2,
            )
            self.recorder = None
            self._drop_gradients()
            self._step(batch, clock)

    def _step(self, batch: Batch, clock: Clock) -> None:
        """What a step does on the device, and nothing that would be lost if only that were done again."""
        self.loss_tracker.begin()
        rules = [self.stage.updates(part, clock) for part in parts(batch, self.grad_accum_steps)]
        while self._update(rules, clock):
            pass
        self.ranks.mean_(self.statistics)
        self.ema_weights.update(self.method)

    def fits(self, batch: Batch, grad_accum_steps: int) -> bool:
        """Whether a step in so many parts finds memory: it is taken, so nothing after this may be saved."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self._drop_gradients()
        self.grad_accum_steps = grad_accum_steps
        try:
            self._step({name: self._here(value) for name, value in batch.items()}, self.clock)
        except Exception as error:
            if is_out_of_memory(error):
                return False
            raise
        return True

    def _drop_gradients(self) -> None:
        """Those of a step that was not finished."""
        for mover in self.optimizers.values():
            mover.zero_grad()

    def verify(self) -> None:
        """Raise TrainingError if a term or gradient so far was not finite. Waits for the device."""
        self.loss_tracker.verify(self.stage.name)

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
        movers = [self.optimizers[player] for player in players]
        gradients = [p.grad for mover in movers for p in mover.parameters if p.grad is not None]
        if not gradients:
            raise TrainingError(
                f"stage {clock.stage!r} step {clock.step}: the terms {', '.join(rows[0])} reach no weight of "
                f"{', '.join(players)}"
            )
        terms = torch.stack([torch.stack([row[name].float() for row in rows]).mean() for name in rows[0]])
        self.ranks.mean_([*gradients, terms])
        norm = torch.stack(torch._foreach_norm(gradients)).norm().float()
        self.loss_tracker.add("+".join(players), [*rows[0], "gradient"], torch.cat([terms, norm[None]]))
        if self.device.type == "cpu":  # where a look costs nothing
            self.verify()
        for mover in movers:
            mover.step(self.loss_tracker.bad)
        return players

    def _resume(self, rule: Iterator[Update], clock: Clock) -> tuple[tuple[str, ...], Terms]:
        """Run one rule to its next yield and add its gradients to those of the players it names."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            update = next(rule, None)
        if update is None:
            return (), {}
        players, terms = (update[0],) if isinstance(update[0], str) else update[0], update[1]
        if not terms or any(player not in self.optimizers for player in players):
            raise TrainingError(
                f"stage {clock.stage!r} step {clock.step}: the rule asked to move {', '.join(players)} down "
                f"{len(terms)} terms; the stage's players are {', '.join(self.optimizers)}"
            )
        loss = torch.stack([term.reshape(()) for term in terms.values()]).sum() / self.grad_accum_steps
        loss.backward(inputs=list(dict.fromkeys(p for player in players for p in self.optimizers[player].parameters)))
        return players, {name: term.detach() for name, term in terms.items()}

    def state(self) -> State:
        """Everything that `load` needs to go on to the last bit."""
        sums, ledger = self.loss_tracker.state()
        tensors = {f"method.{name}": value for name, value in self.method.state_dict().items()}
        tensors |= {f"ema.{name}": value for name, value in self.ema_weights.state().items()}
        tensors |= {
            f"adam.{player}.{name}": value
            for player, mover in self.optimizers.items()
            for name, value in mover.state().items()
        }
        tensors |= {f"ledger.{player}": value for player, value in sums.items()}
        meta = {"place": self.place, "stage": self.stage.name, "step": self.step, "total": self.total, "ledger": ledger}
        return tensors, meta

    def load(self, state: State) -> None:
        tensors, meta = state
        self.start_stage(int(meta["place"]))
        self.step = int(meta["step"])
        try:
            self.method.load_state_dict(section(tensors, "method."))
            self.ema_weights.load(section(tensors, "ema."))
        except RuntimeError as error:
            raise CheckpointError(f"the checkpoint does not fit the settings: {error}") from error
        for player, mover in self.optimizers.items():
            mover.load(section(tensors, f"adam.{player}."))
        self.loss_tracker.load(section(tensors, "ledger."), meta["ledger"])


def parts(batch: Batch, grad_accum_steps: int) -> list[Batch]:
    """The batch cut into `grad_accum_steps` equal parts."""
    chunks = {name: value.chunk(grad_accum_steps) for name, value in batch.items()}
    return [{name: chunk[part] for name, chunk in chunks.items()} for part in range(grad_accum_steps)]


def section(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries whose names begin with the prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
