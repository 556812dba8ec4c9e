"""Translation of large images from files and arrays to files and arrays."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diptych.errors import ImageError
from diptych.inference.formats.opening import create_sink, open_source
from diptych.inference.formats.partial_sink import partial_folder
from diptych.inference.large_images import ArraySink, ArraySource, Sink, Source
from diptych.inference.memory_estimate import bytes_per_pixel, memory_for_images
from diptych.inference.sampled_statistics import Foreground, Progress, silent
from diptych.inference.tiles import OutputFormat, StatisticsChoice, TileOptions, translate_in_tiles

if TYPE_CHECKING:
    from diptych.inference.translator import Translator

SMALL = 2**20  # pixels; smaller images are not estimated
STATISTICS_SUFFIX = ".statistics.safetensors"


def translate_large(
    translator: "Translator",
    source: "str | Path | np.ndarray | Source",
    sink: "str | Path | np.ndarray | Sink | None" = None,
    *,
    tile: int | None = None,
    samples: int = 16,
    statistics: StatisticsChoice = "sampled",
    foreground: Foreground = None,
    progress: Progress = silent,
    overviews: bool = False,
    **controls: Any,
) -> np.ndarray | None:
    """Translate an image in tiles to a file, an array or a sink; without one, return the translation as an array.

    `tile`, `samples`, `statistics` and `foreground` are as in `TileOptions`. `progress` is called with what is done,
    steps done and steps in total. A file is complete or absent. If the process is killed, the same call goes on;
    statistics of norms are kept beside the file, as NAME.statistics.safetensors. `overviews` adds reduced levels to a
    file. Raises ImageError, or ConfigError for a method or options without tiles.
    """
    options = TileOptions(tile, samples, statistics, foreground)
    controls = translator.prepare_controls(controls)
    label = str(source) if isinstance(source, str | Path) else "image"
    opened = _open(translator, source, controls)
    output = OutputFormat(translator, opened, controls)
    shape = (output.height, output.width, output.channels)
    result = folder = statistics_path = None
    if sink is None:
        result = np.empty(shape, output.dtype)
        sink = ArraySink(result)
    elif isinstance(sink, np.ndarray):
        sink = ArraySink(sink)
    elif isinstance(sink, str | Path):
        path = Path(sink)
        if isinstance(source, str | Path) and path.exists() and path.samefile(source):
            raise ImageError(f"{path} would be replaced by its translation: choose another name")
        folder, statistics_path = partial_folder(path), path.with_name(path.name + STATISTICS_SUFFIX)
        target = translator.adapter(controls).target
        names = target.channel_names if target else ()
        sink = create_sink(path, opened, *shape, output.dtype, overviews=overviews, channel_names=names)
    translate_in_tiles(translator, opened, sink, options, controls, progress, folder, statistics_path, label)
    return result


def needs_tiles(translator: "Translator", pixels: np.ndarray, controls: Mapping[str, Any]) -> bool:
    """Return whether the feature maps of an ordinary image (H, W, C) need more than half of the free memory."""
    traits, area = translator.method.traits, pixels.shape[0] * pixels.shape[1]
    if area < SMALL or traits.fixed_size or translator.options.scale == "training":
        return False
    size = bytes_per_pixel(translator.method, translator.channels_in(controls), controls)
    return size * area > memory_for_images()


def translate_pixels_in_tiles(
    translator: "Translator",
    pixels: np.ndarray,
    label: str,
    dtype: np.dtype[Any] | None,
    options: TileOptions,
    controls: Mapping[str, Any],
) -> np.ndarray:
    """Return the translation (H, W, C) of an image in memory, in tiles. Raises ImageError or ConfigError."""
    source, whole = ArraySource(translator.adapter(controls).cut(pixels)), translator.with_options(half="none")
    output = OutputFormat(whole, source, controls, dtype)
    result = np.empty((output.height, output.width, output.channels), output.dtype)
    translate_in_tiles(whole, source, ArraySink(result), options, controls, label=label, dtype=dtype)
    return result


def _open(translator: "Translator", source: "str | Path | np.ndarray | Source", controls: Mapping[str, Any]) -> Source:
    if isinstance(source, str | Path):
        return open_source(source, translator.adapter(controls).source_encoding.kind)
    return ArraySource(source) if isinstance(source, np.ndarray) else source
