"""The web server of a study: the page, the images of a session, and the answers.

Nothing that the browser receives tells methods, sides, attention checks or repeats apart: images have addresses of the
session, one length in bytes and the same headers, and the correct answer is sent after the answer, for practice trials
and where a staircase of exposures follows from it. The server sets no cookie and stores no network address. Anything
but the page needs the secret session.
"""

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, Header, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from diptych.studies.answer_log import AnswerLog
from diptych.studies.sessions import Session
from diptych.studies.store import Answer, Participant, Progress, Store
from diptych.studies.study_folder import StudyFolder
from diptych.studies.texts import LANGUAGES, texts
from diptych.system.pages import render
from diptych.web.access import AccessControl, is_token
from diptych.web.problem import Problem, answer_problems
from diptych.web.request_limits import RequestLimits
from diptych.web.static_files import static_file

MAX_BODY = 16 * 1024  # bytes; an answer has less than 2
MAX_TOKEN = 200  # characters
SESSIONS = 500  # of which trials and addresses are kept in memory

Found = TypeVar("Found")


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
    app.add_middleware(RequestLimits, max_body=MAX_BODY, max_total=1000 * MAX_BODY)
    app.add_middleware(AccessControl, hosts=hosts)
    answer_problems(app)
    sessions: Callable[[int], Session] = lru_cache(SESSIONS)(lambda number: Session.of(study, store.secret, number))

    log = AnswerLog(store)

    async def session_token(authorization: Annotated[str, Header()] = "") -> str:
        return authorization.removeprefix("Bearer ")[:MAX_TOKEN]

    Token = Annotated[str, Depends(session_token)]

    def participant(token: Token) -> Participant:
        return _known(store.participant(token))

    async def progress(token: str, fresh: bool = False) -> Progress:
        return _known(await log.progress(token, fresh))

    Known = Annotated[Participant, Depends(participant)]

    @app.get("/")
    def page(lang: str = "en") -> Response:
        language, own = lang if lang in LANGUAGES else "en", study.design.consent
        shown = texts(language) | ({"consent": own} if own else {})
        script = json.dumps(shown, ensure_ascii=False)
        return HTMLResponse(
            render("study.html", language=language, title=study.design.title, noscript=shown["noscript"], texts=script)
        )

    @app.get("/assets/{name}")
    def asset(name: str) -> Response:
        return static_file("study", name)

    @app.post("/api/join")
    def join(given: Join) -> dict[str, str]:
        if token and not is_token(given.token, token):
            raise Problem(403, "this study needs the token of its link", "token")
        if given.language not in LANGUAGES:
            raise Problem(422, f"expected one of {', '.join(LANGUAGES)}", "language")
        return {"session": store.join(given.language, given.external).token}

    @app.get("/api/session")
    def session(token: Token, known: Known) -> dict[str, Any]:
        answers, own = _known(store.progress(token)).answers, sessions(known.number)
        return {
            **own.description(),
            "exposure_ms": own.exposure_ms(answers),
            "language": known.language,
            "answered": list(answers),
            "completed": known.code,
        }

    @app.get("/i/{name}.png")
    def image(name: str, known: Known) -> Response:
        file = sessions(known.number).files.get(name)
        if file is None:
            raise Problem(404, "no such image in this session")
        return Response((study.images / file).read_bytes(), media_type="image/png")

    @app.post("/api/answers")
    async def answer(given: Given, token: Token) -> dict[str, bool | int | None]:
        known, step = await progress(token), (given.trial, given.question)
        own = sessions(known.number)
        if problem := own.invalid(given.trial, given.question, given.answer):
            raise Problem(422, *problem)
        if not own.takes(step, known.answers):
            known = await progress(token, fresh=True)
        stored = False
        if step not in known.answers:
            if not own.takes(step, known.answers):
                raise Problem(409, "answers are taken in the order of the trials: reload the page", "trial")
            measured = given.measured.model_dump()
            stored = await log.add(Answer(known.number, *step, given.answer, given.response_ms, measured))
            if stored:
                known.answers[step] = given.answer
            else:  # stored by another request, or the participant was deleted
                known = await progress(token, fresh=True)
        correct, exposure = own.feedback(given.trial, given.answer), own.exposure_ms(known.answers)
        return {"stored": stored, "correct": correct, "exposure_ms": exposure}

    @app.post("/api/finish")
    def finish(token: Token, known: Known) -> dict[str, str]:
        if missing := len(sessions(known.number).steps) - len(_known(store.progress(token)).answers):
            raise Problem(409, f"{missing} answers are missing")
        return {"code": store.finish(known.number)}

    return app


def _known(found: Found | None) -> Found:
    """Return what was found of a session token. Problem 401 if there is no such session."""
    if found is None:
        raise Problem(401, "unknown session: join the study again")
    return found
