"""`diptych translate` of videos, GIF and animated WebP files."""

import glob
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from diptych.inference.image_translator import ImageTranslator
    from diptych.inference.video_clips import ClipOptions

MAX_FAILURES = 20  # clips that could not be translated, listed in the error

Codec = Annotated[
    str | None,
    typer.Option(help="Encoder of videos, such as libx264, libx265, libvpx-vp9 or libsvtav1.", show_default="libx264"),
]
Crf = Annotated[
    int | None,
    typer.Option(help="Constant rate factor of videos: lower is better and larger.", show_default="18 for libx264"),
]
Start = Annotated[
    str | None,
    typer.Option("--from", help="Start of a video: seconds or hh:mm:ss.", metavar="TIME", show_default="its start"),
]
End = Annotated[
    str | None,
    typer.Option("--to", help="End of a video: seconds or hh:mm:ss.", metavar="TIME", show_default="its end"),
]
FrameStatistics = Annotated[
    bool,
    typer.Option("--frame-statistics", help="Normalise each frame of a video, or slice of a volume, by itself."),
]


def find_clips(given: Sequence[str], out: Path, suffix: str | None) -> dict[Path, Path]:
    """Return the clips among files, patterns and folders without images, with the file of each translation.

    `out` is the file of one clip if its name is that of a clip; else it is a folder. Empty if there are no clips.
    Raises DataError for clips mixed with other files.
    """
    from diptych.errors import DataError
    from diptych.inference.video_clips import ANIMATIONS, VIDEOS

    clips: dict[Path, Path] = {}
    others = []
    for name in given:
        found = dict(_clips_of(name, out))
        clips |= found
        if not found:
            others.append(name)
    if not clips:
        return {}
    if len({*clips.values()}) < len(clips):
        raise DataError("two of the clips have one name: translate them into two folders")
    if others:
        raise DataError(f"{next(iter(clips))} is a clip, and {others[0]} is not: translate them by two commands")
    if out.suffix.lower() not in VIDEOS + ANIMATIONS or out.is_dir():
        return {clip: out / (name.with_suffix(suffix) if suffix else name) for clip, name in clips.items()}
    if len(clips) > 1:
        raise DataError(f"-o {out} is the name of one clip, and there are {len(clips)}: give a folder")
    return dict.fromkeys(clips, out)


def _clips_of(name: str, out: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the clips of one argument, and the relative paths of their translations. Files in `out` are left out."""
    from diptych.data.sources.folders import files_below, is_image_name
    from diptych.inference.video_clips import ANIMATIONS, VIDEOS, is_clip

    path = Path(name).expanduser()
    if path.is_dir():
        names = list(files_below(path, None if path.resolve().is_relative_to(out.resolve()) else out))
        if not any(is_image_name(file.name) for file in names):
            yield from ((file, file.relative_to(path)) for file in names if is_clip(file))
    elif path.is_file():
        if is_clip(path):
            yield path, Path(path.name)
    elif path.suffix.lower() in VIDEOS + ANIMATIONS:
        for match in sorted(glob.glob(str(path), recursive=True)):
            if is_clip(Path(match)):
                yield Path(match), Path(Path(match).name)


def clip_options(start: str | None, end: str | None, codec: str | None, crf: int | None) -> "ClipOptions":
    """Return the options of a clip as checked values. Raises ConfigError."""
    from diptych.inference.video_clips import ClipOptions, seconds_of

    times = [None if text is None else seconds_of(text) for text in (start, end)]
    return ClipOptions(times[0], times[1], codec, crf)


def refuse_image_options(draws_grid: bool, alpha: str, depth: str | None) -> None:
    """Raise ConfigError for options that clips do not have."""
    from diptych.errors import ConfigError

    given = {"--all-domains or --styles": draws_grid, "--alpha keep": alpha == "keep", "--depth": depth is not None}
    for option, is_given in given.items():
        if is_given:
            raise ConfigError(f"{option} is not supported for videos, animations and volumes: leave it out")


def translate_clips(
    translator: "ImageTranslator",
    controls: Mapping[str, Any],
    jobs: Mapping[Path, Path],
    options: "ClipOptions",
    frame_statistics: bool,
) -> None:
    """Translate each clip to its target, with a progress bar. Raises ImageError that lists all problems."""
    from rich.console import Console

    from diptych.errors import ImageError, listed
    from diptych.inference.translator import Translator
    from diptych.inference.video_translation import StatisticsOf, translate_clip
    from diptych.system.atomic_files import remove_leftovers
    from diptych.system.terminal import progress_bar

    assert isinstance(translator, Translator)  # ONNX files are refused before
    over: StatisticsOf = "frame" if frame_statistics else "scene"
    failures = []
    for source, target in jobs.items():
        remove_leftovers(target.parent)  # of a process that was killed
        with progress_bar(Console(stderr=True), source.name) as progress:
            try:
                frames = translate_clip(translator, source, target, options, controls, over, progress)
                typer.echo(f"{target}: {frames} frames")
            except ImageError as error:
                failures.append(str(error))
    if len(failures) == 1:
        raise ImageError(failures[0])
    if failures:
        raise ImageError(
            f"{len(failures)} of {len(jobs)} clips have problems:\n  " + listed(failures, MAX_FAILURES, "\n  ")
        )
