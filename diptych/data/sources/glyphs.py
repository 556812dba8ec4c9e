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

from diptych.contract import Labels
from diptych.data.config import DataConfig
from diptych.data.dataset import Data, Split
from diptych.data.sources.attributes import attribute_labels
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
LATIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ATTRIBUTES = ("bold", "slanted", "sans", "mono", "serif")


def paired(source: str = "sans", target: str = "serif-bolditalic", size: int = 32) -> dict[str, Split]:
    """Splits train, val and test of `source` and `target`: the same letter in two faces, (size, size, 1) uint8."""
    return {
        name: Split(
            {"source": render_letters(source, size)[where], "target": render_letters(target, size)[where]}, aligned=True
        )
        for name, where in split_indices().items()
    }


def unpaired(a: str = "sans", b: str = "serif-bolditalic", size: int = 32) -> dict[str, Split]:
    """Columns `a` and `b`. In training they share no look; val and test are aligned, so that error can be measured."""
    where = split_indices()
    seen = where["train"]
    odd = np.unique(lookalikes()[seen], return_inverse=True)[1] % 2 == 1
    train = Split({"a": render_letters(a, size)[seen[~odd]], "b": render_letters(b, size)[seen[odd]]}, aligned=False)
    return {
        "train": train,
        **{
            name: Split(
                {"a": render_letters(a, size)[where[name]], "b": render_letters(b, size)[where[name]]}, aligned=True
            )
            for name in SPLITS[1:]
        },
    }


def labelled(faces: Sequence[str] = FACES, size: int = 32, attributes: Sequence[str] = ()) -> dict[str, Split]:
    """Columns `image` and `label`, the index of its face in `faces`, or which of the `attributes` that has.

    Letter by letter, so that faces are balanced; each letter is a motif that is known in every face.
    """
    rows = [[int(name in attributes_of(face)) for name in attributes] for face in faces]
    return {
        name: Split(
            {
                "image": np.stack([render_letters(face, size)[where] for face in faces], 1).reshape(-1, size, size, 1),
                "label": np.tile(rows, (len(where), 1))
                if attributes
                else np.tile(range(len(faces)), len(where)).tolist(),
            },
            aligned=True,
            scene_ids=[letters()[letter] for letter in where for _ in faces],
        )
        for name, where in split_indices().items()
    }


def attributes_of(face: str) -> set[str]:
    """Which of `ATTRIBUTES` letters of a face have."""
    family, _, style = face.partition("-")
    return {
        family,
        *(["bold"] if "bold" in style else []),
        *(["slanted"] if style.endswith(("oblique", "italic")) else []),
    }


def is_glyphs(root: str) -> bool:
    return root == "glyphs" or root.startswith("glyphs:")


def open_two_faces(config: DataConfig, pairs: bool) -> Data:
    """`glyphs`, or `glyphs:serif/mono-bold` for two other faces, as two columns; in training pairs, or unpaired."""
    faces = _faces(config.root, ("sans", "serif-bolditalic"))
    if len(faces) != 2:
        raise DataError(f"{config.root!r}: write glyphs:FACE/FACE with two of {', '.join(FACES)}")
    first, second = faces if config.direction == "a2b" else faces[::-1]
    splits = (paired if pairs else unpaired)(first, second, config.crop_size)
    kind = "paired" if splits["train"].aligned else "unpaired"
    summary = (
        f"letters of DejaVu {faces[0]} and {faces[1]}, {kind}: {len(splits['train'])}, {len(splits['val'])} in val"
    )
    domains = dict(zip(splits["train"].columns, (first, second), strict=True))
    return Data(splits["train"], splits["val"], summary, test=splits["test"], domains=domains)


def open_labelled(config: DataConfig) -> Data:
    """All faces as classes, or those of `glyphs:sans/serif/mono`; or `attributes` of them, such as bold and serif.

    Of one face alone the classes are letters: see `latin_indices`.
    """
    faces = _faces(config.root, FACES, least=1)
    if strange := [name for name in config.attributes if name not in ATTRIBUTES]:
        raise DataError(f"attributes: {strange[0]!r} is none of letters; they are {', '.join(ATTRIBUTES)}")
    if len(faces) == 1 and not config.attributes:
        return open_latin(faces[0], config.crop_size)
    found = labelled(faces, config.crop_size, config.attributes)
    summary = f"letters in {len(faces)} faces of DejaVu: {len(found['train'])}, {len(found['val'])} in val"
    if config.attributes:
        labels = attribute_labels(config.attributes, config, config.root)
    else:
        labels = Labels(names=faces)
    return Data(found["train"], found["val"], summary, test=found["test"], labels=(labels,))


def open_unlabelled(config: DataConfig) -> Data:
    """The letters of `glyphs:sans`, or of several faces; without any of all."""
    faces = _faces(config.root, FACES, least=1)
    splits = {
        name: Split(
            {"image": np.concatenate([render_letters(face, config.crop_size)[where] for face in faces])}, aligned=True
        )
        for name, where in split_indices().items()
    }
    summary = f"letters in {len(faces)} faces of DejaVu: {len(splits['train'])}, {len(splits['val'])} in val"
    return Data(splits["train"], splits["val"], summary, test=splits["test"])


def open_latin(face: str, size: int) -> Data:
    """Columns `image` and `label`, which of A to Z it is, with whatever accents, small or large; others left out."""
    found = {
        name: Split({"image": render_letters(face, size)[where], "label": _named(where)}, aligned=True)
        for name, where in latin_indices().items()
    }
    summary = f"A to Z of DejaVu {face}, with accents: {len(found['train'])}, {len(found['val'])} in val"
    labels = (Labels(names=tuple(LATIN)),)
    return Data(found["train"], found["val"], summary, test=found["test"], labels=labels)


def open_transfer(config: DataConfig) -> Data:
    """`source` and `label` as `open_latin`, and as `target` the same letters of another face, in another order.

    In val and test they are pairs, so that the truth is known.
    """
    first, second = (_faces(root or "", (), least=1)[0] for root in (config.root, config.target_root))
    splits = {}
    for name, where in latin_indices().items():
        source, target = (render_letters(face, config.crop_size)[where] for face in (first, second))
        columns = {"source": source, "label": _named(where), "target": target}
        groups = () if name != "train" else (("source", "label"), ("target",))
        splits[name] = Split(columns, aligned=name != "train", groups=groups, labels=Labels(names=tuple(LATIN)))
    summary = (
        f"A to Z of DejaVu {first}, and {second} to draw like: {len(splits['train'])}, {len(splits['val'])} in val"
    )
    labels, domains = (Labels(names=tuple(LATIN)),), {"source": first, "target": second}
    return Data(splits["train"], splits["val"], summary, test=splits["test"], labels=labels, domains=domains)


def latin_indices() -> dict[str, np.ndarray]:
    """`split_indices` of the letters that are one of A to Z."""
    return {
        name: np.array([place for place in where if base_letter(letters()[place])])
        for name, where in split_indices().items()
    }


def _named(places: np.ndarray) -> list[int]:
    """Class numbers of letters."""
    return [LATIN.index(base_letter(letters()[place])) for place in places]


def base_letter(letter: str) -> str:
    """Which of A to Z a letter is without its accents; nothing if it is none."""
    base = unicodedata.normalize("NFKD", letter)[0].upper()
    return base if base in LATIN else ""


def _faces(root: str, usual: Sequence[str], least: int = 2) -> tuple[str, ...]:
    faces = tuple(root.partition(":")[2].split("/")) if ":" in root else tuple(usual)
    if len(set(faces)) < least or any(face not in FACES for face in faces):
        raise DataError(f"{root!r}: write glyphs:FACE/FACE with two or more of {', '.join(FACES)}")
    return faces


@lru_cache(maxsize=1)
def letters() -> tuple[str, ...]:
    """The letters that all twelve faces have, by code point."""
    from matplotlib.ft2font import FT2Font

    common = set.intersection(*(set(FT2Font(str(file_of(face))).get_charmap()) for face in FACES))
    return tuple(chr(code) for code in sorted(common) if unicodedata.category(chr(code)).startswith("L"))


@lru_cache(maxsize=1)
def lookalikes() -> np.ndarray:
    """For each letter the index of the first that looks the same: in one of the faces, or by way of a third letter."""
    first = np.arange(len(letters()))
    for face in FACES:
        seen: dict[bytes, int] = {}
        for index, picture in enumerate(render_letters(face, 32)):
            ours, theirs = sorted((first[seen.setdefault(picture.tobytes(), index)], first[index]))
            first[first == theirs] = ours
    return first


@lru_cache(maxsize=1)
def split_indices() -> dict[str, np.ndarray]:
    """Indices into `letters()`: 80 % train, 10 % val, 10 % test, by a hash of the first letter that looks the same."""
    share = np.array([zlib.crc32(letters()[first].encode()) % 10 for first in lookalikes()])
    return {"train": np.flatnonzero(share > 1), "val": np.flatnonzero(share == 1), "test": np.flatnonzero(share == 0)}


@lru_cache(maxsize=32)
def render_letters(face: str, size: int) -> np.ndarray:
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
