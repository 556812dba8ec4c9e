"""A PostgreSQL server and a Chromium for the tests of a session, where their programs are installed."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest


def program(name):
    """Return the path of a PostgreSQL program; None if it is not installed."""
    found = shutil.which(name)
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    return found or (str(places[0]) if places else None)


@pytest.fixture(scope="session")
def postgresql():
    """The address of a database of its own, on a socket in a folder."""
    initdb, pg_ctl = program("initdb"), program("pg_ctl")
    if not initdb or not pg_ctl:
        pytest.skip("PostgreSQL (initdb, pg_ctl) is not installed")
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # a short path, that another user can enter
    as_user = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        if subprocess.run(["id", "nobody"], capture_output=True).returncode:
            pytest.skip("PostgreSQL does not run as root, and there is no user nobody")
        folder.chmod(0o777)
        as_user = {"user": "nobody"}
    data = folder / "data"
    options = {"capture_output": True, "check": True, "cwd": folder, **as_user}
    subprocess.run([initdb, "-D", str(data), "-A", "trust", "-U", "study", "--no-sync"], **options)
    subprocess.run(
        [pg_ctl, "-D", str(data), "-w", "-l", str(folder / "log"), "-o", f"-k {folder} -h ''", "start"],
        **{**options, "capture_output": False, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL},
    )
    yield f"postgresql+psycopg://study@/postgres?host={folder}"
    subprocess.run([pg_ctl, "-D", str(data), "-m", "immediate", "stop"], **options)
    shutil.rmtree(folder, ignore_errors=True)


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
