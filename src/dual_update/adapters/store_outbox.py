"""Fits the port Outbox: messages on disk until they are sent or given up."""

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import Any

from dual_update.adapters.store_database import Database
from dual_update.usecases.memory_ports import OutboxState, Waiting

LONGEST_WAIT_SECONDS = 6 * 3600.0
"""Nobody puts a message off for longer. One that is due later was put off before the clock was set back."""


class SqliteOutbox:
    """A row for each message and address, so that one deaf address does not repeat the others."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, message: str, addresses: Sequence[str], content: Mapping[str, Any]) -> None:
        text, now = json.dumps(dict(content), ensure_ascii=False), time.time()
        rows = [(message, address, text, now, now) for address in addresses]
        self._database.change(
            "put a message into the outbox",
            lambda database: database.executemany(
                "INSERT OR IGNORE INTO outbox (message, address, content, made, due) VALUES (?, ?, ?, ?, ?)",
                rows,
            ),
        )

    def take(self, addresses: Sequence[str], lease_seconds: float, now: float) -> Waiting | None:
        """The attempt is counted when it begins: a process that dies in it has had it. What lies
        between now and LONGEST_WAIT_SECONDS is not due yet."""

        def change(database: sqlite3.Connection) -> Waiting | None:
            row = database.execute(
                "SELECT seq, message, address, content, attempts FROM outbox"  # noqa: S608  (question marks)
                f" WHERE state = 'waiting' AND NOT due BETWEEN ? AND ? AND address IN ({_marks(addresses)})"
                " ORDER BY due, seq LIMIT 1",
                (now + 1e-6, now + LONGEST_WAIT_SECONDS, *addresses),
            ).fetchone()
            if row is None:
                return None
            database.execute(
                "UPDATE outbox SET due = ?, attempts = attempts + 1 WHERE seq = ?",
                (now + lease_seconds, row[0]),
            )
            return Waiting(row[0], row[1], row[2], json.loads(row[3]), row[4] + 1)

        return self._database.change("take a message from the outbox", change)

    def sent(self, seq: int) -> None:
        self._end(seq, "sent", "")

    def failed(self, seq: int, error: str, retry_at: float | None) -> None:
        if retry_at is None:
            self._end(seq, "dead", error)
            return
        self._database.change(
            "keep a message for later",
            lambda database: database.execute(
                "UPDATE outbox SET due = ?, error = ? WHERE seq = ? AND state = 'waiting'",
                (retry_at, error, seq),
            ),
        )

    def state(self) -> OutboxState:
        waiting, oldest = self._database.read(
            "SELECT count(*), min(made) FROM outbox WHERE state = 'waiting'"
        )[0]
        ended = dict(self._database.read("SELECT state, messages FROM outbox_totals"))
        errors = self._database.read(
            "SELECT error FROM outbox WHERE state = 'dead' ORDER BY ended DESC LIMIT 1"
        )
        error = str(errors[0][0]) if errors else ""
        return OutboxState(waiting, oldest, ended.get("sent", 0), ended.get("dead", 0), error)

    def next_due(self, addresses: Sequence[str]) -> float | None:
        rows = self._database.read(
            f"SELECT min(due) FROM outbox WHERE state = 'waiting' AND address IN ({_marks(addresses)})",  # noqa: S608
            tuple(addresses),
        )
        return None if rows[0][0] is None else float(rows[0][0])

    def _end(self, seq: int, state: str, error: str) -> None:
        self._database.change(
            f"mark a message as {state}",
            lambda database: database.execute(
                "UPDATE outbox SET state = ?, error = ?, ended = ? WHERE seq = ? AND state = 'waiting'",
                (state, error, time.time(), seq),
            ),
        )


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))
