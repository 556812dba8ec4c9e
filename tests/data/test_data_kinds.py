"""A method declares the kind of its data; how it names the entries of its batches decides nothing."""

from typing import Annotated

import numpy as np
import pytest
import torch

from diptych.contract import DataKind, Labels, Route, Setting
from diptych.data.config import DataConfig
from diptych.data.images import image_io
from diptych.data.open import open_data
from diptych.errors import ConfigError
from diptych.methods import METHODS, find
from diptych.methods.pix2pix import Pix2Pix
from diptych.methods.starganv2 import StarGANv2
from diptych.settings.recipe import from_settings
from diptych.testing import CHECKS, MethodUnderTest
from diptych.workflows import train

SIZES = {"crop_size": 32, "load_size": 32, "flip": False}


class Renamed(Pix2Pix):
    """pix2pix whose batch is called input and target; it keeps what it was given."""

    class Config(Pix2Pix.Config):
        in_channels: Annotated[int, Setting(channels_of=("input",))] = 3

    batch = ("input", "target")
    routes = (Route("input", "target"),)
    seen = []

    def updates(self, batch, clock):
        if not batch["input"].is_meta:
            self.seen.append((batch["input"].clone(), batch["target"].clone()))
        yield from super().updates({"source": batch["input"], "target": batch["target"]}, clock)


class Undeclared(Pix2Pix):
    data = None


class Misspelt(Pix2Pix):
    data = "pairs"


class Three(Pix2Pix):
    batch = (*Pix2Pix.batch, "mask")


class Unlabelled(StarGANv2):
    class Config(StarGANv2.Config):
        labels: Annotated[tuple[Labels, ...], Setting(labels_of=("label",))] = (Labels(names=("a", "b")),)


def spec(cls):
    return f"{cls.__module__}:{cls.__name__}"


def pairs(folder, count=6):
    """Pictures in two folders; the right one of a pair is 100 brighter than the left one."""
    for split in ("train", "val"):
        for number in range(count):
            for side, value in (("A", 10 * number), ("B", 10 * number + 100)):
                path = folder / f"{split}{side}"
                path.mkdir(parents=True, exist_ok=True)
                image_io.write(path / f"{number}.png", np.full((32, 32, 3), value, np.uint8))


def test_a_method_that_names_its_pairs_otherwise_trains_on_aligned_pairs(tmp_path):
    pairs(tmp_path / "pairs")
    model = {**Pix2Pix.checks.tiny, "steps": 6}
    settings = {
        "method": spec(Renamed),
        "model": model,
        "data": {"root": str(tmp_path / "pairs"), **SIZES},
        "train": {"workers": 0, "device": "cpu", "batch_size": 2},
    }
    Renamed.seen.clear()
    train.train(from_settings(settings, cls=Renamed), tmp_path / "run")
    assert len(Renamed.seen) == 6
    for x, y in Renamed.seen:
        assert torch.allclose(y - x, torch.full_like(x, 100 / 127.5), atol=1e-6)


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (Undeclared, ["Undeclared does not declare the kind of data", "DataKind.PAIRED", "DataKind.TRANSFER"]),
        (Misspelt, ["Misspelt does not declare the kind of data"]),
        (Three, ["entries of paired data are image, image,", "`batch` is ('source', 'target', 'mask')"]),
        (
            Unlabelled,
            ["entries of referenced data are image, label, image, image,", "the labels of label (Setting"],
        ),
    ],
)
def test_a_method_whose_entries_do_not_fit_its_kind_is_refused(cls, words):
    with pytest.raises(ConfigError) as caught:
        find(spec(cls))
    assert all(word in str(caught.value) for word in words)
    with pytest.raises(AssertionError, match=cls.__name__):
        CHECKS["batch_entries_match_data_kind"](MethodUnderTest(cls))


def test_every_method_declares_a_kind_that_its_entries_fit():
    for name in METHODS:
        find(name).check_batch()


@pytest.mark.parametrize("kind", DataKind)
def test_columns_bear_the_names_of_the_method_whatever_they_are(kind):
    names = [f"entry {number}" for number in range(len(kind.entries))]
    target = {"target_root": "glyphs:serif"} if kind == DataKind.TRANSFER else {}
    root = {DataKind.TRANSFER: "glyphs:sans", DataKind.LABELLED: "glyphs:sans/mono"}.get(kind, "glyphs:sans/serif")
    config = DataConfig(root=root, crop_size=16, **target)
    ours, usual = open_data(config, kind, names), open_data(config, kind)
    for split, other in ((ours.train, usual.train), (ours.held_out, usual.held_out), (ours.test, usual.test)):
        assert list(split.columns) == names
        assert [name for group in split.sample_groups for name in group] == names
        assert [len(group) for group in split.sample_groups] == [len(group) for group in other.sample_groups]
        assert all(np.array_equal(a, b) for a, b in zip(split.columns.values(), other.columns.values(), strict=True))
        assert len(split.same_class_columns) == len(other.same_class_columns)
        assert set(split.same_class_columns) <= set(names)
