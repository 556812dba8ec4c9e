"""HTML from the templates of `diptych/templates`. Every value is escaped; an undefined one is an error."""

import base64
import io
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True)
class EmbeddedImage:
    """An image embedded in a page: its data URI, its text for screen readers, and its width on the page in pixels.

    `kind` is `pixels`, enlarged without interpolation, or `plot`, recoloured on dark pages.
    """

    source: str
    alt: str
    width: int
    kind: str = "pixels"


def render(template: str, **values: Any) -> str:
    """Return the HTML of a template, such as `report.html`, filled with the values."""
    return _environment().get_template(template).render(values)


def data_uri(image: Image.Image, kind: str = "PNG", **options: Any) -> str:
    """Return an image as a data URI. `kind` and `options` are those of `PIL.Image.Image.save`."""
    data = io.BytesIO()
    image.save(data, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(data.getvalue()).decode()}"


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("diptych")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
