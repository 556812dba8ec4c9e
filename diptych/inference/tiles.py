"""Translation of large images in tiles, with the same bits for every size of the tiles.

Each tile is read with a halo of the pixels that its output depends on (`receptive_field`). Normalisation uses frozen
statistics (`sampled_statistics`), and convolutions are computed in blocks of one shape (`networks.convolution_blocks`).
A tile that is finished is written and noted in a list beside the output: a process that is killed goes on from there.
"""

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from diptych.errors import ConfigError, ImageError
from diptych.inference.finished_tiles import FinishedTiles
from diptych.inference.large_images import Sink, Source, Window
from diptych.inference.memory_estimate import bytes_per_pixel, memory_for_images, memory_for_tiles
from diptych.inference.receptive_field import on_device, reach
from diptych.inference.sampled_statistics import (
    Foreground,
    Networks,
    Progress,
    exact,
    sample_pixels,
    sampled,
    silent,
)
from diptych.inference.statistics_file import load_statistics, save_statistics
from diptych.inference.tile_grid import TileGrid, round_up
from diptych.networks.convolution_blocks import convolutions_in_blocks, recorded_blocks
from diptych.networks.normalisation_statistics import Statistics, frozen_statistics, pooled_statistics
from diptych.runs.checkpoint import digest

if TYPE_CHECKING:
    from diptych.inference.translator import Translator

BLOCK, BLOCK_CUDA = 128, 512  # pixels of an image in a block of a convolution
LARGEST_BATCH = 2**30  # bytes; a constant, so that statistics have the same bits on machines of any memory
SMALLEST_TILE, LARGEST_TILE = 64, 4096  # pixels
StatisticsChoice = Literal["sampled", "whole"] | Path


@dataclass(frozen=True)
class TileOptions:
    """How a large image is translated. `tile` is the height and width of a tile in pixels; None: by memory.

    `statistics` is "sampled" (pooled over `samples` windows), "whole" (exact), or a file that another translation
    wrote. `foreground` restricts samples: an image file that is not 0 there, or "auto" (Otsu's threshold).
    """

    tile: int | None = None
    samples: int = 16
    statistics: StatisticsChoice = "sampled"
    foreground: Foreground = None

    def __post_init__(self) -> None:
        if self.tile is not None and self.tile < 1:
            raise ConfigError(f"tile={self.tile}: expected a number of pixels, or auto")
        if self.samples < 1:
            raise ConfigError(f"samples={self.samples}: expected at least 1")
        if self.foreground is not None and self.statistics != "sampled":
            raise ConfigError(
                f"foreground restricts samples, and statistics={self.statistics} takes none: leave it out"
            )


class OutputFormat:
    """Height, width, channels and dtype of the translation of a large image; `dtype` if given, else as of files."""

    def __init__(
        self, translator: "Translator", source: Source, controls: Mapping[str, Any], dtype: np.dtype[Any] | None = None
    ) -> None:
        adapter, factor = translator.adapter(controls), translator.method.traits.upscale_factor
        is_map = adapter.target_encoding.num_classes is not None
        self.height, self.width = factor * source.height, factor * source.width
        self.channels = 1 if is_map else translator.channels_out(controls)
        self.dtype = dtype or adapter.dtype_of_files(source.dtype)


class TiledTranslation:
    """The translation of an image with prepared controls, tile by tile. Raises ConfigError if that has no tiles."""

    def __init__(
        self,
        translator: "Translator",
        source: Source,
        controls: Mapping[str, Any],
        tile: int | None,
        label: str,
        dtype: np.dtype[Any] | None = None,
    ) -> None:
        if translator.options.scale == "training":
            raise ConfigError("scale=training resizes the entire image, which has no tiles: resize the image before")
        task = translator.adapter(controls).task
        if task and (task.finishes or not translator.options.already_source):
            raise ConfigError(
                f"{translator.name} computes its sources from whole photographs, which has no tiles: give sources, "
                "with --already-source (in Python: translator.with_options(already_source=True))"
            )
        self.translator, self.source, self.controls, self.label = translator, source, controls, label
        self.adapter = translator.adapter(controls)
        if self.adapter.half_of(source.height, source.width) is not None:
            raise ConfigError(f"{label}: side by side as in training, and tiles are of entire files: set half=none")
        self.output = OutputFormat(translator, source, controls, dtype)
        method, self.factor = translator.method, translator.method.traits.upscale_factor
        self.multiple, channels = method.traits.size_multiple, translator.channels_in(controls)
        self.on_device = on_device(controls, translator.device)
        self.reach = reach(method, channels, self.on_device)
        self.bytes_per_pixel = bytes_per_pixel(method, channels, self.on_device)
        self.grid = TileGrid(source.height, source.width, self.multiple, self.reach, 1)
        self.grid = self.grid.with_tile(self._automatic_tile() if tile is None else tile)
        self.sides, self.has_norms = self._examine(channels)

    def _automatic_tile(self) -> int:
        """Return the largest tile whose feature maps fit into memory; with its halo it is a number of blocks."""
        block, halo = self._block(), self.grid.halo
        pixels = memory_for_tiles() / self.bytes_per_pixel
        window = max(int(pixels**0.5) // block * block, block)
        largest = LARGEST_TILE + 2 * halo
        tile = min(window, largest // block * block) - 2 * halo
        return max(tile, round_up(SMALLEST_TILE, self.multiple))

    def _block(self) -> int:
        return round_up(BLOCK_CUDA if self.translator.device.type == "cuda" else BLOCK, self.multiple)

    def _examine(self, channels: int) -> tuple[list[int], bool]:
        """Return the sides of the blocks of convolutions, and whether there are norms over the image."""
        block = torch.zeros(1, channels, self._block(), self._block(), device=self.translator.device)
        with pooled_statistics() as statistics, recorded_blocks() as sides:
            self.translator.method.translate(block, **self.on_device)
        return sides, bool(statistics)

    def networks(self) -> Networks:
        """Return the networks of this translation."""
        return Networks(self.run, self.read, self.grid, self.source, self.label)

    def fits_into_memory(self) -> bool:
        """Return whether the image can be translated as one."""
        return self.bytes_per_pixel * self.grid.padded_height * self.grid.padded_width <= memory_for_images()

    def read(self, window: Window) -> Tensor:
        """Return a window of the padded image as network input (C, height, width) in [-1, 1]. Raises ImageError."""
        pixels = self.adapter.source_encoding.decode(self.grid.read(self.source, window), self.label)
        return self.translator.to_unit_tensor(pixels, self.label, self.controls)

    def run(self, x: Tensor) -> Tensor:
        """Return the translations of (N, C, H, W); norms and convolutions are as the context says."""
        return self.translator.tensors(x, [self.controls], self.label)[0]

    def translate(self, tile: Window, x: Tensor, statistics: list[Statistics]) -> Tensor:
        """Return the translation (C, factor * height, factor * width) of a tile, from its window with halo."""
        with ExitStack() as stack:
            stack.enter_context(frozen_statistics(statistics))
            stack.enter_context(convolutions_in_blocks(self.sides))
            y = self.run(x[None])[0]
        window = self.grid.with_halo(tile)
        top, left = (self.factor * (a - b) for a, b in ((tile.top, window.top), (tile.left, window.left)))
        return y[:, top : top + self.factor * tile.height, left : left + self.factor * tile.width]

    def pixels(self, tile: Window, y: Tensor) -> tuple[Window, np.ndarray]:
        """Return the window of the output that a translated tile fills, and its pixels (H, W, C) to be stored."""
        inside, (rows, columns) = self.grid.inside_image(tile), self.grid.padding
        top, left = (self.factor * start for start in (inside.top + rows - tile.top, inside.left + columns - tile.left))
        window = Window(*(self.factor * length for length in inside))
        y = y[:, top : top + window.height, left : left + window.width]
        encoded = self.adapter.target_encoding.encode(y.permute(1, 2, 0).numpy(), self.output.dtype)
        return window, encoded

    def facts(self) -> dict[str, Any]:
        """Return what statistics of this model and these controls belong to, as plain data."""
        method = self.translator.method
        state = {
            name: value.detach().cpu().contiguous()
            for name, value in method.state_dict().items()
            if name.partition(".")[0] in method.inference_networks
        }
        controls = {name: _plain(value) for name, value in sorted(self.controls.items()) if value is not None}
        return {"model": self.translator.name, "weights": digest(state, ""), "controls": controls}


def translate_in_tiles(
    translator: "Translator",
    source: Source,
    sink: Sink,
    options: TileOptions,
    controls: Mapping[str, Any],
    progress: Progress = silent,
    folder: Path | None = None,
    statistics_path: Path | None = None,
    label: str = "image",
    dtype: np.dtype[Any] | None = None,
) -> None:
    """Translate `source` to `sink` in tiles, and close the sink.

    The list of finished tiles is kept in `folder`; a sink that was resumed goes on after these. Statistics are
    written to `statistics_path`. After an error, or if the process is killed, the sink keeps what is finished.
    Raises ImageError, or ConfigError for a method or options without tiles.
    """
    finished = None
    try:
        job = TiledTranslation(translator, source, controls, options.tile, label, dtype)
        _check_sink(sink, job.output)
        statistics = find_statistics(job, options, progress, statistics_path)
        facts = {**job.facts(), "image": identity(source, label), "dtype": str(job.output.dtype)}
        facts |= {"tile": job.grid.tile, "statistics": _digest(statistics)}
        finished = FinishedTiles(folder, facts, continues=sink.resumed)
        _translate_tiles(job, sink, statistics, finished, progress)
    except BaseException:
        if finished and finished.numbers:
            sink.pause()
        else:
            sink.abort()
        raise
    sink.close()


def _translate_tiles(
    job: TiledTranslation, sink: Sink, statistics: list[Statistics], finished: FinishedTiles, progress: Progress
) -> None:
    """Translate the tiles that are not finished. Raises ImageError."""
    tiles = [(number, tile) for number, tile in enumerate(job.grid.tiles()) if number not in finished.numbers]
    total = len(finished.numbers) + len(tiles)
    for number, tile, x in _read_ahead(job, tiles):
        progress("tiles", len(finished.numbers), total)
        window, pixels = job.pixels(tile, job.translate(tile, x, statistics))
        sink.write(window.top, window.left, pixels)
        sink.flush()
        finished.add(number)
    progress("tiles", total, total)


def find_statistics(
    job: TiledTranslation, options: TileOptions, progress: Progress = silent, path: Path | None = None
) -> list[Statistics]:
    """Return the statistics that the options choose, and write them to `path` if there are some.

    Statistics of the same model, image and options that are at `path` already are used. Raises ConfigError for a
    file of another model or other controls.
    """
    facts = job.facts()
    if isinstance(options.statistics, Path):
        statistics, stored = load_statistics(options.statistics)
        for name, value in facts.items():
            if stored.get(name) != value:
                raise ConfigError(f"{options.statistics}: its statistics were taken with another {name}: take new ones")
        return statistics
    if not job.has_norms:
        return []
    facts |= {"image": identity(job.source, job.label), "statistics": options.statistics}
    facts |= {"samples": options.samples, "foreground": str(options.foreground or "")}
    if path and path.is_file():
        statistics, stored = load_statistics(path)
        if stored == facts:
            return statistics
    progress("statistics", 0, 1)
    if options.statistics == "whole":
        statistics = exact(job.networks(), job.fits_into_memory(), progress)
    else:
        whole = job.grid.padded_height * job.grid.padded_width
        pixels = options.samples * sample_pixels(job.grid)
        if options.foreground is None and whole <= pixels:  # not more work, and exact
            statistics = exact(job.networks(), job.bytes_per_pixel * whole <= LARGEST_BATCH, progress)
        else:
            at_once = job.bytes_per_pixel * pixels <= LARGEST_BATCH
            statistics = sampled(job.networks(), options.samples, options.foreground, at_once, progress)
    if path and statistics:
        save_statistics(path, statistics, facts)
    return statistics


def _read_ahead(job: TiledTranslation, tiles: list[tuple[int, Window]]) -> Iterator[tuple[int, Window, Tensor]]:
    """Yield each tile with its network input; the next one is read by another thread in the meantime."""
    with ThreadPoolExecutor(1) as reader:
        pending = None
        for number, tile in tiles:
            following = reader.submit(job.read, job.grid.with_halo(tile))
            if pending is not None:
                yield pending[0], pending[1], pending[2].result()
            pending = number, tile, following
        if pending is not None:
            yield pending[0], pending[1], pending[2].result()


def identity(source: Source, label: str) -> list[Any]:
    """Return what tells an image from others: name, size, and the length and time of its file."""
    facts: list[Any] = [Path(label).name, source.height, source.width, source.channels, str(source.dtype)]
    path = Path(label)
    if path.is_file():
        stat = path.stat()
        facts += [stat.st_size, stat.st_mtime_ns]
    return facts


def _check_sink(sink: Sink, output: OutputFormat) -> None:
    expected = (output.height, output.width, output.channels, output.dtype)
    if (sink.height, sink.width, sink.channels, np.dtype(sink.dtype)) != expected:
        raise ImageError(
            f"the sink has {sink.height}x{sink.width} pixels of {sink.channels} channels in {sink.dtype}; the "
            f"translation has {output.height}x{output.width} of {output.channels} in {output.dtype}"
        )


def _plain(value: Any) -> Any:
    """Return a control as plain data: images by their digest."""
    return digest({"image": value.cpu().contiguous()}, "") if isinstance(value, Tensor) else value


def _digest(statistics: list[Statistics]) -> str:
    total = hashlib.sha256()
    for mean, variance in statistics:
        total.update(mean.numpy().tobytes() + variance.numpy().tobytes())
    return total.hexdigest()
