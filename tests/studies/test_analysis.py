"""Simulated participants: the analysis finds their true values and excludes those who click at random."""

import pytest
from study_folders import study

from diptych.errors import ConfigError, StudyError
from diptych.studies import presets
from diptych.studies.analysis import analyse, as_csv
from diptych.studies.simulate import Population, simulate
from diptych.studies.store import Answer
from diptych.studies.study_report import answers_csv, as_latex, write_report
from diptych.studies.votes import votes_of

PRESETS = {
    "pix2pix-2017": ("rate fooled", {"one": 0.15, "two": 0.4}, {"practice": 2, "attention_checks": 6}),
    "hype-infinity": ("rate fooled", {"one": 0.15, "two": 0.4}, {"practice": 2, "trials": 40, "attention_checks": 6}),
    "stargan-2018": ("strength", {"one": 0.5, "two": -0.5}, {"attention_checks": 6}),
    "srgan-mos-2017": ("MOS", {"one": 2.0, "two": 4.0}, {"practice": 2, "trials": 120, "attention_checks": 6}),
}


@pytest.fixture(scope="module", params=PRESETS)
def simulated(request, tmp_path_factory):
    measure, truth, values = PRESETS[request.param]
    made = study(tmp_path_factory.mktemp("study"), request.param, count=60, size=16, **values)
    store = made.store("sqlite://")
    simulate(made, store, Population(truth, raters=40, clickers=8))
    yield made, measure, truth, store.answers()
    store.close()


def test_the_true_values_are_found_and_random_clickers_excluded(simulated):
    made, measure, truth, answers = simulated
    analysis = analyse(made, answers)
    caught = {number for number in analysis.reasons if number > 40}
    assert len(caught) >= 5
    assert len(analysis.reasons) - len(caught) <= 3
    assert analysis.everyone.raters == 48
    assert analysis.included.raters == 48 - len(analysis.reasons)
    for method, value in truth.items():
        found = analysis.included.row(measure, method).estimate
        width = found.high - found.low
        assert found.low - width / 2 < value < found.high + width / 2
    low, high = sorted(truth, key=truth.get)
    assert analysis.included.row(measure, low).estimate.high < analysis.included.row(measure, high).estimate.low


def test_the_report_has_a_page_tables_and_rows(simulated, tmp_path):
    made, _, _, answers = simulated
    analysis = analyse(made, answers)
    page = write_report(analysis, tmp_path / "report", simulated=True).read_text()
    assert "these are not answers of people" in page
    assert "simulated, included" in (tmp_path / "report" / "results.csv").read_text()
    assert (tmp_path / "report" / "results.tex").read_text().startswith("% simulated participants")
    assert page.count("data:image/png") >= 1
    assert as_csv(analysis).count("\n") == 1 + len(analysis.included.rows) + len(analysis.everyone.rows)
    assert as_latex(analysis.included).count(r"\\") == len({row.method for row in analysis.included.rows if row.method})
    assert answers_csv(made, answers).count("\n") == 1 + len(answers)


def test_a_staircase_finds_the_exposures_that_participants_need(tmp_path):
    staircase = {**presets.PRESETS["hype-time"]["staircase"], "blocks": 1}
    made = study(tmp_path, "hype-time", count=150, size=8, trials=150, staircase=staircase)
    store = made.store()
    simulate(made, store, Population({"one": 250, "two": 600}, raters=30, spread=0.1))
    answers = store.answers()
    with pytest.raises(ConfigError, match="threshold in ms is between 100 and 1000"):
        simulate(made, store, Population({"one": 250, "two": 0.3}))
    store.close()
    analysis = analyse(made, answers)
    assert (analysis.off, analysis.reasons) == (0, {})
    for method, value in (("one", 250), ("two", 600)):
        assert analysis.included.row("threshold in ms", method).estimate.value == pytest.approx(value, rel=0.15)
    assert [row.measure for row in analysis.included.rows] == ["threshold in ms"] * 2
    shares = [vote.answer == vote.correct for vote in votes_of(made, answers)]
    assert 0.7 < sum(shares) / len(shares) < 0.85
    assert (
        f"{sum(shares) / len(shares):.0%} of answers are right; the staircase holds 75%" in analysis.included.notes[-1]
    )
    answers[140].measured["exposures"][0] = (500, 500.0, 0)  # of 250 or 600 ms by then
    assert analyse(made, answers).off == 1


def test_votes_of_a_wrong_exposure_do_not_count(tmp_path):
    made = study(tmp_path, practice=0, trials=10, exclude={"max_same_answer": 1.0, "min_response_ms": 0})
    store = made.store()
    simulate(made, store, Population({"one": 0.3, "two": 0.3}, raters=4))
    answers = store.answers()
    store.close()
    for number, answer in enumerate(answers[:6]):
        first = (1000, 1030.0 if number < 4 else 1016.0, 0)  # of 60 frames a second; two are off by one frame
        answer.measured["exposures"][0] = first
    answers[6].measured["exposures"].clear()
    analysis = analyse(made, answers)
    assert (analysis.off, analysis.included.votes) == (5, 35), "a vote without measured exposures does not count either"


def test_repeated_trials_are_compared_by_the_chosen_image(tmp_path):
    made = study(tmp_path, practice=0, trials=6, repeats=6, exclude={"max_same_answer": 1.0, "min_response_ms": 0})
    store = made.store()
    for _ in range(2):
        number = store.join("en").number
        for trial in made.trials(number):
            real = next(at for at, shown in enumerate(trial.shown) if shown.arm == "real")
            given = real if trial.number != 2 else 1 - real
            exposures = [(1000, 1000.0, 0)] * 2
            store.add([Answer(number, trial.number, "fake", given, 500, {"exposures": exposures})])
    notes = analyse(made, store.answers()).included.notes
    store.close()
    assert "repeated trials: the same answer in 10 of 12" in notes


def test_who_did_not_finish_is_excluded(tmp_path):
    made = study(tmp_path, practice=0, trials=10)
    store = made.store()
    simulate(made, store, Population({"one": 0.3, "two": 0.3}, raters=4))
    answers = [answer for answer in store.answers() if answer.participant != 2 or answer.trial < 4]
    store.close()
    assert analyse(made, answers).reasons == {2: "answered 4 of 10"}
    with pytest.raises(StudyError, match="0 participants answered"):
        analyse(made, [])


def test_truth_is_needed_for_each_method(tmp_path):
    made = study(tmp_path, practice=0, trials=10)
    store = made.store()
    with pytest.raises(ConfigError, match="true value of two"):
        simulate(made, store, Population({"one": 0.3}))
    with pytest.raises(ConfigError, match="between 0 and 1"):
        simulate(made, store, Population({"one": 0.3, "two": 3}))
    store.close()
