"""Labels as a person names them: the controls of methods that are told a domain, or attributes to change."""

from collections.abc import Iterable, Iterator

from diptych.contract import Control, Labels
from diptych.errors import ConfigError, nearest, shown


def controls(sets: tuple[Labels, ...]) -> Iterator[Control]:
    """How a person says what to translate to."""
    classes = tuple(name for labels in sets if labels.kind == "class" for name in labels.names)
    flags = [name for labels in sets if labels.kind == "attributes" for name in labels.names]
    if classes:
        yield Control("domain", "domain to translate to", "" if flags else classes[0], classes)
    if flags:
        among = f"of {', '.join(flags[:10])}{', ...' if len(flags) > 10 else ''}"
        yield Control("has", f"attributes that the image has now, with commas between; {among}", "")
        yield Control("flip", "attributes to change; one of a group that exclude each other clears the others", "")


def wanted(sets: tuple[Labels, ...], domain: str, has: str, flip: str) -> tuple[int, set[str]]:
    """The data set that the controls are about, and those of its labels that the translation should have."""
    by_class, by_flag = ([at for at, each in enumerate(sets) if each.kind == k] for k in ("class", "attributes"))
    if domain and flip:
        raise ConfigError(f"domain={domain!r} and flip={flip!r}: a translation goes by one or by the other")
    if domain or not by_flag:
        name = domain or sets[0].names[0]
        return place("domain", name, sets, by_class), {name}
    owned = {name: place("has", name, sets, by_flag) for name in parted(has)}
    asked = {name: place("flip", name, sets, by_flag) for name in parted(flip)}
    places = {**owned, **asked}
    if len(set(places.values())) > 1:
        raise ConfigError(f"{', '.join(places)}: attributes of several data sets; give those of one")
    at = next(iter(places.values()), by_flag[0])
    return at, flipped(sets[at], owned, asked)


def flipped(labels: Labels, has: Iterable[str], flip: Iterable[str]) -> set[str]:
    """The published way: one of a group that exclude each other is set and the others cleared; others change over."""
    on, changed = set(has), list(flip)
    for name in changed:
        group = next((set(group) for group in labels.exclusive if name in group), set())
        if len(group.intersection(changed)) > 1:
            raise ConfigError(f"flip={','.join(changed)!r}: of {', '.join(sorted(group))} an image has one at most")
        on = on - group | {name} if group else on ^ {name}
    return on


def parted(text: str) -> list[str]:
    """Names with commas between, each once."""
    return list(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))


def place(control: str, name: str, sets: tuple[Labels, ...], among: list[int]) -> int:
    """Which of these data sets has a label of that name. ConfigError."""
    for at in among:
        if name in sets[at].names:
            return at
    known = [each for at in among for each in sets[at].names]
    raise ConfigError(
        f"{control}={shown(name)}: no such label{nearest(name, known)}; there are {', '.join(known) or 'none'}"
    )
