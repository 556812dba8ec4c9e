"""The database of a study, on SQLite and on PostgreSQL."""

import sqlite3
import threading

import pytest
import sqlalchemy

from diptych.errors import StudyError
from diptych.studies.store import TABLES, Answer, Store

STUDY = "a" * 64


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request, tmp_path):
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'answers.sqlite'}"
        return
    address = request.getfixturevalue("postgresql")
    yield address
    engine = sqlalchemy.create_engine(address)
    TABLES.drop_all(engine)
    engine.dispose()


@pytest.fixture
def store(address):
    store = Store(address, STUDY)
    yield store
    store.close()


def answer(participant, trial, value=1, question="fake"):
    return Answer(participant, trial, question, value, 512, {"exposures": [[1000, 1000.3]], "focus": True})


def test_participants_have_numbers_in_order_and_secret_tokens(store):
    first, second = store.join("en"), store.join("zh")
    assert (first.number, second.number) == (1, 2)
    assert first.token != second.token
    assert len(first.token) >= 32
    assert store.participant(second.token) == second
    assert store.participant("unknown") is None


def test_who_joins_again_with_an_id_of_a_panel_continues(store):
    assert store.join("en", "P1") == store.join("en", "P1")
    assert store.join("en", "P2").number != store.join("en", "P1").number
    assert store.counts()[0] == 2


def test_the_first_answer_counts(store):
    participant = store.join("en")
    rater = participant.number
    assert store.progress(participant.token).answers == {}
    assert store.add([answer(rater, 0, 1)]) == [True]
    assert store.add([answer(rater, 0, 0), answer(rater, 1), answer(99, 1), answer(rater, 1)]) == [
        False,
        True,
        False,
        False,
    ]
    assert store.add([answer(rater, 0, 0, "style")]) == [True]
    progress = store.progress(participant.token)
    assert (progress.number, progress.answers) == (rater, {(0, "fake"): 1, (0, "style"): 0, (1, "fake"): 1})
    assert store.answers()[0] == answer(rater, 0)


def test_an_answer_of_nobody_is_not_stored(store):
    assert store.add([answer(99, 0)]) == [False]
    assert store.counts() == (0, 0, 0)


def test_the_code_is_made_once(store):
    rater = store.join("en").number
    assert store.finish(rater) == store.finish(rater)
    assert store.counts() == (1, 1, 0)


def test_a_deleted_participant_leaves_nothing_and_the_number_is_not_given_again(store):
    first = store.join("en", "P1")
    store.add([answer(first.number, 0)])
    assert store.forget("P1")
    assert not store.forget("P1")
    assert store.counts() == (0, 0, 0)
    assert store.participant(first.token) is None
    assert store.progress(first.token) is None
    assert store.join("en").number == first.number + 1


def test_many_at_once_lose_and_double_nothing(store):
    raters = [store.join("en").number for _ in range(8)]
    firsts = []

    def send(rater):
        for trial in range(10):
            firsts.extend(store.add([answer(rater, trial)])[0] for _ in range(2))

    threads = [threading.Thread(target=send, args=(rater,)) for rater in raters for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(firsts) == len(store.answers()) == 80
    assert len({(row.participant, row.trial) for row in store.answers()}) == 80


def test_another_study_is_refused(store, address):
    with pytest.raises(StudyError, match="answers of another study"):
        Store(address, "b" * 64)


def test_another_schema_is_refused(tmp_path):
    file = tmp_path / "answers.sqlite"
    Store(f"sqlite:///{file}", STUDY).close()
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE study SET value = '99' WHERE key = 'schema'")
    connection.close()
    with pytest.raises(StudyError, match=r"schema 99.*reads schema 1"):
        Store(f"sqlite:///{file}", STUDY)


def test_a_database_that_cannot_be_reached_is_named_without_its_password():
    with pytest.raises(StudyError, match=r"rater:\*\*\*@127\.0\.0\.1:1/x") as caught:
        Store("postgresql+psycopg://rater:secret@127.0.0.1:1/x?connect_timeout=1", STUDY)
    assert "secret" not in str(caught.value)
