"""T1 to T5, T7, T8: a training that is stopped, killed, fed with what is not finite, or left without memory."""

import io
import json
import math
import os
import random
import re
import signal
import socket
import time
from types import SimpleNamespace

import pytest
import torch
from commands import TINY, diptych
from faults import IMAGES, SHORT, changed_terms, end, endless_step, newest_step, short_of_memory, unhurried
from rich.console import Console

from diptych.data.batches import Batches
from diptych.data.image_columns import ImageFiles
from diptych.errors import RunError, TrainingError
from diptych.methods.pix2pix import Pix2Pix
from diptych.runs import checkpoint
from diptych.system.signals import stop_on_signals
from diptych.training.trainer import Trainer
from diptych.workflows import train

LONG = [*TINY, "steps=60", "log_every=7", "preview_every=20", "checkpoint_minutes=0.01", "workers=2"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of 60 steps that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert diptych("train", "pix2pix", *LONG, "-o", folder).exit_code == 0
    return folder


@pytest.fixture
def trainers(monkeypatch):
    """The trainers that are built from here on: what they hold in memory when they stop."""
    built, prepare = [], train.prepare
    monkeypatch.setattr(train, "prepare", lambda *words, **more: built.append(prepare(*words, **more)) or built[-1])
    return built


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 138), (signal.SIGKILL, -9)],
)
def test_stopped_and_resumed_is_undisturbed(number, code, whole, child, tmp_path):
    """T1, T3, T4, T8: signals at any time finish the step and save; a kill loses steps, not the run.

    Either way: the same weights and numbers. Meanwhile nobody else may train in the folder; afterwards anybody.
    """
    run = tmp_path / "run"
    cut = child("train", "pix2pix", *LONG, "-o", run, fault=unhurried)
    cut.until(lambda: list((run / "checkpoints").glob("0-*[1-9]*.safetensors")))
    if number == signal.SIGTERM:
        with pytest.raises(RunError, match=f"being trained by process {cut.pid} on {socket.gethostname()}"):
            diptych("resume", run)
    time.sleep(random.Random(number).uniform(0, 0.3))
    cut.kill(number)
    assert cut.ended() == code, cut.error
    at = newest_step(run)
    assert 0 < at < 60, "the run was over before the signal came"
    assert (f"stopped at step {at}, checkpoint saved; continue with: diptych resume {run}" in cut.output) == (code > 0)
    assert diptych("resume", run).exit_code == 0
    assert end(run) == end(whole)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_second_one_stops_at_once(number, code, undisturbed, images, child, tmp_path):
    """T4: even in the middle of a step that takes ten minutes; the run goes on from its last checkpoint."""
    words = [*IMAGES, f"root={images}", *SHORT, "checkpoint_minutes=0", "workers=2"]
    stuck = child("train", "pix2pix", *words, "-o", tmp_path / "run", fault=endless_step)
    stuck.until(lambda: "asleep" in stuck.output)
    stuck.kill(number)
    stuck.until(lambda: "once more to stop at once" in stuck.output)
    began = time.monotonic()
    stuck.kill(number)
    assert stuck.ended() == code, stuck.error
    assert time.monotonic() - began < 3
    assert newest_step(tmp_path / "run") == 3
    assert diptych("resume", tmp_path / "run").exit_code == 0
    assert end(tmp_path / "run") == end(undisturbed)


def test_a_signal_that_comes_while_something_is_printed():
    """T4: Python lets no signal print in the middle of another print; it stops all the same."""

    class Pipe(io.RawIOBase):
        def writable(self):
            return True

        def write(self, data):
            if trainer.stopped is None:
                os.kill(os.getpid(), signal.SIGUSR1)
            return len(data)

    console = Console(file=io.TextIOWrapper(io.BufferedWriter(Pipe()), write_through=True))
    trainer = SimpleNamespace(console=console, stopped=None)
    with stop_on_signals(lambda number: Trainer._stop(trainer, number)):
        console.print("train 10/60")
    assert trainer.stopped == signal.SIGUSR1


def test_a_signal_that_is_ignored_stays_ignored():
    """T4: Ctrl-C in a terminal is not meant for what a script runs in the background, which starts by ignoring it."""
    came, before = [], signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_on_signals(came.append):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGUSR1)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert came == [signal.SIGUSR1]


def test_another_number_of_threads(undisturbed, images, tmp_path):
    """T2: recorded, and the same up to the order of additions: to 1e-5, where six steps move a weight by 1e-3."""
    torch.set_num_threads(2)
    try:
        words = [*IMAGES, f"root={images}", *SHORT]
        assert diptych("train", "pix2pix", *words, "-o", tmp_path / "run").exit_code == 0
    finally:
        torch.set_num_threads(1)
    threads = [json.loads((run / "environment.json").read_text())["threads"] for run in (undisturbed, tmp_path / "run")]
    assert threads == [1, 2]
    ours, theirs = (checkpoint.load_newest(run / "checkpoints")[0] for run in (tmp_path / "run", undisturbed))
    worst = max(float((ours[name] - theirs[name]).abs().max()) for name in ours if name.startswith("method."))
    assert worst < 1e-5


def spoiled_term(monkeypatch):
    """The term of G is no number from step 3 on."""
    changed_terms(
        monkeypatch, Pix2Pix, 3, lambda who, terms: terms | {"l1": terms["l1"] * math.nan} if who == "G" else terms
    )


def spoiled_gradient(monkeypatch):
    """The terms are finite, the gradient is not: a root at zero."""

    def rooted(who, terms):
        return terms | {"l1": terms["l1"] + (terms["l1"] - terms["l1"].detach()).abs().sqrt()} if who == "G" else terms

    changed_terms(monkeypatch, Pix2Pix, 3, rooted)


def spoiled_image(monkeypatch):
    """One of the pixels of step 3 is infinite, as no file may hold it."""
    plain = Batches.sample

    def sample(self, number, lost):
        drawn = plain(self, number, lost)
        if number == 7:
            drawn["target"][0, 5, 5] = math.inf
        return drawn

    monkeypatch.setattr(Batches, "sample", sample)


@pytest.mark.parametrize(
    ("spoil", "player", "named"),
    [(spoiled_term, "G", "G/l1"), (spoiled_gradient, "G", "G/gradient"), (spoiled_image, "D", "D/real")],
)
def test_what_is_not_finite_stops_before_it_is_learnt(
    spoil, player, named, undisturbed, images, trainers, monkeypatch, tmp_path
):
    """T5: stage, step, player, term and images are named; nothing is saved after it, and the run can go on."""
    read, plain, run = [], ImageFiles.__getitem__, tmp_path / "run"
    monkeypatch.setattr(
        ImageFiles, "__getitem__", lambda self, index: read.append(self.name(index)) or plain(self, index)
    )
    spoil(monkeypatch)
    words = [*IMAGES, f"root={images}", *SHORT, "checkpoint_minutes=0", "image_cache_gib=0"]  # each step reads
    with pytest.raises(TrainingError, match=f"stage 'train' step 3: .*{named}.* is not finite") as caught:
        diptych("train", "pix2pix", *words, "-o", run)
    assert caught.value.exit_code == 3
    assert set(str(caught.value).partition("Images of that step: ")[2].split(", ")) == set(read[-4:])
    assert newest_step(run) == 3
    saved, now = checkpoint.load_newest(run / "checkpoints")[0], trainers[0].engine.state()[0]
    same = {name for name in saved if torch.equal(saved[name], now[name])}
    moved = {name for name in now if name.startswith(("method.", "adam.")) and "running" not in name} - same
    moved = {name.split(".")[1] for name in moved if not name.endswith("num_batches_tracked")}
    assert moved == {"D", "G"} - {player} - {"G"}, "it moved down what is not finite"
    monkeypatch.undo()
    assert diptych("resume", run).exit_code == 0
    assert end(run) == end(undisturbed)


def test_a_training_that_went_wrong_is_a_code_of_its_own(child, tmp_path):
    """T5: as a process ends."""
    wild = child("train", "pix2pix", *TINY, "lr=1e30", "steps=9", "-o", tmp_path / "run")
    assert wild.ended() == 3
    assert re.match(r"error: stage 'train' step \d: ", wild.error), wild.error
    assert "\nImages of that step: " in wild.error


def forgetful(monkeypatch, room, times):
    """In step 3, when D has moved, G finds no memory for more than `room` samples; so many times."""
    plain, left = Pix2Pix.updates, [times]

    def updates(self, batch, clock):
        for players, terms in plain(self, batch, clock):
            if clock.step == 3 and players == "G" and len(batch["source"]) > room and left[0] > 0:
                left[0] -= 1
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.99 GiB.\nGPU 0 has ...")
            yield players, terms

    monkeypatch.setattr(Pix2Pix, "updates", updates)


@pytest.mark.parametrize(
    ("room", "times", "micro"), [(2, math.inf, 4), (7, math.inf, 2), (0, 1, 2), (0, math.inf, None)]
)
def test_short_of_memory_names_what_fits(room, times, micro, images, monkeypatch, tmp_path):
    """T7: once or always; no half of a step is saved, and the command that the error gives goes on."""
    run = tmp_path / "run"
    forgetful(monkeypatch, room, times)
    words = [
        *(word for word in IMAGES if word != "batch_size=2"),
        f"root={images}",
        *SHORT,
        "batch_size=8",
        "checkpoint_minutes=0",
    ]
    with pytest.raises(TrainingError, match="out of memory") as caught:
        diptych("train", "pix2pix", *words, "-o", run)
    said = str(caught.value)
    assert all(
        word in said
        for word in ("stage 'train' step 3", "batch_size=8", "grad_accum_steps=1", "Tried to allocate 9.99 GiB")
    )
    assert newest_step(run) == 3
    if micro is None:
        assert "No grad_accum_steps= fits: start a new run with a smaller crop_size=" in said
        return
    command = re.search(r"grad_accum_steps=(\d) fits: diptych (resume .*)", said)
    assert int(command[1]) == micro
    assert diptych(*command[2].split()).exit_code == 0
    assert newest_step(run) == 6


def test_a_process_short_of_memory_names_what_fits(child, tmp_path):
    """T7: where the system refuses it; the command that the error gives then has enough."""
    words = [*(word for word in TINY if word != "batch_size=2"), "batch_size=8", "steps=3", "-o", tmp_path / "run"]
    short = child("train", "pix2pix", *words, fault=short_of_memory)
    assert short.ended() == 3, short.error
    command = re.search(
        r"batch_size=8 grad_accum_steps=1 \(.*can't allocate memory.* grad_accum_steps=(\d) fits: diptych (resume .*)",
        short.error,
    )
    assert command, short.error
    assert newest_step(tmp_path / "run") == 0
    again = child(*command[2].split(), fault=short_of_memory)
    assert again.ended() == 0, again.error
    assert newest_step(tmp_path / "run") == 3
