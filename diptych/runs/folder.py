"""The run folder: the files of one training, and a lock so that one process at a time trains in it.

config.yaml        all settings
environment.json   machine, versions and command
images.jsonl       the training images, each with its hash
split.csv          the split of each image, where `split=` chose it (`runs.split_file`)
data.json          how the training images were stored and resized (`data.image_format`)
events.jsonl       the event log
tensorboard/       the same numbers for TensorBoard
checkpoints/       the two newest checkpoints and the best
previews/          sample grids of held-out images
model/             the networks that translate, for inference
"""

import json
import os
import platform
import shlex
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
from diptych.errors import ConfigError, RunError, printable
from diptych.settings import renamed
from diptych.settings.validate import checked, read_mapping
from diptych.system.atomic_files import make_folder, remove_leftovers, write_probe, write_text
from diptych.system.file_lock import lock_file
from diptych.system.safe_parse import parse_json, parse_yaml, read_text


class Run:
    """Paths, settings and lock of a run folder."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.config = self.folder / "config.yaml"
        self.events = self.folder / "events.jsonl"
        self.checkpoints = self.folder / "checkpoints"
        self.previews = self.folder / "previews"
        self.model = self.folder / "model"
        self.manifest = self.folder / "images.jsonl"
        self.split = self.folder / "split.csv"
        self.formats = self.folder / "data.json"

    def check_new(self) -> None:
        """Raise RunError if the folder is a run already, or its path is not UTF-8, which other libraries need."""
        try:
            os.path.abspath(self.folder).encode()
        except UnicodeEncodeError as error:
            raise RunError(
                f"{printable(str(self.folder))}: the path of a run must be UTF-8; choose another with -o, or set "
                f"PYTHONUTF8=1 if only the locale differs"
            ) from error
        if self._has_settings():
            raise RunError(
                f"{self.folder} is a run already: continue it with `diptych resume {self.folder}`, or choose another "
                f"folder"
            )

    def create(self) -> None:
        """Create the folder. It becomes a run, which can be resumed, with `save_settings`. RunError."""
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

    def save_settings(self, settings: dict[str, Any], images: Manifest | None = None) -> None:
        """Write the settings and the manifest of the training images. RunError."""
        try:
            if images and images.entries:
                images.save(self.manifest)
            write_text(self.config, yaml.safe_dump(settings, sort_keys=False))
        except OSError as error:
            raise RunError(f"{self.folder}: cannot be written ({error}); make room, then try again") from error

    def save_image_formats(self, images: TrainingImages) -> None:
        """Write how the training images were stored. RunError."""
        try:
            write_text(self.formats, images.model_dump_json(indent=2) + "\n")
        except OSError as error:
            raise RunError(f"{self.folder}: cannot be written ({error}); make room, then try again") from error

    def training_images(self) -> TrainingImages | None:
        """Return how the training images were stored; None for runs of early versions. RunError if damaged."""
        if not self.formats.exists():
            return None
        what = f"the description of the training images, which `diptych resume {self.folder}` writes again"
        values = read_mapping(self.formats, error=RunError, what=what)
        try:
            return checked(TrainingImages, renamed.training_images(values), self.formats.name)
        except ConfigError as error:
            raise RunError(f"{self.formats}: not {what} ({error})") from error

    @classmethod
    def open(cls, folder: Path | str) -> "Run":
        """Return the run of an existing run folder. RunError if it has no settings."""
        run = cls(folder)
        if not run._has_settings():
            raise RunError(f"{run.folder} is not a run folder: it has no config.yaml")
        return run

    def settings(self) -> dict[str, Any]:
        """Return the settings by section, with present names. RunError if the file is damaged."""
        try:
            settings = parse_yaml(read_text(self.config))
        except (OSError, ValueError) as error:
            raise RunError(f"{self.config}: not readable as YAML ({error})") from error
        if not isinstance(settings, dict):
            raise RunError(f"{self.config}: expected settings by section")
        return renamed.document(settings)

    def environment(self) -> dict[str, Any]:
        """Return machine, versions and command of the start; {} if the file is missing or damaged."""
        try:
            values = parse_json(read_text(self.folder / "environment.json"))
        except (OSError, ValueError):
            return {}
        return values if isinstance(values, dict) else {}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder for this process. The system releases the lock when the process ends. RunError if locked."""
        try:
            file = (self.folder / "lock").open("a+")
        except OSError as error:
            raise RunError(f"{self.folder}: cannot be written ({error})") from error
        with file:
            try:
                lock_file(file)
            except (BlockingIOError, PermissionError) as error:
                file.seek(0)
                raise RunError(
                    f"{self.folder} is being trained by {file.read() or 'another process'}; stop that first"
                ) from error
            except OSError as error:
                raise RunError(
                    f"{self.folder}: this file system does not support locks ({error}); choose another disk with -o"
                ) from error
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            yield


def environment() -> dict[str, Any]:
    """Return the machine, versions and command, for the record."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "command": shlex.join(sys.argv),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gpu": gpu,
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
