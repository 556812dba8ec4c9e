"""Bodies of requests: multipart forms or JSON, in memory, with bounded numbers of fields and files."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from diptych.serving.descriptions import ModelDescription
from diptych.web.problem import Problem

FORMATS: Mapping[str, str] = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "npy": "application/octet-stream",
}
MAX_FIELDS, MAX_FILES = 50, 10
MAX_TEXT = 10_000  # bytes of a field that is no file

Value = StrictBool | StrictInt | StrictFloat | StrictStr


class JsonRequest(BaseModel):
    """A translation as JSON. Images are base64, also those of controls."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    image: str
    controls: dict[str, Value] = Field({}, max_length=MAX_FIELDS)
    format: str = "png"


class SampleRequest(BaseModel):
    """A generated image as JSON: image `number` of a seed is always the same."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    number: int = Field(0, ge=0, le=1_000_000)
    seed: int = Field(0, ge=0, le=2**63 - 1)
    controls: dict[str, Value] = Field({}, max_length=MAX_FIELDS)
    format: str = "png"


@dataclass
class ImageRequest:
    """The files, controls and format of a request for a translation."""

    format: str = "png"
    controls: dict[str, Any] = field(default_factory=dict)
    images: dict[str, bytes] = field(default_factory=dict)


class MemoryParser(MultiPartParser):
    """Keeps files in memory, whose size `RequestLimits` has bounded; nothing is written to disk."""

    spool_max_size = 0  # never


async def read_request(request: Request, model: ModelDescription) -> ImageRequest:
    """Return the request for a translation. Raises Problem."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _form(request, model)
    if kind == "application/json":
        return _json(await request.body(), model)
    raise Problem(415, "expected multipart/form-data with an image file, or application/json", "Content-Type")


def check_format(format: str) -> str:
    """Return a format of answers. Raises Problem."""
    if format not in FORMATS:
        raise Problem(422, f"expected one of {', '.join(FORMATS)}", "format")
    return format


async def _form(request: Request, model: ModelDescription) -> ImageRequest:
    limits = {"max_files": MAX_FILES, "max_fields": MAX_FIELDS, "max_part_size": MAX_TEXT}
    try:
        form = await MemoryParser(request.headers, request.stream(), **limits).parse()
    except (MultiPartException, KeyError, UnicodeDecodeError) as error:
        raise Problem(400, f"not a valid form: {error}") from error
    read = ImageRequest()
    kinds = {control.name: control.kind for control in model.controls}
    for name, value in form.multi_items():
        if name in read.images or name in read.controls:
            raise Problem(422, "this field is given twice", name[:100])
        is_image = name == "image" or kinds.get(name) == "image"
        if is_image != isinstance(value, UploadFile):
            raise Problem(422, f"expected {'a file' if is_image else 'text, no file'}", name[:100])
        if isinstance(value, UploadFile):
            read.images[name] = await value.read()
        elif name == "format":
            read.format = value
        elif value or kinds.get(name) == "text":  # an empty field of a form: the default
            read.controls[name] = value
    check_format(read.format)
    return read


def _json(body: bytes, model: ModelDescription) -> ImageRequest:
    try:
        given = JsonRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        raise Problem(422, str(first["msg"]), ".".join(map(str, first["loc"]))[:100]) from error
    read = ImageRequest(check_format(given.format), {}, {"image": _decoded(given.image, "image")})
    kinds = {control.name: control.kind for control in model.controls}
    for name, value in given.controls.items():
        if kinds.get(name) == "image":
            read.images[name] = _decoded(value, name)
        else:
            read.controls[name] = value
    return read


def _decoded(value: Any, name: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise Problem(422, "expected base64 of an image file", name) from error
