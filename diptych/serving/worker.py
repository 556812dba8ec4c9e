"""The process that decodes images and runs networks. It reads requests from its standard input until that ends.

    python -m diptych.serving.worker

A decoder that crashes or hangs, or a network that runs out of memory, ends this process only: the server starts another
one. Before each step the worker names the requests at hand, so that the server knows which ones to blame.
"""

import os
import queue
import sys
import threading
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

import numpy as np

from diptych.errors import DiptychError, ImageError, printable
from diptych.inference.image_translator import ImageTranslator
from diptych.inference.open_model import is_onnx, load
from diptych.serving.examples import describe_all
from diptych.serving.job_groups import BatchCheck, JobGroups, translations
from diptych.serving.jobs import Job, Refused, file_of, generated, read_job
from diptych.serving.messages import Header, read_message, write_message
from diptych.serving.server_options import ServerOptions
from diptych.system.signals import ignore_stop_signals

ENCODERS = 2  # threads
Message = tuple[Header, list[bytes]]


def main() -> None:
    """Load the models of the first message and answer the others."""
    ignore_stop_signals()
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print
    warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
    first = read_message(requests)
    if first is None:
        return
    options = ServerOptions.model_validate(first[0]["options"])
    try:
        translators = load_models(options)
        described = describe_all(options, translators)
    except DiptychError as error:
        write_message(answers, {"kind": "failed", "reason": str(error)})
        return
    descriptions = [description.model_dump() for description, _ in described]
    files = [list(map(len, images)) for _, images in described]
    data = [image for _, images in described for image in images]
    write_message(answers, {"kind": "ready", "models": descriptions, "examples": files}, data)
    Worker(options, translators, requests, answers).run()


def load_models(options: ServerOptions) -> dict[str, ImageTranslator]:
    """Return the translators by name. Raises DiptychError."""
    method = None
    if options.method:
        from diptych.methods import find

        method = find(options.method)
    translators = {}
    for each in options.models:
        if is_onnx(each.source):
            translators[each.name] = load(each.source, device=options.device)
        else:
            translators[each.name] = load(
                each.source,
                device=options.device,
                which=options.which,
                method=method,
                allow_code=options.allow_code,
            )
    already_source = options.already_source
    return {name: each.with_options(already_source=already_source) for name, each in translators.items()}


class Worker:
    """Answers requests. A thread reads them, so that the server never waits for a computation to send one."""

    def __init__(
        self, options: ServerOptions, translators: dict[str, ImageTranslator], requests: BinaryIO, answers: BinaryIO
    ) -> None:
        self.options, self.translators, self.answers = options, translators, answers
        self.inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.groups = JobGroups(options.max_batch, options.max_latency / 1000 if options.max_batch > 1 else 0.0)
        self.check = BatchCheck()
        self.encoders = ThreadPoolExecutor(ENCODERS)
        self.unsent = threading.Semaphore(2 * ENCODERS + options.max_batch)  # bounds the images in memory
        self.lock = threading.Lock()
        threading.Thread(target=self._read, args=(requests,), daemon=True).start()

    def _read(self, requests: BinaryIO) -> None:
        while message := read_message(requests):
            self.inbox.put(message)
        os._exit(0)  # the server has stopped, or ended without a word

    def run(self) -> None:
        """Answer requests until the process ends."""
        while True:
            if self.groups.full():
                self._compute(self.groups.pop())
                continue
            try:
                header, parts = self.inbox.get(timeout=self.groups.wait_seconds())
            except queue.Empty:
                self._compute(self.groups.pop())
                continue
            if header["kind"] == "cancel":
                self.groups.remove(header["number"])
                self._say("started", numbers=[])  # with it nothing is left that the worker could hang on
            elif job := self._decoded(header, parts):
                self.groups.add(job)

    def _decoded(self, header: Header, parts: list[bytes]) -> Job | None:
        number = header["number"]
        self._say("started", numbers=[number])
        try:
            return read_job(header, parts, self.translators[header["model"]], self.options.max_pixels)
        except Exception as error:
            self._fail([number], error)
        return None

    def _compute(self, jobs: list[Job]) -> None:
        self._say("started", numbers=[job.number for job in jobs])
        try:
            images = [generated(jobs[0])] if jobs[0].x is None else translations(jobs, self.check)
        except Exception as error:
            if len(jobs) == 1:
                self._fail([jobs[0].number], error)
            for job in jobs if len(jobs) > 1 else ():  # one of them may be at fault, or they are too large together
                self._compute([job])
            return
        for job, image in zip(jobs, images, strict=True):
            self.unsent.acquire()
            self.encoders.submit(self._send, job, image, len(jobs))

    def _send(self, job: Job, image: np.ndarray, batch: int) -> None:
        """Encode and send an image, in a thread: PNG files take about as long as small networks."""
        try:
            data = file_of(job, image)
        except Exception as error:
            self._fail([job.number], error)
        else:
            self._say("done", [data], number=job.number, batch=batch)
        finally:
            self.unsent.release()

    def _fail(self, numbers: list[int], error: Exception) -> None:
        """Answer requests with an error; the traceback of an unexpected one is printed."""
        if isinstance(error, Refused):
            status, reason, field = error.status, error.reason, error.field
        elif isinstance(error, DiptychError):
            status, reason, field = 422, str(error), "image" if isinstance(error, ImageError) else ""
        else:
            traceback.print_exception(error)
            status, reason, field = 500, f"the model failed on this request ({type(error).__name__})", ""
        for number in numbers:
            self._say("refused", number=number, status=status, reason=printable(reason)[:2000], field=field)

    def _say(self, kind: str, parts: list[bytes] | None = None, **values: Any) -> None:
        with self.lock:
            write_message(self.answers, {"kind": kind, **values}, parts or [])


if __name__ == "__main__":
    main()
