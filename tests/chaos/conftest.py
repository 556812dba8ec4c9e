"""What tests of a disturbed training share: its images, the undisturbed run, and children that never outlive a test."""

import os
import signal
from contextlib import suppress

import pytest
from commands import diptych
from faults import IMAGES, SHORT, make_images
from forks import Child


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    return make_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def undisturbed(images, tmp_path_factory):
    """A run of pix2pix of six steps on those images."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    assert diptych("train", "pix2pix", *IMAGES, f"root={images}", *SHORT, "-o", folder).exit_code == 0
    return folder


@pytest.fixture
def child(tmp_path):
    """Starts a command in a process of its own, as `forks.Child`; what still runs at the end is killed."""
    started = []

    def start(*words, **options):
        started.append(Child(tmp_path / f"child{len(started)}", *words, **options))
        return started[-1]

    yield start
    for each in started:
        with suppress(ProcessLookupError):
            os.killpg(each.pid, signal.SIGKILL)
        each.process.join()
