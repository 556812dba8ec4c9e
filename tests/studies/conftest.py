"""A PostgreSQL server and a Chromium for the tests of a session, where their programs are installed."""

import shutil

import pytest
from postgresql_server import NotInstalledError, postgresql_server


@pytest.fixture(scope="session")
def postgresql():
    """The address of an empty database."""
    try:
        with postgresql_server() as address:
            yield address
    except NotInstalledError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium, through playwright."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("Chromium is not installed")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()
