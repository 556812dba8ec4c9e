"""Who may ask: allowed host names, no pages of other sites, tokens; and the headers that protect a page."""

import hmac
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diptych.web.problem import Problem

LOOPBACK = ("127.0.0.1", "localhost", "::1")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
READING = ("GET", "HEAD")


class AccessControl:
    """ASGI middleware: answers other host names with 400 and other sites with 403; adds `HEADERS` to each response.

    `hosts` are allowed beside loopback. Together with the absence of CORS headers this stops pages of other sites, also
    those whose name points to this machine (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = ()) -> None:
        self.app, self.hosts = app, {host.lower() for host in (*LOOPBACK, *hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        problem = self._problem(Headers(scope=scope), scope["method"])
        app = problem.response() if problem else self.app
        await app(scope, receive, send_with_headers)

    def _problem(self, headers: Headers, method: str) -> Problem | None:
        """Return why a request is refused; None if it is allowed."""
        host = headers.get("host", "")
        if _without_port(host) not in self.hosts:
            return Problem(400, "unknown host name; the server allows more with --allowed-host", "Host")
        origin = headers.get("origin")
        if method not in READING and origin is not None and origin.partition("://")[2] != host:
            return Problem(403, "requests of other sites are not answered", "Origin")
        return None


def _without_port(host: str) -> str:
    """Return the name or address of a Host header, in lower case."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def is_token(given: str, token: str) -> bool:
    """Return whether the given token is the expected one, in a time that does not depend on where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())
