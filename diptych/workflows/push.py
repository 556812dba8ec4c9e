"""Push a run or model to the hub: what `diptych push` does. The scores in `results/` become metrics of the card."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from diptych.contract import Method
from diptych.errors import ConfigError
from diptych.evaluation.metrics.table import metric_of
from diptych.evaluation.results import Result, read_result
from diptych.inference import hub_card
from diptych.inference.hub_card import Metric
from diptych.inference.load import load
from diptych.inference.translator import Translator
from diptych.networks import user_code
from diptych.runs.folder import Run
from diptych.workflows.trained_run import Run as TrainedRun


def push(
    source: str | Path,
    repository: str,
    *,
    license: str | None,
    private: bool = False,
    revision: str | None = None,
    dataset: str | None = None,
    samples: Sequence[str | Path] = (),
    preview: bool = False,
    which: str = "last",
    method: type[Method] | None = None,
    allow_code: Iterable[str | user_code.Network] = (),
) -> tuple[str, list[str]]:
    """Upload a run or model folder and return `user/name@commit` and notes on results that were left out.

    The card has the scores of `results/` that were computed with the uploaded weights. `preview` adds the newest sample
    grid of the run, which shows held-out images of its dataset. Other arguments are those of `hub_card.push` and
    `load`. Raises ConfigError, CheckpointError, HubError or EvaluationError.
    """
    hub_card.check_license(license)
    hub_card.target_of(repository, revision)
    translator = load(source, device="cpu", which=which, method=method, allow_code=allow_code)
    folder = Path(source).expanduser()
    metrics, notes = metrics_of(folder, translator, which)
    pictures = {"held-out images and their translations": _newest_preview(folder)} if preview else {}
    name = translator.push_to_hub(
        repository,
        license=str(license),
        private=private,
        revision=revision,
        dataset=dataset,
        metrics=metrics,
        samples=samples,
        pictures=pictures,
    )
    return name, notes


def metrics_of(folder: Path, translator: Translator, which: str = "last") -> tuple[list[Metric], list[str]]:
    """Return the metrics of the results of a run or model folder, and a note on each result of other weights.

    Raises EvaluationError for a damaged result.
    """
    metrics: list[Metric] = []
    notes = []
    trained_on = _training_data(folder)
    for path in sorted((folder / "results").glob("*.json")):
        result = read_result(path)
        if problem := _difference(result.about, translator, which):
            notes.append(f"{path}: not in the card, as it was computed {problem}: run `diptych evaluate` again")
            continue
        own_data = trained_on is None or result.about.get("data") == trained_on
        metrics += _metrics(result, own_data)
    return metrics, notes


def _metrics(result: Result, own_data: bool) -> list[Metric]:
    """Return the scores of a result as metrics of the card."""
    split = str(result.about.get("split", "all"))
    return [
        Metric(
            result.protocol,
            split,
            score.name,
            score.value,
            score.low,
            score.high,
            score.count,
            metric_of(score.name).unit,
            own_data,
        )
        for score in result.scores
    ]


def _difference(about: dict[str, Any], translator: Translator, which: str) -> str:
    """Return how the weights of a result differ from those of the translator; `` if they do not."""
    steps, evaluated = translator.notes.get("steps"), about.get("steps")
    if steps != evaluated:
        return f"at step {evaluated}, not {steps}"
    if about.get("which", which) != which:
        return f"with the {about['which']} checkpoint, not the {which} one"
    return ""


def _training_data(folder: Path) -> str | None:
    """Return the name of the dataset in the settings of a run, as results have it; None for a model folder."""
    if not (folder / "config.yaml").is_file():
        return None
    return Path(str(Run.open(folder).settings().get("data", {}).get("root", ""))).name


def _newest_preview(folder: Path) -> Image.Image:
    """Return the newest sample grid of a run. ConfigError if there is none."""
    picture = TrainedRun(folder).preview if (folder / "config.yaml").is_file() else None
    if picture is None:
        raise ConfigError(f"{folder}: no sample grid to show: leave out --preview, or show images with --sample IMAGE")
    return picture
