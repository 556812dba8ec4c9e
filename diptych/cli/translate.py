"""`diptych translate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from diptych.cli.allow_code import AllowCode
from diptych.cli.common import AlreadySource, Controls, Device, MethodClass, Model, Which, counted_images
from diptych.cli.translate_batch import Actors, BatchOptions, Engine, ShardOption
from diptych.cli.translate_clips import Codec, Crf, End, FrameStatistics, Start

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from diptych.inference.file_translation import Draw
    from diptych.inference.image_translator import ImageTranslator

EXAMPLE = "diptych translate runs/facades photos/ -o translated/"
MAX_FAILURES = 20  # images that could not be translated, listed in the error


def translate(
    model: Model,
    images: Annotated[
        list[str],
        typer.Argument(
            help="Images, videos, volumes (NIfTI, DICOM folders, HDF5, zarr), folders, quoted patterns such as "
            "'in/**/*.png', a manifest.txt of paths, WebDataset shards.tar, or .parquet files.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder for translations; or the file of one, OUT.png.", show_default=False),
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
        bool, typer.Option("--all-domains", help="Write a sample grid of each image, one row per domain.")
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
    already_source: AlreadySource = False,
    codec: Codec = None,
    crf: Crf = None,
    start: Start = None,
    end: End = None,
    frame_statistics: FrameStatistics = False,
    tile: Annotated[
        str | None,
        typer.Option(
            help="Translate large images (whole slides, satellite images) in tiles: auto, or their size in pixels. "
            "The result is the same for every size.",
            show_default=False,
        ),
    ] = None,
    statistics: Annotated[
        str | None,
        typer.Option(
            help="Statistics of norms for all tiles: sampled from 16 windows, of the whole image (slower), or a file "
            "of another output.",
            metavar="sampled|whole|FILE",
            show_default="sampled",
        ),
    ] = None,
    foreground: Annotated[
        str | None,
        typer.Option(
            help="Where to sample statistics: a mask image, not 0 there, or auto (Otsu's threshold).",
            metavar="auto|MASK",
            show_default="everywhere",
        ),
    ] = None,
    shard: ShardOption = None,
    engine: Engine = "local",
    actors: Actors = None,
    which: Which = "last",
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Skip images whose translation exists.")
    ] = False,
    method: MethodClass = None,
    allow_code: AllowCode = None,
) -> None:
    """Translate images of any size with a trained or imported model.

    Videos, GIF and animated WebP files are translated frame by frame; audio and subtitles are copied.
    Images that do not fit into memory are translated in tiles, without seams.

    A manifest, or a job in shards or on Ray, goes on where it was stopped, and lists failures in
    OUT/failed.shard-I-of-N.tsv.

    Names and sizes are kept. Colour profile, resolution and georeference of an image are copied to its translation.
    """
    from dataclasses import replace

    from rich.progress import track

    from diptych.cli.translate_batch import check_extras, translate_batch
    from diptych.cli.translate_clips import clip_options, find_clips, refuse_image_options, translate_clips
    from diptych.cli.translate_tiles import find_large, planned, refuse_options, tile_options, translate_files
    from diptych.cli.translate_volumes import find_volumes, translate_volumes, translates_volumes
    from diptych.data.images import image_io
    from diptych.errors import ConfigError, ImageError, listed
    from diptych.inference.batch.stages import in_stages
    from diptych.inference.file_translation import FileTranslation
    from diptych.inference.input_files import InputFiles, check_output_folder, find_sources, for_one_file, names_a_file
    from diptych.inference.open_model import ModelSource, is_onnx
    from diptych.inference.video_clips import WHOLE_CLIP
    from diptych.methods import find

    if seed is not None and reference is not None:
        raise ConfigError("--seed and --reference both choose the style: give one")
    draws_grid = all_domains or styles > 1
    if draws_grid and depth:
        raise ConfigError(f"--depth {depth}: sample grids have 8 bits; leave it out")
    batch_options = BatchOptions(shard, engine, actors)
    batch = batch_options.are_for(images)
    if batch and (draws_grid or tile or foreground):
        raise ConfigError("--all-domains, --styles, --tile and --foreground are not for manifests and shards of a job")
    check_extras(batch_options, device)
    volumes = {} if batch else find_volumes(images, out, suffix)
    clips = {} if batch or volumes else find_clips(images, out, suffix)
    if clips:
        refuse_image_options(draws_grid, alpha, depth)
    clip = clip_options(start, end, codec, crf)
    if not (clips or volumes or batch) and (statistics or foreground):
        tile = tile or "auto"
    large = {} if clips or volumes or batch else find_large(images, out, tile, suffix)
    if not clips and (clip != WHOLE_CLIP or (frame_statistics and not volumes and not large)):
        raise ConfigError("--codec, --crf, --from, --to and --frame-statistics are for videos, and there are none")
    if is_onnx(model) and (clips or volumes or large or tile or statistics or foreground):
        raise ConfigError(f"{model}: an ONNX file translates whole images only: use the run or model folder")
    inputs = InputFiles() if clips or volumes or large or batch else find_sources(images, out)
    folder = out
    if inputs.images and names_a_file(out):
        if suffix and suffix != out.suffix:
            raise ConfigError(f"--suffix {suffix}: -o {out} names the file: leave one of them out")
        inputs, folder, suffix = for_one_file(inputs, out), out.parent, out.suffix
    adaptation = {
        "scale": scale,
        "half": half,
        "depth": int(depth) if depth in ("8", "16") else depth,
        "already_source": already_source,
    }
    method_class = find(method) if method else None
    source = ModelSource(model, device, which, method_class, tuple(allow_code or ()), adaptation)
    translator = (replace(source, device="cpu") if engine == "ray" else source).load()  # actors have the devices
    options = {"domain": domain, "seed": seed, "reference": reference}
    controls = _controls(translator, control or [], options, all_domains)
    if clips:
        translate_clips(translator, controls, planned(clips, overwrite, skip_existing), clip, frame_statistics)
        return
    if large and translates_volumes(translator, controls):
        volumes = large
    if large and not volumes and frame_statistics:
        raise ConfigError("--frame-statistics is for videos and volumes: leave it out")
    if volumes:
        refuse_image_options(draws_grid, alpha, depth)
        if tile or statistics or foreground:
            raise ConfigError("--tile, --statistics and --foreground are not for volumes: leave them out")
        translate_volumes(translator, controls, planned(volumes, overwrite, skip_existing), frame_statistics)
        return
    tiles = None if is_onnx(model) else tile_options(tile, statistics, foreground)
    if large and tiles:
        refuse_options(draws_grid, alpha)
        translate_files(translator, planned(large, overwrite, skip_existing), tiles, controls)
        return
    draw = _grid_function(translator, all_domains, styles, controls) if draws_grid else None
    translation = FileTranslation(translator, controls, suffix, alpha, tiles, draw, typer.echo)
    if batch:
        translate_batch(translation, source, images, out, batch_options, overwrite)
        return
    plan = translation.plan(inputs.images)
    jobs = plan.jobs(folder, overwrite, skip_existing)
    headers = [plan.headers[source] for source in jobs if source in plan.headers]
    if jobs:
        check_output_folder(folder)
    translator.check_scale([(header.height, header.width) for header in headers], controls, are_all=True)
    stages = in_stages(
        jobs.items(),
        lambda job: translation.read(job[0]),
        lambda job, pixels: translation.translate(job[0], pixels, plan),
        lambda job, translated: image_io.write(job[1], *translated),
    )
    failures = [outcome.error for outcome in track(stages, "translating", len(jobs)) if outcome.error]
    typer.echo(f"{counted_images(len(jobs) - len(failures))} in {out}")
    if len(jobs) < len(inputs.images):
        typer.echo(f"{len(inputs.images) - len(jobs)} images already there, skipped")
    if inputs.others:
        typer.echo(f"not translated: {inputs}")
    if failures:
        lines = listed(failures, MAX_FAILURES, "\n  ")
        raise ImageError(f"{len(failures)} of {len(jobs)} images could not be translated:\n  {lines}")


def _controls(
    translator: "ImageTranslator", pairs: "Sequence[str]", options: "Mapping[str, Any]", all_domains: bool
) -> dict[str, Any]:
    """Return the checked controls of `--control` and of the options that are given. Raises ConfigError."""
    from diptych.cli.controls import parse_controls

    given = parse_controls(translator, pairs) | {key: value for key, value in options.items() if value is not None}
    if not all_domains:
        _print_default_domain(translator, given)
    return translator.prepare_controls(given)


def _print_default_domain(translator: "ImageTranslator", given: "Mapping[str, Any]") -> None:
    """Print the default domain if the model has several and the user chose none."""
    for control in translator.controls:
        if control.name == "domain" and control.default and "domain" not in given:
            others = ", ".join(name for name in control.choices if name != control.default)
            typer.echo(
                f"translating to {control.default}, the first domain; --domain chooses another: {others}", err=True
            )


def _grid_function(translator: "ImageTranslator", all_domains: bool, styles: int, controls: dict[str, Any]) -> "Draw":
    """Return the function that draws the sample grid of an image (H, W, C): source, then styles; one row per domain.

    Raises ConfigError if the controls choose one domain or style.
    """
    import numpy as np

    from diptych.errors import ConfigError
    from diptych.inference.controls import find_control
    from diptych.inference.image_translator import warn_of_equal_styles
    from diptych.runs.sample_grid import grid, viewable

    for is_varied, name in ((all_domains, "domain"), (styles > 1, "reference")):
        if is_varied and controls.get(name) is not None:
            raise ConfigError(f"--{name} chooses one, but the sample grid shows all: leave it out")
    if styles > 1:
        find_control(translator.controls, translator.name, "seed")
    domains = [{"domain": name} for name in translator.choices("domain")] if all_domains else [{}]
    first_seed = controls.get("seed", 0)
    seeds = [{"seed": first_seed + number} for number in range(styles)] if styles > 1 else [{}]

    def draw(pixels: np.ndarray, name: str) -> np.ndarray:
        choices = [{**controls, **domain, **seed} for domain in domains for seed in seeds]
        x, translations = translator.translate_pixels(pixels, choices, name)
        warn_of_equal_styles(translations[: len(seeds)])
        adapter = translator.adapter(controls)
        source = viewable(x[None], adapter.source_encoding)[0]
        images = [viewable(image[None], adapter.target_encoding)[0] for image in translations]
        rows = [[source, *images[start : start + len(seeds)]] for start in range(0, len(images), len(seeds))]
        return np.asarray(grid([np.stack(column) for column in zip(*rows, strict=True)]))

    return draw
