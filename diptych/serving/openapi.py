"""What FastAPI cannot derive for the OpenAPI document: form fields, images as answers, problems; and its page."""

from dataclasses import dataclass
from typing import Any

from diptych.serving.image_requests import FORMATS, JsonRequest

FORMAT = {"type": "string", "enum": list(FORMATS), "default": "png"}
FILE = {"type": "string", "format": "binary"}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "description": "Controls of the model are further fields; those that are images are files.",
                    "properties": {"image": FILE, "format": FORMAT},
                    "additionalProperties": {"type": "string"},
                }
            },
            "application/json": {"schema": JsonRequest.model_json_schema()},
        },
    }
}
PROBLEM = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what is wrong, and the way out"},
        "field": {"type": "string", "description": "the field of the request; empty if it is none"},
    },
}
REFUSALS = {
    400: "not a valid form, or an unknown host name",
    401: "no token, or another one",
    404: "no such model",
    408: "the request took too long to arrive",
    413: "too many bytes or pixels",
    415: "no image file of a known kind",
    422: "a control, image or format that the model cannot take",
    429: "too many requests are waiting; Retry-After has the seconds",
    500: "the process that computes ended on this request",
    503: "the server is stopping",
    504: "no answer in time",
}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "the image", "content": {kind: {"schema": FILE} for kind in FORMATS.values()}},
    **{
        status: {"description": text, "content": {"application/problem+json": {"schema": PROBLEM}}}
        for status, text in REFUSALS.items()
    },
}


@dataclass(frozen=True)
class Operation:
    """An operation of an OpenAPI document, for its page."""

    method: str
    path: str
    summary: str
    answers: tuple[tuple[str, str], ...]  # status and description


def operations_of(document: dict[str, Any]) -> list[Operation]:
    """Return the operations of a document, in its order."""
    return [
        Operation(
            method.upper(),
            path,
            operation.get("summary", ""),
            tuple((status, each["description"]) for status, each in operation["responses"].items()),
        )
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
