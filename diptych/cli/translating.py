"""`diptych translate`."""

from pathlib import Path
from typing import Annotated

import typer


def translate(
    model: Annotated[str, typer.Argument(help="a run folder, a model folder, or a hub id", show_default=False)],
    images: Annotated[
        list[str],
        typer.Argument(help="image files, folders, or quoted patterns such as 'in/**/*.png'", show_default=False),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="folder for the translations, which keep their names", show_default=False),
    ],
    control: Annotated[
        list[str] | None, typer.Option("--control", "-c", help="key=value, such as direction=b2a", show_default=False)
    ] = None,
    which: Annotated[str, typer.Option(help="of a run folder: the last or the best checkpoint")] = "last",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda")] = "auto",
    overwrite: Annotated[bool, typer.Option(help="replace files that are there already")] = False,
) -> None:
    """Translate images, of any size, keeping names, sizes and bit depth."""
    from rich.progress import track

    from diptych.data import image
    from diptych.errors import ConfigError
    from diptych.translator import load

    if which not in ("last", "best"):
        raise ConfigError(f"--which {which}: choose last or best")
    jobs = _jobs(images, out, overwrite)
    translator = load(model, device=device, which=which)
    controls = _controls(translator, control or [])
    for source, target in track(jobs.items(), "translating"):
        image.write(target, translator.array(image.read(source), str(source), **controls))
    typer.echo(f"{len(jobs)} images in {out}")


def _jobs(given: list[str], out: Path, overwrite: bool) -> dict[Path, Path]:
    """Source and target of each image. Everything that would go wrong is found before the first is translated."""
    from diptych.errors import DataError

    targets: dict[Path, Path] = {}
    for pattern in given:
        for source, name in _found(pattern):
            targets.setdefault(source, out / name)
    if not targets:
        raise DataError(f"no images among {', '.join(given)}")
    seen: dict[Path, Path] = {}
    for source, target in targets.items():
        if target in seen:
            raise DataError(f"{source} and {seen[target]} would both become {target}: translate them into two folders")
        if target.resolve() == source.resolve():
            raise DataError(f"{source} would be replaced by its translation: choose another folder with -o")
        if target.exists() and not overwrite:
            raise DataError(f"{target} is there already; give --overwrite, or another folder with -o")
        seen[target] = source
    return targets


def _found(pattern: str) -> list[tuple[Path, Path]]:
    """Images and the names they keep: paths below a folder or a pattern's fixed part, else the file's own name."""
    import glob
    from itertools import takewhile

    from diptych.data import image
    from diptych.errors import DataError

    path = Path(pattern).expanduser()
    if path.is_dir():
        return [(file, file.relative_to(path)) for file in sorted(path.rglob("*")) if image.is_image(file)]
    if path.exists():
        if not image.is_image(path):
            raise DataError(f"{path}: not an image by its name; Diptych reads {', '.join(sorted(image.SUFFIXES))}")
        return [(path, Path(path.name))]
    found = [Path(name) for name in sorted(glob.glob(str(path), recursive=True)) if image.is_image(Path(name))]
    if not found:
        raise DataError(f"{pattern}: no such image, folder or pattern with images")
    root = Path(*takewhile(lambda part: not glob.has_magic(part), path.parts))
    return [(file, file.relative_to(root)) for file in found]


def _controls(translator: "object", given: list[str]) -> dict[str, object]:
    """`key=value` with each value in the type of the control's default."""
    from diptych.errors import ConfigError

    known = {control.name: control for control in translator.controls}  # type: ignore[attr-defined]
    values = {}
    for pair in given:
        key, equals, text = pair.partition("=")
        if not equals:
            raise ConfigError(f"--control {pair}: controls are written key=value")
        kind = type(known[key].default) if key in known else str
        try:
            values[key] = kind(text)
        except ValueError as error:
            raise ConfigError(f"--control {key}={text}: {kind.__name__} wanted") from error
    return values
