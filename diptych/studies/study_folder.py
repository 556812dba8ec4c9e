"""The folder of a study: its design, which never changes, the images, and the answers.

study.yaml       the design, where the images came from, and the SHA-256 of both
stimuli.json     the file of each image
images/          the images, named by their hash
answers.sqlite   participants and answers, unless they are in another database
report/          what `diptych study analyze` writes
"""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from diptych.errors import StudyError
from diptych.settings.validate import Model, read_document
from diptych.studies.design import Design
from diptych.studies.stimuli import StimulusTable, encode_stimuli
from diptych.studies.trials import Trial, check_stimuli, trials_for
from diptych.system.atomic_files import make_folder, write_text

if TYPE_CHECKING:
    from diptych.studies.store import Store

FORMAT = 1
DESIGN, STIMULI, IMAGES, ANSWERS = "study.yaml", "stimuli.json", "images", "answers.sqlite"
MAX_BYTES = 2**26


class Translations(BaseModel):
    """What results of the same translations hold: their description, and hashes of the real images and sources."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: dict[str, Any] = {}
    images: dict[str, str] = {}


class StudyFile(BaseModel):
    """The contents of `study.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    design: Design
    arms: dict[str, str]  # where the images of each arm came from
    translations: dict[str, Translations] = {}  # by method, if known
    sha256: str = Field(pattern="^[0-9a-f]{64}$")  # of the design and the stimuli


@dataclass(frozen=True)
class StudyFolder:
    """A study on disk."""

    path: Path
    design: Design
    arms: Mapping[str, str]
    digest: str
    table: StimulusTable
    translations: Mapping[str, Translations]

    @classmethod
    def open(cls, path: Path) -> "StudyFolder":
        """Return the study in a folder. StudyError if there is none, or its design or images table were changed."""
        if not (path / DESIGN).is_file():
            raise StudyError(f"{path}: no study in it ({DESIGN} is missing): make one with `diptych study new`")
        file = _read(path / DESIGN, StudyFile)
        if file.format != FORMAT:
            raise StudyError(f"{path / DESIGN}: format {file.format}; this version of Diptych reads format {FORMAT}")
        table = _read(path / STIMULI, StimulusTable)
        if digest_of(file.design, table) != file.sha256:
            raise StudyError(
                f"{path}: the design or the images were changed after the study was made; answers of different designs "
                f"cannot be analysed together: make a new study with `diptych study new`"
            )
        return cls(path, file.design, file.arms, file.sha256, table, file.translations)

    @cached_property
    def images(self) -> Path:
        return self.path / IMAGES

    def trials(self, number: int) -> list[Trial]:
        """Return the trials of a participant by number, from 1."""
        return trials_for(self.design, self.table.stimuli(), self.digest, number - 1)

    def store(self, address: str | None = None) -> "Store":
        """Return the database with the answers: the SQLite file in the folder, or another by its address."""
        from diptych.studies.store import Store

        return Store(address or f"sqlite:///{self.path.absolute() / ANSWERS}", self.digest)


def create(
    path: Path,
    design: Design,
    arms: Mapping[str, Mapping[str, Path]],
    origin: Mapping[str, str],
    translations: Mapping[str, Translations] = MappingProxyType({}),
) -> StudyFolder:
    """Write a new study and return it.

    arms: path of each image by arm and name (see `encode_stimuli`). origin: where the images of each arm came from.
    translations: by method, what tells whether metrics are about the same images.
    StudyError if the folder is not empty; ConfigError or ImageError for arms that do not fit the design. A folder that
    could not be completed is removed.
    """
    if path.exists() and any(path.iterdir()):
        raise StudyError(f"{path}: the folder is not empty; choose another with -o")
    make_folder(path / IMAGES)
    try:
        table = encode_stimuli(arms, path / IMAGES, design.obvious)
        check_stimuli(design, table.stimuli())
        write_text(path / STIMULI, table.model_dump_json(indent=1) + "\n")
        digest = digest_of(design, table)
        content: dict[str, Any] = {
            "format": FORMAT,
            "sha256": digest,
            "arms": dict(origin),
            "translations": {name: each.model_dump() for name, each in translations.items()},
            "design": design.model_dump(mode="json", exclude_none=False),
        }
        write_text(path / DESIGN, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
    return StudyFolder.open(path)


def digest_of(design: Design, table: StimulusTable) -> str:
    """Return the SHA-256 of a design with its stimuli, which selects the trials and marks the results."""
    return hashlib.sha256((design.digest() + table.model_dump_json()).encode()).hexdigest()


def _read(path: Path, model: type[Model]) -> Model:
    return read_document(path, model, error=StudyError, what="study", largest=MAX_BYTES)
