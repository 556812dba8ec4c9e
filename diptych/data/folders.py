"""Folders, what in them is named like an image, the names of splits, and what is held out where there are none."""

import os
import zlib
from pathlib import Path

from diptych.data import image
from diptych.data.config import DataConfig
from diptych.errors import DataError

HELD_OUT = ("val", "test")  # splits that training never sees, by preference
SPLITS = ("train", *HELD_OUT)
JUNK = frozenset({"Thumbs.db", "desktop.ini", "__MACOSX", "$RECYCLE.BIN"})


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
    return tuple(folder / name for name in sorted(names_in(folder)) if named_like_image(name))


def folders_of_images(folder: Path) -> list[Path]:
    inside = [folder / name for name, is_folder in sorted(names_in(folder).items()) if is_folder]
    return [each for each in inside if images_in(each)]


def names_in(folder: Path) -> dict[str, bool]:
    """The names in a folder, and which are folders: none that is named like an image. Hidden ones are left out.

    Empty if it is no folder; DataError if it must not be read.
    """
    try:
        with os.scandir(folder) as found:
            seen = [each for each in found if not (each.name.startswith(".") or each.name in JUNK)]
            return {each.name: not named_like_image(each.name) and each.is_dir() for each in seen}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from error


def named_like_image(name: str) -> bool:
    return name.lower().endswith(image.SUFFIXES)


def is_held_out(file: Path) -> bool:
    """By a hash of the name, the same on every machine, and for one motif in all folders."""
    return zlib.crc32(file.stem.encode()) % 20 == 0
