"""Small clips that tests make, and readers of what is in a clip."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

TEXT = b"hello"


def panned(count: int, height: int = 48, width: int = 64, step: int = 4, seed: int = 0) -> list[np.ndarray]:
    """Frames of a camera that moves over a large image by `step` pixels a frame, back and forth."""
    generator = np.random.default_rng(seed)
    reach = 12
    coarse = generator.integers(0, 256, (height // 8 + 1, (width + reach * step) // 8 + 2, 3))
    scene = np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint8)
    starts = [step * abs((number + reach) % (2 * reach) - reach) for number in range(count)]
    return [np.ascontiguousarray(scene[:height, start : start + width]) for start in starts]


def write_clip(
    path: Path, frames, times=None, rate=Fraction(30000, 1001), audio=False, subtitles=False, rotation=0, intra=False
):
    """Write a video; `times` are presentation timestamps in units of 1 / `rate.numerator` seconds."""
    step = rate.denominator
    times = times or [number * step for number in range(len(frames))]
    timescale = {"video_track_timescale": str(rate.numerator)}
    with av.open(str(path), "w", container_options=timescale if path.suffix == ".mp4" else {}) as out:
        stream = out.add_stream("libx264", rate=rate, options={"crf": "12", "preset": "ultrafast"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, rate.numerator)
        if intra:
            stream.codec_context.gop_size = 1
        if rotation:
            stream.set_display_rotation(rotation)
        sound = out.add_stream("aac", rate=16000, layout="mono") if audio else None
        spoken = out.add_mux_stream("mov_text") if subtitles else None
        for pixels, time in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, rate.numerator)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if sound:
            _write_audio(out, sound, (times[-1] + step) / rate.numerator)
        if spoken:
            _write_subtitle(out, spoken)


def _write_audio(out, stream, seconds):
    values = np.sin(np.arange(int(seconds * 16000)) / 7)
    for start in range(0, len(values), 1024):
        part = (8000 * values[None, start : start + 1024]).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, start, Fraction(1, 16000)
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def _write_subtitle(out, stream):
    packet = av.Packet(len(TEXT).to_bytes(2, "big") + TEXT)
    packet.stream, packet.time_base = stream, Fraction(1, 1000)
    packet.pts = packet.dts = 100
    packet.duration = 400
    out.mux(packet)


def packets(path: Path, kind: str) -> list[tuple[int, bytes]]:
    """Timestamps and bytes of all packets of the first stream of a kind."""
    with av.open(str(path)) as container:
        stream = next(each for each in container.streams if each.type == kind)
        return [(packet.pts, bytes(packet)) for packet in container.demux(stream) if packet.size]


def decoded(path: Path) -> list[tuple[Fraction, np.ndarray]]:
    """Time in seconds and pixels of all frames of a video."""
    with av.open(str(path)) as container:
        return [(frame.pts * frame.time_base, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def damage(path: Path, number: int) -> None:
    """Overwrite the bytes of one video packet."""
    data = bytearray(path.read_bytes())
    packet = packets(path, "video")[number][1]
    start = data.index(packet)
    data[start : start + len(packet)] = bytes(len(packet))
    path.write_bytes(data)
