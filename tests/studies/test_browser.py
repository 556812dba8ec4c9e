"""The page of a study in a real Chromium, from consent to completion code, and all that the browser receives."""

import re
from urllib.parse import quote

import pytest
from study_folders import served, study

from diptych.studies.presets import PRESETS
from diptych.studies.staircase import next_exposure

pytestmark = pytest.mark.slow
QUICK = {"fixation_ms": 0, "interval_ms": 0}
SMALL = {"practice": 1, "trials": 3, "attention_checks": 1, "repeats": 1}


def take_part(page, made, key, pages=None):
    """Answer from the page that is open to the completion code, and return the code.

    `pages` gets what each trial had on the page, without its number.
    """
    pages = set() if pages is None else pages
    for _ in range(8 * len(made.trials(1)) * len(made.design.questions) + 20):
        page.wait_for_selector("button, #code", timeout=30_000)
        if page.query_selector("#code"):
            return page.inner_text("#code")
        if page.query_selector(".answers button"):
            pages.add(re.sub(r"Question \d+ of", "", page.inner_html("main")))
            page.evaluate("document.querySelector('.answers button').id = 'answered'")
            page.keyboard.press(key)
            page.wait_for_selector("#answered", state="detached", timeout=30_000)
        else:
            page.click("button")
            page.wait_for_timeout(50)
    raise AssertionError("the study did not end")


DESIGNS = {
    **{name: {"preset": name} for name in PRESETS},
    "a/b with ties": {
        "preset": "",
        "kind": "a_b",
        "presentation": "side_by_side",
        "questions": [{"key": "better", "text": "Which is better?", "show_input": True}],
        "ask_for": "better",
        "exposure_ms": None,
        "ties": True,
        "raters": 10,
    },
}
ARMS = ("real", "input", "reference", "one", "two", "three")


@pytest.mark.parametrize("name", DESIGNS)
def test_each_design_runs_to_its_code_and_tells_nothing(browser, tmp_path, name):
    values = {**SMALL, **QUICK, **DESIGNS[name]}
    if (name.endswith("2017") and "mos" not in name) or name == "colorization-2016":
        values["exposure_ms"] = 100
    if name == "hype-time":
        one_block = {**PRESETS[name]["staircase"], "blocks": 1}
        values |= {"practice": 0, "attention_checks": 0, "repeats": 0, "staircase": one_block}
    made = study(tmp_path, arms=ARMS, **values)
    with served(made.path) as (address, _):
        page = browser.new_page()
        received = []
        page.on("response", lambda response: received.append(response))
        page.goto(address)
        assert "I agree" in page.inner_text("main")
        pages = set()
        code = take_part(page, made, "1" if made.design.kind == "opinion_score" else "f", pages)
        texts = [f"{each.url} {each.headers}" for each in received]
        texts += [each.text() for each in received if each.url.endswith(("/session", "/answers", "/join"))]
        page.close()
    assert len(pages) == len(made.design.questions), "the page would tell arms, attention checks or repeats apart"
    text = " ".join(texts)
    for secret in ("one", "two", "three", "obvious", "attention", "repeat", "000", "001"):
        assert not re.search(rf'["/]{secret}["/.]', text), secret
    store = made.store()
    due = len(made.trials(1)) * len(made.design.questions)
    assert store.counts() == (1, 1, due)
    assert store.finish(1) == code
    answers = store.answers()
    store.close()
    trials, correct = made.trials(1), []
    for answer in answers:
        trial = trials[answer.trial]
        due, exposures = next_exposure(made.design, correct), answer.measured["exposures"]
        assert len(exposures) == (0 if due is None else len(trial.shown))
        assert all(requested == due and measured > 80 for requested, measured, _ in exposures)
        correct.append(answer.answer == trial.correct)
    lengths = {each.headers["content-length"] for each in received if each.url.endswith(".png")}
    assert len(lengths) == 1, "the length of a file would tell methods apart"


def test_a_reload_continues_where_it_was(browser, tmp_path):
    made = study(tmp_path, preset="hype-infinity", **SMALL, **QUICK)
    with served(made.path) as (address, _):
        page = browser.new_page()
        page.goto(address + "?lang=zh")
        for _ in range(3):  # consent, screen, instructions
            page.wait_for_selector("h1")
            page.click("button")
            page.wait_for_timeout(1000)
        page.wait_for_selector(".answers button")
        page.keyboard.press("f")
        page.wait_for_selector("h1:has-text('练习结束')")  # the answer is stored
        page.reload()
        take_part(page, made, "f")
        assert page.evaluate("document.documentElement.lang") == "zh"
        page.close()
    store = made.store()
    answers = store.answers()
    store.close()
    assert [answer.trial for answer in answers] == list(range(len(made.trials(1))))
    assert {answer.participant for answer in answers} == {1}


def test_script_in_the_words_of_a_design_is_shown_as_text(browser, tmp_path):
    script = '</title></script><img src=x onerror="pwned=1"><script>pwned=1</script>\'{{ 7*7 }}'
    consent = {"en": f"en {script}", "zh": f"zh {script}"}
    question = {"key": "fake", "text": script}
    made = study(
        tmp_path, practice=0, trials=1, exposure_ms=50, title=script, consent=consent, questions=[question], **QUICK
    )
    with served(made.path) as (address, _):
        page = browser.new_page()
        page.goto(f"{address}/?lang=zh&PROLIFIC_PID={quote(script)}")
        assert page.title() == script
        assert page.inner_text(".panel p") == consent["zh"]
        page.click("button")
        page.wait_for_selector("text=String should match pattern")  # such an id of a panel is refused
        page.goto(f"{address}/?lang=en")
        assert page.inner_text(".panel p") == consent["en"]
        for title in ("Before you start", "Your screen", "Instructions"):
            page.click(f".panel:has-text('{title}') button")
        page.wait_for_selector(".answers button")
        assert page.inner_text(".question") == script
        assert page.evaluate("[typeof pwned, document.images.length, document.scripts.length]") == ["undefined", 0, 1]
        page.close()
