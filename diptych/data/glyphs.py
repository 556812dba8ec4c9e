"""The embedded data set: about 1,500 letters in the twelve DejaVu faces that ship with matplotlib. No download.

Every letter exists in every face, so the true translation of each picture is known: paired, unpaired or labelled data
with a truth to measure against. Letters that look alike (Latin and Cyrillic A) always fall into the same split.
"""

import unicodedata
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from diptych.data.labelled import LABELLED
from diptych.data.layouts import PAIRED, Data, Split
from diptych.errors import DataError

FACES = (
    "sans",
    "sans-bold",
    "sans-oblique",
    "sans-boldoblique",
    "mono",
    "mono-bold",
    "mono-oblique",
    "mono-boldoblique",
    "serif",
    "serif-bold",
    "serif-italic",
    "serif-bolditalic",
)
FILES = {"sans": "DejaVuSans", "mono": "DejaVuSansMono", "serif": "DejaVuSerif"}
STYLES = {
    "bold": "Bold",
    "oblique": "Oblique",
    "boldoblique": "BoldOblique",
    "italic": "Italic",
    "bolditalic": "BoldItalic",
}
SPLITS = ("train", "val", "test")


def paired(source: str = "sans", target: str = "serif-bolditalic", size: int = 32) -> dict[str, Split]:
    """Splits train, val and test of `source` and `target`: the same letter in two faces, (size, size, 1) uint8."""
    return {
        name: Split({"source": pictures(source, size)[where], "target": pictures(target, size)[where]}, aligned=True)
        for name, where in split_indices().items()
    }


def unpaired(a: str = "sans", b: str = "serif-bolditalic", size: int = 32) -> dict[str, Split]:
    """Columns `a` and `b`. In training they share no look; val and test are aligned, so that error can be measured."""
    where = split_indices()
    seen = where["train"]
    odd = np.unique(looks()[seen], return_inverse=True)[1] % 2 == 1
    train = Split({"a": pictures(a, size)[seen[~odd]], "b": pictures(b, size)[seen[odd]]}, aligned=False)
    return {
        "train": train,
        **{
            name: Split({"a": pictures(a, size)[where[name]], "b": pictures(b, size)[where[name]]}, aligned=True)
            for name in SPLITS[1:]
        },
    }


def labelled(faces: Sequence[str] = FACES, size: int = 32) -> dict[str, Split]:
    """Columns `image` and `label`, the index of its face in `faces`; letter by letter, so that faces are balanced."""
    return {
        name: Split(
            {
                "image": np.stack([pictures(face, size)[where] for face in faces], 1).reshape(-1, size, size, 1),
                "label": np.tile(np.arange(len(faces)), len(where)).tolist(),
            },
            aligned=True,
        )
        for name, where in split_indices().items()
    }


def open_glyphs(root: str, names: Sequence[str], size: int, swap: bool) -> Data:
    """`glyphs`, or `glyphs:serif/mono-bold` for two other faces; with labels, for as many as are named, or all."""
    with_labels = tuple(names) == LABELLED
    usual = list(FACES) if with_labels else ["sans", "serif-bolditalic"]
    faces = root.partition(":")[2].split("/") if ":" in root else usual
    if len(faces) < 2 or (len(faces) > 2 and not with_labels) or any(face not in FACES for face in faces):
        raise DataError(f"{root!r}: write glyphs:FACE/FACE with two of {', '.join(FACES)}")
    if with_labels:
        found = {name: split.named(names) for name, split in labelled(faces, size).items()}
        summary = f"letters in {len(faces)} faces of DejaVu: {len(found['train'])}, {len(found['val'])} in val"
        return Data(found["train"], found["val"], summary, test=found["test"], classes=tuple(faces))
    first, second = reversed(faces) if swap else faces
    splits = (paired if tuple(names) == PAIRED else unpaired)(first, second, size)
    splits = {name: split.named(names) for name, split in splits.items()}
    kind = "paired" if splits["train"].aligned else "unpaired"
    summary = (
        f"letters of DejaVu {faces[0]} and {faces[1]}, {kind}: {len(splits['train'])}, {len(splits['val'])} in val"
    )
    return Data(splits["train"], splits["val"], summary, test=splits["test"])


@lru_cache(maxsize=1)
def letters() -> tuple[str, ...]:
    """The letters that all twelve faces have, by code point."""
    from matplotlib.ft2font import FT2Font

    common = set.intersection(*(set(FT2Font(str(file_of(face))).get_charmap()) for face in FACES))
    return tuple(chr(code) for code in sorted(common) if unicodedata.category(chr(code)).startswith("L"))


@lru_cache(maxsize=1)
def looks() -> np.ndarray:
    """For each letter the index of the first that looks the same: in one of the faces, or by way of a third letter."""
    first = np.arange(len(letters()))
    for face in FACES:
        seen: dict[bytes, int] = {}
        for index, picture in enumerate(pictures(face, 32)):
            ours, theirs = sorted((first[seen.setdefault(picture.tobytes(), index)], first[index]))
            first[first == theirs] = ours
    return first


@lru_cache(maxsize=1)
def split_indices() -> dict[str, np.ndarray]:
    """Indices into `letters()`: 80 % train, 10 % val, 10 % test, by a hash of the first letter that looks the same."""
    share = np.array([zlib.crc32(letters()[first].encode()) % 10 for first in looks()])
    return {"train": np.flatnonzero(share > 1), "val": np.flatnonzero(share == 1), "test": np.flatnonzero(share == 0)}


@lru_cache(maxsize=32)
def pictures(face: str, size: int) -> np.ndarray:
    """All letters in one face: (letters, size, size, 1) uint8, black on white, on one baseline."""
    font = ImageFont.truetype(str(file_of(face)), round(0.66 * size))
    return np.stack([_draw(letter, font, size) for letter in letters()])[..., None]


def _draw(letter: str, font: ImageFont.FreeTypeFont, size: int) -> np.ndarray:
    picture = Image.new("L", (size, size), 255)
    ImageDraw.Draw(picture).text((size / 2, 0.72 * size), letter, fill=0, font=font, anchor="ms")
    return np.asarray(picture)


def file_of(face: str) -> Path:
    """The font file of a face such as `serif-bolditalic`."""
    import matplotlib

    family, _, style = face.partition("-")
    name = FILES[family] + ("-" + STYLES[style] if style else "")
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
