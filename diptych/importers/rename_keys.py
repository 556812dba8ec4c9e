"""State dicts of others under our names: what the importers of whole families have in common."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from diptych.contract import Labels, Method
from diptych.errors import ConfigError, ImportRefused, printable, shown
from diptych.inference.load import mismatches
from diptych.settings.validate import checked

Model = tuple[dict[str, Any], dict[str, Tensor], tuple[str, ...]]  # config, weights with our keys, networks
Patterns = Sequence[tuple[str, str]]  # (regular expression of their key, ours)


def unfit(error: Exception, what: str, where: str) -> ImportRefused:
    """The refusal of a file whose names are those of `what`, but whose reader failed with this error."""
    if isinstance(error, KeyError) and error.args and isinstance(error.args[0], str):
        return ImportRefused(f"{where}: looks like {what}, but {shown(error.args[0])} is missing")
    return ImportRefused(f"{where}: looks like {what}, but tensors are missing, or have shapes that it cannot have")


def renamed(state: Mapping[str, Tensor], patterns: Patterns, dropped: str) -> dict[str, Tensor]:
    """Each key by the first pattern that is the whole of it; those without one stay. What `dropped` matches goes."""
    found = {}
    for key, value in state.items():
        if re.fullmatch(dropped, key):
            continue
        ours = next((match.expand(new) for old, new in patterns if (match := re.fullmatch(old, key))), key)
        found[ours] = value
    return found


def fitted(
    cls: type[Method], config: Mapping[str, Any], found: Mapping[str, Tensor], name: str, where: str
) -> dict[str, Tensor]:
    """These weights in the shapes of a method of that config; entries of size 1 may stand on other axes.

    Only networks that are there at all must be whole. ImportRefused says what is missing or odd.
    """
    try:
        settings = checked(cls.Config, config, where)
    except ConfigError as error:
        raise ImportRefused(f"{where}: a generator of {name} that Diptych does not build ({error})") from error
    with torch.device("meta"):
        blank = cls(settings).state_dict()
    there = tuple({f"{key.partition('.')[0]}." for key in found})
    wanted = {key: value for key, value in blank.items() if key.startswith(there)}
    shaped = {
        key: value.reshape(wanted[key].shape) if key in wanted and squeezed(value) == squeezed(wanted[key]) else value
        for key, value in found.items()
    }
    if wrong := mismatches(wanted, shaped):
        raise ImportRefused(
            f"{where}: taken for {name}, but {'; '.join(map(printable, wrong[:5]))}"
            + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        )
    return shaped


def folded(state: Mapping[str, Tensor], norms: Mapping[str, str], found: dict[str, Tensor]) -> None:
    """Take the biases of convolutions before BatchNorm into its running means in `found`, which gives the same numbers.

    `norms` has their prefix of each convolution and ours of its norm. Our convolutions have no bias there.
    """
    for conv, norm in norms.items():
        if f"{conv}.bias" in state and f"{norm}.running_mean" in found:
            found[f"{norm}.running_mean"] = found[f"{norm}.running_mean"] - state[f"{conv}.bias"]


def check_gaps(numbers: Iterable[int], first: int, name: str, where: str) -> None:
    """ImportRefused if numbered layers do not follow each other from `first` on; in `name`, * is the number."""
    there = sorted(set(numbers))
    if missing := sorted(set(range(first, max(there, default=first))) - set(there)):
        raise ImportRefused(
            f"{where}: {name.replace('*', str(missing[0]))} is missing, though {name.replace('*', str(there[-1]))} "
            f"is there: the file is incomplete"
        )


def squeezed(value: Tensor) -> list[int]:
    return [size for size in value.shape if size != 1]


def count(state: Mapping[str, Tensor], pattern: str) -> int:
    """How many different numbers stand there among the keys."""
    return len({match[1] for key in state if (match := re.match(pattern, key))})


def without_labels(labels: Sequence[Labels], where: str) -> None:
    """Raises ImportRefused if a person names domains or attributes, of a method that has none."""
    if labels:
        raise ImportRefused(f"{where}: labels are for methods of many domains, and this is of none")
