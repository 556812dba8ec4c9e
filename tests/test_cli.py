"""The command line, as a person types it: in this process where that is enough, in real ones for signals and kills."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from diptych.cli import app
from diptych.data import image
from diptych.engine import checkpoint
from diptych.engine.log import read_events
from diptych.errors import CheckpointError, ConfigError, DataError, DiptychError, RunError, TrainingError
from diptych.methods import METHODS

TINY = [
    "root=glyphs",
    "crop=32",
    "generator=unet_32",
    "width=4",
    "d_width=4",
    "field=16",
    "workers=0",
    "batch=2",
    "device=cpu",
]


def diptych(*words, **options):
    """In this process; errors are raised as they are."""
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False, **options)


def process(*words):
    return subprocess.Popen(
        [sys.executable, "-m", "diptych.cli", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short finished run of pix2pix."""
    folder = tmp_path_factory.mktemp("runs") / "letters"
    assert diptych("train", "pix2pix", *TINY, "steps=6", "log_every=2", "preview_every=3", "-o", folder).exit_code == 0
    return folder


def test_help_brings_no_torch():
    heavy = ("torch", "numpy", "PIL", "pydantic")
    code = f"import sys; from diptych.cli import app; import diptych; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_methods_are_listed_without_torch():
    code = (
        "import sys; from diptych.cli import show; show.methods(); print([m for m in ('torch',) if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in (*METHODS, "facades", "glyphs"))
    assert done.stdout.rstrip().endswith("[]")


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_explained(name):
    out = diptych("methods", name, env={"COLUMNS": "160"}).stdout
    assert all(word in out for word in ("arXiv", "presets", "lr", "crop", "batch", "control"))


def test_a_run_leaves_what_it_promises(run):
    assert {p.name for p in run.iterdir()} == {
        "config.yaml",
        "environment.json",
        "events.jsonl",
        "checkpoints",
        "previews",
        "model",
        "tensorboard",
        "lock",
        "report.html",
    }
    assert {p.name for p in (run / "model").iterdir()} == {"model.safetensors", "config.json", "README.md"}
    assert sorted(p.name for p in (run / "previews").iterdir()) == ["0-00000003.png", "0-00000006.png"]
    events = list(read_events(run / "events.jsonl"))
    assert [(e["event"], e["step"]) for e in events] == [
        ("step", 2),
        ("preview", 3),
        ("step", 4),
        ("step", 6),
        ("preview", 6),
    ]
    assert set(events[0]["terms"]) == {"D/real", "D/fake", "D/gradient", "G/gan", "G/l1", "G/gradient"}
    assert list(events[1]["error"]) == ["source->target"]
    assert list((run / "tensorboard").iterdir())
    page = (run / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert "http" not in page.replace("https://", "http").split("<table>")[0].replace("data:image", "")


def test_the_best_checkpoint_is_kept(run):
    names = sorted(p.name for p in (run / "checkpoints").iterdir())
    best = checkpoint.newest(run / "checkpoints")[1]["best"]
    assert best["name"] in names
    errors = {
        e["step"]: e["error"]["source->target"] for e in read_events(run / "events.jsonl") if e["event"] == "preview"
    }
    assert best["error"] == min(errors.values())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_stopped_and_resumed_is_undisturbed(number, code, tmp_path):
    """Signals finish the step and save; a kill loses steps, not the run. Either way: the same weights and numbers."""
    settings = [
        *TINY,
        "steps=40",
        "log_every=7",
        "preview_every=20",
        "save_minutes=0.005",
        "workers=2",
        "batch=32",
        "width=24",
    ]
    assert diptych("train", "pix2pix", *settings, "-o", tmp_path / "whole").exit_code == 0
    cut = process("train", "pix2pix", *settings, "-o", tmp_path / "cut")
    wait_for(lambda: list((tmp_path / "cut" / "checkpoints").glob("0-*[1-9]*.safetensors")), cut)
    os.killpg(cut.pid, number)  # as a terminal's Ctrl-C does: workers hear it too
    out, err = cut.communicate(timeout=120)
    assert cut.returncode == code, err
    if number != signal.SIGKILL:
        assert "diptych resume" in out
    at = checkpoint.newest(tmp_path / "cut" / "checkpoints")[1]["step"]
    assert 0 < at < 40, "the run was over before the signal came"
    assert diptych("resume", tmp_path / "cut").exit_code == 0
    whole, cut = (checkpoint.newest(tmp_path / name / "checkpoints") for name in ("whole", "cut"))
    assert {k: v.numpy().tobytes() for k, v in cut[0].items()} == {k: v.numpy().tobytes() for k, v in whole[0].items()}
    assert numbers(tmp_path / "cut") == numbers(tmp_path / "whole")


def wait_for(ready, child, seconds=120):
    until = time.monotonic() + seconds
    while not ready():
        assert child.poll() is None, child.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.02)


def numbers(folder):
    return [
        (e["event"], e["step"], e.get("terms"), e.get("error"), e.get("lr"))
        for e in read_events(folder / "events.jsonl")
    ]


def test_two_ranks_train_one_run(tmp_path):
    """The same command under torchrun: one folder, one log, the numbers of one process."""
    settings = [
        *TINY,
        "steps=4",
        "log_every=2",
        "preview_every=2",
        "norm=instance",
        "d_norm=instance",
        "dropout=none",
        "batch=4",
    ]
    assert diptych("train", "pix2pix", *settings, "-o", tmp_path / "one").exit_code == 0
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "diptych.cli"]
    done = subprocess.run(
        [sys.executable, *words, "train", "pix2pix", *settings, "-o", str(tmp_path / "two")],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    one, two = numbers(tmp_path / "one"), numbers(tmp_path / "two")
    assert [line[:2] for line in one] == [line[:2] for line in two]
    for ours, theirs in zip(one, two, strict=True):
        for values, others in zip(ours[2:], theirs[2:], strict=True):
            assert (values or {}) == pytest.approx(others or {}, rel=2e-3)


def test_a_run_is_not_overwritten(run):
    with pytest.raises(RunError, match="diptych resume"):
        diptych("train", "pix2pix", *TINY, "-o", run)


def test_a_finished_run_may_be_resumed(run):
    before = (run / "events.jsonl").read_text()
    assert diptych("resume", run).exit_code == 0
    assert (run / "events.jsonl").read_text() == before


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["train", "pix2pixx"], ConfigError, "did you mean 'pix2pix'"),
        (["train", "pix2pix", "bacth=3"], ConfigError, "did you mean 'batch'"),
        (["train", "pix2pix", *TINY, "crop=48"], ConfigError, "not a multiple of 32"),
        (["train", "pix2pix", *TINY, "micro=4"], ConfigError, "not a multiple of micro=4"),
        (["train", "pix2pix", *TINY, "field=142"], ConfigError, "with crop=32 the networks do not fit"),
        (["train", "pix2pix", *TINY, "steps=5", "epochs=2"], ConfigError, "give one"),
        (["train", "pix2pix", *TINY, "device=cuda:77"], ConfigError, "none is number 77"),
        (["train", "pix2pix", "-d", "/no/such/folder"], DataError, "/no/such/folder is not a folder"),
        (["train", "pix2pix", "-d", "glyphs:sans/comic", "crop=32"], DataError, "two of sans"),
        (["resume", "/no/such/run"], RunError, "not a run folder"),
        (["translate", "/no/such", "x.png", "-o", "/tmp/never"], DataError, "x.png: no such image"),
    ],
)
def test_mistakes_are_one_clear_error(words, error, message, tmp_path):
    out = ["-o", str(tmp_path / "run")] if words[0] == "train" else []
    with pytest.raises(error, match=message):
        diptych(*words, *out)
    assert not (tmp_path / "run").exists(), "a run that could not begin leaves a folder behind"


def test_an_error_is_a_line_and_a_code():
    child = process("train", "pix2pixx")
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (2, "")
    assert err.strip() == "error: 'pix2pixx' is no method, shipped recipe or .yaml file; did you mean 'pix2pix'?"


@pytest.fixture
def pictures(tmp_path):
    """A folder with a folder in it, files of several kinds, and one that is no image."""
    for name, shape in (("a.png", (40, 30, 3)), ("deep/b.jpg", (33, 64, 3)), ("deep/c.png", (20, 20, 1))):
        image.write(tmp_path / "in" / name, np.random.default_rng(1).integers(0, 256, shape, np.uint8))
    image.write(tmp_path / "in" / "deep.tif", np.full((9, 70, 1), 40_000, np.uint16))
    (tmp_path / "in" / "notes.txt").write_text("no image")
    return tmp_path / "in"


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_folder_keeps_names_sizes_and_depth(run, pictures, tmp_path):
    assert "4 images" in diptych("translate", run, pictures, "-o", tmp_path / "out").stdout
    assert files(tmp_path / "out") == ["a.png", "deep.tif", "deep/b.jpg", "deep/c.png"]
    for name in files(tmp_path / "out"):
        before, after = image.read(pictures / name), image.read(tmp_path / "out" / name)
        assert (before.shape[:2], before.dtype) == (after.shape[:2], after.dtype)


def test_a_pattern_and_a_model_folder(run, pictures, tmp_path):
    diptych("translate", run / "model", pictures / "**" / "*.png", pictures / "deep.tif", "-o", tmp_path / "out")
    assert files(tmp_path / "out") == ["a.png", "deep.tif", "deep/c.png"]
    diptych("translate", run, pictures / "a.png", "-o", tmp_path / "run-out")
    diptych("translate", run, pictures / "a.png", "-o", tmp_path / "best-out", "--which", "best")
    assert (tmp_path / "run-out" / "a.png").read_bytes() == (tmp_path / "out" / "a.png").read_bytes()


def test_controls_reach_the_method(run, pictures, tmp_path):
    for seed in (0, 0, 1):
        diptych(
            "translate",
            run,
            pictures / "a.png",
            "-o",
            tmp_path / "out",
            "-c",
            "inference=paper",
            "-c",
            f"seed={seed}",
            "--overwrite",
        )
        (tmp_path / "out" / "a.png").rename(tmp_path / f"{seed}-{(tmp_path / '0-False.png').exists()}.png")
    one, again, other = ((tmp_path / name).read_bytes() for name in ("0-False.png", "0-True.png", "1-True.png"))
    assert one == again != other
    for given, message in (("seed=x", "int wanted"), ("seed", "key=value"), ("sede=1", "did you mean 'seed'")):
        with pytest.raises(ConfigError, match=message):
            diptych("translate", run, pictures / "a.png", "-o", tmp_path / "never", "-c", given)


def test_nothing_is_overwritten_unless_told(run, pictures, tmp_path):
    diptych("translate", run, pictures, "-o", tmp_path / "out")
    (tmp_path / "out" / "deep" / "c.png").unlink()
    with pytest.raises(DataError, match="give --overwrite"):
        diptych("translate", run, pictures, "-o", tmp_path / "out")
    assert not (tmp_path / "out" / "deep" / "c.png").exists(), "refused before anything is translated"
    assert diptych("translate", run, pictures, "-o", tmp_path / "out", "--overwrite").exit_code == 0


def test_sources_are_never_the_target(run, pictures):
    for words in ((pictures,), (pictures / "a.png",)):
        with pytest.raises(DataError, match="replaced by its translation"):
            diptych("translate", run, *words, "-o", pictures, "--overwrite")


def test_two_sources_of_one_name_are_refused(run, pictures, tmp_path):
    image.write(tmp_path / "other" / "a.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(DataError, match="would both become"):
        diptych("translate", run, pictures / "a.png", tmp_path / "other" / "a.png", "-o", tmp_path / "out")


def test_import_makes_a_model_folder(tmp_path):
    import torch
    from test_importers import resnet

    torch.save(resnet(), tmp_path / "latest_net_G.pth")
    out = diptych("import", tmp_path / "latest_net_G.pth", "-o", tmp_path / "model").stdout
    assert "cyclegan, resnet_6 of width 4, norm instance, 3 to 3 channels" in out
    image.write(tmp_path / "x.png", np.zeros((10, 12, 3), np.uint8))
    diptych("translate", tmp_path / "model", tmp_path / "x.png", "-o", tmp_path / "out")
    assert image.read(tmp_path / "out" / "x.png").shape == (10, 12, 3)
    with pytest.raises(DiptychError, match="holds a model already"):
        diptych("import", tmp_path / "latest_net_G.pth", "-o", tmp_path / "model")
    with pytest.raises(DiptychError, match="holds only to_b"):
        diptych("translate", tmp_path / "model", tmp_path / "x.png", "-o", tmp_path / "out2", "-c", "direction=b2a")


def test_the_demo_reports_what_it_did(tmp_path):
    out = diptych("demo", "-o", tmp_path / "demo", "--steps", "3", env={"COLUMNS": "200"}).stdout
    said = re.search(
        r"After 3 steps in .* the error on (\d+) letters it never saw is (0\.\d+) .*; doing nothing scores (0\.\d+)",
        out,
    )
    assert 120 < int(said[1]) < 180
    assert 0.10 < float(said[3]) < 0.15
    assert float(said[2]) > float(said[3]), "three steps teach nothing"
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "Letters of the test split" in page
    assert json.loads((tmp_path / "demo" / "environment.json").read_text())["cores"] == os.cpu_count()


def test_a_run_can_be_resumed_from_its_first_moment(tmp_path):
    """Even if it dies before its first checkpoint would be due."""
    with pytest.raises(TrainingError, match="is not finite"):
        diptych("train", "pix2pix", *TINY, "lr=1e30", "steps=9", "-o", tmp_path / "run")
    assert files(tmp_path / "run" / "checkpoints") == ["0-00000000.safetensors"]
    with pytest.raises(TrainingError, match="is not finite"):
        diptych("resume", tmp_path / "run")


def test_an_unreadable_image_costs_no_step(tmp_path):
    """It is named, what was learnt is saved, and the run goes on once it is mended."""
    for number in range(6):
        for folder in ("trainA", "trainB", "valA", "valB"):
            image.write(tmp_path / "data" / folder / f"{number}.png", np.full((32, 32, 1), 40 * number, np.uint8))
    broken = tmp_path / "data" / "trainA" / "3.png"
    good = broken.read_bytes()
    broken.write_bytes(good[:-30])
    words = [word for word in TINY if word not in ("root=glyphs", "batch=2")]
    with pytest.raises(DataError, match=r"trainA/3\.png"):
        diptych("train", "pix2pix", "-d", tmp_path / "data", *words, "steps=12", "seed=3", "-o", tmp_path / "run")
    assert checkpoint.newest(tmp_path / "run" / "checkpoints")[1]["step"] > 0, "good images came before it"
    broken.write_bytes(good)
    assert diptych("resume", tmp_path / "run").exit_code == 0


def test_a_full_disk_is_one_clear_error(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(RunError, match=r"No space left on device.*diptych resume"):
        diptych("train", "pix2pix", *TINY, "steps=2", "-o", tmp_path / "run")


def test_names_that_look_like_markup_are_printed_as_they_are(tmp_path):
    assert "a[/b]" in diptych("train", "pix2pix", *TINY, "steps=1", "-o", tmp_path / "a[" / "b]").stdout


def test_a_broken_image_does_not_stop_the_others(run, pictures, tmp_path):
    (pictures / "a.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"(?s)1 of 4 could not be translated.*a\.png"):
        diptych("translate", run, pictures, "-o", tmp_path / "out")
    assert files(tmp_path / "out") == ["deep.tif", "deep/b.jpg", "deep/c.png"]
    image.write(pictures / "a.png", np.zeros((8, 8, 3), np.uint8))
    assert "1 images" in diptych("translate", run, pictures, "-o", tmp_path / "out", "--skip-existing").stdout


def test_translations_are_no_sources_of_the_next_call(run, pictures):
    diptych("translate", run, pictures, "-o", pictures / "out")
    diptych("translate", run, pictures, "-o", pictures / "out", "--overwrite")
    assert files(pictures / "out") == ["a.png", "deep.tif", "deep/b.jpg", "deep/c.png"]


def test_a_format_that_cannot_hold_the_output_is_found_first(tmp_path, pictures):
    words = [*TINY, "out_channels=5", "steps=1"]
    data = tmp_path / "data"
    for number in range(3):
        image.write(data / "trainA" / f"{number}.png", np.zeros((32, 32, 3), np.uint8))
        image.write(data / "trainB" / f"{number}.npy", np.zeros((32, 32, 5), np.uint8))
    diptych("train", "pix2pix", *words[1:], "-d", data, "-o", tmp_path / "run")
    with pytest.raises(ConfigError, match=r"\.png cannot hold uint8 with 5 channels.*--suffix \.npy"):
        diptych("translate", tmp_path / "run", pictures, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    diptych("translate", tmp_path / "run", pictures, "-o", tmp_path / "out", "--suffix", ".npy")
    assert image.read(tmp_path / "out" / "deep" / "b.npy").shape == (33, 64, 5)


def test_a_path_is_not_taken_for_a_hub_id(run, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: 1 / 0)
    with pytest.raises(CheckpointError, match="neither a run folder"):
        diptych("translate", run.parent / "lettres", run / "previews", "-o", run.parent / "never")
