"""A damaged database is set aside by its name, never overwritten, and what can be read of it is kept.

No program does this by itself: what is lost may be a run that did not end, or a reason why something is not
tried again, and then a person should look. It is `dual-update repair-state`.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dual_update.adapters.store_database import DATABASE, Database, on_disk, sync
from dual_update.adapters.store_schema import RECOUNT
from dual_update.core.errors import NotNow, WorldError

KEPT = ("runs", "journal", "quarantine", "deliveries", "pauses", "checks", "approvals", "readings", "outbox")
"""Tables that are carried over. Triggers make `history` from `runs`; counts follow from what is carried."""

COUNTS = ("totals", "durations", "check_totals", "outbox_totals")
"""Copied instead of counted where they can be read: they know of runs that were forgotten since."""


@dataclass(frozen=True)
class Repaired:
    """What was done. Nothing (`aside` is None) where the database is sound."""

    aside: Path | None = None
    rows: Mapping[str, int] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()

    def text(self) -> str:
        """For a person."""
        if self.aside is None:
            return "The database is sound; nothing was changed.\n"
        lines = [f"The damaged database was set aside: {self.aside}"]
        counts = ", ".join(f"{count} of {table}" for table, count in self.rows.items() if count)
        lines.append(f"Kept: {counts or 'nothing could be read'}.")
        if self.unreadable:
            lines.append(f"Not everything could be read of: {', '.join(self.unreadable)}.")
            lines.append("A run that was under way may be among it: look at each cluster with `status`.")
        return "\n".join(lines) + "\n"


def repair(directory: Path) -> Repaired:
    """Set a damaged database aside and begin another with what can be read of it.

    Raises NotNow while a cluster of this state folder is being updated. The service must be stopped: it may
    hold the old file open.
    """
    path = directory / DATABASE
    with ExitStack() as stack:
        for lock in sorted((directory / "locks").glob("*.lock")):
            _hold(stack, lock)
        if not path.exists() or is_sound(path):
            return Repaired()
        aside = _set_aside(path)
        new = Database(directory)
        try:
            return _carry_over(aside, new)
        finally:
            new.close()


def is_sound(path: Path) -> bool:
    """Does every page of a database make sense, by SQLite's own check. A busy or locked one is not judged."""
    try:
        database = sqlite3.connect(f"file:{path}?mode=rw", uri=True)
        try:
            return bool(database.execute("PRAGMA integrity_check").fetchone() == ("ok",))
        finally:
            database.close()
    except sqlite3.OperationalError as error:
        raise WorldError(f"{path} cannot be looked at: {error}.") from error
    except sqlite3.DatabaseError:
        return False


def _hold(stack: ExitStack, lock: Path) -> None:
    try:
        handle = stack.enter_context(lock.open("rb"))
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise NotNow("A cluster is being updated on this host.", hint="Try again when it is done.") from None
    except OSError as error:
        raise WorldError(f"{lock} cannot be opened: {error.strerror}.") from error


def _set_aside(path: Path) -> Path:
    """Under a name that nothing has, together with its log."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    aside = path.with_name(f"{DATABASE}.damaged.{stamp}-{os.getpid()}")
    with on_disk(f"set {path} aside"):
        for ending in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                path.with_name(path.name + ending).rename(aside.with_name(aside.name + ending))
        path.rename(aside)
        sync(path.parent)
    return aside


def _carry_over(aside: Path, new: Database) -> Repaired:
    rows: dict[str, int] = {}
    unreadable: list[str] = []
    found = {table: _rows(aside, table) for table in (*KEPT, *COUNTS)}

    def change(database: sqlite3.Connection) -> None:
        for table in KEPT:
            columns, lines, is_whole = found[table]
            if not is_whole:
                unreadable.append(table)
            marks = ", ".join("?" * len(columns))
            names = ", ".join(columns)
            for line in lines:
                with suppress(sqlite3.DatabaseError):  # a line that breaks a rule of the table is damage too
                    database.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", line)  # noqa: S608
                    rows[table] = rows.get(table, 0) + 1
        if all(found[table][2] for table in COUNTS):
            for table in COUNTS:
                columns, lines, _ = found[table]
                database.execute(f"DELETE FROM {table}")  # noqa: S608  (our own names)
                marks = ", ".join("?" * len(columns))
                database.executemany(
                    f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})",  # noqa: S608
                    lines,
                )
        else:
            for statement in RECOUNT:
                database.execute(statement)

    new.change("carry over what can be read", change)
    return Repaired(aside, rows, tuple(unreadable))


def _rows(path: Path, table: str) -> tuple[list[str], list[tuple[Any, ...]], bool]:
    """Columns, the rows that can be read, and whether these are all. From both ends, up to the damage."""
    columns: list[str] = []
    try:
        database = sqlite3.connect(f"file:{path}?mode=rw", uri=True)
    except sqlite3.Error:
        return columns, [], False
    try:
        columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
        if not columns:  # an older schema had none
            return columns, [], _has_schema(database)
        lines, is_whole = _until_damage(database, table, "ASC")
        if is_whole:
            return columns, lines, True
        known = {line[0] for line in lines}
        others, _ = _until_damage(database, table, "DESC")
        return columns, lines + [line for line in reversed(others) if line[0] not in known], False
    except sqlite3.Error:
        return columns, [], False
    finally:
        database.close()


def _has_schema(database: sqlite3.Connection) -> bool:
    return bool(database.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()[0])


def _until_damage(database: sqlite3.Connection, table: str, order: str) -> tuple[list[tuple[Any, ...]], bool]:
    found: list[tuple[Any, ...]] = []
    try:
        for row in _all(database, table, order):
            found.append(row)  # noqa: PERF402  (what came before a fault is kept)
    except sqlite3.Error:
        return found, False
    return found, True


def _all(database: sqlite3.Connection, table: str, order: str) -> Iterator[tuple[Any, ...]]:
    yield from database.execute(f"SELECT * FROM {table} ORDER BY 1 {order}")  # noqa: S608
