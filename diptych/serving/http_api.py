"""The routes of a server of models: REST, and the page that uses it.

If there is a token, `/v1/...` and `/metrics` need it as `Authorization: Bearer ...`. The page itself tells nothing
about the models; it gets the token from `#token=...` of its address, which browsers do not send, or asks for it.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel

from diptych.serving.descriptions import ModelDescription
from diptych.serving.image_requests import FORMATS, SampleRequest, check_format, read_request
from diptych.serving.messages import Header
from diptych.serving.openapi import ANSWERS, BODY, operations_of
from diptych.serving.token_check import TokenCheck
from diptych.serving.worker_process import WorkerProcess
from diptych.system.pages import render
from diptych.web.access import AccessControl
from diptych.web.problem import Problem, answer_problems
from diptych.web.request_limits import RequestLimits
from diptych.web.static_files import static_file

MAX_BODIES = 8  # of the largest size, that are in memory at a time
CLIENT_GONE = 499  # in metrics; nobody receives it


class ModelList(BaseModel):
    """The models of a server."""

    models: list[ModelDescription]


def application(worker: WorkerProcess, hosts: Sequence[str] = (), token: str = "") -> FastAPI:
    """Return the ASGI application of a worker that was started. `hosts` are allowed beside loopback."""
    app = FastAPI(title="Diptych", docs_url=None, redoc_url=None)
    app.add_middleware(RequestLimits, max_body=worker.options.max_body, max_total=MAX_BODIES * worker.options.max_body)
    app.add_middleware(TokenCheck, token=token)
    app.add_middleware(AccessControl, hosts=hosts)
    answer_problems(app)
    _add_pages(app)
    _add_models(app, worker)
    _add_images(app, worker)
    _add_state(app, worker)
    return app


def _model(worker: WorkerProcess, name: str) -> ModelDescription:
    """Return the description of a model. Raises Problem 404."""
    if name not in worker.models:
        raise Problem(404, "no such model: GET /v1/models lists them", "name")
    return worker.models[name]


def _add_pages(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    @app.get("/models/{name}", include_in_schema=False)
    async def playground() -> Response:
        """Return the page of every model, which asks the API for their descriptions."""
        return HTMLResponse(render("serve.html"))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(render("api.html", operations=operations_of(app.openapi())))

    @app.get("/assets/{file}", include_in_schema=False)
    async def asset(file: str) -> Response:
        return static_file("serve", file)


def _add_models(app: FastAPI, worker: WorkerProcess) -> None:
    @app.get("/v1/models", summary="The models, with their controls")
    async def models() -> ModelList:
        return ModelList(models=list(worker.models.values()))

    @app.get("/v1/models/{name}", summary="One model, with its controls")
    async def model(name: str) -> ModelDescription:
        return _model(worker, name)

    @app.get("/v1/models/{name}/examples/{number}", summary="An example image", response_class=Response)
    async def example(name: str, number: int) -> Response:
        images = worker.examples[_model(worker, name).name]
        if not 0 <= number < len(images):
            raise Problem(404, f"this model has {len(images)} examples", "number")
        return Response(images[number], media_type=_media_type(images[number]))


def _add_images(app: FastAPI, worker: WorkerProcess) -> None:
    image: dict[str, Any] = {"response_class": Response, "responses": ANSWERS}

    @app.post("/v1/models/{name}/translate", openapi_extra=BODY, **image)
    async def translate(name: str, request: Request) -> Response:
        """Return the translation of an image. Controls of the model are further fields."""
        model = _model(worker, name)
        worker.check_room()  # before the form is parsed
        given = await read_request(request, model)
        header = {"kind": "translate", "controls": given.controls, "images": list(given.images)}
        return await _answer(worker, request, model, given.format, header, list(given.images.values()))

    @app.post("/v1/models/{name}/sample", **image)
    async def sample(name: str, given: SampleRequest, request: Request) -> Response:
        """Return a generated image; that of a number and seed is always the same."""
        model = _model(worker, name)
        header = {"kind": "sample", "controls": given.controls, "index": given.number, "seed": given.seed}
        return await _answer(worker, request, model, check_format(given.format), header)


async def _answer(
    worker: WorkerProcess,
    request: Request,
    model: ModelDescription,
    format: str,
    header: Header,
    parts: Sequence[bytes] = (),
) -> Response:
    """Return the image that the worker answers with; a client that is gone needs none. Raises Problem."""
    start = time.monotonic()
    status = 200
    answer = asyncio.create_task(worker.answer({**header, "model": model.name, "format": format}, parts))
    gone = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            status = CLIENT_GONE
            return Response(status_code=status)
        return Response(answer.result(), media_type=FORMATS[format])
    except Problem as problem:
        status = problem.status
        raise
    finally:
        answer.cancel()
        gone.cancel()
        worker.metrics.answered.labels(model.name, status).inc()
        worker.metrics.seconds.labels(model.name).observe(time.monotonic() - start)


async def _disconnected(request: Request) -> None:
    """Return when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _add_state(app: FastAPI, worker: WorkerProcess) -> None:
    @app.get("/healthz", summary="Whether the server runs")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", summary="Whether the models are loaded")
    async def ready() -> dict[str, str]:
        if not worker.is_ready:
            raise Problem(503, "the models are being loaded, or the server is stopping", headers={"Retry-After": "1"})
        return {"status": "ok"}

    @app.get("/metrics", summary="Numbers for Prometheus", response_class=Response)
    async def metrics() -> Response:
        return Response(worker.metrics.text(), media_type="text/plain; version=0.0.4")


def _media_type(image: bytes) -> str:
    """Return the media type of an image that a browser shows, by its first bytes."""
    known: dict[bytes, str] = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}
    return next((kind for start, kind in known.items() if image.startswith(start)), "application/octet-stream")
