"""`diptych data frames`."""

from pathlib import Path
from typing import Annotated

import typer

from diptych.cli.translate_clips import End, Start

EXAMPLE = "diptych data frames debate-1.mp4 debate-2.mp4 -o faces/speaker --fps 2 --crop 320,40,256,256"


def frames(
    clips: Annotated[list[Path], typer.Argument(help="Videos, GIF or animated WebP files.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the images.", show_default=False)],
    fps: Annotated[float, typer.Option(min=0.001, help="Frames to take a second.")] = 2.0,
    crop: Annotated[
        str | None,
        typer.Option(help="Part of each frame to keep, in pixels.", metavar="X,Y,WIDTH,HEIGHT", show_default=False),
    ] = None,
    crop_face: Annotated[
        Path | None,
        typer.Option(
            help="Keep the square around the largest face; frames without one are left out. A YuNet face detector: "
            "face_detection_yunet_2026may.onnx of OpenCV's model zoo.",
            metavar="DETECTOR.onnx",
            show_default=False,
        ),
    ] = None,
    all_frames: Annotated[bool, typer.Option("--all-frames", help="Write all frames, whatever --fps says.")] = False,
    start: Start = None,
    end: End = None,
) -> None:
    """Extract frames of videos as the images of a domain.

    Frames that are near-identical to the one written before are left out, so that a still scene does not dominate.
    """
    from rich.console import Console

    from diptych.cli.translate_clips import clip_options
    from diptych.errors import ConfigError
    from diptych.system.terminal import progress_bar
    from diptych.workflows.clip_frames import extract_frames, parse_crop
    from diptych.workflows.face_crops import FaceCrop

    if crop and crop_face:
        raise ConfigError("--crop and --crop-face both choose the part to keep: give one")
    options = clip_options(start, end, None, None)
    part = FaceCrop(crop_face) if crop_face else parse_crop(crop) if crop else None
    with progress_bar(Console(stderr=True), "frames") as progress:
        counts = extract_frames(clips, out, None if all_frames else fps, part, options, progress)
    dropped = f"; {counts.dropped} near-identical ones left out" if counts.dropped else ""
    faceless = f"; {counts.faceless} without a face left out" if counts.faceless else ""
    typer.echo(f"{counts.written} images in {out}{dropped}{faceless}")
