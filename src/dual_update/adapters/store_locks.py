"""Locks that the kernel releases when their holder dies, and that say who holds them."""

import fcntl
import getpass
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from dual_update.core.errors import NotNow

LONGEST_PAUSE_SECONDS = 0.5
"""Between two attempts at a lock."""


@contextmanager
def held(handle: int, why: str, wait_seconds: float) -> Iterator[None]:
    """Hold the lock behind an open file while the block runs. Raises NotNow that says who holds it."""
    _wait_for(handle, wait_seconds)
    with suppress(OSError):  # on a full disk it holds all the same
        _say_who(handle, why)
    try:
        yield
    finally:
        with suppress(OSError):
            os.ftruncate(handle, 0)


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
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    who = {"user": _user(), "pid": os.getpid(), "host": socket.gethostname(), "since": now, "why": why}
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
