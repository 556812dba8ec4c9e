"""Sample folders: the translations of held-out images as files with a manifest, read by metrics and by user studies.

samples.json                  what was translated by which model, and a row for each translation
source/ fake/ truth/ real/    images in a folder for each route: PNG (`.npy` unless they have 1 or 3 channels)
floats/                       of some protocols: the translations before they are clamped and rounded to 8 bits

Output of other tools can be put into a sample folder, or evaluated as two plain folders (`two_folders.py`).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from diptych.data.dataset import Column
from diptych.errors import ConfigError, EvaluationError, listed, printable, shown
from diptych.evaluation.metrics.image_sets import digest_of_pixels, image_set
from diptych.evaluation.results import present_about
from diptych.settings.validate import checked
from diptych.system.safe_parse import parse_json, read_text

FORMAT = 1
GENERATED = "generated"  # the route of images from noise
MANIFEST = "samples.json"
MAX_BYTES = 2**26  # of a manifest: half a million rows
NAME_LENGTH = 40  # characters of up to 4 bytes each; a file name may have 255 bytes, and a prefix is added


class SampleRow(BaseModel):
    """One translation: paths relative to the folder, and the controls it was generated with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    route: str = Field(max_length=200)
    fake: str = Field(max_length=4096)
    source: str | None = Field(None, max_length=4096)
    truth: str | None = Field(None, max_length=4096)
    of: str = Field("", max_length=4096, description="name of the source image")
    controls: dict[str, Any] = {}
    missing: str | None = Field(None, max_length=4096, description="image that is white where the source lacks pixels")
    valid: str | None = Field(None, max_length=4096, description="image that is black where the pair has no data")
    floats: str | None = Field(
        None, max_length=4096, description="safetensors file with the unclamped output (C, H, W), by the name in `fake`"
    )

    def files(self) -> tuple[str | None, ...]:
        """Return the paths of its files; None for those that it lacks."""
        return self.fake, self.source, self.truth, self.missing, self.valid, self.floats


class Manifest(BaseModel):
    """The contents of `samples.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    about: dict[str, Any]
    rows: tuple[SampleRow, ...]
    reals: dict[str, tuple[str, ...]] = {}  # by route, real images of the target domain where pairs are unknown


# The index of a source image -> the controls of each of its translations.
Choices = Callable[[int], Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class TranslationJob:
    """The translation of a set of source images, each once or several times with different controls.

    sources: source images. Without any, as many images as there are targets are generated from noise. A method that
        derives its sources from the targets (super-resolution) takes the same column for both.
    targets: real images of the target domain.
    aligned: whether target i is the ground truth of source i.
    entries: the batch entries of source and target, which give their numbers of channels.
    references: images that controls refer to by their index.
    labels: the class of each source, stored in its row.
    target_name: jobs with the same target domain share this name and one copy of its real images.
    keeps_floats: whether the unclamped outputs are stored beside the images in 8 bits.
    """

    name: str
    sources: Column
    targets: Column
    aligned: bool
    choices: Choices
    entries: tuple[str, str]
    references: Column = ()
    labels: Sequence[str] = ()
    target_name: str = ""
    keeps_floats: bool = False

    def with_controls(self, controls: Mapping[str, Any]) -> "TranslationJob":
        """Return the job with further controls for all images. EvaluationError for one that the protocol sets."""
        if not controls or not (len(self.sources) or len(self.targets)):
            return self
        choices = self.choices
        if taken := [name for name in controls if any(name in choice for choice in choices(0))]:
            raise EvaluationError(f"control {taken[0]}: the protocol sets it for each translation; leave it out")
        return replace(self, choices=lambda index: [{**choice, **controls} for choice in choices(index)])


@dataclass(frozen=True)
class Samples:
    """A sample folder. `about` describes the model and settings, and is repeated in every result."""

    folder: Path
    about: Mapping[str, Any]
    rows: tuple[SampleRow, ...]
    reals: Mapping[str, tuple[str, ...]]
    unmatched: tuple[str, ...] = ()  # of two folders: names that are in only one of them

    def by_route(self) -> dict[str, "Samples"]:
        """Return the samples of each route."""
        names = dict.fromkeys(row.route for row in self.rows)
        return {name: replace(self, rows=tuple(row for row in self.rows if row.route == name)) for name in names}

    @property
    def paired(self) -> bool:
        """Whether the ground truth of every translation is known."""
        return all(row.truth for row in self.rows)

    def files(self, column: Literal["source", "fake", "truth", "missing"]) -> list[Path]:
        """Return the files of one column, in the order of the rows. EvaluationError if some rows have none."""
        names: list[str | None] = [vars(row)[column] for row in self.rows]
        if not all(names):
            why = ""
            if self.unmatched and column == "truth":
                why = f" (only in one of the two folders: {listed(list(map(printable, self.unmatched)), 5)})"
            raise EvaluationError(
                f"{self.folder}: some translations have no {column} image{why}; protocol unpaired-default needs none"
            )
        return [self.folder / name for name in names if name]

    def outputs(self) -> Tensor:
        """Return the translations (N, C, H, W): the networks' own outputs if they are stored, else images in [-1, 1].

        EvaluationError for unreadable files.
        """
        if not all(row.floats for row in self.rows):
            return image_set(self.files("fake")).all().float() / 127.5 - 1
        try:
            stored = {name: load_file(self.folder / name) for name in {str(row.floats) for row in self.rows}}
            return torch.stack([stored[str(row.floats)][row.fake] for row in self.rows]).float()
        except (OSError, SafetensorError, KeyError, RuntimeError) as error:
            raise EvaluationError(f"{self.folder}: the outputs in floats/ cannot be read ({error})") from error

    def real_files(self) -> list[Path]:
        """Return real images of the target domain: the ground truths, or unpaired images of that domain."""
        if self.paired:
            return list(dict.fromkeys(self.files("truth")))  # once each, though a source may have many translations
        files = [self.folder / name for route in self.by_route() for name in self.reals.get(route, ())]
        if not files:
            raise EvaluationError(f"{self.folder}: there are no real images to compare the translations with")
        return files

    def images(self, distinct: bool = False) -> dict[str, str]:
        """Return hashes of the `real` images and, if known, of the `source` images; see `digest_of_pixels`."""
        files = {"real": [file for part in self.by_route().values() for file in part.real_files()]}
        if all(row.source for row in self.rows):
            files["source"] = self.files("source")
        return {kind: digest_of_pixels(paths, distinct) for kind, paths in files.items()}


def open_samples(folder: Path) -> Samples:
    """Read a sample folder. EvaluationError if it has no valid manifest, or paths that lead out of the folder."""
    path = folder / MANIFEST
    try:
        values = parse_json(read_text(path, MAX_BYTES))
        if not isinstance(values, dict):
            raise ValueError("expected a JSON object")
        manifest = checked(Manifest, values, MANIFEST)
    except (OSError, ValueError, ConfigError) as error:
        raise EvaluationError(f"{path}: not a manifest written by `diptych predict` ({error})") from error
    if manifest.format != FORMAT:
        raise EvaluationError(f"{path}: format {manifest.format}; this version of Diptych reads format {FORMAT}")
    names = [name for row in manifest.rows for name in row.files() if name]
    for name in [*names, *(name for group in manifest.reals.values() for name in group)]:
        if Path(name).anchor or ".." in Path(name).parts:
            raise EvaluationError(f"{path}: {shown(name)} is outside the folder")
    samples = Samples(folder, present_about(manifest.about), manifest.rows, manifest.reals)
    return _with_present_route(samples) if str(manifest.about.get("protocol")).startswith("drawn/") else samples


def _with_present_route(samples: Samples) -> Samples:
    """Return samples of the former protocol `drawn` with the present name of its route."""
    rows = tuple(row.model_copy(update={"route": GENERATED}) for row in samples.rows)
    real_files = [file for files in samples.reals.values() for file in files]
    return replace(samples, rows=rows, reals={GENERATED: tuple(real_files)})


def safe_name(name: str) -> str:
    """Return a file's name without its suffix, and without characters that some file systems do not allow."""
    return safe_part(Path(name).stem)


def safe_part(text: str) -> str:
    """Return text as a part of a file name: letters, digits and `_.-`, at most NAME_LENGTH characters."""
    return re.sub(r"[^\w.-]+", "_", text)[:NAME_LENGTH]
