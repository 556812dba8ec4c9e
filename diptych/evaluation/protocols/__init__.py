"""Evaluation protocols: what is translated and which metrics are computed, each with a name and a version.

Scores of two protocols, or of two versions of one, are not comparable: a change that changes scores is a new version.
To add a protocol, add a module here with a `PROTOCOL`, and its name to the table.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import Any

import numpy as np

from diptych.contract import Labels, Method
from diptych.data.dataset import Split, select
from diptych.errors import EvaluationError, nearest, shown
from diptych.evaluation.metrics.intervals import Score
from diptych.evaluation.metrics.on_samples import Pass, fitting_metrics
from diptych.evaluation.samples import Choices, Samples, TranslationJob, safe_name
from diptych.evaluation.tools import Tools
from diptych.settings import renamed

PROTOCOLS: Mapping[str, str] = MappingProxyType(
    {
        "paired-default": "diptych.evaluation.protocols.paired_default",
        "unpaired-default": "diptych.evaluation.protocols.unpaired_default",
        "attribute-transfer": "diptych.evaluation.protocols.attribute_transfer",
        "pix2pix-fcn": "diptych.evaluation.protocols.pix2pix_fcn",
        "label-maps": "diptych.evaluation.protocols.label_maps",
        "thin-structures": "diptych.evaluation.protocols.thin_structures",
        "colorization": "diptych.evaluation.protocols.colorization",
        "inpainting": "diptych.evaluation.protocols.inpainting",
        "srgan-y": "diptych.evaluation.protocols.srgan_y",
        "domains": "diptych.evaluation.protocols.domains",
        "starganv2": "diptych.evaluation.protocols.starganv2",
        "stargan-expressions": "diptych.evaluation.protocols.stargan_expressions",
        "dtn-digits": "diptych.evaluation.protocols.dtn_digits",
        "dtn-left-out": "diptych.evaluation.protocols.dtn_left_out",
        "dtn-adaptation": "diptych.evaluation.protocols.dtn_adaptation",
        "msgan-diversity": "diptych.evaluation.protocols.msgan_diversity",
        "video": "diptych.evaluation.protocols.video",
        "unconditional": "diptych.evaluation.protocols.unconditional",
        "classifier-accuracy": "diptych.evaluation.protocols.classifier_accuracy",
    }
)


@dataclass(frozen=True)
class Protocol:
    """An evaluation protocol.

    jobs: returns the translations to compute for a method, the evaluated split and the training split.
    metrics: the names of metrics by the function that computes them, for each job.
    summarise: computes scores over all jobs, if there are several; `summary_metrics` are those that only it reports.
    monitors: metrics that may select the best checkpoint by default, in order of preference; the first metric if empty.
    whole_images: images keep their size; by default they are resized and cropped as in training.
    distinct_images: results are comparable if the distinct images are the same, however often each is translated.
    """

    name: str
    version: int
    description: str
    jobs: Callable[[Method, Split, Split], Sequence[TranslationJob]]
    metrics: Mapping[Pass, tuple[str, ...]]
    needs_evaluator: bool = False
    summarise: Callable[[Sequence[Score]], Iterator[Score]] | None = None
    summary_metrics: tuple[str, ...] = ()
    monitors: tuple[str, ...] = ()
    whole_images: bool = False
    distinct_images: bool = False

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"

    def names(self) -> tuple[str, ...]:
        """Return the names of its metrics, in order."""
        return tuple(dict.fromkeys([*chain.from_iterable(self.metrics.values()), *self.summary_metrics]))

    def scores(self, samples: Samples, tools: Tools) -> Iterator[Score]:
        """Yield the scores of one route. Metrics that need larger images are noted before anything is computed."""
        fitting = {function: fitting_metrics(names, samples, tools) for function, names in self.metrics.items()}
        for function, names in fitting.items():
            if names:
                yield from function(samples, tools, names)


def find_protocol(name: str) -> Protocol:
    """Return a protocol by its name. EvaluationError with the present name of a renamed one, or the nearest name."""
    if problem := unknown_protocol(name):
        raise EvaluationError(problem)
    protocol: Protocol = importlib.import_module(PROTOCOLS[name]).PROTOCOL
    return protocol


def unknown_protocol(name: str) -> str:
    """Return why there is no protocol of this name; `` if there is one."""
    if name in PROTOCOLS:
        return ""
    present = renamed.value_of("protocol", name)
    if present in PROTOCOLS:
        return f"protocol {shown(name)} is now {present}"
    return f"unknown protocol {shown(name)}{nearest(name, PROTOCOLS)}; choose one of {', '.join(PROTOCOLS)}"


def route_jobs(method: Method, split: Split, train: Split) -> list[TranslationJob]:
    """Return jobs that translate every source once.

    A source is translated by each route; of many domains, to each other domain; with attributes, each is changed.
    """
    if not method.traits.multi_domain:
        return [
            TranslationJob(
                f"{route.source}-{route.target}",
                split.columns.get(route.source, split.columns[route.target]),
                split.columns[route.target],
                split.aligned,
                same_controls(route.controls),
                (route.source, route.target),
            )
            for route in method.routes
        ]
    return domain_pair_jobs(method, split) if split.class_indices else attribute_jobs(method, split)


def same_controls(controls: Mapping[str, Any]) -> Choices:
    """Return choices with the same controls for every source."""
    return lambda index: [controls]


def known_labels(method: Method, split: Split) -> Labels:
    """Return the labels of these images: some classes of a data set that the method learned, or its attributes.

    EvaluationError for others; a missing attribute would count as one that no image has.
    """
    learned: tuple[Labels, ...] = next(iter(method.labels().values()))
    labels = split.labels
    if labels:
        fits = set.__le__ if labels.kind == "class" else set.__eq__
        if any(labels.kind == other.kind and fits(set(labels.names), set(other.names)) for other in learned):
            return labels
    known = "; ".join(shown(", ".join(other.names)) for other in learned)
    given = shown(", ".join(labels.names)) if labels else "no labels"
    raise EvaluationError(f"the model learned {known}, and the images have {given}: give images with those labels")


def domain_pair_jobs(method: Method, split: Split, to_own: bool = False) -> list[TranslationJob]:
    """Return a job for each ordered pair of classes, with `to_own` also from a class to itself.

    Targets are ground truths if every scene is known in both classes.
    """
    entry = method.routes[0].source
    names = known_labels(method, split).names
    if not split.class_indices:
        raise EvaluationError("this protocol translates between classes, and these images have attributes")
    safe = safe_names(names)
    jobs = []
    for a, sources in enumerate(split.class_indices):
        for b, others in enumerate(split.class_indices):
            if a == b and not to_own:
                continue
            truths = _scenes_in_class(split, sources, b)
            aligned = len(truths) == len(sources)
            jobs.append(
                TranslationJob(
                    f"{safe[a]}-{safe[b]}",
                    select(split.columns[entry], sources.tolist()),
                    select(split.columns[entry], truths if aligned else others.tolist()),
                    aligned,
                    same_controls({"domain": names[b]}),
                    (entry, entry),
                    target_name=safe[b],
                )
            )
    return jobs


def _scenes_in_class(split: Split, sources: np.ndarray, number: int) -> list[int]:
    """Return the images of the class that show the same scenes as the sources, as far as they are known."""
    if not split.scene_ids:
        return []
    indices = [split.scene_index.get((split.scene_ids[source], number)) for source in sources]
    return [index for index in indices if index is not None]


def safe_names(names: Sequence[str]) -> list[str]:
    """Return names for folders; they are numbered if two of them, or of their pairs, would be equal."""
    safe = [safe_name(name) for name in names]
    if len({f"{a}-{b}" for a in safe for b in safe}) < len(safe) ** 2:
        return [f"{number}_{name}" for number, name in enumerate(safe)]
    return safe


def attribute_jobs(method: Method, split: Split) -> list[TranslationJob]:
    """Return a job for each attribute, which flips it in every image; the targets are the images themselves.

    An attribute of a mutually exclusive group is flipped only in images that do not have it.
    """
    entry, label = method.routes[0].source, next(iter(method.label_fields()))
    rows = np.asarray(split.columns[label])
    labels = known_labels(method, split)
    present = [",".join(name for name, on in zip(labels.names, row, strict=True) if on) for row in rows]
    exclusive = {name for group in labels.exclusive for name in group}
    jobs = []
    for attribute, (name, safe) in enumerate(zip(labels.names, safe_names(labels.names), strict=True)):
        indices = np.flatnonzero(rows[:, attribute] == 0).tolist() if name in exclusive else list(range(len(rows)))
        controls: list[list[dict[str, Any]]] = [[{"flip": name, "has": present[index]}] for index in indices]
        images = select(split.columns[entry], indices)
        jobs.append(TranslationJob(f"flip-{safe}", images, images, False, controls.__getitem__, (entry, entry)))
    return jobs
