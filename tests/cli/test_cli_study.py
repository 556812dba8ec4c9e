"""`diptych study` from folders of images to the report."""

import csv
import sys

import pytest
from commands import diptych
from study_folders import folders


@pytest.fixture
def made(tmp_path):
    folders(tmp_path)
    real, one, two = (tmp_path / name for name in ("real", "one", "two"))
    result = diptych(
        "study",
        "new",
        one,
        f"second={two}",
        "--real",
        real,
        "-o",
        tmp_path / "study",
        "-s",
        "practice=0",
        "-s",
        "trials=8",
    )
    assert result.exit_code == 0, result.output
    assert "2 methods (one, second), 12 images, 8 for each participant" in result.output
    return tmp_path / "study"


def test_simulated_answers_become_a_report(made, tmp_path):
    truths = ["--truth", "one=0.1", "--truth", "second=0.4"]
    assert "160 simulated answers of 20" in diptych("study", "simulate", made, *truths, "--raters", 20).output
    result = diptych("study", "analyze", made, "--simulated")
    assert result.exit_code == 0
    assert "rate fooled  one" in result.output
    assert sorted(path.name for path in (made / "report").iterdir()) == ["report.html", "results.csv", "results.tex"]
    assert diptych("study", "export", made, "--simulated", "-o", tmp_path / "answers.csv").exit_code == 0
    rows = list(csv.DictReader((tmp_path / "answers.csv").open()))
    assert len(rows) == 160
    assert {row["phase"] for row in rows} == {"main"}
    refused = diptych("study", "analyze", made)
    assert refused.exit_code == 2
    assert "0 participants answered" in refused.output, "simulated answers are not those of people"


def test_a_participant_is_deleted(made):
    refused = diptych("study", "delete", made, "--participant", "5f3c")
    assert (refused.exit_code, "no participant 5f3c" in refused.output) == (2, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preset", "pix2pix"], "unknown preset 'pix2pix'"),
        (["-s", "trials"], "expected KEY=VALUE"),
        (["-s", "trials=40"], "a rater sees 50 inputs; the methods have 12 in common"),
        (["--real", "missing"], "missing"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(tmp_path, words, message):
    folders(tmp_path)
    words = ["--real", tmp_path / "real", *words]
    result = diptych("study", "new", tmp_path / "one", "-o", tmp_path / "study", *words)
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "study").exists()


def test_a_changed_design_is_refused(made):
    text = (made / "study.yaml").read_text()
    (made / "study.yaml").write_text(text.replace("exposure_ms: 1000", "exposure_ms: 500"))
    result = diptych("study", "analyze", made)
    assert result.exit_code == 2
    assert "changed after the study was made" in result.output


def test_other_addresses_need_a_token(made):
    result = diptych("study", "serve", made, "--host", "0.0.0.0")
    assert result.exit_code == 2
    assert "give --token" in result.output


def test_the_plan_tells_what_a_budget_can_show():
    output = diptych("study", "plan", "--raters", 25, "--votes-each", 40).output
    assert "1000 votes count as 339 independent ones" in output
    assert "5.3 percentage points" in output


def test_a_missing_extra_is_one_line(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    result = diptych("study", "analyze", made)
    assert result.exit_code == 2
    assert "pip install 'diptych[study]'" in result.output
