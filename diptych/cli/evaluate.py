"""`diptych evaluate`."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diptych.cli.allow_code import AllowCode
from diptych.cli.common import (
    Count,
    Device,
    EvaluationControls,
    EvaluationData,
    MethodClass,
    Protocol,
    Split,
    Which,
    print_result,
    progress_bar_on_terminal,
)
from diptych.cli.former_names import former_option
from diptych.cli.json_output import Json, print_json, result_json

if TYPE_CHECKING:
    from diptych.evaluation.results import Result
    from diptych.evaluation.runner import Trained
    from diptych.evaluation.samples import Samples

EXAMPLE = "diptych evaluate runs/facades --split test"
PIXEL_METRICS = ("l1", "psnr", "ssim")


def evaluate(
    source: Annotated[
        Path | None,
        typer.Argument(help="Run folder, model folder, or folder written by `diptych predict`.", show_default=False),
    ] = None,
    real: Annotated[Path | None, typer.Option(help="Folder of real images.", show_default=False)] = None,
    fake: Annotated[
        Path | None, typer.Option(help="Folder of translations, by any program.", show_default=False)
    ] = None,
    sources: Annotated[
        Path | None,
        typer.Option(
            "--source", help="Folder of the source images of --fake, with the same names.", show_default=False
        ),
    ] = None,
    data: EvaluationData = None,
    protocol: Protocol = None,
    control: EvaluationControls = None,
    evaluator: Annotated[
        Path | None,
        typer.Option(
            help="Run folder of a classifier or segmenter (`diptych evaluator train`), or the YAML file of a network "
            "from elsewhere (ONNX, torch.export, torchvision).",
            show_default=False,
        ),
    ] = None,
    extractor: Annotated[
        str,
        typer.Option(
            help="Feature network of FID and KID: torchvision-inception-v3, tf-fid-inception, script:FILE, the run "
            "folder of an evaluator, or none. auto: torchvision-inception-v3 if available."
        ),
    ] = "auto",
    weights: Annotated[
        Path | None, typer.Option(help="File with the published weights of the extractor.", show_default=False)
    ] = None,
    border: Annotated[
        int | None,
        typer.Option(
            help="Pixels that protocol srgan-y ignores at each edge.", min=0, show_default="the upscale factor, or 4"
        ),
    ] = None,
    palette: Annotated[
        str | None,
        typer.Option(
            help="Class colours of protocol label-maps, such as '[[0,0,0],[255,0,0]]'.",
            show_default="read from the images",
        ),
    ] = None,
    ignore: Annotated[
        str | None,
        typer.Option(
            help="Colours ('[[0,0,0]]') or class numbers ('[255]') of label maps that are not scored.",
            show_default="those of the evaluator",
        ),
    ] = None,
    split: Split = "auto",
    count: Count = None,
    which: Which = "last",
    device: Device = "auto",
    method: MethodClass = None,
    allow_code: AllowCode = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Results file to write.", show_default="SOURCE/results/PROTOCOL.json"),
    ] = None,
    as_json: Json = False,
    judge: Annotated[str | None, former_option("--judge", "--evaluator")] = None,
) -> None:
    """Compute metrics of a run, a model, a folder of predictions, or two folders of images.

    Each score has its 95 % confidence interval.
    """
    from diptych.cli.controls import split_controls
    from diptych.evaluation.metrics.palette import parse_ignored, parse_palette
    from diptych.evaluation.protocols import find_protocol
    from diptych.evaluation.runner import SampleRequest, evaluate_samples, samples_of
    from diptych.evaluation.samples import Samples
    from diptych.evaluation.tools import Tools, load_tools

    _check_source(source, real, fake, sources)
    _check_translates(source, bool(data or count or control or (split, which) != ("auto", "last")))
    if protocol and find_protocol(protocol).needs_evaluator and not evaluator:
        Tools().require_evaluator()  # raises the error that says how to train one
    folder, opened = _open(source, real, fake, sources)
    palettes = parse_palette(palette), parse_ignored(ignore)
    tools = load_tools(extractor, evaluator, weights, border, device, *palettes, log=partial(typer.echo, err=as_json))
    if isinstance(opened, Samples):
        samples = opened
    else:
        controls = split_controls(control)
        request = SampleRequest(protocol, data, split, count, which, device, method, controls=controls)
        with progress_bar_on_terminal("translating", as_json) as progress:
            samples = samples_of(opened, request, progress)
    default = "paired-default" if samples.paired else "unpaired-default"
    name = protocol or str(samples.about.get("protocol", default)).partition("/")[0]
    result = evaluate_samples(
        samples, find_protocol(name), tools, str(samples.about.get("run", folder.absolute().name))
    )
    if note := _note_on_label_maps(result):
        typer.echo(note, err=as_json)
    _save(result, out, folder / "results" / f"{find_protocol(name).name}{_data_suffix(data)}.json", as_json)


def _check_source(source: Path | None, real: Path | None, fake: Path | None, sources: Path | None) -> None:
    """Raise EvaluationError unless either a source or both folders are given."""
    from diptych.errors import EvaluationError

    if (source is None) == (real is None) or (real is None) != (fake is None):
        raise EvaluationError("expected a run, model or prediction folder, or both --real FOLDER and --fake FOLDER")
    if sources is not None and fake is None:
        raise EvaluationError("--source names the source images of --fake: give it with --real and --fake")


def _check_translates(source: Path | None, has_options: bool) -> None:
    """Raise EvaluationError for options of translation where the translations exist already."""
    from diptych.errors import EvaluationError
    from diptych.evaluation.samples import MANIFEST

    if has_options and (source is None or (source / MANIFEST).is_file()):
        raise EvaluationError(
            "--data, --split, --count, --which and --control choose what a run or model translates, but these images "
            "are translated already: leave them out"
        )


def _open(
    source: Path | None, real: Path | None, fake: Path | None, sources: Path | None
) -> "tuple[Path, Trained | Samples]":
    """Return the folder for the results, and the run, model or samples to evaluate."""
    from diptych.evaluation.runner import open_trained
    from diptych.evaluation.samples import MANIFEST, open_samples
    from diptych.evaluation.two_folders import two_folders

    if source is not None:
        if (source / MANIFEST).is_file():
            return source, open_samples(source)
        trained = open_trained(source)
        return trained if isinstance(trained, Path) else source, trained
    assert real is not None
    assert fake is not None
    return fake, two_folders(real, fake, sources)


def _data_suffix(data: str | None) -> str:
    """Return `-NAME` for the results of another data set than that of training."""
    from diptych.evaluation.samples import safe_part

    if not data:
        return ""
    return f"-{safe_part(Path(data).resolve().name if Path(data).exists() else data)}"


def _note_on_label_maps(result: "Result") -> str:
    """Return a note if pixel metrics are computed over the one-hot planes of a label map; else an empty string."""
    names = {score.name.rpartition("/")[2] for score in result.scores}
    metrics = [name for name in PIXEL_METRICS if name in names]
    targets = [part for part in str(result.about.get("values", "")).split("; ") if _is_label_map_target(part)]
    if not metrics or not targets:
        return ""
    return (
        f"{', '.join(map(str.upper, metrics))}: computed over the one-hot planes of the label maps "
        f"(one 0/255 channel per class); protocol label-maps computes accuracy and IoU of classes"
    )


def _is_label_map_target(encoding: str) -> bool:
    """Return whether `NAME: ENCODING`, as in the manifest of samples, is a target domain of class ids."""
    name, _, text = encoding.partition(": ")
    return name != "source" and "class" in text


def _save(result: "Result", out: Path | None, default: Path, as_json: bool) -> None:
    """Save a result and print it; it is printed even if it cannot be saved. Raises EvaluationError."""
    from diptych.errors import EvaluationError
    from diptych.evaluation.results import check_replaces

    path = out or default
    saved: Path | None = None
    try:
        if not out:
            check_replaces(path, result)
        saved = result.save(path)
    except OSError as error:
        raise EvaluationError(f"{path}: cannot be written ({error}); choose another file with -o") from error
    finally:
        if as_json:
            print_json({"file": saved, **result_json(result)})
        else:
            print_result(result)
    if not as_json:
        typer.echo(f"\n{saved}")
