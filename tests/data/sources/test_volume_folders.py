"""Folders of volumes: layouts, pairs, splits by patient, and errors that name the volume."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from volumes import affine_of, phantom, write_dicom, write_nifti

from diptych.contract import DataKind
from diptych.data.config import DataConfig
from diptych.data.open import open_data
from diptych.data.sources.volume_folders import divide, group_names, patients_of
from diptych.errors import DataError
from diptych.runs.split_file import write_split

pytest.importorskip("nibabel")
pytest.importorskip("pydicom")
RANGE = {"range": ((-1000, 2000), (-1000, 2000))}


def opened(root, kind=DataKind.PAIRED, names=("source", "target"), **options):
    return open_data(DataConfig(root=str(root), crop_size=8, **{**RANGE, **options}), kind, names)


def write_pairs(root, count=3, folders=("trainA", "trainB"), first=0, **options):
    for number in range(first, first + count):
        write_nifti(root / folders[0] / f"p{number}.nii", phantom(seed=number), **options)
        write_nifti(root / folders[1] / f"p{number}.nii.gz", phantom(seed=100 + number), **options)


def patients(split, column="source"):
    return {volume.patient_id for volume in split.columns[column].volumes}


@pytest.mark.parametrize(
    ("train", "val"),
    [(("trainA", "trainB"), ("valA", "valB")), (("A/train", "B/train"), ("A/val", "B/val")),
     (("train/mr", "train/ct"), ("val/mr", "val/ct"))],
)  # fmt: skip
def test_layouts(tmp_path, train, val):
    write_pairs(tmp_path, 2, train)
    write_pairs(tmp_path, 1, val, first=2)
    data = opened(tmp_path, context=1)
    assert len(data.train) == 12
    assert len(data.held_out) == 6
    assert data.train.aligned
    assert data.train.columns["source"].shape == (12, 10, 12, 3)
    assert data.train.columns["target"].shape == (12, 10, 12, 1)
    assert patients(data.train) == patients(data.train, "target") == {"p0", "p1"}
    if "mr" in train[0]:
        assert data.domains == {"source": "ct", "target": "mr"}
        assert opened(tmp_path, direction="b2a").domains == {"source": "mr", "target": "ct"}


def test_dicom_series_and_nifti_on_one_grid_are_pairs(tmp_path):
    for number in range(2):
        write_dicom(tmp_path / "a" / f"p{number}" / "series", phantom(), patient=f"id{number}")
        affine = affine_of(([-0.7, 0, 0], [0, -0.8, 0], [0, 0, 2.5]), (5, 6, 7))
        write_nifti(tmp_path / "b" / f"p{number}_series.nii.gz", phantom(), affine)
    data = opened(tmp_path)
    assert len(data.train) == len(data.held_out) == 6
    assert not patients(data.train) & patients(data.held_out)
    x, y = (data.train.columns[name][0][..., 0] for name in ("source", "target"))
    assert np.abs(x - y).max() <= 1  # stored in steps of 2
    assert "split by patient (2 patients or groups)" in data.notes[0]


def test_a_domain_folder_may_be_a_series_itself(tmp_path):
    for folder in ("trainA", "trainB"):
        write_dicom(tmp_path / folder, phantom())
    assert len(opened(tmp_path).train) == 6


def test_unpaired_volumes(tmp_path):
    for number in range(3):
        write_nifti(tmp_path / "x" / f"p{number}.nii", phantom((6, 5, 4 + number)))
    write_nifti(tmp_path / "y" / "p1.nii", phantom())
    write_nifti(tmp_path / "y" / "p7.nii", phantom())
    data = opened(tmp_path, DataKind.UNPAIRED, ("a", "b"))
    assert not data.train.aligned
    train, held_out = (patients(split, "a") | patients(split, "b") for split in (data.train, data.held_out))
    assert not train & held_out
    assert train | held_out == {"p0", "p1", "p2", "p7"}
    with pytest.raises(DataError, match="context=1: this method translates in both directions"):
        opened(tmp_path, DataKind.UNPAIRED, ("a", "b"), context=1)


def test_one_patient_is_too_few_to_hold_out(tmp_path):
    write_pairs(tmp_path, 1)
    data = opened(tmp_path)
    assert "too few" in data.notes[0]
    assert len(data.held_out) == len(data.train) == len(data.all_images) == 6


def test_all_slices_of_data_without_splits(tmp_path):
    write_pairs(tmp_path, 3)
    data = opened(tmp_path)
    everything = data.all_images.columns["target"]
    assert len(everything) == 18
    last = data.held_out.columns["target"]
    assert everything.name(17) == last.name(len(last) - 1)
    assert (everything[17] == last[len(last) - 1]).all()


class Named:
    """What the division into splits uses of a volume."""

    def __init__(self, patient_id, path):
        self.patient_id, self.path = patient_id, path


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 5)), min_size=2, max_size=30),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, (0.6, 0.2, 0.2)]),
)
def test_no_patient_and_no_group_is_in_two_splits(numbers, paired, grouped, ratios):
    if paired:
        columns = ([(Named(f"p{a}", f"{i}a"), Named(f"q{b}", f"{i}b")) for i, (a, b, _) in enumerate(numbers)],)
    else:
        columns = tuple([(Named(f"p{each[d]}", f"{i}{d}"),) for i, each in enumerate(numbers)] for d in (0, 1))
    scans = [scan for column in columns for scan in column]
    paths = {volume.path: f"g{numbers[i % len(numbers)][2]}" for i, scan in enumerate(scans) for volume in scan}
    given = paths if grouped else {}
    splits = divide(columns, group_names(scans, given), ratios)
    found = {}
    for name, parts in splits.items():
        for scan in (scan for part in parts for scan in part):
            for owner in patients_of(scan) | {given[volume.path] for volume in scan if volume.path in given}:
                assert found.setdefault(owner, name) == name
    assert sum(len(part) for parts in splits.values() for part in parts) == len(scans)
    assert ratios or all(splits["val"])


def test_splits_by_ratio_and_group(tmp_path):
    write_pairs(tmp_path, 8)
    for number in range(8):
        for folder, suffix in (("trainA", ".nii"), ("trainB", ".nii.gz")):
            place = tmp_path / folder / f"p{number}{suffix}"
            place.rename(place.with_name(f"s{number // 2}_{number}{suffix}"))
    (tmp_path / "trainA").rename(tmp_path / "a")
    (tmp_path / "trainB").rename(tmp_path / "b")
    data = opened(tmp_path, split=(0.35, 0.5, 0.15), group_by=r"/(s\d)_")
    sites = [{name[:2] for name in patients(split)} for split in (data.train, data.held_out, data.test)]
    assert sites == [{"s2", "s3"}, {"s0"}, {"s1"}]
    assert set(data.group_of.values()) == {"s0", "s1", "s2", "s3"}
    write_split(tmp_path / "split.csv", data, str(tmp_path))
    rows = (tmp_path / "split.csv").read_text().splitlines()
    assert len(rows) == 17
    assert any(row.startswith("a/s0_0.nii,") and row.endswith(",s0") for row in rows)
    with pytest.raises(DataError, match="without volumes: 8 patients or groups are too few"):
        opened(tmp_path, split=(0.98, 0.01, 0.01))


def test_a_patient_in_train_and_test_is_refused(tmp_path):
    write_pairs(tmp_path, 2)
    write_pairs(tmp_path, 1, ("testA", "testB"), first=1)
    with pytest.raises(DataError, match="1 patients or groups are in two splits: p1"):
        opened(tmp_path)


def test_pairs_that_do_not_match_are_refused(tmp_path):
    write_pairs(tmp_path, 2)
    (tmp_path / "trainB" / "p1.nii.gz").rename(tmp_path / "trainB" / "q1.nii.gz")
    with pytest.raises(DataError, match=r"2 volumes have no partner of the same name .*: p1, q1"):
        opened(tmp_path)
    (tmp_path / "trainB" / "q1.nii.gz").unlink()
    write_nifti(tmp_path / "trainB" / "p1.nii.gz", phantom((12, 10, 5)))
    with pytest.raises(DataError, match=r"p1.nii.gz has the shape 12 x 10 x 5, not 12 x 10 x 6. Resample the target"):
        opened(tmp_path)
    write_nifti(tmp_path / "trainB" / "p1.nii.gz", phantom(), affine_of(origin=(0, 0, 0)))
    assert any("1 pairs have different origins" in note for note in opened(tmp_path).notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"label_map": "source", "range": "full"}, "label_map=source: not supported for volumes"),
     ({"matched_names": True}, "matched_names=True"), ({"layout": "side_by_side"}, "two folders"),
     ({"table": "a.csv"}, "volumes have no table"), ({"task": "colorize", "range": "full"}, "task=colorize: not supp")],
)  # fmt: skip
def test_settings_without_effect_on_volumes(tmp_path, options, message):
    write_pairs(tmp_path, 2)
    with pytest.raises(DataError, match=message):
        opened(tmp_path, **options)
    with pytest.raises(DataError, match="does not train on two folders of volumes"):
        opened(tmp_path, DataKind.IMAGES, ("image",))
