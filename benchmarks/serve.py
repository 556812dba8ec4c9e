"""A server of models under load: throughput against a plain loop, response times, memory, overload, ends.

python benchmarks/serve.py [--clients 64] [--seconds 60]

Clients send the next request when the last one is answered, over connections that stay open. They run on the same
machine, so they take time from the server. Plain loops call the network alone, or also decode and encode PNG files, one
image at a time. Networks are untrained: pix2pix with half of the channels of its paper at 256 pixels, and a quarter at
64. Linux only.
"""

import argparse
import asyncio
import io
import os
import re
import resource
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
from model_server import png, served_models, worker_of

import diptych
from diptych.data.images import image_io
from diptych.data.images.image_io import StoredFile

BOUNDARY = "----diptych"
SLOW = 10_000  # connections


@dataclass
class Load:
    """What clients saw: seconds and time of each answer by status, connections that ended without one, memory."""

    seconds: dict[int, list[float]] = field(default_factory=dict)
    lost: int = 0
    last: float = 0.0
    longest_gap: float = 0.0
    memory: list[float] = field(default_factory=list)  # megabytes of server and worker, each second
    cpu: float = 0.0  # seconds of server and worker
    duration: float = 0.0

    def add(self, status: int, seconds: float) -> None:
        now = time.perf_counter()
        self.longest_gap = max(self.longest_gap, now - self.last) if self.last else 0.0
        self.last = now
        self.seconds.setdefault(status, []).append(seconds)

    @property
    def counts(self) -> Counter[int]:
        return Counter({status: len(times) for status, times in self.seconds.items()})

    def quantiles(self, status: int = 200) -> list[float]:
        """Return the 50th, 95th and 99th percentile of the time to an answer, in seconds."""
        cuts = statistics.quantiles(self.seconds[status], n=100)
        return [cuts[49], cuts[94], cuts[98]]


def request_of(address: str, model: str, image: bytes) -> bytes:
    """Return the bytes of a request for a translation."""
    part = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\n\r\n'.encode()
    body = part + image + f"\r\n--{BOUNDARY}--\r\n".encode()
    head = (
        f"POST /v1/models/{model}/translate HTTP/1.1\r\nHost: {address}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def client(address: str, request: bytes, until: float, load: Load) -> None:
    """Send requests until the time is over or the server closes the connection."""
    host, port = address.split(":")
    while time.perf_counter() < until:
        try:
            reader, writer = await asyncio.open_connection(host, int(port))
        except OSError:  # the server has ended
            return
        sent = False
        try:
            while time.perf_counter() < until:
                start, sent = time.perf_counter(), True
                writer.write(request)
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                await reader.readexactly(int(re.search(r"content-length: (\d+)", head)[1]))
                load.add(int(head.split()[1]), time.perf_counter() - start)
                sent = False
                if int(head.split()[1]) == 429:
                    await asyncio.sleep(0.1)
                if "connection: close" in head:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            load.lost += sent
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def watch(process, load: Load) -> None:
    """Note the memory of the server and its worker each second."""
    while True:
        pids = [process.pid]
        with suppress(OSError, IndexError):
            pids.append(worker_of(process))
        pages = 0
        for pid in pids:
            with suppress(OSError):
                pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        load.memory.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
        await asyncio.sleep(1)


async def crowd(address: str, process, request: bytes, clients: int, seconds: float, event=None) -> Load:
    """Return what clients at once saw; `event` is called after a third of the time."""
    load, start = Load(), time.perf_counter()
    memory = asyncio.create_task(watch(process, load))
    everyone = asyncio.gather(*(client(address, request, start + seconds, load) for _ in range(clients)))
    if event:
        await asyncio.sleep(seconds / 3)
        event()
    await everyone
    load.duration = time.perf_counter() - start
    memory.cancel()
    return load


def measure(
    model: Path, image: bytes, clients: int, seconds: float, *options: str, event: str = ""
) -> tuple[Load, str]:
    """Return what clients of a new server saw, and the last line that it printed.

    `event` is `SIGTERM`, sent to the server, or `kill`: SIGKILL for its worker.
    """
    with served_models(model, "--timeout", 600, *options) as (url, process):
        address = url.removeprefix("http://")
        request = request_of(address, model.stem, image)
        asyncio.run(crowd(address, process, request, 2, min(2.0, seconds)))  # kernels are chosen, memory is allocated
        before = {
            "SIGTERM": lambda: process.send_signal(signal.SIGTERM),
            "kill": lambda: os.kill(worker_of(process), signal.SIGKILL),
        }.get(event)
        pids = [process.pid, worker_of(process)]
        cpu = cpu_seconds(pids)
        load = asyncio.run(crowd(address, process, request, clients, seconds, before))
        load.cpu = 0.0 if event else cpu_seconds(pids) - cpu
        if event != "SIGTERM":  # a second one would end it at once
            process.terminate()
        process.wait(120)
        return load, process.stdout.read().strip().splitlines()[-1]


def cpu_seconds(pids: list[int]) -> float:
    """Return the CPU time of processes."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


def loop(step: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Return the calls per second of a function, and its CPU time for a call in ms."""
    for _ in range(3):
        step()
    start, cpu, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - start < seconds:
        step()
        count += 1
    return count / (time.perf_counter() - start), 1000 * (time.process_time() - cpu) / count


def steps_of(model: Path, image: bytes, side: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return functions that run the network alone, and that also decode its image and encode the translation."""
    translator, file = diptych.load(model), StoredFile("image.png", image)
    x = np.random.default_rng(0).uniform(-1, 1, (1, 3, side, side)).astype(np.float32)

    def with_files():
        return image_io.encoded("image.png", translator.array(translator.read(file), "image"))

    return lambda: translator.translate_batch(x), with_files


def export(folder: Path, name: str, **config) -> Path:
    """Return the ONNX file of an untrained network."""
    import torch
    from translators import made

    torch.manual_seed(0)
    path = folder / f"{name}.onnx"
    made("pix2pix", **config).export_onnx(path)
    return path


def rows_of(folder: Path, clients: int, seconds: float) -> tuple[list[list[str]], list[list[str]]]:
    """Return the rows of the tables of throughput and of events."""
    throughput, events = [], []
    models = {
        "pix2pix, ngf 32, 256 px": (export(folder, "large", ngf=32, generator="unet_256"), 256),
        "pix2pix, ngf 16, 64 px": (export(folder, "small", ngf=16, generator="unet_64"), 64),
    }
    for name, (path, side) in models.items():
        image = smooth(side)
        network, with_files = steps_of(path, image, side)
        loops = [[loop(step, seconds / 12) for step in (network, with_files)]]
        load, _ = measure(path, image, clients, seconds)
        loops.append([loop(step, seconds / 12) for step in (network, with_files)])
        alone, files = np.mean(loops, axis=0)
        rate, cpu = load.counts[200] / load.duration, 1000 * load.cpu / load.counts[200]
        times = [f"{1000 * value:.0f}" for value in load.quantiles()]
        failed = sum(load.counts.values()) - load.counts[200] + load.lost
        third = len(load.memory) // 3
        memory = f"{max(load.memory[:third]):.0f} / {max(load.memory[-third:]):.0f}"
        rates = f"{alone[0]:.1f} / {files[0]:.1f} / {rate:.1f}"
        costs = f"{alone[1]:.1f} / {files[1]:.1f} / {cpu:.1f}"
        throughput.append(
            [name, rates, f"{rate / alone[0]:.2f} / {rate / files[0]:.2f}", costs, *times, str(failed), memory]
        )
        single, _ = measure(path, image, 1, seconds / 6)
        one = [f"{1000 * value:.0f}" for value in single.quantiles()]
        events.append([f"1 client, {name}", f"{1000 / alone[0]:.0f} ms for the network; answers {', '.join(one)} ms"])
    path, image = models["pix2pix, ngf 16, 64 px"][0], smooth(64)
    load, _ = measure(path, image, clients, seconds / 6, "--max-queue", "8")
    refused = 1000 * load.quantiles(429)[2]
    counts = ", ".join(f"{count} answers {status}" for status, count in sorted(load.counts.items()))
    events.append([f"{clients} clients, --max-queue 8", f"{counts}; 99 % of the 429 within {refused:.0f} ms"])
    load, last = measure(path, image, clients, seconds / 6, event="SIGTERM")
    events.append(["SIGTERM", f"{load.counts[200]} answers of 200 after the warm-up; server: {last}"])
    load, _ = measure(path, image, clients, seconds / 6, event="kill")
    failed = sum(load.counts.values()) - load.counts[200] + load.lost
    gap = f"{load.longest_gap:.1f} s without an answer"
    events.append(["kill -9 of the worker", f"{load.counts[200]} answers 200, {failed} failed, {gap}"])
    slow = slow_connections(path, image, SLOW)
    events.append([f"{SLOW:,} connections that send half of a header", slow])
    return throughput, events


def slow_connections(model: Path, image: bytes, count: int) -> str:
    """Open connections that send half of a header, and a request after every 200th; return what happened."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(count + 1000, limit[1]), limit[1]))
    opened, times, most = [], [], 0
    with served_models(model) as (url, process), httpx.Client(base_url=url, timeout=30) as http:
        host, port = url.removeprefix("http://").split(":")
        for number in range(count):
            opened.append(socket.create_connection((host, int(port)), timeout=20))
            opened[-1].sendall(b"POST /v1/models/x/translate HT")
            if number % 200 == 0:
                start = time.perf_counter()
                answer = http.post(f"/v1/models/{model.stem}/translate", files={"image": image})
                assert answer.status_code == 200
                times.append(1000 * (time.perf_counter() - start))
                most = max(most, len(list(Path(f"/proc/{process.pid}/fd").iterdir())))
        for connection in opened:
            connection.close()
    return (
        f"at most {most} files are open; {len(times)} requests between them are answered after "
        f"{statistics.median(times):.0f} ms (median) to {max(times):.0f} ms"
    )


def smooth(side: int) -> bytes:
    """Return the PNG of a smooth image, which compresses as photographs do."""
    from PIL import Image

    coarse = Image.open(io.BytesIO(png((side // 8, side // 8))))
    data = io.BytesIO()
    coarse.resize((side, side), Image.Resampling.BICUBIC).save(data, "PNG")
    return data.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        throughput, events = rows_of(Path(folder), options.clients, options.seconds)
    columns = (
        "model | images/s: network / with files / server | server to network / to files | "
        "CPU ms an image: network / with files / server | p50, ms | p95, ms | p99, ms | failed | "
        "memory, MB: first / last third"
    )
    lead = (
        f"{options.clients} clients at once for {options.seconds:g} s, PNG in and out, onnxruntime, default options of "
        f"`diptych serve` but --timeout 600. Response times of so many clients are mostly waiting in the queue. "
        f"Clients and server share the cores with other programs: the load average was {busy:.1f} before the start. "
        f"So rates depend on who gets the cores, and the CPU time of an image says more."
    )
    tables = {columns: throughput, "case | result": events}
    table.leave(__file__, "A server of models under load", lead, tables)


if __name__ == "__main__":
    main()
