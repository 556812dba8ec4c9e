"""Translation of videos and animations, frame by frame, with one style and with statistics frozen over each scene.

A thread decodes, the caller's thread translates, and another thread encodes; a few frames wait between them, so that
memory does not grow with the length of the clip.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from diptych.data.images import image_io
from diptych.errors import ConfigError, ImageError, listed
from diptych.inference.video_clips import (
    MAX_DAMAGED,
    WHOLE_CLIP,
    ClipOptions,
    ClipWriter,
    Frame,
    Item,
    create_clip,
    open_clip,
    time_text,
)
from diptych.inference.video_scenes import scene_statistics, with_first_frames
from diptych.networks.normalisation_statistics import Statistics, frozen_statistics
from diptych.system.atomic_files import atomic_write

if TYPE_CHECKING:
    from diptych.inference.translator import Translator

QUEUE = 4  # frames that wait to be translated, and to be encoded
Progress = Callable[[int, int], None]  # frames done, frames in total as far as the file says
StatisticsOf = Literal["scene", "frame"]


def translate_clip(
    translator: "Translator",
    source: str | Path,
    target: str | Path,
    options: ClipOptions = WHOLE_CLIP,
    controls: Mapping[str, Any] | None = None,
    statistics: StatisticsOf = "scene",
    progress: Progress | None = None,
) -> int:
    """Translate a video, a GIF or an animated WebP, and return the number of frames.

    Timestamps are kept; audio and subtitles of videos are copied. The controls are the same for all frames.
    `statistics` says over what normalisation layers take mean and variance. The target is complete or absent. Raises
    ConfigError, or ImageError; frames that cannot be decoded are left out and listed in an ImageError at the end.
    """
    source, target = Path(source), Path(target)
    if target.exists() and source.exists() and target.samefile(source):
        raise ImageError(f"{target} would be replaced by its translation: choose another name")
    prepared = translator.prepare_controls(controls or {})
    _check_encodings(translator, prepared)
    frames = 0
    with open_clip(source, options) as reader, atomic_write(target) as part:
        writer = create_clip(part, target, reader, options)
        try:
            with read_ahead(reader.items()) as items, write_behind(writer) as write:
                for item in _translated(translator, items, prepared, statistics, str(source)):
                    write(item)
                    frames += isinstance(item, Frame)
                    if progress and isinstance(item, Frame):
                        progress(frames, max(frames, reader.format.frames or 0))
            writer.close()
        except BaseException:
            writer.abort()
            raise
        damaged = reader.damaged()
    if damaged:
        times = listed([time_text(time) for time in damaged], MAX_DAMAGED)
        raise ImageError(
            f"{source}: {len(damaged)} of {frames + len(damaged)} frames cannot be decoded, at {times}; {target} has "
            f"the other {frames}"
        )
    return frames


def _translated(
    translator: "Translator",
    items: Iterable[Item],
    controls: Mapping[str, Any],
    statistics: StatisticsOf,
    label: str,
) -> Iterator[Item]:
    """Yield the translation of each frame; packets of other streams are yielded as they are."""
    pairs = with_first_frames(items) if statistics == "scene" else ((item, None) for item in items)
    frozen: list[Statistics] = []
    for item, first_frames in pairs:
        if not isinstance(item, Frame):
            yield item
            continue
        if first_frames is not None:
            frozen = scene_statistics(translator, controls, first_frames, label)
        with frozen_statistics(frozen) if statistics == "scene" else nullcontext():
            pixels = translator.array(item.pixels, label, np.dtype(np.uint8), **controls)
        yield replace(item, pixels=np.ascontiguousarray(image_io.with_channels(pixels, 3, label)))


def _check_encodings(translator: "Translator", controls: Mapping[str, Any]) -> None:
    """Raise ConfigError for images that the frames of a video cannot hold."""
    adapter = translator.adapter(controls)
    if adapter.source_encoding.num_classes or adapter.target_encoding.stored_dtype:
        raise ConfigError(
            f"{translator.name} translates class ids or values that videos do not hold: extract frames with `diptych "
            f"data frames`, and translate these"
        )


@contextmanager
def read_ahead(items: Iterable[Item]) -> Iterator[Iterator[Item]]:
    """Yield an iterator over items that a thread produces; its exceptions are raised where they are awaited."""
    waiting: queue.Queue[Any] = queue.Queue(QUEUE)
    stopped = threading.Event()

    def put(value: Any) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(value, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def produce() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
            put((None, None))
        except BaseException as error:
            put((None, error))

    def consume() -> Iterator[Item]:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item

    thread = threading.Thread(target=produce, name="decode", daemon=True)
    thread.start()
    try:
        yield consume()
    finally:
        stopped.set()
        thread.join()


@contextmanager
def write_behind(writer: ClipWriter) -> Iterator[Callable[[Item], None]]:
    """Yield a function that hands items to a thread, which writes them. It raises the error of an earlier item."""
    waiting: queue.Queue[Any] = queue.Queue(QUEUE)
    failures: list[BaseException] = []

    def consume() -> None:
        while (item := waiting.get()) is not None:
            if failures:
                continue  # empties the queue, so that `write` does not wait forever
            try:
                writer.write(item)
            except BaseException as error:
                failures.append(error)

    def write(item: Item) -> None:
        if failures:
            raise failures[0]
        waiting.put(item)

    thread = threading.Thread(target=consume, name="encode", daemon=True)
    thread.start()
    try:
        yield write
    finally:
        waiting.put(None)
        thread.join()
    if failures:
        raise failures[0]
