"""D1, D2: images that cannot be read before the first step, and those that change or vanish in the middle of a run."""

import shutil

import numpy as np
import pytest
import torch
from sets import cache, cut_short, fill, noise  # noqa: F401

from diptych.contract import DataKind
from diptych.data.batches import Batches
from diptych.data.checks.unreadable import check_images
from diptych.data.config import DataConfig
from diptych.data.dataset import Data, Split
from diptych.data.image_columns import ImageColumn, ImageFiles, _last_read
from diptych.data.images import image_io
from diptych.data.images.transforms import Augment
from diptych.data.open import open_data
from diptych.errors import DataError
from diptych.settings.recipe import load_recipe
from diptych.training.reproducibility import provenance_of

PAIRED, UNPAIRED = ("source", "target"), ("a", "b")
KIND = {PAIRED: DataKind.PAIRED, UNPAIRED: DataKind.UNPAIRED}


def opened(root, names=PAIRED, **settings):
    config = DataConfig(root=str(root), crop_size=8, **settings)
    return check_images(open_data(config, KIND[names], names), config)


def batches(data, bad="error", size=4):
    _last_read.cache_clear()
    return Batches(data.train, dict.fromkeys(data.train.columns, 3), Augment(8, 8), size, on_bad_image=bad)


def stems(column):
    return [file.stem for file in column.files]


@pytest.mark.parametrize("names", [PAIRED, UNPAIRED])
def test_d1_all_damage_of_all_splits_is_one_error_before_the_first_step(tmp_path, names):
    files = fill(tmp_path / "train", 12, suffix=".jpg", width=64, height=32) + fill(tmp_path / "test", 3, 50)
    for file in files[:6]:
        file.write_bytes(b"")
    cut_short(files[6])
    files[7].write_text("no image")
    for file in (files[8], files[13]):
        file.unlink()
    files[8].mkdir()
    files[13].symlink_to("nowhere")
    with pytest.raises(DataError) as caught:
        opened(tmp_path, names)
    text = str(caught.value)
    assert "10 of 15 images cannot be used" in text
    assert (
        "6 x is empty: train/000.jpg, train/001.jpg, train/002.jpg, train/003.jpg, train/004.jpg, and 1 more\n" in text
    )
    for line in ("train/006.jpg", "train/007.jpg", "1 x is a folder, not an image: train/008.jpg", "test/001.png"):
        assert line in text
    assert "005" not in text
    assert "diptych data check" in text
    assert "on_bad_image=skip" in text


def test_good_data_is_unchanged_and_each_picture_knows_its_entry(tmp_path):
    fill(tmp_path / "train", 4)
    config = DataConfig(root=str(tmp_path), crop_size=8)
    before = open_data(config, DataKind.PAIRED)
    after, manifest = check_images(before, config)
    assert after == before
    assert [entry.path for entry in manifest.entries] == [f"train/00{number}.png" for number in range(4)]
    for column in after.train.columns.values():
        assert [entry.path.rpartition("/")[2] for entry in column.entries] == [file.name for file in column.files]


def test_data_without_files_has_nothing_to_check():
    letters = Split({"source": noise(1)[None], "target": noise(2)[None]}, aligned=True)
    data = Data(letters, letters, "letters")
    after, manifest = check_images(data, DataConfig(root="glyphs", crop_size=8))
    assert after is data
    assert manifest.entries == ()


@pytest.mark.parametrize(("names", "left"), [(PAIRED, (199, 199)), (UNPAIRED, (200, 199))])
def test_d1_skip_leaves_pairs_out_together_and_heaps_each_by_itself(tmp_path, names, left):
    for side, start in (("A", 0), ("B", 500)):
        fill(tmp_path / f"train{side}", 200, start)
        fill(tmp_path / f"test{side}", 2, 900 + start)
    cut_short(tmp_path / "trainB" / "007.png")
    data, manifest = opened(tmp_path, names, on_bad_image="skip")
    assert tuple(len(column) for column in data.train.columns.values()) == left
    first, second = data.train.columns.values()
    assert "007" not in stems(second)
    assert ("007" in stems(first)) == (names == UNPAIRED)
    assert names == UNPAIRED or stems(first) == stems(second)
    assert any("1 of 404 images cannot be read and are left out: trainB/007.png" in note for note in data.notes)
    assert manifest.entry_of(tmp_path / "trainB" / "007.png").info.problem
    assert batches(data)[0].keys() == set(names)


@pytest.mark.parametrize(("bad", "refused"), [(2, False), (3, True)])
def test_d1_skip_refuses_more_than_one_in_a_hundred(tmp_path, bad, refused):
    files = fill(tmp_path / "train", 200)
    for file in files[:bad]:
        file.write_bytes(b"")
    if not refused:
        assert (
            len(opened(tmp_path, on_bad_image="skip")[0].train) + len(opened(tmp_path, on_bad_image="skip")[0].held_out)
            == 198
        )
        return
    with pytest.raises(DataError, match=r"3 of 200 images (.|\n)*3 x is empty(.|\n)*at most 1 %"):
        opened(tmp_path, on_bad_image="skip")


def test_d5_copies_and_leaks_are_notes(tmp_path):
    files = fill(tmp_path / "train", 4) + fill(tmp_path / "val", 2, 20)
    shutil.copy(files[0], tmp_path / "train" / "copy.png")
    shutil.copy(files[1], tmp_path / "val" / "leak.png")
    notes = opened(tmp_path)[0].notes
    assert len(notes) == 2
    assert "train/000.png = train/copy.png" in notes[0]
    assert "1 held-out images are also in training" in notes[1]
    assert "train/001.png = val/leak.png" in notes[1]


def test_d5_what_is_held_out_of_nothing_is_no_leak(tmp_path):
    """Of too few images none is held out; figures are of those in training, as another note says."""
    files = fill(tmp_path / "train", 3)
    shutil.copy(files[0], tmp_path / "train" / "copy.png")
    notes = opened(tmp_path)[0].notes
    assert ["seen in training" in note for note in notes] == [True, False]
    assert "train/000.png = train/copy.png" in notes[1]


# ----------------------------------------------------------------------------------------------- in the middle of a run


def alter(file):
    image_io.write(file, noise(12345))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("fault", "words"), [(alter, "SHA-256 is"), (cut_short, "SHA-256 is"), (lambda f: f.unlink(), "there is no such")]
)
def test_d2_a_file_that_changes_or_vanishes_stops_the_run_with_its_hash(tmp_path, fault, words, workers):
    fill(tmp_path / "train", 4)
    data, manifest = opened(tmp_path)
    file = data.train.columns["source"].files[1]
    stream = batches(data).stream(0, 9, workers)
    fault(file)
    with pytest.raises(DataError) as caught:
        list(stream)
    assert str(caught.value).startswith(f"{file}: ")
    assert words in str(caught.value)
    assert manifest.entry_of(file).info.sha256 in str(caught.value)


def test_d2_a_file_that_was_only_touched_is_read_as_before(tmp_path):
    data, _ = opened(fill(tmp_path / "train", 4)[0].parents[1])
    before = batches(data)[0]
    data.train.columns["source"].files[1].touch()
    assert all(torch.equal(before[name], after) for name, after in batches(data)[0].items())


def streamed(data, workers=0, start=0, stop=60):
    told = []
    made = list(batches(data, "skip").stream(start, stop, workers, skipped=told.append))
    return made, told


@pytest.mark.parametrize("names", [PAIRED, UNPAIRED])
def test_d2_skip_puts_another_sample_in_the_place_of_a_lost_one_the_same_for_any_workers(tmp_path, names):
    fill(tmp_path / "train", 110)
    data, _ = opened(tmp_path, names, on_bad_image="skip")
    before, told = streamed(data)
    assert not told
    lost = data.train.columns[names[0]].files[3]
    cut_short(lost)
    made, told = streamed(data)
    assert len(told) == 1  # though it was met many times
    assert told[0].startswith(f"{lost}: ")
    others, told_again = streamed(data, workers=2)
    assert told_again == told
    later, _ = streamed(data, start=17)  # as after a resume
    for name in names:
        ours = [batch[name] for batch in made]
        assert all(map(torch.equal, ours, (batch[name] for batch in others)))
        assert all(map(torch.equal, ours[17:], (batch[name] for batch in later)))
        same = [torch.equal(a, b[name]) for a, b in zip(ours, before, strict=True)]
        assert 0 < same.count(False) <= 3  # nothing moved but the places of the lost one


def test_d2_skip_takes_both_halves_of_a_pair_from_the_other_sample(tmp_path):
    for side in "AB":
        fill(tmp_path / f"train{side}", 120, width=8)
    data, _ = opened(tmp_path, on_bad_image="skip")
    data.train.columns["target"].files[5].unlink()
    made, told = streamed(data)
    assert len(told) == 1
    assert all(torch.equal(batch["source"], batch["target"]) for batch in made)


@pytest.mark.parametrize("workers", [0, 2])
def test_d2_skip_gives_up_when_too_much_is_lost(tmp_path, workers):
    fill(tmp_path / "train", 230)
    data, _ = opened(tmp_path, on_bad_image="skip")
    for file in data.train.columns["source"].files[:6:2]:
        file.unlink()
    told = []
    with pytest.raises(
        DataError, match=r"3 of 216 images can no longer be read, and on_bad_image=skip skips at most 1 %"
    ):
        list(batches(data, "skip").stream(0, 120, workers, skipped=told.append))
    assert len(told) == 3


def test_a_lost_file_is_told_once_in_all_stages(tmp_path):
    from dataclasses import replace

    fill(tmp_path / "train", 110)
    data, _ = opened(tmp_path, on_bad_image="skip")
    data.train.columns["source"].files[0].unlink()
    first, told = batches(data, "skip"), []
    for stage in ("warmup", "main"):
        list(replace(first, stage=stage).stream(0, 40, skipped=told.append))
    assert len(told) == 1


def test_an_image_that_does_not_fit_is_no_lost_one(tmp_path):
    """`skip` is about files that cannot be read; settings that do not fit are told at once."""
    fill(tmp_path / "train", 110)
    data, _ = opened(tmp_path, on_bad_image="skip")
    wide = Batches(
        Split(data.train.columns, aligned=True), dict.fromkeys(PAIRED, 5), Augment(8, 8), on_bad_image="skip"
    )
    with pytest.raises(DataError, match="expected 5 channels, got 3"):
        next(wide.stream(0, 5))


class Computed(ImageColumn):
    """Images that are computed on access, as a source of data may have them."""

    def __init__(self, level):
        self.level = level

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return np.full((8, 8, 1), self.level + index, np.uint8)

    def take(self, indices):
        return self


@pytest.mark.parametrize("images", [lambda level: np.full((3, 8, 8, 1), level, np.uint8), Computed])
@pytest.mark.parametrize("files", [False, True])
def test_changed_images_that_are_not_files_change_the_provenance(tmp_path, images, files):
    more = {"b": ImageFiles(tuple(fill(tmp_path, 3)))} if files else {}
    digests = set()
    for level in (1, 1, 2):
        split = Split({"a": images(level), **more}, aligned=False)
        recipe = load_recipe("cyclegan", [f"root={tmp_path}", "precision=fp32"])
        _, manifest = check_images(Data(split, split, "some"), recipe.data)
        digests.add(provenance_of(recipe, manifest, 1)["images"])
    assert len(digests) == 2
    assert "" not in digests
