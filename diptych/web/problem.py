"""Errors of HTTP requests as `application/problem+json` (RFC 9457): what is wrong, the field, and the way out."""

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """An error for the client: status, what is wrong, and the field of the request."""

    def __init__(self, status: int, detail: str, field: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.field, self.headers = status, detail, field, dict(headers or {})

    def response(self) -> Response:
        """Return the response, with the name of the status as `title`."""
        content = {
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "field": self.field,
        }
        return JSONResponse(content, self.status, self.headers, MEDIA_TYPE)


def answer_problems(app: FastAPI) -> None:
    """Answer each error of an application, also unknown addresses and invalid values, as a problem."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _failed)


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return Problem(422, str(first["msg"]), ".".join(map(str, first["loc"][1:]))).response()


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return Problem(error.status_code, str(error.detail), headers=error.headers).response()


async def _failed(_: Request, error: Exception) -> Response:
    return Problem(500, "the server failed on this request; its log has the reason").response()
