"""A PostgreSQL server of its own, on a socket in a temporary folder, where its programs are installed."""

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path


class NotInstalledError(Exception):
    """PostgreSQL cannot run here, and why."""


def program(name):
    """Return the path of a PostgreSQL program. NotInstalledError if there is none."""
    found = shutil.which(name)
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    if not found and not places:
        raise NotInstalledError(f"PostgreSQL ({name}) is not installed")
    return found or str(places[0])


@contextmanager
def postgresql_server():
    """Run a server; yields the address of its database."""
    initdb, pg_ctl = program("initdb"), program("pg_ctl")
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # a short path, that another user can enter
    as_user = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        if subprocess.run(["id", "nobody"], capture_output=True).returncode:
            raise NotInstalledError("PostgreSQL does not run as root, and there is no user nobody")
        folder.chmod(0o777)
        as_user = {"user": "nobody"}
    data = folder / "data"
    options = {"capture_output": True, "check": True, "cwd": folder, **as_user}
    subprocess.run([initdb, "-D", str(data), "-A", "trust", "-U", "study", "--no-sync"], **options)
    subprocess.run(
        [pg_ctl, "-D", str(data), "-w", "-l", str(folder / "log"), "-o", f"-k {folder} -h ''", "start"],
        **{**options, "capture_output": False, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL},
    )
    try:
        yield f"postgresql+psycopg://study@/postgres?host={folder}"
    finally:
        subprocess.run([pg_ctl, "-D", str(data), "-m", "immediate", "stop"], **options)
        shutil.rmtree(folder, ignore_errors=True)
