"""Colours of label maps as settings: a level (0 to 255) per channel, or a bare class number for one channel."""

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

Level = Annotated[int, Field(ge=0, le=255)]


def as_colour(value: Any) -> Any:
    """Return a class number as the colour of a map of one channel; other values unchanged."""
    return (value,) if isinstance(value, int) and not isinstance(value, bool) else value


Colour = Annotated[tuple[Level, ...], BeforeValidator(as_colour)]


def name_of(colour: Iterable[int]) -> str:
    """Return the colour in hexadecimal: `#ff0000` for (255, 0, 0), `#07` for (7,)."""
    return "#" + bytes(map(int, colour)).hex()


def problem_of(colours: tuple[tuple[int, ...], ...], ignore: tuple[tuple[int, ...], ...]) -> str:
    """Return what is wrong with a palette and its ignored colours; an empty string if nothing is."""
    if len(set(map(len, (*colours, *ignore)))) > 1:
        return "all colours of a palette, and the ignored ones, need the same number of channels"
    if both := [colour for colour in ignore if colour in colours]:
        return f"{name_of(both[0])} is in the palette and ignored: leave it out of one of them"
    if len(colours) + len(ignore) > 256:
        return f"{len(colours)} classes and {len(ignore)} ignored colours are more than 256"
    return ""
