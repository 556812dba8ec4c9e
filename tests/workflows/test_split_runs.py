"""A run with `split=`: split.csv, the split that is evaluated, and a resume after the table of groups changed."""

import csv

import pytest
from commands import TINY
from sets import cache, fill  # noqa: F401

from diptych.errors import RunError
from diptych.evaluation.runner import SampleRequest, find_source
from diptych.runs.folder import Run
from diptych.settings.recipe import load_recipe
from diptych.workflows.train import resume, train

SETTINGS = [word for word in TINY if not word.startswith("root=")]


def test_a_run_keeps_its_splits(tmp_path):
    data, table = tmp_path / "data", tmp_path / "data" / "people.csv"
    files = [file for folder in "ab" for file in fill(data / folder, 24, start=100 * ord(folder), width=32, height=32)]
    stems = sorted({file.stem for file in files})
    table.write_text("\n".join(["name,person", *(f"{stem},p{int(stem) // 2}" for stem in stems)]))
    settings = [f"root={data}", "split=[0.5,0.25,0.25]", "group_by=people.csv:person", "steps=2"]
    train(load_recipe("pix2pix", [*SETTINGS, *settings]), tmp_path / "run")
    with (tmp_path / "run" / "split.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["path"] for row in rows) == sorted(str(file.relative_to(data)) for file in files)
    tested = {row["path"] for row in rows if row["split"] == "test"}

    run = Run.open(tmp_path / "run")
    source = find_source(run, SampleRequest())
    assert source.name == "test"
    assert {str(file.relative_to(data)) for file in source.split.columns["source"].files} <= tested
    elsewhere = find_source(run, SampleRequest(data=str(data.rename(tmp_path / "moved"))))
    assert elsewhere.name == "all"

    (tmp_path / "moved").rename(data)
    table.write_text("\n".join(["name,person", *(f"{stem},q{stem}" for stem in stems)]))
    with pytest.raises(RunError, match=r"split\.csv: \d+ files have another split than when this run began"):
        resume(tmp_path / "run", ["steps=3"], allow=["steps"])
