"""Pairs of a task in batches: aligned, equal with any number of workers, new in each step, fixed when held out."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from judged import fill, photograph

from diptych.contract import DataKind
from diptych.data.batches import Batches
from diptych.data.config import DataConfig
from diptych.data.image_format import describe_images
from diptych.data.image_tensors import held_out_batch
from diptych.data.images.transforms import augment_of
from diptych.data.open import open_data
from diptych.errors import DataError

CHANNELS = {"source": 3, "target": 3}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    fill(folder / "train", 5, make=photograph, side=40)
    fill(folder / "val", 3, start=5, make=photograph, side=40)
    return folder


def opened(folder, **settings):
    config = DataConfig(root=str(folder), crop_size=32, **settings)
    return open_data(config, DataKind.PAIRED, ("source", "target")), config


def batches_of(folder, channels=CHANNELS, **settings):
    data, config = opened(folder, **settings)
    return Batches(data.train, channels, augment_of(config), 4, seed=3)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    step=st.integers(0, 50),
    resize_mode=st.sampled_from(["squash", "short_side", "center_square", "none"]),
    rotate90=st.booleans(),
    mask=st.sampled_from(["center", "blocks", "freeform"]),
)
def test_known_pixels_of_a_source_are_those_of_its_target(photographs, step, resize_mode, rotate90, mask):
    options = {"task_options": {"mask": mask}, "resize_mode": resize_mode, "rotate90": rotate90}
    batch = batches_of(photographs, task="inpaint", **options)[step]
    known = (batch["source"] != 0).any(1, keepdim=True).expand_as(batch["source"])
    assert 0.1 < known.float().mean() < 1
    assert torch.equal(batch["source"][known], batch["target"][known])


@pytest.mark.parametrize("task", ["denoise", "inpaint"])
def test_batches_are_the_same_with_workers_and_differ_between_steps(photographs, task):
    options = {"task_options": {"mask": "freeform"}} if task == "inpaint" else {}
    batches = batches_of(photographs, task=task, **options)
    alone, loaded = (list(batches.stream(0, 4, workers)) for workers in (0, 2))
    for one, two in zip(alone, loaded, strict=True):
        assert torch.equal(one["source"], two["source"])
        assert torch.equal(one["target"], two["target"])
    errors = [batch["source"] - batch["target"] for batch in alone]
    assert len({float(error.square().mean()) for error in errors}) == 4


def test_held_out_pairs_are_always_the_same(photographs, tmp_path):
    first, config = opened(photographs, task="denoise")
    (tmp_path / "elsewhere").mkdir()
    for part in ("train", "val"):
        (tmp_path / "elsewhere" / part).symlink_to(photographs / part)
    second, _ = opened(tmp_path / "elsewhere", task="denoise")
    one, two = (held_out_batch(data.held_out, CHANNELS, augment_of(config), 3) for data in (first, second))
    assert torch.equal(one["source"], two["source"])
    assert not torch.equal(one["source"], one["target"])


def test_lab_has_one_channel_and_two(photographs):
    data, config = opened(photographs, task="colorize")
    assert [data.train.columns[name].channels() for name in CHANNELS] == [1, 2]
    batch = Batches(data.train, {"source": 1, "target": 2}, augment_of(config), 2)[0]
    assert batch["source"].shape == (2, 1, 32, 32)
    assert batch["target"].shape == (2, 2, 32, 32)


def test_the_target_half_of_side_by_side_files_is_the_photograph(tmp_path):
    def side_by_side(seed):
        return np.concatenate([np.zeros((40, 40, 3), np.uint8), photograph(seed, side=40)], 1)

    fill(tmp_path / "train", 3, make=side_by_side)
    data, _ = opened(tmp_path, task="jpeg", layout="side_by_side")
    assert data.train.columns["source"][0].any()
    data, _ = opened(tmp_path, task="jpeg", layout="side_by_side", direction="b2a")
    assert not data.train.columns["source"][0].any()


def test_the_task_is_saved_with_the_format_of_the_images(photographs):
    data, config = opened(photographs, task="inpaint", task_options={"mask": "blocks"})
    saved = describe_images(data, config)
    assert saved.task.task.mask == "blocks"
    assert type(saved).model_validate_json(saved.model_dump_json()) == saved
    assert saved.value_settings()["task"] == "inpaint"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "inpaint", "direction": "b2a"}, "task=inpaint computes the sources: leave direction= out"),
        ({"task": "inpaint", "pair_names": "affix"}, "task=inpaint computes the sources: leave pair_names= out"),
        ({"task": "colorize", "grey": True}, "task=colorize needs colour photographs, and these are grey"),
    ],
)
def test_settings_without_sense_are_refused(photographs, tmp_path, settings, message):
    folder = photographs
    if settings.pop("grey", False):
        folder = tmp_path
        fill(folder, 2, make=lambda seed: photograph(seed, side=40)[..., :1])
    with pytest.raises(DataError, match=message):
        opened(folder, **settings)


def test_other_kinds_of_data_have_no_tasks(photographs):
    with pytest.raises(DataError, match="task=jpeg: it computes pairs, and this method does not use pairs"):
        open_data(DataConfig(root=str(photographs), task="jpeg"), DataKind.IMAGES)
    with pytest.raises(ValueError, match="task_options has no effect without task"):
        DataConfig(root=str(photographs), task_options={"mask": "center"})
    with pytest.raises(ValueError, match="label_map=source: task=jpeg is for photographs; leave label_map= out"):
        DataConfig(root=str(photographs), task="jpeg", label_map="source")
