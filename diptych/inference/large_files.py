"""Translation of large images from files and arrays to files and arrays."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diptych.errors import ImageError
from diptych.inference.formats.opening import create_sink, open_source
from diptych.inference.formats.partial_sink import partial_folder
from diptych.inference.large_images import ArraySink, ArraySource, Sink, Source
from diptych.inference.sampled_statistics import Progress
from diptych.inference.tiles import OutputFormat, TileOptions, translate_in_tiles

if TYPE_CHECKING:
    from diptych.inference.translator import Translator

STATISTICS_SUFFIX = ".statistics.safetensors"


def translate_large(
    translator: "Translator",
    source: "str | Path | np.ndarray | Source",
    sink: "str | Path | np.ndarray | Sink | None",
    options: TileOptions,
    controls: Mapping[str, Any],
    progress: Progress | None = None,
    **sink_options: Any,
) -> np.ndarray | None:
    """Translate an image in tiles to a file, an array or a sink; without one, return the translation as an array.

    A file is complete or absent. If the process is killed, the same call goes on; statistics of norms are kept beside
    the file, as NAME.statistics.safetensors. `sink_options` are those of `formats.opening.create_sink`. Raises
    ImageError, or ConfigError for a method or options without tiles.
    """
    label = str(source) if isinstance(source, str | Path) else "image"
    opened = _open(translator, source, controls)
    output = OutputFormat(translator, opened, controls)
    shape = (output.height, output.width, output.channels)
    result = folder = statistics = None
    if sink is None:
        result = np.empty(shape, output.dtype)
        sink = ArraySink(result)
    elif isinstance(sink, np.ndarray):
        sink = ArraySink(sink)
    elif isinstance(sink, str | Path):
        path = Path(sink)
        if isinstance(source, str | Path) and path.exists() and path.samefile(source):
            raise ImageError(f"{path} would be replaced by its translation: choose another name")
        folder, statistics = partial_folder(path), path.with_name(path.name + STATISTICS_SUFFIX)
        sink = create_sink(path, opened, *shape, output.dtype, **sink_options)
    translate_in_tiles(translator, opened, sink, options, controls, progress or _silent, folder, statistics, label)
    return result


def _open(translator: "Translator", source: "str | Path | np.ndarray | Source", controls: Mapping[str, Any]) -> Source:
    if isinstance(source, str | Path):
        return open_source(source, translator.adapter(controls).source_encoding.kind)
    return ArraySource(source) if isinstance(source, np.ndarray) else source


def _silent(what: str, done: int, total: int) -> None:
    pass
