"""Reading of video files by PyAV: frames upright, with exact timestamps; packets of audio and subtitles as they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diptych.data.images.image_io import MAX_PIXELS
from diptych.errors import ImageError, printable
from diptych.inference.video_clips import ClipFormat, ClipOptions, Colours, Frame, Item, time_text, video_extra

if TYPE_CHECKING:
    from av import VideoFrame, VideoStream
    from av.container import InputContainer

COPIED = ("audio", "subtitle")  # kinds of streams
TURNS = {0: 0, 90: 1, 180: 2, -180: 2, -90: 3}  # quarter turns counterclockwise, by the degrees in a file


@contextmanager
def open_video(path: Path, options: ClipOptions) -> Iterator["VideoReader"]:
    """Yield the reader of a video file. Raises ImageError for a file that is none, or without the extra `video`."""
    with video_extra(path):
        import av
    try:
        container = av.open(str(path), metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise ImageError(f"{path}: not a video that can be read ({_reason(error)})") from error
    with container:
        yield VideoReader(path, container, options)


class VideoReader:
    """The frames of the first video stream within a range of time, and the packets of other streams between them."""

    def __init__(self, path: Path, container: "InputContainer", options: ClipOptions) -> None:
        self.path, self.container, self.options = path, container, options
        stream = container.streams.best("video")
        if stream is None:
            raise ImageError(f"{path}: has no video stream")
        self.stream: VideoStream = stream  # type: ignore[assignment]
        if not 0 < self.stream.width * self.stream.height <= MAX_PIXELS:
            raise ImageError(f"{path}: has frames of {self.stream.width}x{self.stream.height} pixels")
        self.stream.thread_type = "AUTO"
        self.time_base = Fraction(self.stream.time_base or Fraction(1, 1000))
        self.copied: tuple[Any, ...] = tuple(each for each in container.streams if each.type in COPIED)
        context = self.stream.codec_context
        colours = Colours(
            int(context.colorspace), int(context.color_range), int(context.color_trc), int(context.color_primaries)
        )
        rate = self.stream.average_rate or self.stream.guessed_rate
        self.format = ClipFormat(self.time_base, rate, self._count(rate), self._pixel_aspect(), colours)
        self._pending: set[int] = set()  # timestamps of packets whose frames were not decoded yet
        self._is_damaged = False
        self._turns: int | None = None
        self._start: int | None = None  # timestamp of the first frame, which becomes 0 with --from

    def items(self) -> Iterator[Item]:
        """Yield frames upright, and packets of audio and subtitles. Raises ImageError if the file cannot be read on."""
        import av

        if self.options.start:
            self.container.seek(int(self.options.start * 1_000_000))  # to the key frame before
        wanted = [self.stream, *self.copied]
        finished: set[int] = set()
        needed = {each.index for each in wanted if each.type != "subtitle"}  # which may have long gaps
        held: list[Any] = []
        try:
            for packet in self.container.demux(*wanted):
                if self._is_past_end(packet):
                    finished.add(packet.stream.index)
                    if needed <= finished:
                        break
                elif packet.stream.index == self.stream.index:
                    yield from self._decoded(packet)
                elif packet.dts is not None and self._is_inside(packet.pts, packet.time_base):
                    held.append(packet)
                    if not self.options.start or self._start is not None:
                        yield from self._shifted(held)
            yield from self._decoded(None)
            yield from self._shifted(held)
        except (av.error.FFmpegError, OSError) as error:
            raise ImageError(f"{self.path}: cannot be read to its end ({_reason(error)})") from error
        if self._start is None:
            raise ImageError(f"{self.path}: no frame of it can be decoded" + self._range_text())

    def damaged(self) -> list[float]:
        """Return the times of frames that could not be decoded, in seconds."""
        return sorted(float(pts * self.time_base) for pts in self._pending) if self._is_damaged else []

    def _decoded(self, packet: Any) -> Iterator[Frame]:
        """Yield the frames that a packet completes; None: the last ones. Damaged ones are left out."""
        import av

        if packet is not None and packet.pts is not None and self._is_inside(packet.pts, packet.time_base):
            self._pending.add(packet.pts)
        try:
            frames = self.stream.codec_context.decode(packet)
        except av.error.EOFError:  # flushed before
            return
        except av.error.FFmpegError:
            self._is_damaged = True
            return
        for frame in frames:
            if frame.is_corrupt:
                self._is_damaged = True
                continue
            self._pending.discard(frame.pts)
            if frame.pts is None:
                raise ImageError(f"{self.path}: a frame has no timestamp; remux the file: ffmpeg -i IN -c copy OUT.mp4")
            if self._is_inside(frame.pts, self.time_base):
                yield self._frame(frame)

    def _frame(self, frame: "VideoFrame") -> Frame:
        if self._turns is None:
            self._turns = TURNS.get(round(frame.rotation / 90) * 90, 0)
            if self._turns % 2:
                self.format = replace(self.format, pixel_aspect=1 / self.format.pixel_aspect)
        if self._start is None:
            self._start = int(frame.pts or 0) if self.options.start else 0
        pixels = np.rot90(frame.to_ndarray(format="rgb24"), self._turns)
        return Frame(np.ascontiguousarray(pixels), int(frame.pts or 0) - self._start, frame.duration or 0)

    def _shifted(self, held: list[Any]) -> Iterator[Any]:
        """Yield the packets with the time of the first frame as 0 if there is a start, and empty the list."""
        shift = (self._start or 0) * self.time_base
        for packet in held:
            if self.options.start and packet.dts * packet.time_base < shift:
                continue
            ticks = round(shift / packet.time_base)
            packet.dts = packet.dts - ticks
            packet.pts = packet.dts if packet.pts is None else packet.pts - ticks
            yield packet
        held.clear()

    def _is_inside(self, pts: int | None, time_base: Fraction | None) -> bool:
        if pts is None or time_base is None:
            return True
        start, end, time = self.options.start, self.options.end, pts * time_base
        return (start is None or time >= start) and (end is None or time < end)

    def _is_past_end(self, packet: Any) -> bool:
        """Return whether all further frames of the stream are past the end, as timestamps of decoding increase."""
        end = self.options.end
        return end is not None and packet.dts is not None and packet.dts * packet.time_base >= end

    def _count(self, rate: Fraction | None) -> int | None:
        """Return the number of frames to read, for the progress bar; None if the file does not say its duration."""
        duration = float(self.stream.duration * self.time_base) if self.stream.duration else None
        if duration is None and self.container.duration:
            duration = self.container.duration / 1_000_000
        if self.options.start is None and self.options.end is None and self.stream.frames:
            return self.stream.frames
        if duration is None or not rate:
            return None
        end = duration if self.options.end is None else min(duration, self.options.end)
        return max(1, round((end - (self.options.start or 0)) * rate))

    def _pixel_aspect(self) -> Fraction:
        return Fraction(self.stream.sample_aspect_ratio or 1)

    def _range_text(self) -> str:
        start, end = self.options.start, self.options.end
        if start is None and end is None:
            return ""
        until = "its end" if end is None else time_text(end)
        return f" from {time_text(start or 0)} to {until}"


def _reason(error: Exception) -> str:
    return printable(getattr(error, "strerror", None) or str(error))
