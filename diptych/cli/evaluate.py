"""`diptych samples`, `evaluate`, `evaluator`, `compare` and `experiment`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diptych.cli.allow_code import AllowCode, allow_settings
from diptych.cli.json_output import Json, comparison_json, print_json, result_json
from diptych.cli.train import Method

if TYPE_CHECKING:
    from diptych.evaluation.results import Result
    from diptych.evaluation.runner import Trained
    from diptych.evaluation.samples import Samples

Data = Annotated[
    str | None, typer.Option("--data", "-d", help="folder of images", show_default="the one it was trained on")
]
Split = Annotated[
    str, typer.Option(help="train, val, test, or all of a folder without splits; auto: test where there is one")
]
Which = Annotated[str, typer.Option(help="the last or the best checkpoint")]
Count = Annotated[
    int | None, typer.Option(help="translate so many images at most, or of each class", min=1, show_default="all")
]
Name = Annotated[
    str | None,
    typer.Option("--protocol", "-p", help="what to translate and measure", show_default="by whether there is a truth"),
]
JudgeRun = Annotated[Path | None, typer.Option(help="run folder of a trained judge", show_default=False)]
ExtractorName = Annotated[
    str,
    typer.Option(help="of FID and KID: torchvision-inception-v3, tf-fid-inception, script:FILE, a judge, none"),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda")]

judge_app = typer.Typer(no_args_is_help=True, help="Train the networks that score translations.")


def samples(
    run: Annotated[Path, typer.Argument(help="a run or model folder", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="folder to make", show_default=False)],
    data: Data = None,
    protocol: Name = None,
    split: Split = "auto",
    count: Count = None,
    which: Which = "last",
    device: Device = "auto",
    method: Method = None,
    allow_code: AllowCode = None,
) -> None:
    """Translate held-out images as a protocol asks for it, into a folder that measures and studies read."""
    from diptych.evaluation.runner import SampleRequest, open_trained, sample_run

    with _bar("translating") as progress:
        made = sample_run(
            open_trained(run), out, SampleRequest(protocol, data, split, count, which, device, method), progress
        )
    typer.echo(f"{len(made.rows)} translations in {out}")


def evaluate(
    what: Annotated[
        Path | None,
        typer.Argument(help="a run or model folder, or one that `diptych samples` made", show_default=False),
    ] = None,
    real: Annotated[Path | None, typer.Option(help="folder of real images, of any origin", show_default=False)] = None,
    fake: Annotated[Path | None, typer.Option(help="folder of translations by any tool", show_default=False)] = None,
    data: Data = None,
    protocol: Name = None,
    judge: JudgeRun = None,
    extractor: ExtractorName = "auto",
    weights: Annotated[
        Path | None, typer.Option(help="file of the extractor's published weights", show_default=False)
    ] = None,
    border: Annotated[
        int | None, typer.Option(help="pixels left out at each edge by srgan-y", min=0, show_default="the scale, or 4")
    ] = None,
    palette: Annotated[
        str | None, typer.Option(help="colours of label-maps, as [[0,0,0],[255,0,0]]", show_default="found in them")
    ] = None,
    ignore: Annotated[
        str | None,
        typer.Option(
            help="colours of label maps that are not scored, as [[0,0,0]], or class numbers, as [255]",
            show_default="those of the judge",
        ),
    ] = None,
    split: Split = "auto",
    count: Count = None,
    which: Which = "last",
    device: Device = "auto",
    method: Method = None,
    allow_code: AllowCode = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="file of results", show_default="results/PROTOCOL.json in what is judged"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Judge a run, a model, a folder of samples, or two folders of images; each number with its 95 % interval."""
    from diptych.errors import EvaluationError
    from diptych.evaluation.metrics.palette import parse_ignored, parse_palette
    from diptych.evaluation.protocols import find_protocol
    from diptych.evaluation.results import check_replaces
    from diptych.evaluation.runner import SampleRequest, evaluate_samples, samples_of
    from diptych.evaluation.samples import MANIFEST, Samples, safe_part
    from diptych.evaluation.tools import Tools, load_tools

    if (what is None) == (real is None) or (real is None) != (fake is None):
        raise EvaluationError("give a run or a folder of samples, or else both --real FOLDER and --fake FOLDER")
    if (data or count or (split, which) != ("auto", "last")) and (what is None or (what / MANIFEST).is_file()):
        raise EvaluationError(
            "--data, --split, --count and --which are for runs and models: these pictures are there already"
        )
    if protocol and find_protocol(protocol).needs_evaluator and not judge:
        Tools().require_evaluator()  # raises, and says how to come by one
    folder, there = _opened(what, real, fake)
    labels = parse_palette(palette), parse_ignored(ignore)
    tell = partial(typer.echo, err=as_json)
    tools = load_tools(extractor, judge, weights, border, device, *labels, log=tell)
    if not isinstance(there, Samples):
        with _bar("translating", as_json) as progress:
            there = samples_of(there, SampleRequest(protocol, data, split, count, which, device, method), progress)
    usual = "paired-default" if there.paired else "unpaired-default"
    chosen = find_protocol(protocol or str(there.about.get("protocol", usual)).partition("/")[0])
    result = evaluate_samples(there, chosen, tools, str(there.about.get("run", folder.absolute().name)))
    elsewhere = f"-{safe_part(Path(data).resolve().name if Path(data).exists() else data)}" if data else ""
    path = out or folder / "results" / f"{chosen.name}{elsewhere}.json"
    saved: Path | None = None
    try:  # kept before it is shown, and shown even if it cannot be kept
        if not out:
            check_replaces(path, result)
        saved = result.save(path)
    except OSError as error:
        raise EvaluationError(f"{path}: cannot be written ({error}); choose another file with -o") from error
    finally:
        if as_json:
            print_json({"file": saved, **result_json(result)})
        else:
            show(result)
    if not as_json:
        typer.echo(f"\n{saved}")


def _opened(what: Path | None, real: Path | None, fake: Path | None) -> tuple[Path, "Trained | Samples"]:
    """What is to be judged, and where its results go."""
    from diptych.evaluation.runner import open_trained
    from diptych.evaluation.samples import MANIFEST, open_samples
    from diptych.evaluation.two_folders import two_folders

    if what is not None:
        return what, open_samples(what) if (what / MANIFEST).is_file() else open_trained(what)
    assert real is not None
    assert fake is not None
    return fake, two_folders(real, fake)


def show(result: "Result") -> None:
    """A table of scores for a person."""
    from rich.console import Console
    from rich.table import Column, Table

    from diptych.errors import printable
    from diptych.evaluation.metrics.table import metric_of

    measure = Column("measure", overflow="fold")  # whole, where the name of a way is long
    table = Table(measure, "value", "95 % interval", "images", "ceiling", "chance", box=None, header_style="bold")
    for score in result.scores:
        ends = [f"{each:.4g}" if each is not None else "" for each in (score.ceiling, score.chance)]
        metric = metric_of(score.name)
        name = f"{printable(score.name)} {metric.arrow}" + (f" {metric.unit}" if metric.unit else "")
        interval = f"{score.low:.4g} to {score.high:.4g}"
        table.add_row(name, f"{score.value:.4g}", interval, str(score.count), *ends)
    console = Console(highlight=False, markup=False)
    console.print(f"\n{result.protocol} of {printable(result.name)}", style="bold")
    console.print(table)


@contextmanager
def _bar(what: str, to_stderr: bool = False) -> Iterator["Callable[[int, int], None] | None"]:
    from rich.console import Console

    from diptych.system.terminal import progress_bar

    with progress_bar(Console(stderr=to_stderr), what) as progress:
        yield progress


@judge_app.command("train")
def train_judge(
    kind: Annotated[str, typer.Argument(help="classifier or segmenter", show_default=False)],
    data: Annotated[str, typer.Option("--data", "-d", help="folder of real images", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="run folder to make", show_default=False)],
    settings: Annotated[
        list[str] | None, typer.Argument(help="key=value", metavar="[KEY=VALUE]...", show_default=False)
    ] = None,
) -> None:
    """Train a network that scores translations, and say how it does on real images it never saw.

    A classifier tells apart the folders of images; a segmenter paints the label maps of pairs, photograph first
    (direction=b2a where the label map lies left).
    """
    from diptych.workflows.train_evaluator import train_evaluator

    trainer, result = train_evaluator(kind, [*(settings or []), f"root={data}"], out, log=typer.echo)
    if result is not None:
        typer.echo("\n".join(result.said))
        show(result)
    from diptych.cli.train import end

    end(trainer)


def compare(
    runs: Annotated[list[Path], typer.Argument(help="run folders that were evaluated", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="folder to make")] = Path("compared"),
    protocol: Annotated[
        str | None, typer.Option("--protocol", "-p", help="which results", show_default="the one that all have")
    ] = None,
    as_json: Json = False,
) -> None:
    """Hold runs against each other: a page with pictures and curves, a CSV and a LaTeX table."""
    from diptych.evaluation.compare.page import compare as compared
    from diptych.evaluation.compare.read import read_runs

    page = compared(runs, out, protocol)
    if as_json:
        print_json({"page": page, **comparison_json(read_runs(runs, protocol))})
    else:
        typer.echo(f"{page}")


def experiment(
    what: Annotated[str, typer.Argument(help="a shipped experiment, or an experiment.yaml", show_default=False)],
    settings: Annotated[
        list[str] | None, typer.Argument(help="key=value, for all runs", metavar="[KEY=VALUE]...", show_default=False)
    ] = None,
    data: Annotated[str | None, typer.Option("--data", "-d", help="folder of images", show_default=False)] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="folder of all runs", show_default="experiments/WHAT")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="runs at once, where memory allows", min=1)] = 1,
    method: Method = None,
    allow_code: AllowCode = None,
) -> None:
    """Make all runs of an experiment, judge them alike, and compare them. The same command goes on after a stop."""
    from diptych.workflows.experiment import run_experiment
    from diptych.workflows.experiment_runs import Interrupted

    allow_settings(settings)
    chosen = [*(settings or []), *([f"root={data}"] if data else [])]
    try:
        folder = out or Path("experiments") / Path(what).stem
        typer.echo(f"{run_experiment(what, chosen, folder, jobs, method=method)}")
    except Interrupted as stop:
        typer.echo("stopped, and all that was trained is saved; the same command goes on")
        raise typer.Exit(128 + stop.number) from stop
