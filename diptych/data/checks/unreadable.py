"""What to do with images that cannot be read: `check_images` looks at all of them before the first step."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from diptych.data.checks import duplicates
from diptych.data.checks.manifest import Entry, Manifest, Progress, first_few, scan
from diptych.data.checks.unread_files import describe_unused, unread_files_of
from diptych.data.checks.value_ranges import notes_on_ranges
from diptych.data.config import MAX_BAD_SHARE, DataConfig
from diptych.data.dataset import Column, Data, ImageFiles, Split, files_of, select
from diptych.errors import DataError

NAMED = 20  # images that a note names


def check_images(data: Data, config: DataConfig, progress: Progress | None = None) -> tuple[Data, Manifest]:
    """`data` with every file examined, and the manifest; from then on a file that changes is an error.

    With `on_bad_image="error"` one DataError lists all that is wrong; with `on_bad_image="skip"` those images are left out, each with
    its partner, and noted; more than 1 % of them are a DataError too. Data without files is returned as it is.
    """
    sets = (data, *data.others)
    splits = [split for each in sets for split in (each.train, each.held_out, each.test) if split is not None]
    files = dict.fromkeys(file for split in splits for file in files_of(split))
    root = Path(config.root).expanduser()
    if not files:
        return data, Manifest(root, fingerprint=data.fingerprint)
    manifest = scan(root, files, progress=progress)
    entries = {file: manifest.entry_of(file) for file in files}
    bad = [entry.path for entry in manifest.entries if entry.info.problem]
    if bad and (config.on_bad_image == "error" or len(bad) > MAX_BAD_SHARE * len(files)):
        raise DataError(_in_words(manifest, len(bad), config.on_bad_image))
    sets = tuple(_left(each, entries) for each in sets)
    data = replace(sets[0], others=sets[1:])
    more = [*_unused(config, files), *(note for each in sets for note in (*_same(each), *_ranges(each, config)))]
    left_out = f"{len(bad)} of {len(files)} images cannot be read and are left out: {first_few(bad, NAMED)}"
    stored = _on_alpha_and_profiles(manifest, config)
    return replace(data, notes=(*data.notes, *([left_out] if bad else []), *more, *stored)), manifest


def drop_small_images(data: Data, config: DataConfig) -> Data:
    """`data`, as `check_images` gave it, without images that are too small for a crop of them as they are (`resize_mode=none`).

    With `on_bad_image="error"`, or where they are more than 1 %, a DataError names them.
    """
    if config.resize_mode != "none":
        return data
    sets, found, small = (data, *data.others), {}, {}
    splits = [split for each in sets for split in (each.train, each.held_out, each.test) if split]
    columns = [column for split in splits for column in split.columns.values() if isinstance(column, ImageFiles)]
    for column in columns:
        for file, entry in zip(column.files, column.entries, strict=True):
            height, width = entry.info.height, entry.info.width // (1 if column.half is None else 2)
            found[file] = entry
            if min(height, width) < config.crop_size:
                small[file] = f"{file}: {width}x{height}"
                found[file] = entry._replace(info=entry.info._replace(problem="too small"))
    if not small:
        return data
    said = f"{len(small)} of {len(found)} images are smaller than crop_size={config.crop_size}, and resize_mode=none cuts them as they are"
    if config.on_bad_image == "error" or len(small) > MAX_BAD_SHARE * len(found):
        raise DataError(
            f"{said}: {first_few(small.values())}. Use a smaller crop, or resize_mode=short_side; on_bad_image=skip leaves out up to 1 %"
        )
    sets = tuple(_left(each, found) for each in sets)
    return replace(
        sets[0], others=sets[1:], notes=(*data.notes, f"{said}: left out: {first_few(small.values(), NAMED)}")
    )


def _unused(config: DataConfig, files: Collection[Path]) -> list[str]:
    """Notes on files that lie in the folders of the set and are not read."""
    roots = [Path(root).expanduser() for root in (config.root, *config.extra_roots)]
    found = [unread_files_of(root, files) for root in roots if root.is_dir()]
    return [describe_unused(counts) for counts in found if counts]


def _ranges(data: Data, config: DataConfig) -> list[str]:
    """Notes on class ids and narrow ranges, unless a setting about pixel values is given."""
    if config.range != "full" or config.label_map != "none":
        return []
    return list(notes_on_ranges(data))


def _on_alpha_and_profiles(manifest: Manifest, config: DataConfig) -> list[str]:
    """Notes on what files hold beside the colours that networks see."""
    findings, notes = [entry.info for entry in manifest.entries], []
    transparent = sum(bool(finding.transparent) for finding in findings)
    if transparent and config.alpha == "white":
        notes.append(f"{transparent} images have transparency: composited over white; alpha=keep learns it too")
    profiles = [finding.profile for finding in findings if finding.profile]
    if profiles:
        names = first_few(sorted(set(profiles)), 3)
        notes.append(f"{len(profiles)} images have a colour profile ({names}): ignored in training, kept by translate")
    return notes


def _in_words(manifest: Manifest, count: int, bad: str) -> str:
    kinds = [
        f"  {len(entries)} x {kind}: {first_few(entry.path for entry in entries)}"
        for kind, entries in manifest.problems.items()
    ]
    way_out = (
        "on_bad_image=skip leaves out up to 1 % of the images"
        if bad == "error"
        else "on_bad_image=skip leaves out 1 % at most, and these are more"
    )
    return "\n".join(
        [
            f"{manifest.root}: {count} of {len(manifest.entries)} images cannot be used",
            *kinds,
            f"`diptych data check` says more of each. Mend or remove them; {way_out}",
        ]
    )


def _left(data: Data, entries: Mapping[Path, Entry]) -> Data:
    """One set without what cannot be read."""
    test = _good(data.test, entries) if data.test else None
    return replace(data, train=_good(data.train, entries), held_out=_good(data.held_out, entries), test=test)


def _good(split: Split, entries: Mapping[Path, Entry]) -> Split:
    """Without the samples that cannot be read: what is drawn together stays together."""
    kept: dict[str, np.ndarray] = {name: _readable(column, entries) for name, column in split.columns.items()}
    for group in split.sample_groups:
        together = np.array([all(values) for values in zip(*(kept[name] for name in group), strict=True)])
        kept |= dict.fromkeys(group, together)
    columns = {
        name: select(_noted(column, entries), np.flatnonzero(kept[name]).tolist())
        for name, column in split.columns.items()
    }
    for name, column in columns.items():
        if not len(column):
            raise DataError(f"no image of {name} can be read: `diptych data check` says why")
    places = np.flatnonzero(kept[split.sample_groups[0][0]]).tolist()
    motifs = [split.scene_ids[place] for place in places] if split.scene_ids else ()
    return replace(split, columns=columns, scene_ids=motifs)


def _noted(column: Column, entries: Mapping[Path, Entry]) -> Column:
    """With what each file was found to be."""
    if not isinstance(column, ImageFiles):
        return column
    return replace(column, entries=tuple(entries[file] for file in column.files))


def _readable(column: Column, entries: Mapping[Path, Entry]) -> np.ndarray:
    if not isinstance(column, ImageFiles):
        return np.ones(len(column), bool)
    return np.array([not entries[file].info.problem for file in column.files])


def _same(data: Data) -> list[str]:
    """Notes on images that are in training twice, or in training and held out."""
    train = _entries(data.train)
    unseen = {path: entry for split in (data.held_out, data.test) if split for path, entry in _entries(split).items()}
    notes = []
    if twice := duplicates.exact_duplicates(train.values()):
        notes.append(
            f"{len(twice)} training images are there more than once: {first_few(' = '.join(g) for g in twice)}"
        )
    if leaked := duplicates.split_leaks({"train": list(train.values()), "unseen": list(unseen.values())}):
        notes.append(
            f"{len(leaked)} held-out images are also in training, so figures flatter: "
            f"{first_few(' = '.join(group) for group in leaked)}"
        )
    return notes


def _entries(split: Split) -> dict[str, Entry]:
    columns = [column for column in split.columns.values() if isinstance(column, ImageFiles)]
    return {entry.path: entry for column in columns for entry in column.entries}
