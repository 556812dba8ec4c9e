"""What befalls a training: faults that tests inject, here or in a child, and whether a run was disturbed by them."""

import resource
import time
from pathlib import Path

import numpy as np
import torch
from commands import TINY, numbers

from diptych.data.images import image_io
from diptych.methods.pix2pix import Pix2Pix
from diptych.runs import checkpoint
from diptych.training.engine import Engine
from diptych.training.trainer import Trainer

IMAGES = [word for word in TINY if word != "root=glyphs"]  # TINY, for a folder of images
SHORT = ["steps=6", "log_every=2", "preview_every=3"]


def make_images(folder):
    """Six pairs, two of them held out."""
    dice = np.random.default_rng(0)
    for split, places in (("train", range(4)), ("val", range(4, 6))):
        for side in "AB":
            for number in places:
                pixels = dice.integers(0, 256, (32, 32, 1), np.uint8)
                image_io.write(folder / f"{split}{side}" / f"{number}.png", pixels)
    return folder


def end(folder):
    """All that a run comes to: the bytes of its newest checkpoint, and the numbers of its log."""
    tensors, meta = checkpoint.load_newest(folder / "checkpoints")
    content = {name: value.reshape(-1).view(torch.uint8).numpy().tobytes() for name, value in tensors.items()}
    return content, (meta["place"], meta["step"]), numbers(folder)


def newest_step(folder):
    return checkpoint.load_newest(folder / "checkpoints")[1]["step"]


def changed_terms(monkeypatch, cls, at, change):
    """From now on the terms that a method gives in step `at` are `change(players, terms)`."""
    plain = cls.updates

    def updates(self, batch, clock):
        for players, terms in plain(self, batch, clock):
            yield players, change(players, terms) if clock.step == at else terms

    monkeypatch.setattr(cls, "updates", updates)


def before_step(at, action):
    """From now on `action` is called before step `at` of each training in this process is taken."""
    plain = Engine.train_step

    def take(self, batch):
        if self.step == at:
            action()
        plain(self, batch)

    Engine.train_step = take


def unhurried():
    """A training of which a signal finds something left, however busy the machine is."""
    plain = Engine.train_step

    def take(self, batch):
        time.sleep(0.02)
        plain(self, batch)

    Engine.train_step = take


def endless_step():
    def sleep():
        print("asleep", flush=True)
        for _ in range(12_000):  # one sleep of 600 s would miss a signal that comes just before it goes on
            time.sleep(0.05)

    before_step(3, sleep)


def short_of_memory():
    """Each sample takes 256 MiB for a moment, and once training begins the process gets 1.5 GiB more than it has."""
    plain, train = Pix2Pix.generator_terms, Trainer.train

    def terms(self, x, y, fake):
        torch.empty(len(x) * 2**28, dtype=torch.uint8)
        return plain(self, x, y, fake)

    def limited(self):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + 3 * 2**29
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        train(self)

    Pix2Pix.generator_terms, Trainer.train = terms, limited
