"""Folders, what in them is named like an image, the names of splits, and what is held out where there are none.

This is the one rule for what counts as an image, in training and in `diptych translate`: by its name alone; hidden and
system files and folders never; a linked folder like any other, but each real folder once.
"""

import os
import zlib
from collections import deque
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from diptych.data.config import DataConfig
from diptych.data.images import image_io
from diptych.data.sources.file_names import normalized
from diptych.errors import DataError

HELD_OUT = ("val", "test")  # splits that training never sees, by preference
SPLITS = ("train", *HELD_OUT)
DOMAIN_FOLDERS = (("{}A", "{}B"), ("A/{}", "B/{}"))  # of a split: two ways in which its two folders are called
SYSTEM = frozenset(  # names that desktops, network drives and tools leave in folders, in small letters
    {
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "icon\r",
        "__macosx",
        "$recycle.bin",
        "recycler",
        "recycled",
        "lost+found",
        "@eadir",
        "#recycle",
        "@recycle",
        "#snapshot",
        "@recently-snapshot",
        "__pycache__",
        "system volume information",
    }
)
PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip")


def root_of(config: DataConfig) -> Path:
    """The folder of a data set. DataError if it is none."""
    root = Path(config.root).expanduser()
    if not root.is_dir():
        raise DataError(
            f"{root.absolute()} is not a folder; give the folder of the images by --data FOLDER (in settings "
            f"root=FOLDER), or --data glyphs for the embedded letters"
        )
    return root


def images_in(folder: Path) -> tuple[Path, ...]:
    """What is named like an image in it, in the order of the names; nothing if it is no folder."""
    return tuple(folder / name for name in sorted(names_in(folder)) if is_image_name(name))


def folders_of_images(folder: Path) -> list[Path]:
    """Return the folders in it that hold images, in the order of their names, without links back to where they are."""
    inside = [folder / name for name, is_folder in sorted(names_in(folder).items()) if is_folder]
    real = folder.resolve() if inside else folder
    return [each for each in inside if images_in(each) and each.resolve() not in (real, *real.parents)]


def distinct_folders_of_images(folder: Path) -> list[Path]:
    """Return `folders_of_images` without links to another of them."""
    seen: set[Path] = set()
    kept = []
    for each in sorted(folders_of_images(folder), key=Path.is_symlink):
        if (there := each.resolve()) not in seen:
            seen.add(there)
            kept.append(each)
    return sorted(kept)


def images_in_and_below(folder: Path) -> tuple[Path, ...]:
    """Return the images of a folder, then those of the folders in it."""
    return (*images_in(folder), *(file for inside in distinct_folders_of_images(folder) for file in images_in(inside)))


def names_in(folder: Path, named: Collection[str] = ()) -> dict[str, bool]:
    """The names in a folder, and which are folders: none that is named like an image. Hidden ones are left out.

    Except those that `named`, the parts of a pattern, mean. Empty if it is no folder; DataError if it must not be read.
    """
    try:
        with os.scandir(folder) as found:
            seen = [each for each in found if not is_left_out(each.name, named)]
            return {each.name: not is_image_name(each.name) and _is_folder(each) for each in seen}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from error


def _is_folder(found: os.DirEntry[str]) -> bool:
    try:
        return found.is_dir()
    except OSError:  # a link that leads back to itself
        return False


def files_below(
    root: Path, without: Path | None = None, named: Collection[str] = (), depth: int = -1
) -> Iterator[Path]:
    """Yield all files below `root` by `names_in`, folder by folder; linked folders once, after all others.

    Without what lies in `without`, and at most `depth` folders deep unless that is negative. DataError as `names_in`.
    """
    real = root.resolve()
    kept_out = without.resolve() if without else None
    seen = {*real.parents}  # a link to one of those leads back here
    folders, links = deque([(root, 1)]), deque[tuple[Path, int]]()
    while folders or links:
        folder, deep = (folders or links).popleft()
        real = folder.resolve()
        if real in seen or kept_out in (real, *real.parents):
            continue
        seen.add(real)
        for name, is_folder in sorted(names_in(folder, named).items()):
            if not is_folder:
                yield folder / name
            elif deep != depth:
                (links if (folder / name).is_symlink() else folders).append((folder / name, deep + 1))


def is_left_out(name: str, named: Collection[str] = ()) -> bool:
    """Return whether a name is hidden or the system's, and none of the parts of a pattern, `named`, means it."""
    if name.startswith("."):
        return not any(part.startswith(".") and fnmatchcase(name, part) for part in named)
    return name.lower() in SYSTEM and name not in named


def is_image_name(name: str) -> bool:
    return name.lower().endswith(image_io.SUFFIXES)


def file_suffix(name: str) -> str:
    """Return the ending of a file's name in small letters, such as `.gif` or `.nii.gz`."""
    suffixes = Path(name.lower()).suffixes
    packed = suffixes[-1:] and suffixes[-1] in PACKED
    return "".join(suffixes[-2:] if packed else suffixes[-1:]) or "without ending"


def is_held_out(file: Path) -> bool:
    """By a hash of the name, the same on every machine, and for one motif in all folders."""
    return name_is_held_out(file.stem)


def name_is_held_out(stem: str) -> bool:
    return zlib.crc32(normalized(stem).encode(errors="surrogateescape")) % 20 == 0
