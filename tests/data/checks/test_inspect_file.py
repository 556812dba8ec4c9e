"""D1, D3: whatever is wrong with one file is found and told, and costs that file alone."""

import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from sets import cut_short, fill, noise

from diptych.data.checks import problems, worker_pool
from diptych.data.checks.inspect_file import FileInfo, difference_hash, inspect_file
from diptych.data.checks.survey import survey
from diptych.data.images import image_io
from diptych.errors import DataError


def one_row_png(path, rows=64):
    """Valid chunks and checksums, but the pixels of one row only."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 64, rows, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" + b"\x80" * 192)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


def lying_npy(path):
    np.save(path, np.zeros((4, 4), np.uint8))
    path.write_bytes(path.read_bytes().replace(b"(4, 4)", b"(8, 8)"))


def nan_npy(path):
    np.save(path, np.full((4, 4), np.nan, np.float32))


DAMAGE = {
    "cut.jpg": (lambda p: cut_short(write(p)), "cut short"),
    "short.png": (lambda p: cut_short(write(p)), "cut short"),
    "row.png": (one_row_png, "cut short"),
    "empty.png": (Path.touch, "is empty (0 bytes)"),
    "folder.jpg": (Path.mkdir, "is a folder"),
    "link.png": (lambda p: p.symlink_to("nowhere.png"), "is a link to a file that does not exist"),
    "fifo.png": (os.mkfifo, "is not a regular file"),
    "gone.png": (lambda p: None, "there is no such file"),
    "text.jpg": (lambda p: p.write_text("not an image"), "is not a PNG, JPEG"),
    "lying.npy": (lying_npy, "fewer values than its header says"),
    "nan.npy": (nan_npy, "not finite"),
}


def write(path):
    image_io.write(path, noise(1, 64, 64))
    return path


@pytest.mark.parametrize("name", DAMAGE)
def test_d1_d3_each_kind_of_damage_is_told_without_the_path(tmp_path, name):
    make, words = DAMAGE[name]
    make(tmp_path / name)
    finding = inspect_file(tmp_path / name)
    assert words in finding.problem
    assert str(tmp_path) not in finding.problem
    assert "; " in finding.problem  # the way out


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".npy"])
def test_a_good_file_is_told_as_read_gives_it(tmp_path, suffix, channels):
    file = tmp_path / f"a{suffix}"
    image_io.write(file, noise(3, 20, 10, channels))
    found = inspect_file(file)
    assert (found.height, found.width, found.channels, found.dtype) == (10, 20, channels, "uint8")
    assert (found.problem, found.note, len(found.difference_hash), len(found.sha256)) == (None, None, 64, 64)


def test_d1_a_wrong_ending_is_a_note(tmp_path):
    image_io.write(tmp_path / "a.png", noise(1))
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    found = inspect_file(tmp_path / "a.jpg")
    assert (found.problem, found.note) == (None, "is a PNG file by its content")


def test_looks_stay_near_when_a_picture_is_stored_again_and_are_far_for_others(tmp_path):
    def apart(a, b):
        return (int(difference_hash(a), 16) ^ int(difference_hash(b), 16)).bit_count()

    picture = noise(1, 64, 64)
    assert apart(picture, image_io.resize(picture, 32, 32)) <= 6
    assert min(apart(picture, noise(seed, 64, 64)) for seed in range(2, 20)) > 40
    assert int(difference_hash(np.full((9, 9, 3), 200, np.uint8)), 16) == 0


def test_the_worker_answers_line_by_line_and_brings_no_torch(tmp_path):
    good = fill(tmp_path, 1)[0]
    program = "import sys; from diptych.data.checks import inspect_file, problems, unreadable"
    program += "; assert 'torch' not in sys.modules; "
    asked = json.dumps(str(good)) + "\n" + json.dumps(str(tmp_path / "no.png")) + "\n"
    run = [sys.executable, "-W", "error", "-c", program + "inspect_file.work(); assert 'torch' not in sys.modules"]
    done = subprocess.run(run, input=asked, capture_output=True, text=True, check=True)
    ready, first, second = done.stdout.splitlines()
    assert ready == "ready"
    assert FileInfo(**json.loads(first)) == inspect_file(good)
    assert "no such file" in json.loads(second)["problem"]


def stand_in(tmp_path, monkeypatch, on_bad):
    """A worker that does `on_bad` at files named bad*."""
    script = tmp_path / "worker.py"
    script.write_text(
        "import sys, json, os, time\nprint('ready', flush=True)\nfor line in sys.stdin:\n"
        f"    if 'bad' in line: {on_bad}\n"
        "    print(json.dumps({'sha256': json.loads(line)}), flush=True)\n"
    )
    monkeypatch.setattr(worker_pool, "COMMAND", (sys.executable, "-S", str(script)))


@pytest.mark.parametrize(("on_bad", "words"), [("os.abort()", "crashed"), ("time.sleep(60)", "took longer")])
def test_a_decoder_that_crashes_or_hangs_costs_one_file(tmp_path, monkeypatch, on_bad, words):
    stand_in(tmp_path, monkeypatch, on_bad)
    monkeypatch.setattr(worker_pool, "TIMEOUT", 0.5)
    paths = {name: name for name in ("a", "b", "bad1", "c", "d", "bad2", "e")}
    found = dict(worker_pool.inspect_files(paths, 2))
    assert found.keys() == paths.keys()
    for name, finding in found.items():
        assert (words in (finding.problem or "")) == name.startswith("bad")
        assert name.startswith("bad") or finding.sha256 == name


def test_workers_that_do_not_start_are_an_error_and_not_a_thousand_crashes(monkeypatch):
    monkeypatch.setattr(worker_pool, "COMMAND", (sys.executable, "-S", "-c", "raise SystemExit(7)"))
    with pytest.raises(DataError, match="does not start"):
        list(worker_pool.inspect_files({"a": "a"}, 2))


def test_no_process_is_left_when_a_scan_is_given_up(tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, "pass")
    started = []
    start = worker_pool.Worker._start
    monkeypatch.setattr(worker_pool.Worker, "_start", lambda self: (start(self), started.append(self.process))[0])
    scan = worker_pool.inspect_files({str(number): str(number) for number in range(50)}, 2)
    next(scan)
    scan.close()
    assert len(started) == 2
    assert all(process.poll() is not None for process in started)


def test_data_check_says_what_lies_beside_the_colours(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 4), np.uint8))
    for number, options in enumerate(({}, {"icc_profile": srgb})):
        picture.save(tmp_path / f"{number}.png", **options)
    picture.convert("RGB").save(tmp_path / "2.png", icc_profile=lab)
    found = {fault.kind: fault for fault in problems.find_problems(survey(tmp_path)) if not fault.is_error}
    assert found["has transparency"].names == ("0.png", "1.png")
    assert "alpha=keep" in found["has transparency"].remedy
    (profiled,) = found["has a colour profile"].names
    assert profiled.startswith("2.png (")
    assert "kept by translate" in found["has a colour profile"].remedy
