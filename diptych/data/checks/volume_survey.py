"""Survey a folder of volumes: read all of them, and report values, empty slices, problems, and how they can be used."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from diptych.contract import DataKind
from diptych.data.config import DataConfig
from diptych.data.open import open_data
from diptych.data.sources.folders import SPLITS
from diptych.data.sources.volume_folders import volume_domains, volumes_in
from diptych.data.volumes.slices import read_stack
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
        return sum(each.volume.geometry.slicing("axial").count for each in self.volumes)


@dataclass(frozen=True)
class VolumeSurvey:
    """The domains of a folder, the problems that prevent a training, and for which kind of data it can be used."""

    domains: tuple[DomainReport, ...]
    errors: tuple[str, ...]
    kind: str  # pairs, unpaired volumes, or empty
    notes: tuple[str, ...] = ()

    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """Return the lowest and highest training value, by the name of the folder."""
        return {each.folder.name: each.limits for each in self.domains if each.split == "train" and each.volumes}


def survey_volumes(root: Path, progress: Progress | None = None) -> VolumeSurvey:
    """Return the survey of a folder of volumes: each is read whole."""
    folders = [
        (split, folder) for split, pair in sorted(volume_domains(root).items(), key=_split_order) for folder in pair
    ]
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
    if errors:
        return VolumeSurvey(tuple(domains), tuple(errors), "")
    kind, notes, errors = _use(root)
    return VolumeSurvey(tuple(domains), tuple(errors), kind, notes)


def _split_order(item: tuple[str, object]) -> int:
    return SPLITS.index(item[0])


def _report(path: Path) -> VolumeReport:
    """Read a volume. Raises ImageError."""
    volume = open_volume(path)
    slices = [read_stack(volume, "axial", index) for index in range(volume.geometry.slicing("axial").count)]
    limits = [(float(each.min()), float(each.max())) for each in slices]
    empty = sum(low == high for low, high in limits)
    return VolumeReport(volume, min(low for low, _ in limits), max(high for _, high in limits), empty)


def _use(root: Path) -> tuple[str, tuple[str, ...], list[str]]:
    """Return for what the folder can be used, the notes of its opener, and the errors if it cannot be used."""
    errors = []
    for kind, name in ((DataKind.PAIRED, "pairs"), (DataKind.UNPAIRED, "unpaired volumes")):
        try:
            data = open_data(DataConfig(root=str(root)), kind)
        except DataError as error:
            errors.append(f"not usable as {name}: {error}")
        else:
            return name, (*errors, *data.notes), []
    return "", (), errors
