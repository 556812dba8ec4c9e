"""Folders of volumes: slices of pairs by name or of two unpaired domains. Slices of a patient stay in one split.

trainA/ trainB/ valA/ ...   A/train B/train ...   train/x train/y ...   x/ y/ without splits

A volume is a .nii, .nii.gz, .h5 or .zarr, or a folder of DICOM files; its name is its path in the domain folder.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from diptych.data.config import DataConfig
from diptych.data.dataset import Column, Data, Split
from diptych.data.sources.file_names import matching_keys, suggest_match
from diptych.data.sources.folders import (
    DOMAIN_FOLDERS,
    HELD_OUT,
    SPLITS,
    is_image_name,
    name_hash,
    name_is_held_out,
    names_in,
    root_of,
)
from diptych.data.sources.groups import groups_of
from diptych.data.sources.split_by_ratio import split_of_group
from diptych.data.volumes.nifti import name_of
from diptych.data.volumes.slices import VolumeSlices, fingerprint_of_volumes
from diptych.data.volumes.volume import Volume, is_dicom_file, is_volume_name, open_volume
from diptych.errors import DataError, listed

MAX_DEPTH = 4  # of folders of DICOM series in a domain folder
MAX_FOLDERS = 20  # in a folder with two domain folders
NOT_FOR_VOLUMES = ("task", "label_map", "alpha", "matched_names", "on_bad_image")
LAYOUTS = "trainA/ and trainB/; A/train and B/train; train/ with two folders in it; or only two folders"
FEW_PATIENTS = "no val or test folder, and one patient is too few to hold any out: scores are on slices of training"

Scan = tuple[Volume, ...]  # volumes that are sampled together: a pair, or one
Columns = tuple[list[Scan], ...]  # the pairs, or the volumes of each of two domains


def volumes_in(folder: Path, depth: int = MAX_DEPTH) -> tuple[Path, ...]:
    """Return the volumes in a folder, sorted: files, zarr folders, and folders of DICOM files, also in folders.

    A folder that has DICOM files is one volume itself.
    """
    if is_series(folder):
        return (folder,)
    found: list[Path] = []
    for name, is_folder in sorted(names_in(folder).items()):
        path = folder / name
        if is_volume_name(name):
            found.append(path)
        elif is_folder and depth:
            found += volumes_in(path, depth - 1)
    return tuple(found)


def is_series(folder: Path) -> bool:
    """Return whether a folder has DICOM files, by the first files that could be some."""
    names = [name for name, is_folder in sorted(names_in(folder).items()) if not is_folder and not is_image_name(name)]
    return any(is_dicom_file(folder / name) for name in names[:3])


def has_volumes(root: Path, folders: Sequence[str] | None = None) -> bool:
    """Return whether a data set is one of volumes: there are two domain folders with volumes."""
    return bool(volume_domains(root, folders))


def open_volumes(config: DataConfig, paired: bool) -> Data:
    """Return the slices of volumes as `source` and `target`, or as `a` and `b`. Raises DataError."""
    root = root_of(config)
    _refuse_settings(config, paired)
    domains = volume_domains(root, config.folders)
    if "train" not in domains:
        raise DataError(f"{root}: no volumes to train on. Supported layouts: {LAYOUTS}")
    match = config.pair_names
    scans = {name: _scans(a, b, match if paired else None) for name, (a, b) in domains.items()}
    every_scan = [scan for columns in scans.values() for scan in _all(columns)]
    groups = group_names(every_scan, _given_groups(root, every_scan, config.group_by))
    notes: tuple[str, ...] = ()
    if len(scans) == 1:
        scans, notes = _divided(root, scans["train"], config, groups)
    else:
        _check_leaks(scans, groups)
        if config.split:
            raise DataError(f"{root}: has the splits {', '.join(scans)} by its folders: leave split= out")
    held_out_name = next(name for name in HELD_OUT if name in scans)
    names = ("source", "target") if paired else ("a", "b")
    splits = {name: _split(config, columns, names, paired) for name, columns in scans.items()}
    train, held_out = splits["train"], splits[held_out_name]
    order = domains["train"] if config.direction == "a2b" else domains["train"][::-1]
    return Data(
        train,
        train if notes == (FEW_PATIENTS,) else held_out,
        _summary(root, config, scans, held_out_name),
        (*notes, *_notes(every_scan, paired)),
        test=splits.get("test") if held_out_name == "val" else None,
        by_name=bool(notes) and not config.split,
        group_of={volume.path: group for scan, group in zip(every_scan, groups, strict=True) for volume in scan}
        if config.split
        else {},
        fingerprint=fingerprint_of_volumes(dict.fromkeys(volume for scan in every_scan for volume in scan)),
        domains=dict(zip(names, (_domain_name(root, folder) for folder in order), strict=True)),
    )


def _refuse_settings(config: DataConfig, paired: bool) -> None:
    fields = type(config).model_fields
    for name in NOT_FOR_VOLUMES:
        if vars(config)[name] != fields[name].default:
            raise DataError(f"{name}={vars(config)[name]}: not supported for volumes; leave {name}= out")
    if config.layout == "side_by_side":
        raise DataError("layout=side_by_side: volumes are in two folders; leave layout= out")
    if config.context and not paired:
        raise DataError(
            f"context={config.context}: this method translates in both directions, so source and target need the same "
            f"channels; leave context= out, or choose a method for pairs"
        )


# Layout


def volume_domains(root: Path, folders: Sequence[str] | None = None) -> dict[str, tuple[Path, Path]]:
    """Return the two domain folders with volumes of each split; without splits, those of `train`."""
    splits = {}
    for name in SPLITS:
        options = [(root / a.format(name), root / b.format(name)) for a, b in DOMAIN_FOLDERS]
        options += _two_folders(root / name, folders)
        for a, b in options:
            if volumes_in(a) and volumes_in(b):
                splits[name] = (a, b)
                break
    if not splits and (options := _two_folders(root, folders)):
        splits["train"] = options[0]
    return splits


def _two_folders(parent: Path, folders: Sequence[str] | None) -> list[tuple[Path, Path]]:
    """Return the two folders in `parent` that have volumes, or those that are chosen; nothing if there are not two."""
    if folders:
        names = list(folders)
    else:
        names = [name for name, is_folder in sorted(names_in(parent).items()) if is_folder and name not in SPLITS]
        names = [name for name in names if not is_volume_name(name)]
        names = names if len(names) <= MAX_FOLDERS else []
    found = [parent / name for name in names if volumes_in(parent / name)]
    return [(found[0], found[1])] if len(found) == 2 else []


def _domain_name(root: Path, folder: Path) -> str:
    """Return the name of a domain: its folder, without that of the split."""
    parts = [part for part in folder.relative_to(root).parts if part not in SPLITS]
    return "/".join(parts) or folder.name


# Volumes


def _scans(a: Path, b: Path, match: str | None) -> Columns:
    """Return one list of pairs, or two lists of single volumes if `match` is None."""
    paths = volumes_in(a), volumes_in(b)
    if match is None:
        return tuple([(open_volume(path),) for path in each] for each in paths)
    return (_pairs((a, b), paths, match),)


def _pairs(folders: tuple[Path, Path], paths: Sequence[Sequence[Path]], match: str) -> list[Scan]:
    """Return the volumes of equal name, whose grids are checked to be equal. Raises DataError."""
    named = [[_name_in(folder, path) for path in each] for folder, each in zip(folders, paths, strict=True)]
    by_key = []
    for names, each, folder in zip(named, paths, folders, strict=True):
        keys = dict(zip(matching_keys(names, match), each, strict=True))
        if len(keys) < len(each):
            raise DataError(f"{folder}: two volumes have one name without the suffix; rename or remove one")
        by_key.append(keys)
    first, second = by_key
    if unmatched := sorted(first.keys() ^ second.keys()):
        suggestion = suggest_match(*named)
        remedy = f"give pair_names={suggestion[0]}, or rename them" if suggestion else "give partners one name"
        raise DataError(
            f"{len(unmatched)} volumes have no partner of the same name in {folders[0]} and {folders[1]}: "
            f"{listed(unmatched, 5)}; {remedy}"
        )
    pairs: list[Scan] = [(open_volume(path), open_volume(second[key])) for key, path in first.items()]
    wrong = [f"{y.path} has {text}" for x, y in pairs if (text := y.geometry.difference(x.geometry))]
    if wrong:
        raise DataError(
            f"{len(wrong)} of {len(pairs)} pairs are not on one grid: {listed(wrong, 3, '; ')}. Resample the target to "
            f"the grid of the source, such as by SimpleITK or nibabel.processing"
        )
    return pairs


def _name_in(folder: Path, path: Path) -> Path:
    """Return the name by which a volume is paired, with a suffix that `matching_keys` removes."""
    inner = path.relative_to(folder)
    name = "_".join((*inner.parts[:-1], name_of(path))) if path != folder else "series"
    return Path(name + ".volume")


# Splits


def patients_of(scan: Scan) -> set[str]:
    """Return the patients of a scan."""
    return {volume.patient_id for volume in scan}


def group_names(scans: Sequence[Scan], given: Mapping[Path, str]) -> list[str]:
    """Return the name of the group of each scan. Scans that share a patient or a given group belong to one group.

    `given` are groups by the path of a volume. A group has the name of its first given group, else first patient.
    """
    parents: dict[tuple[int, str], tuple[int, str]] = {}

    def first(name: tuple[int, str]) -> tuple[int, str]:
        while parents.setdefault(name, name) != name:
            name = parents[name]
        return name

    names = []
    for scan in scans:
        groups = {(0, given[volume.path]) for volume in scan if volume.path in given}
        names.append(groups | {(1, patient) for patient in patients_of(scan)})
        lowest, *others = sorted({first(name) for name in names[-1]})
        parents |= dict.fromkeys(others, lowest)
    return [first(min(each))[1] for each in names]


def _all(columns: Iterable[Sequence[Scan]]) -> list[Scan]:
    return [scan for scans in columns for scan in scans]


def _given_groups(root: Path, scans: Sequence[Scan], group_by: str | None) -> dict[Path, str]:
    """Return the groups that `group_by` gives to volumes; none for patients, which are known. Raises DataError."""
    if group_by in (None, "patient"):
        return {}
    return groups_of(root, [[volume.path for volume in scan] for scan in scans], group_by)


def divide(columns: Columns, groups: Sequence[str], ratios: Sequence[float] | None) -> dict[str, Columns]:
    """Return the scans of each split: by `ratios`, or one group in twenty in `val`, and one at least of each domain.

    `groups` are the names of the groups of all scans, in order. A split may lack scans of a domain.
    """
    group_of = dict(zip(_all(columns), groups, strict=True))
    if ratios:
        split_of = {group: split_of_group(group, ratios) for group in group_of.values()}
        names: Sequence[str] = SPLITS[: len(ratios)]
    else:
        names = SPLITS[:2]
        split_of = {group: names[name_is_held_out(group)] for group in group_of.values()}
        for scans in columns:
            members = {group_of[scan] for scan in scans}
            if all(split_of[group] == "train" for group in members):
                split_of[min(members, key=lambda group: (name_hash(group), group))] = "val"
    return {
        name: tuple([scan for scan in scans if split_of[group_of[scan]] == name] for scans in columns) for name in names
    }


def _divided(
    root: Path, columns: Columns, config: DataConfig, groups: Sequence[str]
) -> tuple[dict[str, Columns], tuple[str, ...]]:
    """Return the scans of each split, and a note about them. Raises DataError if `split=` leaves one empty."""
    scans, count = divide(columns, groups, config.split), len(set(groups))
    empty = [name for name, parts in scans.items() if not all(parts)]
    if empty and config.split:
        raise DataError(
            f"{root}: split={list(config.split)} leaves {' and '.join(empty)} without volumes: {count} patients or "
            f"groups are too few for a choice by name; give other ratios, or move volumes into val/ and test/"
        )
    if empty:
        return {"train": columns, "val": columns}, (FEW_PATIENTS,)
    sizes = ", ".join(f"{len(_all(parts))} volumes or pairs in {name}" for name, parts in scans.items())
    return scans, (f"no val or test folder: split by patient ({count} patients or groups): {sizes}",)


def _check_leaks(scans: Mapping[str, Columns], groups: Sequence[str]) -> None:
    """Raise DataError if a group is in two splits. `groups` are those of all scans of all splits, in order."""
    first: dict[str, str] = {}
    splits = [name for name, columns in scans.items() for _ in _all(columns)]
    leaks = [group for group, name in zip(groups, splits, strict=True) if first.setdefault(group, name) != name]
    if leaks:
        raise DataError(
            f"{len(set(leaks))} patients or groups are in two splits: {listed(sorted(set(leaks)), 5)}; move all scans "
            f"of a patient into one of them, or rename files whose equal names mean different patients"
        )


def _split(config: DataConfig, columns: Columns, names: Sequence[str], paired: bool) -> Split:
    """Return the columns of slices of one split."""
    by_domain = list(zip(*columns[0], strict=True)) if paired else [[scan[0] for scan in scans] for scans in columns]
    if config.direction == "b2a":
        by_domain = by_domain[::-1]
    made: dict[str, Column] = {}
    for name, volumes, context in zip(names, by_domain, (config.context, 0), strict=True):
        made[name] = VolumeSlices.of(volumes, config.axis, context)
    return Split(made, aligned=paired)


def _summary(root: Path, config: DataConfig, scans: Mapping[str, Columns], held_out: str) -> str:
    counts = " + ".join(str(len(each)) for each in scans["train"])
    slices = sum(scan[0].geometry.slicing(config.axis).count for scan in _all(scans["train"]))
    kind = "pairs of volumes" if len(scans["train"]) == 1 else "unpaired volumes"
    return f"{root}: {counts} {kind}, {slices} {config.axis} slices; {len(_all(scans[held_out]))} in {held_out}"


def _notes(scans: Sequence[Scan], paired: bool) -> list[str]:
    """Return notes on volumes whose grids differ."""
    notes = []
    spacings = {tuple(float(f"{value:.2g}") for value in volume.geometry.spacing) for scan in scans for volume in scan}
    if len(spacings) > 1:
        notes.append(
            f"volumes have {len(spacings)} different spacings, from {min(spacings)} to {max(spacings)} mm: resample "
            f"them to one, or slices differ in scale"
        )
    shifted = [scan for scan in dict.fromkeys(scans) if paired and _origin(scan[0]) != _origin(scan[1])]
    if shifted:
        notes.append(f"{len(shifted)} pairs have different origins, such as {shifted[0][1].path}: are they registered?")
    return notes


def _origin(volume: Volume) -> tuple[float, ...]:
    """Return the center of a volume in mm, rounded to tenths, which does not depend on how it is stored."""
    affine, shape = volume.geometry.affine, volume.geometry.shape
    center = [(length - 1) / 2 for length in shape]
    return tuple(round(sum(a * c for a, c in zip(row, center, strict=False)) + row[3], 1) for row in affine[:3])
