"""The one place that starts processes."""

import ctypes
import os
import resource
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from dual_update.adapters import sandbox
from dual_update.core.errors import Timeout, WorldError

QUICK_SECONDS = 60.0
"""Longest wait for a command that only reads."""

_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True)
class Result:
    """How a process ended: what was called, exit code, both outputs as text; `raw` is `out` as it came."""

    command: tuple[str, ...]
    code: int
    out: str
    err: str
    raw: bytes = field(default=b"", repr=False, compare=False)


def scrubbed(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment that holds what programs need to run and nothing a host might leak into a model."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, **(extra or {})}


def run(
    command: Sequence[str],
    *,
    cwd: Path | str | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    timeout_seconds: float = QUICK_SECONDS,
    confinement: sandbox.Confinement | None = None,
    dies_with_us: bool = False,
) -> Result:
    """Run a command to its end, in a process group of its own; with a `confinement`, within its bounds
    (as far as the kernel can: see `sandbox.is_available`). What changes the cluster `dies_with_us`: a program
    that outlived a killed deployer would go on while the next one puts things right.

    Raises Timeout when it does not end in time (the whole group is killed) and WorldError when the
    program cannot be started. An exit code is an answer, not an error: see `check`.
    """
    with ExitStack() as stack:
        files: list[IO[bytes]] = []
        if confinement is not None:  # what it says goes to files: their size can be bounded
            files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(2)]

        def start() -> "subprocess.Popen[bytes]":
            return subprocess.Popen(
                command,
                cwd=cwd,
                env=scrubbed() if env is None else dict(env),
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=files[0] if files else subprocess.PIPE,
                stderr=files[1] if files else subprocess.PIPE,
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()) if dies_with_us else None,  # noqa: PLW1509  one system call
            )

        try:
            process = start() if confinement is None else _confined(confinement, start)
        except OSError as error:
            is_missing = isinstance(error, FileNotFoundError) and str(error.filename) != str(cwd)
            raise WorldError(
                f"{command[0]} cannot be started: {error.strerror or error}.",
                hint=f"Install {command[0]}, or put it on PATH." if is_missing else "",
            ) from error
        try:
            out, err = process.communicate(stdin, timeout=timeout_seconds)
        except subprocess.TimeoutExpired as error:
            _kill_group(process)
            what = " ".join(command[:3])
            raise Timeout(f"`{what} ...` did not answer within {timeout_seconds:g} seconds.") from error
        except BaseException:
            _kill_group(process)
            raise
        if files:
            out, err = (_content(one) for one in files)
        return Result(tuple(command), process.returncode, _text(out), _text(err), out)


_DEATH_SIGNAL = 1
_LIBC = ctypes.CDLL(None)


def _die_with(parent: int) -> Callable[[], None]:
    """For a child to call before it becomes another program: it is killed when its parent ends.

    Source: prctl(2), PR_SET_PDEATHSIG. The signal comes when the thread that started the child ends; that
    one waits for it in `run`. Nothing but the two calls happens here, so threads of the parent do no harm.
    """
    prctl, getppid, leave = _LIBC.prctl, os.getppid, os._exit

    def arm() -> None:
        prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        if getppid() != parent:  # it was killed before this call
            leave(1)

    return arm


def _confined(
    confinement: sandbox.Confinement, start: Callable[[], "subprocess.Popen[bytes]"]
) -> "subprocess.Popen[bytes]":
    process = sandbox.within(confinement, start) if sandbox.is_available() else start()
    with suppress(ProcessLookupError):  # it may have ended already
        resource.prlimit(process.pid, resource.RLIMIT_AS, (confinement.memory_bytes,) * 2)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (confinement.output_bytes,) * 2)
    return process


def check(command: Sequence[str], **options: object) -> Result:
    """`run`, and raise WorldError with the program's own last words unless the exit code is 0."""
    result = run(command, **options)  # type: ignore[arg-type]
    if result.code != 0:
        words = (result.err.strip() or result.out.strip() or "no output").splitlines()
        raise WorldError(f"`{' '.join(command[:3])} ...` failed ({result.code}): {words[-1]}")
    return result


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
