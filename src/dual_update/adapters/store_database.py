"""The SQLite file itself: opened late, migrated with a copy beside it, its faults told as sentences."""

import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from dual_update.adapters.store_schema import MIGRATIONS
from dual_update.core.errors import DualUpdateError, Timeout, WorldError

DATABASE = "state.sqlite3"
BUSY_SECONDS = 30.0
"""Longest wait for another process that writes."""

BALLAST_BYTES = 4 * 1024 * 1024
"""Space that is given up when the disk is full: some 300 changes."""

T = TypeVar("T")


class Database:
    """One connection for this process. Safe for threads and many processes; nothing is opened before use."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._connection: sqlite3.Connection | None = None
        self._owner = 0
        self._one_user = threading.RLock()

    @property
    def path(self) -> Path:
        return self.directory / DATABASE

    def close(self) -> None:
        with self._one_user:
            if self._connection is not None and self._owner == os.getpid():
                self._connection.close()
            self._connection = None

    def change(self, what: str, change: Callable[[sqlite3.Connection], T]) -> T:
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

    def read(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._one_user, self._explained("read"):
            return self._open().execute(query, values).fetchall()

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

    # --- a full disk

    @property
    def _ballast(self) -> Path:
        return self.directory / "ballast"

    def put_ballast(self) -> None:
        """Set space aside: the way back must be journaled also when a pull has filled the disk."""
        with suppress(OSError):
            if self._ballast.exists():
                return
            self.make(self.directory)
            handle = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, self.file_mode())
            try:
                os.posix_fallocate(handle, 0, BALLAST_BYTES)
            except OSError:
                self._ballast.unlink(missing_ok=True)
                raise
            finally:
                os.close(handle)
            self.share(self._ballast)

    # --- opening

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._owner == os.getpid():
            return self._connection
        self.make(self.directory)
        is_new = not self.path.exists()
        if is_new:  # made by us and not by SQLite, for its mode; the log beside it inherits that
            self._touch(self.path)
        connection = sqlite3.connect(
            self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        if is_new:
            sync(self.directory)
        self._connection, self._owner = connection, os.getpid()
        return connection

    def _touch(self, path: Path) -> None:
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, self.file_mode()))
        self.share(path)

    def _migrate(self, connection: sqlite3.Connection) -> None:
        """Lead the schema to the newest version, in one transaction; an older database is copied before."""

        def version() -> int:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])

        if version() == len(MIGRATIONS):
            return
        connection.execute("BEGIN IMMEDIATE")  # others may be about to do the same
        try:
            found = version()
            if found > len(MIGRATIONS):
                raise WorldError(
                    f"{self.path} was written by a newer dual-update (schema {found},"
                    f" this one knows {len(MIGRATIONS)}).",
                    hint="Update dual-update on this host.",
                )
            if 0 < found < len(MIGRATIONS):
                self._copy_aside(found)
            for statements in MIGRATIONS[found:]:
                for statement in statements:
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _copy_aside(self, version: int) -> None:
        """The database as it is, whole, in one file beside it. Nobody writes meanwhile: the caller may alone.

        A copy that was cut off has another name and is written anew.
        """
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        final = self.directory / f"{DATABASE}.schema-{version}.{stamp}"
        aside = self.directory / f"{DATABASE}.copying"
        aside.unlink(missing_ok=True)
        self._touch(aside)
        source = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
        target = sqlite3.connect(aside)
        try:
            source.backup(target)
            target.execute(
                "PRAGMA journal_mode = DELETE"
            )  # one file, without a log that could be left behind
        finally:
            target.close()
            source.close()
        sync(aside)
        aside.replace(final)
        sync(self.directory)

    # --- faults

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
            raise WorldError(f"{self.path} cannot be used: {error.strerror or error}.") from error

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
                f"Could not {what}: another process kept {self.path} for {BUSY_SECONDS:g} seconds."
            )
        if "full" in words:
            return WorldError(
                f"Could not {what}: no space is left on the disk of {self.path}.", hint="Free some space."
            )
        if isinstance(error, sqlite3.OperationalError) and ("readonly" in words or "unable to open" in words):
            return WorldError(
                f"Could not {what}: {self.path} cannot be opened for writing.",
                hint="Run as its owner, or name another folder with DUAL_UPDATE_STATE_DIR.",
            )
        if isinstance(error, sqlite3.OperationalError):
            return WorldError(f"Could not {what} in {self.path}: {words}.")
        return WorldError(
            f"{self.path} is damaged: {words}.",
            hint="Stop the update-orchestrator, then run `dual-update repair-state`: it sets the file aside"
            " and keeps what can be read. Clusters and backups are not touched.",
        )

    # --- modes

    def _is_shared(self) -> bool:
        """Was the state directory made writable for its group, as an installer does."""
        with suppress(OSError):
            return bool(self.directory.stat().st_mode & stat.S_IWGRP)
        return False

    def file_mode(self) -> int:
        return 0o660 if self._is_shared() else 0o600

    def share(self, path: Path) -> None:
        """Give what we made the group's mode in spite of the umask; what is another's stays as it is."""
        if self._is_shared():
            with suppress(OSError):
                path.chmod(0o2770 if path.is_dir() else 0o660)

    def make(self, directory: Path) -> None:
        """Make a directory and what is missing above it, each with the mode that it is to have."""
        with on_disk(f"make the folder {directory}"):
            if directory.is_dir():
                return
            if directory != self.directory:
                self.make(directory.parent)
            else:
                directory.parent.mkdir(parents=True, exist_ok=True)
            directory.mkdir(mode=0o700, exist_ok=True)
            self.share(directory)
            sync(directory.parent)


@contextmanager
def on_disk(what: str) -> Iterator[None]:
    """The disk's errors as sentences."""
    try:
        yield
    except OSError as error:
        raise WorldError(f"Could not {what}: {error.strerror or error}.") from error


def sync(path: Path) -> None:
    """Put a file's content, or a directory's names, on disk."""
    if path.is_symlink():
        return
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
