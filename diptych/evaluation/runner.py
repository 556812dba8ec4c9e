"""Run a protocol: translate the held-out images of a run into a sample folder, and compute the scores of samples."""

import json
import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from diptych.contract import Method
from diptych.data.checks.unreadable import check_images
from diptych.data.config import DataConfig
from diptych.data.dataset import Column, Data, Split, select
from diptych.data.image_tensors import side_of
from diptych.data.images.transforms import Augment, CropToMultiple, augment_of
from diptych.data.value_encoding import notes_on_encodings
from diptych.errors import ConfigError, EvaluationError
from diptych.evaluation.protocols import Protocol, find_protocol
from diptych.evaluation.results import Result
from diptych.evaluation.sample_writer import Progress, write_samples
from diptych.evaluation.samples import Samples, TranslationJob, open_samples
from diptych.evaluation.tools import Tools
from diptych.inference import hub
from diptych.inference.controls import check_controls, find_control, parse_controls
from diptych.inference.load import from_model, from_run, warn_of_caution, warn_of_untrained
from diptych.inference.open_model import NO_NETWORKS, is_onnx
from diptych.inference.translator import Translator
from diptych.methods import find as find_method
from diptych.runs import checkpoint
from diptych.runs.events import read_events
from diptych.runs.folder import Run
from diptych.settings.recipe import Recipe, from_settings
from diptych.settings.train_config import TrainConfig
from diptych.settings.validate import checked as checked_settings
from diptych.system.atomic_files import write_text
from diptych.system.hashes import sha256_of

Trained = Run | Path  # a run, or a model folder
PROTOCOL_OF_TASK = {"colorize": "colorization", "inpaint": "inpainting"}  # by default
SPLITS = ("auto", "train", "val", "test", "all")
WHICH = ("last", "best")
NOT_IN_KEY = ("method_class", "attach", "images", "controls")  # options that `SampleRequest.key` leaves out or adds


@dataclass(frozen=True)
class SampleRequest:
    """Options of sampling: protocol, data set (default: that of the run), split, number of images, checkpoint."""

    protocol: str | None = None
    data: str | None = None
    split: str = "auto"
    count: int | None = None  # images at most
    which: str = "last"
    device: str = "auto"
    method: str | None = None  # package.module:Class of a method that is not part of Diptych
    method_class: type[Method] | None = None  # the same from Python
    attach: Callable[[Recipe], Recipe] = lambda recipe: recipe  # adds what no file holds, such as a Python dataset
    images: str | None = None  # the fingerprint that a Python dataset must have
    controls: Mapping[str, Any] = field(default_factory=dict)  # further controls of every translation

    @property
    def cls(self) -> type[Method] | None:
        return self.method_class or (find_method(self.method) if self.method else None)

    def key(self) -> dict[str, Any]:
        """Return the options as plain data, to compare with those of samples on disk."""
        options = {name: value for name, value in vars(self).items() if name not in NOT_IN_KEY}
        return options | ({"controls": dict(self.controls)} if self.controls else {})


@dataclass(frozen=True)
class Source:
    """A resolved `SampleRequest`: recipe, images and protocol. `digest` is the hash of all files of the data set."""

    recipe: Recipe
    split: Split
    train: Split
    name: str  # of the split
    digest: str
    protocol: Protocol


def open_trained(folder: Path) -> Trained:
    """Return a run, or a model folder unchanged; that of a hub id is first copied to the current folder.

    Raises RunError if the folder is neither, EvaluationError for an ONNX file, or HubError.
    """
    if is_onnx(folder):
        raise EvaluationError(f"{folder}: {NO_NETWORKS}")
    if not folder.exists() and (repository := hub.hub_id_of(folder.as_posix())):
        return hub.working_copy(repository)
    is_model = (folder / "config.json").is_file() and not (folder / "config.yaml").is_file()
    return folder if is_model else Run.open(folder)


def _recipe_of(trained: Trained, request: SampleRequest) -> Recipe:
    """Return the recipe of a run; that of a model requires `request.data`. EvaluationError."""
    if isinstance(trained, Run):
        return request.attach(from_settings(trained.settings(), where=str(trained.config), cls=request.cls, saved=True))
    if request.data is None:
        raise EvaluationError(f"{trained}: a model folder does not name a data set; give one with --data FOLDER")
    model = from_model(trained, request.cls)
    config = model.method.config
    default_size = DataConfig.model_fields["crop_size"].default
    crop_size = model.method.image_size() or model.notes.get("crop", default_size)
    encoding = model.images.value_settings() if model.images else {}
    values = {"root": request.data, "crop_size": crop_size, "interpolation": model.interpolation, **encoding}
    data = checked_settings(DataConfig, values, str(trained))
    return Recipe(model.name, config, data, TrainConfig(), allowed=request.cls)


def find_source(trained: Trained, request: SampleRequest) -> Source:
    """Return the recipe, images and protocol of a request. Raises DataError, EvaluationError."""
    if request.which not in WHICH:
        raise EvaluationError(f"--which {request.which}: choose {' or '.join(WHICH)}")
    recipe = _recipe_of(trained, request)
    training_root = Path(recipe.data.root).expanduser().absolute()
    data_config = recipe.data.for_root(request.data or recipe.data.root)
    if not recipe.data.trains_on(data_config.root) and request.split in ("auto", "all"):  # no image there was seen
        data_config = data_config.model_copy(update={"split": None, "group_by": None})
    recipe = replace(recipe, data=data_config)
    data, manifest = check_images(recipe.open_data(), recipe.data)
    if request.images is not None and manifest.digest != request.images:
        raise ConfigError(
            f"data: not the dataset that the run was trained on ({request.images!r} -> {manifest.digest!r}): give that "
            f'one, or evaluate on these images by allow=["images"]'
        )
    data = recipe.encode_data(data)
    root = Path(recipe.data.root).expanduser().absolute()
    is_other_data = not isinstance(trained, Run) or root != training_root
    wanted = "all" if is_other_data and request.split == "auto" and data.by_name else request.split
    name, split = choose_split(data, wanted)
    protocol = find_protocol(request.protocol or default_protocol(recipe.cls, split))
    return Source(recipe, first_samples(split, request.count), data.train, name, manifest.digest, protocol)


def sample_run(
    trained: Trained, folder: Path, request: SampleRequest = SampleRequest(), progress: Progress | None = None
) -> Samples:
    """Translate into `folder` the images of a protocol, by default that of `default_protocol`.

    Raises DataError, EvaluationError, CheckpointError.
    """
    return _sample_source(trained, folder, request, find_source(trained, request), progress)


def default_protocol(cls: type[Method], split: Split) -> str:
    """Return the name of the protocol used if none is given."""
    if cls.traits.multi_domain:
        return "domains"
    if cls.traits.unconditional:
        return "unconditional"
    if cls.traits.upscale_factor > 1:
        return "srgan-y"
    task = next((side.task.name for column in split.columns.values() if (side := side_of(column))), "")
    return PROTOCOL_OF_TASK.get(task) or ("paired-default" if split.aligned else "unpaired-default")


def _sample_source(
    trained: Trained, folder: Path, request: SampleRequest, source: Source, progress: Progress | None
) -> Samples:
    if isinstance(trained, Run):
        translator = from_run(trained, request.which, source.recipe.cls).to(request.device)
    else:
        translator = from_model(trained, request.cls).to(request.device)
    warn_of_untrained(translator, _folder_of(trained))
    warn_of_caution(translator, _folder_of(trained))
    options = {"which": request.which, "split": source.name, "count": request.count}
    about = {**_about(trained, source.recipe, translator), **options}
    splits = source.split, source.train
    return sample_split(translator, source.recipe, *splits, source.protocol, folder, about, progress, request.controls)


def samples_of(trained: Trained, request: SampleRequest = SampleRequest(), progress: Progress | None = None) -> Samples:
    """Return the samples in the folder of the run or model; they are computed once for each request and checkpoint.

    Samples of another step, request or data set are replaced. EvaluationError if the folder holds other files.
    """
    protocol = find_protocol(request.protocol).name if request.protocol else "default"
    folder = _folder_of(trained) / "samples" / protocol
    request_file = folder / "asked.json"
    source = find_source(trained, request)
    key = {**request.key(), "checkpoint": _newest(trained, request.which), "images": source.digest}
    text = json.dumps(key, sort_keys=True)
    if request_file.is_file() and request_file.read_text(encoding="utf-8") == text:
        return open_samples(folder)
    if folder.exists():
        if not request_file.is_file():
            raise EvaluationError(
                f"{folder}: not replaced, as it was not written by `diptych evaluate`; move it elsewhere"
            )
        shutil.rmtree(folder)
    write_text(request_file, "")  # marks the folder as replaceable if sampling is interrupted
    samples = _sample_source(trained, folder, request, source, progress)
    write_text(request_file, text)
    return samples


def _folder_of(trained: Trained) -> Path:
    return trained.folder if isinstance(trained, Run) else trained


def _newest(trained: Trained, which: str) -> str:
    if not isinstance(trained, Run):
        return sha256_of(trained / "model.safetensors")
    path, (_, meta) = checkpoint.find_newest(trained.checkpoints)
    return str(meta["best"]["name"]) if which == "best" and meta["best"] else path.name


def sample_split(
    translator: Translator,
    recipe: Recipe,
    split: Split,
    train: Split,
    protocol: Protocol,
    folder: Path,
    about: dict[str, Any],
    progress: Progress | None = None,
    controls: Mapping[str, Any] = MappingProxyType({}),
) -> Samples:
    """Run every job of the protocol on `split`: whole images, or resized and cropped like held-out images.

    `controls` are further controls of every translation, such as `inference`.
    """
    jobs = plan_jobs(translator.method, translator.name, protocol, split, train, controls)
    if not jobs:
        raise EvaluationError(f"{translator.name} does not translate images, so there is nothing to sample")
    about = {**about, "protocol": str(protocol)}
    if controls:
        about["controls"] = " ".join(f"{name}={value}" for name, value in sorted(controls.items()))
    transform: CropToMultiple | Augment
    if protocol.whole_images:
        transform = CropToMultiple(translator.method.traits.upscale_factor)
    else:
        transform = augment_of(recipe.data)
        about["pixels"] = recipe.data.crop_size
    if encodings := "; ".join(notes_on_encodings(split)):
        about["values"] = encodings
    return write_samples(translator, jobs, folder, transform, about, progress)


def plan_jobs(
    method: Method, model: str, protocol: Protocol, split: Split, train: Split, controls: Mapping[str, Any]
) -> list[TranslationJob]:
    """Return the translations of a protocol, with further controls for all of them.

    EvaluationError or ConfigError for controls that the method lacks, that the protocol sets, or that are images.
    """
    values = parse_controls(method.controls, model, controls)
    for name in values:
        if find_control(method.controls, model, name).image:
            raise EvaluationError(f"control {name}: it is an image, which only a protocol such as starganv2 chooses")
    check_controls(method.controls, model, values)
    return [job.with_controls(values) for job in protocol.jobs(method, split, train)]


def evaluate_samples(samples: Samples, protocol: Protocol, tools: Tools, name: str) -> Result:
    """Return all scores of the protocol, route by route. EvaluationError if it cannot be applied."""
    tools.reset()
    if controls := samples.about.get("controls"):
        tools.note(f"translated with {controls}")
    if encodings := samples.about.get("values"):
        tools.note(f"pixels are compared in the network's value range ({encodings})")
    scores = []
    routes = samples.by_route()
    for route, part in routes.items():
        prefix = f"{route}/" if len(routes) > 1 else ""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            scores += [replace(score, name=prefix + score.name) for score in protocol.scores(part, tools)]
        for warning in caught:
            tools.note(str(warning.message))
    if protocol.summarise and len(routes) > 1:
        scores += protocol.summarise(scores)
    if not scores:
        why = f": {tools.notes[-1]}" if tools.notes else "; give an extractor or an evaluator for more metrics"
        raise EvaluationError(f"{name}: {protocol} has no metric for these images{why}")
    return Result(
        protocol=str(protocol),
        name=name,
        about=dict(samples.about),
        images=samples.images(protocol.distinct_images),
        tools=dict(tools.used),
        said=tuple(dict.fromkeys(tools.notes)),
        scores=tuple(scores),
    )


def choose_split(data: Data, name: str) -> tuple[str, Split]:
    """Return a split and its name: `auto` is test if there is one, else the held-out images; `all` needs no splits."""
    if name not in SPLITS:
        raise EvaluationError(f"--split {name}: choose one of {', '.join(SPLITS)}")
    if name == "auto":
        return ("test", data.test) if data.test else ("held out", data.held_out)
    if name == "all" and not data.by_name:
        raise EvaluationError("--split all is for a folder without splits; this one has splits: choose one of them")
    if name == "all":
        return name, data.all_images
    split = {"train": data.train, "val": data.held_out, "test": data.test}[name]
    if split is None:
        raise EvaluationError("there is no test split besides the held-out images: give --split auto")
    return name, split


def first_samples(split: Split, count: int | None) -> Split:
    """Return the first `count` samples of each column; of labelled images, the first `count` of each class."""
    if count is None:
        return split
    columns: dict[str, Column] = {}
    for names in split.sample_groups if split.class_indices else [(name,) for name in split.columns]:
        length = len(split.columns[names[0]])
        is_labelled = split.class_indices and length == sum(map(len, split.class_indices))
        classes = split.class_indices if is_labelled else (np.arange(length),)
        indices = sorted(index for members in classes for index in members[:count].tolist())
        for name in names:
            columns[name] = select(split.columns[name], indices)
    columns = {name: columns[name] for name in split.columns}
    indices = sorted(index for members in split.class_indices for index in members[:count].tolist())
    scene_ids = [split.scene_ids[index] for index in indices] if split.scene_ids else ()
    return replace(split, columns=columns, scene_ids=scene_ids)


def _about(trained: Trained, recipe: Recipe, translator: Translator) -> dict[str, Any]:
    """Return the facts about a run that tables of results print beside its scores."""
    events = read_events(trained.events) if isinstance(trained, Run) else []
    steps = [event for event in events if event["event"] == "step"]
    rates = [event["steps_per_second"] for event in steps if event.get("steps_per_second")]
    return {
        "method": recipe.method,
        "run": _folder_of(trained).absolute().name,
        "steps": translator.notes.get("steps"),
        "parameters": sum(p.numel() for p in translator.method.parameters()),
        "training_hours": _hours(steps, rates) if steps else None,
        "data": Path(recipe.data.root).name,
    }


def _hours(steps: list[dict[str, Any]], rates: list[float]) -> float | None:
    """Return the hours of training, from the logged rates; pauses between sessions are not counted."""
    ends = [0, *(event["step"] for event in steps)]
    spans = [end - start for start, end in pairwise(ends)]
    if not rates or len(rates) != len(spans):
        return None
    return round(sum(span / rate for span, rate in zip(spans, rates, strict=True)) / 3600, 6)
