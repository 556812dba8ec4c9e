"""File names and formats of translations: decided from headers, before an image is translated."""

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from diptych.data.images import image_io
from diptych.data.images.image_io import Header, Kind
from diptych.errors import ConfigError, DataError, ImageError
from diptych.inference.image_translator import ImageTranslator

LOSSY = (".jpg", ".jpeg", ".jfif", ".webp")  # formats that change pixel values, or the number of channels
FALLBACKS = (".png", ".tif", ".npy")  # formats to write if that of the source cannot hold the translation


class Stored(NamedTuple):
    """Data type and number of channels of a translation in its file."""

    dtype: np.dtype[Any]
    channels: int
    alpha: bool = False  # whether the last of four channels is alpha


@dataclass(frozen=True)
class FilePlan:
    """How translations are written, by source file (a path or a `StoredFile`).

    `headers` and `stored` lack files that cannot be read.
    """

    names: Mapping[Any, Path]  # relative path of each translation
    headers: Mapping[Any, Header]
    stored: Mapping[Any, Stored]
    keeps_alpha: bool
    is_label_map: bool

    def jobs(self, out: Path, overwrite: bool, skip_existing: bool) -> dict[Path, Path]:
        """Return the target in `out` of each source to translate. Raises DataError for every clash of names."""
        jobs: dict[Path, Path] = {}
        sources: dict[Path, Path] = {}
        for source, name in self.names.items():
            target = out / name
            if target in sources:
                raise DataError(
                    f"{source} and {sources[target]} would both become {target}: translate them into two folders"
                )
            if os.path.realpath(target) == os.path.realpath(source):  # unlike Path.resolve, accepts link loops
                raise DataError(f"{source} would be replaced by its translation: choose another folder with -o")
            sources[target] = source
            if not target.exists() or overwrite:
                jobs[source] = target
            elif not skip_existing:
                raise DataError(
                    f"{target} already exists; give --overwrite, --skip-existing, or another folder with -o"
                )
        return jobs


def plan_files(
    translator: ImageTranslator,
    controls: dict[str, Any],
    sources: Mapping[Any, Path],
    suffix: str | None,
    alpha: str,
    draws_grid: bool,
    say: Callable[[str], None],
) -> FilePlan:
    """Return how the translation of each source is written. Raises ConfigError if `suffix` cannot hold it.

    `sources` maps files to relative paths. `alpha` is white or keep. `draws_grid`: write sample grids instead.
    `say` takes notes for the user, each on one line.
    """
    adapter = translator.adapter(controls)
    adapter.prepare()
    headers, target = _headers(sources, adapter.kind), adapter.target_encoding
    keeps_alpha = _keeps_alpha(alpha, translator, controls, headers.values(), draws_grid, say)
    stored = _stored(translator, controls, headers, keeps_alpha, draws_grid)
    is_label_map = not draws_grid and target.num_classes is not None
    ending = suffix or (".png" if draws_grid else "")
    names = _names(sources, stored, ending, is_label_map, target.stored_dtype is None, say)
    return FilePlan(names, headers, stored, keeps_alpha, is_label_map)


def _headers(sources: Iterable[Path], kind: Kind) -> dict[Path, Header]:
    """Return the header of each image, read as `kind`.

    Files that cannot be read are left out; translating them raises the error.
    """
    headers = {}
    for source in sources:
        with suppress(ImageError):
            headers[source] = image_io.probe(source, kind)
    return headers


def _keeps_alpha(
    alpha: str,
    translator: ImageTranslator,
    controls: dict[str, Any],
    headers: Iterable[Header],
    draws_grid: bool,
    say: Callable[[str], None],
) -> bool:
    """Return whether translations get the alpha of their sources; say it if it is lost. Raises ConfigError."""
    adapter = translator.adapter(controls)
    target = adapter.target_encoding
    channels = translator.channels_out(controls)
    if alpha == "keep":
        if draws_grid or target.num_classes or channels not in (1, 3):
            output = "a sample grid" if draws_grid else "a label map" if target.num_classes else f"{channels} channels"
            raise ConfigError(f"--alpha keep: the output is {output}, which cannot have transparency: leave it out")
        return True
    images = list(headers)
    count = sum(header.alpha for header in images)
    if count and adapter.kind in ("colour", "values"):
        hint = "" if draws_grid else "; --alpha keep copies it to the translations"
        which = f"{count} of {len(images)} images have" if len(images) > 1 else "the image has"
        say(f"{which} transparency: composited over white{hint}")
    return False


def _stored(
    translator: ImageTranslator,
    controls: dict[str, Any],
    headers: Mapping[Any, Header],
    keeps_alpha: bool,
    draws_grid: bool,
) -> dict[Path, Stored]:
    """Return data type and channels of the translation of each source."""
    if draws_grid:
        return dict.fromkeys(headers, Stored(np.dtype(np.uint8), 3))
    adapter = translator.adapter(controls)
    channels = 1 if adapter.target_encoding.num_classes else translator.channels_out(controls)
    stored = {}
    for source, header in headers.items():
        has_alpha = keeps_alpha and header.alpha
        dtype = adapter.dtype_of_files(np.dtype(header.dtype))
        stored[source] = Stored(dtype, 4 if has_alpha else channels, has_alpha or adapter.target_encoding.alpha)
    return stored


def _names(
    sources: Mapping[Any, Path],
    stored: Mapping[Any, Stored],
    suffix: str,
    is_label_map: bool,
    depth_is_free: bool,
    say: Callable[[str], None],
) -> dict[Path, Path]:
    """Return the relative path of each translation: with `suffix`, else as the source, else in a format that holds it.

    Label maps need a lossless format. `depth_is_free`: `--depth` may choose another bit depth. Raises ConfigError if
    `suffix` cannot hold a translation.
    """
    names, changed = {}, {}
    for source, name in sources.items():
        ending = suffix or name.suffix
        if source in stored:
            dtype, channels, alpha = stored[source]
            formats = image_io.suffixes_for(dtype, channels, alpha)
            if is_label_map:
                formats = tuple(known for known in formats if known not in LOSSY)
            if ending.lower() not in formats:
                content = "class ids" if is_label_map else f"{dtype} with {channels} channels"
                reason = f"{ending} cannot hold {content}"
                if suffix:
                    can_be_8_bit = depth_is_free and dtype != "uint8" and channels in (1, 3)
                    hint = " or --depth 8" if can_be_8_bit else ""
                    raise ConfigError(
                        f"{source}: {reason}, the output of the model: give --suffix {' or '.join(formats)}{hint}"
                    )
                ending = next(known for known in FALLBACKS if known in formats)
                changed[reason] = ending
        names[source] = name.with_suffix(ending)
    for reason, ending in changed.items():
        say(f"{reason}: written as {ending}")
    return names
