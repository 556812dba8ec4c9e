"""Sample folders: what a model makes of held-out images, as files with a manifest. Every measure reads one, and so do
studies with people; outputs of other tools can be put into one, or be judged as two plain folders.

samples.json                  what was translated by what, and a row for each translation
source/ fake/ truth/ real/    the pictures in a folder for each route, PNG (`.npy` of other channels than 1 or 3)
"""

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from diptych.contract import Control, Route
from diptych.data.batches import image_name, to_tensor
from diptych.data.checks.manifest import listed_names
from diptych.data.dataset import Column
from diptych.data.images import image_io
from diptych.data.images.transforms import Augment, CropToMultiple
from diptych.errors import ConfigError, EvaluationError, printable, shown
from diptych.evaluation.metrics.image_sets import digest_of_pixels
from diptych.inference.translator import Translator
from diptych.settings.validate import checked
from diptych.system.atomic_files import make_folder, write_text
from diptych.system.safe_parse import parse_json, read_text

FORMAT = 1
MANIFEST = "samples.json"
LARGEST = 2**26  # bytes of a manifest: half a million rows
BATCH = 8  # images translated at once

Progress = Callable[[int, int], None]


class SampleRow(BaseModel):
    """One translation: paths below the folder, and the control values that it was made with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    route: str = Field(max_length=200)
    fake: str = Field(max_length=4096)
    source: str | None = Field(None, max_length=4096)
    truth: str | None = Field(None, max_length=4096)
    of: str = Field("", max_length=4096, description="what the source was called")
    controls: dict[str, Any] = {}


class Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    about: dict[str, Any]
    rows: tuple[SampleRow, ...]
    reals: dict[str, tuple[str, ...]] = {}  # by route, real pictures of what it should make, where no truth is known


Choices = Callable[[int], Sequence[Mapping[str, Any]]]  # of the number of a source, a set of controls for each copy


@dataclass(frozen=True)
class TranslationJob:
    """What a protocol asks for: sources, each translated once or more often, and what they should become.

    Without sources, as many images out of noise as there are targets. Where the method makes its sources out of the
    targets itself, they are the same column.
    `references` are images that controls name by their number in that column.
    """

    name: str
    sources: Column
    targets: Column
    aligned: bool  # whether a target is the truth of the source with its number
    choices: Choices
    entries: tuple[str, str]  # of the batch, whose channels sources and targets have
    references: Column = ()
    labels: Sequence[str] = ()  # what each source is of, kept in its row
    towards: str = ""  # ways to one target have one name here, and share their real pictures


@dataclass(frozen=True)
class Samples:
    """A sample folder that was read. `about` says what made it; it is repeated in every result."""

    folder: Path
    about: Mapping[str, Any]
    rows: tuple[SampleRow, ...]
    reals: Mapping[str, tuple[str, ...]]
    alone: tuple[str, ...] = ()  # of two folders, names that only one of them has

    def by_route(self) -> dict[str, "Samples"]:
        """The samples of each route by its name."""
        names = dict.fromkeys(row.route for row in self.rows)
        return {name: replace(self, rows=tuple(row for row in self.rows if row.route == name)) for name in names}

    @property
    def paired(self) -> bool:
        """Whether the truth of every translation is there."""
        return all(row.truth for row in self.rows)

    def files(self, column: Literal["source", "fake", "truth"]) -> list[Path]:
        """The files of one column, in the order of the rows. EvaluationError if there is none for some of them."""
        names = {"source": lambda row: row.source, "fake": lambda row: row.fake, "truth": lambda row: row.truth}
        found = [names[column](row) for row in self.rows]
        if not all(found):
            why = f" (in one of the two folders only: {listed_names(self.alone)})" if self.alone and column == "truth" else ""
            raise EvaluationError(
                f"{self.folder}: there is no {column} for some of the translations{why}; unpaired-default needs none"
            )
        return [self.folder / name for name in found]

    def real_files(self) -> list[Path]:
        """Real pictures of what these translations should look like: their truths, or others of that domain."""
        if self.paired:
            return list(dict.fromkeys(self.files("truth")))  # once, where a source was translated more often
        found = [self.folder / name for route in self.by_route() for name in self.reals.get(route, ())]
        if not found:
            raise EvaluationError(f"{self.folder}: there are no real pictures to hold the translations against")
        return found

    def images(self) -> dict[str, str]:
        """By hash: `real`, what translations are held against; `source`, what was translated, where that is known."""
        found = {"real": [file for part in self.by_route().values() for file in part.real_files()]}
        if all(row.source for row in self.rows):
            found["source"] = self.files("source")
        return {kind: digest_of_pixels(files) for kind, files in found.items()}


def open_samples(folder: Path) -> Samples:
    """Read the manifest of a sample folder. Raises EvaluationError for what is none, or has paths that leave it."""
    path = folder / MANIFEST
    try:
        values = parse_json(read_text(path, LARGEST))
        if not isinstance(values, dict):
            raise ValueError("it holds no settings by name")
        found = checked(Manifest, values, MANIFEST)
    except (OSError, ValueError, ConfigError) as error:
        raise EvaluationError(f"{path}: not the list of samples that `diptych samples` writes ({error})") from error
    if found.format != FORMAT:
        raise EvaluationError(f"{path}: format {found.format}; this Diptych reads {FORMAT}")
    named = [name for row in found.rows for name in (row.fake, row.source, row.truth) if name]
    for name in [*named, *(name for names in found.reals.values() for name in names)]:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise EvaluationError(f"{path}: {shown(name)} lies outside of the folder")
    return Samples(folder, found.about, found.rows, found.reals)


def write(
    translator: Translator,
    ways: Sequence[TranslationJob],
    folder: Path,
    cut: Augment | CropToMultiple,
    about: Mapping[str, Any],
    progress: Progress | None = None,
) -> Samples:
    """Translate every source of each of the ways, into `folder`. Raises EvaluationError if it is in use."""
    if (folder / MANIFEST).exists():
        raise EvaluationError(f"{folder}: holds samples already; choose another folder with -o, or remove it")
    writer = _Writer(translator, folder, cut)
    total = sum(len(way.sources) or len(way.targets) for way in ways)
    done = 0
    for way in ways:
        for _ in writer.translate(way) if len(way.sources) else writer.draw(way):
            done += 1
            if progress:
                progress(done, total)
        if not way.aligned:
            writer.keep_reals(way)
    seconds = round(writer.seconds / len(writer.rows), 5)
    about = {**about, "sources": digest_of(writer.hashes), "seconds_per_image": seconds}
    manifest = Manifest(format=FORMAT, about=about, rows=tuple(writer.rows), reals=writer.reals)
    write_text(folder / MANIFEST, manifest.model_dump_json(indent=1, exclude_none=True) + "\n")
    return Samples(folder, manifest.about, manifest.rows, manifest.reals)


@dataclass
class _Writer:
    """A sample folder that is being filled."""

    translator: Translator
    folder: Path
    cut: Augment | CropToMultiple
    rows: list[SampleRow] = field(default_factory=list)
    reals: dict[str, tuple[str, ...]] = field(default_factory=dict)
    kept: dict[str, tuple[str, ...]] = field(default_factory=dict)  # of them, by what ways have in common
    references: dict[int, tuple[Tensor, str]] = field(default_factory=dict)  # those of the way at hand
    hashes: list[str] = field(default_factory=list)  # of what is real
    seconds: float = 0.0

    def translate(self, way: TranslationJob) -> Iterator[int]:
        """Each source under its controls; yields its number once that is done."""
        self.references.clear()
        sources, targets = (self._pile(*each) for each in zip((way.sources, way.targets), way.entries, strict=True))
        for numbers in self._alike(way, len(sources)):
            x, choices = self._sources(way, sources[numbers]), way.choices(numbers[0])
            controls = [self._ready(way, choice) for choice in choices]
            began = time.perf_counter()
            made = self.translator.tensors(x, controls)
            self.seconds += time.perf_counter() - began
            y = targets[numbers] if way.aligned else None
            for at, number in enumerate(numbers):
                name, called = f"{way.name}/{number:05d}-{plain_name(sources.called(number))}", sources.called(number)
                paths = {"source": self._keep(f"source/{name}", x[at])}
                if y is not None:
                    paths["truth"] = self._keep(f"truth/{name}", y[at])
                for copy, (choice, fakes) in enumerate(zip(choices, made, strict=True)):
                    copied = f"fake/{name}-{copy:02d}" if len(choices) > 1 else f"fake/{name}"
                    shown = {key: self._shown(way, key, value) for key, value in choice.items()}
                    shown |= {"label": way.labels[number]} if way.labels else {}
                    fake = keep(self.folder, copied, fakes[at])
                    self.rows.append(SampleRow(route=way.name, of=called, controls=shown, fake=fake, **paths))
                yield number

    def _sources(self, way: TranslationJob, x: Tensor) -> Tensor:
        """What is to be translated: these images, or what the method makes out of them."""
        source, target = way.entries
        return (
            x if source in self.translator.method.batch else self.translator.method.derive_inputs({target: x})[source]
        )

    def draw(self, way: TranslationJob) -> Iterator[int]:
        """As many images out of noise as there are targets, of the first seed; yields the number of each."""
        for numbers in parts(len(way.targets)):
            began = time.perf_counter()
            made = self.translator.drawn(numbers)
            self.seconds += time.perf_counter() - began
            for number, picture in zip(numbers, made, strict=True):
                fake = keep(self.folder, f"fake/{way.name}/{number:05d}", picture)
                self.rows.append(SampleRow(route=way.name, of=f"number {number}", controls={"seed": 0}, fake=fake))
                yield number

    def keep_reals(self, way: TranslationJob) -> None:
        """Pictures of what should have been made, where no truth is known; once for all ways to one target."""
        pile, towards = self._pile(way.targets, way.entries[1]), way.towards or way.name
        if towards not in self.kept:
            self.kept[towards] = tuple(
                self._keep(f"real/{towards}/{number:05d}-{plain_name(pile.called(number))}", picture)
                for numbers in parts(len(pile))
                for number, picture in zip(numbers, pile[numbers], strict=True)
            )
        self.reals[way.name] = self.kept[towards]

    def _pile(self, column: Column, entry: str) -> "ImageBatches":
        return ImageBatches(column, self.cut, self.translator.method.channels()[entry])

    def _alike(self, way: TranslationJob, count: int) -> Iterator[range]:
        """All numbers, those with the same controls `BATCH` at a time; of whole images each by itself."""
        for numbers in parts(count):
            if isinstance(self.cut, Augment) and all(
                way.choices(number) == way.choices(numbers[0]) for number in numbers
            ):
                yield numbers
            else:
                yield from (range(number, number + 1) for number in numbers)

    def _ready(self, way: TranslationJob, choice: Mapping[str, Any]) -> dict[str, Any]:
        """Controls as `translate` takes them: of a reference the picture in place of its number."""
        found = dict(choice)
        for control in self.translator.controls:
            if control.image and control.name in found:
                found[control.name] = self._reference(way, control, found[control.name])[0]
        return found

    def _shown(self, way: TranslationJob, name: str, value: Any) -> Any:
        """A control as a row has it: of a reference its file."""
        control = next(each for each in self.translator.controls if each.name == name)
        if not control.image:
            return value
        return self._reference(way, control, value)[1]

    def _reference(self, way: TranslationJob, control: Control, number: int) -> tuple[Tensor, str]:
        """The picture (1, C, H, W), and the file of the sample folder that it is kept in."""
        known = self.references.get(number)
        if known is None:
            pile = self._pile(way.references, control.entry(Route(*way.entries)))
            picture = pile[range(number, number + 1)]
            called = f"reference/{way.name}/{number:05d}-{plain_name(pile.called(number))}"
            known = self.references[number] = (picture, keep(self.folder, called, picture[0]))
        return known

    def _keep(self, name: str, picture: Tensor) -> str:
        return keep(self.folder, name, picture, self.hashes)


@dataclass(frozen=True)
class ImageBatches:
    """The pictures of a column as a network takes them: (N, channels, H, W) in [-1, 1] for a range of numbers."""

    column: Any  # of images
    cut: Augment | CropToMultiple
    channels: int

    def __len__(self) -> int:
        return len(self.column)

    def __getitem__(self, numbers: range) -> Tensor:
        cut, column = self.cut.without_randomness, self.column
        return torch.stack([to_tensor(column[i], cut, self.channels, image_name(column, i)) for i in numbers])

    def called(self, number: int) -> str:
        return printable(Path(image_name(self.column, number)).name)


def parts(count: int) -> Iterator[range]:
    """All numbers, `BATCH` at a time."""
    return (range(first, min(first + BATCH, count)) for first in range(0, count, BATCH))


def keep(folder: Path, name: str, picture: Tensor, hashes: list[str] | None = None) -> str:
    """Write one picture (C, H, W) in [-1, 1] in 8 bits; its path below the folder. Its hash goes onto `hashes`."""
    pixels = image_io.from_unit(picture.permute(1, 2, 0).numpy(), np.uint8)
    path = folder / f"{name}{'.png' if pixels.shape[-1] in (1, 3) else '.npy'}"
    make_folder(path.parent)
    image_io.write(path, pixels)
    if hashes is not None:
        hashes.append(hashlib.sha256(pixels.tobytes()).hexdigest())
    return str(path.relative_to(folder))


def plain_name(name: str) -> str:
    """A stranger's name of a file, without its ending and with nothing in it that another system would trip over."""
    return plain(Path(name).stem)


def plain(text: str) -> str:
    """As part of a file's name."""
    return re.sub(r"[^\w.-]+", "_", text)[:40]  # of 4 bytes at most: names have 255, and some go before


def digest_of(hashes: Iterable[str]) -> str:
    """What sets of pictures are told apart by."""
    return hashlib.sha256("".join(hashes).encode()).hexdigest()
