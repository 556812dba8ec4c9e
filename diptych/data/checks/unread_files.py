"""Files of a data set that are not read, and reasons why a folder has no images."""

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
from diptych.errors import listed, printable

READ = f"Diptych reads {', '.join(sorted(image_io.SUFFIXES))}"
MAX_LISTED = 20  # folders and files that a note lists
MAX_REASONS = 4  # reasons that a message gives
_DATA_SET_NAMES = {
    *SPLITS,
    *(name.format(split).split("/")[0] for split in SPLITS for names in DOMAIN_FOLDERS for name in names),
}


def unread_files(root: Path, files: Iterable[Path], known: Collection[str]) -> dict[str, int]:
    """Return the number of files that are not read, by folder.

    Files beside the images `files` are counted by suffix, such as `train/*.gif`. Files `known` in `root` are read.
    """
    image_folders = {relative_path(file.parent, root) for file in files}
    counts: Counter[str] = Counter()
    in_root: dict[str, list[str]] = {}  # names of files in the root itself, by suffix
    for walked, folders, names in os.walk(root):
        visible = names_in(Path(walked))
        folders[:] = [name for name in sorted(folders) if visible.get(name)]
        folder = relative_path(Path(walked), root) if Path(walked) != root else "."
        for name in sorted(visible.keys() & set(names)):
            if folder in image_folders and is_image_name(name):
                continue
            if folder == ".":
                if name not in known:
                    in_root.setdefault(f"*{file_suffix(name)}", []).append(name)
            elif folder not in image_folders:
                counts[f"{folder}/"] += 1
            else:
                counts[f"{folder}/*{file_suffix(name)}"] += 1
    root_counts = {names[0] if len(names) == 1 else suffix: len(names) for suffix, names in in_root.items()}
    return {**root_counts, **counts}


def unread_files_of(root: Path, files: Collection[Path], group_table: Path | None = None) -> dict[str, int]:
    """Return `unread_files` of a data set, after finding its tables. `group_table` is that of `group_by`."""
    images = [file.name for file in files]
    beside = [name for name, is_folder in names_in(root).items() if not is_folder and not is_image_name(name)]
    tables = [name for name in beside if root / name == group_table or read_table(root / name, images)]
    return unread_files(root, files, tables)


def describe_unused(counts: Mapping[str, int]) -> str:
    """Return a note that lists the files that are not used."""
    texts = [f"{name} ({count:,})" if name.endswith("/") or "*" in name else name for name, count in counts.items()]
    return f"not used: {listed([printable(text) for text in texts], MAX_LISTED)}"


def explain_empty(folder: Path) -> str:
    """Return why a folder has no images, if its content shows that; else an empty text."""
    return _join(_reasons_empty(folder))


def explain_no_images(root: Path) -> str:
    """Return why a folder is not a data set, if its content shows that; else an empty text."""
    return _join(_reasons_no_images(root))


def _join(reasons: Iterable[str]) -> str:
    text = "; ".join(list(dict.fromkeys(reasons))[:MAX_REASONS])
    return f"{text}; {READ}" if "not read" in text else text


def _reasons_empty(folder: Path) -> Iterator[str]:
    if images_in(folder):
        return
    if inside := folders_of_images(folder):
        yield f"{folder.name}/ has folders with images ({_first(inside)}): move the images into {folder.name}/"
    elif suffixes := Counter(file_suffix(name) for name, is_folder in names_in(folder).items() if not is_folder):
        count = suffixes.total()
        files = "1 file" if count == 1 else f"{count} files"
        kinds = "a kind that is" if len(suffixes) == 1 else "kinds that are"
        yield f"{folder.name}/ has {files} of {kinds} not read ({', '.join(sorted(suffixes))})"


def _reasons_no_images(root: Path) -> Iterator[str]:
    folders = _folders_in(root)
    for folder in (root, root / "train"):
        inside = [inner for inner in folders_of_images(folder) if inner.name not in SPLITS]
        if len(inside) == 1 and not images_in(folder):
            yield f"{folder.name}/ has one class ({inside[0].name}), and at least two are required, a folder for each"
    for folder in folders:
        if folder.name in _DATA_SET_NAMES:
            for inner in _folders_in(folder):
                yield from _reasons_empty(inner)
        elif _DATA_SET_NAMES & names_in(folder).keys():
            yield f"{folder.name}/ looks like a data set: use that folder, {folder}"
            continue
        if folder.name not in SPLITS or not folders_of_images(folder):
            yield from _reasons_empty(folder)
    if not folders:
        yield from _reasons_empty(root)


def _folders_in(folder: Path) -> list[Path]:
    return [folder / name for name, is_folder in sorted(names_in(folder).items()) if is_folder]


def _first(folders: Collection[Path]) -> str:
    return listed([folder.name for folder in folders], 3)
