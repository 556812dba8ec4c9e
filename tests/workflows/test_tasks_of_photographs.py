"""A model of a task from photographs to translations: trained, resumed, evaluated, exported, served alike."""

import json

import numpy as np
import pytest
import torch
from judged import fill, photograph, trained
from typer.testing import CliRunner

import diptych
from diptych.cli import app
from diptych.data.image_tensors import held_out_batch
from diptych.data.images import image_io
from diptych.data.images.lab import lab_of
from diptych.data.images.transforms import Augment
from diptych.data.open import open_data
from diptych.errors import ConfigError
from diptych.settings.recipe import from_settings

TASKS = {
    "colorize": (),
    "edges": (),
    "inpaint": ("task_options={mask: freeform, mask_channel: true}",),
}
PROTOCOLS = {"colorize": "colorization", "edges": "paired-default", "inpaint": "inpainting"}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    fill(folder / "train", 4, make=photograph)
    fill(folder / "val", 3, start=4, make=photograph)
    return folder


@pytest.fixture(scope="module", params=TASKS)
def run(request, photographs, tmp_path_factory):
    task = request.param
    folder = tmp_path_factory.mktemp(task)
    return trained(folder / "run", "pix2pix", f"root={photographs}", f"task={task}", *TASKS[task], "steps=3")


def task_of_run(run):
    return run.settings()["data"]["task"]


def test_the_networks_see_at_inference_what_they_see_in_training(run, photographs):
    recipe = from_settings(run.settings(), saved=True)
    data = open_data(recipe.data, recipe.cls.data, tuple(recipe.cls.batch))
    translator = diptych.load(run.folder)
    batch = held_out_batch(data.held_out, translator.model.channels(), Augment(32, 32), 3)
    for number, source in enumerate(batch["source"]):
        pixels = image_io.read(photographs / "val" / f"{number:03}.png")
        if len(source) == 4:  # the mask of a held-out image is its own: it is given as transparency
            opaque = np.where(source[3:].numpy().transpose(1, 2, 0) > 0, 255, 0)
            pixels = np.concatenate([pixels, opaque.astype(np.uint8)], -1)
        assert torch.equal(torch.from_numpy(translator.network_input(pixels, "photograph")), source)


def test_translations_are_finished(run, photographs):
    translator, file = diptych.load(run.folder), photographs / "val" / "000.png"
    pixels, task = image_io.read(file), task_of_run(run)
    made = np.asarray(translator(file))
    assert made.shape == (32, 32, 3)
    if task == "colorize":
        assert np.abs(lab_of(made / 255.0)[..., 0] - lab_of(pixels / 255.0)[..., 0]).mean() < 12  # clipped to sRGB
    if task == "inpaint":
        holes = np.full((32, 32, 1), 255, np.uint8)
        holes[8:20, 4:28] = 0
        made = translator(np.concatenate([pixels, holes], -1))
        known = holes[..., 0] > 0
        assert np.array_equal(made[known], pixels[known])
        assert not np.array_equal(made[~known], pixels[~known])


def test_evaluation_has_the_protocol_of_the_task(run):
    result = diptych.evaluate(run.folder)
    task = task_of_run(run)
    assert result.protocol == f"{PROTOCOLS[task]}/1"
    scores = {score.name: score for score in result.scores}
    if task == "inpaint":
        assert scores["psnr-missing"].chance > 5
        assert scores["l1-missing"].value > scores["l1"].value > 0
    if task == "colorize":
        assert scores["chroma"].ceiling > 0
    samples = run.folder / "samples" / "default"
    rows = json.loads((samples / "samples.json").read_text())["rows"]
    photo = image_io.read(samples / rows[0]["truth"])
    assert photo.shape == (32, 32, 3)
    assert image_io.read(samples / rows[0]["source"]).shape[2] == (3 if task == "inpaint" else 1)


def test_an_exported_model_translates_alike(run, photographs, tmp_path):
    pytest.importorskip("onnxruntime")
    translator = diptych.load(run.folder)
    translator.export_onnx(tmp_path / "model.onnx")
    exported, file = diptych.load(tmp_path / "model.onnx"), photographs / "val" / "001.png"
    difference = np.asarray(translator(file), int) - np.asarray(exported(file), int)
    assert np.abs(difference).max() <= 1


def test_a_source_is_finished_as_well(run, tmp_path):
    """The L of a photograph is coloured; a source with missing pixels is not known as one."""
    task, translator = task_of_run(run), diptych.load(run.folder).with_options(already_source=True)
    if task == "inpaint":
        with pytest.raises(ConfigError, match="already_source: transparent pixels are the missing ones"):
            translator.array(np.zeros((32, 32, 3), np.uint8))
        return
    lightness = photograph(3)[..., :1]
    made = translator.array(lightness)
    assert made.shape == (32, 32, 3)
    if task == "colorize":
        assert np.abs(lab_of(made / 255.0)[..., 0] - lightness[..., 0] / 2.55).mean() < 12  # clipped to sRGB


@pytest.mark.parametrize("run", ["edges"], indirect=True)
def test_sources_are_translated_as_they_are_if_the_user_says_so(run, photographs, tmp_path):
    drawing = tmp_path / "drawing.png"
    pixels = np.full((32, 32, 1), 255, np.uint8)
    pixels[10:12] = 0
    image_io.write(drawing, pixels)
    outputs = []
    for option in ([], ["--already-source"]):
        out = tmp_path / f"out{len(option)}"
        result = CliRunner().invoke(app, ["translate", str(run.folder), str(drawing), "-o", str(out), *option])
        assert result.exit_code == 0, result.output
        outputs.append(image_io.read(out / "drawing.png"))
    expected = diptych.load(run.folder).with_options(already_source=True).array(pixels)
    assert np.array_equal(outputs[1], expected)
    assert not np.array_equal(outputs[0], outputs[1])
