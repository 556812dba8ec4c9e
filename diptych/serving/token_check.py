"""The token of a server, checked before the body of a request is read."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from diptych.web.access import is_token
from diptych.web.problem import Problem

OPEN = ("/", "/docs", "/openapi.json", "/healthz", "/readyz")  # they tell nothing about the models
OPEN_FOLDERS = ("/models/", "/assets/")  # the page and its files


class TokenCheck:
    """ASGI middleware: answers 401 without the token, which is in `Authorization: Bearer`."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app
        if scope["type"] == "http" and self.token and not _is_open(scope["path"]):
            given = Headers(scope=scope).get("authorization", "").removeprefix("Bearer ")
            if not is_token(given, self.token):
                headers = {"WWW-Authenticate": "Bearer", "Connection": "close"}
                detail = "this server needs its token; send Authorization: Bearer TOKEN"
                app = Problem(401, detail, "Authorization", headers).response()
        await app(scope, receive, send)


def _is_open(path: str) -> bool:
    return path in OPEN or path.startswith(OPEN_FOLDERS)
