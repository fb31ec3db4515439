"""The requests of a batch in an SQLite file: who works on which, and each answer exactly once.

Many processes may use one file, and any of them may be killed at any time. A driver takes requests under a lease that
it renews; what a dead driver held is open again when the lease has run out, or at once by ``give_back``. The file may
hold LangGraph's checkpoints as well (``aiflow.graphs.sqlite`` of the same path). What requests mean is not known here.
"""

import json
import os
import secrets
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from aiflow.errors import UsageError

BUSY = 30.0  # seconds to wait for another process that writes
LEASE = 15.0  # seconds after which a driver that has not been heard of is taken for dead
Status = Literal["open", "running", "answered", "failed"]
_TABLES = """
CREATE TABLE IF NOT EXISTS requests (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    input TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'running', 'answered', 'failed')),
    answer TEXT,
    error TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0,
    taken INTEGER NOT NULL DEFAULT 0,
    resumed INTEGER NOT NULL DEFAULT 0,
    dropped INTEGER NOT NULL DEFAULT 0,
    driver TEXT NOT NULL DEFAULT '',
    lease REAL NOT NULL DEFAULT 0,
    added REAL NOT NULL,
    started REAL,
    ended REAL
);
CREATE INDEX IF NOT EXISTS requests_by_state ON requests (state, number);
CREATE TABLE IF NOT EXISTS requests_facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_FIELDS = "id, input, state, answer, error, attempts, taken, resumed, driver, added, started, ended"
_FREE = "(state = 'open' OR (state = 'running' AND lease <= :now))"


def driver_name() -> str:
    """A name for a driver, unlike any other's."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


@dataclass(frozen=True, kw_only=True)
class Request:
    """One line of the journal. ``input`` and ``answer`` are JSON values; times are seconds since the Unix epoch."""

    id: str
    input: Any
    state: Status
    answer: Any
    error: str  # of the last attempt; why it failed, where it did
    attempts: int  # that ended in an error, of all drivers
    taken: int  # how often a driver began or went on with it
    resumed: int  # how often a driver went on from a checkpoint that another one had left
    driver: str  # who took it last
    added: float
    started: float | None  # when it was taken first
    ended: float | None


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many requests are in which state. ``running``: under a lease that holds; else they are ``open``."""

    open: int = 0
    running: int = 0
    answered: int = 0
    failed: int = 0
    resumed: int = 0  # requests that some driver went on with from a checkpoint
    dropped: int = 0  # answers that came second, and were not kept

    @property
    def unfinished(self) -> int:
        """Requests that have neither an answer nor a final error."""
        return self.open + self.running


class Journal:
    """The requests in the file ``path``, made where it is missing. Use it in any thread; close it or use ``with``.

    Raises UsageError where ``path`` is no such file or lies in no folder.
    """

    def __init__(self, path: str | Path, *, clock: Callable[[], float] = time.time) -> None:
        self.path = Path(path)
        self._clock = clock
        self._lock = threading.Lock()
        try:
            # autocommit, so that BEGIN IMMEDIATE below is what begins a transaction
            self._conn = sqlite3.connect(self.path, timeout=BUSY, check_same_thread=False, isolation_level=None)
            self._open_tables()
        except sqlite3.Error as error:
            raise UsageError(
                f"{str(path)!r} is no journal ({error}); name a new file in a folder that exists."
            ) from error

    def add(self, id: str, input: Any) -> bool:
        """Adds a request; False if it was there. Raises UsageError for an id that was added with another input."""
        return self.add_all([(id, input)]) == 1

    def add_all(self, requests: Iterable[tuple[str, Any]]) -> int:
        """Adds requests in their order, all or none, and says how many are new. Raises UsageError like ``add``."""
        new = 0
        with self._write() as conn:
            for id, value in requests:
                text, now = _text(id, value), self._clock()
                known = conn.execute("SELECT input FROM requests WHERE id = ?", (id,)).fetchone()
                if known is None:
                    conn.execute("INSERT INTO requests (id, input, added) VALUES (?, ?, ?)", (id, text, now))
                    new += 1
                elif json.loads(known[0]) != json.loads(text):
                    raise UsageError(
                        f"request {id!r} is in {self.path} with another input; give it a new id, or use a new journal."
                    )
        return new

    def bind(self, name: str, value: str) -> None:
        """Writes down a fact about the whole journal. Raises UsageError if it was begun with another value."""
        with self._write() as conn:
            conn.execute("INSERT OR IGNORE INTO requests_facts VALUES (?, ?)", (name, value))
            (known,) = conn.execute("SELECT value FROM requests_facts WHERE name = ?", (name,)).fetchone()
        if known != value:
            raise UsageError(f"{self.path} was begun with {name} {known!r}, not {value!r}; use that, or a new journal.")

    def take(self, driver: str, count: int = 1, *, lease: float = LEASE) -> list[Request]:
        """Up to ``count`` open requests, oldest first, which are the driver's for ``lease`` seconds unless renewed.

        Its own are never among them, be their leases run out or not.
        """
        now = self._clock()
        with self._write() as conn:
            rows = conn.execute(
                f"""UPDATE requests SET state = 'running', driver = :driver, lease = :lease, taken = taken + 1,
                    started = coalesce(started, :now)
                    WHERE number IN (SELECT number FROM requests WHERE {_FREE} AND NOT (state = 'running' AND
                    driver = :driver) ORDER BY number LIMIT :count)
                    RETURNING number, {_FIELDS}""",
                {"driver": driver, "lease": now + lease, "now": now, "count": count},
            ).fetchall()
        return [_request(row[1:]) for row in sorted(rows)]

    def renew(self, driver: str, *, lease: float = LEASE) -> frozenset[str]:
        """Renews all leases of ``driver``; the ids that are still its own (a late one may have lost some)."""
        with self._write() as conn:
            rows = conn.execute(
                "UPDATE requests SET lease = ? WHERE state = 'running' AND driver = ? RETURNING id",
                (self._clock() + lease, driver),
            ).fetchall()
        return frozenset(id for (id,) in rows)

    def give_back(self, driver: str, id: str | None = None) -> int:
        """Opens what ``driver`` holds again (or ``id`` of it), as when it is known to be dead; says how many."""
        with self._write() as conn:
            return conn.execute(
                """UPDATE requests SET state = 'open', lease = 0
                   WHERE state = 'running' AND driver = :driver AND (:id IS NULL OR id = :id)""",
                {"driver": driver, "id": id},
            ).rowcount

    def missed(self, id: str, error: str) -> int:
        """Counts an attempt that ended in ``error``; how many there have been."""
        rows = self._change(
            "UPDATE requests SET attempts = attempts + 1, error = ? WHERE id = ? RETURNING attempts", error, id
        )
        return int(rows[0][0])

    def resume(self, id: str) -> None:
        """Counts that a driver goes on from the checkpoint of another."""
        self._change("UPDATE requests SET resumed = resumed + 1 WHERE id = ? RETURNING 1", id)

    def finish(self, id: str, answer: Any) -> bool:
        """Keeps the answer; False if the request had an end already: then it is dropped, and counted."""
        return self._end(id, "answered", _text(id, answer), None)

    def fail(self, id: str, error: str) -> bool:
        """Gives a request up; False if it had an end already."""
        return self._end(id, "failed", None, error)

    def reopen(self) -> int:
        """Opens the failed requests again, with no attempts counted; says how many."""
        with self._write() as conn:
            return conn.execute(
                "UPDATE requests SET state = 'open', attempts = 0, ended = NULL WHERE state = 'failed'"
            ).rowcount

    def open(self) -> list[str]:
        """The ids that wait for a driver, oldest first."""
        query = f"SELECT id FROM requests WHERE {_FREE} ORDER BY number"
        return [id for (id,) in self._read(query, {"now": self._clock()})]

    def counts(self) -> Counts:
        """How many requests are in which state."""
        query = f"""SELECT CASE WHEN {_FREE} THEN 'open' ELSE state END AS seen, count(*), sum(resumed > 0),
                    sum(dropped) FROM requests GROUP BY seen"""
        rows = self._read(query, {"now": self._clock()})
        found = {state: number for state, number, _, _ in rows}
        return Counts(**found, resumed=sum(row[2] for row in rows), dropped=sum(row[3] for row in rows))

    def progress(self) -> tuple[int, int]:
        """Grows with every request that ends, and with every checkpoint in the file: a sign that work goes on."""
        (ended,) = self._read("SELECT count(*) FROM requests WHERE state IN ('answered', 'failed')", {})[0]
        there = self._read("SELECT 1 FROM sqlite_master WHERE name = 'checkpoints'", {})
        return ended, self._read("SELECT coalesce(max(rowid), 0) FROM checkpoints", {})[0][0] if there else 0

    def requests(self) -> Iterator[Request]:
        """All requests, in the order in which they were added; read by hundreds."""
        last = 0
        while rows := self._read(
            f"SELECT number, {_FIELDS} FROM requests WHERE number > :last ORDER BY number LIMIT 500", {"last": last}
        ):
            last = rows[-1][0]
            yield from (_request(row[1:]) for row in rows)

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._conn.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open_tables(self) -> None:
        limit = time.monotonic() + BUSY
        while True:
            try:
                # WAL: readers never wait. NORMAL: a power cut may cost the last lines, a killed process none.
                self._conn.execute("PRAGMA journal_mode=WAL")
                self._conn.execute("PRAGMA synchronous=NORMAL")
                self._conn.executescript(f"BEGIN IMMEDIATE; {_TABLES} COMMIT;")
                return
            except (
                sqlite3.OperationalError
            ) as error:  # two processes that turn WAL on at once do not wait by themselves
                if "locked" not in str(error) or time.monotonic() > limit:
                    raise
            time.sleep(0.05)

    def _end(self, id: str, state: str, answer: str | None, error: str | None) -> bool:
        with self._write() as conn:
            ended = conn.execute(
                """UPDATE requests SET state = ?, answer = ?, error = coalesce(?, error), lease = 0, ended = ?
                   WHERE id = ? AND state IN ('open', 'running')""",
                (state, answer, error, self._clock(), id),
            ).rowcount
            late = (
                not ended
                and conn.execute(
                    "UPDATE requests SET dropped = dropped + ? WHERE id = ?", (state == "answered", id)
                ).rowcount
            )
        if not ended and not late:
            raise self._unknown(id)
        return bool(ended)

    def _change(self, statement: str, *values: Any) -> list[Any]:
        with self._write() as conn:
            rows = conn.execute(statement, values).fetchall()
        if not rows:
            raise self._unknown(values[-1])
        return rows

    def _unknown(self, id: str) -> UsageError:
        return UsageError(f"there is no request {id!r} in {self.path}; add it first.")

    def _read(self, query: str, values: dict[str, Any]) -> list[Any]:
        with self._lock:
            return self._conn.execute(query, values).fetchall()

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that waits for its turn at its start, so that nothing in it can fail for another's."""
        with self._lock:
            self._conn.execute("BEGIN IMMEDIATE")
            try:
                yield self._conn
            except BaseException:
                self._conn.execute("ROLLBACK")
                raise
            self._conn.execute("COMMIT")


def _text(id: str, value: Any) -> str:
    if not isinstance(id, str) or not id:
        raise UsageError(f"{id!r} cannot name a request; give a text that is not empty.")
    try:
        id.encode()
        return json.dumps(value, allow_nan=False)  # in ASCII: a model may write half a surrogate pair
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"what belongs to request {id!r} is not JSON ({error}); give texts, numbers and lists."
        ) from error


def _request(row: tuple[Any, ...]) -> Request:
    fields = dict(zip(_FIELDS.split(", "), row, strict=True))
    answer = fields["answer"]
    return Request(**fields | {"input": json.loads(fields["input"]), "answer": answer and json.loads(answer)})
