"""The page of every method: it shows the controls of the model, and the picture of the API."""

import httpx
import numpy as np
import pytest
from model_server import picture
from playground_page import changed, opened, pick, result

from diptych.methods import METHODS

pytestmark = pytest.mark.slow
SAMPLE = [{"name": "seed", "kind": "number", "choices": []}, {"name": "number", "kind": "number", "choices": []}]
OTHER = {  # controls beside the default that give another picture
    "cyclegan": {"direction": "b2a"},
    "drit": {"seed": 3, "direction": "b2a"},
    "fonts": {"domain": "font 7"},
    "gan": {"seed": 2, "number": 1},
    "msgan": {"seed": 5},
    "munit": {"seed": 4, "toward": 7, "mix": 0.25},
    "stargan": {"domain": "sans-bold"},
    "starganv2": {"domain": "sans-bold", "seed": 1},
    "twostep": {"domain": "domain 2"},
}


@pytest.fixture(scope="module")
def api(served):
    with httpx.Client(base_url=served, timeout=60) as client:
        yield client


def answer(api, model, controls):
    """Return the picture of the API for the first example, or a generated one."""
    if model["translates"]:
        image = api.get(model["examples"][0]).content
        files, data = {"image": image}, {name: str(value) for name, value in controls.items()}
        response = api.post(f"/v1/models/{model['name']}/translate", files=files, data=data)
    else:
        response = api.post(f"/v1/models/{model['name']}/sample", json=controls)
    assert response.status_code == 200, response.text
    pixels = picture(response.content)
    return pixels[..., :3] if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def set_control(page, control, value):
    """Operate a control as a person does."""
    name = control["name"]
    if control["kind"] == "choice" and len(control["choices"]) > 8:
        page.get_by_label(name, exact=True).select_option(value)
    elif control["kind"] == "choice":
        pick(page, value)
    else:
        if name == "toward":
            page.get_by_label("use toward", exact=True).check()
        page.get_by_label(name, exact=True).fill(str(value))


@pytest.mark.parametrize("name", [*METHODS, "fonts"])
def test_page(page, served, api, name):
    model = api.get(f"/v1/models/{name}").json()
    opened(page, served, name, "input=image")
    controls = {each["name"]: each for each in model["controls"] + ([] if model["translates"] else SAMPLE)}
    assert page.locator(".control").count() == len(controls)
    for control in controls.values():
        field = page.locator(".control", has_text=control["name"].replace("_", " ")).first
        assert field.is_visible()
        if 0 < len(control["choices"]) <= 8:
            assert field.get_by_role("radio").count() == len(control["choices"])
    first = result(page)
    np.testing.assert_array_equal(first, answer(api, model, {}))
    for number, (control, value) in enumerate(OTHER.get(name, {}).items()):
        values = dict(list(OTHER[name].items())[: number + 1])
        shown = changed(page, lambda: set_control(page, controls[control], value))  # noqa: B023
        if control != "toward":  # which also sets mix
            np.testing.assert_array_equal(shown, answer(api, model, values))
            assert not np.array_equal(shown, first)
