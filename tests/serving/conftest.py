"""Servers of small models that the tests of this folder share, and a page in Chromium."""

import re

import httpx
import numpy as np
import pytest
from model_server import served_models
from onnx_files import metadata, write_onnx
from PIL import Image
from playground_page import HOUSE
from translators import made

from diptych.contract import Labels
from diptych.methods import METHODS

MANY_DOMAINS = (Labels(names=tuple(f"font {number}" for number in range(10))),)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Paths of models by name: one of ONNX, which inverts images, and untrained ones of PyTorch."""
    folder = tmp_path_factory.mktemp("models")
    paths = {"inverted": write_onnx(folder / "inverted.onnx", metadata())}
    for name in ("cyclegan", "munit", "gan"):
        paths[name] = made(name).save(folder / name)
    return paths


@pytest.fixture(scope="session")
def client(models):
    """A client of a server of all these models."""
    limits = ("--max-megapixels", "0.05", "--max-megabytes", "0.5")
    with served_models(*models.values(), *limits) as (address, _), httpx.Client(base_url=address, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def served(models, tmp_path_factory):
    """The address of a server of the model that inverts images, and of an untrained model of each method.

    `fonts` is a StarGAN with more domains than fit into buttons. Two label maps of houses are examples of all.
    """
    folder = tmp_path_factory.mktemp("served")
    untrained = [made(name).save(folder / name) for name in METHODS if name not in models]
    untrained.append(made("stargan", labels=MANY_DOMAINS).save(folder / "fonts"))
    (folder / "maps").mkdir()
    sky, wall, door = HOUSE
    for number in (1, 2):
        house = np.full((64, 64, 3), sky, np.uint8)
        house[20:, 8 * number : 50] = wall
        house[40:, 30:40] = door
        Image.fromarray(house).save(folder / "maps" / f"{number}.png")
    examples = ("--examples", folder / "maps", "--max-megapixels", "0.1")
    with served_models(*models.values(), *untrained, *examples) as (address, _):
        yield address


@pytest.fixture(scope="module")
def tab(browser):
    """A tab of Chromium that the tests of a module share."""
    context = browser.new_context(accept_downloads=True)
    yield context.new_page()
    context.close()


@pytest.fixture
def page(tab):
    """The tab, which fails the test for script errors, dialogs, and requests to other hosts."""
    tab.set_default_timeout(60_000)
    faults = []
    listeners = {
        "pageerror": lambda error: faults.append(str(error)),
        "dialog": lambda dialog: (faults.append("a script ran"), dialog.dismiss()),
        "request": lambda sent: None if re.match(r"http://127|blob:|data:", sent.url) else faults.append(sent.url),
    }
    for event, listener in listeners.items():
        tab.on(event, listener)
    yield tab
    tab.unroute_all()
    tab.evaluate("location.protocol.startsWith('http') && sessionStorage.clear()")
    tab.goto("about:blank")
    for event, listener in listeners.items():
        tab.remove_listener(event, listener)
    assert not faults
