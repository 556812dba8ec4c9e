"""What the participants at hand have answered, in memory, and the storing of new answers in groups."""

import asyncio

from diptych.studies.store import Answer, Progress, Store

PARTICIPANTS = 2000  # whose answers are kept in memory


class AnswerLog:
    """Answers of one event loop.

    Each transaction stores all answers that came while the one before was written to disk: 200 participants at once
    wait for a few writes, not for 200. An answer is acknowledged after its transaction.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._known: dict[str, Progress] = {}
        self._waiting: list[tuple[Answer, asyncio.Future[bool]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def progress(self, token: str, fresh: bool = False) -> Progress | None:
        """Return the answers of the participant of a session token; None if there is none.

        fresh: read the database, which another server of the study or `diptych study delete` may have changed.
        """
        found = None if fresh else self._known.get(token)
        if found is None:
            self._known.pop(token, None)
            found = await asyncio.to_thread(self.store.progress, token)
            if found is not None:
                if len(self._known) >= PARTICIPANTS:
                    self._known.pop(next(iter(self._known)))
                self._known[token] = found
        return found

    async def add(self, answer: Answer) -> bool:
        """Store an answer and return whether it is the first to its question."""
        stored: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((answer, stored))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        return await stored

    async def _write(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            try:
                firsts = await asyncio.to_thread(self.store.add, [answer for answer, _ in group])
            except Exception as error:  # of the database: each of these requests fails
                for _, stored in group:
                    if not stored.done():  # cancelled, as the server stops
                        stored.set_exception(error)
            else:
                for (_, stored), first in zip(group, firsts, strict=True):
                    if not stored.done():
                        stored.set_result(first)
