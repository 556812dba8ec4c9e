"""`diptych data check`: errors, warnings and exit codes on the command line."""

import json
import shutil

import numpy as np
import pytest
from commands import diptych

from diptych.data.images import image_io
from diptych.errors import ConfigError, DataError
from diptych.workflows import dataset_fit


@pytest.fixture(autouse=True)
def any_size_fits(monkeypatch):
    """No dry run of each method for its settings of small images, which other tests look at."""
    monkeypatch.setattr(dataset_fit, "_size_settings", lambda method, crop_size: ())


def domains(root, *folders):
    """Write three images into each folder."""
    for folder in folders:
        random = np.random.default_rng(list(folder.encode()))
        for number in range(3):
            image_io.write(root / folder / f"{number}.png", random.integers(0, 256, (32, 32, 3), np.uint8))


@pytest.mark.parametrize("splits", [[""], ["train/", "val/"]])
def test_an_unrelated_empty_folder_is_a_warning(splits, tmp_path):
    domains(tmp_path, *(f"{split}{name}" for split in splits for name in ("cat", "dog")))
    (tmp_path / splits[0] / "notes").mkdir()
    done = diptych("data", "check", tmp_path)
    assert done.exit_code == 0
    assert "errors" not in done.stdout.replace("no errors", "")
    assert "1 x is an empty folder\n      notes\n" in done.stdout


def test_a_domain_without_images_is_an_error(tmp_path):
    """An empty folder is an error if fewer than two domains are left, or if the domain has images in another split."""
    domains(tmp_path / "one", "cat")
    (tmp_path / "one" / "dog").mkdir()
    domains(tmp_path / "splits", "train/cat", "train/dog", "val/cat")
    (tmp_path / "splits" / "val" / "dog").mkdir()
    for root, name in (("one", "dog"), ("splits", "dog in val")):
        done = diptych("data", "check", tmp_path / root)
        assert done.exit_code == 1
        assert f"1 x has no images\n      {name}\n" in done.stdout


def patients(root, splits=("",)):
    """Write two images of each of 20 patients into each of two folders of each split, and a table of their sites."""
    numbers = np.array_split(np.arange(40), len(splits))
    for split, members in zip(splits, numbers, strict=True):
        domains(root, *(f"{split}{folder}" for folder in ("a", "b")))
        for folder in (root / split / name for name in ("a", "b")):
            for number in members:
                shutil.copy(folder / "0.png", folder / f"p{number // 2:02}_{number}.png")
            for number in range(3):
                (folder / f"{number}.png").unlink()
    rows = [f"{folder}/p{number // 2:02}_{number}.png,site {number // 16}" for number in range(40) for folder in "ab"]
    (root / "sites.csv").write_text("\n".join(["name,site", *rows]))


def test_sizes_of_a_split_by_ratio(tmp_path):
    patients(tmp_path)
    options = ["data", "check", tmp_path, "--split", "[0.6,0.2,0.2]", "--group-by"]
    done = diptych(*options, r"p\d+")
    rows = [line.split() for line in done.stdout.splitlines() if line.split()[:1] in (["train"], ["val"], ["test"])]
    counts, groups = [int(row[1]) for row in rows], [int(row[4]) for row in rows]
    assert (sum(counts), sum(groups)) == (80, 20)
    assert counts == [4 * count for count in groups]
    assert "'split=[0.6,0.2,0.2]' 'group_by=p\\d+'" in done.stdout  # in the command to start with
    assert "not used: sites.csv" in done.stdout


def test_sizes_of_a_split_by_ratio_as_json(tmp_path):
    patients(tmp_path)
    done = diptych("data", "check", tmp_path, "--split", "[0.5,0.5]", "--group-by", "sites.csv:site", "--json")
    document = json.loads(done.stdout)
    assert [row["groups"] for row in document["split_by_ratio"]] == [1, 2]
    assert sum(row["share"] for row in document["split_by_ratio"]) == 1
    assert document["unused"] == {}  # the table of groups is read


def test_groups_of_existing_splits_are_checked(tmp_path):
    patients(tmp_path, ("train/", "val/"))
    sites = [f"p{number // 2:02}_{number},site {number // 16}" for number in range(40)]
    (tmp_path / "sites.csv").write_text("\n".join(["name,site", *sites]))
    check = ("data", "check", tmp_path)
    with pytest.raises(
        DataError, match=r"1 groups of group_by=sites.csv:site are in two splits: site 1 in train and val"
    ):
        diptych(*check, "--group-by", "sites.csv:site")
    with pytest.raises(DataError, match="has the splits train, val by its folders or a table: leave split= out"):
        diptych(*check, "--split", "[0.9,0.1]")
    with pytest.raises(ConfigError, match="ratios above 0"):
        diptych(*check, "--split", "[0.9,0.2]")
