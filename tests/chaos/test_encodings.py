"""Terminals, pipes and logs of any encoding: no command ends in an error for what they cannot show."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from commands import TINY, diptych
from forks import Child

from diptych import cli
from diptych.cli import evaluate
from diptych.data.images import image_io
from diptych.errors import RunError

ENCODINGS = ["latin-1", "ascii"]
NAMES = ["snow ☃.png", os.fsdecode(b"caf\xe9.png")]  # the second is no valid name, as old disks have them
SMALL = [word for word in TINY if word != "root=glyphs"]


def latin_1():
    _encode("latin-1")


def ascii_only():
    _encode("ascii")


def _encode(encoding):
    """As Python sets up both streams by PYTHONIOENCODING."""
    sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding)
    sys.stderr = io.TextIOWrapper(sys.stderr.buffer, encoding, "backslashreplace")


FAULTS = dict(zip(ENCODINGS, (latin_1, ascii_only), strict=True))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Four pairs of files whose names no such terminal can show, in a folder of such a name."""
    folder = tmp_path_factory.mktemp("data") / "données ☃"
    dice = np.random.default_rng(0)
    for split in ("train", "val"):
        for side in "AB":
            for number, name in enumerate([*NAMES, "c.png", "d.png"]):
                pixels = dice.integers(0, 256, (32, 32, 1), np.uint8)
                image_io.write(folder / f"{split}{side}" / f"{split}{number} {name}", pixels)
    return folder


@pytest.fixture(params=ENCODINGS)
def said(request, tmp_path):
    """Runs a command with streams of an encoding; what it printed, if its exit code is as expected."""
    count = iter(range(99))

    def run(*words, code=0):
        child = Child(tmp_path / f"child{next(count)}", *words, fault=FAULTS[request.param])
        assert child.ended() == code, child.erred.read_bytes()
        assert "Traceback" not in child.erred.read_bytes().decode("latin-1")
        return child.said.read_bytes().decode("latin-1")

    return run


def test_every_command_ends_well(said, data, tmp_path):
    """A run, and all that is done with it; names of files and folders are not lost, what is printed of them is."""
    run = tmp_path / "läufe ☃"
    said("data", "check", data)
    said("train", "pix2pix", "--data", data, *SMALL, "workers=1", "steps=2", "log_every=1", "-o", run)
    assert "done: " in said("resume", run)
    assert "l1" in said("evaluate", run, "--extractor", "none")
    said("compare", run, "-o", tmp_path / "☃ compared")
    assert (tmp_path / "☃ compared" / "index.html").is_file()
    said("predict", run, "-o", tmp_path / "☃ samples")
    said("translate", run, data / "valA", "-o", tmp_path / "☃ made")
    made = sorted(path.name for path in (tmp_path / "☃ made").iterdir())
    assert made == sorted(path.name for path in (data / "valA").iterdir())
    said("translate", run, tmp_path / "☃", "-o", tmp_path / "made", code=2)
    said("methods", "pix2pix")
    said("doctor", tmp_path, "--device", "cuda:99", code=1)


def test_a_run_folder_that_libraries_cannot_name_is_refused_before_the_first_step():
    """As one of another encoding, or of any but ASCII where the locale is C and PYTHONUTF8=0."""
    with pytest.raises(RunError, match=r"runs/.udce9: the path of a run must be UTF-8.*PYTHONUTF8=1"):
        diptych("train", "pix2pix", *TINY, "-o", os.fsdecode(b"runs/\xe9"))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_help_ends_well_in_a_real_process(encoding):
    """Of the whole and of each command, as a person starts it."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "LC_ALL": "C", "PYTHONUTF8": "0"}
    for words in ([], *([name] for name in ("train", "translate", "evaluate", "data", "evaluator"))):
        command = [sys.executable, "-m", "diptych", *words, "--help"]
        done = subprocess.run(command, capture_output=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        assert b"Usage" in done.stdout


def test_streams_lose_no_other_setting(monkeypatch):
    for name, errors in (("stdout", "replace"), ("stderr", "backslashreplace")):
        stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", line_buffering=True)
        monkeypatch.setattr(sys, name, stream)
        cli.replace_unencodable_characters()
        stream.write("↓ é \udce9")
        assert (stream.encoding, stream.errors, stream.line_buffering) == ("ascii", errors, True)
    monkeypatch.setattr(sys, "stdout", None)  # closed by whoever started it
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    cli.replace_unencodable_characters()


def folders(tmp_path):
    dice = np.random.default_rng(0)
    for name in ("real", "fake"):
        for number in range(4):
            image_io.write(tmp_path / name / f"{number}.png", dice.integers(0, 256, (16, 16, 1), np.uint8))
    return ["evaluate", "--real", tmp_path / "real", "--fake", tmp_path / "fake", "--extractor", "none"]


def test_results_are_kept_before_they_are_shown(tmp_path, monkeypatch):
    def broken(result):
        raise BrokenPipeError

    monkeypatch.setattr(evaluate, "print_result", broken)
    out = tmp_path / "result.json"
    with pytest.raises(BrokenPipeError):
        diptych(*folders(tmp_path), "-o", out)
    assert json.loads(out.read_text())["scores"]


def test_results_that_cannot_be_kept_are_shown(tmp_path):
    from typer.testing import CliRunner

    (tmp_path / "file").touch()
    words = [str(word) for word in (*folders(tmp_path), "-o", tmp_path / "file" / "result.json")]
    done = CliRunner().invoke(cli.app, words)
    assert "cannot be written" in str(done.exception)
    assert "l1" in done.stdout
