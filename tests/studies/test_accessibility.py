"""Every screen of a study in a real Chromium: rules of axe-core, and a run by keyboard alone and by touch alone."""

import re

import pytest
from study_folders import served, study

axe = pytest.importorskip("axe_playwright_python.sync_playwright")
pytestmark = pytest.mark.slow
QUICK = {"fixation_ms": 0, "interval_ms": 0}
TIMED = {"practice": 1, "trials": 7, "break_every": 5, "exposure_ms": 50, **QUICK}  # one break, after practice
INPUTS = ("real", "input", "one", "two", "three")


def check(page, screen):
    """Fail for a serious or critical violation on the screen that is shown."""
    found = axe.Axe().run(page).response["violations"]
    grave = [f"{each['id']}: {each['nodes'][0]['html']}" for each in found if each["impact"] in ("serious", "critical")]
    assert not grave, f"{screen}: {grave}"


def panel(page, title):
    page.wait_for_selector(f"h1:has-text('{title}')")
    assert page.evaluate("document.activeElement.tagName") == "BUTTON"
    described = page.evaluate(
        "document.getElementById(document.activeElement.getAttribute('aria-describedby')).innerText"
    )
    assert title in described, "screen readers read the text with the button that has the focus"


@pytest.mark.parametrize(
    ("language", "width", "titles", "question", "feedback"),
    [
        (
            "en",
            1280,
            ("Before you start", "Your screen", "Instructions", "End of practice", "A short break", "Thank you"),
            "Which image is fake?",
            "Right|Wrong",
        ),
        (
            "zh",
            390,
            ("开始之前", "屏幕设置", "说明", "练习结束", "休息一下", "谢谢"),
            "哪张图像是生成的？",
            "正确|错误",
        ),
    ],
    ids=["en", "zh"],
)
def test_every_screen_is_accessible_and_keys_are_enough(browser, tmp_path, language, width, titles, question, feedback):
    """The policy of the page forbids foreign scripts; this test bypasses it to run axe-core in the page."""
    made = study(tmp_path, **TIMED)
    context = browser.new_context(bypass_csp=True, viewport={"width": width, "height": 800})
    page = context.new_page()
    page.set_default_timeout(20_000)
    shots = []

    def look(screen):
        check(page, screen)
        shots.append(screen)

    with served(made.path) as (address, _):
        page.goto(f"{address}?lang={language}")
        for title in titles[:3]:
            panel(page, title)
            look(title)
            page.keyboard.press("Enter")
        for trial in range(8):
            page.wait_for_selector(".answers button")
            assert page.inner_text("h1") == question
            assert page.evaluate("document.activeElement.tagName") == "H1", "screen readers read the question"
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.getAttribute('aria-keyshortcuts')") == "F"
            if trial < 2:
                look(f"trial {trial}")
            page.keyboard.press("Enter" if trial % 2 else "f")
            if trial == 0:
                page.wait_for_selector(".feedback:not(:empty)")
                assert re.fullmatch(feedback, page.inner_text(".feedback"))
                look("feedback")
                panel(page, titles[3])
                look(titles[3])
                page.keyboard.press("Enter")
            elif trial == 4:
                panel(page, titles[4])
                look(titles[4])
                page.keyboard.press("Enter")
            else:
                page.wait_for_selector(".answers:empty, #code", state="attached")
        page.wait_for_selector("#code")
        assert titles[5] in page.inner_text("main")
        look(titles[5])
        context.close()
    assert len(shots) == 9
    store = made.store()
    assert store.counts() == (1, 1, 8)
    store.close()


@pytest.mark.parametrize("preset", ["starganv2-2020", "srgan-mos-2017", "hype-infinity"])
def test_trials_of_other_designs_are_accessible_and_touch_is_enough(browser, tmp_path, preset):
    made = study(
        tmp_path, preset=preset, arms=(*INPUTS, "reference"), practice=0, trials=2, attention_checks=0, **QUICK
    )
    context = browser.new_context(bypass_csp=True, has_touch=True, viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.set_default_timeout(20_000)
    with served(made.path) as (address, _):
        page.goto(address)
        for title in ("Before you start", "Your screen", "Instructions"):
            panel(page, title)
            page.tap("button")
        page.wait_for_selector(".answers button")
        check(page, preset)
        for _ in range(2 * len(made.design.questions)):
            page.wait_for_selector(".answers button")
            page.evaluate("document.querySelector('.answers button').id = 'answered'")
            page.tap("#answered")
            page.wait_for_selector("#answered", state="detached")
        assert page.wait_for_selector("#code").inner_text()
        context.close()
