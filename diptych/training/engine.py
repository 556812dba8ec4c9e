"""One training step: the engine resumes a method's `updates` generator once for each optimiser step.

For each `players, terms` that the generator yields, `Engine._update` runs
`sum(terms).backward(inputs=parameters of the players)`, one all-reduce of gradients, a check for finite values,
and a step of the players' optimisers.
"""

import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from diptych.contract import Batch, Clock, Method, Stage, Terms, Update
from diptych.errors import CheckpointError, TrainingError
from diptych.runs.checkpoint import State
from diptych.seeds import seed_for
from diptych.settings.train_config import TrainConfig
from diptych.system.distributed import Ranks
from diptych.system.hardware import is_out_of_memory, precision_for
from diptych.training.cuda_graphs import CannotCapture, Capture, GraphRunner
from diptych.training.ema import EMA
from diptych.training.loss_tracker import LossTracker
from diptych.training.optim import PlayerOptimizer

FP32 = TrainConfig(precision="fp32")


class Engine:
    """Trains a method step by step.

    Its state: weights, Adam, averaged weights, sums of loss terms since the last log record, stage index and step.
    Of `settings` it reads `seed`, `grad_accum_steps` and `precision`.

    Attributes:
        before_update: called before `updates` is resumed.
        after_update: called after that with the names of the players that moved, () when `updates` has ended.
            Both are hooks for checks and measurements. CUDA graphs do not call them.
    """

    def __init__(
        self, method: Method, settings: TrainConfig = FP32, *, ranks: Ranks = Ranks(), capture: Capture | None = None
    ) -> None:
        self.device = ranks.device
        self.memory_format = torch.preserve_format
        self.method = method.to(device=self.device)
        if self.device.type == "cuda":  # tensor cores read channels last; on CPUs that measured slower
            self.memory_format = torch.channels_last
            self.method = method.to(memory_format=torch.channels_last)
        self.seed = settings.seed
        self.grad_accum_steps = settings.grad_accum_steps
        self.precision = precision_for(self.device)[0] if settings.precision == "auto" else settings.precision
        self.ranks = ranks
        self.capture = capture
        self.before_update: Callable[[], None] | None = None
        self.after_update: Callable[[tuple[str, ...]], None] | None = None
        self.stages = method.stages()
        self.ema_weights = EMA(method)
        self.batch_norm_statistics = [
            buffer
            for module in method.modules()
            if isinstance(module, _BatchNorm)
            for buffer in (module.running_mean, module.running_var)
            if buffer is not None
        ]
        self.start_stage(0)

    def compile(self) -> None:
        """Compile each network that a player updates with `torch.compile`; the method's `updates` is not compiled."""
        players = [player for stage in self.stages for player in stage.players.values()]
        for net in dict.fromkeys(net for player in players for net in player.nets):
            net.compile()

    @property
    def stage(self) -> Stage:
        """The stage that is being trained."""
        return self.stages[self.stage_index]

    @property
    def total(self) -> int:
        """The number of steps taken over all stages."""
        return sum(stage.steps for stage in self.stages[: self.stage_index]) + self.step

    @property
    def clock(self) -> Clock:
        """The clock of the coming step."""
        return Clock(self.stage.name, self.step, self.stage.steps)

    def start_stage(self, index: int) -> None:
        """Start a stage with new optimisers for its players."""
        self.stage_index, self.step = index, 0
        self.optimizers = {name: PlayerOptimizer(player, self.device) for name, player in self.stage.players.items()}
        self.loss_tracker = LossTracker(self.device)
        self.graph_runner = GraphRunner(self._step, self.device, self.capture) if self.capture else None

    def train_step(self, batch: Batch) -> None:
        """Take one step of the stage on this rank's share of the global batch.

        On a CPU, raises TrainingError before an update that is not finite is applied. On a GPU the optimisers stand
        still from such an update on, and `verify` raises when it is next called.
        """
        clock = self.clock
        self._seed(seed_for(self.seed, clock.stage, clock.step, self.ranks.rank))
        self.method.train()
        self.loss_tracker.now.fill_(clock.step)
        for optimizer in self.optimizers.values():
            optimizer.set_lr(clock)
        batch = {name: self._to_device(value) for name, value in batch.items()}
        if self.graph_runner is None:
            self._step(batch, clock)
        else:
            self._graph_step(self.graph_runner, batch, clock)
        self.step += 1

    def _seed(self, seed: int) -> None:
        """Seed the generators of the CPU and this GPU. `torch.manual_seed` is slower: it visits all device types."""
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def _to_device(self, value: Tensor) -> Tensor:
        """Return the tensor on this rank's device, without waiting; images in the device's memory format."""
        memory_format = self.memory_format if value.dim() == 4 else torch.preserve_format
        return value.to(self.device, non_blocking=True, memory_format=memory_format)

    def _graph_step(self, runner: GraphRunner, batch: Batch, clock: Clock) -> None:
        """Take a step with CUDA graphs; if it cannot be captured, warn once and continue without them."""
        try:
            runner.train_step(batch, clock, self.stage.schedule_key(clock))
        except CannotCapture as error:
            warnings.warn(
                f"stage {clock.stage!r}: a step cannot be captured as a CUDA graph ({error}); training continues "
                f"without graphs, which is slower",
                stacklevel=2,
            )
            self.graph_runner = None
            self._zero_grad()
            self._step(batch, clock)

    def _step(self, batch: Batch, clock: Clock) -> None:
        """Do the device's work of a step. With CUDA graphs only this is captured and replayed."""
        self.loss_tracker.begin_step()
        rules = [self.stage.updates(part, clock) for part in split_batch(batch, self.grad_accum_steps)]
        while self._update(rules, clock):
            pass
        self.ranks.mean_(self.batch_norm_statistics)
        self.ema_weights.update(self.method)

    def fits(self, batch: Batch, grad_accum_steps: int) -> bool:
        """Return whether a step with that many micro-batches fits into memory.

        The step is taken to find out, so the state must not be saved afterwards.
        """
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self._zero_grad()
        self.grad_accum_steps = grad_accum_steps
        try:
            self._step({name: self._to_device(value) for name, value in batch.items()}, self.clock)
        except Exception as error:
            if is_out_of_memory(error):
                return False
            raise
        return True

    def _zero_grad(self) -> None:
        """Drop the gradients of a step that was not completed."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()

    def verify(self) -> None:
        """Raise TrainingError if a loss term or gradient so far was not finite. Waits for the device."""
        self.loss_tracker.verify(self.stage.name)

    def _update(self, rules: list[Iterator[Update]], clock: Clock) -> bool:
        """Resume the generator of each micro-batch once and update the players it names; False at their end."""
        if self.before_update is not None:
            self.before_update()
        results = [self._backward(rule, clock) for rule in rules]
        players = results[0][0]
        if any(others != players for others, _ in results):
            raise TrainingError(
                f"stage {clock.stage!r} step {clock.step}: micro-batches yield different players "
                f"({[players for players, _ in results]}); the order of players must depend on the clock alone"
            )
        if players:
            self._apply(players, [terms for _, terms in results], clock)
        if self.after_update is not None:
            self.after_update(players)
        return bool(players)

    def _backward(self, rule: Iterator[Update], clock: Clock) -> tuple[tuple[str, ...], Terms]:
        """Run one generator to its next `yield` and accumulate gradients of the players; ((), {}) at its end."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            update = next(rule, None)
        if update is None:
            return (), {}
        names, terms = update
        players = (names,) if isinstance(names, str) else names
        if not terms or any(player not in self.optimizers for player in players):
            raise TrainingError(
                f"stage {clock.stage!r} step {clock.step}: `updates` yields {', '.join(players)} with "
                f"{len(terms)} loss terms; expected one at least, and the stage's players: "
                f"{', '.join(self.optimizers)}"
            )
        for name, term in terms.items():
            if term.numel() != 1:
                raise TrainingError(
                    f"stage {clock.stage!r} step {clock.step}: loss term {name} of {', '.join(players)} has shape "
                    f"{tuple(term.shape)}: expected a scalar; take its mean"
                )
        loss = torch.stack([term.reshape(()) for term in terms.values()]).sum() / self.grad_accum_steps
        parameters = [p for player in players for p in self.optimizers[player].parameters]
        loss.backward(inputs=list(dict.fromkeys(parameters)))
        return players, {name: term.detach() for name, term in terms.items()}

    def _apply(self, players: tuple[str, ...], micro_terms: list[Terms], clock: Clock) -> None:
        """Average gradients and terms over ranks, log them, and step the optimisers of the players."""
        names = list(micro_terms[0])
        optimizers = [self.optimizers[player] for player in players]
        gradients = [p.grad for optimizer in optimizers for p in optimizer.parameters if p.grad is not None]
        if not gradients:
            raise TrainingError(
                f"stage {clock.stage!r} step {clock.step}: the terms {', '.join(names)} have no gradient in any "
                f"weight of {', '.join(players)}"
            )
        means = torch.stack([torch.stack([terms[name].float() for terms in micro_terms]).mean() for name in names])
        self.ranks.mean_([*gradients, means])
        norm = torch.stack(torch._foreach_norm(gradients)).norm().float()
        self.loss_tracker.add("+".join(players), [*names, "gradient"], torch.cat([means, norm[None]]))
        if self.device.type == "cpu":  # there, reading a value costs nothing
            self.verify()
        for optimizer in optimizers:
            optimizer.step(self.loss_tracker.not_finite)

    def state(self) -> State:
        """Return everything that `load` needs to continue bit for bit."""
        sums, ledger = self.loss_tracker.state()
        tensors = {f"method.{name}": value for name, value in self.method.state_dict().items()}
        tensors |= {f"ema.{name}": value for name, value in self.ema_weights.state().items()}
        for player, optimizer in self.optimizers.items():
            tensors |= {f"adam.{player}.{name}": value for name, value in optimizer.state().items()}
        tensors |= {f"ledger.{key}": value for key, value in sums.items()}
        meta = {
            "place": self.stage_index,
            "stage": self.stage.name,
            "step": self.step,
            "total": self.total,
            "ledger": ledger,
        }
        return tensors, meta

    def load(self, state: State) -> None:
        """Restore a state. CheckpointError if its networks do not fit the settings."""
        tensors, meta = state
        self.start_stage(int(meta["place"]))
        self.step = int(meta["step"])
        try:
            self.method.load_state_dict(_with_prefix(tensors, "method."))
            self.ema_weights.load(_with_prefix(tensors, "ema."))
        except RuntimeError as error:
            raise CheckpointError(f"the checkpoint does not fit the settings: {error}") from error
        for player, optimizer in self.optimizers.items():
            optimizer.load(_with_prefix(tensors, f"adam.{player}."))
        self.loss_tracker.load(_with_prefix(tensors, "ledger."), meta["ledger"])


def split_batch(batch: Batch, count: int) -> list[Batch]:
    """Return the batch as `count` micro-batches of equal size."""
    chunks = {name: value.chunk(count) for name, value in batch.items()}
    return [{name: chunk[index] for name, chunk in chunks.items()} for index in range(count)]


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the entries whose names begin with the prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
