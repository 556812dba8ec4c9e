"""`diptych data check`: errors, warnings and exit codes on the command line."""

import numpy as np
import pytest
from commands import diptych

from diptych.data.images import image_io


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
