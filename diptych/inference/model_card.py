"""The model card: method, usage, training images and settings of a model folder."""

import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import yaml

from diptych.contract import Control, Method
from diptych.data.image_format import TrainingImages
from diptych.errors import printable
from diptych.networks import user_code

CAUTION = "caution"  # the note shown first in the card and as a warning when the model is loaded
TEMPLATE = """---
{metadata}---
# {name}

{title}
{caution}
```python
import diptych
{imports}translator = diptych.load("{source}"{arguments})
{use}
```

Images of any size are padded by reflection to a multiple of {size_multiple} pixels and cropped back.
Input and output channels: {channels}. Controls: {controls}.
{images}{sections}
| setting | value |
|---|---|
{settings}
"""
TRANSLATE = 'translator("input.png").save("output.png")'
SAMPLE = 'translator.sample(1)[0].save("output.png")'
LOCAL = "this folder, or its hub id"


def write(
    method: Method,
    name: str,
    notes: dict[str, Any],
    images: TrainingImages | None = None,
    *,
    source: str = LOCAL,
    metadata: Mapping[str, Any] = MappingProxyType({}),
    sections: str = "",
) -> str:
    """Return the model card as Markdown: `metadata` is added to its front matter, `sections` before the settings.

    `source` is the argument of `load` in its example.
    """
    imports, arguments = _code_of_the_user(method, name)
    title = (inspect.getdoc(inspect.getmodule(type(method))) or name).splitlines()[0]
    name = code(name).strip("`")
    settings = {**method.config.model_dump(), **notes}
    generates = method.traits.unconditional
    tag = "unconditional-image-generation" if generates else "image-to-image"
    front = {"library_name": "diptych", "pipeline_tag": tag, "tags": f"{tag} gan {name}".split(), **metadata}
    return TEMPLATE.format(
        metadata=yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=1000),
        name=name,
        source=source,
        use=SAMPLE if generates else TRANSLATE,
        sections=sections,
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
