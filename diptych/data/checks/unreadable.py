"""Check all images before training: unreadable and too small images are refused or skipped, the rest is noted."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from diptych.data.checks import duplicates
from diptych.data.checks.manifest import Entry, Manifest, Progress, listed_names, scan
from diptych.data.checks.pair_grids import check_georeferences
from diptych.data.checks.unread_files import describe_unused, unread_files_of
from diptych.data.checks.value_ranges import notes_on_ranges
from diptych.data.config import MAX_BAD_SHARE, DataConfig
from diptych.data.dataset import Column, Data, Split, files_of, fingerprint_of, select
from diptych.data.image_columns import ImageFiles
from diptych.data.sources.groups import table_column
from diptych.errors import DataError

MAX_LISTED = 20  # images that a note lists


def check_images(data: Data, config: DataConfig, progress: Progress | None = None) -> tuple[Data, Manifest]:
    """Return `data` with the scan results of every file, and the manifest; files that change later raise DataError.

    With `on_bad_image="error"`, a DataError lists all unreadable images. With "skip", they are removed together with
    their partners, and noted; more than 1 % of them raise DataError too. Data without files is returned as it is.
    The manifest has a fingerprint of images that are not in files; letters, which are embedded, need none.
    """
    from diptych.data.sources.glyphs import is_glyphs  # imports torch, which the workers of this check never need

    sets = (data, *data.others)
    splits = [split for part in sets for split in (part.train, part.held_out, part.test) if split is not None]
    files = dict.fromkeys(file for split in splits for file in files_of(split))
    root = Path(config.root).expanduser()
    fingerprint = data.fingerprint or ("" if is_glyphs(config.root) else fingerprint_of(splits))
    if not files:
        return data, Manifest(root, fingerprint=fingerprint)
    manifest = replace(scan(root, files, progress=progress), fingerprint=fingerprint)
    if config.range == "full" and config.label_map == "none":  # else `value_encoding` knows which domains have one
        manifest = replace(manifest, entries=tuple(map(_without_range, manifest.entries)))
    entries = {file: manifest.entry_of(file) for file in files}
    bad = [entry.path for entry in manifest.entries if entry.info.problem]
    if bad and (config.on_bad_image == "error" or len(bad) > MAX_BAD_SHARE * len(files)):
        raise DataError(_error_message(manifest, len(bad), config.on_bad_image))
    sets = tuple(_without_bad(part, entries) for part in sets)
    data = replace(sets[0], others=sets[1:])
    for split in splits:
        check_georeferences(split, entries)
    notes = [*data.notes, *_notes_on_nodata(data)]
    if bad:
        names = listed_names(bad, MAX_LISTED)
        notes.append(f"{len(bad)} of {len(files)} images cannot be read and are left out: {names}")
    notes += _notes_on_unused_files(config, files)
    for part in sets:
        notes += [*_notes_on_duplicates(part), *_notes_on_value_ranges(part, config)]
    notes += _notes_on_alpha_and_profiles(manifest, config)
    return replace(data, notes=tuple(notes)), manifest


def _without_range(entry: Entry) -> Entry:
    """Return the entry of a file whose values need a range with that as its problem; others as they are."""
    info = entry.info
    return entry._replace(info=info._replace(problem=info.needs_range)) if info.needs_range else entry


def _notes_on_nodata(data: Data) -> list[str]:
    """Return a note on training images with pixels without data."""
    columns = [column for column in data.train.columns.values() if isinstance(column, ImageFiles)]
    count = sum(bool(entry.info.invalid) for column in columns for entry in column.entries)
    if not count:
        return []
    paired = data.train.aligned and len(columns) == 2
    effect = "the losses of pairs skip them" if paired else "losses of images that are not pairs count them"
    return [f"{count} training images have pixels without data (nodata): read as the lowest value; {effect}"]


def drop_small_images(data: Data, config: DataConfig) -> Data:
    """Return `data`, from `check_images`, without images smaller than the crop, under `resize_mode=none`.

    With `on_bad_image="error"`, or if they are more than 1 %, they raise DataError.
    """
    if config.resize_mode != "none":
        return data
    sets, entries, small = (data, *data.others), {}, {}
    splits = [split for part in sets for split in (part.train, part.held_out, part.test) if split]
    columns = [column for split in splits for column in split.columns.values() if isinstance(column, ImageFiles)]
    for column in columns:
        for file, entry in zip(column.files, column.entries, strict=True):
            height, width = entry.info.height, entry.info.width // (1 if column.half is None else 2)
            entries[file] = entry
            if min(height, width) < config.crop_size:
                small[file] = f"{file}: {width}x{height}"
                entries[file] = entry._replace(info=entry.info._replace(problem="too small"))
    if not small:
        return data
    problem = (
        f"{len(small)} of {len(entries)} images are smaller than crop_size={config.crop_size}, and resize_mode=none "
        f"does not enlarge them"
    )
    if config.on_bad_image == "error" or len(small) > MAX_BAD_SHARE * len(entries):
        raise DataError(
            f"{problem}: {listed_names(small.values())}. Use a smaller crop_size, or resize_mode=short_side; "
            f"on_bad_image=skip skips up to 1 %"
        )
    sets = tuple(_without_bad(part, entries) for part in sets)
    note = f"{problem}: left out: {listed_names(small.values(), MAX_LISTED)}"
    return replace(sets[0], others=sets[1:], notes=(*data.notes, note))


def _notes_on_unused_files(config: DataConfig, files: Collection[Path]) -> list[str]:
    """Return notes on files in the folders of the data set that are not read."""
    roots = [Path(root).expanduser() for root in (config.root, *config.extra_roots)]
    counts = [unread_files_of(root, files, table_column(root, config.group_by)[0]) for root in roots if root.is_dir()]
    return [describe_unused(unused) for unused in counts if unused]


def _notes_on_value_ranges(data: Data, config: DataConfig) -> list[str]:
    """Return notes on class ids and narrow value ranges, unless a setting about pixel values is given."""
    if config.range != "full" or config.label_map != "none":
        return []
    return list(notes_on_ranges(data))


def _notes_on_alpha_and_profiles(manifest: Manifest, config: DataConfig) -> list[str]:
    """Return notes on transparency and colour profiles, which training ignores by default."""
    infos, notes = [entry.info for entry in manifest.entries], []
    transparent = sum(bool(info.transparent) for info in infos)
    if transparent and config.alpha == "white":
        notes.append(
            f"{transparent} images have transparency: composited over white; alpha=keep trains on it as a channel"
        )
    profiles = [info.profile for info in infos if info.profile]
    if profiles:
        names = listed_names(sorted(set(profiles)), 3)
        notes.append(f"{len(profiles)} images have a colour profile ({names}): ignored in training, kept by translate")
    return notes


def _error_message(manifest: Manifest, count: int, on_bad_image: str) -> str:
    """Return the message of the DataError about images that cannot be used."""
    problems = [
        f"  {len(entries)} x {kind}: {listed_names(entry.path for entry in entries)}"
        for kind, entries in manifest.problems.items()
    ]
    if all(entry.info.needs_range for entries in manifest.problems.values() for entry in entries):
        remedy = "range=auto, or range=[LOW,HIGH], says what the values mean"
        return "\n".join(
            [f"{manifest.root}: {count} of {len(manifest.entries)} images cannot be used", *problems, remedy]
        )
    if on_bad_image == "error":
        remedy = "on_bad_image=skip leaves out up to 1 % of the images"
    else:
        remedy = "on_bad_image=skip leaves out at most 1 % of the images, and these are more"
    return "\n".join(
        [
            f"{manifest.root}: {count} of {len(manifest.entries)} images cannot be used",
            *problems,
            f"`diptych data check` gives details. Repair or remove them; {remedy}",
        ]
    )


def _without_bad(data: Data, entries: Mapping[Path, Entry]) -> Data:
    """Return one data set without unreadable images."""
    test = _readable_samples(data.test, entries) if data.test else None
    train, held_out = _readable_samples(data.train, entries), _readable_samples(data.held_out, entries)
    return replace(data, train=train, held_out=held_out, test=test)


def _readable_samples(split: Split, entries: Mapping[Path, Entry]) -> Split:
    """Return a split without unreadable images and their partners in the same group of columns."""
    is_readable = {name: _readable_images(column, entries) for name, column in split.columns.items()}
    for group in split.sample_groups:
        of_group = np.array([all(values) for values in zip(*(is_readable[name] for name in group), strict=True)])
        is_readable |= dict.fromkeys(group, of_group)
    columns = {
        name: select(_with_entries(column, entries), np.flatnonzero(is_readable[name]).tolist())
        for name, column in split.columns.items()
    }
    for name, column in columns.items():
        if not len(column):
            raise DataError(f"no image of {name} can be read: `diptych data check` gives the reasons")
    if not split.scene_ids:
        return replace(split, columns=columns)
    indices = np.flatnonzero(is_readable[split.sample_groups[0][0]]).tolist()
    return replace(split, columns=columns, scene_ids=[split.scene_ids[index] for index in indices])


def _with_entries(column: Column, entries: Mapping[Path, Entry]) -> Column:
    """Return a column of image files with their scan results; other columns unchanged."""
    if not isinstance(column, ImageFiles):
        return column
    return replace(column, entries=tuple(entries[file] for file in column.files))


def _readable_images(column: Column, entries: Mapping[Path, Entry]) -> np.ndarray:
    """Return a mask of the images that can be read; all true for labels."""
    if not isinstance(column, ImageFiles):
        return np.ones(len(column), bool)
    return np.array([not entries[file].info.problem for file in column.files])


def _notes_on_duplicates(data: Data) -> list[str]:
    """Return notes on images that occur twice in training, or both in training and held out."""
    train = _entries(data.train)
    held_out = {path: entry for split in (data.held_out, data.test) if split for path, entry in _entries(split).items()}
    notes = []
    if copies := duplicates.exact_duplicates(train.values()):
        groups = listed_names(" = ".join(group) for group in copies)
        notes.append(f"{len(copies)} training images occur more than once: {groups}")
    if leaks := duplicates.split_leaks({"train": list(train.values()), "held out": list(held_out.values())}):
        groups = listed_names(" = ".join(group) for group in leaks)
        notes.append(f"{len(leaks)} held-out images are also in training, so scores will be too optimistic: {groups}")
    return notes


def _entries(split: Split) -> dict[str, Entry]:
    columns = [column for column in split.columns.values() if isinstance(column, ImageFiles)]
    return {entry.path: entry for column in columns for entry in column.entries}
