"""Evaluate a run, a model, a sample folder or two folders of images, for programs: what `diptych evaluate` does."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from diptych.data.sample_transform import SampleTransform, Transform
from diptych.data.sources.datasets import DatasetSource
from diptych.errors import ConfigError, EvaluationError, shown
from diptych.evaluation import runner
from diptych.evaluation.protocols import find_protocol
from diptych.evaluation.results import Result, check_replaces
from diptych.evaluation.runner import SampleRequest, Trained, samples_of
from diptych.evaluation.samples import Samples
from diptych.evaluation.tools import load_tools
from diptych.settings.recipe import Recipe

Attach = Callable[[Recipe], Recipe]


def attach_data(
    data: Any = None,
    transform: Transform | None = None,
    columns: str | Sequence[str | int] = (),
    class_names: Sequence[str] = (),
) -> Attach:
    """Return a function that adds a dataset and a transform from Python to a recipe. Raises ConfigError.

    `data` is a dataset, as `DatasetSource.of` takes it; None keeps the data of the recipe.
    """
    if isinstance(transform, type):
        raise ConfigError(f"augment={transform.__name__}: a class: give an instance, {transform.__name__}(...)")
    if transform is not None and not callable(transform):
        raise ConfigError(f"augment={shown(transform)}: expected a transform, which is called with a dict of images")
    source = None if data is None else DatasetSource.of(data, columns, class_names)

    def attach(recipe: Recipe) -> Recipe:
        if source is not None:
            recipe = replace(recipe, dataset=source, data=recipe.data.model_copy(update={"root": source.root}))
        return replace(recipe, transform=SampleTransform(transform)) if transform is not None else recipe

    return attach


def in_order(first: Attach, then: Attach) -> Attach:
    """Return a function that applies both."""
    return lambda recipe: then(first(recipe))


def evaluate_trained(
    trained: Trained,
    request: SampleRequest,
    extractor: str = "auto",
    evaluator: str | Path | None = None,
    out: str | Path | None = None,
) -> Result:
    """Translate the images of a request, compute its scores and save them in the run or model folder.

    Raises DataError, CheckpointError, EvaluationError.
    """
    samples = samples_of(trained, request)
    folder = trained if isinstance(trained, Path) else trained.folder
    return evaluate_samples(samples, folder, request.protocol, extractor, evaluator, request.device, out or "results")


def evaluate_samples(
    samples: Samples,
    folder: Path,
    protocol: str | None = None,
    extractor: str = "auto",
    evaluator: str | Path | None = None,
    device: str = "auto",
    out: str | Path | None = None,
) -> Result:
    """Compute the scores of samples, and save them to the file `out`; "results": in `folder`, None: nowhere."""
    tools = load_tools(extractor, Path(evaluator) if evaluator else None, device=device)
    default = "paired-default" if samples.paired else "unpaired-default"
    chosen = find_protocol(protocol or str(samples.about.get("protocol", default)).partition("/")[0])
    result = runner.evaluate_samples(samples, chosen, tools, str(samples.about.get("run", folder.absolute().name)))
    if out is None:
        return result
    path = folder / "results" / f"{chosen.name}.json" if out == "results" else Path(out)
    if out == "results":
        check_replaces(path, result)
    try:
        result.save(path)
    except OSError as error:
        raise EvaluationError(f"{path}: cannot be written ({error}); choose another file by out=") from error
    return result
