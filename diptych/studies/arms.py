"""The images of a study's arms: from sample folders of `diptych predict`, or plain folders of any tool."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diptych.data.sources.file_names import stem_of
from diptych.data.sources.folders import images_in
from diptych.errors import ConfigError, EvaluationError
from diptych.evaluation.protocols import PROTOCOLS, find_protocol
from diptych.evaluation.samples import MANIFEST, SampleRow, Samples, open_samples
from diptych.evaluation.two_folders import two_folders
from diptych.studies.design import REAL
from diptych.studies.stimuli import INPUT, RESERVED
from diptych.studies.study_folder import Translations


@dataclass(frozen=True)
class Arms:
    """The path of each image by arm and name, where the images of each arm came from, and what methods translated."""

    files: dict[str, dict[str, Path]] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    translations: dict[str, Translations] = field(default_factory=dict)

    def add(self, arm: str, files: Mapping[str, Path], origin: Path) -> None:
        """Add an arm. ConfigError if it has no images."""
        if not files:
            raise ConfigError(f"{origin}: no images for {arm}")
        self.files[arm], self.origin[arm] = dict(files), origin.name


def read_arms(sources: Sequence[str], others: Mapping[str, Path | None]) -> Arms:
    """Return the arms of methods, given as `FOLDER` or `NAME=FOLDER`, and of `real`, `input` and `reference` folders.

    A sample folder also gives the real images and the inputs, unless they are given. ConfigError for a name that
    occurs twice or is reserved; EvaluationError for a damaged sample folder.
    """
    arms = Arms()
    for source in sources:
        name, folder = _named(source)
        if name in arms.files or name in RESERVED:
            raise ConfigError(f"{source}: the name {name} is taken; give another as NAME=FOLDER")
        if not (folder / MANIFEST).is_file():
            arms.add(name, _by_name(folder), folder)
            if real := others.get(REAL):
                arms.translations[name] = _translations(two_folders(real, folder))
            continue
        samples = open_samples(folder)
        arms.translations[name] = _translations(samples)
        first: dict[str, SampleRow] = {}
        for row in samples.rows:  # of several styles the first
            first.setdefault(row.of or Path(row.fake).stem, row)
        arms.add(name, {key: folder / row.fake for key, row in first.items()}, folder)
        columns = {
            REAL: {key: row.truth for key, row in first.items()},
            INPUT: {key: row.source for key, row in first.items()},
        }
        for arm, paths in columns.items():
            if arm not in arms.files and all(paths.values()):
                arms.add(arm, {key: folder / path for key, path in paths.items() if path}, folder)
    for arm, given in others.items():
        if given is not None:
            arms.add(arm, _by_name(given), given)
    return arms


def _translations(samples: Samples) -> Translations:
    """Return what a result of these samples would hold, to tell whether scores and votes are about the same images."""
    protocol = str(samples.about.get("protocol", "")).partition("/")[0]
    is_distinct = protocol in PROTOCOLS and find_protocol(protocol).distinct_images
    try:
        images = samples.images(is_distinct)
    except EvaluationError:  # there are no real images
        images = {}
    return Translations(about=dict(samples.about), images=images)


def _named(source: str) -> tuple[str, Path]:
    name, equals, folder = source.partition("=")
    path = Path(folder if equals else source)
    if not path.is_dir():
        raise ConfigError(f"{path}: no such folder; expected a sample folder, a folder of images, or NAME=FOLDER")
    if equals:
        return name, path
    return (path.parent.name if path.name == "samples" else path.name), path


def _by_name(folder: Path) -> dict[str, Path]:
    return {stem_of(file): file for file in images_in(folder)}
