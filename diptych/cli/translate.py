"""`diptych translate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from diptych.cli.allow_code import AllowCode
from diptych.cli.train import Method

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import numpy as np

    from diptych.data.images.image_io import Header
    from diptych.inference.translator import Translator

LOSSY = (".jpg", ".jpeg", ".jfif", ".webp")  # formats that change values, or the number of channels


def translate(
    model: Annotated[str, typer.Argument(help="a run folder, a model folder, or a hub id", show_default=False)],
    images: Annotated[
        list[str], typer.Argument(help="image files, folders, or quoted patterns: 'in/**/*.png'", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="folder for translations, which keep their names", show_default=False)
    ],
    control: Annotated[
        list[str] | None,
        typer.Option("--control", "-c", help="key=value, such as direction=b2a", show_default=False),
    ] = None,
    domain: Annotated[str | None, typer.Option(help="domain to translate to, of those that the model knows")] = None,
    seed: Annotated[int | None, typer.Option(help="which style, of a model that draws them")] = None,
    reference: Annotated[Path | None, typer.Option(help="an image whose style to take, instead of a seed's")] = None,
    all_domains: Annotated[bool, typer.Option(help="a sheet for each image: a row for each domain")] = False,
    styles: Annotated[int, typer.Option(min=1, max=100, help="a sheet for each image, of so many styles")] = 1,
    suffix: Annotated[
        str | None, typer.Option(help="write all in this format, such as .png or .npy", show_default="as the source")
    ] = None,
    scale: Annotated[
        str, typer.Option(help="image: as large as it is; training: resized to the scale of training, and back")
    ] = "image",
    half: Annotated[
        str, typer.Option(help="half of each file to translate: auto (the source, if side by side), left, right, none")
    ] = "auto",
    depth: Annotated[
        str | None, typer.Option(help="bits of translations: 8, 16 or float", show_default="as the target in training")
    ] = None,
    alpha: Annotated[
        str,
        typer.Option(help="transparency of sources: white (composited over it), or keep (as it is in translations)"),
    ] = "white",
    which: Annotated[str, typer.Option(help="of a run folder: the last or the best checkpoint")] = "last",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda")] = "auto",
    overwrite: Annotated[bool, typer.Option(help="replace files that are there already")] = False,
    skip_existing: Annotated[bool, typer.Option(help="leave files that are there already, and go on")] = False,
    method: Method = None,
    allow_code: AllowCode = None,
) -> None:
    """Translate images of any size, keeping names and sizes, in the bit depth of the target domain in training.

    Colour profile, resolution and georeference of an image are copied to its translation.
    """
    from rich.progress import track

    from diptych.data.images import image_io, metadata
    from diptych.errors import ConfigError, ImageError
    from diptych.inference.input_files import find_sources
    from diptych.inference.load import load
    from diptych.inference.preprocessing import copy_alpha
    from diptych.methods import find

    if which not in ("last", "best"):
        raise ConfigError(f"--which {which}: choose last or best")
    if seed is not None and reference is not None:
        raise ConfigError("--seed and --reference each choose the style: give one")
    sheets = all_domains or styles > 1
    found = find_sources(images, out)
    if sheets and depth:
        raise ConfigError(f"--depth {depth}: sheets have 8 bits; leave it out")
    translator = load(model, device=device, which=which, method=find(method) if method else None).with_options(
        scale=scale, half=half, depth=int(depth) if depth and depth.isdecimal() else depth
    )
    named = {"domain": domain, "seed": seed, "reference": reference}
    given = controls_of(translator, control or []) | {name: value for name, value in named.items() if value is not None}
    if not all_domains:
        _tell_default_domain(translator, given)
    controls = translator.prepare_controls(given)
    draw = _sheets(translator, all_domains, styles, controls) if sheets else None
    headers, adapter = _headers(found.images), translator.adapter(controls)
    keeps_alpha = _keeps_alpha(alpha, translator, controls, headers, bool(draw))
    stored = _stored(translator, controls, headers, keeps_alpha, bool(draw))
    exact = not draw and adapter.target_encoding.num_classes is not None
    any_depth = adapter.target_encoding.stored_dtype is None
    names = _names(found.images, stored, suffix or (".png" if sheets else ""), exact, any_depth)
    jobs = _jobs(names, out, overwrite, skip_existing)
    sizes = [(headers[source].height, headers[source].width) for source in jobs if source in headers]
    translator.check_scale(sizes, controls, are_all=True)
    failed = []
    for source, target in track(jobs.items(), "translating"):
        try:
            pixels, label = translator.read(source, **controls), str(source)
            if draw:
                image_io.write(target, draw(pixels, label))
                continue
            made = translator.array(pixels, label, stored[source].dtype if source in stored else None, **controls)
            if keeps_alpha and headers[source].alpha:
                made = copy_alpha(made, adapter.cut(image_io.read(source, "rgba")), label)
            image_io.write(target, made, metadata.read_metadata(source).for_pixels(exact))
        except ImageError as error:
            failed.append(str(error))
    typer.echo(f"{len(jobs) - len(failed)} images in {out}")
    if len(jobs) < len(found.images):
        typer.echo(f"{len(found.images) - len(jobs)} images already there, skipped")
    if found.others:
        typer.echo(f"not translated: {found}")
    if failed:
        more = f"\n  and {len(failed) - 20} more" if len(failed) > 20 else ""
        raise ImageError(f"{len(failed)} of {len(jobs)} could not be translated:\n  " + "\n  ".join(failed[:20]) + more)


def _tell_default_domain(translator: "Translator", given: "Mapping[str, Any]") -> None:
    """Print which domain images are translated to where the user did not choose one."""
    for control in translator.controls:
        if control.name == "domain" and control.default and "domain" not in given:
            others = ", ".join(name for name in control.choices if name != control.default)
            typer.echo(
                f"translating to {control.default}, the first domain; --domain chooses another: {others}", err=True
            )


def _jobs(names: dict[Path, Path], out: Path, overwrite: bool, skip: bool) -> dict[Path, Path]:
    """Source and target of each image; every clash of names is found before the first is translated."""
    import os

    from diptych.errors import DataError

    jobs: dict[Path, Path] = {}
    sources: dict[Path, Path] = {}
    for source, name in names.items():
        target = out / name
        if target in sources:
            raise DataError(
                f"{source} and {sources[target]} would both become {target}: translate them into two folders"
            )
        if os.path.realpath(target) == os.path.realpath(source):  # which links that loop do not stop
            raise DataError(f"{source} would be replaced by its translation: choose another folder with -o")
        sources[target] = source
        if not target.exists() or overwrite:
            jobs[source] = target
        elif not skip:
            raise DataError(f"{target} is there already; give --overwrite, --skip-existing, or another folder with -o")
    return jobs


def _sheets(
    translator: "Translator", all_domains: bool, styles: int, controls: dict[str, Any]
) -> "Callable[[np.ndarray, str], np.ndarray]":
    """What draws a sheet of one image (H, W, C): the source, then its styles, in a row for each domain."""
    import numpy as np
    import torch

    from diptych.errors import ConfigError
    from diptych.runs.preview import grid, viewable

    for asked, name in ((all_domains, "domain"), (styles > 1, "reference")):
        if asked and controls.get(name) is not None:
            raise ConfigError(f"--{name} chooses one, and a sheet of all was asked for: leave it out")
    ways = [{"domain": name} for name in translator.choices("domain")] if all_domains else [{}]
    first = controls.get("seed", 0)
    seeds = [{"seed": first + number} for number in range(styles)] if styles > 1 else [{}]

    def drawn(pixels: np.ndarray, label: str) -> np.ndarray:
        choices = [{**controls, **way, **seed} for way in ways for seed in seeds]
        x, made = translator.translate_pixels(pixels, choices, label)
        adapter = translator.adapter(controls)
        x = viewable(x[None], adapter.source_encoding)[0]
        made = [viewable(each[None], adapter.target_encoding)[0] for each in made]
        rows = [[x, *made[at : at + len(seeds)]] for at in range(0, len(made), len(seeds))]
        return np.asarray(grid([torch.stack(column) for column in zip(*rows, strict=True)]))

    return drawn


def _headers(sources: "Iterable[Path]") -> "dict[Path, Header]":
    """The header of each image. What cannot be read is left for later."""
    from contextlib import suppress

    from diptych.data.images import image_io
    from diptych.errors import ImageError

    found = {}
    for source in sources:
        with suppress(ImageError):
            found[source] = image_io.probe(source)
    return found


class _Stored(NamedTuple):
    """How a translation is written."""

    dtype: "np.dtype[Any]"
    channels: int


def _stored(
    translator: "Translator", controls: dict[str, Any], headers: "dict[Path, Header]", keeps_alpha: bool, sheets: bool
) -> dict[Path, _Stored]:
    """How the translation of each source is written."""
    import numpy as np

    if sheets:
        return dict.fromkeys(headers, _Stored(np.dtype(np.uint8), 3))
    adapter = translator.adapter(controls)
    channels = 1 if adapter.target_encoding.num_classes else translator.channels_out(controls)
    return {
        source: _Stored(adapter.dtype_of_files(np.dtype(header.dtype)), 4 if keeps_alpha and header.alpha else channels)
        for source, header in headers.items()
    }


def _keeps_alpha(
    alpha: str, translator: "Translator", controls: dict[str, Any], headers: "dict[Path, Header]", sheets: bool
) -> bool:
    """Whether the alpha of sources is put back on their translations; says so once if it is not. ConfigError."""
    from diptych.errors import ConfigError

    if alpha not in ("white", "keep"):
        raise ConfigError(f"--alpha {alpha}: choose white or keep")
    source, target = translator.adapter(controls).source_encoding, translator.adapter(controls).target_encoding
    channels = translator.channels_out(controls)
    if alpha == "keep":
        if sheets or target.num_classes or channels not in (1, 3):
            what = "a sheet" if sheets else "a label map" if target.num_classes else f"{channels} channels"
            raise ConfigError(f"--alpha keep: this makes {what}, which takes no alpha of the source: leave it out")
        return True
    reads_alpha = source.alpha or source.num_classes
    count = sum(header.alpha for header in headers.values())
    if count and not reads_alpha:
        hint = "" if sheets else "; --alpha keep puts it back on the translations"
        typer.echo(f"{count} of {len(headers)} images have transparency: composited over white{hint}")
    return False


def _names(
    sources: dict[Path, Path], stored: dict[Path, _Stored], suffix: str, exact: bool, any_depth: bool
) -> dict[Path, Path]:
    """The name of each translation, with `suffix`, or else that of its source, or one that can hold its pixels.

    An `exact` one must come back as it was written; `any_depth` says that --depth may choose another one. ConfigError
    if `suffix` cannot hold them.
    """
    from diptych.data.images import image_io
    from diptych.errors import ConfigError

    names, changed = {}, {}
    for source, name in sources.items():
        ending = suffix or name.suffix
        holders: tuple[str, ...] = (ending.lower(),)
        if source in stored:
            dtype, channels = stored[source]
            holders = image_io.suffixes_for(dtype, channels)
            holders = tuple(each for each in holders if each not in LOSSY) if exact else holders
        if ending.lower() not in holders:
            what = f"{ending} cannot hold " + ("class ids" if exact else f"{dtype} with {channels} channels")
            if suffix:
                shallow = " or --depth 8" if any_depth and dtype != "uint8" and channels in (1, 3) else ""
                raise ConfigError(
                    f"{source}: {what}, which the model makes of it: give --suffix {' or '.join(holders)}{shallow}"
                )
            changed[what] = ending = next(each for each in (".png", ".tif", ".npy") if each in holders)
        names[source] = name.with_suffix(ending)
    for what, ending in changed.items():
        typer.echo(f"{what}: written as {ending}")
    return names


def controls_of(translator: "Translator", given: list[str]) -> dict[str, Any]:
    """`key=value` with each value in the type of the control's default."""
    from diptych.errors import ConfigError

    known = {control.name: control for control in translator.controls}
    values = {}
    for pair in given:
        key, equals, text = pair.partition("=")
        if not equals:
            raise ConfigError(f"--control {pair}: controls are written key=value")
        kind = type(known[key].default) if key in known and not known[key].image else str
        try:
            values[key] = kind(text)
        except ValueError as error:
            raise ConfigError(f"--control {key}={text}: {kind.__name__} wanted") from error
    return values
