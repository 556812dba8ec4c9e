"""The page of a model in a real Chromium: inputs, drawing, controls, address, history, keyboard."""

import base64
import io
import re

import numpy as np
import pytest
from model_server import picture, png
from playground_page import HOUSE, at, box, changed, described, drag, label, opened, pick, result, settled

axe = pytest.importorskip("axe_playwright_python.sync_playwright")
pytestmark = pytest.mark.slow
SKY, WALL, DOOR = HOUSE
SCRIPT = "<img src=x onerror=alert(1)>"


def inverse(color):
    return tuple(255 - value for value in color)


def test_drawing_with_labels_changes_the_picture(page, served):
    opened(page, served, "inverted")
    house = result(page)
    assert (at(house, 0.1, 0.1), at(house, 0.5, 0.9)) == (inverse(SKY), inverse(DOOR))
    label(page, DOOR)
    brushed = changed(page, lambda: drag(page, (0.1, 0.1), (0.9, 0.1)))
    assert at(brushed, 0.5, 0.1) == inverse(DOOR)
    assert {tuple(color) for color in brushed.reshape(-1, 3).tolist()} == {inverse(each) for each in (SKY, WALL, DOOR)}
    pick(page, "fill")
    label(page, WALL)
    filled = changed(page, lambda: page.mouse.click(*box(page, 0.1, 0.02)))
    assert at(filled, 0.05, 0.02) == inverse(WALL)
    assert at(filled, 0.5, 0.1) == inverse(DOOR)
    pick(page, "rectangle")
    label(page, SKY)
    boxed = changed(page, lambda: drag(page, (0.25, 0.4), (0.4, 0.6)))
    assert (at(boxed, 0.3, 0.5), at(boxed, 0.45, 0.5)) == (inverse(SKY), inverse(WALL))
    undone = changed(page, lambda: page.get_by_text("Undo", exact=True).click())
    assert np.array_equal(undone, filled)
    assert np.array_equal(changed(page, lambda: page.get_by_text("Redo", exact=True).click()), boxed)
    cleared = changed(page, lambda: page.get_by_text("Clear", exact=True).click())
    assert len(np.unique(cleared.reshape(-1, 3), axis=0)) == 1


def test_class_ids_are_drawn_in_colours_and_sent_as_they_are(page, served):
    labels = [{"name": SCRIPT, "color": f"#{each:02x}{each:02x}{each:02x}"} for each in range(3)]
    described(page, labels=labels, background="#000000")
    opened(page, served, "inverted")
    assert page.inner_text(".palette label:first-of-type") == SCRIPT
    colors = page.eval_on_selector_all(".swatch", "all => all.map((each) => getComputedStyle(each).backgroundColor)")
    assert len(set(colors)) == 3
    page.get_by_text("Clear", exact=True).click()
    page.locator(".palette input").nth(2).check()
    drawn = changed(page, lambda: drag(page, (0.3, 0.3), (0.6, 0.3)))
    assert set(drawn.reshape(-1).tolist()) == {255, 253}


def test_lines_are_drawn_and_erased(page, served):
    described(page, drawing="lines", labels=None, background="#ffffff", pen="#000000")
    opened(page, served, "inverted")
    changed(page, lambda: page.get_by_text("Clear", exact=True).click())
    drawn = changed(page, lambda: drag(page, (0.2, 0.5), (0.8, 0.5)))
    assert (at(drawn, 0.5, 0.5), at(drawn, 0.5, 0.2)) == ((255,) * 3, (0,) * 3)
    assert drawn.shape == (256, 256, 3)
    pick(page, "eraser")
    page.locator(".size input").fill("30")
    erased = changed(page, lambda: drag(page, (0.5, 0.4), (0.5, 0.6)))
    assert (at(erased, 0.5, 0.5), at(erased, 0.25, 0.5)) == ((0,) * 3, (255,) * 3)


def test_images_by_file_drop_paste_camera_and_example(page, served):
    opened(page, served, "inverted", "input=image")
    data = png((40, 30))
    file = {"name": f"{SCRIPT}.png", "mimeType": "image/png", "buffer": data}
    given = changed(page, lambda: page.set_input_files(".input input[type=file]", file))
    assert np.array_equal(given, 255 - picture(data))
    assert page.inner_text(".input .image-field .help") == f"{SCRIPT}.png · 40 × 30 pixels"
    for kind, target, name in (("drop", ".input .zone", "dataTransfer"), ("paste", "body", "clipboardData")):
        other = png((20, 20), seed=len(kind))
        transfer = page.evaluate_handle(
            """(data) => {
              const transfer = new DataTransfer();
              const bytes = Uint8Array.from(atob(data), (each) => each.charCodeAt(0));
              transfer.items.add(new File([bytes], "x.png", { type: "image/png" }));
              return transfer;
            }""",
            base64.b64encode(other).decode(),
        )
        script = f"(target, transfer) => target.dispatchEvent(new {'DragEvent' if kind == 'drop' else 'ClipboardEvent'}"
        script += f"('{kind}', {{ {name}: transfer, bubbles: true, cancelable: true }}))"
        shown = changed(page, lambda: page.query_selector(target).evaluate(script, transfer))  # noqa: B023
        assert np.array_equal(shown, 255 - picture(other)), kind
    example = changed(page, lambda: page.get_by_label("Example 2").click())
    assert at(example, 0.5, 0.9) == inverse(DOOR)
    page.locator(".input").get_by_text("Camera").click()
    page.wait_for_selector("dialog .primary:not([disabled])")
    photo = changed(page, lambda: page.click("dialog .primary"))
    assert photo.shape[0] * photo.shape[1] <= 100_000, "scaled down to the limit of the server"
    assert "Scaled down from" in page.inner_text(".input .image-field .help")


def test_every_kind_of_control_changes_the_picture(page, served):
    opened(page, served, "munit", "input=image")
    first = result(page)
    seed = changed(page, lambda: page.get_by_label("seed", exact=True).fill("7"))
    assert not np.array_equal(first, seed)
    assert page.input_value('[aria-label="seed, slider"]') == "7"
    assert not np.array_equal(changed(page, lambda: page.get_by_label("seed: random").click()), seed)
    assert np.array_equal(changed(page, lambda: page.get_by_label("seed, slider").fill("0")), first)
    assert not np.array_equal(changed(page, lambda: pick(page, "b2a")), first)
    changed(page, lambda: pick(page, "a2b"))
    assert page.get_by_label("mix", exact=True).is_disabled(), "there is no second style"
    halfway = changed(page, lambda: page.get_by_label("use toward").check())
    assert page.input_value('[aria-label="mix, slider"]') == "0.5"
    second = changed(page, lambda: page.get_by_label("mix, slider").fill("1"))
    assert len({each.tobytes() for each in (first, halfway, second)}) == 3
    assert np.array_equal(changed(page, lambda: page.get_by_label("use toward").uncheck()), first)
    file = {"name": "reference.png", "mimeType": "image/png", "buffer": png((40, 40), seed=5)}
    shown = changed(page, lambda: page.set_input_files('input[aria-label="reference"]', file))
    assert not np.array_equal(shown, first)
    assert np.array_equal(changed(page, lambda: page.locator("button:visible", has_text="Remove").click()), first)


def test_a_model_without_inputs_has_seed_and_number(page, served):
    opened(page, served, "gan")
    first = result(page)
    assert not np.array_equal(changed(page, lambda: page.get_by_label("number", exact=True).fill("2")), first)
    assert page.locator(".input").count() == 0


def test_flags_and_texts_are_sent_only_if_they_differ_from_the_default(page, served):
    common = {"choices": [], "minimum": None, "maximum": None, "step": None, "help": SCRIPT}
    flag = {**common, "name": "sharp", "kind": "flag", "default": False}
    text = {**common, "name": "flip", "kind": "text", "default": ""}
    described(page, more=[flag, text])
    sent = []
    page.on("request", lambda each: sent.append(each.post_data_buffer or b"") if "/translate" in each.url else None)
    page.route("**/translate", lambda route: route.fulfill(body=png(), content_type="image/png"))
    opened(page, served, "inverted")
    assert b'name="sharp"' not in sent[-1]
    changed(page, lambda: page.get_by_label("sharp").check())
    page.get_by_label("flip").fill(SCRIPT)
    changed(page, lambda: page.keyboard.press("Enter"))
    assert b'name="sharp"\r\n\r\ntrue' in sent[-1]
    assert f'name="flip"\r\n\r\n{SCRIPT}'.encode() in sent[-1]
    assert SCRIPT in page.inner_text(".controls")


def test_the_newest_request_wins(page, served):
    opened(page, served, "munit", "input=image")
    seeds, held, given_up = [], [], []

    def hold(route):
        seeds.append(re.search(rb'name="seed"\r\n\r\n(\d+)', route.request.post_data_buffer)[1])
        if len(seeds) == 1:
            held.append(route.request)  # is never answered
        else:
            route.continue_()

    page.route("**/translate", hold)
    page.on("requestfailed", lambda request: given_up.append(request))
    last = changed(page, lambda: [page.get_by_label("seed", exact=True).fill(str(seed)) for seed in (5, 6, 7)])
    assert seeds[-1] == b"7"
    assert held[0] in given_up, "the page waits no longer for the first one"
    page.unroute("**/translate")
    opened(page, served, "munit", "input=image&seed=7")
    assert np.array_equal(result(page), last)


def test_while_something_is_dragged_requests_wait_for_the_one_at_work(page, served):
    opened(page, served, "inverted")
    told = page.evaluate(
        """async () => {
          const { LatestRequest } = await import("/assets/latest_request.js");
          const told = [];
          const answers = [];
          const send = (request) => { told.push(`sent ${request}`); return new Promise((done) => answers.push(done)); };
          const requests = new LatestRequest(send, {
            started: () => {}, failed: () => {}, answered: (answer) => told.push(`shown ${answer}`) });
          const pause = () => new Promise((done) => setTimeout(done, 60));
          for (const request of [1, 2, 3]) requests.ask(request, false);
          answers[0]("a");
          await pause();
          requests.ask(4, true);
          answers[1]("b");
          answers[2]("c");
          await pause();
          return told;
        }"""
    )
    assert told == ["sent 1", "shown a", "sent 3", "sent 4", "shown c"]


def test_the_address_restores_the_settings(page, served):
    opened(page, served, "munit", "input=image&example=2&seed=9&toward=4&mix=0.25&direction=b2a&view=compare")
    wanted = result(page)
    assert page.get_by_label("seed", exact=True).input_value() == "9"
    assert page.get_by_label("mix", exact=True).input_value() == "0.25"
    assert page.locator(".before").is_visible()
    assert page.get_attribute('[data-example="1"]', "aria-pressed") == "true"
    changed(page, lambda: page.get_by_label("seed", exact=True).fill("10"))
    shared = page.evaluate("location.href")
    assert "seed=10" in shared
    opened(page, served, "munit", shared.partition("#")[2].replace("seed=10", "seed=9"))
    assert np.array_equal(result(page), wanted)


def test_results_are_compared_kept_downloaded_and_told_as_a_command(page, served):
    opened(page, served, "munit", "input=image")
    first = result(page)
    changed(page, lambda: page.get_by_label("seed", exact=True).fill("3"))
    with page.expect_download() as download:
        page.get_by_text("Download", exact=True).click()
    assert download.value.suggested_filename == "munit.png"
    page.select_option(".output select", "npy")
    with page.expect_download() as download:
        page.get_by_text("Download", exact=True).click()
    assert np.load(io.BytesIO(download.value.path().read_bytes())).shape == first.shape
    page.evaluate("navigator.clipboard.writeText = async (text) => { document.title = text; }")
    page.get_by_text("Copy as curl").click()
    assert page.inner_text(".status") == "Command copied."
    wanted = "curl --fail-with-body -F image=@input.png --form-string seed=3 -F format=npy -o output.npy "
    assert page.title() == f"{wanted}{served}/v1/models/munit/translate"
    pick(page, "Compare")
    page.get_by_label("Boundary between input and translation").fill("20")
    assert page.locator(".before").evaluate("each => each.style.clipPath") == "inset(0px 80% 0px 0px)"
    assert page.locator(".output .thumbnail").count() == 2
    restored = changed(page, lambda: page.locator(".output .thumbnail").nth(1).click())
    assert np.array_equal(restored, first)
    assert page.get_by_label("seed", exact=True).input_value() == "0"


def test_errors_of_the_server_are_shown_at_their_field(page, served):
    opened(page, served, "munit", "input=image")
    problem = {"status": 422, "detail": f"wrong {SCRIPT}"}
    for field, place in (("seed", ".controls .error"), ("image", ".input .error"), ("", ".output .error")):
        problem["field"] = field
        page.route("**/translate", lambda route: route.fulfill(status=422, json=problem))
        page.get_by_text("Translate", exact=True).click()
        error = page.locator(f"{place}:visible")
        error.wait_for()
        assert (error.inner_text(), error.get_attribute("role")) == (f"wrong {SCRIPT}", "alert")
        if field == "seed":
            invalid = page.locator("[aria-invalid]")
            assert invalid.get_attribute("aria-errormessage") == error.get_attribute("id")
            assert page.get_by_label("seed", exact=True).get_attribute("aria-invalid") is not None
        page.unroute("**/translate")
        changed(page, lambda: page.get_by_text("Translate", exact=True).click())
        assert not error.is_visible()


def test_a_request_that_meets_a_full_queue_is_sent_again(page, served):
    opened(page, served, "inverted")
    answers = [(429, {"Retry-After": "1"})]

    def answer(route):
        if not answers:
            return route.continue_()
        status, headers = answers.pop()
        return route.fulfill(status=status, headers=headers, body='{"detail": "9 requests are waiting"}')

    page.route("**/translate", answer)
    before = page.get_attribute(".result .after", "src")
    page.get_by_text("Translate", exact=True).click()
    page.get_by_text("The page sends it again in 1 s.").wait_for()
    page.wait_for_selector(f'.output:not([aria-busy]) .after:not([src="{before}"])')
    assert not page.get_by_text("The page sends it again").is_visible()


def test_the_keyboard_is_enough(page, served):
    opened(page, served, "inverted")

    def tab_to(selector):
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"no tab stop {selector}")

    label(page, SKY)
    tab_to("canvas")
    before = result(page)
    page.keyboard.press("ArrowUp")
    drawn = changed(page, lambda: [page.keyboard.press(key) for key in ("Space", "Shift+ArrowLeft")])
    assert not np.array_equal(before, drawn)
    assert np.array_equal(changed(page, lambda: [page.keyboard.press("Control+z") for _ in range(2)]), before)
    tab_to('[data-example="1"]')
    changed(page, lambda: page.keyboard.press("Enter"))
    tab_to(".translate")
    assert page.evaluate("document.activeElement.matches(':focus-visible')")
    page.keyboard.press("Space")
    settled(page)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_is_accessible(browser, served, width, scheme):
    """The policy of the page forbids foreign scripts; this test bypasses it to run axe-core in the page."""
    context = browser.new_context(bypass_csp=True, viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    for path in ("models/inverted", "models/munit#input=image&toward=3&view=compare", "")[: 3 if width > 390 else 2]:
        page.goto("about:blank")
        page.goto(f"{served}/{path}")
        page.wait_for_selector(".models, .output:not([aria-busy]) .after:not([hidden])")
        found = axe.Axe().run(page).response["violations"]
        grave = [
            f"{each['id']}: {each['nodes'][0]['html']}" for each in found if each["impact"] in ("serious", "critical")
        ]
        assert not grave, path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} is wider than the screen"
    context.close()


def test_the_token_comes_from_the_address_or_is_asked_for(page, served):
    def check(route):
        if route.request.headers.get("authorization") == "Bearer secret":
            return route.continue_()
        return route.fulfill(status=401, body='{"detail": "this server needs its token", "field": "Authorization"}')

    page.route("**/v1/**", check)
    opened(page, served, "inverted", "token=secret&input=image")
    assert "secret" not in page.evaluate("location.href")
    page.reload()
    settled(page)
    page.get_by_text("Copy as curl").click()
    page.evaluate("sessionStorage.clear()")
    page.reload()
    for given in ("wrong", "secret"):
        page.fill("input[type=password]", given)
        page.keyboard.press("Enter")
        if given == "wrong":
            page.get_by_text("This is not the token of the server.").wait_for()
    settled(page)
