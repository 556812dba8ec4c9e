"""The model card: method, usage, training images and settings of a model folder."""

import inspect
from typing import Any

from diptych.contract import Control, Method
from diptych.data.image_format import TrainingImages
from diptych.errors import printable
from diptych.networks import user_code

CAUTION = "caution"  # the note shown first in the card and as a warning when the model is loaded
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
{imports}translator = diptych.load("this folder, or its hub id"{arguments})
translator("input.png").save("output.png")
```

Images of any size are padded by reflection to a multiple of {size_multiple} pixels and cropped back.
Input and output channels: {channels}. Controls: {controls}.
{images}
| setting | value |
|---|---|
{settings}
"""


def write(method: Method, name: str, notes: dict[str, Any], images: TrainingImages | None = None) -> str:
    """Return the model card as Markdown."""
    imports, arguments = _code_of_the_user(method, name)
    title = (inspect.getdoc(inspect.getmodule(type(method))) or name).splitlines()[0]
    name = code(name).strip("`")
    settings = {**method.config.model_dump(), **notes}
    return TEMPLATE.format(
        name=name,
        title=title,
        imports=imports,
        arguments=arguments,
        caution=f"\n**Caution:** {code(notes[CAUTION])}\n" if CAUTION in notes else "",
        size_multiple=method.traits.size_multiple,
        channels=", ".join(f"{side} {count}" for side, count in method.channels().items()),
        images=_training(images) if images else "",
        controls="; ".join(map(_described, method.controls)) or "none",
        settings="\n".join(f"| {code(key)} | {code(value)} |" for key, value in settings.items()),
    )


def _code_of_the_user(method: Method, name: str) -> tuple[str, str]:
    """Return the import and the arguments by which `load` gets a method or network that is not part of Diptych."""
    imports, arguments = "", ""
    if user_code.is_code(name):
        module, _, cls = name.partition(":")
        imports, arguments = f"from {module} import {cls}\n", f", method={cls}"
    if network := user_code.named_in(vars(method.config)):
        arguments += f', allow_code=["{network}"]'
    return imports, arguments


def _described(control: Control) -> str:
    """Return name, help and choices of a control."""
    choices = f" ({', '.join(map(code, control.choices))})" if control.choices else ""
    return f"`{control.name}`: {code(control.help)}{choices}"


def _training(images: TrainingImages) -> str:
    """Return a table of the training images with a row for each batch entry."""
    rows = [
        f"| {code(name)} | {code(stored.domain)} | {stored.width} x {stored.height} | {stored.dtype} |"
        for name, stored in images.entries.items()
    ]
    size = "" if images.fit == "none" else f"to `load_size={images.load}` "
    resized = f"Resized {size}with `resize_mode={images.fit}`, then cut to `crop_size={images.crop}`."
    head = "| training images | domain | median width x height | values |\n|---|---|---|---|"
    return "\n".join(["", resized, "", head, *rows, ""]) if rows else ""


def code(value: object) -> str:
    """Return the value as inline code for a Markdown table; text from a file cannot add links, tags or columns."""
    text = printable(str(value)[:200]).replace("`", "'").replace("|", "\\|")
    return f"`{text}`" if text else ""
