"""The worker process as the server sees it: requests in a bounded queue, answers, time limits, and a new process.

A worker that ends unexpectedly is replaced. Requests that it was at work on are tried once more, each alone; all others
are only sent again.
"""

import asyncio
import math
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from diptych.errors import CheckpointError
from diptych.serving.descriptions import ModelDescription
from diptych.serving.messages import PREFIX, Header, packed, unpacked
from diptych.serving.server_metrics import ServerMetrics
from diptych.serving.server_options import ServerOptions
from diptych.web.problem import Problem

MAX_ATTEMPTS = 2
STOP_SECONDS = 5.0
MAX_PAUSE = 30.0  # seconds between two attempts to start a worker


@dataclass
class Request:
    """A request at hand, its answer to come, and how many workers ended while they were at work on it."""

    header: Header
    parts: Sequence[bytes]
    answer: asyncio.Future[bytes]
    attempts: int = 0


@dataclass
class WorkerProcess:
    """Answers requests by a worker process. `start` first; `stop` waits for nothing, so wait for answers before."""

    options: ServerOptions
    metrics: ServerMetrics
    models: dict[str, ModelDescription] = field(default_factory=dict)
    examples: dict[str, list[bytes]] = field(default_factory=dict)
    is_ready: bool = False
    is_stopping: bool = False
    accepted: int = 0
    given_up: int = 0  # of these, by their clients; all others are answered
    command: tuple[str, ...] = (sys.executable, "-m", "diptych.serving.worker")

    def __post_init__(self) -> None:
        self._requests: dict[int, Request] = {}
        self._numbers = count()
        self._process: Process | None = None
        self._at_work: tuple[float, list[int]] = (0.0, [])  # since when the worker is at work on these requests
        self._seconds_each = 0.0  # moving average of the time between two answers while there are requests
        self._last_answer = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start the worker and load the models. Raises CheckpointError with its reason if it cannot."""
        await self._start()
        self._tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._end_hung_worker())]

    async def stop(self) -> None:
        """End the worker process."""
        self.is_stopping, self.is_ready = True, False
        for task in self._tasks:
            task.cancel()
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()

    async def answer(self, header: Header, parts: Sequence[bytes] = ()) -> bytes:
        """Return the answer to a request. Raises Problem: 429, 503, 504, or what the worker says.

        If the caller is cancelled, so is the request.
        """
        self.check_room()
        number = next(self._numbers)
        request = Request({**header, "number": number}, parts, asyncio.get_running_loop().create_future())
        if not self._requests:
            self._last_answer = time.monotonic()
        self._requests[number] = request
        self.accepted += 1
        self.metrics.accepted.inc()
        self.metrics.queue.set(len(self._requests))
        self._send(request)
        try:
            async with asyncio.timeout(self.options.timeout):
                return await request.answer
        except TimeoutError:
            raise Problem(504, f"no answer within {self.options.timeout:g} s: send a smaller image") from None
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        finally:
            del self._requests[number]
            if request.answer.cancelled() and self.is_ready:
                self._write(packed({"kind": "cancel", "number": number}))
            self.metrics.queue.set(len(self._requests))

    def check_room(self) -> None:
        """Raise Problem 503 if the server is stopping, 429 if the queue is full."""
        if self.is_stopping:
            raise Problem(503, "the server is stopping", headers={"Retry-After": "5", "Connection": "close"})
        if len(self._requests) >= self.options.max_queue:
            seconds = max(1, math.ceil(self._seconds_each * len(self._requests) / 2))
            detail = f"{len(self._requests)} requests are waiting, the limit: send it again in {seconds} s"
            raise Problem(429, detail, headers={"Retry-After": str(seconds)})

    def _send(self, request: Request) -> None:
        if self.is_ready:
            self._write(packed(request.header, request.parts))

    def _write(self, data: bytes) -> None:
        if self._process and self._process.stdin and not self._process.stdin.is_closing():
            self._process.stdin.write(data)

    async def _start(self) -> None:
        self._process = process = await asyncio.create_subprocess_exec(*self.command, stdin=PIPE, stdout=PIPE)
        self.metrics.workers.inc()
        self._write(packed({"options": self.options.model_dump(mode="json")}))
        message = await _received(process)
        if message is None:
            raise CheckpointError(
                f"the worker process ended with code {await process.wait()} while it loaded the models"
            )
        header, parts = message
        if header["kind"] == "failed":
            await process.wait()
            raise CheckpointError(header["reason"])
        models = [ModelDescription.model_validate(each) for each in header["models"]]
        rest = iter(parts)
        self.models = {each.name: each for each in models}
        self.examples = {
            each.name: [next(rest) for _ in sizes] for each, sizes in zip(models, header["examples"], strict=True)
        }
        self._at_work, self.is_ready = (0.0, []), True
        for request in list(self._requests.values()):
            self._send(request)

    async def _run(self) -> None:
        """Take answers; replace the worker when it ends."""
        pause = 0.0
        while True:
            assert self._process is not None
            while message := await _received(self._process):
                pause = 0.0
                self._take(*message)
            self.is_ready = False
            code = await self._process.wait()
            self._blame(code)
            while not self.is_ready:
                await asyncio.sleep(pause)
                pause = min(MAX_PAUSE, 2 * pause + 1)
                try:
                    await self._start()
                except (CheckpointError, OSError) as error:
                    print(f"the worker process cannot be started again: {error}", file=sys.stderr)

    def _take(self, header: Header, parts: list[bytes]) -> None:
        """Take a message of the worker."""
        if header["kind"] == "started":
            self._at_work = (time.monotonic(), header["numbers"])
            return
        now = time.monotonic()
        self._seconds_each += 0.1 * (now - self._last_answer - self._seconds_each)
        self._last_answer = now
        since, numbers = self._at_work
        self._at_work = (since, [number for number in numbers if number != header["number"]])
        request = self._requests.get(header["number"])
        if request is None or request.answer.done():  # given up meanwhile
            return
        if header["kind"] == "done":
            self.metrics.batch.observe(header["batch"])
            request.answer.set_result(parts[0])
        else:
            request.answer.set_exception(Problem(header["status"], header["reason"], header["field"]))

    def _blame(self, code: int) -> None:
        """Count the end of the worker against the requests that it was at work on; refuse those with too many."""
        print(f"the worker process ended with code {code}; it is started again", file=sys.stderr)
        for number in self._at_work[1]:
            request = self._requests.get(number)
            if request is None or request.answer.done():
                continue
            request.attempts += 1
            request.header["alone"] = True
            if request.attempts >= MAX_ATTEMPTS:
                reason = "the process that computes ended unexpectedly on this request; send another image"
                request.answer.set_exception(Problem(500, reason))
        self._at_work = (0.0, [])

    async def _end_hung_worker(self) -> None:
        """Kill a worker that is at work on one step for longer than the time limit of a request."""
        while True:
            await asyncio.sleep(min(1.0, self.options.timeout / 4))
            since, numbers = self._at_work
            if self.is_ready and numbers and time.monotonic() - since > self.options.timeout:
                assert self._process is not None
                self._process.kill()


async def _received(process: Process) -> tuple[Header, list[bytes]] | None:
    """Return the next message of a process; None if it has ended."""
    assert process.stdout is not None
    try:
        sizes = PREFIX.unpack(await process.stdout.readexactly(PREFIX.size))
        text, data = [await process.stdout.readexactly(size) for size in sizes]
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return unpacked(text, data)
