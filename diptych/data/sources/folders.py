"""Find images in folders; the names of splits; and the choice of held-out images where there are no splits.

One rule for training and `diptych translate`: a file is an image by its name alone. Hidden and system files and folders
are ignored. Symbolic links to folders are followed, but each real folder is visited once.
"""

import os
import zlib
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from diptych.data.config import DataConfig
from diptych.data.images import image_io
from diptych.data.sources.file_names import normalized
from diptych.errors import DataError

HELD_OUT = ("val", "test")  # splits that are not used for training, by preference
SPLITS = ("train", *HELD_OUT)
DOMAIN_FOLDERS = (("{}A", "{}B"), ("A/{}", "B/{}"))  # names of the two folders of a split, in two layouts
SYSTEM = frozenset(  # files and folders of desktops, network drives and tools, in lower case
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
    """Return the folder of a data set. Raises DataError if it is not a folder."""
    root = Path(config.root).expanduser()
    if not root.is_dir():
        raise DataError(
            f"{root.absolute()} is not a folder; give the folder of the images by --data FOLDER (root=FOLDER in "
            f"settings), or --data glyphs for the embedded letters"
        )
    return root


def images_in(folder: Path) -> tuple[Path, ...]:
    """Return the images in a folder, by name and sorted; empty if it is not a folder."""
    return tuple(folder / name for name in sorted(names_in(folder)) if is_image_name(name))


def folders_of_images(folder: Path) -> list[Path]:
    """Return the folders in a folder that have images, sorted, without links to their parents."""
    inside = [folder / name for name, is_folder in sorted(names_in(folder).items()) if is_folder]
    real = folder.resolve() if inside else folder
    return [inner for inner in inside if images_in(inner) and inner.resolve() not in (real, *real.parents)]


def distinct_folders_of_images(folder: Path) -> list[Path]:
    """Return `folders_of_images` without links to other ones of them."""
    visited: set[Path] = set()
    distinct = []
    for inner in sorted(folders_of_images(folder), key=Path.is_symlink):
        if (real := inner.resolve()) not in visited:
            visited.add(real)
            distinct.append(inner)
    return sorted(distinct)


def images_in_and_below(folder: Path) -> tuple[Path, ...]:
    """Return the images of a folder, then those of the folders in it."""
    inner_images = (file for inner in distinct_folders_of_images(folder) for file in images_in(inner))
    return (*images_in(folder), *inner_images)


def names_in(folder: Path, named: Collection[str] = ()) -> dict[str, bool]:
    """Return the names in a folder, and whether each is a folder; the name of an image never counts as a folder.

    Hidden and system files are left out, unless they match `named`, the parts of a pattern. Empty if it is not a
    folder. Raises DataError if it cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not is_left_out(entry.name, named)]
            return {entry.name: not is_image_name(entry.name) and _is_folder(entry) for entry in visible}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def files_below(
    root: Path, without: Path | None = None, named: Collection[str] = (), depth: int = -1
) -> Iterator[Path]:
    """Yield all files below `root`, folder by folder; each linked folder once, after all others.

    The folder `without` is left out. A `depth` that is not negative limits the levels of folders. `named` and Raises
    as in `names_in`.
    """
    real = root.resolve()
    excluded = without.resolve() if without else None
    visited = {*real.parents}  # a link to one of these would lead back here
    folders, links = deque([(root, 1)]), deque[tuple[Path, int]]()
    while folders or links:
        folder, level = (folders or links).popleft()
        real = folder.resolve()
        if real in visited or excluded in (real, *real.parents):
            continue
        visited.add(real)
        for name, is_folder in sorted(names_in(folder, named).items()):
            if not is_folder:
                yield folder / name
            elif level != depth:
                (links if (folder / name).is_symlink() else folders).append((folder / name, level + 1))


def is_left_out(name: str, named: Collection[str] = ()) -> bool:
    """Return whether a name is hidden or of the system, and matches none of `named`, the parts of a pattern."""
    if name.startswith("."):
        return not any(part.startswith(".") and fnmatchcase(name, part) for part in named)
    return name.lower() in SYSTEM and name not in named


def is_image_name(name: str) -> bool:
    """Return whether a file name has the suffix of a supported image format."""
    return name.lower().endswith(image_io.SUFFIXES)


def file_suffix(name: str) -> str:
    """Return the suffix of a file name in lower case, such as `.gif` or `.nii.gz`."""
    suffixes = Path(name.lower()).suffixes
    packed = suffixes[-1:] and suffixes[-1] in PACKED
    return "".join(suffixes[-2:] if packed else suffixes[-1:]) or "without suffix"


def is_held_out(file: Path) -> bool:
    """Return whether a file is held out, by a hash of its name: equal on every machine and for equal names."""
    return name_is_held_out(file.stem)


def name_is_held_out(stem: str) -> bool:
    """Return whether files of this name are held out: one name in twenty, by a hash."""
    return name_hash(stem) % 20 == 0


def held_out_fraction(files: Sequence[Path], fraction: float) -> frozenset[Path]:
    """Return a fraction of the files, rounded to whole files, one at least: those with the lowest hashes of names."""
    count = max(1, round(fraction * len(files)))
    return frozenset(sorted(files, key=lambda file: (name_hash(file.stem), file.name))[:count])


def name_hash(stem: str) -> int:
    """Return a hash of a name, equal on every machine."""
    return zlib.crc32(normalized(stem).encode(errors="surrogateescape"))
