"""The embedded data set: about 1,500 letters in the twelve DejaVu faces of matplotlib. No download is needed.

Every letter exists in every face, so the ground truth of each translation is known, for paired, unpaired and labelled
data. Letters with equal images (Latin and Cyrillic A) are always in the same split.
"""

import unicodedata
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

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
    """Return splits train, val and test of `source` and `target`: each letter in two faces, (size, size, 1) uint8."""
    return {
        name: Split(
            {"source": render_letters(source, size)[indices], "target": render_letters(target, size)[indices]},
            aligned=True,
        )
        for name, indices in split_indices().items()
    }


def unpaired(a: str = "sans", b: str = "serif-bolditalic", size: int = 32) -> dict[str, Split]:
    """Return splits of columns `a` and `b`: without common letters in train; aligned in val and test, for metrics."""
    indices = split_indices()
    train_indices = indices["train"]
    is_b = np.unique(lookalikes()[train_indices], return_inverse=True)[1] % 2 == 1
    train = Split(
        {"a": render_letters(a, size)[train_indices[~is_b]], "b": render_letters(b, size)[train_indices[is_b]]},
        aligned=False,
    )
    return {
        "train": train,
        **{
            name: Split(
                {"a": render_letters(a, size)[indices[name]], "b": render_letters(b, size)[indices[name]]}, aligned=True
            )
            for name in SPLITS[1:]
        },
    }


def labelled(faces: Sequence[str] = FACES, size: int = 32, attributes: Sequence[str] = ()) -> dict[str, Split]:
    """Return splits of columns `image` and `label`: the index of the face in `faces`, or its values of `attributes`.

    The order is letter by letter, so that faces are balanced; each letter is a scene that is known in every face.
    """
    rows = [[int(name in attributes_of(face)) for name in attributes] for face in faces]
    return {
        name: Split(
            {
                "image": np.stack([render_letters(face, size)[indices] for face in faces], 1).reshape(
                    -1, size, size, 1
                ),
                "label": np.tile(rows, (len(indices), 1))
                if attributes
                else np.tile(range(len(faces)), len(indices)).tolist(),
            },
            aligned=True,
            scene_ids=[letters()[letter] for letter in indices for _ in faces],
        )
        for name, indices in split_indices().items()
    }


def attributes_of(face: str) -> set[str]:
    """Return the `ATTRIBUTES` of a face."""
    family, _, style = face.partition("-")
    return {
        family,
        *(["bold"] if "bold" in style else []),
        *(["slanted"] if style.endswith(("oblique", "italic")) else []),
    }


def is_glyphs(root: str) -> bool:
    """Return whether `root` is the embedded data set."""
    return root == "glyphs" or root.startswith("glyphs:")


def open_two_faces(config: DataConfig, pairs: bool) -> Data:
    """Return two faces as two columns, paired or unpaired: `glyphs`, or `glyphs:serif/mono-bold` for other faces."""
    faces = _faces(config.root, ("sans", "serif-bolditalic"))
    if len(faces) != 2:
        raise DataError(f"{config.root!r}: expected glyphs:FACE/FACE with two of {', '.join(FACES)}")
    first, second = faces if config.direction == "a2b" else faces[::-1]
    splits = (paired if pairs else unpaired)(first, second, config.crop_size)
    kind = "paired" if splits["train"].aligned else "unpaired"
    summary = (
        f"letters of DejaVu {faces[0]} and {faces[1]}, {kind}: {len(splits['train'])}, {len(splits['val'])} in val"
    )
    domains = dict(zip(splits["train"].columns, (first, second), strict=True))
    return Data(splits["train"], splits["val"], summary, test=splits["test"], domains=domains)


def open_labelled(config: DataConfig) -> Data:
    """Return faces as classes, all or those of `glyphs:sans/serif/mono`; or `attributes` such as bold and serif.

    For a single face the classes are the letters A to Z, see `open_latin`.
    """
    faces = _faces(config.root, FACES, min_faces=1)
    if unknown := [name for name in config.attributes if name not in ATTRIBUTES]:
        raise DataError(f"attributes: letters have no attribute {unknown[0]!r}; they have {', '.join(ATTRIBUTES)}")
    if len(faces) == 1 and not config.attributes:
        return open_latin(faces[0], config.crop_size)
    splits = labelled(faces, config.crop_size, config.attributes)
    summary = f"letters in {len(faces)} faces of DejaVu: {len(splits['train'])}, {len(splits['val'])} in val"
    if config.attributes:
        labels = attribute_labels(config.attributes, config, config.root)
    else:
        labels = Labels(names=faces)
    return Data(splits["train"], splits["val"], summary, test=splits["test"], labels=(labels,))


def open_unlabelled(config: DataConfig) -> Data:
    """Return the letters of the faces in `glyphs:sans`, or of all faces, without labels."""
    faces = _faces(config.root, FACES, min_faces=1)
    splits = {
        name: Split(
            {"image": np.concatenate([render_letters(face, config.crop_size)[indices] for face in faces])}, aligned=True
        )
        for name, indices in split_indices().items()
    }
    summary = f"letters in {len(faces)} faces of DejaVu: {len(splits['train'])}, {len(splits['val'])} in val"
    return Data(splits["train"], splits["val"], summary, test=splits["test"])


def open_latin(face: str, size: int) -> Data:
    """Return columns `image` and `label`, the base letter A to Z without accents and case. Others are left out."""
    splits = {
        name: Split({"image": render_letters(face, size)[indices], "label": _class_numbers(indices)}, aligned=True)
        for name, indices in latin_indices().items()
    }
    summary = f"A to Z of DejaVu {face}, with accents: {len(splits['train'])}, {len(splits['val'])} in val"
    labels = (Labels(names=tuple(LATIN)),)
    return Data(splits["train"], splits["val"], summary, test=splits["test"], labels=labels)


def open_transfer(config: DataConfig) -> Data:
    """Return `source` and `label` as `open_latin`, and as `target` the same letters of another face, unpaired.

    In val and test they are pairs, so that the ground truth is known.
    """
    first, second = (_faces(root or "", (), min_faces=1)[0] for root in (config.root, config.target_root))
    splits = {}
    for name, indices in latin_indices().items():
        source, target = (render_letters(face, config.crop_size)[indices] for face in (first, second))
        columns = {"source": source, "label": _class_numbers(indices), "target": target}
        groups = () if name != "train" else (("source", "label"), ("target",))
        splits[name] = Split(columns, aligned=name != "train", groups=groups, labels=Labels(names=tuple(LATIN)))
    summary = f"A to Z of DejaVu {first}, target domain {second}: {len(splits['train'])}, {len(splits['val'])} in val"
    labels, domains = (Labels(names=tuple(LATIN)),), {"source": first, "target": second}
    return Data(splits["train"], splits["val"], summary, test=splits["test"], labels=labels, domains=domains)


def latin_indices() -> dict[str, np.ndarray]:
    """Return `split_indices` of the letters whose base letter is A to Z."""
    return {
        name: np.array([index for index in indices if base_letter(letters()[index])])
        for name, indices in split_indices().items()
    }


def _class_numbers(indices: np.ndarray) -> list[int]:
    """Return the class numbers of letters."""
    return [LATIN.index(base_letter(letters()[index])) for index in indices]


def base_letter(letter: str) -> str:
    """Return the letter A to Z that a letter is without accents; empty for other letters."""
    base = unicodedata.normalize("NFKD", letter)[0].upper()
    return base if base in LATIN else ""


def _faces(root: str, default: Sequence[str], min_faces: int = 2) -> tuple[str, ...]:
    """Return the faces in `root`, such as `glyphs:sans/mono`. Raises DataError for unknown or too few faces."""
    faces = tuple(root.partition(":")[2].split("/")) if ":" in root else tuple(default)
    if len(set(faces)) < min_faces or any(face not in FACES for face in faces):
        raise DataError(f"{root!r}: expected glyphs:FACE/FACE with two or more of {', '.join(FACES)}")
    return faces


@lru_cache(maxsize=1)
def letters() -> tuple[str, ...]:
    """Return the letters that all twelve faces have, by code point."""
    from matplotlib.ft2font import FT2Font

    common = set.intersection(*(set(FT2Font(str(file_of(face))).get_charmap()) for face in FACES))
    return tuple(chr(code) for code in sorted(common) if unicodedata.category(chr(code)).startswith("L"))


@lru_cache(maxsize=1)
def lookalikes() -> np.ndarray:
    """Return for each letter the index of the first letter with an equal image in some face, transitively.

    The masks of a simple layout are equal where the images are, and take a third of the time of rendered images: each
    process that opens letters computes this.
    """
    first = np.arange(len(letters()))
    for face in FACES:
        font = ImageFont.truetype(str(file_of(face)), _font_size(32), layout_engine=ImageFont.Layout.BASIC)
        index_of: dict[tuple[Any, ...], int] = {}
        for index, letter in enumerate(letters()):
            mask, offset = font.getmask2(letter, "L", anchor="ms")
            equal = index_of.setdefault((bytes(mask), mask.size, offset), index)
            smaller, larger = sorted((first[equal], first[index]))
            if smaller != larger:
                first[first == larger] = smaller
    return first


@lru_cache(maxsize=1)
def split_indices() -> dict[str, np.ndarray]:
    """Return indices into `letters()`: 80 % train, 10 % val, 10 % test, by a hash of the first of equal letters."""
    bucket = np.array([zlib.crc32(letters()[first].encode()) % 10 for first in lookalikes()])
    return {
        "train": np.flatnonzero(bucket > 1),
        "val": np.flatnonzero(bucket == 1),
        "test": np.flatnonzero(bucket == 0),
    }


@lru_cache(maxsize=32)
def render_letters(face: str, size: int) -> np.ndarray:
    """Return all letters in one face: (letters, size, size, 1) uint8, black on white, on one baseline."""
    font = ImageFont.truetype(str(file_of(face)), _font_size(size))
    return np.stack([_draw(letter, font, size) for letter in letters()])[..., None]


def _font_size(size: int) -> int:
    """Return the size of the font in images of this many pixels."""
    return round(0.66 * size)


def _draw(letter: str, font: ImageFont.FreeTypeFont, size: int) -> np.ndarray:
    image = Image.new("L", (size, size), 255)
    ImageDraw.Draw(image).text((size / 2, 0.72 * size), letter, fill=0, font=font, anchor="ms")
    return np.asarray(image)


def file_of(face: str) -> Path:
    """Return the font file of a face such as `serif-bolditalic`."""
    import matplotlib

    family, _, style = face.partition("-")
    name = FILES[family] + ("-" + STYLES[style] if style else "")
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
