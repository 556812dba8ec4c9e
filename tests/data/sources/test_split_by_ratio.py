"""`split=` and `group_by=`: which files share a split, what changes it, and what is refused."""

import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.contract import DataKind
from diptych.data.config import DataConfig
from diptych.data.dataset import files_of
from diptych.data.open import open_data
from diptych.data.sources.file_names import normalized
from diptych.data.sources.groups import groups_of
from diptych.data.sources.split_by_ratio import by_ratio, split_of_group
from diptych.errors import ConfigError, DataError
from diptych.settings.recipe import load_recipe

ROOT = Path("data")
RATIOS = (0.6, 0.2, 0.2)
FUZZ = settings(deadline=None, max_examples=40, database=None)
NAMES = st.text("aZ09 ._-\u00e9\u0301\u0130\udcff\n", min_size=1, max_size=4)
FILES = st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=12, unique=True)  # patient and slice
OTHERS = [ROOT / f"other {number}" / f"{number}.png" for number in range(30)]  # so that no split is empty


def touch(root, *paths):
    """Empty files: images are recognised by their names."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def config(**settings):
    return DataConfig(root=str(settings.pop("root", ROOT)), **settings)


def split_of_files(files, **settings):
    """The split of each file, of files that are no pairs."""
    chosen = by_ratio(ROOT, {"": [(file,) for file in files]}, config(**{"split": RATIOS, **settings}))
    return dict(chosen.split_of)


# ------------------------------------------------------------------------------------------------------------- the hash


def test_the_split_of_a_name_is_the_same_on_every_machine():
    names = [f"{number:03}" for number in range(100)]
    splits = {split: [n for n in names if split_of_group(n, (0.8, 0.1, 0.1)) == split] for split in ("val", "test")}
    assert splits == {
        "val": ["001", "002", "010", "025", "034", "049", "071", "083"],
        "test": [
            "007",
            "018",
            "021",
            "027",
            "033",
            "039",
            "045",
            "046",
            "050",
            "064",
            "066",
            "074",
            "085",
            "093",
            "099",
        ],
    }


@pytest.mark.parametrize("ratios", [(0.8, 0.1, 0.1), (0.5, 0.5), (0.98, 0.02)])
def test_ratios_hold_over_many_groups(ratios):
    splits = [split_of_group(f"patient {number}", ratios) for number in range(5000)]
    for name, ratio in zip(("train", "val", "test"), ratios, strict=False):
        assert splits.count(name) / 5000 == pytest.approx(ratio, abs=0.015)
    assert len(set(splits)) == len(ratios)


@FUZZ
@given(files=FILES, seed=st.integers(0, 99))
def test_no_group_is_in_two_splits_whatever_the_order(files, seed):
    paths = [ROOT / f"p{patient}" / f"{name}.png" for patient, name in files] + OTHERS
    splits = split_of_files(paths, group_by="(?s)^([^/]+)/")
    assert split_of_files(random.Random(seed).sample(paths, len(paths)), group_by="(?s)^([^/]+)/") == splits
    patients = {(normalized(path.parent.name), split) for path, split in splits.items()}
    assert len(patients) == len({name for name, _ in patients})


@FUZZ
@given(files=FILES, more=FILES)
def test_no_file_changes_its_split_when_others_are_added_or_removed(files, more):
    paths, added = ([ROOT / f"p{patient}" / f"{name}.png" for patient, name in some] + OTHERS for some in (files, more))
    for group_by in (None, "(?s)^([^/]+)/"):
        before = split_of_files(paths, group_by=group_by)
        after = split_of_files(dict.fromkeys([*added, *paths]), group_by=group_by)
        assert {path: after[path] for path in paths} == before


@FUZZ
@given(names=st.lists(NAMES, max_size=20, unique=True))
def test_partners_stay_together_in_both_directions(names):
    names += [str(number) for number in range(30)]
    pairs = [(ROOT / "a" / f"{name}_left.png", ROOT / "b" / f"{name}_right.jpg") for name in names]
    splits = by_ratio(ROOT, {"": pairs}, config(split=RATIOS)).split_of
    assert all(splits[left] == splits[right] for left, right in pairs)
    assert by_ratio(ROOT, {"": [pair[::-1] for pair in pairs]}, config(split=RATIOS)).split_of == splits


def test_names_are_compared_in_unicode_form_nfc():
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    groups = groups_of(ROOT, [(ROOT / f"{composed}/1.png",), (ROOT / f"{decomposed}/2.png",)], "^([^/]+)/")
    assert set(groups.values()) == {composed}


# --------------------------------------------------------------------------------------------------------------- groups


@pytest.mark.parametrize(
    ("group_by", "group"),
    [
        (None, "s3_p07"),
        (r"p\d+", "p07"),
        (r"(s\d)_p\d+", "s3"),
        (r"^[^/]+", "day"),
        ("files.csv:patient", "Ada"),
        ("files.csv:site", "B"),
        ("other.tsv:by path", "x"),
    ],
)
def test_group_of_a_file(tmp_path, group_by, group):
    (tmp_path / "files.csv").write_text("name,patient,site\ns3_p07, Ada ,B\ns3_p08,Bob,B\nextra,Carl,C\n")
    (tmp_path / "other.tsv").write_text("file\tby path\nday/s3_p07.png\tx\nnight/s3_p07.png\ty\n")
    file = tmp_path / "day" / "s3_p07.png"
    assert groups_of(tmp_path, [(file,)], group_by) == {file: group}


@pytest.mark.parametrize(
    ("group_by", "message"),
    [
        (r"x\d+", "2 of 2 files have no group: p1.png, p2.png; change the pattern"),
        (r"p(2)?", "1 of 2 files have no group: p1.png"),
        ("files.csv:patient", "1 of 2 files have no group: p2.png; add them to"),
        ("files.csv:nobody", "files.csv has no column 'nobody'"),
        ("files.csv:pateint", "did you mean 'patient'"),
        ("twice.csv:patient", "twice.csv, line 3: p1 is in 'Ada' and in 'Bob'"),
        ("none.csv:patient", "none.csv cannot be read as a table"),
    ],
)
def test_files_without_a_group_are_refused(tmp_path, group_by, message):
    touch(tmp_path, "p1.png", "p2.png")
    (tmp_path / "files.csv").write_text("name,patient\np1,Ada\np2,\n")
    (tmp_path / "twice.csv").write_text("name,patient\np1,Ada\np1,Bob\n")
    with pytest.raises(DataError, match=re.escape(message)):
        open_data(config(root=tmp_path, split=RATIOS, group_by=group_by), DataKind.IMAGES)


def test_partners_in_two_groups_are_refused(tmp_path):
    touch(tmp_path, *(f"{folder}/{number}.png" for folder in "ab" for number in range(40)))
    with pytest.raises(DataError, match=r"a/0.png and b/0.png are a pair, but are in the groups 'a' and 'b'"):
        open_data(config(root=tmp_path, split=RATIOS, group_by="^[^/]+"), DataKind.PAIRED)
    unpaired = config(root=tmp_path, split=RATIOS, group_by="^[^/]+/.", matched_names=True)
    with pytest.raises(DataError, match="are a pair"):
        open_data(unpaired, DataKind.UNPAIRED)


# ----------------------------------------------------------------------------------------------------- kinds of data


KINDS = {
    "pairs": (DataKind.PAIRED, ("a/p{:02}_{}_x.png", "b/p{:02}_{}_y.png"), {"pair_names": "affix"}),
    "train folder": (DataKind.PAIRED, ("trainA/p{:02}_{}.png", "trainB/p{:02}_{}.png"), {}),
    "unpaired": (DataKind.UNPAIRED, ("a/p{:02}_{}.png", "b/p{:02}_{}.png"), {"direction": "b2a"}),
    "unlabelled": (DataKind.IMAGES, ("p{:02}_{}.png", "more/p{:02}_{}.png"), {}),
    "classes": (DataKind.LABELLED, ("cat/p{:02}_{}.png", "dog/p{:02}_{}.png"), {}),
    "classes in train": (DataKind.LABELLED, ("train/cat/p{:02}_{}.png", "train/dog/p{:02}_{}.png"), {}),
    "references": (DataKind.REFERENCED, ("cat/p{:02}_{}.png", "dog/p{:02}_{}.png"), {}),
    "attributes": (DataKind.LABELLED, ("images/p{:02}_{}.png",), {}),
    "one attribute": (DataKind.UNPAIRED, ("images/p{:02}_{}.png",), {"attributes": ("Old",)}),
}


def folder_of_kind(root, patterns, patients=range(30)):
    names = [pattern.format(patient, slice_) for patient in patients for slice_ in range(3) for pattern in patterns]
    touch(root, *names)
    if patterns[0].startswith("images"):
        rows = [f"{Path(name).name},{number % 2},{Path(name).name[:3]}" for number, name in enumerate(names)]
        (root / "attributes.csv").write_text("\n".join(["name,Old,person", *rows]))
    return [root / name for name in names]


@pytest.mark.parametrize("ratios", [RATIOS, (0.7, 0.3)])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data(tmp_path, kind, ratios):
    data_kind, patterns, given_settings = KINDS[kind]
    files = folder_of_kind(tmp_path, patterns)
    group_by = "attributes.csv:person" if "attribute" in kind else r"(p\d+)_"
    data = open_data(config(root=tmp_path, split=ratios, group_by=group_by, **given_settings), data_kind)
    parts = [split for split in (data.train, data.held_out, data.test) if split]
    assert len(parts) == len(ratios)
    members = [set(files_of(split)) for split in parts]
    assert sorted(file for part in members for file in part) == sorted(files)
    patients = [{file.name[:3] for file in part} for part in members]
    assert sum(map(len, patients)) == 30
    for name, part in zip(("train", "val", "test"), patients, strict=False):
        assert all(split_of_group(patient, ratios) == name for patient in part)
    assert data.group_of == {file: file.name[:3] for file in files}
    assert f"{len(patients[1])} groups in val" in data.notes[0]
    assert not data.by_name
    assert (
        data.train.aligned == parts[1].aligned == (data_kind in (DataKind.PAIRED, DataKind.IMAGES, DataKind.LABELLED))
    )
    if data_kind == DataKind.LABELLED and "attribute" in kind:
        assert data.labels[0].names == ("Old",)  # the column of groups is no attribute


@pytest.mark.parametrize("kind", KINDS)
def test_without_groups_files_of_one_name_stay_together(tmp_path, kind):
    data_kind, patterns, given_settings = KINDS[kind]
    folder_of_kind(tmp_path, patterns)
    if "attribute" in kind:
        given_settings = {**given_settings, "attributes": ("Old",)}
    data = open_data(config(root=tmp_path, split=RATIOS, **given_settings), data_kind)
    slices = [{file.name[:5] for file in files_of(split)} for split in (data.train, data.held_out, data.test)]
    assert sum(map(len, slices)) == 90
    assert "by file name: " in data.notes[0]


def test_two_domains_of_a_transfer_are_both_split(tmp_path):
    touch(tmp_path, *(f"{name}/{number}.png" for name in ("s/cat", "s/dog", "t") for number in range(50)))
    roots = {"root": tmp_path / "s", "target_root": str(tmp_path / "t")}
    data = open_data(config(split=RATIOS, **roots), DataKind.TRANSFER)
    assert len(data.group_of) == 150
    for name, split in (("train", data.train), ("val", data.held_out), ("test", data.test)):
        for file in files_of(split):
            assert split_of_group(file.stem, RATIOS) == name


# -------------------------------------------------------------------------------------------------------------- refused


def test_too_few_groups_are_refused_with_ratios_that_work(tmp_path):
    touch(tmp_path, *(f"{folder}/p{number}_{slice_}.png" for folder in "ab" for number in range(6) for slice_ in "xyz"))
    settings = {"root": tmp_path, "group_by": r"p\d"}
    with pytest.raises(DataError, match=r"leaves .* without images: 6 groups are too few") as caught:
        open_data(config(split=(0.9, 0.05, 0.05), **settings), DataKind.PAIRED)
    better = tuple(map(float, re.search(r"Split=\[(.*?)\] gives", str(caught.value))[1].split(",")))
    data = open_data(config(split=better, **settings), DataKind.PAIRED)
    assert all(len(split) for split in (data.train, data.held_out, data.test))


def test_each_domain_and_class_needs_images_in_each_split(tmp_path):
    touch(tmp_path, *(f"cat/{number}.png" for number in range(50)), "dog/1.png", "dog/2.png")
    for kind in (DataKind.UNPAIRED, DataKind.LABELLED):
        with pytest.raises(DataError, match=r"without images of (dog|b): 2 groups are too few .* Define the splits by"):
            open_data(config(root=tmp_path, split=RATIOS), kind)


@pytest.mark.parametrize("layout", ["{}/a/{}.png", "{}A/{}.png"])
@pytest.mark.parametrize("kind", [DataKind.PAIRED, DataKind.UNPAIRED, DataKind.IMAGES, DataKind.LABELLED])
def test_data_with_splits(tmp_path, layout, kind):
    for split, first in (("train", 0), ("test", 5)):
        for path in (layout, layout.replace("a/", "b/").replace("A/", "B/")):
            touch(tmp_path, *(path.format(split, number) for number in range(first, first + 6)))
    with pytest.raises(DataError, match=r"has the splits train, test by its folders: leave split= out"):
        open_data(config(root=tmp_path, split=RATIOS), kind)
    with pytest.raises(DataError, match=r"1 groups of group_by=.* are in two splits: 5 in train and test"):
        open_data(config(root=tmp_path, group_by=r"(\d+)\.png"), kind)
    for file in tmp_path.rglob("5.png"):
        file.unlink()
    assert not open_data(config(root=tmp_path, group_by=r"(\d+)\.png"), kind).group_of


@pytest.mark.parametrize("kind", ["pairs", "classes", "attributes"])
def test_a_table_of_splits_is_refused_beside_ratios(tmp_path, kind):
    data_kind, patterns, given_settings = KINDS[kind]
    files = folder_of_kind(tmp_path, patterns, range(3))
    rows = [f"{name},{('train', 'val')[name < 'p01']}" for name in sorted({file.name for file in files})]
    (tmp_path / "split.csv").write_text("\n".join(["name,split", *rows]))
    if kind == "attributes":
        given_settings = {"attributes": ("Old",)}
    with pytest.raises(DataError, match="has the splits train, val by a table: leave split= out"):
        open_data(config(root=tmp_path, split=RATIOS, **given_settings), data_kind)


@pytest.mark.parametrize("kind", ["pairs", "unlabelled", "classes"])
def test_groups_without_splits_are_refused(tmp_path, kind):
    data_kind, patterns, given_settings = KINDS[kind]
    folder_of_kind(tmp_path, patterns)
    with pytest.raises(DataError, match=r"has no splits: group_by=p needs split=\[0.8,0.1,0.1\]"):
        open_data(config(root=tmp_path, group_by="p", **given_settings), data_kind)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["split=[0.8,0.1]"], "ratios above 0 that add up to 1"),
        (["split=[0.9,0.1,0]"], "ratios above 0 that add up to 1"),
        (["split=[1]"], "at least 2"),
        (["split=0.8"], "valid tuple"),
        (["group_by=(p"], r"group_by=\(p: neither FILE.csv:COLUMN nor a regular expression"),
        (["split=[0.9,0.1]", "holdout_fraction=0.1"], "split= and holdout_fraction= both choose"),
        (["split=[0.9,0.1]", "partition=celeba-dong"], "split= and partition= both choose"),
        (["root=glyphs", "split=[0.9,0.1]"], "split has no effect without a folder of images as root"),
    ],
)
def test_wrong_settings_are_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_recipe("stargan", ["root=faces", "batch_size=2", *overrides])


def test_a_pattern_on_the_command_line_is_text():
    assert load_recipe("pix2pix", ["root=x", "split=[0.9,0.1]", "group_by=[^/]+: #"]).data.group_by == "[^/]+: #"
