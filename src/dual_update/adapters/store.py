"""Memory on the cluster's host: SQLite for runs, journal and quarantine; directories for backups; locks.

    STATE/state.sqlite3                              runs, journal, quarantine, the service's notes, outbox
    STATE/state.sqlite3.schema-N.TIME                what it was before a newer version changed its tables
    STATE/ballast                                    space for the journal when the disk is full
    STATE/locks/HASH.lock                            one per key, held by flock, with who holds it inside
    STATE/clusters/CLUSTER/backups/TIME-RUN/         a run's backup
    STATE/clusters/CLUSTER/backups/latest            the newest that is complete

A write has returned when it is on disk (write-ahead log, synchronous=FULL). Everything is private to its
owner, or to its group where the state directory was made writable for one.

For a service that answers while something is written: open one SqliteStore to write and another to read.
Each has one connection and one lock of its own, and a reader never waits for a writer.

    store.history   pages of runs, counts for figures and metrics     (usecases/memory_ports.py, History)
    store.notes     deliveries, pauses, checks, approvals, health      (Notes)
    store.outbox    messages to send                                   (Outbox)
"""

import hashlib
import json
import os
import re
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from dual_update.adapters.store_database import BALLAST_BYTES, DATABASE, Database, on_disk, sync
from dual_update.adapters.store_history import SqliteHistory
from dual_update.adapters.store_locks import held
from dual_update.adapters.store_notes import SqliteNotes
from dual_update.adapters.store_outbox import SqliteOutbox
from dual_update.core.errors import WorldError
from dual_update.usecases.ports import Entry, Json

__all__ = ["BALLAST_BYTES", "DATABASE", "SqliteStore", "default_state_directory"]

T = TypeVar("T")


def default_state_directory() -> Path:
    """DUAL_UPDATE_STATE_DIR, else /var/lib/dual-update for root, else the user's XDG state folder."""
    named = os.environ.get("DUAL_UPDATE_STATE_DIR")
    if named:
        return Path(named)
    if os.geteuid() == 0:
        return Path("/var/lib/dual-update")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "dual-update"


class SqliteStore:
    """Fits the port Store. Safe for threads and many processes; nothing is opened before its first use."""

    def __init__(self, directory: str | Path) -> None:
        self._directory = Path(directory)
        self._database = Database(self._directory)
        self.history = SqliteHistory(self._database)
        self.notes = SqliteNotes(self._database)
        self.outbox = SqliteOutbox(self._database)

    def __enter__(self) -> "SqliteStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database. A closed store opens it anew when asked again."""
        self._database.close()

    def changes(self) -> int:
        """A number that is another one once somebody else, another process or another SqliteStore, has
        written (SQLite, PRAGMA data_version)."""
        return int(self._database.read("PRAGMA data_version")[0][0])

    # --- runs and their journal

    def begin(self, record: Json) -> None:
        run = str(record["run"])
        self._database.put_ballast()

        def change(database: sqlite3.Connection) -> None:
            if self._record(database, run) is not None:
                raise WorldError(f"The run {run} exists already.")
            database.execute(
                "INSERT INTO runs (run, cluster, record) VALUES (?, ?, ?)",
                (run, str(record["cluster"]), _dump(record)),
            )

        self._change(f"begin run {run}", change)

    def amend(self, run: str, fields: Json) -> None:
        self._change(f"amend run {run}", lambda database: self._update(database, run, fields))

    def write(self, run: str, op: str, target: str, phase: str, detail: str = "") -> None:
        self._change(
            f"journal {op} of run {run}",
            lambda database: database.execute(
                "INSERT INTO journal (run, op, target, phase, at, detail) VALUES (?, ?, ?, ?, ?, ?)",
                (run, op, target, phase, _now(), detail),
            ),
        )

    def journal(self, run: str) -> tuple[Entry, ...]:
        rows = self._read(
            "SELECT seq, op, target, phase, at, detail FROM journal WHERE run = ? ORDER BY seq", (run,)
        )
        return tuple(Entry(*row) for row in rows)

    def finish(self, run: str, outcome: str, fields: Json) -> None:
        def change(database: sqlite3.Connection) -> None:
            self._update(database, run, {"finished_at": _now(), **fields, "outcome": outcome})
            database.execute("UPDATE runs SET outcome = ? WHERE run = ?", (outcome, run))

        self._change(f"finish run {run}", change)

    def unfinished(self, cluster: str) -> Json | None:
        rows = self._read(
            "SELECT record FROM runs WHERE cluster = ? AND outcome IS NULL ORDER BY seq DESC LIMIT 1",
            (cluster,),
        )
        return _load(rows[0][0]) if rows else None

    def run(self, run: str) -> Json | None:
        rows = self._read("SELECT record FROM runs WHERE run = ?", (run,))
        return _load(rows[0][0]) if rows else None

    def runs(self, cluster: str = "", *, limit: int = 50, offset: int = 0) -> tuple[Json, ...]:
        """Newest first; of every cluster when none is named."""
        rows = self._read(
            "SELECT record FROM runs WHERE ? IN ('', cluster) ORDER BY seq DESC LIMIT ? OFFSET ?",
            (cluster, limit, offset),
        )
        return tuple(_load(row[0]) for row in rows)

    def returnable(self) -> tuple[Json, ...]:
        """Asked by name, so that it costs what there are backups, not what there is history."""
        names = {
            name
            for folder in self._directory.glob("clusters/*/backups/*")
            for name in (folder.name, folder.name.partition("-")[2])
        }
        rows = self._read("SELECT record FROM runs WHERE outcome IS NULL", ())
        for name in sorted(names):
            rows += self._read("SELECT record FROM runs WHERE run = ? AND outcome IS NOT NULL", (name,))
        return tuple(_load(row[0]) for row in rows)

    def clusters(self) -> tuple[str, ...]:
        """In order. Each name is looked up from the one before: a name costs one step, not its runs."""
        rows = self._read(
            "WITH RECURSIVE names (name) AS (SELECT min(cluster) FROM runs UNION ALL"
            " SELECT (SELECT min(cluster) FROM runs WHERE cluster > name) FROM names WHERE name IS NOT NULL)"
            " SELECT name FROM names WHERE name IS NOT NULL",
            (),
        )
        return tuple(row[0] for row in rows)

    # --- quarantine

    def quarantine(self, cluster: str, fingerprint: str, reason: str, run: str) -> None:
        self._change(
            f"quarantine {fingerprint[:12]}",
            lambda database: database.execute(
                "INSERT OR REPLACE INTO quarantine (cluster, fingerprint, reason, run, at)"
                " VALUES (?, ?, ?, ?, ?)",
                (cluster, fingerprint, reason, run, _now()),
            ),
        )

    def quarantined(self, cluster: str, fingerprint: str) -> str | None:
        rows = self._read(
            "SELECT reason FROM quarantine WHERE cluster = ? AND fingerprint = ?", (cluster, fingerprint)
        )
        return str(rows[0][0]) if rows else None

    def release(self, cluster: str, fingerprint: str = "") -> int:
        return self._change(
            "lift quarantine",
            lambda database: (
                database.execute(
                    "DELETE FROM quarantine WHERE cluster = ? AND ? IN ('', fingerprint)",
                    (cluster, fingerprint),
                ).rowcount
            ),
        )

    # --- backups

    def backup_directory(self, cluster: str, run: str) -> str:
        found = self._backup_of(cluster, run)
        if found is None:
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
            name = _path_name(run)
            found = self._backups(cluster) / (name if name.startswith(stamp[:8]) else f"{stamp}-{name}")
            self._make(found)
        return str(found)

    def seal_backup(self, cluster: str, run: str) -> None:
        """Put all of it on disk, then let `latest` point at it, in one step."""
        directory = self._backup_of(cluster, run)
        if directory is None:
            raise WorldError(f"There is no backup of run {run} in {self._backups(cluster)}.")
        with on_disk(f"seal the backup {directory}"):
            for folder, _, names in os.walk(directory, topdown=False):
                for name in names:
                    sync(Path(folder) / name)
                sync(Path(folder))
            aside = directory.parent / f".latest-{os.getpid()}-{threading.get_ident()}"
            aside.unlink(missing_ok=True)
            aside.symlink_to(directory.name)
            aside.replace(directory.parent / "latest")
            sync(directory.parent)

    def prune(self, cluster: str, *, runs: int, backups: int) -> tuple[str, ...]:
        """Forget all but the newest finished runs and remove all but the newest backups of a cluster.

        Kept whatever the numbers say: an unfinished run, the newest good one, runs that tell why something is
        quarantined, the backups of these, and the backup that `latest` names.
        Returns the backup directories that were removed.
        """
        needed = {*self._unfinished_runs(cluster), *self._good_and_quarantined(cluster)}
        kept = {self._backup_of(cluster, one) for one in needed}

        def change(database: sqlite3.Connection) -> None:
            found = database.execute(
                "SELECT run FROM runs WHERE cluster = ? AND outcome IS NOT NULL"
                " ORDER BY seq DESC LIMIT -1 OFFSET ?",
                (cluster, runs),
            ).fetchall()
            old = [one for one in found if one[0] not in needed]
            database.executemany("DELETE FROM journal WHERE run = ?", old)
            database.executemany("DELETE FROM runs WHERE run = ?", old)

        self._change(f"forget old runs of {cluster}", change)
        folder = self._backups(cluster)
        with on_disk(f"remove old backups in {folder}"):
            if not folder.is_dir():
                return ()
            kept.add((folder / "latest").resolve())
            found = sorted(
                (one for one in folder.iterdir() if one.is_dir() and not one.is_symlink()), reverse=True
            )
            removed = [one for one in found[backups:] if one not in kept and one.resolve() not in kept]
            for one in removed:
                shutil.rmtree(one)
        return tuple(str(one) for one in removed)

    def _unfinished_runs(self, cluster: str) -> Sequence[str]:
        return [
            row[0]
            for row in self._read("SELECT run FROM runs WHERE cluster = ? AND outcome IS NULL", (cluster,))
        ]

    def _good_and_quarantined(self, cluster: str) -> Sequence[str]:
        good = self._read(
            "SELECT run FROM history WHERE cluster = ? AND outcome IN ('succeeded', 'unchanged')"
            " ORDER BY seq DESC LIMIT 1",
            (cluster,),
        )
        return [
            row[0] for row in (*good, *self._read("SELECT run FROM quarantine WHERE cluster = ?", (cluster,)))
        ]

    def _backups(self, cluster: str) -> Path:
        return self._directory / "clusters" / _path_name(cluster) / "backups"

    def _backup_of(self, cluster: str, run: str) -> Path | None:
        folder, name = self._backups(cluster), _path_name(run)
        if not folder.is_dir():
            return None
        fits = (one for one in folder.iterdir() if one.name == name or one.name.endswith(f"Z-{name}"))
        return next((one for one in fits if not one.is_symlink()), None)

    # --- locks

    @contextmanager
    def lock(self, key: str, why: str, wait_seconds: float) -> Iterator[None]:
        """One writer per key. The kernel frees it when its holder ends, however that comes about.

        The descriptor is not handed to programs that the holder starts.
        """
        folder = self._directory / "locks"
        self._make(folder)
        path = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.lock"
        with on_disk(f"open the lock {path}"):
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, self._database.file_mode())
            self._database.share(path)
        try:
            with held(handle, why, wait_seconds):
                yield
        finally:
            os.close(handle)

    # --- the database

    def _change(self, what: str, change: Callable[[sqlite3.Connection], T]) -> T:
        return self._database.change(what, change)

    def _read(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        return self._database.read(query, values)

    def _make(self, directory: Path) -> None:
        self._database.make(directory)

    def _record(self, database: sqlite3.Connection, run: str) -> dict[str, Any] | None:
        row = database.execute("SELECT record FROM runs WHERE run = ?", (run,)).fetchone()
        return None if row is None else dict(_load(row[0]))

    def _update(self, database: sqlite3.Connection, run: str, fields: Json) -> None:
        record = self._record(database, run)
        if record is None:
            raise WorldError(f"There is no run {run} in {self._database.path}.")
        database.execute("UPDATE runs SET record = ? WHERE run = ?", (_dump({**record, **fields}), run))


def _path_name(name: str) -> str:
    """A name as one part of a path. Names that had to be changed for it stay apart by a hash."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:100]
    if safe == name and safe.strip("."):
        return safe
    return f"{safe.strip('.') or '_'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _dump(record: Json) -> str:
    return json.dumps(dict(record), ensure_ascii=False)


def _load(text: str) -> Json:
    record: Json = json.loads(text)
    return record
