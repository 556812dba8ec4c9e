"""`diptych translate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from diptych.cli.common import Controls, Device, MethodClass, Model, Which

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np

    from diptych.cli.translation_files import FilePlan
    from diptych.inference.translator import Translator

    Draw = Callable[[np.ndarray, str], np.ndarray]

EXAMPLE = "diptych translate runs/facades photos/ -o translated/"
MAX_FAILURES = 20  # images that could not be translated, listed in the error


def translate(
    model: Model,
    images: Annotated[
        list[str],
        typer.Argument(help="Image files, folders, or quoted patterns such as 'in/**/*.png'.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for translations; file names are kept.", show_default=False)
    ],
    control: Controls = None,
    domain: Annotated[
        str | None, typer.Option(help="Target domain of a multi-domain model.", show_default="the first")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the latent code, for methods with diverse outputs.", show_default="0")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Reference image whose style to use, instead of a seed.", show_default=False)
    ] = None,
    all_domains: Annotated[
        bool, typer.Option("--all-domains", help="Write a sample grid of each image, a row a domain.")
    ] = False,
    styles: Annotated[
        int, typer.Option(min=1, max=100, help="Write a sample grid of each image with this number of styles.")
    ] = 1,
    suffix: Annotated[
        str | None, typer.Option(help="File format, such as .png or .npy.", show_default="that of the source")
    ] = None,
    scale: Annotated[
        Literal["image", "training"],
        typer.Option(
            help="Scale to translate at. image: full size. training: resize to the scale of training, then back."
        ),
    ] = "image",
    half: Annotated[
        Literal["auto", "left", "right", "none"],
        typer.Option(
            help="Half of side-by-side files to translate. auto: the source half. none: the entire file.",
        ),
    ] = "auto",
    depth: Annotated[
        Literal["8", "16", "float"] | None,
        typer.Option(help="Bit depth of translations.", show_default="that of the training targets"),
    ] = None,
    alpha: Annotated[
        Literal["white", "keep"],
        typer.Option(help="Transparency of sources: composite over white, or keep it in translations."),
    ] = "white",
    which: Which = "last",
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Skip images whose translation exists.")
    ] = False,
    method: MethodClass = None,
) -> None:
    """Translate images of any size with a trained or imported model.

    Names and sizes are kept. Colour profile, resolution and georeference of an image are copied to its translation.
    """
    from rich.progress import track

    from diptych.data.images import image_io, metadata
    from diptych.errors import ConfigError, ImageError
    from diptych.inference.input_files import find_sources
    from diptych.inference.load import load
    from diptych.inference.preprocessing import copy_alpha
    from diptych.methods import find

    if seed is not None and reference is not None:
        raise ConfigError("--seed and --reference each choose the style: give one")
    sheets = all_domains or styles > 1
    found = find_sources(images, out)
    if sheets and depth:
        raise ConfigError(f"--depth {depth}: sheets have 8 bits; leave it out")
    translator = load(model, device=device, which=which, method=find(method) if method else None).with_options(
        scale=scale, half=half, depth=int(depth) if depth in ("8", "16") else depth
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
            failures.append(str(error))
    typer.echo(f"{len(jobs) - len(failures)} images in {out}")
    if len(jobs) < len(inputs.images):
        typer.echo(f"{len(inputs.images) - len(jobs)} images already there, skipped")
    if inputs.others:
        typer.echo(f"not translated: {inputs}")
    if failures:
        lines = listed(failures, MAX_FAILURES, "\n  ")
        raise ImageError(f"{len(failures)} of {len(jobs)} images could not be translated:\n  {lines}")


def _controls(
    translator: "Translator", pairs: "Sequence[str]", options: "Mapping[str, Any]", all_domains: bool
) -> dict[str, Any]:
    """Return the checked controls of `--control` and of the options that are given. Raises ConfigError."""
    from diptych.cli.controls import parse_controls

    given = parse_controls(translator, pairs) | {key: value for key, value in options.items() if value is not None}
    if not all_domains:
        _print_default_domain(translator, given)
    return translator.ready(given)


def _print_default_domain(translator: "Translator", given: "Mapping[str, Any]") -> None:
    """Print the default domain if the model has several and the user chose none."""
    for control in translator.controls:
        if control.name == "domain" and control.default and "domain" not in given:
            others = ", ".join(name for name in control.choices if name != control.default)
            typer.echo(
                f"translating to {control.default}, the first domain; --domain chooses another: {others}", err=True
            )


def _translate_file(
    translator: "Translator",
    controls: dict[str, Any],
    plan: "FilePlan",
    draw: "Draw | None",
    source: Path,
    target: Path,
) -> None:
    """Translate one file, or draw its sample grid. Raises ImageError."""
    from diptych.data.images import image_io, metadata
    from diptych.inference.preprocessing import with_alpha_of

    pixels, name = translator.read(source, **controls), str(source)
    if draw:
        image_io.write(target, draw(pixels, name))
        return
    dtype = plan.stored[source].dtype if source in plan.stored else None
    translation = translator.array(pixels, name, dtype, **controls)
    if plan.keeps_alpha and plan.headers[source].alpha:
        rgba = translator.adapter(controls).cut(image_io.read(source, "rgba"))
        translation = with_alpha_of(translation, rgba, name)
    image_io.write(target, translation, metadata.of_file(source).for_pixels(plan.is_label_map))


def _grid_function(translator: "Translator", all_domains: bool, styles: int, controls: dict[str, Any]) -> "Draw":
    """Return the function that draws the sample grid of an image (H, W, C): source, then styles; a row a domain.

    Raises ConfigError if the controls choose one domain or style.
    """
    import numpy as np
    import torch

    from diptych.errors import ConfigError
    from diptych.runs.preview import grid, viewable

    for is_varied, name in ((all_domains, "domain"), (styles > 1, "reference")):
        if is_varied and controls.get(name) is not None:
            raise ConfigError(f"--{name} chooses one, but the sample grid shows all: leave it out")
    domains = [{"domain": name} for name in translator.choices("domain")] if all_domains else [{}]
    first_seed = controls.get("seed", 0)
    seeds = [{"seed": first_seed + number} for number in range(styles)] if styles > 1 else [{}]

    def drawn(pixels: np.ndarray, label: str) -> np.ndarray:
        choices = [{**controls, **way, **seed} for way in ways for seed in seeds]
        x, made = translator.translate_pixels(pixels, choices, label)
        adapter = translator.adapter(controls)
        source = viewable(x[None], adapter.source_encoding)[0]
        images = [viewable(image[None], adapter.target_encoding)[0] for image in translations]
        rows = [[source, *images[start : start + len(seeds)]] for start in range(0, len(images), len(seeds))]
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
