"""Manifests and shards: every image once, wrong lines named, and the same bytes from any number of processes."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from batch_folder import bytes_of, write_job
from commands import diptych

from diptych.data.images import image_io
from diptych.errors import ConfigError, DataError, ImageError
from diptych.inference.batch.path_manifest import Manifest
from diptych.inference.batch.shard import Shard, shard_of

COUNT = 20


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A model, and a manifest of images in folders; the current folder is theirs."""
    monkeypatch.chdir(tmp_path)
    write_job(tmp_path, COUNT)
    return tmp_path


def test_shards_together_are_the_single_process(job, monkeypatch):
    assert f"{COUNT} images in one" in diptych("translate", "model.onnx", "manifest.txt", "-o", "one").stdout
    diptych("translate", "model.onnx", "in", "-o", "folder")
    assert len(bytes_of(job / "one")) == COUNT
    assert bytes_of(job / "one" / "in") == bytes_of(job / "folder")
    written = []
    for index in range(2):
        diptych("translate", "model.onnx", "manifest.txt", "-o", f"part{index}", "--shard", f"{index}/3")
        written += bytes_of(job / f"part{index}").items()
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "2")
    diptych("translate", "model.onnx", "manifest.txt", "-o", "part2")
    written += bytes_of(job / "part2").items()
    assert len(written) == COUNT
    assert dict(written) == bytes_of(job / "one")


def test_a_job_goes_on(job):
    diptych("translate", "model.onnx", "manifest.txt", "-o", "out", "--shard", "0/2")
    before = {name: (job / "out" / name).stat().st_mtime_ns for name in bytes_of(job / "out")}
    said = diptych("translate", "model.onnx", "manifest.txt", "-o", "out").stdout
    assert "10 images in out" in said
    assert "10 files already there, skipped" in said
    assert before == {name: (job / "out" / name).stat().st_mtime_ns for name in before}


def test_failed_images_are_listed_with_reasons(job):
    (job / "in/0/0.png").write_bytes(b"damaged")
    (job / "in/1/1.png").unlink()
    with pytest.raises(
        ImageError, match=r"2 images could not be translated, all are listed in out/failed\.shard-0-of-1"
    ):
        diptych("translate", "model.onnx", "manifest.txt", "-o", "out")
    header, *lines = (job / "out/failed.shard-0-of-1.tsv").read_text().splitlines()
    assert header == "file\treason"
    assert [line.split("\t")[0] for line in lines] == ["in/0/0.png", "in/1/1.png"]
    assert "there is no such file" in lines[1]
    assert len(bytes_of(job / "out")) == COUNT - 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png\n../b.png\n", "line 2: '../b.png': give a path without"),
        ("a.png\n\nnotes.md\n", "line 3: 'notes.md': not an image by its name"),
        ("a/b.png\nc.png\na/b.jpg\n", "lines 1 and 3, a/b.png and a/b.jpg, could get one name"),
        ("x" * 5000 + ".png\n", "line 1 is longer than 4096 bytes"),
        ("\n", "no paths in it"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, text, message):
    (tmp_path / "manifest.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        Manifest(tmp_path / "manifest.txt")


def test_a_missing_manifest(tmp_path):
    with pytest.raises(DataError, match=r"none\.txt: cannot be read \(No such file"):
        Manifest(tmp_path / "none.txt")


@pytest.mark.parametrize("text", ["4/4", "1", "-1/2", "a/b", "0/0"])
def test_a_wrong_shard(text):
    with pytest.raises(ConfigError, match="expected i/n with i from 0 to n-1"):
        shard_of(text)


def test_sizes_of_shards():
    assert [Shard(index, 3).size(20) for index in range(3)] == [7, 7, 6]
    assert [list(Shard(index, 3).of(range(20))) for index in range(3)] == [list(range(i, 20, 3)) for i in range(3)]


def test_a_source_is_never_replaced(job):
    with pytest.raises(DataError, match="would be replaced by its translation"):
        diptych("translate", "model.onnx", "manifest.txt", "-o", ".", "--overwrite")


def test_grids_are_refused(job):
    with pytest.raises(ConfigError, match="not for manifests"):
        diptych("translate", "model.onnx", "manifest.txt", "-o", "out", "--styles", "2")


@pytest.mark.slow
def test_a_killed_shard_goes_on(job):
    """Without half-written files, and with the bytes of an undisturbed job."""
    names = [f"in/more/{number}.png" for number in range(300)]
    for name in names:
        image_io.write(job / name, np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8))
    (job / "manifest.txt").write_text("\n".join(names))
    command = ["translate", "model.onnx", "manifest.txt", "--shard", "0/1", "-o"]
    process = subprocess.Popen([sys.executable, "-m", "diptych", *command, "killed"], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list((job / "killed").rglob("*.png"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 5 <= len(bytes_of(job / "killed")) < 300
    diptych(*command, "killed")
    diptych(*command, "whole")
    assert bytes_of(job / "killed") == bytes_of(job / "whole")


@pytest.mark.slow
def test_processes_of_torchrun_share_the_images(job):
    """Two real processes; one has a damaged image, and does not end the other."""
    diptych("translate", "model.onnx", "manifest.txt", "-o", "one")
    (job / "in/0/0.png").write_bytes(b"damaged")
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "diptych", "translate"]
    command = [sys.executable, *torchrun, "model.onnx", "manifest.txt", "-o", "two"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "1 images could not be translated" in ended.stderr
    expected = bytes_of(job / "one")
    del expected["in/0/0.png"]
    assert bytes_of(job / "two") == expected
    lists = [(job / f"two/failed.shard-{index}-of-2.tsv").read_text().splitlines()[1:] for index in range(2)]
    assert [len(lines) for lines in lists] == [1, 0]
