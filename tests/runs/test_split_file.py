"""`split.csv` of a run: what it holds, and files that moved to another split since."""

import csv

import pytest

from diptych.contract import DataKind
from diptych.data.config import DataConfig
from diptych.data.open import open_data
from diptych.errors import RunError
from diptych.runs.split_file import check_split, write_split


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(30):
        (folder / f'p{number} "é",.png').touch()
    return folder


def opened(root, **settings):
    return open_data(DataConfig(root=str(root), **settings), DataKind.IMAGES)


def test_each_file_is_written_once_with_its_group(root, tmp_path):
    data = opened(root, split=(0.6, 0.2, 0.2), group_by=r"p(\d+)")
    write_split(tmp_path / "split.csv", data, str(root))
    with (tmp_path / "split.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["path"] for row in rows) == sorted(file.name for file in root.iterdir())
    for name, split in (("train", data.train), ("val", data.held_out), ("test", data.test)):
        written = {(row["path"], row["group"]) for row in rows if row["split"] == name}
        assert written == {(file.name, file.name.split()[0][1:]) for file in split.columns["image"].files}
    check_split(tmp_path / "split.csv", data, str(root))


def test_without_ratios_there_is_no_file(root, tmp_path):
    write_split(tmp_path / "split.csv", opened(root), str(root))
    assert not (tmp_path / "split.csv").exists()
    check_split(tmp_path / "split.csv", opened(root), str(root))


def test_files_that_moved_are_refused_and_new_ones_are_not(root, tmp_path):
    settings = {"split": (0.5, 0.5), "group_by": "groups.csv:person"}
    names = sorted(file.name for file in root.iterdir())
    table = root / "groups.csv"

    def group(prefix, files):
        with table.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("name", "person"), *((name, f"{prefix}{name}") for name in files)])

    group("", names)
    write_split(tmp_path / "split.csv", opened(root, **settings), str(root))
    (root / "new.png").touch()
    (root / names[0]).unlink()
    group("", [*names, "new.png"])
    check_split(tmp_path / "split.csv", opened(root, **settings), str(root))
    group("other", [*names, "new.png"])
    with pytest.raises(
        RunError, match=r"split.csv: \d+ files have another split than when this run began: p.* from (t|v)"
    ):
        check_split(tmp_path / "split.csv", opened(root, **settings), str(root))


@pytest.mark.parametrize("text", ["path,split\n", "", "path,split,group\na,b\n", b"\xff\xfe"])
def test_a_damaged_file_is_refused(root, tmp_path, text):
    (tmp_path / "split.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RunError, match=r"split\.csv: "):
        check_split(tmp_path / "split.csv", opened(root, split=(0.5, 0.5)), str(root))
