"""Two plain folders as samples: what are pairs, what is refused, and that pictures are known by what is in them."""

import numpy as np
import pytest
from judged import fill, noise, sample_folder

from diptych.data.images import image_io
from diptych.errors import EvaluationError, ImageError
from diptych.evaluation.metrics.image_sets import digest_of_pixels
from diptych.evaluation.two_folders import two_folders


def test_two_folders_are_pairs_if_all_names_agree(tmp_path):
    fill(tmp_path / "real", 3)
    fill(tmp_path / "fake", 3, 50, suffix=".jpg")
    found = two_folders(tmp_path / "real", tmp_path / "fake")
    assert found.paired
    assert [file.stem for file in found.files("truth")] == [file.stem for file in found.files("fake")]
    assert [file.parent.name for file in (*found.files("fake")[:1], *found.files("truth")[:1])] == ["fake", "real"]
    image_io.write(tmp_path / "real" / "one-more.png", noise(9))
    more = two_folders(tmp_path / "real", tmp_path / "fake")
    assert not more.paired
    assert len(more.real_files()) == 4
    assert found.images() != more.images()


def test_pictures_are_known_by_what_is_in_them_whoever_wrote_the_file(tmp_path):
    """So that what another tool made of the same pictures stands beside what a run made of them."""
    made, truths = ([noise(seed) for seed in range(start, start + 10)] for start in (0, 50))
    pairs = sample_folder(tmp_path / "samples", {"a-b": {"source": made, "fake": made, "truth": truths}})
    before = pairs.images()
    other = tmp_path / "other"
    for at, (fake, truth) in enumerate(zip(pairs.files("fake"), pairs.files("truth"), strict=True)):
        image_io.write(other / "fake" / f"{at:03}.png", image_io.read(fake))
        image_io.write(other / "real" / f"{at:03}.bmp", image_io.read(truth))
    found = two_folders(other / "real", other / "fake").images()
    assert found == {"real": before["real"]}, "what they are of, nobody knows"
    image_io.write(other / "real" / "009.bmp", 255 - image_io.read(other / "real" / "009.bmp"))
    assert two_folders(other / "real", other / "fake").images() != found
    flat, upright = (np.zeros(shape, np.uint8) for shape in ((4, 9, 3), (9, 4, 3)))
    image_io.write(tmp_path / "a.png", flat)
    image_io.write(tmp_path / "b.png", upright)
    assert digest_of_pixels([tmp_path / "a.png"]) != digest_of_pixels([tmp_path / "b.png"])


def test_names_without_a_partner_are_told_where_a_truth_is_needed(tmp_path):
    fill(tmp_path / "real", 3)
    fill(tmp_path / "fake", 2, 50)
    found = two_folders(tmp_path / "real", tmp_path / "fake")
    with pytest.raises(
        EvaluationError, match=r"fake: some translations have no truth image .*\(only in one of the two folders: 002\)"
    ):
        found.files("truth")
    with pytest.raises(EvaluationError, match=r"fake: some translations have no source image; protocol unpaired-def"):
        found.files("source")


def test_two_files_of_one_name_are_no_pair_and_none_is_lost(tmp_path):
    for folder in ("a", "b"):
        fill(tmp_path / folder, 2)
    (tmp_path / "b" / "001.png").rename(tmp_path / "b" / "000.bmp")
    found = two_folders(tmp_path / "a", tmp_path / "b")
    assert not found.paired, "000 twice and no 001"
    assert len(two_folders(tmp_path / "b", tmp_path / "a").real_files()) == 2


def test_a_folder_without_pictures_is_named(tmp_path):
    fill(tmp_path / "real", 1)
    (tmp_path / "fake").mkdir()
    with pytest.raises(EvaluationError, match=r"fake: no images in it \(\.bmp"):
        two_folders(tmp_path / "real", tmp_path / "fake")
    with pytest.raises(EvaluationError, match="nowhere: no images"):
        two_folders(tmp_path / "nowhere", tmp_path / "real")
    (tmp_path / "real" / "x.png").mkdir()
    with pytest.raises(ImageError, match=r"x\.png: is a folder, not an image"):
        two_folders(tmp_path / "real", tmp_path / "real").images()
