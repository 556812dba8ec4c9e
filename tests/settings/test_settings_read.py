"""Every setting is read by what it is a setting of, or refused where it has no effect: none is accepted and ignored."""

from typing import Literal, get_args, get_origin

import numpy as np
import pytest
import torch
from pydantic import Field, ValidationError
from rich.console import Console
from volumes import phantom, write_nifti

from diptych.contract import Clock, DataKind
from diptych.data.config import DataConfig
from diptych.data.images.image_io import write
from diptych.data.open import open_data
from diptych.data.volumes.encode_volumes import resolve_volume_ranges
from diptych.methods import EVALUATORS, METHODS, find
from diptych.methods.pix2pix import Pix2Pix
from diptych.networks.factory import GeneratorName
from diptych.networks.latents import Prior
from diptych.networks.layers import Init, Norm
from diptych.networks.patchgan import ReceptiveField
from diptych.networks.unet import Dropout
from diptych.settings import recipe as recipes
from diptych.settings.recipe import Recipe
from diptych.settings.train_config import EvaluateConfig, TrainConfig
from diptych.testing import MethodUnderTest
from diptych.testing.harness import PIXELS, TinyFeatures
from diptych.workflows import train as launch

QUIET = Console(quiet=True)
SHAPES = (Norm, Init, Dropout, Prior, GeneratorName, ReceptiveField)  # choices that switch nothing else on or off


def recorded(config, read):
    """Return a copy of a config that adds the name of each setting to `read` when it is read as an attribute."""
    known = type(config).model_fields

    class Recorded(type(config)):
        def __getattribute__(self, name):
            if name in known:
                read.add(name)
            return super().__getattribute__(name)

    copy = Recorded.model_construct(set(config.model_fields_set), **dict(config))
    read.clear()
    return copy


def unread(cls, config):
    """Return the settings of a method that neither its networks nor a step of any of its stages reads."""
    read = set()
    method = cls(recorded(config, read))
    features = cls.feature_network_fields()
    method.perceptual.update({name: TinyFeatures() for name, key in features.items() if dict(config)[key] != "none"})
    batch = {name: torch.rand(4, channels, PIXELS, PIXELS) * 2 - 1 for name, channels in method.channels().items()}
    batch |= {name: torch.arange(4) % 2 for name in cls.label_fields()}
    for stage in method.stages():
        clocks = [Clock(stage.name, step, stage.steps) for step in range(stage.steps)]
        for clock in {stage.schedule_key(clock): clock for clock in clocks}.values():
            for players, _ in stage.updates(batch, clock):
                for name in [players] if isinstance(players, str) else players:
                    stage.players[name].schedule(clock)
    by_metadata = {*features.values(), *cls.channel_fields().values(), *cls.label_fields().values()}
    return type(config).model_fields.keys() - read - by_metadata - {cls.image_size_field()}  # the latter is not given


def switched(cls):
    """Yield changes to the tiny config: none, each preset, and each choice, switch and weight of 0 by itself."""
    yield {}
    yield from ({**cls.checks.independent, **preset} for preset in cls.presets.values())
    for key, field in cls.Config.model_fields.items():
        if get_origin(field.annotation) is Literal and field.annotation not in SHAPES:
            yield from ({key: choice} for choice in get_args(field.annotation))
        elif field.annotation is bool:
            yield from ({key: choice} for choice in (False, True))
        elif field.annotation is float:
            yield {key: 0.0}


def configs(cls):
    for over in switched(cls):
        sizes = {key: value for key, value in cls.checks.tiny.items() if key not in over and key != "steps"}
        try:
            yield over, MethodUnderTest(cls).config(**{**sizes, **over, "steps": 5})
        except ValidationError:
            continue


@pytest.mark.parametrize("name", [*METHODS, *EVALUATORS])
def test_a_method_reads_each_of_its_settings_or_says_that_it_has_no_effect(name):
    for over, config in configs(find(name)):
        assert unread(find(name), config) <= config.unused().keys(), f"{name} with {over}"
        assert config.unused().keys() <= type(config).model_fields.keys(), f"{name} with {over}"


class Deaf(Pix2Pix):
    class Config(Pix2Pix.Config):
        max_norm: float = Field(1.0, description="read by nothing")


def test_a_setting_of_a_method_that_nothing_reads_is_found():
    config = MethodUnderTest(Deaf).config()
    config.model_dump()
    assert unread(Deaf, config) - config.unused().keys() == {"max_norm"}


class MoreTrain(TrainConfig):
    max_grad_norm: float = 1.0


class MoreData(DataConfig):
    shear: float = 0.0


class MoreEvaluate(EvaluateConfig):
    crops: int = 1


def fill(folder, count=4):
    for number in range(count):
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / f"{number}.png", np.full((PIXELS, PIXELS, 3), 6 * number, np.uint8))


def test_data_training_and_evaluation_read_each_of_their_settings_but_one_that_nothing_reads(tmp_path, monkeypatch):
    more = {"data": MoreData, "train": MoreTrain, "evaluate": MoreEvaluate}
    monkeypatch.setattr(recipes, "SETTINGS", more)
    for folder in ("trainA", "trainB", "valA", "valB"):
        fill(tmp_path / "pairs" / folder)
    fill(tmp_path / "faces" / "images", 40)
    table = [f"{number}.png,{number % 2},{1 - number % 2}" for number in range(40)]
    (tmp_path / "faces" / "attributes.csv").write_text("\n".join(["image,Young,Old", *table]))
    data, train, evaluate = set(), set(), set()
    recipe = Recipe(
        "pix2pix",
        MethodUnderTest(Pix2Pix).config(steps=2, in_channels=3, out_channels=3),
        recorded(MoreData(root=str(tmp_path / "pairs"), crop_size=PIXELS), data),
        recorded(MoreTrain(device="cpu", workers=0, precision="fp32", log_every=1), train),
        recorded(MoreEvaluate(eval_every=1, eval_images=4), evaluate),
    )
    launch.train(recipe, tmp_path / "run", QUIET)
    faces = set()
    table = MoreData(root=str(tmp_path / "faces"), exclusive=(("Young", "Old"),), crop_size=PIXELS)
    open_data(recorded(table, faces), DataKind.LABELLED)
    digits, x, y = set(), np.zeros((40, 28, 28), np.uint8), np.arange(40, dtype=np.uint8) % 10
    np.savez(tmp_path / "digits.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    open_data(recorded(MoreData(root=str(tmp_path / "digits.npz"), crop_size=PIXELS), digits), DataKind.LABELLED)
    both = {"root": str(tmp_path / "digits.npz"), "target_root": str(tmp_path / "digits.npz")}
    open_data(recorded(MoreData(**both, crop_size=PIXELS), digits), DataKind.TRANSFER)
    scans = set()
    for folder in ("x", "y"):
        write_nifti(tmp_path / "scans" / folder / "p.nii", phantom())
    volumes = recorded(MoreData(root=str(tmp_path / "scans"), window=(0, 100)), scans)
    resolve_volume_ranges(volumes, open_data(volumes, DataKind.PAIRED))
    tasks = set()
    fill(tmp_path / "photographs")
    photographs = {"root": str(tmp_path / "photographs"), "task": "jpeg", "task_options": {"quality": (5, 9)}}
    open_data(recorded(MoreData(**photographs), tasks), DataKind.PAIRED)
    assert MoreTrain.model_fields.keys() - train == {"max_grad_norm"}
    assert MoreData.model_fields.keys() - data - faces - digits - scans - tasks == {"shear"}
    assert MoreEvaluate.model_fields.keys() - evaluate == {"crops"}
