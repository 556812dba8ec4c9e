"""The controls of methods that translate between domains, or change attributes: `domain`, `has`, `flip`."""

from collections.abc import Iterable, Iterator

from diptych.contract import Control, Labels
from diptych.errors import ConfigError, nearest, shown


def controls(label_sets: tuple[Labels, ...]) -> Iterator[Control]:
    """Yield the controls for the labels of these data sets."""
    classes = tuple(name for labels in label_sets if labels.kind == "class" for name in labels.names)
    attributes = [name for labels in label_sets if labels.kind == "attributes" for name in labels.names]
    if classes:
        yield Control("domain", "domain to translate to", "" if attributes else classes[0], classes)
    if attributes:
        names = f"{', '.join(attributes[:10])}{', ...' if len(attributes) > 10 else ''}"
        yield Control("has", f"attributes of the input image, separated by commas; of {names}", "")
        yield Control("flip", "attributes to change; setting one of an exclusive group clears the others", "")


def wanted(label_sets: tuple[Labels, ...], domain: str, has: str, flip: str) -> tuple[int, set[str]]:
    """Return the index of the data set of these controls, and the labels that the translation should have."""
    with_classes = [index for index, labels in enumerate(label_sets) if labels.kind == "class"]
    with_attributes = [index for index, labels in enumerate(label_sets) if labels.kind == "attributes"]
    if domain and flip:
        raise ConfigError(f"domain={domain!r} and flip={flip!r}: give one of them")
    if domain or not with_attributes:
        name = domain or label_sets[0].names[0]
        return _index_of("domain", name, label_sets, with_classes), {name}
    present = {name: _index_of("has", name, label_sets, with_attributes) for name in split_names(has)}
    changed = {name: _index_of("flip", name, label_sets, with_attributes) for name in split_names(flip)}
    indices = {**present, **changed}
    if len(set(indices.values())) > 1:
        raise ConfigError(f"{', '.join(indices)}: attributes of several data sets; give those of one")
    index = next(iter(indices.values()), with_attributes[0])
    return index, flipped(label_sets[index], present, changed)


def flipped(labels: Labels, has: Iterable[str], flip: Iterable[str]) -> set[str]:
    """Return the attributes after flipping some; one of an exclusive group is set, and the others are cleared."""
    present, changes = set(has), list(flip)
    for name in changes:
        group = next((set(group) for group in labels.exclusive if name in group), set())
        if len(group.intersection(changes)) > 1:
            raise ConfigError(
                f"flip={','.join(changes)!r}: the attributes {', '.join(sorted(group))} are mutually exclusive"
            )
        present = present - group | {name} if group else present ^ {name}
    return present


def split_names(text: str) -> list[str]:
    """Return names separated by commas, each once."""
    return list(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))


def _index_of(control: str, name: str, label_sets: tuple[Labels, ...], among: list[int]) -> int:
    """Return the index of the data set that has a label, of those in `among`. Raises ConfigError."""
    for index in among:
        if name in label_sets[index].names:
            return index
    known = [label for index in among for label in label_sets[index].names]
    if not known:
        raise ConfigError(
            f"{control}={shown(name)}: this model has no {'domains' if control == 'domain' else 'attributes'}"
        )
    raise ConfigError(
        f"{control}={shown(name)}: no such label{nearest(name, known)}; expected one of {', '.join(known)}"
    )
