"""A job of videos that is killed loses the clip at hand, leaves no half-written file, and writes the same bytes."""

import signal
import subprocess
import sys

import pytest
from clips import panned, write_clip
from commands import diptych, files
from translators import made

from diptych.inference import video_translation
from diptych.inference.video_translation import translate_clip

PROGRAM = """
import signal, sys
from diptych.cli import app
from diptych.inference.video_writer import VideoWriter

frames, encode = iter(range(int(sys.argv[1]))), VideoWriter._encode

def encode_or_die(self, frame):
    if next(frames, None) is None:
        signal.raise_signal(signal.SIGKILL)
    encode(self, frame)

VideoWriter._encode = encode_or_die
app(sys.argv[2:])
"""


@pytest.mark.slow
def test_two_kills_lose_the_clip_at_hand_and_change_no_byte(tmp_path):
    made("cyclegan", generator="resnet_1", ngf=4).save(tmp_path / "model")
    (tmp_path / "clips").mkdir()
    for number, name in enumerate(("a.mp4", "b.mkv")):
        write_clip(tmp_path / "clips" / name, panned(12, 32, 32, seed=number), audio=True)
    words = ["translate", tmp_path / "model", tmp_path / "clips", "--device", "cpu", "--skip-existing", "-o"]
    out = tmp_path / "out"
    for encoded, complete in ((5, []), (17, ["a.mp4"])):
        command = [sys.executable, "-c", PROGRAM, encoded, *words, out]
        assert subprocess.run([str(each) for each in command], check=False).returncode == -signal.SIGKILL
        assert [path.name for path in out.iterdir() if not path.name.startswith(".")] == complete
        assert len(list(out.glob(".*.part"))) == 1, "the kill was not while a file was written"
    diptych(*words, out)
    diptych(*words, tmp_path / "undisturbed")
    assert files(out) == files(tmp_path / "undisturbed") == ["a.mp4", "b.mkv"]
    assert not list(out.glob(".*")), "the next translation removes what was left"
    for name in files(out):
        assert (out / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes(), name


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi", ".gif", ".webp"])
def test_a_second_translation_has_the_same_bytes(suffix, tmp_path, monkeypatch):
    monkeypatch.setattr(video_translation, "scene_statistics", lambda *_: [])
    translator = made("cyclegan", generator="resnet_1", ngf=4)
    monkeypatch.setattr(type(translator), "array", lambda self, pixels, *_, **__: 255 - pixels)
    write_clip(tmp_path / "in.mp4", panned(4))
    for name in ("first", "second"):
        translate_clip(translator, tmp_path / "in.mp4", tmp_path / f"{name}{suffix}")
    first, second = ((tmp_path / f"{name}{suffix}").read_bytes() for name in ("first", "second"))
    assert first == second
