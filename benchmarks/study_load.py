"""Participants at once on one study server: response times, on SQLite and on PostgreSQL.

python benchmarks/study_load.py [--clients 200] [--trials 20]

Clients join and load their trials; then each answers its trials with pauses of two seconds, as people are slower.
Reported are the median and the 95th percentile of the time to an acknowledged answer, lost and doubled answers, the
largest rate without pauses, and the processor time that the server and the clients use for an answer. Clients and
server share the machine. PostgreSQL is started where it is installed. Writes benchmarks/study_load.md.
"""

import argparse
import asyncio
import json
import os
import random
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from table import leave

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
from postgresql_server import postgresql_server
from study_folders import served, study

PAUSE_SECONDS = 2.0
COLUMNS = (
    "database | clients | answers | median | 95th percentile | most answers per second | lost | doubled | "
    "server per answer | clients per answer | load"
)


class Client:
    """A participant on a connection of HTTP/1.1, which costs less of the shared processors than a client library."""

    def __init__(self, address):
        self.host, self.token = urlsplit(address).netloc, ""

    async def join(self):
        name, port = self.host.split(":")
        self.reader, self.writer = await asyncio.open_connection(name, int(port))
        self.token = (await self.request("POST", "/api/join", {"language": "en"}))["session"]
        await self.request("GET", "/api/session")

    async def request(self, method, path, body=None):
        """Return the content of the response."""
        content = json.dumps(body).encode() if body else b""
        fields = {"Host": self.host, "Authorization": f"Bearer {self.token}", "Content-Length": len(content)}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        self.writer.write("\r\n".join([*lines, "Content-Type: application/json", "", ""]).encode() + content)
        head = await self.reader.readuntil(b"\r\n\r\n")
        answer = await self.reader.readexactly(int(re.search(rb"content-length: (\d+)", head.lower())[1]))
        assert head.startswith(b"HTTP/1.1 200"), answer
        return json.loads(answer)

    async def answer(self, trials, pause, times):
        """Answer all trials and add the seconds to each acknowledgement to `times`."""
        for trial in range(trials):
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
            given = {"trial": trial, "question": "fake", "answer": trial % 2, "response_ms": 500}
            start = time.perf_counter()
            response = await self.request("POST", "/api/answers", given)
            times.append(time.perf_counter() - start)
            assert response["stored"]
        self.writer.close()


def processor_seconds(process):
    """Return the processor time that a process has used so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def crowd(address, server, clients, trials, pause):
    """Return the seconds to each acknowledgement, those of all answers, and the processor seconds of both sides."""
    participants, times = [Client(address) for _ in range(clients)], []
    await asyncio.gather(*(each.join() for each in participants))
    used = [processor_seconds(process) for process in (server, os.getpid())]
    start = time.perf_counter()
    await asyncio.gather(*(each.answer(trials, pause, times) for each in participants))
    seconds = time.perf_counter() - start
    used = [processor_seconds(process) - before for process, before in zip((server, os.getpid()), used, strict=True)]
    return times, seconds, used


def row(name, address, clients, trials):
    """Return the row of the table of a database; `address` is None for SQLite."""
    options = ["--database", address] if address else []
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        made = study(Path(folder), practice=0, trials=trials, count=trials)
        with served(made.path, *options) as (server, process):
            calm, _, used = asyncio.run(crowd(server, process.pid, clients, trials, PAUSE_SECONDS))
            after = os.getloadavg()[0]
            rush, seconds, _ = asyncio.run(crowd(server, process.pid, clients, trials, 0.0))
        store = made.store(address)
        answers = store.answers()
        store.close()
    distinct = len({(answer.participant, answer.trial) for answer in answers})
    expected = 2 * clients * trials
    numbers = (statistics.median(calm), statistics.quantiles(calm, n=20)[-1])
    return [
        name,
        str(clients),
        str(expected),
        *(f"{1000 * number:.0f} ms" for number in numbers),
        f"{len(rush) / seconds:.0f}",
        str(expected - distinct),
        str(len(answers) - distinct),
        *(f"{1000 * number / len(calm):.1f} ms" for number in used),
        f"{before:.1f} to {after:.1f}",
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--trials", type=int, default=20, help="answers of each client")
    options = parser.parse_args()
    rows = [row("SQLite", None, options.clients, options.trials)]
    print(rows[-1], flush=True)
    with postgresql_server() as address:
        rows.append(row("PostgreSQL", address, options.clients, options.trials))
    print(rows[-1], flush=True)
    lead = (
        "Clients at once on one server of a study, on the same machine. Times are from an answer to its "
        f"acknowledgement, with pauses of about {PAUSE_SECONDS:.0f} s between answers of a client. The most answers "
        "per second are without pauses. The processor time of server and clients is that of the answers with pauses, "
        "without PostgreSQL's own processes. Load is the number of running processes (average of a minute) before "
        "and after."
    )
    leave(__file__, "Participants at once on the server of a study", lead, {COLUMNS: rows})


if __name__ == "__main__":
    main()
