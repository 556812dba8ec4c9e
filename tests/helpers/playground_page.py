"""The page of a model in Chromium, as a person uses it: open, draw, pick, and read the picture that is shown."""

import base64

from model_server import picture

HOUSE = (0, 170, 255), (255, 170, 0), (170, 0, 0)  # colours of sky, wall and door of the example label maps


def opened(page, served, model, settings=""):
    page.goto("about:blank")
    page.goto(f"{served}/models/{model}#{settings}")
    settled(page)
    return page


def settled(page):
    """Wait until a result is shown and no request is at work."""
    page.wait_for_selector(".output:not([aria-busy]) .result img.after:not([hidden])")


def result(page):
    """Return the pixels of the result that is shown."""
    settled(page)
    return picture(base64.b64decode(page.evaluate(
        """async () => {
          const image = document.querySelector(".result .after");
          await image.decode();
          const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
          canvas.getContext("2d").drawImage(image, 0, 0);
          const bytes = new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer());
          return btoa(String.fromCharCode(...bytes));
        }"""
    )))[..., :3]  # fmt: skip


def changed(page, act):
    """Do something that gives a new result, and return its pixels."""
    before = page.get_attribute(".result .after", "src")
    act()
    page.wait_for_selector(f'.output:not([aria-busy]) .result .after:not([src="{before}"])')
    return result(page)


def described(page, **source):
    """Let the page receive another description of the source of models."""

    def answer(route):
        models = route.fetch().json()
        for model in models["models"]:
            model["source"] and model["source"].update(source)
            model["controls"] += source.get("more", [])
        route.fulfill(json=models)

    page.route("**/v1/models", answer)


def box(page, x, y):
    """Return the place on the screen of a point of the canvas; x and y are shares of its sides."""
    page.locator("canvas").scroll_into_view_if_needed()
    frame = page.locator("canvas").bounding_box()
    return frame["x"] + x * frame["width"], frame["y"] + y * frame["height"]


def drag(page, start, end):
    page.mouse.move(*box(page, *start))
    page.mouse.down()
    page.mouse.move(*box(page, *end), steps=4)
    page.mouse.up()


def at(pixels, x, y):
    height, width = pixels.shape[:2]
    return tuple(int(value) for value in pixels[int(y * height), int(x * width)])


def label(page, color):
    page.check(f'.palette label[title="#{bytes(color).hex()}"] input')


def pick(page, name):
    page.get_by_role("radio", name=name, exact=True).check()
