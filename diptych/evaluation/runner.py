"""Protocols applied: a run's held-out images translated into a sample folder, and the samples judged."""

import json
import shutil
import warnings
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from diptych.contract import Method
from diptych.data.checks.unreadable import check_images
from diptych.data.config import DataConfig
from diptych.data.dataset import Column, Data, Split, select
from diptych.data.images.transforms import Augment, CropToMultiple
from diptych.data.open import open_data
from diptych.data.value_encoding import notes_on_encodings
from diptych.errors import EvaluationError
from diptych.evaluation import samples as sampling
from diptych.evaluation.protocols import Protocol, find_protocol
from diptych.evaluation.results import Result
from diptych.evaluation.samples import Progress, Samples
from diptych.evaluation.tools import Tools
from diptych.inference.load import from_model, from_run, warn_of_untrained
from diptych.inference.model_folder import digest_of
from diptych.inference.translator import Translator
from diptych.methods import find as find_method
from diptych.runs import checkpoint
from diptych.runs.events import read_events
from diptych.runs.folder import Run
from diptych.settings.recipe import Recipe, from_settings
from diptych.settings.train_config import TrainConfig
from diptych.settings.validate import checked as checked_settings
from diptych.system.atomic_files import write_text

Trained = Run | Path  # a run, or the folder of a model
SPLITS = ("auto", "train", "val", "test", "all")
WHICH = ("last", "best")


@dataclass(frozen=True)
class SampleRequest:
    """What to translate: by a protocol, of another folder than the run's own, a split, so many images at most."""

    protocol: str | None = None
    data: str | None = None
    split: str = "auto"
    count: int | None = None
    which: str = "last"
    device: str = "auto"
    method: str | None = None  # package.module:Class of a method that is not part of Diptych

    @property
    def cls(self) -> type[Method] | None:
        return find_method(self.method) if self.method else None


@dataclass(frozen=True)
class Source:
    """What was asked for, found: the images, by the digest of all files of that folder, and what translates them."""

    recipe: Recipe
    split: Split
    train: Split
    name: str  # of the split
    digest: str
    protocol: Protocol


def trained(folder: Path) -> Trained:
    """What translates: a run, or a model folder as it is. RunError if it is neither."""
    is_model = (folder / "config.json").is_file() and not (folder / "config.yaml").is_file()
    return folder if is_model else Run.open(folder)


def _recipe_of(there: Trained, asked: SampleRequest) -> Recipe:
    """As it was trained; of a model, whose images are not known, that needs `asked.data`. EvaluationError."""
    if isinstance(there, Run):
        return from_settings(there.settings(), where=str(there.config), cls=asked.cls, saved=True)
    if asked.data is None:
        raise EvaluationError(f"{there}: a model names no images: say which by --data FOLDER")
    model = from_model(there, asked.cls)
    config = model.method.config
    crop = model.method.image_size() or model.notes.get("crop_size", DataConfig.model_fields["crop_size"].default)
    settings = {"root": asked.data, "crop_size": crop, **(model.images.value_settings() if model.images else {})}
    data = checked_settings(DataConfig, settings, str(there))
    return Recipe(model.name, config, data, TrainConfig(), allowed=asked.cls)


def find(there: Trained, asked: SampleRequest) -> Source:
    """Raises DataError, EvaluationError, before anything is made."""
    if asked.which not in WHICH:
        raise EvaluationError(f"--which {asked.which}: choose {' or '.join(WHICH)}")
    recipe = _recipe_of(there, asked)
    own = Path(recipe.data.root).expanduser().absolute()
    recipe = replace(recipe, data=recipe.data.of(asked.data or recipe.data.root))
    data, manifest = check_images(open_data(recipe.data, recipe.cls.data, tuple(recipe.cls.batch)), recipe.data)
    data = recipe.encode_data(data)
    elsewhere = not isinstance(there, Run) or Path(recipe.data.root).expanduser().absolute() != own
    name, split = chosen(data, "all" if elsewhere and asked.split == "auto" and data.by_name else asked.split)
    protocol = find_protocol(asked.protocol or usual(recipe.cls, split))
    return Source(recipe, first(split, asked.count), data.train, name, manifest.digest, protocol)


def sample_run(
    there: Trained, folder: Path, asked: SampleRequest = SampleRequest(), progress: Progress | None = None
) -> Samples:
    """Translate into `folder` what the protocol asks for: that of pairs where the truth is known, unless one is named.

    Raises DataError, EvaluationError, CheckpointError.
    """
    return _made(there, folder, asked, find(there, asked), progress)


def usual(cls: type[Method], split: Split) -> str:
    """The protocol where none is named."""
    if cls.traits.multi_domain:
        return "domains"
    if cls.traits.unconditional:
        return "drawn"
    if cls.traits.upscale_factor > 1:
        return "srgan-y"
    return "paired-default" if split.aligned else "unpaired-default"


def _made(there: Trained, folder: Path, asked: SampleRequest, found: Source, progress: Progress | None) -> Samples:
    if isinstance(there, Run):
        translator = from_run(there, asked.which, found.recipe.cls).to(asked.device)
    else:
        translator = from_model(there, asked.cls).to(asked.device)
    warn_of_untrained(translator, _folder_of(there))
    about = {**_about(there, found.recipe, translator), "which": asked.which, "split": found.name, "count": asked.count}
    return sample(translator, found.recipe, found.split, found.train, found.protocol, folder, about, progress)


def samples_of(there: Trained, asked: SampleRequest = SampleRequest(), progress: Progress | None = None) -> Samples:
    """As `sample_run`, within the folder of the run or model. EvaluationError if something else lies there.

    Those of another step, question or images are made anew.
    """
    folder = _folder_of(there) / "samples" / (find_protocol(asked.protocol).name if asked.protocol else "default")
    made = folder / "asked.json"
    found = find(there, asked)
    question = {**asdict(asked), "checkpoint": _newest(there, asked.which), "images": found.digest}
    text = json.dumps(question, sort_keys=True)
    if made.is_file() and made.read_text(encoding="utf-8") == text:
        return sampling.open_samples(folder)
    if folder.exists():
        if not made.is_file():
            raise EvaluationError(
                f"{folder}: `diptych evaluate` would replace it, but did not make it: move it elsewhere"
            )
        shutil.rmtree(folder)
    write_text(made, "")  # ours from now on, whatever stops what follows
    samples = _made(there, folder, asked, found, progress)
    write_text(made, text)
    return samples


def _folder_of(there: Trained) -> Path:
    return there.folder if isinstance(there, Run) else there


def _newest(there: Trained, which: str) -> str:
    if not isinstance(there, Run):
        return digest_of(there / "model.safetensors")
    path, (_, meta) = checkpoint.find_newest(there.checkpoints)
    return str(meta["best"]["name"]) if which == "best" and meta["best"] else path.name


def sample(
    translator: Translator,
    recipe: Recipe,
    split: Split,
    train: Split,
    protocol: Protocol,
    folder: Path,
    about: dict[str, Any],
    progress: Progress | None = None,
) -> Samples:
    """The sources of `split`, in each way of the protocol: whole, or resized and cropped as held-out images are."""
    ways = protocol.ways(translator.method, split, train)
    if not ways:
        raise EvaluationError(f"{translator.name} does not translate pictures, so there is nothing to sample")
    crop, fit = recipe.data.crop_size, recipe.data.resize_mode
    cut = CropToMultiple(translator.method.traits.upscale_factor) if protocol.whole else Augment(crop, crop, fit)
    about = {**about, "protocol": str(protocol), **({} if protocol.whole else {"pixels": crop})}
    about |= {"values": notes} if (notes := "; ".join(notes_on_encodings(split))) else {}
    return sampling.write(translator, ways, folder, cut, about, progress)


def judge_samples(samples: Samples, protocol: Protocol, tools: Tools, name: str) -> Result:
    """Every score of the protocol, route by route. Raises EvaluationError where it cannot be applied."""
    tools.begin()
    if values := samples.about.get("values"):
        tools.say(f"pixels are measured as the network sees them ({values})")
    scores = []
    routes = samples.by_route()
    for route, part in routes.items():
        before = f"{route}/" if len(routes) > 1 else ""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            scores += [replace(score, name=before + score.name) for score in protocol.scores(part, tools)]
        for each in caught:
            tools.say(str(each.message))
    if protocol.overall and len(routes) > 1:
        scores += protocol.overall(scores)
    if not scores:
        why = f": {tools.said[-1]}" if tools.said else "; an extractor or a judge would see more"
        raise EvaluationError(f"{name}: {protocol} found nothing to measure in these pictures{why}")
    return Result(
        protocol=str(protocol),
        name=name,
        about=dict(samples.about),
        images=samples.images(),
        tools=tools.known(),
        said=tuple(dict.fromkeys(tools.said)),
        scores=tuple(scores),
    )


def chosen(data: Data, name: str) -> tuple[str, Split]:
    """A split by name: `auto` is test where there is one, else what was held out; `all` of a set without splits."""
    if name not in SPLITS:
        raise EvaluationError(f"--split {name}: choose one of {', '.join(SPLITS)}")
    if name == "auto":
        return ("test", data.test) if data.test else ("held out", data.held_out)
    if name == "all" and not data.by_name:
        raise EvaluationError("--split all is for a folder without splits, and this one has some: choose one of them")
    if name == "all":
        return name, data.everything
    found = {"train": data.train, "val": data.held_out, "test": data.test}[name]
    if found is None:
        raise EvaluationError("there is no test split beside what was held out: give --split auto")
    return name, found


def first(split: Split, count: int | None) -> Split:
    """The first `count` samples of each column; of labelled ones, the first of each class."""
    if count is None:
        return split
    found: dict[str, Column] = {}
    for names in split.drawn if split.members else [(name,) for name in split.columns]:
        length = len(split.columns[names[0]])
        of_classes = split.members and length == sum(map(len, split.members))
        each = split.members if of_classes else (np.arange(length),)
        for name in names:
            found[name] = select(split.columns[name], sorted(place for at in each for place in at[:count].tolist()))
    found = {name: found[name] for name in split.columns}
    places = sorted(place for places in split.members for place in places[:count].tolist())
    return replace(
        split, columns=found, scene_ids=[split.scene_ids[place] for place in places] if split.scene_ids else ()
    )


def _about(there: Trained, recipe: Recipe, translator: Translator) -> dict[str, Any]:
    """What a table of results says of a run beside its scores."""
    events = read_events(there.events) if isinstance(there, Run) else []
    steps = [event for event in events if event["event"] == "step"]
    rates = [event["steps_per_second"] for event in steps if event.get("steps_per_second")]
    return {
        "method": recipe.method,
        "run": _folder_of(there).absolute().name,
        "steps": translator.notes.get("steps"),
        "parameters": sum(p.numel() for p in translator.method.parameters()),
        "training_hours": _hours(steps, rates) if steps else None,
        "data": Path(recipe.data.root).name,
    }


def _hours(steps: list[dict[str, Any]], rates: list[float]) -> float | None:
    """Of training itself, from the rates of the log: stops between sittings are not counted."""
    ends = [0, *(event["step"] for event in steps)]
    spans = [end - start for start, end in pairwise(ends)]
    if not rates or len(rates) != len(spans):
        return None
    return round(sum(span / rate for span, rate in zip(spans, rates, strict=True)) / 3600, 6)
