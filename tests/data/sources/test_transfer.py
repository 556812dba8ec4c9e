"""Data of domain transfer: a labelled set and another to draw like; letters, folders, and digits over photographs."""

import numpy as np
import pytest
from commands import diptych
from judged import fill, noise, offline, trained  # noqa: F401

from diptych.contract import DataKind
from diptych.data.config import DataConfig
from diptych.data.image_tensors import held_out_batch
from diptych.data.images import image_io
from diptych.data.images.transforms import Augment
from diptych.data.open import open_data
from diptych.data.sources.glyphs import LATIN, base_letter, latin_indices, render_letters
from diptych.errors import DataError
from diptych.evaluation.results import read_result


def opened(names=DataKind.TRANSFER, **settings):
    return open_data(DataConfig(crop_size=16, **{key: str(value) for key, value in settings.items()}), names)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """100 and 30 digits: 8 x 8, of ten classes; and two photographs."""
    root = tmp_path_factory.mktemp("digits")
    random = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 100), ("test", 30)):
        arrays[f"x_{part}"] = random.integers(0, 256, (count, 8, 8), np.uint8)
        arrays[f"y_{part}"] = (np.arange(count) % 10).astype(np.uint8)
    np.savez(root / "mnist.npz", **arrays)
    fill(root / "photographs", 2)
    return root, arrays


def test_a_file_of_digits_is_a_labelled_set(digits):
    root, arrays = digits
    data = opened(DataKind.LABELLED, root=root / "mnist.npz")
    assert data.labels[0].names == tuple("0123456789")
    assert (len(data.train), len(data.held_out), len(data.test)) == (95, 5, 30)
    assert np.array_equal(data.held_out.columns["image"][1][..., 0], arrays["x_train"][20])
    assert data.train.columns["label"][:3] == [1, 2, 3]
    assert len(opened(DataKind.IMAGES, root=root / "mnist.npz").test.columns["image"]) == 30


def test_mnist_m_is_the_difference_of_digit_and_patch(digits):
    root, arrays = digits
    data = opened(DataKind.LABELLED, root=root / "mnist.npz", background_root=root / "photographs")
    column = data.held_out.columns["image"]
    made, digit = column[1].astype(int), arrays["x_train"][20].astype(int)
    photographs = [image_io.read(file).astype(int) for file in sorted((root / "photographs").iterdir())]
    places = [photo[y : y + 8, x : x + 8] for photo in photographs for y in range(25) for x in range(25)]
    assert any(np.array_equal(made, np.abs(digit[..., None] - patch)) for patch in places)
    assert column.shape == (5, 8, 8, 3)
    again = opened(DataKind.LABELLED, root=root / "mnist.npz", background_root=root / "photographs").held_out.columns[
        "image"
    ]
    assert np.array_equal(made, again[1]), "a digit has one patch"


def test_source_and_target_share_no_digit(digits):
    root, arrays = digits
    file = root / "mnist.npz"
    data = opened(root=file, target_root=file, background_root=root / "photographs")
    assert tuple(data.train.columns) == ("source", "label", "target")
    assert not data.train.aligned
    assert data.train.sample_groups == (("source", "label"), ("target",))
    targets = {bytes(each) for each in data.train.columns["target"]} | {
        bytes(each) for each in data.held_out.columns["target"]
    }
    assert targets == {bytes(each[..., None]) for each in arrays["x_train"][50:]}
    assert data.train.columns["source"].numbers.max() < 50
    assert data.train.columns["target"][0].shape == (8, 8, 1), "the target has no patches"
    assert len(data.test.columns["source"]) == len(data.test.columns["target"]) == 30


def test_digits_that_are_none_are_told(digits, tmp_path):
    root, arrays = digits
    with pytest.raises(DataError, match="a file of labelled digits, but this method needs folders"):
        opened(DataKind.PAIRED, root=root / "mnist.npz")
    with pytest.raises(DataError, match="is not a file that can be read"):
        opened(DataKind.LABELLED, root=tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(DataError, match="has no arrays x_train and y_train; there are a"):
        opened(DataKind.LABELLED, root=tmp_path / "other.npz")
    np.savez(tmp_path / "flat.npz", **{**arrays, "y_test": np.zeros(7, np.uint8)})
    with pytest.raises(DataError, match="expected x_test to be digits"):
        opened(DataKind.LABELLED, root=tmp_path / "flat.npz")
    np.savez(tmp_path / "pickled.npz", **{**arrays, "x_test": np.array([{}], object)})
    with pytest.raises(DataError, match="pickled Python objects, which are never loaded"):
        opened(DataKind.LABELLED, root=tmp_path / "pickled.npz")
    with pytest.raises(DataError, match="no photographs in it"):
        opened(DataKind.LABELLED, root=root / "mnist.npz", background_root=tmp_path)
    fill(tmp_path / "small", 1, make=lambda seed: noise(seed, (7, 20, 3)))
    with pytest.raises(DataError, match="at least as large as the digits"):
        opened(DataKind.LABELLED, root=root / "mnist.npz", background_root=tmp_path / "small")


def test_letters_of_one_face_are_read_and_drawn_like_another():
    data = opened(root="glyphs:sans", target_root="glyphs:serif-bold")
    assert data.labels[0].names == tuple(LATIN)
    where = latin_indices()["val"]
    assert data.held_out.aligned
    assert np.array_equal(data.held_out.columns["source"], render_letters("sans", 16)[where])
    assert np.array_equal(data.held_out.columns["target"], render_letters("serif-bold", 16)[where])
    assert not data.train.aligned
    assert set(data.train.columns["label"]) == set(range(26))
    assert [base_letter(each) for each in "aÁçZßжα1"] == ["A", "A", "C", "Z", "", "", "", ""]
    assert opened(DataKind.LABELLED, root="glyphs:sans").labels == data.labels


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Class folders with splits, and a set without labels, whose test images have the same names."""
    root = tmp_path_factory.mktemp("folders")
    for split, count in (("train", 6), ("test", 4)):
        fill(root / "photos" / split / "cat", count, 0)
        fill(root / "photos" / split / "dog", count // 2, 50)
        fill(root / "drawings" / split, count + 1, 100)
    for number, file in enumerate(sorted((root / "photos" / "test" / "dog").iterdir())):
        file.rename(file.with_name(f"dog{number}.png"))
    return root


def test_folders_are_drawn_apart_and_spread_over_the_classes(folders):
    data = opened(root=folders / "photos", target_root=folders / "drawings")
    assert [len(data.train.columns[name]) for name in ("source", "label", "target")] == [9, 9, 7]
    assert not data.held_out.aligned
    batch = held_out_batch(data.held_out, {"source": 3, "target": 3}, Augment(16, 16), 4)
    assert batch["label"].tolist() == [0, 0, 0, 1]
    assert batch["target"].shape == (4, 3, 16, 16)


def test_twins_are_found_by_name(folders):
    config = DataConfig(
        root=str(folders / "photos"), target_root=str(folders / "drawings"), crop_size=16, matched_names=True
    )
    data = open_data(config, DataKind.TRANSFER)
    assert data.held_out.aligned
    names = [[file.stem for file in data.held_out.columns[name].files] for name in ("source", "target")]
    assert names[0] == names[1] == ["000", "001", "002", "003"]
    (folders / "others").mkdir()
    for number in range(60):
        image_io.write(folders / "others" / f"x{number}.png", noise(number))
    with pytest.raises(DataError, match="no held-out file of one domain has the name of a file of the other"):
        open_data(config.model_copy(update={"target_root": str(folders / "others")}), DataKind.TRANSFER)


def test_a_target_that_is_missing_or_not_wanted_is_told(folders):
    with pytest.raises(DataError, match="no target domain: give its folder by target_root=FOLDER"):
        opened(root=folders / "photos")
    with pytest.raises(DataError, match="this method uses one data set; leave target_root= out"):
        opened(DataKind.PAIRED, root=folders / "photos", target_root=folders / "drawings")
    with pytest.raises(DataError, match="target_root=nowhere: there is no such folder"):
        opened(root=folders / "photos", target_root="nowhere")
    with pytest.raises(DataError, match="translates from root to target_root: leave direction= out"):
        opened(root=folders / "photos", target_root=folders / "drawings", direction="b2a")
    with pytest.raises(DataError, match="letters translate only to letters"):
        opened(root="glyphs:sans", target_root=folders / "drawings")


def test_classes_are_left_out_of_training_images(digits):
    """Of source and target independently; held-out and test images, and the labels, keep them."""
    root, arrays = digits
    file = root / "mnist.npz"
    config = DataConfig(
        root=str(file), target_root=str(file), background_root=str(root / "photographs"), crop_size=16,
        source_without=[3], target_without=["3", 4],
    )  # fmt: skip
    data, whole = (
        open_data(each, DataKind.TRANSFER)
        for each in (config, config.model_copy(update={"source_without": (), "target_without": ()}))
    )
    columns, of_all = data.train.columns, whole.train.columns
    assert set(columns["label"]) == set(range(10)) - {3}
    kept = [index for index, label in enumerate(of_all["label"]) if label != 3]
    assert [columns["label"], columns["source"].numbers.tolist()] == [
        [of_all["label"][index] for index in kept],
        of_all["source"].numbers[kept].tolist(),
    ]
    assert np.array_equal(columns["source"][5], of_all["source"][kept[5]])
    left_out = {bytes(digit[..., None]) for digit in arrays["x_train"][np.isin(arrays["y_train"], [3, 4])]}
    assert not left_out & {bytes(digit) for digit in columns["target"]}
    assert len(columns["target"]) < len(of_all["target"])
    assert (len(data.test), data.test.columns["label"]) == (len(whole.test), whole.test.columns["label"])
    assert data.labels == whole.labels


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"source_without": ["30"]}, "source_without: no class is called '?30"),
        ({"source_without": list("0123456789")}, "source_without=.*no training image is left"),
        ({"target_root": "drawings", "target_without": [3]}, "the images of the target have no labels"),
    ],
)
def test_classes_that_cannot_be_left_out_are_told(digits, settings, said):
    root, _ = digits
    fill(root / "drawings", 3)
    settings = {"target_root": "mnist.npz", **settings}
    config = DataConfig(root=str(root / "mnist.npz"), crop_size=16, **settings)
    with pytest.raises(DataError, match=said):
        open_data(config.model_copy(update={"target_root": str(root / config.target_root)}), DataKind.TRANSFER)


def test_digits_are_judged_by_what_is_read_in_translations(digits, tmp_path):
    root, _ = digits
    file, small = root / "mnist.npz", ["batch_size=8", "load_size=32", "flip=false"]
    run = trained(
        tmp_path / "run", "dtn", f"root={file}", f"target_root={file}", f"background_root={root / 'photographs'}",
        *small, "ngf=4", "embedding_dim=8", "pretrain_steps=2", "steps=2",
    ).folder  # fmt: skip
    judge = trained(tmp_path / "judge", "classifier", f"root={file}", *small, "base_channels=4", "steps=2").folder
    diptych("evaluate", run, "--protocol", "dtn-digits", "--evaluator", judge, "--count", "2")
    found = read_result(run / "results" / "dtn-digits.json")
    scores = {score.name: score for score in found.scores}
    assert list(scores) == ["accuracy", "class-accuracy", "source/accuracy", "source/class-accuracy"]
    assert scores["accuracy"].count == 20
    assert scores["accuracy"].chance == pytest.approx(0.1)


def test_an_attribute_divides_a_table_into_two_heaps(tmp_path):
    files = fill(tmp_path, 20)
    lines = [
        "name,Glasses,Young",
        *(f"{file.name},{number % 2},{number % 3 == 0:d}" for number, file in enumerate(files)),
    ]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    config = DataConfig(root=str(tmp_path), attributes=("Glasses",), crop_size=16)
    data = open_data(config, DataKind.UNPAIRED)
    assert not data.train.aligned
    sides = {name: {int(file.stem) % 2 for file in data.train.columns[name].files} for name in "ab"}
    assert sides == {"a": {0}, "b": {1}}
    back = open_data(config.model_copy(update={"direction": "b2a"}), DataKind.UNPAIRED)
    assert back.train.columns["a"] == data.train.columns["b"]
    with pytest.raises(DataError, match=r"side by side.* Or choose one attribute .*: attributes=\[NAME\]"):
        open_data(DataConfig(root=str(tmp_path), crop_size=16), DataKind.UNPAIRED)
    for letter in "xyz":
        image_io.write(tmp_path / "drawings" / f"{letter}.png", noise(0))
    data = open_data(config.model_copy(update={"target_root": str(tmp_path / "drawings")}), DataKind.TRANSFER)
    assert (data.labels[0].kind, data.labels[0].names) == ("attributes", ("Glasses",))
    numbers = [int(file.stem) for file in data.train.columns["source"].files]
    assert data.train.columns["label"][:, 0].tolist() == [number % 2 for number in numbers]
    assert {file.stem for file in data.train.columns["target"].files} == set("xyz")
    with pytest.raises(DataError, match=r"source_without=.*: the images have attributes, not classes"):
        left_out = {"target_root": str(tmp_path / "drawings"), "source_without": ("Glasses",)}
        open_data(config.model_copy(update=left_out), DataKind.TRANSFER)
    with pytest.raises(DataError, match="needs one attribute, and translates from images without it to images with it"):
        open_data(config.model_copy(update={"attributes": ("Glasses", "Young")}), DataKind.UNPAIRED)


def test_a_target_too_small_to_hold_any_out_is_taken_once_where_all_is_judged(tmp_path):
    for start, name in enumerate(("cat", "dog")):
        fill(tmp_path / "photos" / name, 60, 100 * start)
    fill(tmp_path / "drawings", 2, 500)
    data = opened(root=tmp_path / "photos", target_root=tmp_path / "drawings")
    whole = data.all_images
    assert [len(whole.columns[name]) for name in ("source", "label", "target")] == [120, 120, 2]
    assert not whole.aligned
