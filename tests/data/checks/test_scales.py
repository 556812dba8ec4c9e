"""The same images at two sizes in two folders: no set of images for methods that take one, pairs for others."""

import pytest
from sets import cache, fill, noise  # noqa: F401

from diptych.data.checks import problems, survey
from diptych.data.config import DataConfig
from diptych.data.image_format import direction_notes
from diptych.data.images import image_io
from diptych.data.open import open_data
from diptych.errors import DataError
from diptych.methods import find
from diptych.workflows import dataset_fit


def opened(root, method, **settings):
    return open_data(DataConfig(root=str(root), **settings), find(method).data)


def scaled(root, small, large, factor, count=4):
    """The same noise at 64 pixels and smaller by `factor`, under the same names."""
    for number in range(count):
        whole = image_io.resize(noise(number, 16, 16), 64, 64)
        image_io.write(root / large / f"{number}.png", whole)
        image_io.write(root / small / f"{number}.png", image_io.resize(whole, round(64 / factor), round(64 / factor)))
    return root


@pytest.mark.parametrize(("small", "large"), [("lr", "hr"), ("train/lr", "train/hr"), ("trainA", "trainB")])
@pytest.mark.parametrize("factor", [2, 4, 1.6])
def test_a_method_that_takes_all_images_refuses_them_with_the_way_out(tmp_path, small, large, factor):
    root = scaled(tmp_path, small, large, factor)
    names = [folder.rpartition("/")[2] for folder in (small, large)]
    words = rf"{names[0]}/ and {names[1]}/ hold the same images at two sizes, 1:{factor:g}.*use only the larger ones, "
    for method in ("srgan", "gan"):
        with pytest.raises(DataError, match=words + str(root / large)):
            opened(root, method)
        assert len(opened(root / large, method).all_images) == 4
    assert len(opened(root, "pix2pix").all_images) == 4, "as pairs they are sound"


def test_folders_that_are_no_two_sizes_of_one_set_are_taken(tmp_path):
    sets = {"other images": {"large": 100}, "one size": {"small": 0}, "other shapes": {"width": 20}}
    for name in sets:
        fill(tmp_path / name / "x", 4, width=16, height=16)
    fill(tmp_path / "other images" / "y", 4, 100, width=64, height=64)
    fill(tmp_path / "one size" / "y", 4, width=16, height=16)
    fill(tmp_path / "other shapes" / "y", 4, width=64, height=20)
    for name in sets:
        assert len(opened(tmp_path / name, "srgan").train) == 8


def test_an_image_that_cannot_be_read_hides_nothing(tmp_path):
    root = scaled(tmp_path, "lr", "hr", 4)
    (root / "lr" / "0.png").write_bytes(b"")
    with pytest.raises(DataError, match="1:4"):
        opened(root, "srgan")


def test_data_check_says_so_and_offers_both_ways(tmp_path):
    root = scaled(tmp_path, "lr", "hr", 4)
    found = survey.survey(root)
    (fault,) = [fault for fault in problems.find_problems(found) if "two sizes" in fault.kind]
    assert (fault.kind, fault.names, fault.is_error) == ("the same images at two sizes, 1:4", ("lr/ = hr/",), False)
    pairs = dataset_fit._fit("pix2pix", found, [(256, 256)])
    assert pairs.settings == ("direction=b2a",)
    assert "from lr to hr" in pairs.summary
    larger = dataset_fit._super_resolution(found)
    assert [(fit.method, fit.root, fit.fits) for fit in larger] == [("srgan", str(root / "hr"), True)]


def test_the_direction_stays_where_the_first_folder_is_the_smaller(tmp_path):
    found = survey.survey(scaled(tmp_path, "a_small", "b_large", 4))
    assert dataset_fit._fit("pix2pix", found, [(256, 256)]).settings == ()


def test_training_says_that_it_learns_to_make_images_smaller(tmp_path):
    root = scaled(tmp_path, "lr", "hr", 4)
    notes = [
        direction_notes(opened(root, "pix2pix", direction=way), DataConfig(root=str(root), direction=way))
        for way in ("a2b", "b2a")
    ]
    wrong = "lr/ and hr/ hold the same images at two sizes, 1:4: this trains downsampling; direction=b2a trains"
    assert any(note.startswith(wrong) for note in notes[0])
    assert not any("downsampling" in note for note in notes[1])
