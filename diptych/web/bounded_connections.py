"""HTTP connections of uvicorn, bounded in number and in the time in which a request must arrive.

uvicorn waits without limit for the first request of a connection, so that a client that opens many and sends nothing
would use up the file descriptors.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 800  # a process often has 1024 file descriptors
HEADER_SECONDS = 10.0


class BoundedConnection(H11Protocol):
    """Closes after `HEADER_SECONDS` without a complete request header.

    If there are more than `MAX_CONNECTIONS`, the one that has waited longest without a request is closed.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._since = self.loop.time()  # when it last had nothing to do
        seconds = HEADER_SECONDS
        # `connections` lacks those that were accepted a moment ago
        self._open: set[BoundedConnection] = vars(self.server_state).setdefault("open_connections", set())
        if len(self._open) >= MAX_CONNECTIONS:
            idle = [each for each in self._open if each.transport is not None and not each.is_at_work()]
            if idle:
                min(idle, key=lambda each: each._since).abort()
            else:
                seconds = 0.0  # this one is closed
        self._open.add(self)
        self._timer: asyncio.TimerHandle | None = self.loop.call_later(seconds, self.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._open.discard(self)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        if self.is_at_work():
            self._stop_timer()
        elif self._timer is None and self.conn.trailing_data[0]:  # part of the next request
            self._timer = self.loop.call_later(HEADER_SECONDS, self.abort)

    def on_response_complete(self) -> None:
        self._since = self.loop.time()
        super().on_response_complete()

    def is_at_work(self) -> bool:
        """Return whether a request has come whose response is not complete."""
        return self.cycle is not None and not self.cycle.response_complete

    def abort(self) -> None:
        """Close the connection without waiting for what the client has not read."""
        self.connections.discard(self)
        self._open.discard(self)
        self.transport.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def data_received(self, data: bytes) -> Any:
        if not self.transport.is_closing():  # aborted connections may have data left
            super().data_received(data)
