"""Participants and answers of a study in a database: SQLite beside the study, or PostgreSQL by address.

Answers are only added, never changed: the primary key (participant, trial, question) keeps the first. An answer is
acknowledged after its transaction is on disk, so what a rater was told is stored survives a killed server. No network
address and no user agent is stored.
"""

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from threading import Lock
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    delete,
    event,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError, IntegrityError

from diptych.errors import StudyError

SCHEMA = 1
BUSY_SECONDS = 30  # to wait for another writer of an SQLite file

TABLES = MetaData()
ABOUT = Table("study", TABLES, Column("key", String(40), primary_key=True), Column("value", Text, nullable=False))
PARTICIPANTS = Table(
    "participants",
    TABLES,
    Column("number", Integer, primary_key=True),  # from 1; gives the trials
    Column("token", String(64), unique=True, nullable=False),
    Column("external", String(200), unique=True),  # id of a participant on a panel, such as PROLIFIC_PID
    Column("language", String(8), nullable=False),
    Column("code", String(16)),  # completion code, once all trials are answered
    sqlite_autoincrement=True,  # the number of a deleted participant is not given again
)
ANSWERS = Table(
    "answers",
    TABLES,
    Column("participant", ForeignKey("participants.number", ondelete="CASCADE"), primary_key=True),
    Column("trial", Integer, primary_key=True),
    Column("question", String(30), primary_key=True),
    Column("answer", Integer, nullable=False),  # position, or score; -1 is a tie
    Column("response_ms", Integer, nullable=False),
    Column("measured", Text, nullable=False),  # JSON: exposures, refresh rate, focus, viewport
)


@dataclass(frozen=True)
class Participant:
    number: int
    token: str
    language: str
    code: str | None


@dataclass(frozen=True)
class Progress:
    """The answers of a participant so far, by trial and question, in order of trials."""

    number: int
    answers: dict[tuple[int, str], int]


@dataclass(frozen=True)
class Answer:
    """An answer to a question about a trial."""

    participant: int
    trial: int
    question: str
    answer: int
    response_ms: int
    measured: Mapping[str, Any]


class Store:
    """The database of a study. Raises StudyError if it belongs to another study or version, or cannot be reached."""

    def __init__(self, address: str, study: str) -> None:
        self.engine = _engine(address)
        # SQLite takes one writer at a time and makes others sleep for up to 100 ms; threads of a lock wake at once
        is_sqlite = self.engine.dialect.name == "sqlite"
        self._writing: AbstractContextManager[Any] = Lock() if is_sqlite else nullcontext()
        try:
            TABLES.create_all(self.engine)
            self._check(study)
        except (DBAPIError, StudyError) as error:
            self.engine.dispose()
            if isinstance(error, StudyError):
                raise
            raise StudyError(f"{_public(address)}: the database cannot be used ({error.orig})") from error

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._writing, self.engine.begin() as connection:
            yield connection

    def _check(self, study: str) -> None:
        with self._transaction() as connection:
            stored = {row.key: row.value for row in connection.execute(select(ABOUT))}
            if not stored:
                about = {"schema": SCHEMA, "study": study, "secret": secrets.token_hex(32)}
                connection.execute(insert(ABOUT), [{"key": key, "value": value} for key, value in about.items()])
                stored = {key: str(value) for key, value in about.items()}
        if stored.get("schema") != str(SCHEMA):
            raise StudyError(f"database schema {stored.get('schema')}: this version of Diptych reads schema {SCHEMA}")
        if stored.get("study") != study:
            raise StudyError("the database holds the answers of another study: the design or its images were changed")
        self.secret = bytes.fromhex(stored["secret"])  # for the names of images

    def join(self, language: str, external: str | None = None) -> Participant:
        """Return a new participant, or the one who joined before with the same id of a panel."""
        with self._transaction() as connection:
            values = {"token": secrets.token_urlsafe(24), "external": external, "language": language}
            try:
                with connection.begin_nested():
                    connection.execute(insert(PARTICIPANTS), values)
                found = PARTICIPANTS.c.token == values["token"]
            except IntegrityError:
                found = PARTICIPANTS.c.external == external
            return self._participant(connection, found)

    def participant(self, token: str) -> Participant | None:
        """Return the participant of a session token; None if there is none."""
        with self.engine.connect() as connection:
            rows = connection.execute(select(PARTICIPANTS).where(PARTICIPANTS.c.token == token)).all()
        return _participant(rows[0]) if rows else None

    def _participant(self, connection: Connection, found: Any) -> Participant:
        return _participant(connection.execute(select(PARTICIPANTS).where(found)).one())

    def add(self, answers: Sequence[Answer]) -> list[bool]:
        """Store answers in one transaction; returns for each whether it is the first to its question, which counts."""
        try:
            with self._transaction() as connection:
                connection.execute(insert(ANSWERS), [_row(answer) for answer in answers])
        except IntegrityError:  # one of them is not the first, or its participant was deleted
            return [self.add([answer])[0] for answer in answers] if len(answers) > 1 else [False]
        return [True] * len(answers)

    def progress(self, token: str) -> Progress | None:
        """Return the answers of the participant of a session token; None if there is none."""
        joined = PARTICIPANTS.outerjoin(ANSWERS, PARTICIPANTS.c.number == ANSWERS.c.participant)
        columns = (PARTICIPANTS.c.number, ANSWERS.c.trial, ANSWERS.c.question, ANSWERS.c.answer)
        query = select(*columns).select_from(joined).where(PARTICIPANTS.c.token == token).order_by(ANSWERS.c.trial)
        with self.engine.connect() as connection:
            rows = connection.execute(query).all()
        if not rows:
            return None
        answers = {(row.trial, row.question): row.answer for row in rows if row.trial is not None}
        return Progress(rows[0].number, answers)

    def finish(self, participant: int) -> str:
        """Return the completion code of a participant, which is made once."""
        with self._transaction() as connection:
            own = PARTICIPANTS.c.number == participant
            connection.execute(
                update(PARTICIPANTS).where(own, PARTICIPANTS.c.code.is_(None)).values(code=secrets.token_hex(4).upper())
            )
            return str(connection.execute(select(PARTICIPANTS.c.code).where(own)).scalar_one())

    def answers(self) -> list[Answer]:
        """Return all answers, by participant and trial."""
        with self.engine.connect() as connection:
            rows = connection.execute(select(ANSWERS).order_by(ANSWERS.c.participant, ANSWERS.c.trial)).mappings()
            return [Answer(**{**row, "measured": json.loads(row["measured"])}) for row in rows]

    def counts(self) -> tuple[int, int, int]:
        """Return the numbers of participants, of those who finished, and of answers."""
        with self.engine.connect() as connection:
            joined, finished = connection.execute(select(func.count(), func.count(PARTICIPANTS.c.code))).one()
            answers = connection.execute(select(func.count()).select_from(ANSWERS)).scalar_one()
        return int(joined), int(finished), int(answers)

    def forget(self, external_or_number: str) -> bool:
        """Delete a participant with all answers, by number or id of a panel; returns whether there was one."""
        found = PARTICIPANTS.c.external == external_or_number
        if external_or_number.isdigit():
            found |= PARTICIPANTS.c.number == int(external_or_number)
        with self._transaction() as connection:
            return bool(connection.execute(delete(PARTICIPANTS).where(found)).rowcount)

    def close(self) -> None:
        self.engine.dispose()


def _row(answer: Answer) -> dict[str, Any]:
    return {**vars(answer), "measured": json.dumps(answer.measured)}


def _participant(row: Any) -> Participant:
    return Participant(row.number, row.token, row.language, row.code)


def _engine(address: str) -> Engine:
    if not address.startswith("sqlite"):
        return create_engine(address, pool_size=10, pool_pre_ping=True)
    engine = create_engine(address, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _settings(connection: Any, _: Any) -> None:
        for setting in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {setting}")

    return engine


def _public(address: str) -> str:
    """Return the address without its password."""
    from sqlalchemy.engine import make_url

    return make_url(address).render_as_string(hide_password=True)
