"""Methods outside of Diptych: a file never decides which module is imported; `--method` allows one."""

import json
import os
import sys
from pathlib import Path

import pytest
import yaml
from commands import TINY, diptych

import diptych as package
from diptych.data.images import image_io
from diptych.data.sources import glyphs
from diptych.errors import ConfigError
from diptych.methods.pix2pix import Pix2Pix
from diptych.workflows import train as launch

OWN = "test_method_allowed:Own"
HOSTILE = "antigravity:Method"  # a module whose import would be seen: it opens a browser


class Own(Pix2Pix):
    """A method of a user's own package."""


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A run of a method outside of Diptych, named on the command line."""
    root = tmp_path_factory.mktemp("own")
    image_io.write(root / "letter.png", glyphs.render_letters("sans", 32)[40])
    done = diptych("train", OWN, *TINY, "steps=2", "preview_images=2", "-o", root / "run")
    assert done.exit_code == 0, done.output
    return root / "run"


def commands(run, out):
    """Each command that reads a run or model folder, without `--method`."""
    letter, model = run.parent / "letter.png", run / "model"
    return {
        "resume": ["resume", run],
        "translate": ["translate", run, letter, "-o", out],
        "translate a model": ["translate", model, letter, "-o", out],
        "samples": ["samples", run, "-o", out, "--count", 4],
        "evaluate": ["evaluate", run, "--extractor", "none", "--count", 4],
        "evaluate a model": ["evaluate", model, "--data", "glyphs", "--extractor", "none", "--count", 4],
    }


NAMES = list(commands(Path(), Path()))


@pytest.mark.parametrize("name", NAMES)
def test_a_method_outside_of_diptych_is_used_only_where_it_is_allowed(name, own, tmp_path):
    words = commands(own, tmp_path / "out")[name]
    with pytest.raises(ConfigError, match=f"'{OWN}' is not part of Diptych.*--method {OWN}"):
        diptych(*words)
    done = diptych(*words, "--method", OWN)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("name", NAMES)
def test_no_command_imports_what_a_file_names(name, own, tmp_path):
    words = commands(own, tmp_path / "out")[name]
    config, model = own / "config.yaml", own / "model" / "config.json"
    before = config.read_text(), model.read_text()
    config.write_text(yaml.safe_dump({**yaml.safe_load(before[0]), "method": HOSTILE}))
    model.write_text(json.dumps({**json.loads(before[1]), "method": HOSTILE}))
    try:
        with pytest.raises(ConfigError, match=f"'{HOSTILE}' is not part of Diptych"):
            diptych(*words)
    finally:
        config.write_text(before[0])
        model.write_text(before[1])
    assert "antigravity" not in sys.modules


def settings():
    """TINY as the sections of a recipe."""
    values = {key: yaml.safe_load(text) for key, text in (word.split("=") for word in TINY)}
    data = {key: values.pop(key) for key in ("root", "crop_size")}
    train = {key: values.pop(key) for key in ("batch_size", "workers", "device")} | {"preview_images": 2}
    return {"method": OWN, "model": {**values, "steps": 1}, "data": data, "train": train}


def test_a_recipe_file_names_one_only_where_it_is_allowed(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(settings()))
    with pytest.raises(ConfigError, match="is not part of Diptych"):
        diptych("train", path, "-o", tmp_path / "run")
    assert diptych("train", path, "-o", tmp_path / "run", "--method", OWN).exit_code == 0


def test_an_experiment_passes_it_on_to_its_runs(tmp_path, monkeypatch):
    path, out = tmp_path / "experiment.yaml", tmp_path / "out"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # its runs are processes of their own
    judging = {"protocol": "paired-default", "evaluate": {"extractor": "none", "count": 4}}
    path.write_text(yaml.safe_dump({"title": "Own", "recipe": settings(), "runs": {"one": {"seed": 1}}, **judging}))
    with pytest.raises(ConfigError, match="is not part of Diptych"):
        diptych("experiment", path, "-o", out)
    done = diptych("experiment", path, "-o", out, "--method", OWN)
    assert done.exit_code == 0, done.output
    assert (out / "one" / "results" / "paired-default.json").is_file()


def test_another_class_than_the_run_was_made_with_is_refused(tmp_path):
    trained = diptych("train", "pix2pix", *TINY, "steps=1", "preview_images=2", "-o", tmp_path / "run")
    assert trained.exit_code == 0
    with pytest.raises(ConfigError, match="made by pix2pix, not by Own: leave --method out"):
        launch.resume(tmp_path / "run", method=Own)
    with pytest.raises(ConfigError, match="made by pix2pix, not by Own"):
        package.load(tmp_path / "run", method=Own)
