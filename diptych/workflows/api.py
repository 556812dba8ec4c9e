"""The Python API: `diptych.train`, `resume`, `evaluate` and `compare`. See docs/python-api.md.

run = diptych.train("pix2pix", data="facades", out="runs/facades", epochs=200, direction="b2a")
run.translator()("label.png").save("photo.png")
"""

import inspect
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rich.console import Console

from diptych.contract import Method
from diptych.data.sample_transform import Transform
from diptych.errors import ConfigError, EvaluationError, nearest
from diptych.evaluation.compare import page
from diptych.evaluation.results import Result
from diptych.evaluation.runner import SampleRequest, open_trained
from diptych.evaluation.samples import MANIFEST, Samples, open_samples
from diptych.evaluation.two_folders import two_folders
from diptych.methods import EVALUATORS, METHODS
from diptych.networks import user_code
from diptych.settings.recipe import load_recipe
from diptych.system.pages import render
from diptych.training.callbacks import Callback
from diptych.training.trainer import Trainer
from diptych.workflows import train as workflow
from diptych.workflows.evaluate import Attach, attach_data, evaluate_samples, evaluate_trained, in_order
from diptych.workflows.keyword_settings import as_overrides
from diptych.workflows.notebook import NotebookPreview, in_notebook
from diptych.workflows.trained_run import Run, check_describes, class_of

Code = str | user_code.Network
HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_"))


def train(
    method: str | Path | type[Method],
    *,
    data: Any = None,
    out: str | Path | None = None,
    augment: Transform | None = None,
    columns: str | Sequence[str | int] = (),
    class_names: Sequence[str] = (),
    callbacks: Callback | Sequence[Callback] = (),
    quiet: bool = False,
    **settings: Any,
) -> Run:
    """Train a method in a new run folder.

    Ctrl-C, or the stop button of a notebook, finishes the step, saves a checkpoint and returns; `resume` continues.

    Args:
        method: the name of a method or shipped recipe (`diptych methods` lists both), the path of a recipe, or a
            subclass of `Method`.
        data: a folder of images, "glyphs" for the embedded letters, or samples from Python: a map-style dataset
            (`torch.utils.data.Dataset`, a Hugging Face dataset, a list), a dict of such by split ("train", "val",
            "test"), or a tuple of two for methods that take two. A sample is a tuple, in the order of the method's
            batch entries, or a dict with their names; images are PIL images, tensors or arrays, uint8 or float within
            0..1. Without splits about one sample in twenty is held out, by a hash of its index.
        out: the run folder; default: `runs/METHOD-DATA`.
        augment: a transform of `torchvision.transforms.v2` or another callable, applied to the dict of the images of
            each training sample before they are cropped. Its random numbers depend on the seed and the sample alone.
        columns: the fields of a sample of the dataset to use, in the order of the method's batch entries.
        class_names: names of the classes or attributes that labels number; default: those of the dataset.
        callbacks: instances of `diptych.Callback`.
        quiet: whether to print nothing.
        **settings: all settings of the method, the data and the training, as `diptych methods NAME` lists them:
            `epochs=200, batch_size=4, lambda_l1=50`. `generator=` also takes a class of yours, see docs/python-api.md.

    Returns:
        The run.

    Raises:
        ConfigError: a setting does not exist or does not fit.
        DataError: the data is not what the method needs; the message names index and field of a sample.
        RunError: the folder holds a run already or cannot be written.
        CallbackError: a callback raised an exception; a checkpoint was saved.
        TrainingError: a step could not be taken.

    Example:
        run = diptych.train("pix2pix", data="glyphs", out="runs/letters", epochs=2, crop_size=32, generator="unet_32")
    """
    name, cls = _name_of(method)
    source = None if data is None or isinstance(data, str | Path) else data
    check_describes(source, columns, class_names)
    attach = attach_data(source, augment, columns, class_names)
    root = [] if data is None else [f"root={'dataset:' if source is not None else data}"]
    recipe = attach(load_recipe(name, [*as_overrides(settings), *root], cls))
    folder = Path(out) if out is not None else _default_folder(name, recipe.data.root)
    trainer = workflow.train(recipe, folder, _console(quiet), _checked(callbacks))
    return _run_of(trainer, recipe.allowed, attach)


def resume(
    run: str | Path | Run,
    *,
    data: Any = None,
    augment: Transform | None = None,
    columns: str | Sequence[str | int] = (),
    class_names: Sequence[str] = (),
    callbacks: Callback | Sequence[Callback] = (),
    allow: str | Collection[str] = (),
    method: str | type[Method] | None = None,
    allow_code: Code | Iterable[Code] = (),
    quiet: bool = False,
    **settings: Any,
) -> Run:
    """Continue a run from its newest checkpoint, bit for bit as if training had never stopped.

    What no file holds must be given again: a Python dataset with its `columns=` and `class_names=`, `augment=`,
    callbacks, the class of an own method, and in another process `allow_code=` for an own generator. The numbers are
    exact if the dataset is deterministic: equal indices give equal samples.

    Args:
        run: the run folder, or a run that `train` returned, which remembers dataset, `augment` and method.
        data: the dataset of the run, or the folder where its images are now; as in `train`.
        augment: the transform of the run, as in `train`.
        columns: as in `train`.
        class_names: as in `train`.
        callbacks: instances of `diptych.Callback`.
        allow: names of settings and other facts that may differ from the checkpoint, such as "steps" or "lr".
        method: the class of a method that is not part of Diptych, or its name (`package.module:Class`).
        allow_code: classes of own networks that the run may use, by name (`package.module:Class`) or themselves.
        quiet: whether to print nothing.
        **settings: changed settings; each must be allowed if results depend on it.

    Returns:
        The run.

    Raises:
        ConfigError: something that results depend on has changed and is not in `allow`; the message lists it.
        DataError: the run was trained on a Python dataset and `data` is missing, or the data cannot be read.
        CheckpointError: there is no intact checkpoint.

    Example:
        diptych.resume("runs/letters", steps=2000, allow=["steps"])
    """
    user_code.allow_all(allow_code)
    source = None if data is None or isinstance(data, str | Path) else data
    check_describes(source, columns, class_names)
    attach = attach_data(source, augment, columns, class_names)
    cls = class_of(method) or (run._method if isinstance(run, Run) else None)
    allow = [allow] if isinstance(allow, str) else allow
    folder = run.folder if isinstance(run, Run) else Path(run)
    root = [f"root={data}"] if isinstance(data, str | Path) else []
    if isinstance(run, Run) and not root:
        attach = in_order(run._attach, attach)
    overrides = [*as_overrides(settings), *root]
    trainer = workflow.resume(
        folder, overrides, allow, _console(quiet), cls, callbacks=_checked(callbacks), attach=attach
    )
    return _run_of(trainer, cls, attach)


def evaluate(
    source: str | Path | Run | None = None,
    *,
    real: str | Path | None = None,
    fake: str | Path | None = None,
    sources: str | Path | None = None,
    protocol: str | None = None,
    data: Any = None,
    controls: Mapping[str, Any] = MappingProxyType({}),
    extractor: str = "auto",
    evaluator: str | Path | None = None,
    device: str = "auto",
    method: str | type[Method] | None = None,
    allow_code: Code | Iterable[Code] = (),
    out: str | Path | None = None,
) -> Result:
    """Evaluate a run, a model folder, a sample folder, or two folders of images by any tool.

    Args:
        source: a run, a model folder (which needs `data`) or a folder that `diptych predict` wrote.
        real: folder of real images; with `fake`, instead of `source`.
        fake: folder of translations; files of one name in both folders are pairs.
        sources: folder of the source images of `fake`, with the same names, for protocols that need them.
        protocol: name of the protocol; default: by the method, or by whether there are pairs.
        data: folder of images to translate; default: that of the run. For a run also a dataset, as in `Run.evaluate`.
        controls: controls of every translation, such as `{"inference": "paper"}`.
        extractor: feature network of FID and KID; "none" leaves them out.
        evaluator: run folder of a trained classifier or segmenter, or the YAML file of a network from elsewhere.
        device: "auto", "cpu", "cuda".
        method: the class of a method that is not part of Diptych, or its name (`package.module:Class`).
        allow_code: classes of own networks that the run or model may use.
        out: file to save the result to; default: in a run or model folder `results/PROTOCOL.json`, else nowhere.

    Returns:
        The result; `result.score("psnr").value` is one number, with `.low` and `.high` of its 95 % interval.

    Raises:
        EvaluationError: the protocol does not fit, or a folder has no images.

    Example:
        diptych.evaluate(real="photos", fake="translations", extractor="none").scores
    """
    if (source is None) == (real is None) or (real is None) != (fake is None):
        raise EvaluationError("give a run, model or sample folder, or else both real= and fake=")
    if sources is not None and fake is None:
        raise EvaluationError("sources= names the source images of fake=: give it with real= and fake=")
    user_code.allow_all(allow_code)
    options: dict[str, Any] = {"extractor": extractor, "evaluator": evaluator, "device": device, "out": out}
    if isinstance(source, Run):
        return source.evaluate(protocol, data=data, controls=controls, **options)
    if source is None:
        assert real is not None
        assert fake is not None
        folder = Path(fake)
        samples: Samples | None = two_folders(Path(real), folder, None if sources is None else Path(sources))
    else:
        folder = Path(source)
        samples = open_samples(folder) if (folder / MANIFEST).is_file() else None
    if samples is not None:
        if controls:
            raise EvaluationError("controls= is for what a run or model translates, but these images are translated")
        return evaluate_samples(samples, folder, protocol, **options)
    cls, trained = class_of(method), open_trained(folder)
    if data is not None and not isinstance(data, str | Path):
        if isinstance(trained, Path):
            raise ConfigError(f"{folder}: a model folder is evaluated on a folder of images: give its path by data=")
        return Run(folder, cls).evaluate(protocol, data=data, controls=controls, **options)
    name = None if data is None else str(data)
    request = SampleRequest(protocol, name, device=device, method_class=cls, controls=controls)
    return evaluate_trained(trained, request, extractor, evaluator, out)


@dataclass(frozen=True)
class Comparison:
    """What `compare` wrote: the page, and the result of each run by its name. A notebook displays a table."""

    page: Path
    results: Mapping[str, Result]

    def _repr_html_(self) -> str:
        names = list(dict.fromkeys(score.name for result in self.results.values() for score in result.scores))
        runs = {
            run: {score.name: f"{score.value:.4g}" for score in result.scores} for run, result in self.results.items()
        }
        return render("notebook_comparison.html", metrics=names, runs=runs, page=self.page)


def compare(
    runs: Sequence[str | Path | Run],
    out: str | Path = "compared",
    protocol: str | None = None,
    study: str | Path | None = None,
) -> Comparison:
    """Compare evaluated runs: a page with tables, curves and images, a CSV file and a LaTeX table.

    Args:
        runs: run folders or runs, each evaluated before.
        out: folder to write `index.html`, `compared.csv` and `compared.tex` to.
        protocol: whose results; default: the one that all runs have results of.
        study: an analysed human study of these runs, whose votes are further scores.

    Returns:
        The path of the page and the results.

    Raises:
        EvaluationError: a run has no result, or two were evaluated differently.

    Example:
        diptych.compare(["runs/a", "runs/b"], out="compared")
    """
    folders = [run.folder if isinstance(run, Run) else Path(run) for run in runs]
    votes = Path(study) if study else None
    written = page.compare(folders, Path(out), protocol, votes)
    entries = page.evaluated_runs(folders, protocol, votes)
    return Comparison(written, {entry.name: entry.result for entry in entries})


def _name_of(method: str | Path | type[Method]) -> tuple[str, type[Method] | None]:
    """Return the name of a method or recipe, and the class if it is not part of Diptych."""
    if not isinstance(method, type):
        return str(method), None
    if not issubclass(method, Method):
        raise ConfigError(f"{method.__name__}: expected a subclass of diptych.contract.Method")
    name = f"{method.__module__}:{method.__name__}"
    built_in = {path: known for known, path in {**METHODS, **EVALUATORS}.items()}
    return (built_in[name], None) if name in built_in else (name, method)


def _default_folder(name: str, root: str) -> Path:
    data = root.rpartition(".")[2] if root.startswith("dataset:") else Path(root).name
    return Path("runs") / re.sub(r"[^\w.]+", "-", f"{Path(name).stem}-{data}").strip("-")


def _checked(given: Callback | Sequence[Callback]) -> list[Callback]:
    """Return the callbacks, of which one may be given by itself. ConfigError for what is none or has unknown hooks."""
    callbacks = list(given) if isinstance(given, Sequence) else [given]
    for callback in callbacks:
        if isinstance(callback, type):
            name = callback.__name__
            raise ConfigError(f"callbacks: expected instances of diptych.Callback, got {name}: write {name}()")
        if not isinstance(callback, Callback):
            raise ConfigError(f"callbacks: expected instances of diptych.Callback, got {type(callback).__name__}")
        for name, _ in inspect.getmembers(type(callback), callable):
            if name.startswith("on_") and name not in HOOKS:
                raise ConfigError(
                    f"callbacks: {type(callback).__name__}.{name} is no hook{nearest(name, HOOKS)}; the hooks are "
                    f"{', '.join(HOOKS)}; rename other methods so that they do not begin with on_"
                )
    return [*callbacks, NotebookPreview()] if in_notebook() else list(callbacks)


def _console(quiet: bool) -> Console | None:
    return Console(quiet=True) if quiet else None


def _run_of(trainer: Trainer, method: type[Method] | None, attach: Attach) -> Run:
    return Run(trainer.run.folder, method, attach, trainer.stopped is not None)
