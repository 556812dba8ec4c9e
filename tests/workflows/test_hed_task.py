"""A model trained on edges by HED: its run knows the file of the weights, and every use computes the same sources."""

import pytest
import torch
from hed_files import hed_file, port_state
from judged import fill, photograph, trained
from typer.testing import CliRunner

import diptych
from diptych.cli import app
from diptych.data.image_tensors import held_out_batch
from diptych.data.images import image_io
from diptych.data.images.transforms import Augment
from diptych.data.tasks.hed_detector import load_hed
from diptych.errors import DataError
from diptych.importers import import_model
from diptych.importers.sandbox import read_in_process
from diptych.settings.recipe import from_settings
from diptych.workflows.train import resume


def test_a_run_is_trained_resumed_and_used_with_the_same_weights(tmp_path, monkeypatch):
    load_hed.cache_clear()
    fill(tmp_path / "photos" / "train", 4, make=photograph)
    fill(tmp_path / "photos" / "val", 2, start=4, make=photograph)
    weights = hed_file(tmp_path)
    monkeypatch.chdir(tmp_path)
    options = "task_options={kind: hed, weights: hed.safetensors, border: 8}"
    run = trained(tmp_path / "run", "pix2pix", f"root={tmp_path / 'photos'}", "task=edges", options, "steps=2")
    monkeypatch.chdir("/")

    saved = run.settings()["data"]["task_options"]
    assert saved["weights"] == str(weights)
    assert saved["sha256"] == diptych.load(run.model).images.task.options["sha256"]

    recipe = from_settings(run.settings(), saved=True)
    batch = held_out_batch(recipe.open_data().held_out, {"source": 1, "target": 3}, Augment(32, 32), 2)
    translator = diptych.load(run.folder)
    for number, source in enumerate(batch["source"]):
        pixels = image_io.read(tmp_path / "photos" / "val" / f"{number:03}.png")
        assert torch.equal(torch.from_numpy(translator.network_input(pixels, "photograph")), source)
        assert 0 < (source < 0).float().mean() < 0.5

    resume(run.folder, ["steps=3"], allow=["steps"])

    hed_file(tmp_path, seed=1)
    load_hed.cache_clear()
    photo = str(tmp_path / "photos" / "val" / "000.png")
    command = ["translate", str(run.folder), photo, "-o", str(tmp_path / "out")]
    assert "not the weights that the training used" in str(CliRunner().invoke(app, command).exception)
    assert CliRunner().invoke(app, [*command, "--already-source"]).exit_code == 0
    with pytest.raises(DataError, match="not the weights that the training used"):
        resume(run.folder, ["steps=4"], allow=["steps"])


def test_published_weights_are_converted(tmp_path, monkeypatch):
    monkeypatch.setattr(import_model, "read", read_in_process)
    torch.save(port_state(prefix="module", dtype=torch.float32), tmp_path / "network-bsds500.pytorch")
    arguments = ["import", str(tmp_path / "network-bsds500.pytorch"), "-o"]
    out = tmp_path / "hed.safetensors"
    result = CliRunner().invoke(app, [*arguments, str(out)])
    assert result.exit_code == 0, result.output
    state = load_hed(str(out), None).state_dict()
    assert torch.equal(state["blocks.0.0.weight"], port_state(dtype=torch.float32)["netVggOne.0.weight"])

    for folder, message in ((out, "already exists"), (tmp_path / "model", "HED, an edge detector, and no generator")):
        assert message in str(CliRunner().invoke(app, [*arguments, str(folder)]).exception)
    torch.save({"conv.weight": torch.zeros(2)}, tmp_path / "other.pth")
    result = CliRunner().invoke(app, ["import", str(tmp_path / "other.pth"), "-o", str(tmp_path / "x.safetensors")])
    assert "not the weights of HED" in str(result.exception)
