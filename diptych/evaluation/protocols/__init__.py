"""Protocols: what is translated and what is measured, named and numbered; a page for each. The table is a literal.

Numbers of two protocols, or of two versions of one, never stand in one column. A change that moves a number is a new
version.
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
from diptych.evaluation.metrics.on_samples import Pass, that_fit
from diptych.evaluation.samples import Choices, Samples, TranslationJob, plain_name
from diptych.evaluation.tools import Tools

PROTOCOLS: Mapping[str, str] = MappingProxyType(
    {
        "paired-default": "diptych.evaluation.protocols.paired_default",
        "unpaired-default": "diptych.evaluation.protocols.unpaired_default",
        "pix2pix-fcn": "diptych.evaluation.protocols.pix2pix_fcn",
        "label-maps": "diptych.evaluation.protocols.label_maps",
        "thin-structures": "diptych.evaluation.protocols.thin_structures",
        "srgan-y": "diptych.evaluation.protocols.srgan_y",
        "domains": "diptych.evaluation.protocols.domains",
        "starganv2": "diptych.evaluation.protocols.starganv2",
        "stargan-expressions": "diptych.evaluation.protocols.stargan_expressions",
        "dtn-digits": "diptych.evaluation.protocols.dtn_digits",
        "msgan-diversity": "diptych.evaluation.protocols.msgan_diversity",
        "drawn": "diptych.evaluation.protocols.unconditional",
        "told-apart": "diptych.evaluation.protocols.classifier_accuracy",
    }
)


@dataclass(frozen=True)
class Protocol:
    """`ways` says what to translate, of a method, a split and the images it trained on; `metrics` what to measure of
    each way: by the pass over the samples that computes them, the names of metrics of the table.

    Images are cut as in training, unless they are to be `whole`.
    `overall` sums up the scores of all ways, where there are more than one; metrics that only it gives are
    `overall_metrics`. `chooses` are the measures that may choose
    the best checkpoint unasked, by preference; without any, the first does.
    """

    name: str
    version: int
    about: str
    ways: Callable[[Method, Split, Split], Sequence[TranslationJob]]
    metrics: Mapping[Pass, tuple[str, ...]]
    needs_judge: bool = False
    overall: Callable[[Sequence[Score]], Iterator[Score]] | None = None
    overall_metrics: tuple[str, ...] = ()
    chooses: tuple[str, ...] = ()
    whole: bool = False

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"

    def names(self) -> tuple[str, ...]:
        """The metrics that it lists, in order."""
        return tuple(dict.fromkeys([*chain.from_iterable(self.metrics.values()), *self.overall_metrics]))

    def scores(self, samples: Samples, tools: Tools) -> Iterator[Score]:
        """Measure one way. Of metrics that need larger images it is said, before anything is computed."""
        fitting = {measure: that_fit(names, samples, tools) for measure, names in self.metrics.items()}
        for measure, names in fitting.items():
            if names:
                yield from measure(samples, tools, names)


def each_route(method: Method, split: Split, train: Split) -> list[TranslationJob]:
    """Every source once: by its route; of many domains in each other one; of attributes with each of them changed."""
    if not method.traits.multi_domain:
        return [
            TranslationJob(
                f"{route.source}-{route.target}",
                split.columns.get(route.source, split.columns[route.target]),
                split.columns[route.target],
                split.aligned,
                always(route.controls),
                (route.source, route.target),
            )
            for route in method.routes
        ]
    return each_pair(method, split) if split.members else each_flip(method, split)


def always(controls: Mapping[str, Any]) -> Choices:
    """The same for every source."""
    return lambda number: [controls]


def known_labels(method: Method, split: Split) -> Labels:
    """What the labels of these images say: some of the classes of one data set that it learned, or its attributes.

    EvaluationError for others. An attribute that a table does not have would be taken for one that no image has.
    """
    sets: tuple[Labels, ...] = next(iter(method.labels().values()))
    found = split.labels
    fits = set.__le__ if found and found.kind == "class" else set.__eq__
    if found and any(found.kind == each.kind and fits(set(found.names), set(each.names)) for each in sets):
        return found
    known = "; ".join(shown(", ".join(each.names)) for each in sets)
    there = shown(", ".join(found.names)) if found else "no labels"
    raise EvaluationError(f"the model knows {known}, and the images have {there}: judge those that it learned")


def each_pair(method: Method, split: Split, own: bool = False) -> list[TranslationJob]:
    """From each class to each other one, or its `own` too; the truth is known where scenes are in both."""
    image = method.routes[0].source
    names = known_labels(method, split).names
    if not split.members:
        raise EvaluationError("this protocol goes from class to class, and these images have attributes")
    plain, ways = plain_names(names), []
    for a, members in enumerate(split.members):
        for b, others in enumerate(split.members):
            if a == b and not own:
                continue
            truths = [split.twins.get((split.scene_ids[place], b)) for place in members] if split.scene_ids else [None]
            known = [place for place in truths if place is not None]
            aligned = len(known) == len(members)
            ways.append(
                TranslationJob(
                    f"{plain[a]}-{plain[b]}",
                    select(split.columns[image], members.tolist()),
                    select(split.columns[image], known if aligned else others.tolist()),
                    aligned,
                    always({"domain": names[b]}),
                    (image, image),
                    towards=plain[b],
                )
            )
    return ways


def plain_names(names: Sequence[str]) -> list[str]:
    """Names for folders, numbered where two of them, or of their pairs, would be the same."""
    plain = [plain_name(name) for name in names]
    if len({f"{a}-{b}" for a in plain for b in plain}) < len(plain) ** 2:
        return [f"{number}_{name}" for number, name in enumerate(plain)]
    return plain


def each_flip(method: Method, split: Split) -> list[TranslationJob]:
    """Each image with each attribute changed, save where one of a group that exclude each other is there already.

    Held against the same images as they are.
    """
    image, label = method.routes[0].source, next(iter(method.label_fields()))
    rows = np.asarray(split.columns[label])
    labels = known_labels(method, split)
    has = [",".join(name for name, on in zip(labels.names, row, strict=True) if on) for row in rows]
    grouped = {name for group in labels.exclusive for name in group}
    ways = []
    for at, (name, plain) in enumerate(zip(labels.names, plain_names(labels.names), strict=True)):
        places = np.flatnonzero(rows[:, at] == 0).tolist() if name in grouped else list(range(len(rows)))
        told: list[list[dict[str, Any]]] = [[{"flip": name, "has": has[place]}] for place in places]
        pictures = select(split.columns[image], places)
        ways.append(TranslationJob(f"flip-{plain}", pictures, pictures, False, told.__getitem__, (image, image)))
    return ways


def find_protocol(name: str) -> Protocol:
    """Raises EvaluationError with the nearest name."""
    if name not in PROTOCOLS:
        raise EvaluationError(
            f"no protocol is called {shown(name)}{nearest(name, PROTOCOLS)}; there are {', '.join(PROTOCOLS)}"
        )
    found: Protocol = importlib.import_module(PROTOCOLS[name]).PROTOCOL
    return found
