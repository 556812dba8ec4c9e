"""`diptych evaluate`: sources, notes and refusals on the command line."""

import numpy as np
import pytest
from commands import TINY, diptych

from diptych.data.images import image_io
from diptych.errors import EvaluationError

NOTE = "computed over the one-hot planes of the label maps"


def pairs(root):
    """Write pairs of a colour image and a label map with three classes."""
    random = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 4)):
        for number in range(count):
            image_io.write(root / f"{split}A" / f"{number}.png", random.integers(0, 256, (32, 32, 3), np.uint8))
            image_io.write(root / f"{split}B" / f"{number}.png", random.integers(0, 3, (32, 32, 1), np.uint8))
    return root


def test_pixel_metrics_of_label_maps_are_explained(tmp_path):
    root = pairs(tmp_path / "data")
    settings = [*TINY[1:], "steps=1"]
    for name, extra in (("maps", ["label_map=target"]), ("images", [])):
        run = tmp_path / name
        assert diptych("train", "pix2pix", "-d", root, *settings, *extra, "-o", run).exit_code == 0
        done = diptych("evaluate", run, "--extractor", "none", env={"COLUMNS": "200"})
        assert done.exit_code == 0
        assert "L1" in done.stdout or "l1" in done.stdout
        assert (NOTE in done.stdout) == (name == "maps"), done.stdout
    as_json = diptych("evaluate", tmp_path / "maps", "--extractor", "none", "--json", "-o", tmp_path / "r.json")
    assert NOTE not in as_json.stdout
    assert NOTE in as_json.stderr


def test_what_to_evaluate_is_a_source_or_two_folders(tmp_path):
    for words in ([], ["--real", tmp_path], [tmp_path, "--real", tmp_path, "--fake", tmp_path]):
        with pytest.raises(EvaluationError, match="expected a run, model or prediction folder, or both --real"):
            diptych("evaluate", *words)
