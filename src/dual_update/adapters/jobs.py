"""Jobs on disk, and the processes that carry them out.

    STATE/service/ID.job      what is to be done, as JSON; its process holds a lock on it as long as it lives
    STATE/service/ID.log      what it says while it works
    STATE/service/ID.end      how it ended, as JSON, written whole

A job's process is of its own session: it outlives the service, and the service that starts next finds it.
"""

import fcntl
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from dual_update.core.errors import WorldError
from dual_update.core.job import Ending, Job

KEPT = 300
"""Jobs whose files are kept; the newest."""

_ID = re.compile(r"[0-9a-f]{12}")
_NOT_HANDED_ON = frozenset(
    {"API_TOKEN", "API_TOKEN_FILE", "WEBHOOK_SECRET", "WEBHOOK_SECRET_FILE", "RUNNER_TRACKING_ID"}
)


class JobFiles:
    """Fits the port Hands. `command` gives the arguments of a program that carries out the job of a file."""

    def __init__(self, state: Path, command: Callable[[Path], Sequence[str]]) -> None:
        self._folder = state / "service"
        self._command = command
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()

    def keep(self, job: Job) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._forget_the_old()
            write_whole(self._path(job.id, "job"), job.to_json())
        except OSError as error:
            raise WorldError(f"The job cannot be written down: {error.strerror or error}.") from error

    def start(self, job: Job) -> None:
        path = self._path(job.id, "job")
        try:
            with path.open("rb") as held, _private(self._path(job.id, "log")) as log:
                fcntl.flock(held, fcntl.LOCK_EX)
                child = subprocess.Popen(
                    [*self._command(path), str(held.fileno())],
                    env={k: v for k, v in os.environ.items() if k not in _NOT_HANDED_ON},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    start_new_session=True,
                    pass_fds=(held.fileno(),),
                )
        except OSError as error:
            raise WorldError(f"The job cannot be started: {error.strerror or error}.") from error
        with self._lock:
            self._children[job.id] = child

    def is_alive(self, job: str) -> bool:
        """Does its process live: ours is asked, another's shows by the lock on the job's file."""
        with self._lock:
            child = self._children.get(job)
            if child is not None:
                if child.poll() is None:
                    return True
                del self._children[job]
        try:
            with self._path(job, "job").open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def ending(self, job: str) -> Ending | None:
        data = self._json(job, "end")
        try:
            return Ending(**data) if data else None
        except TypeError:
            return None

    def end(self, job: str, ending: Ending) -> None:
        with suppress(OSError):
            write_whole(self._path(job, "end"), asdict(ending))

    def log(self, job: str, lines: int = 200) -> tuple[str, ...]:
        if not _ID.fullmatch(job):
            return ()
        try:
            with self._path(job, "log").open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - 200 * lines))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return ()
        return tuple(text.splitlines()[-lines:])

    def jobs(self) -> tuple[Job, ...]:
        found = [self.find(path.stem) for path in self._files()]
        return tuple(one for one in found if one is not None)

    def find(self, job: str) -> Job | None:
        data = self._json(job, "job")
        try:
            return Job.from_json(data) if data else None
        except TypeError:
            return None

    def _files(self) -> list[Path]:
        """Job files, the newest first."""
        try:
            return sorted(self._folder.glob("*.job"), key=lambda one: one.stat().st_mtime, reverse=True)
        except OSError:
            return []

    def _forget_the_old(self) -> None:
        for path in self._files()[KEPT - 1 :]:
            if not self.is_alive(path.stem):
                for end in ("end", "log", "job"):
                    path.with_suffix(f".{end}").unlink(missing_ok=True)

    def _json(self, job: str, end: str) -> dict[str, Any] | None:
        if not _ID.fullmatch(job):
            return None
        try:
            data = json.loads(self._path(job, end).read_bytes())
        except (OSError, ValueError):
            return None
        return data if isinstance(data, dict) else None

    def _path(self, job: str, end: str) -> Path:
        return self._folder / f"{job}.{end}"


def _private(path: Path) -> IO[bytes]:
    """A file to add to, for its owner only."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab")


def write_whole(path: Path, data: Any) -> None:
    """A JSON file that is there whole or not at all, for its owner only."""
    aside = path.with_name(f".{path.name}.new")
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(data, file)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def program(*arguments: str) -> list[str]:
    """This very program with other arguments."""
    return [sys.executable, "-m", "dual_update", *arguments]
