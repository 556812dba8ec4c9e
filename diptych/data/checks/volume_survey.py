"""Survey a folder of volumes: read all of them, and report values, empty slices, problems, and how they can be used."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from diptych.contract import DataKind
from diptych.data.checks.split_sizes import SplitSize
from diptych.data.config import DataConfig
from diptych.data.dataset import Data
from diptych.data.open import open_data
from diptych.data.sources.folders import SPLITS
from diptych.data.sources.volume_folders import volume_domains, volumes_in
from diptych.data.volumes.slices import VolumeSlices, read_stack
from diptych.data.volumes.volume import Volume, open_volume
from diptych.errors import DataError

Progress = Callable[[int, int], None]  # volumes done, volumes in total


@dataclass(frozen=True)
class VolumeReport:
    """What was found in one volume: lowest and highest value, and axial slices of a single value."""

    volume: Volume
    low: float
    high: float
    empty: int


@dataclass(frozen=True)
class DomainReport:
    """The volumes of one domain in one split."""

    split: str
    folder: Path
    volumes: tuple[VolumeReport, ...]

    @property
    def limits(self) -> tuple[float, float]:
        """The lowest and highest value of all volumes."""
        return min(each.low for each in self.volumes), max(each.high for each in self.volumes)

    @property
    def empty(self) -> int:
        """The number of slices of a single value."""
        return sum(each.empty for each in self.volumes)

    @property
    def slices(self) -> int:
        """The number of axial slices."""
        return sum(each.volume.geometry.slicing("axial").count for each in self.volumes)

    @property
    def patients(self) -> int:
        """The number of patients."""
        return len({each.volume.patient_id for each in self.volumes})

    @property
    def grids(self) -> list[str]:
        """The different shapes, spacings and orientations."""
        return sorted({str(each.volume.geometry) for each in self.volumes})


@dataclass(frozen=True)
class VolumeSurvey:
    """The domains of a folder, the problems that prevent a training, and for which kind of data it can be used.

    `sizes` are those of the splits by ratio, in volumes; empty without `split=`.
    """

    domains: tuple[DomainReport, ...]
    errors: tuple[str, ...] = ()
    kind: str = ""  # pairs, unpaired volumes, or empty
    notes: tuple[str, ...] = ()
    sizes: tuple[SplitSize, ...] = ()

    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """Return the lowest and highest training value, by the name of the folder."""
        return {each.folder.name: each.limits for each in self.domains if each.split == "train" and each.volumes}


def survey_volumes(config: DataConfig, progress: Progress | None = None) -> VolumeSurvey:
    """Return the survey of a folder of volumes, each read whole; with the splits of `split=` and `group_by=`."""
    splits = sorted(volume_domains(Path(config.root)).items(), key=_split_order)
    folders = [(split, folder) for split, pair in splits for folder in pair]
    paths = {folder: volumes_in(folder) for _, folder in folders}
    total, done, errors, domains = sum(map(len, paths.values())), 0, [], []
    for split, folder in folders:
        reports = []
        for path in paths[folder]:
            try:
                reports.append(_report(path))
            except DataError as error:
                errors.append(str(error))
            done += 1
            if progress:
                progress(done, total)
        domains.append(DomainReport(split, folder, tuple(reports)))
    survey = VolumeSurvey(tuple(domains), tuple(errors))
    return survey if errors else _with_use(survey, config)


def _split_order(item: tuple[str, object]) -> int:
    return SPLITS.index(item[0])


def _report(path: Path) -> VolumeReport:
    """Read a volume. Raises ImageError."""
    volume = open_volume(path)
    slices = [read_stack(volume, "axial", index) for index in range(volume.geometry.slicing("axial").count)]
    limits = [(float(each.min()), float(each.max())) for each in slices]
    empty = sum(low == high for low, high in limits)
    return VolumeReport(volume, min(low for low, _ in limits), max(high for _, high in limits), empty)


def _with_use(survey: VolumeSurvey, config: DataConfig) -> VolumeSurvey:
    """Return a survey with the kind of data, the notes of its opener and its splits; or why it cannot be used."""
    errors = []
    for kind, name in ((DataKind.PAIRED, "pairs"), (DataKind.UNPAIRED, "unpaired volumes")):
        try:
            data = open_data(config, kind)
        except DataError as error:
            errors.append(f"not usable as {name}: {error}")
        else:
            return replace(survey, kind=name, notes=(*errors, *data.notes), sizes=tuple(_sizes(data)))
    return replace(survey, errors=tuple(errors))


def _sizes(data: Data) -> Iterator[SplitSize]:
    """Yield the number of volumes and the groups of each split by ratio."""
    splits = (data.train, data.held_out, data.test) if data.group_of else ()
    for name, split in zip(SPLITS, splits, strict=False):
        columns = [column for column in split.columns.values() if isinstance(column, VolumeSlices)] if split else []
        paths = {volume.path for column in columns for volume in column.volumes}
        if paths:
            groups = sorted({data.group_of[path] for path in paths})
            yield SplitSize(name, len(paths), len(paths) / len(data.group_of), tuple(groups))
