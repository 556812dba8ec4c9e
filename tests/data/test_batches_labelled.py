"""Labelled sets as training draws from them: classes equally often, references anew, several sets in turns."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from judged import fill, noise  # noqa: F401
from PIL import Image
from torchvision.transforms import InterpolationMode, RandomResizedCrop, Resize

from diptych.contract import DataKind
from diptych.data.batches import Batches, epoch_order
from diptych.data.config import DataConfig
from diptych.data.dataset import Split
from diptych.data.image_tensors import held_out_batch
from diptych.data.images.transforms import Augment, random_resized_crop
from diptych.data.open import open_data
from diptych.data.sources.classes import LABELLED, REFERENCED
from diptych.errors import DataError

CUT = Augment(16, 16, flip=False)


def numbered(counts):
    """A set whose images are flat, each of a level of its own; class k has counts[k] of them."""
    total = sum(counts)
    images = np.stack([np.full((16, 16, 1), level, np.uint8) for level in range(total)])
    labels = [number for number, count in enumerate(counts) for _ in range(count)]
    return Split({"image": images, "label": labels}, aligned=True)


def levels(batch):
    return [round((float(value) + 1) * 127.5) for value in batch[:, 0, 0, 0]]


def batches(split, **settings):
    return Batches(split, {"image": 1, "reference": 1, "other": 1}, CUT, 4, **settings)


def referenced(split):
    image, label = split.columns.values()
    columns = dict(zip(REFERENCED, (image, label, image, image, label), strict=True))
    return Split(columns, aligned=False, groups=(LABELLED, REFERENCED[2:]), same_class_columns=("other",))


def test_balanced_epochs_have_each_class_equally_often_and_each_image_once_at_least():
    drawn = batches(numbered([3, 10, 5]), balance_classes=True)
    seen = [drawn.sample(number, {}) for number in range(30)]
    assert np.bincount([int(each["label"]) for each in seen]).tolist() == [10, 10, 10]
    assert {round((float(each["image"][0, 0, 0]) + 1) * 127.5) for each in seen} == set(range(18))
    assert [int(each["label"]) for each in seen] != sorted(int(each["label"]) for each in seen)
    plain = batches(numbered([3, 10, 5]))
    assert np.bincount([int(plain.sample(number, {})["label"]) for number in range(18)]).tolist() == [3, 10, 5]


def test_more_classes_than_a_batch_has_samples_come_equally_often():
    drawn = batches(numbered([3, 5, 5, 2, 4, 1]), balance_classes=True)
    seen = torch.stack([drawn[step]["label"] for step in range(15)])  # 15 batches of 4: two epochs of 6 classes x 5
    assert torch.bincount(seen.flatten()).tolist() == [10] * 6
    assert len({tuple(sorted(row)) for row in seen.tolist()}) > 5, "classes are mixed in many ways"


def test_images_with_and_without_the_one_attribute_come_equally_often():
    """Of several attributes that cannot be, and they come as they are."""
    one = numbered([12])
    rows = [[int(number < 3)] for number in range(12)]
    drawn = batches(replace(one, columns={**one.columns, "label": rows}), balance_classes=True)
    seen = [drawn.sample(number, {}) for number in range(18)]
    assert sum(int(each["label"][0]) for each in seen) == 9
    assert {round((float(each["image"][0, 0, 0]) + 1) * 127.5) for each in seen} == set(range(12))
    two = batches(replace(one, columns={**one.columns, "label": [[*row, 1] for row in rows]}), balance_classes=True)
    assert sum(int(two.sample(number, {})["label"][0]) for number in range(12)) == 3
    none = batches(replace(one, columns={**one.columns, "label": [[0]] * 12}), balance_classes=True)
    assert {int(none.sample(number, {})["label"][0]) for number in range(12)} == {0}


def test_the_order_of_balanced_epochs_differs_and_is_a_function_of_its_place():
    first, second = (epoch_order(0, "train", 0, epoch, 30, (3, 10, 5)) for epoch in (0, 1))
    assert not np.array_equal(first, second)
    assert np.array_equal(first, epoch_order.__wrapped__(0, "train", 0, 0, 30, (3, 10, 5)))


def test_references_are_two_images_of_the_target_drawn_anew():
    drawn = batches(referenced(numbered([6, 6])), balance_classes=True)
    pairs = []
    for step in range(30):
        batch = drawn[step]
        reference, other = levels(batch["reference"]), levels(batch["other"])
        assert [level // 6 for level in reference] == [level // 6 for level in other] == batch["target"].tolist()
        assert [level // 6 for level in levels(batch["image"])] == batch["label"].tolist()
        assert all(one != two for one, two in zip(reference, other, strict=True))
        pairs += zip(reference, other, strict=True)
    assert len(set(pairs)) > 30  # 60 are possible; pairs drawn once and for all would be 12
    assert torch.equal(drawn[3]["other"], drawn[3]["other"])


def test_sets_come_in_turns_with_an_order_of_their_own():
    one, two = numbered([8, 8]), numbered([4, 4, 4])
    both = batches(one, extra_splits=(two,))
    assert {len(np.unique(levels(both[step]["image"]))) for step in range(6)} == {4}
    first, second = (
        [level for step in steps for level in levels(both[step]["image"])] for steps in ((0, 2, 4, 6), (1, 3, 5))
    )
    assert sorted(first) == list(range(16))
    assert sorted(second) == list(range(12))
    stream = list(replace(both, stage="train").stream(0, 5))
    assert all(torch.equal(batch["image"], both[step]["image"]) for step, batch in enumerate(stream))
    assert len(both.image_names(1)) == 4


def test_an_image_of_each_class_where_every_scene_is_known():
    data = open_data(DataConfig(root="glyphs:sans/serif/mono", crop_size=16), DataKind.LABELLED)
    batch = held_out_batch(data.held_out, {"image": 1}, CUT, 6, data.labels[0].names)
    for row, label in enumerate(batch["label"].tolist()):
        own = data.labels[0].names[label]
        assert torch.equal(batch["image"][row], batch[f"image of {own}"][row])
    assert not torch.equal(batch["image of sans"], batch["image of serif"])
    assert set(held_out_batch(numbered([3, 3]), {"image": 1}, CUT, 4, ("a", "b"))) == {"image", "label"}


def test_files_of_one_name_are_one_scene_only_if_that_is_said(tmp_path):
    for name in ("a", "b"):
        for split in ("train", "val"):
            fill(tmp_path / split / name, 3)
    apart, twins = (
        open_data(DataConfig(root=str(tmp_path), matched_names=said), DataKind.LABELLED).held_out
        for said in (False, True)
    )
    assert not apart.scene_index
    assert twins.scene_index == {(f"{at:03}", number): 3 * number + at for number in (0, 1) for at in range(3)}


def test_references_held_out_are_of_other_samples():
    split = replace(referenced(numbered([4, 4])), scene_ids=())
    batch = held_out_batch(split, {"image": 1, "reference": 1, "other": 1}, CUT, 4)
    assert all(one != two for one, two in zip(levels(batch["image"]), levels(batch["reference"]), strict=True))
    assert batch["label"].tolist() != batch["target"].tolist()
    assert [level // 4 for level in levels(batch["reference"])] == batch["target"].tolist()


@pytest.mark.parametrize("fit", ["center_square", "squash"])
def test_the_centre_is_the_middle_square(fit):
    image = np.zeros((8, 20, 1), np.uint8)
    image[:, 6:14] = 255
    found = Augment(8, 8, fit, flip=False).without_randomness(image)
    assert (found == 255).all() == (fit == "center_square")


def test_zoom_keeps_most_of_the_image_and_half_of_the_time_all():
    image = np.arange(64 * 64, dtype=np.float32).reshape(64, 64, 1) / 4096
    cut = Augment(64, 64, flip=False, crop_mode="random_resized")
    found = [cut(image, np.random.RandomState(seed)) for seed in range(60)]
    whole = sum(np.array_equal(each, image) for each in found)
    assert 15 < whole < 45
    assert all(each.max() - each.min() > 0.8 for each in found)
    assert all(each.shape == (64, 64, 1) for each in found)


@pytest.mark.parametrize("shape", [(64, 64), (60, 70), (40, 90), (90, 40)])
def test_zoomed_parts_have_the_sizes_of_torchvision(shape):
    """A part that does not fit is drawn again, not cut off, which would leave a full side in a quarter of the parts."""
    image, crop = np.zeros((*shape, 1), np.uint8), RandomResizedCrop(64, scale=(0.8, 1.0), ratio=(0.9, 1.1))
    random = np.random.RandomState(0)
    torch.manual_seed(0)
    found = [random_resized_crop(image, 0.5, 0.5, random).shape[:2] for _ in range(3000)]
    parts = np.array([size for size in found if size != shape])
    theirs = np.array([crop.get_params(torch.zeros(1, *shape), crop.scale, crop.ratio)[2:] for _ in range(len(parts))])
    assert 0.45 < len(parts) / len(found) < 0.55
    for mine, wanted in zip((parts, parts == shape), (theirs, theirs == shape), strict=True):
        assert np.allclose(mine.mean(0), wanted.mean(0), rtol=0.01, atol=0.06)
    assert np.allclose(parts.std(0), theirs.std(0), rtol=0.1)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_interpolation_is_that_of_torchvision(interpolation):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    wanted = np.asarray(Resize((32, 32), InterpolationMode(interpolation))(Image.fromarray(pixels)))
    augment = Augment(32, 32, flip=False, interpolation=interpolation, resampler="pillow")
    assert np.array_equal(augment(pixels, np.random.RandomState(0)), wanted)
    fast = replace(augment, resampler="torch")
    assert np.array_equal(fast.without_randomness(pixels), wanted), "held-out images are resized by Pillow"
    differences = np.abs(fast(pixels, np.random.RandomState(0)).astype(int) - wanted)
    assert 0 < (differences > 0).mean() < 0.05
    assert differences.max() <= 2


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda root: fill(root / "train" / "dog", 1), "dog has a single image, and a class needs at least 2"),
        (lambda root: (root / "train" / "stray").mkdir(), "stray in train has no images: add images"),
        (lambda root: fill(root / "val" / "wild", 2), "val has wild, which train does not have"),
    ],
)
def test_traps_in_labelled_folders_are_told_before_the_first_step(tmp_path, make, match):
    fill(tmp_path / "train" / "cat", 3)
    if "single" not in match:
        fill(tmp_path / "train" / "dog", 3)
    for name in ("cat", "dog"):
        fill(tmp_path / "val" / name, 2)
    make(tmp_path)
    with pytest.raises(DataError, match=match):
        open_data(DataConfig(root=str(tmp_path)), DataKind.LABELLED)


def test_a_table_beside_the_folders_divides_them(tmp_path):
    for name in ("one", "two", "three"):
        fill(tmp_path / name, 6)
    rows = "".join(f"{at:03},{'train' if at < 4 else 'val' if at < 5 else 'test'}\n" for at in range(6))
    (tmp_path / "list.csv").write_text("codepoints,split\n" + rows)
    data = open_data(DataConfig(root=str(tmp_path)), DataKind.LABELLED)
    assert [len(split) for split in (data.train, data.held_out, data.test)] == [12, 3, 3]
    pairs = open_data(DataConfig(root=str(tmp_path), folders=("one", "two")), DataKind.PAIRED)
    assert [len(split) for split in (pairs.train, pairs.held_out, pairs.test)] == [4, 1, 1]
    (tmp_path / "list.csv").write_text("codepoints,split\n" + rows[:-10])
    with pytest.raises(DataError, match=r"list\.csv: has no split for 3 images"):
        open_data(DataConfig(root=str(tmp_path)), DataKind.LABELLED)
