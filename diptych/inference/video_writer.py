"""Writing of video files by PyAV: frames are encoded with their own timestamps, other packets are copied."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.errors import ConfigError, ImageError, nearest, printable
from diptych.inference.video_clips import ClipOptions, ClipReader, Frame, Item, video_extra

if TYPE_CHECKING:
    from av import VideoStream

CODECS = {".webm": "libvpx-vp9", ".avi": "mpeg4"}  # of the others H264
H264 = "libx264"
CRF = {"libx264": 18, "libx265": 20, "libvpx-vp9": 24, "libsvtav1": 26, "libaom-av1": 24}  # nearly without visible loss
LIMITED, FULL = 1, 2  # ranges of values
UNKNOWN_MATRIX = 2  # of the numbers of ITU-T H.273; it is read and written as BT.601
SWSCALE_BT601 = 5
SWSCALE_MATRIX = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}  # numbers of FFmpeg's swscale, by those of H.273
FRAME_DURATION = 1 << 8  # FFmpeg's AV_CODEC_FLAG_FRAME_DURATION: packets get the durations of frames


class VideoWriter:
    """Writes frames and packets to a video file. Raises ConfigError for an encoder that does not exist."""

    def __init__(self, path: Path, name: Path, reader: ClipReader, options: ClipOptions) -> None:
        with video_extra(name):
            import av
        self.name, self.format = name, reader.format
        self.reader = reader
        self.codec = options.codec or CODECS.get(name.suffix.lower(), H264)
        try:
            av.Codec(self.codec, "w")
        except ValueError as error:  # av.codec.codec.UnknownCodecError
            known = ", ".join(CRF)
            raise ConfigError(
                f"codec={self.codec}: no such encoder{nearest(self.codec, CRF)}; such as {known}"
            ) from error
        crf = options.crf if options.crf is not None else CRF.get(self.codec)
        if options.crf is not None and self.codec not in CRF:
            raise ConfigError(f"crf: the encoder {self.codec} has no constant rate factor: leave it out")
        self.options = {} if crf is None else {"crf": str(crf)}
        if self.codec == "libvpx-vp9":
            self.options |= {"b": "0", "row-mt": "1"}  # constant quality
        container_options = {"fflags": "+bitexact"}  # Matroska files would have a random identifier
        if name.suffix.lower() in (".mp4", ".m4v", ".mov"):
            container_options["video_track_timescale"] = str(self.format.time_base.denominator)
        self.container = av.open(str(path), "w", container_options=container_options)
        self.stream: VideoStream | None = None
        self.copies: dict[int, Any] = {}
        self.size = (0, 0)
        colours = self.format.colours
        self.colours = colours if colours.matrix in SWSCALE_MATRIX else replace(colours, matrix=UNKNOWN_MATRIX)
        self._early: list[Any] = []  # before the first frame

    def write(self, item: Item) -> None:
        """Encode a frame, or copy a packet. Raises ImageError."""
        import av

        try:
            if isinstance(item, Frame):
                self._encode(item)
            else:
                self._copy(item)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise ImageError(f"{self.name}: cannot be written ({printable(str(error))})") from error

    def close(self) -> None:
        """Encode what is left and complete the file. Raises ImageError."""
        import av

        try:
            if self.stream is not None:
                self.container.mux(self.stream.encode(None))
            self.container.close()
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise ImageError(f"{self.name}: cannot be written ({printable(str(error))})") from error

    def abort(self) -> None:
        """Release the file."""
        import av

        try:
            self.container.close()
        except (av.error.FFmpegError, OSError, ValueError):  # there is an error already
            return

    def _encode(self, frame: Frame) -> None:
        from av import VideoFrame

        if self.stream is None:
            self._start(frame)
        assert self.stream is not None
        if frame.pixels.shape[:2] != self.size:
            height, width = frame.pixels.shape[:2]
            raise ImageError(
                f"{self.name}: a frame has {width}x{height} pixels, and the first {self.size[1]}x{self.size[0]}"
            )
        picture = VideoFrame.from_ndarray(frame.pixels, format="rgb24")
        matrix, full = self.colours.matrix, self.colours.range == FULL
        encoded = picture.reformat(
            format=self.stream.pix_fmt,
            dst_colorspace=SWSCALE_MATRIX.get(matrix, SWSCALE_BT601),
            dst_color_range=FULL if full else LIMITED,
        )
        encoded.colorspace, encoded.color_range = matrix, self.colours.range
        encoded.pts, encoded.time_base, encoded.duration = frame.pts, self.format.time_base, frame.duration
        self.container.mux(self.stream.encode(encoded))

    def _start(self, frame: Frame) -> None:
        """Create the streams for clips of the size of this frame."""
        self.format = self.reader.format  # the pixel aspect of a rotated clip is known from the first frame on
        height, width = self.size = (frame.pixels.shape[0], frame.pixels.shape[1])
        stream: Any = self.container.add_stream(self.codec, rate=self.format.rate or 25, options=self.options)
        stream.width, stream.height = width, height
        stream.pix_fmt = self._pixel_format(stream.codec_context.codec, height, width)
        context = stream.codec_context
        stream.time_base = context.time_base = self.format.time_base
        context.flags |= FRAME_DURATION
        context.sample_aspect_ratio = self.format.pixel_aspect
        context.thread_count = 0  # as many as there are cores
        context.colorspace, context.color_range = self.colours.matrix, self.colours.range
        context.color_trc, context.color_primaries = self.colours.transfer, self.colours.primaries
        for source in self.reader.copied:
            try:
                copy = self.container.add_stream_from_template(source)
            except ValueError as error:
                raise ImageError(
                    f"{self.name}: {self.name.suffix} files cannot hold the {source.type} stream "
                    f"({source.codec_context.name}) of the source: choose its format, or .mkv"
                ) from error
            copy.metadata.update(source.metadata)
            self.copies[source.index] = copy
        self.stream = stream
        for packet in self._early:
            self._copy(packet)
        self._early.clear()

    def _copy(self, packet: Any) -> None:
        if self.stream is None:
            self._early.append(packet)
            return
        packet.stream = self.copies[packet.stream.index]
        self.container.mux_one(packet)

    def _pixel_format(self, codec: Any, height: int, width: int) -> str:
        """Return 4:2:0, which all players show; 4:4:4 for odd sizes if the encoder has it."""
        names = [each.name for each in codec.video_formats or ()]
        wanted = "yuv444p" if (height % 2 or width % 2) and "yuv444p" in names else "yuv420p"
        return wanted if wanted in names or not names else names[0]
