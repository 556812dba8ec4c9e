"""Tests run on one thread each, so that two of them can share a small machine and numbers stay the same."""

import gc
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from diptych.evaluation.compare import colour_histograms, curves
from diptych.networks import user_code
from diptych.runs import report
from diptych.runs.plots import draw_plot

torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a script runs the tests in the background
_cache = tempfile.TemporaryDirectory()
os.environ.setdefault("DIPTYCH_CACHE", _cache.name)  # what a person's own scans found is none of the tests' business


WITH_PLOTS = (report, curves, colour_histograms)  # modules that draw plots
# Folders and files whose tests start processes, train, or read large files: `make test-fast` leaves them out.
SLOW = (
    "attacks", "chaos", "cli", "evaluation", "golden", "methods", "workflows",
    "data/checks/test_inspect_file.py", "data/checks/test_problems.py", "data/checks/test_unreadable.py",
    "data/images/test_bars.py", "data/images/test_decode_damaged.py", "data/sources/test_attributes.py",
    "data/sources/test_classes.py", "data/test_image_format.py", "data/test_workers.py",
    "importers/test_import_files.py", "importers/test_importers.py",
    "inference/test_enlarging.py", "inference/test_generate.py", "inference/test_method_allowed.py",
    "inference/test_translate_values.py",
    "networks/test_user_code.py", "settings/test_settings_read.py", "system/test_distributed.py",
    "system/test_windows.py", "training/test_callbacks.py", "training/test_saving.py",
    "test_benchmarks.py", "test_docs.py",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    tests = Path(__file__).parent
    slow = {tests / path for path in SLOW}
    assert all(path.exists() for path in slow), "SLOW names a file that is not there"
    for item in items:
        if slow & {item.path, *item.path.parents}:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True, scope="module")
def frozen_heap():
    """What earlier modules left is not searched by each collection, nor copied by each in a forked process."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def classes_allowed_in_this_test_alone(monkeypatch):
    """An experiment hands the classes that this process allows to its runs; those of another test are not there."""
    monkeypatch.setattr(user_code, "_allowed", dict(user_code._allowed))


@pytest.fixture(scope="session", autouse=True)
def blank_plots():
    """Plots of reports and comparisons are blank: to draw them takes half of a short training."""
    with pytest.MonkeyPatch.context() as patch:
        for module in WITH_PLOTS:
            patch.setattr(module, "draw_plot", lambda *_, **__: Image.new("P", (960, 540)))
        yield


@pytest.fixture(scope="module")
def drawn_plots():
    """Plots of reports and comparisons are drawn in the tests of this module."""
    with pytest.MonkeyPatch.context() as patch:
        for module in WITH_PLOTS:
            patch.setattr(module, "draw_plot", draw_plot)
        yield


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A short finished run of pix2pix."""
    from commands import TINY, diptych

    folder = tmp_path_factory.mktemp("runs") / "letters"
    assert diptych("train", "pix2pix", *TINY, "steps=6", "log_every=2", "preview_every=3", "-o", folder).exit_code == 0
    return folder


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium with a camera that shows a test picture; while it is open, `asyncio.run` cannot be called."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("Chromium is not installed")
    sync_api = pytest.importorskip("playwright.sync_api")
    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", *camera])
        yield browser
        browser.close()
