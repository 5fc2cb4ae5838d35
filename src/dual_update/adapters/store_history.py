"""Fits the port History: pages of runs by their time, from a table that holds lines and not records."""

import re
from typing import Any

from dual_update.adapters.store_database import Database
from dual_update.core.errors import UsageError
from dual_update.core.run import LINE_KEYS
from dual_update.usecases.memory_ports import Page, Total
from dual_update.usecases.ports import Json

_COLUMNS = ", ".join({"from": "from_commit", "to": "to_commit"}.get(key, key) for key in LINE_KEYS)
_CURSOR = re.compile(r"(\d{1,12}\.\d{1,12})-(\d{1,18})")


class SqliteHistory:
    """Runs as lists and figures need them. A page costs what its lines cost, however many runs there are."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(
        self,
        *,
        cluster: str = "",
        outcome: str = "",
        since: float | None = None,
        until: float | None = None,
        limit: int = 50,
        before: str = "",
        offset: int = 0,
    ) -> Page:
        """Ordered by the moment that is shown, and by order of writing within one."""
        where, values = _where(cluster, outcome, since, until)
        if before:
            where.append("(started, seq) < (?, ?)")
            values += _place(before)
        rows = self._database.read(
            f"SELECT {_COLUMNS}, started, seq FROM history{_clause(where)}"  # noqa: S608  (constants)
            " ORDER BY started DESC, seq DESC LIMIT ? OFFSET ?",
            (*values, limit + 1, offset),
        )
        shown = rows[:limit]
        older = f"{shown[-1][-2]!r}-{shown[-1][-1]}" if len(rows) > limit else ""
        return Page(tuple(_line(row) for row in shown), older)

    def count(
        self, *, cluster: str = "", outcome: str = "", since: float | None = None, until: float | None = None
    ) -> int:
        where, values = _where(cluster, outcome, since, until)
        rows = self._database.read(f"SELECT count(*) FROM history{_clause(where)}", tuple(values))  # noqa: S608
        return int(rows[0][0])

    def lines(self, since: float, *, cluster: str = "", limit: int = 20_000) -> tuple[Json, ...]:
        return self.page(cluster=cluster, since=since, limit=limit).lines

    def ended_since(self, moment: float) -> tuple[str, ...]:
        rows = self._database.read(
            "SELECT run FROM history WHERE started >= ? AND ended >= ? ORDER BY ended",
            (moment - 86_400.0, moment),
        )
        return tuple(row[0] for row in rows)

    def totals(self) -> tuple[Total, ...]:
        within: dict[tuple[str, str, str], dict[float, int]] = {}
        for cluster, outcome, strategy, at_most, runs in self._database.read("SELECT * FROM durations"):
            within.setdefault((cluster, outcome, strategy), {})[at_most] = runs
        rows = self._database.read("SELECT cluster, outcome, strategy, runs, seconds FROM totals")
        return tuple(
            Total(cluster, outcome, strategy, runs, seconds, within.get((cluster, outcome, strategy), {}))
            for cluster, outcome, strategy, runs, seconds in rows
        )

    def last_ended(self) -> dict[tuple[str, str], float]:
        pairs = self._database.read("SELECT DISTINCT cluster, outcome FROM totals")
        found = {}
        for cluster, outcome in pairs:
            rows = self._database.read(
                "SELECT ended FROM history WHERE cluster = ? AND outcome = ? ORDER BY started DESC LIMIT 1",
                (cluster, outcome),
            )
            if rows:
                found[(cluster, outcome)] = float(rows[0][0])
        return found

    def unfinished(self) -> dict[str, float]:
        return dict(
            self._database.read(
                "SELECT cluster, min(started) FROM history WHERE outcome IS NULL GROUP BY cluster"
            )
        )

    def quarantined(self) -> dict[str, int]:
        return dict(self._database.read("SELECT cluster, count(*) FROM quarantine GROUP BY cluster"))


def _where(
    cluster: str, outcome: str, since: float | None, until: float | None
) -> tuple[list[str], list[Any]]:
    where: list[str] = []
    values: list[Any] = []
    if cluster:
        where.append("cluster = ?")
        values.append(cluster)
    if outcome == "unfinished":
        where.append("outcome IS NULL")
    elif outcome:
        where.append("outcome = ?")
        values.append(outcome)
    if since is not None:
        where.append("started >= ?")
        values.append(since)
    if until is not None:
        where.append("started < ?")
        values.append(until)
    return where, values


def _clause(where: list[str]) -> str:
    return f" WHERE {' AND '.join(where)}" if where else ""


def _place(before: str) -> tuple[float, int]:
    found = _CURSOR.fullmatch(before)
    if found is None:
        raise UsageError("This is no place in the history.", hint="Take `before` from a page's `older`.")
    return float(found[1]), int(found[2])


def _line(row: tuple[Any, ...]) -> Json:
    return dict(zip(LINE_KEYS, row, strict=False))
