"""Protocols: what is translated and what is measured, named and numbered; a page for each. The table is a literal.

Numbers of two protocols, or of two versions of one, never stand in one column. A change that moves a number is a new
version.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from diptych.contract import Method
from diptych.errors import EvaluationError, nearest, shown
from diptych.evaluate.samples import Samples, Way
from diptych.evaluate.scores import Score
from diptych.evaluate.tools import Tools

PROTOCOLS: Mapping[str, str] = MappingProxyType(
    {
        "paired-default": "diptych.protocols.paired",
        "unpaired-default": "diptych.protocols.unpaired",
        "pix2pix-fcn": "diptych.protocols.fcn",
        "label-maps": "diptych.protocols.labels",
        "thin-structures": "diptych.protocols.thin",
        "srgan-y": "diptych.protocols.luma",
        "told-apart": "diptych.protocols.told",
    }
)


@dataclass(frozen=True)
class Protocol:
    """`ways` says what to translate, `scores` measures the samples of one route.

    `chooses` are the measures that may choose the best checkpoint unasked, by preference; without any, the first does.
    """

    name: str
    version: int
    about: str
    scores: Callable[[Samples, Tools], Iterator[Score]]
    ways: Callable[[Method], Sequence[Way]]
    needs_judge: bool = False
    chooses: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


def each_route(method: Method) -> list[Way]:
    """Every source once, with the controls of its route."""
    return [Way(route, route.controls) for route in method.routes]


def find_protocol(name: str) -> Protocol:
    """Raises EvaluationError with the nearest name."""
    if name not in PROTOCOLS:
        raise EvaluationError(
            f"no protocol is called {shown(name)}{nearest(name, PROTOCOLS)}; there are {', '.join(PROTOCOLS)}"
        )
    found: Protocol = importlib.import_module(PROTOCOLS[name]).PROTOCOL
    return found
