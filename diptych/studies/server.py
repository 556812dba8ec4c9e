"""The web server of a study: the page, the images of a session, and the answers.

Nothing that the browser receives tells methods, sides, attention checks or repeats apart: images have addresses of the
session, one length in bytes and the same headers, and the correct answer is sent for practice trials only, after the
answer. The server sets no cookie and stores no network address. Anything but the page needs the secret session.
"""

import hmac
import json
from collections.abc import Callable
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat
from starlette.middleware.trustedhost import TrustedHostMiddleware

from diptych.studies.request_limits import RequestLimits
from diptych.studies.sessions import Session
from diptych.studies.store import Answer, Participant, Store
from diptych.studies.study_folder import StudyFolder
from diptych.studies.texts import LANGUAGES, texts
from diptych.system.pages import render

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
ASSETS = {"study.js": "text/javascript", "study.css": "text/css"}
SESSIONS = 500  # of which trials and addresses are kept in memory


class Problem(Exception):
    """An error for the client: status, what is wrong, and the field of the request."""

    def __init__(self, status: int, detail: str, field: str = "") -> None:
        super().__init__(detail)
        self.status, self.detail, self.field = status, detail, field

    def response(self) -> Response:
        content = {"title": "refused", "status": self.status, "detail": self.detail, "field": self.field}
        return JSONResponse(content, self.status, HEADERS, "application/problem+json")


class Join(BaseModel):
    model_config = ConfigDict(extra="forbid")

    language: str = Field("en", max_length=8)
    external: str | None = Field(None, min_length=1, max_length=200, pattern=r"^[\w.:@-]+$")
    token: str = Field("", max_length=200)


class Measured(BaseModel):
    """What the page measured: for each image the requested and measured exposure in ms, and dropped frames."""

    model_config = ConfigDict(extra="forbid")

    exposures: list[Annotated[list[FiniteFloat], Field(min_length=3, max_length=3)]] = Field([], max_length=32)
    refresh_hz: FiniteFloat = Field(0, ge=0, le=1000)
    focus_lost: bool = False
    width: int = Field(0, ge=0, le=100_000)
    height: int = Field(0, ge=0, le=100_000)
    pixel_ratio: FiniteFloat = Field(1, gt=0, le=100)


class Given(BaseModel):
    """An answer as the page sends it."""

    model_config = ConfigDict(extra="forbid")

    trial: int = Field(ge=0, le=100_000)
    question: str = Field(max_length=30)
    answer: int = Field(ge=-1, le=1000)
    response_ms: int = Field(ge=0, le=86_400_000)
    measured: Measured = Measured()


def application(study: StudyFolder, store: Store, hosts: tuple[str, ...] = (), token: str = "") -> FastAPI:
    """Return the ASGI application of a study. `hosts` are allowed beside loopback; joining needs `token` if given."""
    app = FastAPI(title=study.design.title, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]", *hosts])
    app.add_middleware(RequestLimits)
    app.add_exception_handler(Problem, lambda _, error: error.response() if isinstance(error, Problem) else Response())
    app.add_exception_handler(RequestValidationError, _invalid)
    sessions: Callable[[int], Session] = lru_cache(SESSIONS)(lambda number: Session.of(study, store.secret, number))

    def participant(authorization: Annotated[str, Header()] = "") -> Participant:
        found = store.participant(authorization.removeprefix("Bearer ")) if len(authorization) < 200 else None
        if found is None:
            raise Problem(401, "unknown session: join the study again")
        return found

    Known = Annotated[Participant, Depends(participant)]

    @app.get("/")
    def page(lang: str = "en") -> Response:
        language, own = lang if lang in LANGUAGES else "en", study.design.consent
        shown = texts(language) | ({"consent": own} if own else {})
        script = json.dumps(shown, ensure_ascii=False)
        page = render("study.html", language=language, title=study.design.title, texts=script)
        return HTMLResponse(page, headers=HEADERS)

    @app.get("/assets/{name}")
    def asset(name: str) -> Response:
        if name not in ASSETS:
            raise Problem(404, "no such file")
        return Response(_asset(name), headers=HEADERS, media_type=ASSETS[name])

    @app.post("/api/join")
    def join(request: Request, given: Join) -> dict[str, str]:
        _same_origin(request)
        if token and not hmac.compare_digest(token.encode(), given.token.encode()):
            raise Problem(403, "this study needs the token of its link", "token")
        if given.language not in LANGUAGES:
            raise Problem(422, f"expected one of {', '.join(LANGUAGES)}", "language")
        return {"session": store.join(given.language, given.external).token}

    @app.get("/api/session")
    def session(known: Known) -> dict[str, Any]:
        answered = [(trial, question) for trial, question, _ in store.answered(known.number)]
        return {
            **sessions(known.number).description(),
            "language": known.language,
            "answered": answered,
            "completed": known.code,
        }

    @app.get("/i/{name}.png")
    def image(name: str, known: Known) -> Response:
        file = sessions(known.number).files.get(name)
        if file is None:
            raise Problem(404, "no such image in this session")
        return Response((study.images / file).read_bytes(), headers=HEADERS, media_type="image/png")

    @app.post("/api/answers")
    def answer(request: Request, given: Given, known: Known) -> dict[str, bool | None]:
        _same_origin(request)
        own = sessions(known.number)
        if problem := own.invalid(given.trial, given.question, given.answer):
            raise Problem(422, *problem)
        answered = store.answered(known.number)
        stored = False
        if (given.trial, given.question) not in [row[:2] for row in answered]:
            if known.code or own.steps[len(answered)] != (given.trial, given.question):
                raise Problem(409, "answers are taken in the order of the trials: reload the page", "trial")
            measured = given.measured.model_dump()
            stored = store.answer(
                Answer(known.number, given.trial, given.question, given.answer, given.response_ms, measured)
            )
        return {"stored": stored, "correct": own.feedback(given.trial, given.answer)}

    @app.post("/api/finish")
    def finish(request: Request, known: Known) -> dict[str, str]:
        _same_origin(request)
        if missing := len(sessions(known.number).steps) - len(store.answered(known.number)):
            raise Problem(409, f"{missing} answers are missing")
        return {"code": store.finish(known.number)}

    return app


def _same_origin(request: Request) -> None:
    """Raise Problem for a request that a page of another site sends."""
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise Problem(403, "requests of other sites are not answered", "Origin")


def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return Problem(422, str(first["msg"]), ".".join(map(str, first["loc"][1:]))).response()


def _asset(name: str) -> bytes:
    return Path(str(files("diptych") / "templates" / "study" / name)).read_bytes()
