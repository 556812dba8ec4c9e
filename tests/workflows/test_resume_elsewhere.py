"""A run that is resumed later: from another folder, with images that moved, or for more steps."""

import re

import pytest
import yaml
from commands import TINY, diptych

from diptych.data.images import image_io
from diptych.data.sources import glyphs
from diptych.errors import DataError
from diptych.settings import recipe

SHORT = [word for word in TINY if word != "root=glyphs"] + ["preview_images=2"]


def pairs(folder):
    for side, face in (("trainA", "sans"), ("trainB", "serif")):
        for number in range(4):
            image_io.write(folder / side / f"{number}.png", glyphs.render_letters(face, 32)[number])
    return folder


def test_a_run_is_resumed_from_another_folder(tmp_path, monkeypatch):
    """Its settings keep the absolute folder, and the images may be given anew by --data where they moved."""
    data = pairs(tmp_path / "project" / "data")
    monkeypatch.chdir(tmp_path / "project")
    assert diptych("train", "pix2pix", "--data", "data", *SHORT, "steps=1", "-o", "run").exit_code == 0
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "project" / "run"
    assert yaml.safe_load((run / "config.yaml").read_text())["data"]["root"] == str(data)
    assert diptych("resume", "project/run", "steps=2", "--allow", "steps").exit_code == 0
    data.rename(tmp_path / "moved")
    with pytest.raises(
        DataError, match=rf"{re.escape(str(data))} is not a folder.*--data FOLDER \(root=FOLDER in settings"
    ):
        diptych("resume", "project/run")
    assert diptych("resume", "project/run", "--data", "moved").exit_code == 0
    assert yaml.safe_load((run / "config.yaml").read_text())["data"]["root"] == str(tmp_path / "moved")


def test_every_path_among_the_settings_is_kept_absolute(tmp_path, monkeypatch):
    """Also behind a name, as in `vgg19:FILE`; names of other things stay as they are."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "judge", "run"):
        (tmp_path / name).mkdir()
    (tmp_path / "weights.pt").touch()
    settings = [
        "root=a",
        "extra_roots=[b,missing]",
        "init_from=run",
        "eval_every=1",
        "evaluator=judge",
        "extractor=script:weights.pt",
    ]
    there = recipe.load_recipe("stargan", settings).with_absolute_paths()
    assert (there.data.root, there.data.extra_roots) == (str(tmp_path / "a"), (str(tmp_path / "b"), "missing"))
    assert there.train.init_from == str(tmp_path / "run")
    assert (there.evaluate.evaluator, there.evaluate.extractor) == (
        str(tmp_path / "judge"),
        f"script:{tmp_path / 'weights.pt'}",
    )
    assert recipe.load_recipe(
        "srgan", ["root=a", "feature_network=vgg19:weights.pt"]
    ).with_absolute_paths().model.feature_network == (f"vgg19:{tmp_path / 'weights.pt'}")
    (tmp_path / "glyphs").mkdir()
    assert recipe.load_recipe("pix2pix", ["root=glyphs"]).with_absolute_paths().data.root == "glyphs"


def test_a_longer_run_tells_that_its_learning_rate_jumps(tmp_path):
    """From what to what: a decay that follows the number of steps was nearly done, and begins anew."""
    settings = ["preset=repo", "steps=4", "lr=1e-3", "-o", tmp_path / "run"]
    assert diptych("train", "pix2pix", *TINY, "preview_images=2", *settings).exit_code == 0
    said = diptych("resume", tmp_path / "run", "steps=8", "--allow", "steps").output
    assert "the learning rate of G changes from 0.0005 to 0.001 at step 4" in said
    assert "the learning rate of D changes from 0.0005 to 0.001 at step 4" in said
    assert "learning rate" not in diptych("resume", tmp_path / "run").output
