"""Fits the port Notes: deliveries, pauses, checks, approvals and readings of health."""

import json
import sqlite3
import time
from collections.abc import Sequence
from typing import Any

from dual_update.adapters.store_database import Database
from dual_update.usecases.memory_ports import Approval, Check, Pause, Reading
from dual_update.usecases.ports import Json

MOST_DELIVERIES = 200_000
"""Webhook deliveries that are remembered: at one a minute, four months."""


class SqliteNotes:
    """What the service writes down between runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- webhooks

    def accept_delivery(self, delivery: str, event: str) -> bool:
        """In one statement: of two that arrive at once, one is new."""

        def change(database: sqlite3.Connection) -> bool:
            is_new = database.execute(
                "INSERT OR IGNORE INTO deliveries (delivery, event, at) VALUES (?, ?, ?)",
                (delivery, event, time.time()),
            ).rowcount
            if is_new:
                newest = database.execute("SELECT max(seq) FROM deliveries").fetchone()[0]
                database.execute("DELETE FROM deliveries WHERE seq <= ?", (newest - MOST_DELIVERIES,))
            return bool(is_new)

        return self._database.change("remember a webhook delivery", change)

    # --- pauses

    def pause(self, cluster: str, reason: str, by_whom: str, until: float | None = None) -> None:
        self._write(
            f"pause {cluster}",
            "INSERT OR REPLACE INTO pauses (cluster, since, until, reason, by_whom) VALUES (?, ?, ?, ?, ?)",
            (cluster, time.time(), until, reason, by_whom),
        )

    def resume(self, cluster: str) -> bool:
        return bool(self._write(f"resume {cluster}", "DELETE FROM pauses WHERE cluster = ?", (cluster,)))

    def paused(self, cluster: str) -> Pause | None:
        return next((one for one in self.pauses() if one.cluster == cluster), None)

    def pauses(self) -> tuple[Pause, ...]:
        rows = self._database.read(
            "SELECT cluster, since, until, reason, by_whom FROM pauses"
            " WHERE until IS NULL OR until > ? ORDER BY cluster",
            (time.time(),),
        )
        return tuple(Pause(*row) for row in rows)

    # --- checks

    def note_check(self, cluster: str, outcome: str, seconds: float, facts: Json) -> None:
        self._write(
            f"note a check of {cluster}",
            "INSERT INTO checks (cluster, at, seconds, outcome, facts) VALUES (?, ?, ?, ?, ?)",
            (cluster, time.time(), seconds, outcome, json.dumps(dict(facts), ensure_ascii=False)),
        )

    def last_check(self, cluster: str, outcome: str = "") -> Check | None:
        found = self._checks(cluster, outcome, 1)
        return found[0] if found else None

    def checks(self, cluster: str, limit: int = 50) -> tuple[Check, ...]:
        return self._checks(cluster, "", limit)

    def _checks(self, cluster: str, outcome: str, limit: int) -> tuple[Check, ...]:
        rows = self._database.read(
            "SELECT cluster, at, seconds, outcome, facts FROM checks"
            " WHERE cluster = ? AND ? IN ('', outcome) ORDER BY seq DESC LIMIT ?",
            (cluster, outcome, limit),
        )
        return tuple(
            Check(cluster, at, seconds, outcome, json.loads(facts))
            for cluster, at, seconds, outcome, facts in rows
        )

    def check_totals(self) -> dict[tuple[str, str], int]:
        rows = self._database.read("SELECT cluster, outcome, checks FROM check_totals")
        return {(cluster, outcome): checks for cluster, outcome, checks in rows}

    # --- approvals

    def note_approval(self, cluster: str, action: str, subject: str, by_whom: str, door: str) -> None:
        self._write(
            f"note who agreed to {action}",
            "INSERT INTO approvals (cluster, at, action, subject, by_whom, door) VALUES (?, ?, ?, ?, ?, ?)",
            (cluster, time.time(), action, subject, by_whom, door),
        )

    def approvals(self, cluster: str = "", *, subject: str = "", limit: int = 50) -> tuple[Approval, ...]:
        rows = self._database.read(
            "SELECT cluster, at, action, subject, by_whom, door FROM approvals"
            " WHERE ? IN ('', cluster) AND ? IN ('', subject) ORDER BY seq DESC LIMIT ?",
            (cluster, subject, limit),
        )
        return tuple(Approval(*row) for row in rows)

    # --- health

    def note_health(self, readings: Sequence[Reading]) -> None:
        rows = [(one.cluster, one.service, one.at, one.is_healthy, one.detail) for one in readings]
        self._database.change(
            "note the services' health",
            lambda database: database.executemany(
                "INSERT OR REPLACE INTO readings (cluster, service, at, is_healthy, detail)"
                " VALUES (?, ?, ?, ?, ?)",
                rows,
            ),
        )

    def health_since(self, cluster: str, since: float) -> tuple[Reading, ...]:
        rows = self._database.read(
            "SELECT cluster, service, at, is_healthy, detail FROM readings"
            " WHERE cluster = ? AND at >= ? ORDER BY service, at",
            (cluster, since),
        )
        return tuple(_reading(row) for row in rows)

    def health_now(self, since: float) -> tuple[Reading, ...]:
        """SQLite takes the other columns from the row that has the maximum (its documentation of SELECT)."""
        rows = self._database.read(
            "SELECT cluster, service, max(at), is_healthy, detail FROM readings WHERE at >= ?"
            " GROUP BY cluster, service ORDER BY cluster, service",
            (since,),
        )
        return tuple(_reading(row) for row in rows)

    # --- retention

    def forget(self, *, older_than_seconds: float) -> None:
        end = time.time() - older_than_seconds

        def change(database: sqlite3.Connection) -> None:
            database.execute(
                "DELETE FROM checks WHERE at < ?"
                " AND seq NOT IN (SELECT max(seq) FROM checks GROUP BY cluster, outcome)",
                (end,),
            )
            database.execute("DELETE FROM readings WHERE at < ?", (end,))
            database.execute("DELETE FROM outbox WHERE state <> 'waiting' AND ended < ?", (end,))

        self._database.change("forget old notes", change)

    def _write(self, what: str, statement: str, values: tuple[Any, ...]) -> int:
        return self._database.change(what, lambda database: database.execute(statement, values).rowcount)


def _reading(row: tuple[Any, ...]) -> Reading:
    return Reading(row[0], row[1], row[2], bool(row[3]), row[4])
