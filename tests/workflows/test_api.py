"""The Python API: train, resume, runs, evaluation and comparison, on the embedded letters and on datasets."""

import json
import os
import signal
import subprocess
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import diptych as command
from commands import numbers
from PIL import Image
from torchvision.transforms import v2

import diptych
from diptych.errors import ConfigError, DataError, EvaluationError, RunError
from diptych.methods.pix2pix import Pix2Pix
from diptych.runs import checkpoint
from diptych.workflows.keyword_settings import as_overrides

SMALL = {
    "crop_size": 32,
    "generator": "unet_32",
    "ngf": 4,
    "ndf": 4,
    "receptive_field": 16,
    "workers": 0,
    "batch_size": 2,
    "device": "cpu",
    "log_every": 2,
    "preview_every": 3,
}


class Pairs(torch.utils.data.Dataset):
    def __init__(self, length=40, shift=0):
        self.length, self.shift = length, shift

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        image = np.random.RandomState(index + self.shift).randint(0, 256, (36, 36, 1), dtype=np.uint8)
        return image, 255 - image


class Interrupt(diptych.Callback):
    def __init__(self, step):
        self.step = step

    def on_step(self, context):
        if context.step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api") / "letters"
    return diptych.train("pix2pix", data="glyphs", out=folder, steps=6, lambda_l1=50, quiet=True, **SMALL)


def weights(run):
    return checkpoint.find_newest(run.folder / "checkpoints")[1][0]


def same(one, other):
    ours, theirs = weights(one), weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_importing_diptych_imports_no_torch():
    code = "import sys, diptych; assert 'torch' not in sys.modules; diptych.train; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert set(diptych.__all__) <= set(dir(diptych))
    assert all(vars(diptych).get(name) or getattr(diptych, name) for name in diptych.__all__)


def test_training_is_that_of_the_command_line(letters, tmp_path):
    words = [f"{key}={value}" for key, value in {**SMALL, "steps": 6, "lambda_l1": 50}.items()]
    assert command("train", "pix2pix", *words, "--data", "glyphs", "-o", tmp_path / "run").exit_code == 0
    assert numbers(letters.folder) == numbers(tmp_path / "run")
    assert letters.settings["model"]["lambda_l1"] == 50


def test_a_run_tells_what_it_holds(letters, monkeypatch):
    monkeypatch.setattr("diptych.workflows.trained_run.find_spec", lambda name: None)  # as without pandas
    run = diptych.Run.open(letters.folder)
    assert repr(run) == f"Run({str(letters.folder)!r})"
    assert (run.last.stage, run.last.step, run.last.total_steps, run.last.error) == ("train", 6, 6, None)
    errors = [event["error"]["source->target"] for event in run.events if event["event"] == "preview"]
    assert run.best.error == pytest.approx(min(errors))
    assert [event["step"] for event in run.events if event["event"] == "step"] == [2, 4, 6]
    assert run.preview.mode == "RGB"
    assert run.previews[-1].name == "0-00000006.png"
    assert "data:image/png;base64," in run._repr_html_()
    assert not run.interrupted
    translated = run.translator("best", device="cpu")(Image.new("L", (32, 32)))
    assert translated.size == (32, 32)


def test_events_are_a_data_frame_where_pandas_is(letters, monkeypatch):
    fake = types.ModuleType("pandas")
    fake.__spec__ = ModuleSpec("pandas", None)
    fake.DataFrame = lambda rows: ("frame", rows)
    monkeypatch.setitem(sys.modules, "pandas", fake)
    kind, rows = letters.events
    assert kind == "frame"
    assert rows[0].keys() >= {"event", "step", "terms/G/l1", "lr/G", "peak_gib"}
    assert any("error/source->target" in row for row in rows)


def test_what_is_no_run(tmp_path):
    with pytest.raises(RunError, match="is not a run folder"):
        diptych.Run.open(tmp_path)


def test_evaluate_and_compare(letters, tmp_path):
    result = letters.evaluate(extractor="none", count=8)
    assert 0 < result.score("psnr").value < 100
    assert (letters.folder / "results" / "paired-default.json").is_file()
    again = diptych.evaluate(letters.folder, extractor="none", out=tmp_path / "all.json")
    assert json.loads((tmp_path / "all.json").read_text())["protocol"] == again.protocol
    compared = diptych.compare([letters], out=tmp_path / "compared")
    assert compared.page == tmp_path / "compared" / "index.html"
    assert compared.results["letters"].scores == result.scores
    assert "psnr" in compared._repr_html_()


def test_evaluate_two_folders(tmp_path):
    for folder in ("real", "fake"):
        (tmp_path / folder).mkdir()
        for number in range(3):
            Image.fromarray(Pairs()[number][folder == "fake"][..., 0]).save(tmp_path / folder / f"{number}.png")
    result = diptych.evaluate(real=tmp_path / "real", fake=tmp_path / "fake", extractor="none")
    assert result.score("l1").count == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fake", "real"], "nothing is written"
    with pytest.raises(EvaluationError, match="both real= and fake="):
        diptych.evaluate(real=tmp_path / "real")


def test_a_dataset_trains_resumes_and_is_evaluated(tmp_path):
    whole = diptych.train("pix2pix", data=Pairs(), out=tmp_path / "whole", steps=6, quiet=True, **SMALL)
    assert whole.settings["data"]["root"] == f"dataset:{__name__}.Pairs[40]"
    halves = diptych.train(
        "pix2pix", data=Pairs(), out=tmp_path / "halves", steps=6, quiet=True, callbacks=[Interrupt(3)], **SMALL
    )
    assert halves.interrupted
    assert halves.last.step == 3
    assert not same(whole, halves)
    opened = diptych.resume(tmp_path / "halves", data=Pairs(), quiet=True)
    assert not opened.interrupted
    assert same(whole, opened), "exact, as the dataset gives the same samples"
    assert numbers(whole.folder) == numbers(opened.folder)
    result = opened.evaluate(extractor="none")
    assert result.about["split"] == "held out"
    assert diptych.Run.open(opened.folder).evaluate(data=Pairs(), extractor="none").scores == result.scores
    assert command("translate", whole.folder, _file(tmp_path), "-o", tmp_path / "out").exit_code == 0


def _file(folder):
    path = folder / "image.png"
    Image.fromarray(Pairs()[0][0][..., 0]).save(path)
    return path


def test_a_resume_needs_the_same_dataset(tmp_path):
    run = diptych.train("pix2pix", data=Pairs(), out=tmp_path / "run", steps=2, quiet=True, **SMALL)
    with pytest.raises(DataError, match=r"trained on a dataset given from Python.*diptych.resume\(run, data=dataset\)"):
        command("resume", run.folder)
    with pytest.raises(DataError, match="given from Python"):
        diptych.resume(run.folder, quiet=True)
    for other in (Pairs(41), Pairs(shift=1)):
        with pytest.raises(ConfigError, match="images: '40 in train; SHA-256 of some"):
            diptych.resume(run.folder, data=other, quiet=True)
    longer = diptych.resume(run, steps=4, allow=["steps"], quiet=True)
    assert longer.last.step == 4, "a run in memory remembers its dataset"
    moved = diptych.resume(run.folder, data=Pairs(41), steps=5, allow=["images", "steps"], quiet=True)
    assert moved.settings["data"]["root"].endswith("[41]")


def test_own_augmentation_is_part_of_the_run(tmp_path):
    flip = v2.RandomVerticalFlip(1.0)
    plain = diptych.train("pix2pix", data=Pairs(), out=tmp_path / "plain", steps=2, quiet=True, **SMALL)
    run = diptych.train("pix2pix", data=Pairs(), out=tmp_path / "run", augment=flip, steps=2, quiet=True, **SMALL)
    assert not same(plain, run)
    with pytest.raises(ConfigError, match=r"augment: 'RandomVerticalFlip\(p=1.0\)' -> None"):
        diptych.resume(run.folder, data=Pairs(), steps=4, allow=["steps"], quiet=True)
    resumed = diptych.resume(run.folder, data=Pairs(), augment=flip, steps=4, allow=["steps"], quiet=True)
    assert resumed.last.step == 4
    assert diptych.resume(run, steps=5, allow=["steps"], quiet=True).last.step == 5


def test_unpaired_datasets(tmp_path):
    small = {key: value for key, value in SMALL.items() if key != "generator"}
    a, b = (
        [each[side] for each in map(Pairs(length).__getitem__, range(length))] for side, length in ((0, 30), (1, 24))
    )
    run = diptych.train(
        "cyclegan", data=(a, b), out=tmp_path / "run", steps=1, generator="resnet_1", quiet=True, **small
    )
    assert run.settings["data"]["root"] == "dataset:builtins.list[30],builtins.list[24]"


class WithTotalVariation(Pix2Pix):
    """An own loss term."""

    def updates(self, batch, clock):
        for players, terms in super().updates(batch, clock):
            if players == "G":
                fake = self.G(batch["source"])
                terms = {**terms, "tv": 0.1 * fake.diff(dim=-1).abs().mean()}
            yield players, terms


def test_a_method_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setattr("diptych.workflows.trained_run.find_spec", lambda name: None)  # as without pandas
    run = diptych.train(WithTotalVariation, data="glyphs", out=tmp_path / "run", steps=2, quiet=True, **SMALL)
    assert "G/tv" in run.events[0]["terms"]
    assert run.settings["method"] == f"{__name__}:WithTotalVariation"
    assert run.translator(device="cpu").name == run.settings["method"]
    with pytest.raises(ConfigError, match="not part of Diptych"):
        diptych.load(run.folder)
    longer = diptych.resume(run.folder, method=WithTotalVariation, steps=3, allow=["steps"], quiet=True)
    assert longer.last.step == 3
    assert run.evaluate(extractor="none", count=4).scores
    built_in = diptych.train(Pix2Pix, data="glyphs", out=tmp_path / "built-in", steps=1, quiet=True, **SMALL)
    assert built_in.settings["method"] == "pix2pix"


def test_an_interrupt_saves_and_returns(letters, tmp_path):
    handler = signal.getsignal(signal.SIGINT)
    run = diptych.train(
        "pix2pix",
        data="glyphs",
        out=tmp_path / "run",
        steps=6,
        lambda_l1=50,
        quiet=True,
        callbacks=[Interrupt(4)],
        **SMALL,
    )
    assert run.interrupted
    assert run.last.step == 4
    assert signal.getsignal(signal.SIGINT) == handler
    resumed = diptych.resume(run, quiet=True)
    assert same(resumed, letters)


def test_settings_become_overrides():
    values = {"lr": 1e-5, "crop_size": np.int64(32), "root": Path("a b"), "random_scale": (0.5, 2), "flip": False}
    assert as_overrides(values) == [
        "lr=1e-05",
        "crop_size=32",
        "root=a b",
        "random_scale=[0.5, 2]",
        "flip=false",
    ]
    with pytest.raises(ConfigError, match=r"lr=.*expected a number, text, list or path"):
        as_overrides({"lr": object()})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epocs": 3}, "no setting is called 'epocs'; did you mean 'epochs'"),
        (
            {"callbacks": [diptych.Callback]},
            r"expected instances of diptych.Callback, got Callback: write Callback\(\)",
        ),
        ({"callbacks": diptych.Callback}, r"write Callback\(\)"),
        ({"callbacks": 3}, "expected instances of diptych.Callback, got int"),
        ({"augment": "flip"}, "augment='flip': expected a transform"),
        ({"augment": v2.RandomVerticalFlip}, r"a class: give an instance, RandomVerticalFlip\(...\)"),
        ({"columns": ["a", "b"]}, "columns= and class_names= describe the samples of a Python dataset"),
        ({"lambda_l1": "much"}, "lambda_l1"),
    ],
)
def test_what_is_wrong_is_said_before_a_folder_is_made(given, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        diptych.train("pix2pix", data="glyphs", out=tmp_path / "run", quiet=True, **{**SMALL, **given})
    assert not (tmp_path / "run").exists()


def test_default_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = diptych.train("pix2pix", data=Pairs(), steps=1, quiet=True, **SMALL)
    assert run.folder == Path("runs/pix2pix-Pairs-40")


class Display:
    """Stands for IPython: remembers what is displayed."""

    def __init__(self, kind):
        self.shown = []
        self.ipython, self.display_module = types.ModuleType("IPython"), types.ModuleType("IPython.display")
        self.ipython.get_ipython = type(kind, (), {})
        self.display_module.display = self.display
        self.ipython.display = self.display_module

    def display(self, image, display_id):
        self.shown.append(image)
        return self

    def update(self, image):
        self.shown.append(image)


@pytest.mark.parametrize(("kind", "count"), [("ZMQInteractiveShell", 2), ("TerminalInteractiveShell", 0)])
def test_a_notebook_displays_previews(kind, count, tmp_path, monkeypatch):
    display = Display(kind)
    monkeypatch.setitem(sys.modules, "IPython", display.ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display.display_module)
    diptych.train("pix2pix", data="glyphs", out=tmp_path / "run", steps=6, quiet=True, **SMALL)
    assert len(display.shown) == count
    assert all(isinstance(image, Image.Image) for image in display.shown)


class Misspelt(diptych.Callback):
    def on_previews(self, context):
        raise AssertionError


class TermOfImages(Pix2Pix):
    """An own loss term that is not a scalar."""

    def generator_terms(self, x, y, fake):
        return {**super().generator_terms(x, y, fake), "tv": fake.diff(dim=-1).abs()}


class Labelled(Pairs):
    def __getitem__(self, index):
        return super().__getitem__(index)[0], index % 2


@pytest.mark.parametrize(
    ("method", "data", "given", "message"),
    [
        ("pix2pix", Pairs(), {"callbacks": Misspelt()}, "Misspelt.on_previews is no hook; did you mean 'on_preview'"),
        (
            "pix2pix",
            Pairs(),
            {"columns": ["a", "b"]},
            r"'a' names a field, but samples .*give numbers, as columns=\[0, 1\]",
        ),
        ("pix2pix", Pairs(), {"columns": "ab"}, r"columns=\['ab'\]: expected 2 names"),
        ("pix2pix", Pairs(), {"class_names": ["a", "b"]}, "class_names= has no effect on paired data"),
        (TermOfImages, Pairs(), {}, r"loss term G/tv: expected a scalar, got a tensor of shape \(2, 3, 32, 31\)"),
    ],
)
def test_what_does_not_fit_the_data_is_said_before_a_folder_is_made(method, data, given, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        diptych.train(method, data=data, out=tmp_path / "run", steps=1, quiet=True, **SMALL, **given)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("names", [["a", "a"], ["a", ""]])
def test_names_of_classes_must_be_valid(names, tmp_path):
    with pytest.raises(DataError, match=r"Labelled: labels .*(same name|has no name)"):
        diptych.train("stargan", data=Labelled(), class_names=names, out=tmp_path / "run", quiet=True, crop_size=32)


def test_one_callback_one_allowed_change_and_the_name_of_a_method(tmp_path):
    seen = []

    class Watch(diptych.Callback):
        def on_step(self, context):
            seen.append(context.step)

    run = diptych.train(
        WithTotalVariation, data=Pairs(), out=tmp_path / "run", steps=1, quiet=True, callbacks=Watch(), **SMALL
    )
    name = f"{__name__}:WithTotalVariation"
    run = diptych.resume(run.folder, data=Pairs(), method=name, steps=2, allow="steps", callbacks=Watch(), quiet=True)
    assert seen == [1, 2]
    assert run.settings["method"] == name
    assert diptych.Run.open(run.folder, method=name).translator(device="cpu").name == name


def test_an_evaluation_needs_the_same_dataset(tmp_path):
    path = diptych.train("pix2pix", data=Pairs(), out=tmp_path / "run", steps=1, quiet=True, **SMALL).folder
    run, options = diptych.Run.open(path), {"extractor": "none", "out": tmp_path / "result.json"}
    with pytest.raises(ConfigError, match=r'not the dataset that the run was trained on.*allow=\["images"\]'):
        run.evaluate(data=Pairs(shift=1), **options)
    with pytest.raises(ConfigError, match='allows only "images"; did you mean'):
        run.evaluate(data=Pairs(shift=1), allow="image", **options)
    with pytest.raises(ConfigError, match="describe the samples of a Python dataset"):
        run.evaluate(columns=[0, 1], **options)
    other = run.evaluate(data=Pairs(shift=1), allow="images", **options)
    with pytest.raises(DataError, match="given from Python"):
        run.evaluate(**options)
    result = run.evaluate(data=Pairs(), columns=[0, 1], **options)
    assert result.images != other.images
    assert run.evaluate(**options).scores == result.scores, "the run remembers its dataset"
    assert diptych.evaluate(path, data=Pairs(), **options).scores == result.scores
    assert diptych.evaluate(run, data=Pairs(), **options).scores == result.scores
    with pytest.raises(ConfigError, match="a model folder is evaluated on a folder of images"):
        diptych.evaluate(path / "model", data=Pairs(), **options)
    lines = str(result).splitlines()
    assert lines[0] == "run: paired-default/" + result.protocol.partition("/")[2]
    assert len(lines) == 1 + len(result.scores)
    assert "draws" not in repr(result)
