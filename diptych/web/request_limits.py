"""Bounds on requests, as ASGI middleware: the size of a body, of all bodies, and the time in which one must arrive."""

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diptych.web.problem import Problem

BODY_SECONDS = 30.0
RETRY_AFTER = {"Retry-After": "1", "Connection": "close"}


class RequestLimits:
    """Reads the whole body before the application sees a request.

    Answers 413 for a body of more than `max_body` bytes, before it is read if its length is known; 408 for one that
    takes longer than `seconds`; and 429 if the bodies of all requests at hand have more than `max_total` bytes.
    """

    def __init__(self, app: ASGIApp, max_body: int, max_total: int, seconds: float = BODY_SECONDS) -> None:
        self.app, self.max_body, self.max_total, self.seconds = app, max_body, max_total, seconds
        self.held = 0  # bytes of the bodies of all requests at hand

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        body = bytearray()
        try:
            if length.isdecimal() and int(length[:20]) > self.max_body:
                raise self._too_large()
            async with asyncio.timeout(self.seconds):
                await self._read(receive, body)
        except TimeoutError:
            self.held -= len(body)
            late = Problem(408, f"the request took longer than {self.seconds:g} s: send it again", headers=RETRY_AFTER)
            await late.response()(scope, receive, send)
            return
        except Problem as problem:
            self.held -= len(body)
            await problem.response()(scope, receive, send)
            return
        messages = iter([{"type": "http.request", "body": bytes(body), "more_body": False}])

        async def replay() -> Message:
            return next(messages, None) or await receive()

        try:
            await self.app(scope, replay, send)
        finally:
            self.held -= len(body)

    async def _read(self, receive: Receive, body: bytearray) -> None:
        """Append the body of a request. Raises Problem."""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            part = message.get("body", b"")
            body += part
            self.held += len(part)
            more = message.get("more_body", False)
            if len(body) > self.max_body:
                raise self._too_large()
            if self.held > self.max_total:
                raise Problem(429, "too many requests at once: send it again", headers=RETRY_AFTER)

    def _too_large(self) -> Problem:
        limit = f"{self.max_body:,} bytes"
        return Problem(413, f"larger than {limit}, the limit: send less", headers={"Connection": "close"})
