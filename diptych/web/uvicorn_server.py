"""The listening socket and the configuration of uvicorn."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from diptych.errors import ConfigError
from diptych.system.signals import stop_on_signals
from diptych.web.access import LOOPBACK
from diptych.web.bounded_connections import BoundedConnection

KEEP_ALIVE_SECONDS = 30
BACKLOG = 1024


def check_host(host: str, token: str) -> None:
    """Raise ConfigError for an address that other machines reach, without a token."""
    if host not in LOOPBACK and not token:
        raise ConfigError(f"--host {host}: anyone who reaches this address could use the server; give --token as well")


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 is any free port. Raises ConfigError if it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY by the protocol; without it each answer waits 40 ms for the acknowledgement of its header
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(f"{host}:{port}: cannot listen there ({error.strerror}); choose another --port") from error
    return listener


def address_of(listener: socket.socket, host: str) -> str:
    """Return the address of a server, such as `http://127.0.0.1:8000`."""
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listener.getsockname()[1]}"


class Server(uvicorn.Server):
    """Ends accepted requests at the first stop signal and then returns; a second signal has its usual effect."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        with stop_on_signals(lambda _: setattr(self, "should_exit", True)):
            yield


def server_of(app: Any, stopping_seconds: int | None = None) -> Server:
    """Return the server of an ASGI application, whose `run` and `serve` take the listening sockets.

    SIGINT and SIGTERM end running requests first, for `stopping_seconds` at most.
    """
    config = uvicorn.Config(
        app,
        http=BoundedConnection,
        ws="none",
        log_level="warning",
        server_header=False,
        access_log=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=stopping_seconds,
        backlog=BACKLOG,
    )
    return Server(config)
