"""The card of a shipped model: what it is, how to use it, how it was made."""

import inspect
from typing import Any

from diptych.contract import Method
from diptych.data.image_format import TrainingImages
from diptych.errors import printable

CAUTION = "caution"  # the note that the card shows first, and that is a warning whenever the model is loaded
TEMPLATE = """---
library_name: diptych
pipeline_tag: image-to-image
tags: [image-to-image, gan, {name}]
---
# {name}

{title}
{caution}
```python
import diptych
translator = diptych.load("this folder, or its hub id")
translator("input.png").save("output.png")
```

Images of any size are padded by reflection to a multiple of {multiple} pixels and cropped back.
Input and output channels: {channels}. Controls: {controls}.
{images}
| setting | value |
|---|---|
{settings}
"""


def write(method: Method, name: str, notes: dict[str, Any], images: TrainingImages | None = None) -> str:
    title = (inspect.getdoc(inspect.getmodule(type(method))) or name).splitlines()[0]
    name = code(name).strip("`")
    settings = {**method.config.model_dump(), **notes}
    return TEMPLATE.format(
        name=name,
        title=title,
        caution=f"\n**Caution:** {code(notes[CAUTION])}\n" if CAUTION in notes else "",
        size_multiple=method.traits.size_multiple,
        channels=", ".join(f"{side} {count}" for side, count in method.channels().items()),
        images=_training(images) if images else "",
        controls="; ".join(f"`{c.name}`: {code(c.help)}" for c in method.controls) or "none",
        settings="\n".join(f"| {code(key)} | {code(value)} |" for key, value in settings.items()),
    )


def _training(images: TrainingImages) -> str:
    """Return a table of the training images, a row for each batch entry."""
    rows = [
        f"| {code(name)} | {code(each.domain)} | {each.width} x {each.height} | {each.dtype} |"
        for name, each in images.entries.items()
    ]
    size = "" if images.fit == "none" else f"to `load_size={images.load}` "
    resized = f"Resized {size}with `resize_mode={images.fit}`, then cut to `crop_size={images.crop}`."
    head = "| training images | domain | median width x height | values |\n|---|---|---|---|"
    return "\n".join(["", resized, "", head, *rows, ""]) if rows else ""


def code(value: object) -> str:
    """As code in a table of Markdown: no link, tag or column begins in a text that came with a file."""
    text = printable(str(value)[:200]).replace("`", "'").replace("|", "\\|")
    return f"`{text}`" if text else ""
