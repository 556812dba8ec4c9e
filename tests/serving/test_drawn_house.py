"""A house drawn with the palette of a run's label maps changes the picture where it is drawn, and as it was learned."""

import numpy as np
import pytest
from house_models import COLORS, train_house_model
from model_server import served_models
from playground_page import changed, drag, label, opened, pick

pytestmark = pytest.mark.slow
HOUSE = {  # corners, as shares of the sides
    "wall": ((0.2, 0.4), (0.8, 0.98)),
    "roof": ((0.15, 0.25), (0.85, 0.4)),
    "door": ((0.52, 0.75), (0.68, 0.98)),
    "window": ((0.27, 0.5), (0.42, 0.66)),
}


@pytest.fixture(scope="module")
def houses(tmp_path_factory):
    """The address of a server of a run that was trained on label maps of houses."""
    with served_models(train_house_model(tmp_path_factory.mktemp("houses"))) as (address, _):
        yield address


def inside(pixels, corners):
    """Return the mean colour of a rectangle without its border."""
    (left, top), (right, bottom) = np.round(32 * np.array(corners)).astype(int)
    return pixels[top + 1 : bottom - 1, left + 1 : right - 1].mean(axis=(0, 1))


def test_a_drawn_house_becomes_a_picture_of_it(page, houses):
    opened(page, houses, "houses")
    page.get_by_text("Clear", exact=True).click()
    pick(page, "fill")
    label(page, COLORS["sky"][0])
    before = changed(page, lambda: page.locator("canvas").click())
    pick(page, "rectangle")
    for name, corners in HOUSE.items():
        label(page, COLORS[name][0])
        after = changed(page, lambda: drag(page, *corners))  # noqa: B023
        picture = np.array(COLORS[name][1])
        far, near = (np.linalg.norm(inside(pixels, corners) - picture) for pixels in (before, after))
        assert near < 0.8 * far, f"{name} does not get its colour"
        change = np.abs(after.astype(float) - before)
        top = round(32 * corners[0][1])
        assert inside(change, corners).mean() > 5 * change[: top // 2, :2].mean(), name
        before = after
