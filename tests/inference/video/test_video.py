"""Translation of videos: every frame, exact timestamps, untouched sound, bounded memory."""

import sys
import weakref
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from clips import damage, decoded, packets, panned, write_clip
from translators import made

from diptych.errors import ConfigError, ImageError
from diptych.inference import video_reader, video_translation
from diptych.inference.video_clips import ClipOptions, Frame, open_clip, seconds_of, time_text
from diptych.inference.video_scenes import LOOK_AHEAD
from diptych.inference.video_translation import QUEUE, translate_clip

FAST = ClipOptions(codec="mpeg4")


@pytest.fixture(scope="module")
def translator():
    return made("cyclegan", generator="resnet_1", ngf=4)


@pytest.fixture
def invert(monkeypatch, translator):
    """A translator that takes no time: it inverts frames, without networks and their statistics."""
    monkeypatch.setattr(video_translation, "scene_statistics", lambda *_: [])
    copy = replace(translator)
    monkeypatch.setattr(copy, "array", lambda pixels, label, dtype, **controls: 255 - pixels)
    return copy


def times(path):
    return [time for time, _ in decoded(path)]


@pytest.fixture
def held(monkeypatch, invert):
    """A list with the number of decoded frames in memory at the translation of each frame."""
    frames, counts, translate = [], [], invert.array

    def decoded_frame(*values):
        frame = Frame(*values)
        frames.append(weakref.ref(frame))
        return frame

    def counted(*values, **controls):
        counts.append(sum(frame() is not None for frame in frames))
        return translate(*values, **controls)

    monkeypatch.setattr(video_reader, "Frame", decoded_frame)
    monkeypatch.setattr(invert, "array", counted)
    return counts


def test_300_frames(tmp_path, invert, held):
    """Frame count, timestamps, sound and subtitles are equal; memory does not grow with the length."""
    long, out = tmp_path / "long.mp4", tmp_path / "out.mp4"
    write_clip(long, panned(300), audio=True, subtitles=True)
    assert translate_clip(invert, long, out, FAST) == len(held) == 300
    assert max(held) <= LOOK_AHEAD + QUEUE + 4
    assert len(times(out)) == 300
    assert times(out) == times(long)
    assert packets(out, "audio") == packets(long, "audio")
    assert packets(out, "subtitle") == packets(long, "subtitle")
    assert len(packets(out, "audio")) > 100
    with av.open(str(out)) as new, av.open(str(long)) as old:
        for name in ("time_base", "average_rate", "duration", "start_time"):
            assert getattr(new.streams.video[0], name) == getattr(old.streams.video[0], name), name
    pairs = zip(decoded(long), decoded(out), strict=True)
    assert max(abs(255 - a[1].astype(float) - b[1]).mean() for a, b in pairs) < 20  # the encoder's


def test_networks_and_a_file_that_is_complete_or_absent(tmp_path, translator):
    """Frames are those of `Translator.array`; nothing but the output is left."""
    write_clip(tmp_path / "in.mp4", panned(3, 32, 32))
    lossless = ClipOptions(codec="ffv1")
    assert translate_clip(translator, tmp_path / "in.mp4", tmp_path / "out.mkv", lossless, statistics="frame") == 3
    for (_, source), (_, result) in zip(decoded(tmp_path / "in.mp4"), decoded(tmp_path / "out.mkv"), strict=True):
        difference = translator.array(source).astype(int) - result  # 4:2:0 keeps means of 2x2 pixels
        assert abs(difference.reshape(16, 2, 16, 2, 3).mean((1, 3))).mean() < 4
    with pytest.raises(ImageError, match=r"in\.mp4 would be replaced"):
        translate_clip(translator, tmp_path / "in.mp4", tmp_path / "in.mp4")
    (tmp_path / "bad.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(ImageError, match=r"bad\.mp4: not a video"):
        translate_clip(translator, tmp_path / "bad.mp4", tmp_path / "none.mp4")
    with pytest.raises(ConfigError, match="codec=x264: no such encoder; did you mean 'libx264'"):
        translate_clip(translator, tmp_path / "in.mp4", tmp_path / "none.mp4", ClipOptions(codec="x264"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.mp4", "in.mp4", "out.mkv"]


def test_variable_frame_rate(tmp_path, invert):
    stamps = [0, 1001, 5005, 5100, 9009, 30_000, 30_001, 44_000]
    write_clip(tmp_path / "in.mp4", panned(8), stamps)
    translate_clip(invert, tmp_path / "in.mp4", tmp_path / "out.mp4")
    assert times(tmp_path / "out.mp4") == times(tmp_path / "in.mp4") == [Fraction(each, 30_000) for each in stamps]


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (-90, 3), (180, 2)])
def test_rotation(tmp_path, invert, degrees, turns):
    """Frames are upright for the networks, and in the output, which has no rotation."""
    write_clip(tmp_path / "in.mp4", panned(2), rotation=degrees)
    translate_clip(invert, tmp_path / "in.mp4", tmp_path / "out.mp4")
    source, result = decoded(tmp_path / "in.mp4")[0][1], decoded(tmp_path / "out.mp4")[0][1]
    assert abs(255 - np.rot90(source, turns).astype(int) - result).mean() < 12
    with av.open(str(tmp_path / "out.mp4")) as out:
        assert next(out.decode(video=0)).rotation == 0


def test_a_range_of_time(tmp_path, invert):
    """The clip begins at 0, and sound stays in time with it."""
    write_clip(tmp_path / "in.mp4", panned(60), audio=True, rate=Fraction(30))
    translate_clip(invert, tmp_path / "in.mp4", tmp_path / "out.mp4", ClipOptions(0.5, 1.5, "mpeg4"))
    assert times(tmp_path / "out.mp4") == [Fraction(each, 30) for each in range(30)]
    kept = [(pts, data) for pts, data in packets(tmp_path / "in.mp4", "audio") if 8000 <= pts < 24_000]
    assert packets(tmp_path / "out.mp4", "audio") == [(pts - 8000, data) for pts, data in kept]
    with pytest.raises(ImageError, match=r"no frame of it can be decoded from 0:00:09\.000 to its end"):
        translate_clip(invert, tmp_path / "in.mp4", tmp_path / "none.mp4", ClipOptions(9.0))
    assert [seconds_of(text) for text in ("90", "1:30", "0:01:30.5")] == [90, 90, 90.5]
    assert time_text(90.5) == "0:01:30.500"
    for text in ("x", "1:70", "-3", "1:2:3:4"):
        with pytest.raises(ConfigError, match="is not a time"):
            seconds_of(text)


def test_damaged_frames_are_left_out_and_listed(tmp_path, invert):
    """The others are written, with their timestamps."""
    write_clip(tmp_path / "in.mkv", panned(20), rate=Fraction(25), intra=True)
    damage(tmp_path / "in.mkv", 7)
    with pytest.raises(
        ImageError, match=r"1 of 20 frames cannot be decoded, at 0:00:00\.280; .*out\.mkv has the other 19"
    ):
        translate_clip(invert, tmp_path / "in.mkv", tmp_path / "out.mkv", FAST)
    assert times(tmp_path / "out.mkv") == [Fraction(each, 25) for each in range(20) if each != 7]


def test_an_error_leaves_no_file(tmp_path, monkeypatch, invert):
    write_clip(tmp_path / "in.mp4", panned(30))
    frames = iter(range(10))
    monkeypatch.setattr(invert, "array", lambda pixels, *_, **__: pixels if next(frames, None) is not None else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        translate_clip(invert, tmp_path / "in.mp4", tmp_path / "out.mp4", FAST)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_without_the_extra(tmp_path, monkeypatch, invert):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImageError, match=r"a\.mp4: videos need av: pip install 'diptych\[video\]'"):
        translate_clip(invert, tmp_path / "a.mp4", tmp_path / "b.mp4")


def test_animations(tmp_path, invert):
    """GIF and WebP keep frames and durations; both become videos, and videos become them."""
    for name, durations in (("a.gif", [40, 200, 70]), ("a.webp", [41, 203, 7])):
        path, out, video = tmp_path / name, tmp_path / f"out-{name}", tmp_path / f"{name}.mp4"
        pictures = [av.VideoFrame.from_ndarray(pixels, format="rgb24").to_image() for pixels in panned(3, 32, 48)]
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=durations, loop=0)
        for target in (out, video):
            assert translate_clip(invert, path, target) == 3
        with open_clip(out) as reader:
            items = list(reader.items())
        assert [item.duration for item in items] == durations
        assert all(isinstance(item, Frame) and item.pixels.shape == (32, 48, 3) for item in items)
        assert times(video) == [Fraction(sum(durations[:each]), 1000) for each in range(3)]
        assert translate_clip(invert, video, tmp_path / f"back-{name}") == 3
    with pytest.raises(ConfigError, match=r"crf: \.gif files have none"):
        translate_clip(invert, tmp_path / "a.gif", tmp_path / "none.gif", ClipOptions(crf=20))


def test_sound_that_the_format_cannot_hold(tmp_path, invert):
    write_clip(tmp_path / "in.mp4", panned(3), audio=True)
    with pytest.raises(
        ImageError, match=r"\.webm files cannot hold the audio stream \(aac\).*choose its format, or \.mkv"
    ):
        translate_clip(invert, tmp_path / "in.mp4", tmp_path / "out.webm")
    assert not (tmp_path / "out.webm").exists()
