"""The page of a study in a real Chromium, from consent to completion code, and all that the browser receives."""

import shutil

import pytest
from study_folders import served, study

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.slow,
]
QUICK = {"fixation_ms": 0, "interval_ms": 0}


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def take_part(page, trials, key="f"):
    """Answer from the start page to the completion code, and return the code."""
    for _ in range(trials * 6 + 20):
        page.wait_for_selector("button, #code", timeout=30_000)
        if page.query_selector("#code"):
            return page.inner_text("#code")
        if page.query_selector(".answers button"):
            before = page.inner_text(".progress")
            page.keyboard.press(key)
            page.wait_for_function(
                "before => !document.querySelector('.answers button') || "
                "document.querySelector('.progress')?.textContent !== before",
                arg=before,
                timeout=30_000,
            )
        else:
            page.click("button")
            page.wait_for_timeout(50)
    raise AssertionError("the study did not end")


def test_from_consent_to_code_with_measured_exposures(browser, tmp_path):
    made = study(tmp_path, practice=1, trials=4, exposure_ms=100, **QUICK)
    with served(made.path) as (address, _):
        page = browser.new_page()
        received = []
        page.on("response", lambda response: received.append(response))
        page.goto(address)
        assert "I agree" in page.inner_text("main")
        code = take_part(page, 5)
        text = " ".join(
            [each.url for each in received]
            + [str(each.headers) for each in received]
            + [each.text() for each in received if each.url.endswith(("/session", "/answers", "/join"))]
        )
        page.close()
    for word in ("one", "two", "study", "000", "attention", "obvious"):
        assert f"/{word}" not in text.replace("/assets/study", "")
        assert f'"{word}"' not in text
    store = made.store()
    assert store.counts() == (1, 1, 5)
    answers = store.answers()
    assert store.finish(1) == code
    store.close()
    for answer in answers:
        assert len(answer.measured["exposures"]) == 2
        for requested, measured, _ in answer.measured["exposures"]:
            assert requested == 100
            assert 80 < measured < 1000
    lengths = {each.headers["content-length"] for each in received if each.url.endswith(".png")}
    assert len(lengths) == 1, "the length of a file would tell methods apart"
