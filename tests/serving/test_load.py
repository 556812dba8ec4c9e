"""A server under load, for seconds: the short form of `benchmarks/serve.py`."""

import importlib
import re
import sys
from pathlib import Path

import pytest
from model_server import served_models, worker_of

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]


@pytest.fixture(scope="module")
def benchmark():
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("serve")
    sys.path.remove(str(BENCHMARKS))


def accepted(line):
    """Return the numbers of requests that a server accepted, and that clients gave up, by its last line."""
    return [int(number) for number in re.search(r"stopped: (\d+) requests accepted, (\d+) of them", line).groups()]


def test_no_request_fails_and_memory_is_flat(benchmark, models):
    load, last = benchmark.measure(models["inverted"], benchmark.smooth(64), 64, 3)
    assert set(load.counts) == {200}
    assert load.counts[200] > 100
    assert load.lost == 0
    assert accepted(last)[0] >= load.counts[200]
    assert load.memory[-1] - load.memory[1] < 50, load.memory


def test_overload_is_refused_quickly(benchmark, models):
    load, _ = benchmark.measure(models["inverted"], benchmark.smooth(64), 64, 1.5, "--max-queue", "4")
    assert set(load.counts) == {200, 429}
    assert load.counts[200] > 20
    assert load.quantiles(429)[0] < 0.5


def test_sigterm_under_load_loses_no_accepted_request(benchmark, models):
    with served_models(models["inverted"]) as (url, process):
        address = url.removeprefix("http://")
        request = benchmark.request_of(address, "inverted", benchmark.smooth(64))
        crowd = benchmark.crowd(address, process, request, 32, 3, process.terminate)
        load = benchmark.asyncio.run(crowd)
        assert process.wait(20) == 0
        last = process.stdout.read().strip().splitlines()[-1]
    assert load.counts[200] > 20
    assert accepted(last) == [load.counts[200], 0]


def test_a_killed_worker_comes_back_and_no_request_fails(benchmark, models):
    load, _ = benchmark.measure(models["inverted"], benchmark.smooth(64), 16, 4.5, event="kill")
    assert set(load.counts) == {200}
    assert load.lost == 0


def test_an_onnx_file_is_served_without_torch(models):
    with served_models(models["inverted"]) as (_, process):
        for pid in (process.pid, worker_of(process)):
            libraries = Path(f"/proc/{pid}/maps").read_text()
            assert "python" in libraries
            assert "torch" not in libraries
        assert "onnxruntime" in libraries
