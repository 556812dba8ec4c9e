"""`diptych compare`: which runs can be held against each other, and what it says of others."""

import os
import re
import shutil
from pathlib import Path

import pytest
from compared import ABOUT, NAME, Page, change, run

from diptych.errors import EvaluationError
from diptych.evaluation.compare.page import compare
from diptych.evaluation.compare.read import run_labels
from diptych.evaluation.results import read_result


def test_without_pictures_the_tables_stay(tmp_path):
    runs = [run(tmp_path / name) for name in ("whole", "gone", "other", "broken", "holes")]
    shutil.rmtree(runs[1] / "samples")
    change(runs[2], about={**ABOUT, "steps": 8000})
    (runs[3] / "samples" / NAME / "samples.json").write_text("{")
    shutil.rmtree(runs[4] / "samples" / NAME / "fake")
    page = Page(compare(runs, tmp_path / "out"))
    assert set(page.table("Values")) >= {"whole", "gone", "other", "broken", "holes"}
    said = next(text for text in page.text if text.startswith("There are no images"))
    assert "gone (its samples were removed)" in said
    assert f"other (samples/{NAME} is not what was evaluated)" in said
    assert f"broken (samples/{NAME} cannot be read)" in said
    cells = page.table("images, translated by every run")["image <0>"]
    assert [each.strip() for each in cells] == ["", "source", "whole", "holes", "ground truth"]
    assert cells["holes "].strip() == "–"
    for folder in (runs[0], runs[4]):
        shutil.rmtree(folder / "samples")
    assert "translated by every run" not in Page(compare(runs, tmp_path / "out")).raw


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path):
    runs = [run(tmp_path / above / "run") for above in ("x", "y")]
    assert {"x/run", "y/run"} <= set(Page(compare(runs, tmp_path / "out")).table("Values"))
    assert run_labels([Path("/a/x/r"), Path("/b/x/r"), Path("/c")]) == ["a/x/r", "b/x/r", "c"]
    assert run_labels([Path("/a\n"), Path("/a\\n")]) == ["//a\\n", "//a\\n"]  # and it ends


def test_missing_results_name_the_run_and_the_command(tmp_path):
    there, bare = run(tmp_path / "there"), tmp_path / "two words"
    bare.mkdir()
    command = f"diptych evaluate '{bare}' --protocol {NAME}"
    for protocol in (None, NAME):
        with pytest.raises(EvaluationError, match=re.escape(command)):
            compare([there, bare], tmp_path / "out", protocol)
    with pytest.raises(EvaluationError, match=re.escape(f"`diptych evaluate '{bare}'`")):
        compare([bare], tmp_path / "out")
    with pytest.raises(EvaluationError, match="did you mean 'paired-default'"):
        compare([there], tmp_path / "out", "paired-defualt")
    with pytest.raises(EvaluationError, match="no such folder"):
        compare([tmp_path / "none"], tmp_path / "out")
    with pytest.raises(EvaluationError, match="given 2 times"):
        compare([there, Path(os.path.relpath(there))], tmp_path / "out")
    with pytest.raises(EvaluationError, match="one or more run folders"):
        compare([], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_of_two_protocols_one_must_be_chosen(tmp_path):
    runs = [run(tmp_path / name) for name in "ab"]
    for folder in runs:
        result = read_result(folder / "results" / f"{NAME}.json").model_copy(update={"protocol": "srgan-y/1"})
        result.save(folder / "results" / "srgan-y.json")
    with pytest.raises(EvaluationError, match="paired-default, srgan-y: choose one"):
        compare(runs, tmp_path / "out")
    assert "srgan-y/1" in Page(compare(runs, tmp_path / "out", "srgan-y")).raw
    (runs[1] / "results" / "srgan-y.json").unlink()
    assert "paired-default/1" in Page(compare(runs, tmp_path / "out")).raw


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"protocol": f"{NAME}/2"}, "protocol: paired-default/1 and paired-default/2"),
        ({"images": {"real": "other"}}, "images: test 16 real abc and test 16 real other"),
        ({"tools": {"lpips": "123"}}, "lpips: none and 123"),
        ({"protocol": "srgan-y/1"}, "holds results of srgan-y/1, not of paired-default"),
        ({"scores": ()}, "no scores"),
    ],
)
def test_what_was_judged_differently_is_refused(tmp_path, fields, match):
    runs = [run(tmp_path / name) for name in "ab"]
    change(runs[1], **fields)
    for order in (runs, runs[::-1]) if "tools" in fields else (runs,):
        with pytest.raises(EvaluationError, match=match if order is runs else "lpips: 123 and none"):
            compare(order, tmp_path / "out")
