"""Participants answer while the server is killed and started again: what was acknowledged is there once."""

import signal
import threading
import time

import httpx
import pytest
from study_folders import served, study

pytestmark = pytest.mark.slow
CLIENTS, TRIALS = 12, 20


class Client(threading.Thread):
    """Joins and answers all trials; repeats requests that failed, as the page does."""

    def __init__(self, place):
        super().__init__(daemon=True)
        self.place, self.acknowledged, self.problem = place, [], None

    def run(self):
        try:
            self.answer_all()
        except Exception as error:  # shown by the test
            self.problem = error

    def answer_all(self):
        with httpx.Client(timeout=10) as self.client:
            self.answer_in_session()

    def answer_in_session(self):
        session = self.send("/api/join", {"language": "en"}).json()["session"]
        headers = {"Authorization": f"Bearer {session}"}
        for trial in range(TRIALS):
            given = {"trial": trial, "question": "fake", "answer": trial % 2, "response_ms": 500}
            for _ in range(2):  # a double click
                assert self.send("/api/answers", given, headers).status_code == 200
            self.acknowledged.append((trial, trial % 2))

    def send(self, path, body, headers=None):
        for _ in range(600):
            try:
                return self.client.post(self.place["address"] + path, json=body, headers=headers)
            except httpx.HTTPError:
                time.sleep(0.1)
        raise AssertionError("the server did not come back")


def test_no_acknowledged_answer_is_lost_or_doubled(tmp_path):
    made = study(tmp_path, practice=0, trials=TRIALS, count=20)
    place = {}
    clients = [Client(place) for _ in range(CLIENTS)]
    for number in range(3):
        with served(made.path) as (address, process):
            place["address"] = address
            if number == 0:
                for client in clients:
                    client.start()
            if number < 2:
                time.sleep(1.5)
                process.send_signal(signal.SIGKILL)
                process.wait(10)
            else:
                for client in clients:
                    client.join(120)
    store = made.store()
    stored = store.answers()
    store.close()
    assert [client.problem for client in clients] == [None] * CLIENTS
    assert sum(len(client.acknowledged) for client in clients) == CLIENTS * TRIALS
    complete = {}
    for answer in stored:
        complete.setdefault(answer.participant, []).append((answer.trial, answer.answer))
    wanted = [(trial, trial % 2) for trial in range(TRIALS)]
    assert sum(rows == wanted for rows in complete.values()) == CLIENTS
