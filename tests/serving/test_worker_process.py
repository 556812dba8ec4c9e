"""The queue and the worker process of a server: limits, crashes, hangs, and the end."""

import asyncio
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import fake_worker
import pytest
from model_server import picture, png
from onnx_files import metadata, write_onnx

from diptych.errors import CheckpointError
from diptych.serving.messages import packed
from diptych.serving.server_metrics import ServerMetrics
from diptych.serving.server_options import ServerOptions, named_sources
from diptych.serving.worker_process import WorkerProcess
from diptych.web.problem import Problem

pytestmark = pytest.mark.slow
COMMAND = (sys.executable, fake_worker.__file__)


@asynccontextmanager
async def worker(command=COMMAND, **options):
    made = WorkerProcess(ServerOptions(models=named_sources(["fake"]), **options), ServerMetrics(), command=command)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def ask(made, text):
    """Return the answer to a text, or the status of the problem."""
    try:
        return (await made.answer({"kind": "translate"}, [text.encode()])).decode()
    except Problem as problem:
        return problem.status


def test_a_request_that_ends_the_worker_fails_alone(tmp_path, capsys):
    async def run():
        async with worker() as made:
            asked = ["first", "crash", f"once {tmp_path / 'a'}", "third", "crash", "last"]
            return await asyncio.gather(*(ask(made, text) for text in asked)), made.metrics.text()

    answers, metrics = asyncio.run(run())
    assert answers == ["first", 500, f"once {tmp_path / 'a'}", "third", 500, "last"]
    assert b"diptych_worker_starts_total 6.0" in metrics, "two for each crash, one for the one that works then"
    assert "ended with code 11" in capsys.readouterr().err


def test_a_killed_worker_loses_no_request():
    async def run():
        async with worker() as made:
            asked = [asyncio.create_task(ask(made, f"late 0.{number}")) for number in range(1, 4)]
            await asyncio.sleep(0.05)
            made._process.kill()
            return await asyncio.gather(*asked)

    assert asyncio.run(run()) == ["late 0.1", "late 0.2", "late 0.3"]


def test_a_request_without_an_answer_times_out_and_the_hung_worker_is_replaced():
    async def run():
        async with worker(timeout=0.6) as made:
            hung = await ask(made, "hang")
            await asyncio.sleep(0.4)
            return hung, await ask(made, "after")

    assert asyncio.run(run()) == (504, "after")


def test_a_full_queue_is_refused_at_once_with_the_time_to_wait():
    async def run():
        async with worker(max_queue=2) as made:
            asked = [asyncio.create_task(ask(made, "late 0.3")) for _ in range(2)]
            await asyncio.sleep(0)
            start = time.monotonic()
            with pytest.raises(Problem) as refused:
                await made.answer({"kind": "translate"}, [b"third"])
            return refused.value, time.monotonic() - start, await asyncio.gather(*asked), await ask(made, "later")

    problem, seconds, answers, later = asyncio.run(run())
    assert (problem.status, int(problem.headers["Retry-After"]) >= 1) == (429, True)
    assert (seconds < 0.1, answers, later) == (True, ["late 0.3"] * 2, "later")


def test_a_request_that_is_given_up_is_not_computed():
    async def run():
        async with worker() as made:
            first, second = (asyncio.create_task(ask(made, "late 0.2")) for _ in range(2))
            await asyncio.sleep(0.05)
            written, made._write = [], lambda data: written.append(data)
            second.cancel()
            return await first, made.given_up, made.accepted, written

    cancelled = packed({"kind": "cancel", "number": 1})
    assert asyncio.run(run()) == ("late 0.2", 1, 2, [cancelled])


def test_a_worker_that_is_idle_after_a_request_was_given_up_is_not_hung(tmp_path):
    sources = named_sources([str(write_onnx(tmp_path / "model.onnx", metadata()))])
    header = {"kind": "translate", "model": "model", "format": "png", "controls": {}, "images": ["image"]}

    async def run():
        options = ServerOptions(models=sources, max_latency=600, timeout=1)
        made = WorkerProcess(options, ServerMetrics())
        await made.start()
        given_up = asyncio.create_task(made.answer(header, [png()]))
        await asyncio.sleep(0.3)  # it is decoded, and waits for others like it
        given_up.cancel()
        await asyncio.sleep(1.6)
        answer = await made.answer(header, [png()])
        await made.stop()
        return made.metrics.text(), answer

    metrics, answer = asyncio.run(run())
    assert b"diptych_worker_starts_total 1.0" in metrics
    assert (picture(answer) == 255 - picture(png())).all()


def test_a_stopped_server_takes_no_requests():
    async def run():
        async with worker() as made:
            pass
        return await ask(made, "late"), made._process.returncode

    assert asyncio.run(run()) == (503, 0)


@pytest.mark.parametrize("code", ["import sys; sys.exit(7)", "import os; os.kill(os.getpid(), 9)"])
def test_a_worker_that_does_not_start_is_an_error(code):
    async def run():
        async with worker((sys.executable, "-c", code)):
            pass

    with pytest.raises(CheckpointError, match=r"ended with code (7|-9) while it loaded the models"):
        asyncio.run(run())


def test_names_of_models_are_safe_and_different():
    sources = ["runs/facades", "other/facades/", "a b.onnx", "user/cats@v1.0", "../<script>", "/"]
    assert [each.name for each in named_sources(sources)] == [
        "facades", "facades-2", "a-b", "cats", "script", "model",
    ]  # fmt: skip
    assert [each.source for each in named_sources(sources)] == sources
    assert Path(named_sources(["."])[0].name).name == Path.cwd().name
