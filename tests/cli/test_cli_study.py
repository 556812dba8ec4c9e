"""`diptych study` from folders of images to the report."""

import csv
import io
import sys

import pytest
from commands import diptych
from study_folders import folders

from diptych.errors import ConfigError, DiptychError, StudyError


@pytest.fixture
def made(tmp_path):
    folders(tmp_path)
    real, one, two = (tmp_path / name for name in ("real", "one", "two"))
    words = [one, f"second={two}", "--real", real, "-s", "practice=0", "-s", "trials=8"]
    result = diptych("study", "new", *words, "-o", tmp_path / "study")
    assert "2 methods (one, second), 12 images, 8 for each participant" in result.output
    assert "planned: 100 participants; the rate of a method is then known to within 5.7 points" in result.output
    return tmp_path / "study"


def test_simulated_answers_become_a_report(made, tmp_path):
    truths = ["--truth", "one=0.1", "--truth", "second=0.4"]
    assert "160 simulated answers of 20" in diptych("study", "simulate", made, *truths, "--raters", 20).output
    assert "rate fooled  one" in diptych("study", "analyze", made, "--simulated").output
    assert sorted(path.name for path in (made / "report").iterdir()) == [
        "report.html",
        "results.csv",
        "results.tex",
        "votes",
    ]
    assert diptych("study", "export", made, "--simulated", "-o", tmp_path / "answers.csv").exit_code == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "answers.csv").read_text())))
    assert len(rows) == 160
    assert {row["phase"] for row in rows} == {"main"}
    with pytest.raises(StudyError, match="0 participants answered"):  # simulated answers are not those of people
        diptych("study", "analyze", made)


def test_a_participant_is_deleted(made):
    with pytest.raises(StudyError, match="no participant 5f3c"):
        diptych("study", "delete", made, "--participant", "5f3c")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preset", "pix2pix"], "unknown preset 'pix2pix'"),
        (["-s", "trials"], "expected KEY=VALUE"),
        (["-s", "questions=[{key: a, text: A?}]"], "not a YAML value"),
        (["-s", "trials=40"], "a rater sees 50 inputs; the methods have 12 in common"),
        (["--real", "missing"], "missing"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(tmp_path, words, message):
    folders(tmp_path)
    words = ["--real", tmp_path / "real", *words]
    with pytest.raises(DiptychError, match=message):
        diptych("study", "new", tmp_path / "one", "-o", tmp_path / "study", *words)
    assert not (tmp_path / "study").exists()


def test_a_changed_design_is_refused(made):
    text = (made / "study.yaml").read_text()
    (made / "study.yaml").write_text(text.replace("exposure_ms: 1000", "exposure_ms: 500"))
    with pytest.raises(StudyError, match="changed after the study was made"):
        diptych("study", "analyze", made)


def test_other_addresses_need_a_token(made):
    with pytest.raises(ConfigError, match="give --token"):
        diptych("study", "serve", made, "--host", "0.0.0.0")


def test_the_plan_tells_what_a_budget_can_show():
    output = diptych("study", "plan", "--raters", 25, "--votes-each", 40).output
    assert "1000 votes count as 339 independent ones" in output
    assert "5.3 percentage points" in output


def test_a_missing_extra_is_one_line(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(ConfigError, match=r"pip install 'diptych\[study\]'"):
        diptych("study", "analyze", made)
