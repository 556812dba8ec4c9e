"""Participants at once on one study server: response times, on SQLite and on PostgreSQL.

python benchmarks/study_load.py [--clients 200] [--trials 20]

Each client joins, loads its trials, and answers them with pauses of two seconds, as people are slower. Reported are the
95th percentile and the median of the time to an acknowledged answer, lost and doubled answers, and the largest rate
without pauses. Clients and server share the machine. PostgreSQL is started where it is installed. Writes
benchmarks/study_load.md.
"""

import argparse
import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx
from table import leave

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
from postgresql_server import postgresql_server
from study_folders import served, study

PAUSE_SECONDS = 2.0
COLUMNS = "database | clients | answers | median | 95th percentile | most answers per second | lost | doubled | load"


async def client(http, trials, pause, times):
    session = (await http.post("/api/join", json={"language": "en"})).json()["session"]
    headers = {"Authorization": f"Bearer {session}"}
    await http.get("/api/session", headers=headers)
    for trial in range(trials):
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))
        given = {"trial": trial, "question": "fake", "answer": trial % 2, "response_ms": 500}
        start = time.perf_counter()
        response = await http.post("/api/answers", json=given, headers=headers)
        times.append(time.perf_counter() - start)
        assert response.json()["stored"], response.text


async def crowd(address, clients, trials, pause):
    times = []
    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=address, limits=limits, timeout=60) as http:
        start = time.perf_counter()
        await asyncio.gather(*(client(http, trials, pause, times) for _ in range(clients)))
        return times, time.perf_counter() - start


def row(name, address, clients, trials):
    """Return the row of the table of a database; `address` is None for SQLite."""
    options = ["--database", address] if address else []
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        made = study(Path(folder), practice=0, trials=trials, count=trials)
        with served(made.path, *options) as (server, _):
            calm, _ = asyncio.run(crowd(server, clients, trials, PAUSE_SECONDS))
            after = os.getloadavg()[0]
            rush, seconds = asyncio.run(crowd(server, clients, trials, 0.0))
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
        "per second are without pauses. Load is the number of running processes (average of a minute) before and "
        "after the answers with pauses."
    )
    leave(__file__, "Participants at once on the server of a study", lead, {COLUMNS: rows})


if __name__ == "__main__":
    main()
