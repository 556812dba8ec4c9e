"""The run folder: everything that one training leaves behind, and one trainer at a time in it.

config.yaml        every setting, so that no flag is needed again
environment.json   machine, versions and command
images.jsonl       the images it learns from, each with its hash
data.json          how those images were stored and resized: see `data.formats`
events.jsonl       the log          tensorboard/    the same for TensorBoard
checkpoints/       the two newest and the best
previews/          grids of held-out images
model/             what translates, to ship
"""

import fcntl
import json
import os
import platform
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml

from diptych.data.checks.manifest import Manifest
from diptych.data.image_format import TrainingImages
from diptych.errors import RunError, printable, shown
from diptych.settings import renamed
from diptych.system.atomic_files import make_folder, remove_leftovers, write_probe, write_text
from diptych.system.safe_parse import parse_json, parse_yaml, read_text


class Run:
    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.config = self.folder / "config.yaml"
        self.events = self.folder / "events.jsonl"
        self.checkpoints = self.folder / "checkpoints"
        self.previews = self.folder / "previews"
        self.model = self.folder / "model"
        self.manifest = self.folder / "images.jsonl"
        self.formats = self.folder / "data.json"

    def check_new(self) -> None:
        """RunError if there is a run here already, or the path is not UTF-8: other libraries could not write there."""
        try:
            os.path.abspath(self.folder).encode()
        except UnicodeEncodeError as error:
            raise RunError(
                f"{printable(str(self.folder))}: the path of a run must be UTF-8; choose another with -o, or set "
                f"PYTHONUTF8=1 where only the locale is another"
            ) from error
        if self._has_settings():
            raise RunError(
                f"{self.folder} holds a run already: go on with `diptych resume {self.folder}`, or choose another "
                f"folder"
            )

    def create(self) -> None:
        """Make the folder. It is a run, and can be resumed, once its settings are kept. RunError if it cannot be."""
        self.check_new()
        try:
            for path in (self.checkpoints, self.previews):
                make_folder(path)
            for path in (self.folder, self.checkpoints):
                remove_leftovers(path)
            write_probe(self.checkpoints)
            write_text(self.folder / "environment.json", json.dumps(environment(), indent=2) + "\n")
        except OSError as error:
            raise RunError(f"{self.folder}: cannot be written ({error}); choose another folder with -o") from error

    def _has_settings(self) -> bool:
        try:
            return self.config.is_file()
        except OSError as error:
            raise RunError(f"{self.folder}: cannot be entered ({error})") from error

    def keep(self, settings: dict[str, Any], images: Manifest | None = None) -> None:
        """Write down what the run is made with. RunError."""
        try:
            if images and images.entries:
                images.save(self.manifest)
            write_text(self.config, yaml.safe_dump(settings, sort_keys=False))
        except OSError as error:
            raise RunError(f"{self.folder}: cannot be written ({error}); make room, then try again") from error

    def keep_formats(self, images: TrainingImages) -> None:
        """Write down how the training images were stored. RunError."""
        try:
            write_text(self.formats, images.model_dump_json(indent=2) + "\n")
        except OSError as error:
            raise RunError(f"{self.folder}: cannot be written ({error}); make room, then try again") from error

    def training_images(self) -> TrainingImages | None:
        """How the training images were stored; None for a run from before this was kept. RunError if damaged."""
        try:
            return TrainingImages.model_validate(parse_json(read_text(self.formats)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise RunError(
                f"{self.formats}: not the description of the training images ({shown(str(error))}); "
                f"`diptych resume {self.folder}` writes it again"
            ) from error

    @classmethod
    def open(cls, folder: Path | str) -> "Run":
        run = cls(folder)
        if not run._has_settings():
            raise RunError(f"{run.folder} is not a run folder: it has no config.yaml")
        return run

    def settings(self) -> dict[str, Any]:
        try:
            found = parse_yaml(read_text(self.config))
        except (OSError, ValueError) as error:
            raise RunError(f"{self.config}: not readable as YAML ({error})") from error
        if not isinstance(found, dict):
            raise RunError(f"{self.config}: does not hold settings")
        return renamed.document(found)

    def environment(self) -> dict[str, Any]:
        """What it was begun with; nothing if that file is gone, which nothing depends on."""
        try:
            found = parse_json(read_text(self.folder / "environment.json"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One trainer at a time; the system lets go of the lock when its process ends, however it ends.

        A lock of the process, not of the open file: the processes that load images would hold on to that. RunError.
        """
        try:
            file = (self.folder / "lock").open("a+")
        except OSError as error:
            raise RunError(f"{self.folder}: cannot be written ({error})") from error
        with file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError) as error:
                file.seek(0)
                raise RunError(
                    f"{self.folder} is being trained by {file.read() or 'another process'}; stop that first"
                ) from error
            except OSError as error:
                raise RunError(f"{self.folder}: its disk has no locks ({error}); train on another one") from error
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            yield


def environment() -> dict[str, Any]:
    """What one needs to know to understand a run's numbers later."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "command": " ".join(sys.argv),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gpu": gpu,
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
