"""The token of a server, checked before the body of a request is read."""

from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from diptych.web.access import READING, is_token
from diptych.web.problem import Problem

OPEN = ("/healthz", "/readyz", "/assets/")  # probes of a container, and files of the page


class TokenCheck:
    """ASGI middleware: answers 401 without the token, which is in `Authorization: Bearer`, or `?token=` of a page."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app
        if scope["type"] == "http" and self.token and not scope["path"].startswith(OPEN):
            given = Headers(scope=scope).get("authorization", "").removeprefix("Bearer ")
            if not given and scope["method"] in READING:
                given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
            if not is_token(given, self.token):
                headers = {"WWW-Authenticate": "Bearer", "Connection": "close"}
                detail = "this server needs its token, as Authorization: Bearer TOKEN, or ?token=TOKEN of a page"
                app = Problem(401, detail, "Authorization", headers).response()
        await app(scope, receive, send)
