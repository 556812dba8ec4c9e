"""Participants at once on one study server: response times, on SQLite and on PostgreSQL.

python benchmarks/study_load.py [--database ADDRESS] [--clients 200]

Each client joins, loads its trials, and answers them with pauses of two seconds, as people are slower. Reported are the
95th percentile and the median of the time to an acknowledged answer, lost and doubled answers, and the largest rate
without pauses.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
from study_folders import served, study

TRIALS = 20


async def client(http, pause, times):
    session = (await http.post("/api/join", json={"language": "en"})).json()["session"]
    headers = {"Authorization": f"Bearer {session}"}
    await http.get("/api/session", headers=headers)
    for trial in range(TRIALS):
        await asyncio.sleep(pause)
        given = {"trial": trial, "question": "fake", "answer": trial % 2, "response_ms": 500}
        start = time.perf_counter()
        response = await http.post("/api/answers", json=given, headers=headers)
        times.append(time.perf_counter() - start)
        assert response.json()["stored"], response.text


async def crowd(address, clients, pause):
    times = []
    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=address, limits=limits, timeout=60) as http:
        start = time.perf_counter()
        await asyncio.gather(*(client(http, pause, times) for _ in range(clients)))
        return times, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", help="address of an empty database; default: SQLite")
    parser.add_argument("--clients", type=int, default=200)
    options = parser.parse_args()
    extra = ["--database", options.database] if options.database else []
    with tempfile.TemporaryDirectory() as folder:
        made = study(Path(folder), practice=0, trials=TRIALS, count=TRIALS)
        with served(made.path, *extra) as (address, _):
            calm, _ = asyncio.run(crowd(address, options.clients, 2.0))
            rush, seconds = asyncio.run(crowd(address, options.clients, 0.0))
        store = made.store(options.database)
        answers = store.answers()
        store.close()
    expected = 2 * options.clients * TRIALS
    distinct = len({(answer.participant, answer.trial) for answer in answers})
    print(f"{'PostgreSQL' if options.database else 'SQLite'}, {options.clients} clients at once, pauses of 2 s:")
    print(
        f"  answer acknowledged after {1000 * statistics.median(calm):.1f} ms (median), "
        f"{1000 * statistics.quantiles(calm, n=20)[-1]:.1f} ms (95th percentile)"
    )
    print(f"  without pauses {len(rush) / seconds:.0f} answers per second")
    print(f"  {expected - distinct} lost, {len(answers) - distinct} doubled of {expected}")


if __name__ == "__main__":
    main()
