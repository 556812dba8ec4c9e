"""`diptych.Run`: a run folder for Python users: its log, checkpoints, previews, translator and evaluation."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PIL import Image

from diptych.contract import Method
from diptych.data.sources.datasets import is_dataset
from diptych.errors import CheckpointError, ConfigError, nearest
from diptych.evaluation.results import Result
from diptych.evaluation.runner import SampleRequest
from diptych.inference.load import from_run, warn_of_caution, warn_of_untrained
from diptych.inference.translator import Translator
from diptych.methods import find
from diptych.networks import user_code
from diptych.runs import checkpoint, folder
from diptych.runs.events import read_events
from diptych.system.pages import EmbeddedImage, data_uri, render
from diptych.workflows.evaluate import Attach, attach_data, evaluate_trained, in_order


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of a run; `error` is what the best one was chosen by (lower is better), None for others."""

    path: Path
    stage: str
    step: int  # of the stage
    total_steps: int  # of all stages
    error: float | None = None


class Run:
    """A run folder: what a training writes. `diptych.train` returns one, `Run.open` opens one.

    Attributes:
        folder: the path of the run folder.
        interrupted: whether a signal (Ctrl-C, the stop button of a notebook) ended the training that returned this run.

    Example:
        run = diptych.Run.open("runs/facades")
        run.translator()("label.png").save("photo.png")
    """

    def __init__(
        self,
        path: str | Path,
        method: type[Method] | None = None,
        attach: Attach = lambda recipe: recipe,
        interrupted: bool = False,
    ) -> None:
        """For `diptych.train`; use `Run.open`. `attach` adds to the recipe what the folder does not hold."""
        self._files = folder.Run.open(path)
        self._method, self._attach = method, attach
        self.folder = self._files.folder
        self.interrupted = interrupted

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        method: str | type[Method] | None = None,
        allow_code: str | user_code.Network | Iterable[str | user_code.Network] = (),
    ) -> "Run":
        """Open a run folder.

        Args:
            path: the run folder.
            method: the class of a method that is not part of Diptych, or its name (`package.module:Class`).
            allow_code: classes of own networks that the run may use: `["package.module:Class"]`, or the classes.

        Raises:
            RunError: the folder is no run.
            ConfigError: a class cannot be imported.
        """
        user_code.allow_all(allow_code)
        return cls(path, class_of(method))

    @property
    def settings(self) -> dict[str, Any]:
        """All settings of the run by section: `method`, `model`, `data`, `train`, `evaluate`."""
        return self._files.settings()

    @property
    def events(self) -> Any:
        """The log: a pandas DataFrame if pandas is installed, else a list of dicts as in `events.jsonl`.

        In the DataFrame nested values are columns such as `terms/G/l1`, `error/source->target` and `lr/G`; the column
        `event` is `step`, `preview`, `evaluation`, `resume` or `skipped`, and `step` counts through all stages.
        """
        events = list(read_events(self._files.events))
        if find_spec("pandas") is None:
            return events
        import pandas

        return pandas.DataFrame([flattened(event) for event in events])

    @property
    def last(self) -> Checkpoint:
        """The newest checkpoint. Raises CheckpointError if there is none."""
        for path in reversed(checkpoint.list_checkpoints(self._files.checkpoints)):
            return self._checkpoint(path)
        raise CheckpointError(f"{self.folder}: there is no checkpoint")

    @property
    def best(self) -> Checkpoint | None:
        """The checkpoint of the lowest held-out error or the best monitored metric; None if the run chose none."""
        best = checkpoint.best_of(checkpoint.read_meta(self.last.path))
        if best is None:
            return None
        return self._checkpoint(self._files.checkpoints / best[0], best[1])

    @property
    def previews(self) -> list[Path]:
        """The sample grids of held-out images, PNG files from the oldest to the newest."""
        return sorted(self._files.previews.glob("*.png"))

    @property
    def preview(self) -> Image.Image | None:
        """The newest sample grid, which a notebook displays; None if there is none."""
        if not self.previews:
            return None
        with Image.open(self.previews[-1]) as image:
            return image.copy()

    def translator(self, which: str = "last", device: str = "auto") -> Translator:
        """Return the translator of the `last` or the `best` checkpoint, on a device such as "cpu" or "cuda".

        Raises CheckpointError or ConfigError.
        """
        translator = from_run(self._files, which, self._method)
        warn_of_untrained(translator, self.folder)
        warn_of_caution(translator, self.folder)
        return translator.to(device)

    def evaluate(
        self,
        protocol: str | None = None,
        *,
        data: Any = None,
        columns: str | Sequence[str | int] = (),
        class_names: Sequence[str] = (),
        allow: str | Collection[str] = (),
        split: str = "auto",
        count: int | None = None,
        which: str = "last",
        controls: Mapping[str, Any] = MappingProxyType({}),
        extractor: str = "auto",
        evaluator: str | Path | None = None,
        device: str = "auto",
        out: str | Path | None = None,
    ) -> Result:
        """Translate held-out images and compute the metrics of a protocol, as `diptych evaluate` does.

        Args:
            protocol: name of the protocol; default: the one for such a method and data.
            data: another folder of images, or dataset; default: that of the run. A run that was trained on a Python
                dataset and opened again needs it, and then remembers it.
            columns: the fields of a sample of the dataset, as in `train`.
            class_names: names of the classes, as in `train`.
            allow: `["images"]` evaluates a run that was trained on a Python dataset on another one.
            split: "train", "val", "test" or "all"; "auto": the test split if there is one, else the held-out images.
            count: translate this many images at most.
            which: the "last" or the "best" checkpoint.
            controls: controls of every translation, such as `{"inference": "paper"}`.
            extractor: feature network of FID and KID; "none" leaves them out.
            evaluator: run folder of a trained classifier or segmenter, or the YAML file of a network from elsewhere.
            device: "auto", "cpu", "cuda".
            out: file of the results; default: `results/PROTOCOL.json` in the run folder, where `compare` reads it.

        Returns:
            The result: `result.scores`, and one of them by `result.score("psnr").value`, each with its 95 % interval.

        Raises:
            ConfigError: the dataset is not the one of the run, and `allow` does not name "images".
            DataError: the images cannot be read.
            EvaluationError: the protocol does not fit, or an earlier result was computed differently.
        """
        allowed = [allow] if isinstance(allow, str) else list(allow)
        if unknown := [name for name in allowed if name != "images"]:
            raise ConfigError(f'allow={unknown}: an evaluation allows only "images"{nearest(unknown[0], ["images"])}')
        attach, name, images = self._attach, None, None
        check_describes(data, columns, class_names)
        if isinstance(data, str | Path):
            name = str(data)
        elif data is not None:
            attach = in_order(self._attach, attach_data(data, columns=columns, class_names=class_names))
            images = None if allowed else self._fingerprint()
        request = SampleRequest(
            protocol,
            name,
            split,
            count,
            which,
            device,
            method_class=self._method,
            attach=attach,
            images=images,
            controls=controls,
        )
        result = evaluate_trained(self._files, request, extractor, evaluator, out=out)
        if images is not None:
            self._attach = attach
        return result

    def _fingerprint(self) -> str | None:
        """Return the fingerprint of the Python dataset that the run was trained on; None if it had files."""
        root = self.settings.get("data", {}).get("root", "")
        if not is_dataset(str(root)):
            return None
        made = checkpoint.read_meta(self.last.path).get("made") or {}
        return made.get("images")

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    def _repr_html_(self) -> str:
        """For notebooks: a table about the run and its newest sample grid."""
        events = list(read_events(self._files.events))
        losses: dict[str, float] = next((event["terms"] for event in reversed(events) if event["event"] == "step"), {})
        best = self.best
        facts = {
            "method": self.settings.get("method"),
            "steps": self.last.total_steps,
            "best checkpoint": f"step {best.total_steps}, error {best.error:.4g}" if best else "none",
            **{name: f"{value:.4g}" for name, value in losses.items() if not name.endswith("/gradient")},
        }
        preview = self.preview
        image = preview and EmbeddedImage(data_uri(preview), "newest sample grid", preview.width)
        return render("notebook_run.html", folder=self.folder, facts=facts, image=image)

    def _checkpoint(self, path: Path, error: float | None = None) -> Checkpoint:
        meta = checkpoint.read_meta(path)
        return Checkpoint(path, meta["stage"], meta["step"], meta["total"], error)


def class_of(method: str | type[Method] | None) -> type[Method] | None:
    """Return the class of a method given as a class or by its name, `package.module:Class`. ConfigError."""
    return find(method) if isinstance(method, str) else method


def check_describes(data: Any, columns: Sequence[str | int], class_names: Sequence[str]) -> None:
    """Raise ConfigError if `columns` or `class_names` are given without a Python dataset."""
    if (data is None or isinstance(data, str | Path)) and (columns or class_names):
        raise ConfigError(
            "columns= and class_names= describe the samples of a Python dataset: leave them out, or give it by data="
        )


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, with names joined by `/`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flattened(value, f"{prefix}{key}/") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
