"""Names of pairs: one Unicode form, and settings for names that differ by case or by what a folder's names share."""

import unicodedata
from pathlib import Path

import pytest
from sets import cache, fill, noise  # noqa: F401

from diptych.data.checks import problems, survey
from diptych.data.config import DataConfig
from diptych.data.images import image_io
from diptych.data.open import open_data
from diptych.data.sources.attributes import open_attributes
from diptych.data.sources.file_names import suggest_match
from diptych.errors import DataError
from diptych.evaluation.two_folders import two_folders
from diptych.methods import find
from diptych.workflows import dataset_fit

ACCENTS = ("café", "über", "niño", "été", "garçon", "jaune")
FORMS = {  # names in trainA and trainB, and the setting by which they agree
    "suffix": ("frame_{:03}_leftImg8bit", "frame_{:03}_gtFine_color", "affix", r"\*_leftImg8bit and \*_gtFine_color"),
    "prefix": ("photo {}", "map {}", "affix", r"photo \* and map \*"),
    "capitals": ("IMG_{:03}", "img_{:03}", "casefold", "case is ignored"),
    "both": ("IMG_{:03}_L", "mask_{:03}", "affix", r"IMG_\*_L and mask_\*"),
}


def pairs(root, first, second, count=6):
    """Two folders of noise with such names; the second begins with other noise."""
    for folder, form, start in (("trainA", first, 0), ("trainB", second, 100)):
        for number in range(count):
            image_io.write(root / folder / f"{form.format(number)}.png", noise(start + number))


def opened(root, method="pix2pix", **settings):
    return open_data(DataConfig(root=str(root), **settings), find(method).data)


def test_accents_are_compared_in_one_form(tmp_path):
    for number, name in enumerate(ACCENTS):
        for folder, form in (("trainA", "NFC"), ("trainB", "NFD")):
            image_io.write(tmp_path / folder / f"{unicodedata.normalize(form, name)}.png", noise(number))
    first, second = opened(tmp_path).all_images.columns.values()
    for a, b in zip(first.files, second.files, strict=True):
        assert a.stem != b.stem or a.stem == "jaune"
        assert unicodedata.normalize("NFC", b.stem) == a.stem
    found = survey.survey(tmp_path)
    assert found.layout == survey.BY_NAME
    assert not [fault for fault in problems.find_problems(found) if "partner" in fault.kind]
    assert sum(row.truth is not None for row in two_folders(tmp_path / "trainA", tmp_path / "trainB").rows) == 6


def test_a_table_in_the_other_form_names_its_images(tmp_path):
    names = [f"é{number:02}" for number in range(40)]
    for number, name in enumerate(names):
        image_io.write(tmp_path / f"{unicodedata.normalize('NFD', name)}.png", noise(number, 16, 16))
    rows = "".join(
        f"{name}.png,{number % 2},{'train' if number < 30 else 'val'}\n" for number, name in enumerate(names)
    )
    (tmp_path / "table.csv").write_text("name,old,split\n" + rows)
    found = survey.survey(tmp_path)
    assert found.layout == survey.TABLE
    assert {part.split: len(part.files) for part in found.parts} == {"train": 30, "val": 10}
    assert not [fault for fault in problems.find_problems(found) if "table.csv" in fault.kind]
    data = open_attributes(tmp_path, tmp_path / "table.csv", DataConfig(root=str(tmp_path), attributes=("old",)))
    assert (len(data.train), len(data.held_out)) == (30, 10)


@pytest.mark.parametrize("form", FORMS)
def test_names_that_differ_in_form_alone_are_refused_with_the_setting_that_pairs_them(tmp_path, form):
    first, second, setting, how = FORMS[form]
    pairs(tmp_path, first, second)
    with pytest.raises(DataError, match=f"(?s)12 images have no partner.*All have one.*({how}).*pair_names={setting}"):
        opened(tmp_path)
    split = opened(tmp_path, pair_names=setting).all_images
    a, b = (column.files for column in split.columns.values())
    partners = {(first.format(number), second.format(number)) for number in range(6)}
    assert {(ours.stem, theirs.stem) for ours, theirs in zip(a, b, strict=True)} == partners


@pytest.mark.parametrize("form", FORMS)
def test_data_check_offers_the_setting_that_training_asks_for(tmp_path, form):
    first, second, setting, _ = FORMS[form]
    pairs(tmp_path, first, second)
    found = dataset_fit._fit("pix2pix", survey.survey(tmp_path), [(256, 256)])
    assert found.fits
    assert found.settings == (f"pair_names={setting}",)


def test_one_name_too_many_is_still_listed(tmp_path):
    pairs(tmp_path, "a{}_left", "a{}_right")
    image_io.write(tmp_path / "trainA" / "more_left.png", noise(9))
    with pytest.raises(DataError, match="A method for unpaired images can train on these folders"):
        opened(tmp_path)
    with pytest.raises(DataError, match="13 images have no partner"):
        opened(tmp_path, pair_names="affix")
    assert dataset_fit._looser_names(survey.survey(tmp_path)) == []


def test_names_of_unpaired_images_are_no_pairs(tmp_path):
    fill(tmp_path / "trainA", 6, suffix="_x.png")
    for number in (7, 9, 11):
        image_io.write(tmp_path / "trainB" / f"n02391049_{number}.png", noise(number))
    assert dataset_fit._looser_names(survey.survey(tmp_path)) == []


def test_a_single_file_in_each_folder_agrees_with_any_other():
    assert suggest_match([Path("x.png")], [Path("y.png")]) is None
    assert suggest_match([Path("X.png")], [Path("x.png")]) == ("casefold", "if case is ignored")


def test_two_names_that_differ_by_case_alone_are_no_partner_of_one(tmp_path):
    pairs(tmp_path, "IMG_{}", "img_{}")
    image_io.write(tmp_path / "trainA" / "img_0.png", noise(8))
    with pytest.raises(DataError, match="has the same name before the suffix"):
        opened(tmp_path, pair_names="casefold")


@pytest.mark.parametrize("direction", ["a2b", "b2a"])
def test_partners_of_other_names_are_held_out_together(tmp_path, direction):
    pairs(tmp_path, "frame_{:03}_left", "frame_{:03}_right", 80)
    data = opened(tmp_path, pair_names="affix", direction=direction)
    assert len(data.held_out) > 0
    for split in (data.train, data.held_out):
        numbers = [[file.stem[6:9] for file in column.files] for column in split.columns.values()]
        assert numbers[0] == numbers[1]
    other = opened(tmp_path, pair_names="affix")
    assert len(other.held_out) == len(data.held_out), "whichever the direction"


@pytest.mark.parametrize("method", ["cyclegan", "srgan", "stargan"])
def test_methods_without_pairs_refuse_the_setting(tmp_path, method):
    pairs(tmp_path, "{:03}", "{:03}", 40)
    with pytest.raises(DataError, match="pair_names"):
        opened(tmp_path, method, pair_names="casefold")
