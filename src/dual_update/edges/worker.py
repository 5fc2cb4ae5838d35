"""A deployment that outlives its messenger.

A cancelled job gives a process ten seconds, and a runner may die at any time. So the deployment runs
in a worker of its own session; this process only follows it, hands on a wish to cancel, and gives
the worker's exit code. Kill the follower, and the worker goes on to its end.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from dual_update.core.errors import ExitCode, WorldError

POLL_SECONDS = 0.2

_HIDDEN = ("RUNNER_TRACKING_ID", "DUAL_UPDATE_WORKER")
"""GitHub's runner kills every process that carries the first when a job ends."""


def follow(arguments: Sequence[str], log: Path) -> int:
    """Run `dual-update ARGUMENTS` as a worker, show what it says, and return its exit code.

    An interrupt is handed on: the worker rolls back, and is followed until it has.
    """
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    worker = _start(arguments, log)
    answers = log.with_suffix(".out")
    shown = 0
    while True:
        try:
            code = worker.poll()
            shown = _show(log, shown)
            if code is not None:
                sys.stdout.write(answers.read_text(encoding="utf-8", errors="replace"))
                sys.stdout.flush()
                return code if code >= 0 else ExitCode.BUG
            time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            print("  · asked to stop: the worker takes the update back", file=sys.stderr, flush=True)
            worker.send_signal(signal.SIGTERM)


def _start(arguments: Sequence[str], log: Path) -> "subprocess.Popen[bytes]":
    environment = {name: value for name, value in os.environ.items() if name not in _HIDDEN}
    environment["DUAL_UPDATE_WORKER"] = str(log)
    try:
        with log.open("ab") as errors, log.with_suffix(".out").open("wb") as answers:
            return subprocess.Popen(
                [sys.executable, "-m", "dual_update", *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=answers,
                stderr=errors,
                start_new_session=True,
            )
    except OSError as error:
        raise WorldError(f"The worker cannot be started: {error.strerror}.") from error


def _show(log: Path, shown: int) -> int:
    """Print what the log has gained. Returns how much was shown in all."""
    with log.open("rb") as file:
        file.seek(shown)
        gained = file.read()
    if gained:
        sys.stderr.write(gained.decode("utf-8", "replace"))
        sys.stderr.flush()
    return shown + len(gained)
