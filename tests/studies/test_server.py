"""The server of a study: order of answers, what it tells, and what it refuses."""

import asyncio
import time

import pytest
from starlette.testclient import TestClient
from study_folders import study

from diptych.studies.answer_log import AnswerLog
from diptych.studies.presets import PRESETS
from diptych.studies.server import application
from diptych.studies.store import Answer

STAIRCASE = PRESETS["hype-time"]["staircase"]
pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`")


@pytest.fixture
def made(tmp_path):
    return study(tmp_path, practice=1, trials=4, attention_checks=1, repeats=1)


@pytest.fixture
def client(made):
    store = made.store()
    with TestClient(application(made, store), base_url="http://127.0.0.1") as client:
        yield client
    store.close()


def join(client, **values):
    session = client.post("/api/join", json={"language": "en", **values}).json()["session"]
    return {"Authorization": f"Bearer {session}"}


def answer(client, session, trial, value=0, question="fake", **others):
    given = {"trial": trial, "question": question, "answer": value, "response_ms": 400, **others}
    return client.post("/api/answers", json=given, headers=session)


def test_a_session_from_join_to_code(client, made):
    session = join(client)
    about = client.get("/api/session", headers=session).json()
    assert len(about["trials"]) == 7
    assert about["completed"] is None
    correct = made.trials(1)[0].correct
    assert answer(client, session, 0, correct).json() == {"stored": True, "correct": True, "exposure_ms": 1000}
    for trial in range(1, 7):
        assert answer(client, session, trial).json() == {"stored": True, "correct": None, "exposure_ms": 1000}
    code = client.post("/api/finish", headers=session, json={}).json()["code"]
    again = client.get("/api/session", headers=session).json()
    assert (again["completed"], len(again["answered"])) == (code, 7)
    refused = answer(client, session, 3, 1)
    assert refused.json()["stored"] is False, "an answer after the end changes nothing"


def test_a_double_answer_counts_once_and_the_first_stays(client, made):
    session = join(client)
    assert answer(client, session, 0, 1).json()["stored"]
    assert not answer(client, session, 0, 0).json()["stored"]
    store = made.store()
    assert store.progress(session["Authorization"].removeprefix("Bearer ")).answers == {(0, "fake"): 1}
    store.close()


def test_answers_of_another_server_and_a_deletion_are_seen(made, client):
    """The server keeps the answers of participants in memory; the database may change without it."""
    session, store = join(client), made.store()
    token = session["Authorization"].removeprefix("Bearer ")
    assert answer(client, session, 0).json()["stored"]
    with TestClient(application(made, store), base_url="http://127.0.0.1") as other:
        assert answer(other, session, 1).json()["stored"]
        assert not answer(client, session, 1).json()["stored"]
        assert answer(other, session, 2).json()["stored"]
    assert answer(client, session, 3).json()["stored"]
    assert list(store.progress(token).answers) == [(trial, "fake") for trial in range(4)]
    assert store.forget("1")
    assert answer(client, session, 4).status_code == 401
    assert store.counts() == (0, 0, 0)
    store.close()


class SlowStore:
    """Notes the number of answers of each transaction; the second one fails."""

    def __init__(self):
        self.groups = []

    def add(self, answers):
        time.sleep(0.05)
        self.groups.append(len(answers))
        if len(self.groups) == 2:
            raise OSError("the disk is full")
        return [True] * len(answers)


def test_answers_that_come_during_a_write_share_the_next_one():
    async def send(log):
        requests = []
        for count in (1, 7, 3):
            requests += [asyncio.create_task(log.add(Answer(1, trial, "fake", 0, 400, {}))) for trial in range(count)]
            await asyncio.sleep(0.02 if count < 7 else 0.06)
        return await asyncio.gather(*requests, return_exceptions=True)

    store = SlowStore()
    found = asyncio.run(send(AnswerLog(store)))
    assert store.groups == [1, 7, 3]
    assert found[:1] + found[8:] == [True] * 4
    assert {type(each) for each in found[1:8]} == {OSError}, "each of these requests is told"


def test_a_staircase_tells_each_answer_and_the_next_exposure(tmp_path):
    made = study(tmp_path, "hype-time", trials=6, staircase={**STAIRCASE, "blocks": 2})
    store = made.store()
    correct = [trial.correct for trial in made.trials(1)]
    with TestClient(application(made, store), base_url="http://127.0.0.1") as client:
        session = join(client)
        told = [answer(client, session, at, value if at != 1 else 1 - value).json() for at, value in enumerate(correct)]
        again = answer(client, session, 1).json()
        assert client.get("/api/session", headers=session).json()["exposure_ms"] == 500
    store.close()
    assert [each["correct"] for each in told] == [True, False, True, True, True, True]
    assert [each["exposure_ms"] for each in told] == [490, 520, 500, 490, 480, 500]
    assert (again["stored"], again["exposure_ms"]) == (False, 500)


def test_the_description_does_not_tell_trials_apart(client):
    trials = client.get("/api/session", headers=join(client)).json()["trials"]
    assert {tuple(trial) for trial in trials} == {("number", "practice", "images", "input", "reference")}
    names = [address for trial in trials for address in trial["images"]]
    assert len(set(names)) == len(names) == 14, "also the images of a repeat have other names"


def test_images_are_alike_but_for_their_pixels(client):
    session = join(client)
    trials = client.get("/api/session", headers=session).json()["trials"]
    responses = [client.get(address, headers=session) for trial in trials for address in trial["images"]]
    assert {response.status_code for response in responses} == {200}
    assert len({len(response.content) for response in responses}) == 1
    assert len({str(sorted(response.headers.items())) for response in responses}) == 1
    assert responses[0].headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"answer": 2}, "answer"),
        ({"answer": -1}, "answer"),
        ({"trial": 7}, "trial"),
        ({"trial": -1}, "trial"),
        ({"question": "<script>"}, "question"),
        ({"response_ms": -5}, "response_ms"),
        ({"response_ms": "soon"}, "response_ms"),
        ({"measured": {"exposures": [[1, 2, 3]] * 33}}, "measured.exposures"),
        ({"measured": {"refresh_hz": 1e9}}, "measured.refresh_hz"),
        ({"extra": 1}, "extra"),
    ],
)
def test_a_forged_answer_is_refused_by_its_field(client, given, field):
    values = {"trial": 0, "question": "fake", "answer": 0, "response_ms": 400, **given}
    refused = client.post("/api/answers", json=values, headers=join(client))
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["field"] == field


def test_answers_are_taken_in_order(client):
    session = join(client)
    assert answer(client, session, 2).status_code == 409
    assert client.post("/api/finish", headers=session, json={}).status_code == 409


@pytest.mark.parametrize("header", ["", "Bearer ", "Bearer unknown", "Bearer " + "x" * 500])
def test_an_unknown_session_gets_nothing(client, header):
    for path in ("/api/session", "/i/0123.png"):
        assert client.get(path, headers={"Authorization": header}).status_code == 401


def test_the_images_of_another_session_are_not_found(client):
    first, second = join(client), join(client)
    address = client.get("/api/session", headers=first).json()["trials"][0]["images"][0]
    assert client.get(address, headers=second).status_code == 404


@pytest.mark.parametrize("name", ["../study.yaml", "%2e%2e%2fstudy.yaml", "..%5cstudy.yaml", "a%00b", "x" * 5000])
def test_no_path_leads_out(client, name):
    session = join(client)
    for path in (f"/i/{name}.png", f"/assets/{name}", f"/i/{name}"):
        assert client.get(path, headers=session).status_code in (404, 401)


def test_large_bodies_are_refused_before_they_are_read_whole(client):
    huge = client.post("/api/join", content=b'{"language": "' + b"x" * 100_000 + b'"}')
    assert huge.status_code == 413


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}])
def test_requests_of_other_sites_are_refused(client, headers):
    assert client.post("/api/join", json={"language": "en"}, headers=headers).status_code == 403
    assert "access-control-allow-origin" not in client.get("/", headers=headers).headers


def test_another_host_name_is_refused(client):
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400


def test_a_token_is_needed_where_one_is_set(made):
    store = made.store()
    with TestClient(application(made, store, ("study.example",), "secret"), base_url="http://study.example") as client:
        assert client.post("/api/join", json={"language": "en", "token": "guess"}).status_code == 403
        assert client.post("/api/join", json={"language": "en", "token": "secret"}).status_code == 200
    store.close()


def test_who_comes_back_from_a_panel_continues(client):
    first, second = join(client, external="5f3c"), join(client, external="5f3c")
    assert first == second
    assert client.post("/api/join", json={"language": "en", "external": "<b>"}).status_code == 422
    assert client.post("/api/join", json={"language": "xx"}).status_code == 422


def test_the_consent_text_is_that_of_the_study(tmp_path):
    made = study(tmp_path, practice=0, trials=4, consent="Ethics board 7 <b>approved</b> this.")
    store = made.store()
    with TestClient(application(made, store), base_url="http://127.0.0.1") as client:
        page = client.get("/").text
    store.close()
    assert "Ethics board 7" in page
    assert "<b>" not in page


def test_the_page_has_no_foreign_parts_and_a_strict_policy(client):
    page = client.get("/?lang=zh")
    assert '<html lang="zh">' in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http" not in page.text.replace("http-equiv", "")
    assert client.get("/?lang=<script>").text.count("<script") == 1
