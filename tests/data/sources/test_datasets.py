"""Datasets from Python: images of all kinds, pairs, labels, splits, and errors that name index and field."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, Subset

from diptych.contract import DataKind
from diptych.data.config import DataConfig
from diptych.data.sources.datasets import DatasetSource, is_dataset
from diptych.errors import ConfigError, DataError

CONFIG = DataConfig(root="dataset:", crop_size=16)


def pixels(index, channels=3):
    return np.random.RandomState(index).randint(0, 256, (18, 20, channels), dtype=np.uint8)


class Made(Dataset):
    """Calls a function for each index, and counts how often."""

    def __init__(self, make, length=40, **attributes):
        self.make, self.length, self.reads = make, length, 0
        vars(self).update(attributes)

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if not 0 <= index < self.length:
            raise IndexError(index)
        self.reads += 1
        return self.make(index)


class HuggingFace(Made):
    """What Diptych uses of `datasets.Dataset`: column_names, features, integers and names as indices."""

    def __getitem__(self, index):
        if isinstance(index, str):
            return [self.make(i)[index] for i in range(self.length)]
        return super().__getitem__(index)

    @property
    def column_names(self):
        return list(self.make(0))


def opened(data, kind, names, config=CONFIG, **options):
    return DatasetSource.of(data, **options).open(config, kind, names)


def pairs(data, **options):
    return opened(data, DataKind.PAIRED, ("source", "target"), **options)


class Endless(IterableDataset):
    def __iter__(self):
        yield pixels(0)


FORMS = {
    "pil": lambda array: Image.fromarray(array),
    "tensor": lambda array: torch.from_numpy(array.transpose(2, 0, 1).copy()),
    "tensor, channels last": torch.from_numpy,
    "array": lambda array: array,
    "array, channels first": lambda array: array.transpose(2, 0, 1),
    "float tensor": lambda array: torch.from_numpy(array.transpose(2, 0, 1) / np.float32(255)),
    "double array": lambda array: array / 255,
}


@pytest.mark.parametrize("form", FORMS)
def test_images_of_all_kinds(form):
    column = pairs(Made(lambda i: (FORMS[form](pixels(i)), FORMS[form](pixels(i))))).train.columns["source"]
    array = column[3]
    unit = array if array.dtype == np.float32 else array / 255
    row = int(column.rows[3])
    np.testing.assert_allclose(unit, pixels(row) / 255, atol=1e-6)
    assert column.channels() == 3
    assert np.ndim(column) == 4
    assert np.shape(column) == (len(column), 18, 20, 3)


@pytest.mark.parametrize("value", [Image.fromarray(pixels(0)[..., 0]), torch.from_numpy(pixels(0)[..., 0])])
def test_grey_images_have_one_channel(value):
    data = pairs(Made(lambda i: (value, pixels(i))))
    assert data.train.columns["source"][0].shape == (18, 20, 1)
    assert data.train.columns["target"].channels() == 3


@pytest.mark.parametrize(
    "make",
    [
        lambda i: (pixels(i), 255 - pixels(i)),
        lambda i: [pixels(i), 255 - pixels(i), "more"],
        lambda i: {"source": pixels(i), "target": 255 - pixels(i), "name": "more"},
    ],
)
def test_pairs_are_tuples_or_dicts(make):
    dataset = Made(make)
    data = pairs(dataset)
    assert data.train.aligned
    assert data.held_out.aligned
    dataset.reads = 0
    assert np.array_equal(data.train.columns["source"][5], 255 - data.train.columns["target"][5])
    assert dataset.reads == 1, "both images of a pair are of one reading"


def test_columns_name_the_fields():
    dataset = Made(lambda i: {"photo": pixels(i), "edges": 255 - pixels(i)})
    with pytest.raises(DataError, match=r"Made\[0\]: a sample has no field 'source'; it has 'photo', 'edges'"):
        pairs(dataset)
    data = pairs(dataset, columns=["edges", "photo"])
    assert np.array_equal(data.train.columns["target"][0], pixels(int(data.train.columns["target"].rows[0])))
    third = pairs(Made(lambda i: ("text", pixels(i), 255 - pixels(i))), columns=[1, 2])
    assert third.train.columns["source"].channels() == 3


def test_a_fixed_share_is_held_out_by_index():
    data = pairs(Made(lambda i: (pixels(i), pixels(i)), 400))
    train, unseen = data.train.columns["source"].rows.tolist(), data.held_out.columns["source"].rows.tolist()
    assert sorted(train + unseen) == list(range(400))
    assert 8 <= len(unseen) <= 40
    longer = pairs(Made(lambda i: (pixels(i), pixels(i)), 500))
    assert [i for i in longer.held_out.columns["source"].rows if i < 400] == unseen
    small = pairs(Made(lambda i: (pixels(i), pixels(i)), 3))
    assert (len(small.train), len(small.held_out)) == (2, 1)
    with pytest.raises(DataError, match="1 samples are too few"):
        pairs(Made(lambda i: (pixels(i), pixels(i)), 1))


def test_splits_by_name():
    def split(start, length):
        return Made(lambda i: (pixels(start + i), pixels(i)), length)

    data = pairs({"train": split(0, 10), "validation": split(100, 5), "test": split(200, 4)})
    assert (len(data.train), len(data.held_out), len(data.test)) == (10, 5, 4)
    assert np.array_equal(data.held_out.columns["source"][0], pixels(100))
    only_test = pairs({"train": split(0, 10), "test": split(200, 4)})
    assert len(only_test.held_out) == 4
    assert only_test.test is None
    with pytest.raises(ConfigError, match=r"no split is called 'vali'.*'val"):
        pairs({"train": split(0, 10), "vali": split(0, 10)})
    with pytest.raises(ConfigError, match="add 'train'"):
        pairs({"test": split(0, 10)})


def test_direction_swaps():
    config = CONFIG.model_copy(update={"direction": "b2a"})
    data = pairs(Made(lambda i: (pixels(i), 255 - pixels(i))), config=config)
    column = data.train.columns["source"]
    assert np.array_equal(column[0], 255 - pixels(int(column.rows[0])))


def test_two_datasets_are_unpaired():
    a, b = Made(lambda i: pixels(i), 30), Made(lambda i: (pixels(i), 7), 50)
    data = opened((a, b), DataKind.UNPAIRED, ("a", "b"))
    assert not data.train.aligned
    assert not data.held_out.aligned
    assert len(data.train.columns["a"]) + len(data.held_out.columns["a"]) == 30
    assert len(data.train.columns["b"]) + len(data.held_out.columns["b"]) == 50
    with pytest.raises(ConfigError, match="expected one dataset, got 2"):
        pairs((a, b))
    one = opened(Made(lambda i: (pixels(i), pixels(i))), DataKind.UNPAIRED, ("a", "b"))
    assert not one.train.aligned
    assert one.held_out.aligned, "held-out pairs are known"


def labelled(data, **options):
    return opened(data, DataKind.LABELLED, ("image", "label"), **options)


def test_labels_and_their_names():
    dataset = Made(lambda i: (pixels(i), i % 3), 60, classes=["cat", "dog", "fox"])
    data = labelled(dataset)
    assert data.labels[0].names == ("cat", "dog", "fox")
    rows, labels = data.train.columns["image"].rows, data.train.columns["label"]
    assert [row % 3 for row in rows.tolist()] == labels
    assert set(data.held_out.columns["label"]) == {0, 1, 2}
    assert labelled(Subset(dataset, range(50))).labels[0].names == ("cat", "dog", "fox")
    given = labelled(dataset, class_names=["c", "d", "f"])
    assert given.labels[0].names == ("c", "d", "f")
    plain = labelled(Made(lambda i: {"image": pixels(i), "label": torch.tensor(i % 2)}, 40))
    assert plain.labels[0].names == ("0", "1")
    with pytest.raises(DataError, match="labels number 3 classes, and there are 2 names"):
        labelled(dataset, class_names=["c", "d"])


def test_labels_without_reading_images():
    dataset = Made(lambda i: (pixels(i), i % 2), 60, targets=torch.arange(60) % 2)
    reader_reads = dataset.reads
    data = labelled(dataset)
    assert dataset.reads - reader_reads <= 8, "but for the fingerprint"
    assert data.train.columns["label"] == [row % 2 for row in data.train.columns["image"].rows.tolist()]


def test_attributes():
    dataset = Made(lambda i: (pixels(i), torch.tensor([i % 2, i % 3 == 0])), 40)
    data = labelled(dataset, class_names=["smiling", "old"])
    assert data.labels[0].kind == "attributes"
    assert np.shape(data.train.columns["label"]) == (len(data.train), 2)


def test_references_and_transfer():
    dataset = Made(lambda i: (pixels(i), i % 2), 60)
    names = ("image", "label", "reference", "other", "target")
    data = opened(dataset, DataKind.REFERENCED, names)
    assert data.train.same_class_columns == ("other",)
    both = opened((dataset, Made(pixels, 30)), DataKind.TRANSFER, ("source", "label", "target"))
    assert both.train.sample_groups == (("source", "label"), ("target",))
    assert len(both.labels[0]) == 2


def test_hugging_face_columns():
    class Feature:
        names = ("cat", "dog")

    dataset = HuggingFace(lambda i: {"img": Image.fromarray(pixels(i)), "kind": i % 2}, 60, features={"kind": Feature})
    data = labelled(dataset, columns=["img", "kind"])
    assert data.labels[0].names == ("cat", "dog")
    assert data.train.columns["image"].channels() == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda i: {"source": 3}[i], r"Made\[0\]: KeyError: 0"),
        (lambda i: ("text", pixels(i)), r"Made\[0\] field 'source': expected a PIL image, tensor or array, got str"),
        (lambda i: (pixels(i), pixels(i).astype(np.float32)), r"Made\[0\] field 'target'.*0\.\.1"),
        (lambda i: (pixels(i), pixels(i) / 127.5 - 1), r"field 'target': values from -.*normalisation to \[-1, 1\]"),
        (lambda i: (pixels(i), pixels(i).astype(np.int64)), r"Made\[0\] field 'target'.*int64"),
        (lambda i: pixels(i), r"Made\[0\]: expected a tuple or dict of source and target, got ndarray"),
        (lambda i: (pixels(i),), r"Made\[0\]: expected 2 fields or more, got 1"),
    ],
)
def test_errors_name_index_and_field(make, message):
    with pytest.raises(DataError, match=message):
        pairs(Made(make))


def test_errors_of_later_samples_name_them_too():
    data = pairs(Made(lambda i: (pixels(i), pixels(i) if i in (0, 6, 11, 17, 22, 28, 33, 39) else None)))
    column = data.train.columns["target"]
    at = int(np.flatnonzero(column.rows == 12)[0])
    with pytest.raises(DataError, match=r"Made\[12\] field 'target': expected a PIL image"):
        column[at]


@pytest.mark.parametrize("data", [3, object(), [], (), Endless()])
def test_what_is_no_dataset(data):
    with pytest.raises((ConfigError, DataError)):
        pairs(data)


@pytest.mark.parametrize("setting", [{"folders": ("a", "b")}, {"on_bad_image": "skip"}, {"layout": "folders"}])
def test_settings_of_files_are_refused(setting):
    with pytest.raises(ConfigError, match=f"{next(iter(setting))}= is for files"):
        pairs(Made(lambda i: (pixels(i), pixels(i))), config=CONFIG.model_copy(update=setting))


def test_labels_that_are_none():
    for label, message in ((0.5, "expected a class number"), ("cat", "expected a class number"), (-1, "class numbers")):
        with pytest.raises(DataError, match=message):
            labelled(Made(lambda i, label=label: (pixels(i), label)))
    with pytest.raises(DataError, match="1: fewer than 2 training images"):
        labelled(Made(lambda i: (pixels(i), int(i == 3)), 40))


def test_the_fingerprint_follows_length_and_contents():
    one = pairs(Made(lambda i: (pixels(i), pixels(i)))).fingerprint
    assert pairs(Made(lambda i: (pixels(i), pixels(i)))).fingerprint == one
    assert pairs(Made(lambda i: (pixels(i), pixels(i)), 41)).fingerprint != one
    assert pairs(Made(lambda i: (pixels(i), pixels(i + 1)))).fingerprint != one


def test_the_root_names_class_and_length():
    root = DatasetSource.of({"train": Made(pixels, 40), "val": Made(pixels, 5)}).root
    assert root == f"dataset:{Made.__module__}.Made[40]+{Made.__module__}.Made[5]"
    assert is_dataset(root)
