"""Memory on the cluster's host: SQLite for runs, journal and quarantine; directories for backups; locks.

    STATE/state.sqlite3                              runs, journal, quarantine
    STATE/ballast                                    space for the journal when the disk is full
    STATE/locks/HASH.lock                            one per key, held by flock, with who holds it inside
    STATE/clusters/CLUSTER/backups/TIME-RUN/         a run's backup
    STATE/clusters/CLUSTER/backups/latest            the newest that is complete

A write has returned when it is on disk (write-ahead log, synchronous=FULL). Everything is private to its
owner, or to its group where the state directory was made writable for one.
"""

import fcntl
import getpass
import hashlib
import json
import os
import re
import shutil
import socket
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from dual_update.core.errors import DualUpdateError, NotNow, Timeout, WorldError
from dual_update.usecases.ports import Entry, Json

DATABASE = "state.sqlite3"
BUSY_SECONDS = 30.0
"""Longest wait for another process that writes."""

BALLAST_BYTES = 4 * 1024 * 1024
"""Space that is given up when the disk is full: some 300 changes."""

LONGEST_PAUSE_SECONDS = 0.5
"""Between two attempts at a lock."""

T = TypeVar("T")

_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE runs (seq INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL UNIQUE,"
        " cluster TEXT NOT NULL, outcome TEXT, record TEXT NOT NULL)",
        "CREATE INDEX runs_of_cluster ON runs (cluster, seq)",
        "CREATE TABLE journal (seq INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, op TEXT NOT NULL,"
        " target TEXT NOT NULL, phase TEXT NOT NULL, at TEXT NOT NULL, detail TEXT NOT NULL)",
        "CREATE INDEX journal_of_run ON journal (run, seq)",
        "CREATE TABLE quarantine (cluster TEXT NOT NULL, fingerprint TEXT NOT NULL, reason TEXT NOT NULL,"
        " run TEXT NOT NULL, at TEXT NOT NULL, PRIMARY KEY (cluster, fingerprint))",
    ),
)
"""Statements that lead from each schema version to the next; `PRAGMA user_version` counts them."""


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
        self._connection: sqlite3.Connection | None = None
        self._owner = 0
        self._one_user = threading.RLock()

    def __enter__(self) -> "SqliteStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database. A closed store opens it anew when asked again."""
        with self._one_user:
            if self._connection is not None and self._owner == os.getpid():
                self._connection.close()
            self._connection = None

    # --- runs and their journal

    def begin(self, record: Json) -> None:
        run = str(record["run"])
        self._put_ballast()

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

    def clusters(self) -> tuple[str, ...]:
        return tuple(row[0] for row in self._read("SELECT DISTINCT cluster FROM runs ORDER BY cluster", ()))

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
        with _on_disk(f"seal the backup {directory}"):
            for folder, _, names in os.walk(directory, topdown=False):
                for name in names:
                    _sync(Path(folder) / name)
                _sync(Path(folder))
            aside = directory.parent / f".latest-{os.getpid()}-{threading.get_ident()}"
            aside.unlink(missing_ok=True)
            aside.symlink_to(directory.name)
            aside.replace(directory.parent / "latest")
            _sync(directory.parent)

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
        with _on_disk(f"remove old backups in {folder}"):
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
            "SELECT run FROM runs WHERE cluster = ? AND outcome IN ('succeeded', 'unchanged')"
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
        with _on_disk(f"open the lock {path}"):
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, self._file_mode())
            self._share(path)
        try:
            _wait_for(handle, wait_seconds)
            with suppress(OSError):  # on a full disk it holds all the same
                _say_who(handle, why)
            try:
                yield
            finally:
                with suppress(OSError):
                    os.ftruncate(handle, 0)
        finally:
            os.close(handle)

    # --- the database

    def _change(self, what: str, change: Callable[[sqlite3.Connection], T]) -> T:
        """One transaction. On a full disk it is tried once more without the ballast."""
        with self._one_user, self._explained(what):
            try:
                return self._transact(change)
            except sqlite3.OperationalError as error:
                if "full" not in str(error) or not self._ballast.exists():
                    raise
                self._forget()
                self._ballast.unlink(missing_ok=True)
                return self._transact(change)

    def _transact(self, change: Callable[[sqlite3.Connection], T]) -> T:
        database = self._open()
        database.execute("BEGIN IMMEDIATE")
        try:
            result = change(database)
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
        return result

    @property
    def _ballast(self) -> Path:
        return self._directory / "ballast"

    def _put_ballast(self) -> None:
        """Set space aside: the way back must be journaled also when a pull has filled the disk."""
        with suppress(OSError):
            if self._ballast.exists():
                return
            self._make(self._directory)
            handle = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, self._file_mode())
            try:
                os.posix_fallocate(handle, 0, BALLAST_BYTES)
            except OSError:
                self._ballast.unlink(missing_ok=True)
                raise
            finally:
                os.close(handle)
            self._share(self._ballast)

    def _read(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._one_user, self._explained("read"):
            return self._open().execute(query, values).fetchall()

    def _record(self, database: sqlite3.Connection, run: str) -> dict[str, Any] | None:
        row = database.execute("SELECT record FROM runs WHERE run = ?", (run,)).fetchone()
        return None if row is None else dict(_load(row[0]))

    def _update(self, database: sqlite3.Connection, run: str, fields: Json) -> None:
        record = self._record(database, run)
        if record is None:
            raise WorldError(f"There is no run {run} in {self._path}.")
        database.execute("UPDATE runs SET record = ? WHERE run = ?", (_dump({**record, **fields}), run))

    @property
    def _path(self) -> Path:
        return self._directory / DATABASE

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._owner == os.getpid():
            return self._connection
        self._make(self._directory)
        is_new = not self._path.exists()
        if is_new:  # made by us and not by SQLite, for its mode; the log beside it inherits that
            with suppress(FileExistsError):
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, self._file_mode()))
            self._share(self._path)
        connection = sqlite3.connect(
            self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        if is_new:
            _sync(self._directory)
        self._connection, self._owner = connection, os.getpid()
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        def version() -> int:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])

        if version() == len(_MIGRATIONS):
            return
        connection.execute("BEGIN IMMEDIATE")  # others may be about to do the same
        try:
            if version() > len(_MIGRATIONS):
                raise WorldError(
                    f"{self._path} was written by a newer dual-update (schema {version()},"
                    f" this one knows {len(_MIGRATIONS)}).",
                    hint="Update dual-update on this host.",
                )
            for statements in _MIGRATIONS[version() :]:
                for statement in statements:
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """SQLite's errors as sentences."""
        try:
            yield
        except DualUpdateError:
            raise
        except sqlite3.Error as error:
            self._forget()
            raise self._sentence(what, error) from error
        except OSError as error:
            raise WorldError(f"{self._path} cannot be used: {error.strerror or error}.") from error

    def _forget(self) -> None:
        """A connection that failed is not trusted again."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _sentence(self, what: str, error: sqlite3.Error) -> WorldError:
        words = str(error)
        if "locked" in words or "busy" in words:
            return Timeout(
                f"Could not {what}: another process kept {self._path} for {BUSY_SECONDS:g} seconds."
            )
        if "full" in words:
            return WorldError(
                f"Could not {what}: no space is left on the disk of {self._path}.", hint="Free some space."
            )
        if isinstance(error, sqlite3.OperationalError) and ("readonly" in words or "unable to open" in words):
            return WorldError(
                f"Could not {what}: {self._path} cannot be opened for writing.",
                hint="Run as its owner, or name another folder with DUAL_UPDATE_STATE_DIR.",
            )
        if isinstance(error, sqlite3.OperationalError):
            return WorldError(f"Could not {what} in {self._path}: {words}.")
        return WorldError(
            f"{self._path} is damaged: {words}.",
            hint="Move it away together with its -wal and -shm. History and quarantine start anew; clusters"
            " and backups are not touched.",
        )

    # --- modes

    def _is_shared(self) -> bool:
        """Was the state directory made writable for its group, as an installer does."""
        with suppress(OSError):
            return bool(self._directory.stat().st_mode & stat.S_IWGRP)
        return False

    def _file_mode(self) -> int:
        return 0o660 if self._is_shared() else 0o600

    def _share(self, path: Path) -> None:
        """Give what we made the group's mode in spite of the umask; what is another's stays as it is."""
        if self._is_shared():
            with suppress(OSError):
                path.chmod(0o2770 if path.is_dir() else 0o660)

    def _make(self, directory: Path) -> None:
        """Make a directory and what is missing above it, each with the mode that it is to have."""
        with _on_disk(f"make the folder {directory}"):
            if directory.is_dir():
                return
            if directory != self._directory:
                self._make(directory.parent)
            else:
                directory.parent.mkdir(parents=True, exist_ok=True)
            directory.mkdir(mode=0o700, exist_ok=True)
            self._share(directory)
            _sync(directory.parent)


def _wait_for(handle: int, wait_seconds: float) -> None:
    end = time.monotonic() + wait_seconds
    pause = 0.02
    while not _take(handle):
        left = end - time.monotonic()
        if left <= 0:
            raise NotNow(
                f"The cluster is being updated {_holder(handle)}.", hint="Wait, or give --wait SECONDS."
            )
        time.sleep(min(pause, left))
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def _take(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _say_who(handle: int, why: str) -> None:
    who = {"user": _user(), "pid": os.getpid(), "host": socket.gethostname(), "since": _now(), "why": why}
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps(who).encode(), 0)


def _holder(handle: int) -> str:
    try:
        who: Mapping[str, Any] = json.loads(os.pread(handle, 4096, 0))
        return f"by {who['user']} (process {who['pid']}) on {who['host']} since {who['since']} ({who['why']})"
    except (ValueError, KeyError, TypeError):
        return "by a process that has just begun"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.geteuid())


@contextmanager
def _on_disk(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WorldError(f"Could not {what}: {error.strerror or error}.") from error


def _sync(path: Path) -> None:
    if path.is_symlink():
        return
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
