"""Part (a) of `gpu.py`: that a device trains as a CPU does, with every method at its tiny size on the embedded letters.

Each check yields rows in the columns of `COLUMNS`. A difference of losses is relative above 1, else absolute.
"""

import copy
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

import diptych
from diptych.errors import TrainingError
from diptych.losses.adversarial import r1
from diptych.methods import EVALUATORS, METHODS, find
from diptych.methods.pix2pix import Pix2Pix
from diptych.networks.latents import constant_latents
from diptych.networks.patchgan import PatchGAN
from diptych.runs import checkpoint
from diptych.system.distributed import Ranks
from diptych.testing.harness import MethodUnderTest, fingerprint, to_float64
from diptych.training.cuda_graphs import CudaCapture
from diptych.training.engine import Engine

COLUMNS = "check | method | result | largest difference | bound | remark"
CPU = torch.device("cpu")
STEPS = 3
GRAPH_STEPS = 16  # of each stage: some eager, then replayed, for each kind of step
SMOKE_STEPS = 5
BOUND, BF16_BOUND = 1e-4, 0.1
Losses = list[dict[str, float]]  # the terms of each step


def run(device: torch.device, smoke: bool = False) -> Iterator[list[str]]:
    """Yield the rows of all checks, the most important first. A smoke run has two methods."""
    names = ("gan", "pix2pix") if smoke else (*METHODS, *EVALUATORS)
    methods = [MethodUnderTest(find(name)) for name in names]
    like_plain = partial(like_plain_steps, steps=SMOKE_STEPS if smoke else GRAPH_STEPS)
    for title, check in (
        ("3 steps in fp32 like the CPU in float64", like_cpu),
        ("recorded steps like plain ones", like_plain),
        ("3 steps in bf16 like fp32", bf16_like_fp32),
        ("resume from a checkpoint", resumes),
    ):
        for method in methods:
            yield _row(title, method.cls.__name__, partial(check, method, device))
    yield _row("out of memory names what fits", "Pix2Pix", partial(out_of_memory, device))
    yield _row("second derivatives beside torch.compile", "PatchGAN", partial(double_backward, device))


def _row(title: str, name: str, check: Callable[[], list[str]]) -> list[str]:
    """Return the row of a check, or one that names the error with which it ended."""
    try:
        with full_float32():
            return [title, name, *check()]
    except Exception as error:  # the other checks go on
        return [title, name, "FAILED", "", "", in_a_cell(f"{type(error).__name__}: {error}")]


def in_a_cell(text: str) -> str:
    """Return a text that fits into a cell of a table."""
    return " ".join(text.replace("|", "/").split())[:300]


@contextmanager
def full_float32() -> Iterator[None]:
    """Compute convolutions in float32, not in TF32, and choose the same deterministic kernels in each run."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield


def engine_on(
    method: MethodUnderTest, device: torch.device, recorded: bool = False, double: bool = False, **changes
) -> Engine:
    """Return an engine of the tiny config on a device, with its feature networks there."""
    capture = (CudaCapture() if device.type == "cuda" else lambda work: work) if recorded else None
    made = method.engine(ranks=Ranks(device=device), capture=capture, double=double, **changes)
    for net in made.method.perceptual.values():
        net.to(device)
    return made


def losses_of(engine: Engine, method: MethodUnderTest, double: bool = False) -> Losses:
    """Train to the end and return the losses of every step."""
    batches, losses = method.batches(), []
    while True:
        for batch in batches.stream(engine.step, engine.stage.steps):
            engine.train_step(to_float64(batch) if double else batch)
            losses.append(engine.loss_tracker.close().means())
        if engine.stage_index + 1 == len(engine.stages):
            engine.verify()
            return losses
        engine.start_stage(engine.stage_index + 1)


def difference(one: Losses, other: Losses) -> float:
    """Return the largest difference of two lists of losses, relative where a loss is above 1. Norms are left out."""
    pairs = zip(one, other, strict=True)
    return max(
        abs(value - b[name]) / max(1.0, abs(b[name])) for a, b in pairs for name, value in a.items() if _is_loss(name)
    )


def _is_loss(name: str) -> bool:
    return not name.endswith("gradient")


def _judged(value: float, bound: float, remark: str = "") -> list[str]:
    return ["ok" if value <= bound else "FAILED", f"{value:.1e}", f"{bound:.0e}", remark]


def like_cpu(method: MethodUnderTest, device: torch.device) -> list[str]:
    """Losses of 3 steps in fp32 equal those of the CPU in float64.

    Devices draw other random numbers, so nothing random is left, and the seed of the steps is another one. The first
    step must agree to `BOUND`. Adam enlarges the rounding of gradients near 0: later steps may be as far off as ten
    times what the CPU in fp32 is.
    """
    changes = {"steps": STEPS, **method.cls.checks.independent}
    with constant_latents():
        exact = losses_of(engine_on(method, CPU, double=True, **changes), method, double=True)
        noise = difference(losses_of(engine_on(method, CPU, **changes), method), exact)
        tested = engine_on(method, device, **changes)
        tested.seed += 1
        losses = losses_of(tested, method)
    first = difference(losses[:1], exact[:1])
    remark = f"first step {first:.1e}; the CPU in fp32 {noise:.1e}"
    if first > BOUND:
        return ["FAILED", f"{first:.1e}", f"{BOUND:.0e}", remark]
    return _judged(difference(losses, exact), max(BOUND, 10 * noise), remark)


def like_plain_steps(method: MethodUnderTest, device: torch.device, steps: int = GRAPH_STEPS) -> list[str]:
    """Losses of recorded steps equal those of plain steps.

    Where two plain runs differ, by sums in no fixed order, a tenfold difference is accepted.
    """
    plain, again = (losses_of(engine_on(method, device, steps=steps), method) for _ in range(2))
    tested = engine_on(method, device, recorded=True, steps=steps)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = difference(losses_of(tested, method), plain)
    noise = difference(again, plain)
    if tested.graph_runner is None or not tested.graph_runner.replays:
        said = "; ".join(str(each.message) for each in caught) or "no step was recorded"
        return ["FAILED", f"{value:.1e}", "", in_a_cell(said)]
    graphs = len(tested.graph_runner.replays)
    return _judged(value, max(BOUND, 10 * noise), f"{graphs} graphs in the last stage; plain against plain {noise:.1e}")


def bf16_like_fp32(method: MethodUnderTest, device: torch.device) -> list[str]:
    """Losses of 3 steps in bf16 are near those in fp32."""
    changes = {"steps": STEPS, **method.cls.checks.independent}
    tested = engine_on(method, device, **changes)
    tested.precision = "bf16"
    with constant_latents():
        expected = losses_of(engine_on(method, device, **changes), method)
        return _judged(difference(losses_of(tested, method), expected), BF16_BOUND)


def resumes(method: MethodUnderTest, device: torch.device) -> list[str]:
    """A run resumed from a checkpoint has the state and the losses of the uninterrupted one."""
    first, batches = engine_on(method, device, steps=2 * STEPS), method.batches()
    first.start_stage(len(first.stages) - 1)
    given = [copy.copy(batches[step]) for step in range(2 * STEPS)]
    for batch in given[:STEPS]:
        first.train_step(batch)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(Path(folder) / "state.safetensors", first.state())
        second = engine_on(method, device, steps=2 * STEPS)
        second.load(checkpoint.load(Path(folder) / "state.safetensors"))
    if fingerprint(_on_cpu(second)) != fingerprint(_on_cpu(first)):
        return ["FAILED", "", "", "the restored state is another one"]
    first.loss_tracker.close()
    second.loss_tracker.close()
    ends: list[Losses] = [[], []]
    for batch in given[STEPS:]:
        for engine, losses in zip((first, second), ends, strict=True):
            engine.train_step(batch)
            losses.append(engine.loss_tracker.close().means())
    return _judged(difference(ends[1], ends[0]), BOUND, "state restored exactly")


def _on_cpu(engine: Engine) -> checkpoint.State:
    tensors, meta = engine.state()
    return {name: value.cpu() for name, value in tensors.items()}, meta


class Hungry(Pix2Pix):
    """Asks for more memory than the device has if more than two samples are in a micro-batch."""

    def updates(self, batch, clock):
        source = batch["source"]
        if len(source) > 2:
            total = torch.cuda.mem_get_info()[1] if source.is_cuda else 2**50
            torch.empty(2 * total, dtype=torch.uint8, device=source.device)
        yield from super().updates(batch, clock)


def out_of_memory(device: torch.device) -> list[str]:
    """Where memory runs out, the message names a setting that fits, and the run resumes with it."""
    tiny = {"data": "glyphs", "crop_size": 32, **Pix2Pix.checks.tiny, "steps": 4, "batch_size": 4, "workers": 0}
    options = {"device": str(device), "precision": "fp32", "preview_images": 1}
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        try:
            diptych.train(Hungry, out=run, quiet=True, **tiny, **options)
        except TrainingError as error:
            said = str(error)
        else:
            return ["FAILED", "", "", "the step did not run out of memory"]
        if "out of memory" not in said or "grad_accum_steps=2 fits: diptych resume" not in said:
            return ["FAILED", "", "", in_a_cell(said)]
        steps: list[int] = []
        diptych.resume(
            run,
            method=Hungry,
            quiet=True,
            grad_accum_steps=2,
            allow="grad_accum_steps",
            callbacks=_Counted(steps),
        )
    return _judged(0.0 if steps == [1, 2, 3, 4] else 1.0, 0.5, said.partition("(")[2].partition(")")[0][:80])


class _Counted(diptych.Callback):
    def __init__(self, steps: list[int]) -> None:
        self.steps = steps

    def on_step(self, context) -> None:
        self.steps.append(context.step)


def double_backward(device: torch.device) -> list[str]:
    """Second derivatives through a compiled network are refused, and a penalty runs on the uncompiled one."""
    torch.manual_seed(0)
    net, images = PatchGAN(3, 16, 8, "none").to(device), torch.rand(2, 3, 32, 32, device=device)
    expected = float(r1(net, images)[1].detach())
    net.compile(backend="aot_eager")  # the part of torch.compile that refuses; the default backend compiles as well
    value = abs(float(r1(net, images)[1].detach()) - expected) / expected
    images = images.requires_grad_()
    try:
        with torch.compiler.set_stance("default"):
            (gradient,) = torch.autograd.grad(net(images).sum(), images, create_graph=True)
            gradient.square().sum().backward()
    except RuntimeError as error:
        return _judged(value, BOUND, in_a_cell(str(error))[:100])
    return ["FAILED", "", "", "a second derivative through a compiled network was computed"]
