"""Frames of clips as a domain folder, and the recipe of two people in debate videos from clips to a clip."""

from fractions import Fraction

import numpy as np
import pytest
from clips import decoded, panned, write_clip
from commands import diptych, files

from diptych.data.images import image_io
from diptych.errors import ConfigError, DataError, DiptychError, ImageError
from diptych.workflows.clip_frames import Crop, extract_frames, parse_crop


def test_frames_at_a_rate_without_near_identical_ones(tmp_path):
    still, moving = panned(1) * 20, panned(20, seed=3)
    write_clip(tmp_path / "a.mp4", [*still, *moving], rate=Fraction(10))
    assert extract_frames([tmp_path / "a.mp4"], tmp_path / "out", 5, Crop(8, 0, 32, 32)) == (11, 9, 0)
    assert files(tmp_path / "out")[:3] == ["a_000000.png", "a_000020.png", "a_000022.png"]
    expected = decoded(tmp_path / "a.mp4")[22][1][:32, 8:40]
    assert np.array_equal(image_io.read(tmp_path / "out" / "a_000022.png"), expected)
    assert extract_frames([tmp_path / "a.mp4"], tmp_path / "all", None) == (40, 0, 0)
    with pytest.raises(DataError, match="has frames of a already"):
        extract_frames([tmp_path / "a.mp4"], tmp_path / "out")
    with pytest.raises(ImageError, match=r"--crop 40,0,32,32 is not inside its frames of 64x48"):
        extract_frames([tmp_path / "a.mp4"], tmp_path / "new", crop=Crop(40, 0, 32, 32))
    with pytest.raises(ConfigError, match="expected x,y,width,height"):
        parse_crop("1,2,3")


SMALL = ("crop_size=32", "load_size=34", "ngf=4", "ndf=4", "batch_size=4")
SHORT = ("pretrain_steps=2", "steps=2", "workers=0", "preview_images=4")


def test_recipe_of_two_people_in_videos(tmp_path, monkeypatch):
    """Clips become domain folders; a short training; translation of a clip in both directions; its consistency."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("left", "right")):
        write_clip(tmp_path / f"{name}.mp4", [pixels // (1 + seed) for pixels in panned(24, 64, 64, seed=seed)])
        diptych("data", "frames", f"{name}.mp4", "-o", f"debate/{name}", "--fps", "30", "--crop", "0,0,48,48")
        assert len(files(tmp_path / "debate" / name)) == 24
    diptych("train", "twostep-video", *SMALL, *SHORT, "-o", "run")
    for source, domain in (("left", "right"), ("right", "left")):
        diptych("translate", "run", f"{source}.mp4", "-o", f"as-{domain}", "--domain", domain, "--crf", "30")
        times = [time for time, _ in decoded(tmp_path / f"as-{domain}" / f"{source}.mp4")]
        assert times == [time for time, _ in decoded(tmp_path / f"{source}.mp4")]
    for words, problem in (
        (("left.mp4", "-o", "as-right"), "left.mp4 already exists"),
        (("left.mp4", "debate/left", "-o", "out"), "is a clip, and debate/left is not"),
        (("left.mp4", "-o", "out", "--depth", "16"), "--depth is not supported for videos"),
        (("debate/left", "-o", "out", "--crf", "20"), "are for videos, and there are none"),
    ):
        with pytest.raises(DiptychError, match=problem):
            diptych("translate", "run", *words)
    diptych("data", "frames", "left.mp4", "-o", "source", "--all-frames")
    diptych("data", "frames", "as-right/left.mp4", "-o", "fake", "--all-frames")
    folders = ("--real", "source", "--source", "source", "--fake", "fake")
    assert "warping-error-source" in diptych("evaluate", *folders, "-p", "video", "--extractor", "none").stdout
