"""Files of a data set that nothing reads, and why a folder that should hold images has none."""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from diptych.data.checks.manifest import relative_path
from diptych.data.images import image_io
from diptych.data.sources.folders import (
    DOMAIN_FOLDERS,
    SPLITS,
    file_suffix,
    folders_of_images,
    images_in,
    is_image_name,
    names_in,
)
from diptych.data.sources.tables import read_table
from diptych.errors import printable

READ = f"Diptych reads {', '.join(sorted(image_io.SUFFIXES))}"
LISTED = 20  # places that a note lists
FEW = 4  # reasons that a message gives
_OF_A_SET = {*SPLITS, *(side.format(split).split("/")[0] for split in SPLITS for way in DOMAIN_FOLDERS for side in way)}


def unread_files(root: Path, files: Iterable[Path], known: Collection[str]) -> dict[str, int]:
    """Return the folders with files that nothing reads, and files beside the images `files` that are none, counted.

    Of files next to images only the kinds are listed, such as `train/*.gif`. Those called `known` in `root` are read.
    """
    used = {relative_path(file.parent, root) for file in files}
    found: Counter[str] = Counter()
    kinds: dict[str, list[str]] = {}
    for place, folders, names in os.walk(root):
        here = names_in(Path(place))
        folders[:] = [name for name in sorted(folders) if here.get(name)]
        inside = relative_path(Path(place), root) if Path(place) != root else "."
        for name in sorted(here.keys() & set(names)):
            if inside in used and is_image_name(name):
                continue
            if inside == ".":
                if name not in known:
                    kinds.setdefault(f"*{file_suffix(name)}", []).append(name)
            elif inside not in used:
                found[f"{inside}/"] += 1
            else:
                found[f"{inside}/*{file_suffix(name)}"] += 1
    single = {names[0] if len(names) == 1 else kind: len(names) for kind, names in kinds.items()}
    return {**single, **found}


def unread_files_of(root: Path, files: Collection[Path]) -> dict[str, int]:
    """Return what `unread_files` does, for a set whose tables are still to be found."""
    images = [file.name for file in files]
    beside = [name for name, is_folder in names_in(root).items() if not is_folder and not is_image_name(name)]
    return unread_files(root, files, [name for name in beside if read_table(root / name, images)])


def describe_unused(counts: Mapping[str, int]) -> str:
    """Return the line that says what is not used."""
    each = [f"{name} ({count:,})" if name.endswith("/") or "*" in name else name for name, count in counts.items()]
    more = f", and {len(each) - LISTED} more" if len(each) > LISTED else ""
    return "not used: " + ", ".join(map(printable, each[:LISTED])) + more


def explain_empty(folder: Path) -> str:
    """Return why a folder has no images, as far as its content tells; else nothing."""
    return _joined(_emptiness(folder))


def explain_no_images(root: Path) -> str:
    """Return why a folder is no data set, as far as it and the folders in it tell; else nothing."""
    return _joined(_reasons(root))


def _joined(reasons: Iterable[str]) -> str:
    text = "; ".join(list(dict.fromkeys(reasons))[:FEW])
    return f"{text}; {READ}" if "not read" in text else text


def _emptiness(folder: Path) -> Iterator[str]:
    if images_in(folder):
        return
    if inside := folders_of_images(folder):
        yield f"{folder.name}/ holds folders with images ({_first(inside)}): move the images up into {folder.name}/"
    elif kinds := Counter(file_suffix(name) for name, is_folder in names_in(folder).items() if not is_folder):
        count, several = kinds.total(), len(kinds) > 1
        files = f"{count} file{'s' * (count > 1)} of {'kinds that are' if several else 'a kind that is'} not read"
        yield f"{folder.name}/ holds {files} ({', '.join(sorted(kinds))})"


def _reasons(root: Path) -> Iterator[str]:
    folders = _folders_in(root)
    for folder in (root, root / "train"):
        inside = [each for each in folders_of_images(folder) if each.name not in SPLITS]
        if len(inside) == 1 and not images_in(folder):
            yield f"{folder.name}/ holds one class ({inside[0].name}) where at least two are needed, a folder for each"
    for folder in folders:
        if folder.name in _OF_A_SET:
            yield from (reason for each in _folders_in(folder) for reason in _emptiness(each))
        elif _OF_A_SET & names_in(folder).keys():
            yield f"{folder.name}/ looks like a data set: give that folder, {folder}"
            continue
        if folder.name not in SPLITS or not folders_of_images(folder):
            yield from _emptiness(folder)
    if not folders:
        yield from _emptiness(root)


def _folders_in(folder: Path) -> list[Path]:
    return [folder / name for name, is_folder in sorted(names_in(folder).items()) if is_folder]


def _first(folders: Collection[Path]) -> str:
    return ", ".join(folder.name for folder in list(folders)[:3]) + (", ..." if len(folders) > 3 else "")
