"""Every error a user can meet, and the exit code each one means.

    DualUpdateError
    ├── UsageError           2   the command, a config or a compose file is wrong
    ├── NotNow               5   locked, drifted, dirty, not approved, quarantined
    ├── Refused              1   a preflight check failed; nothing was touched
    ├── StepFailed           1   a step of the plan failed; the way back follows
    └── WorldError           1   a neighbour (engine, git, registry) failed or is missing
        └── Timeout          1   ... or did not answer in time

A message says what is wrong, where, and what to do. `hint` holds the last part when it stands apart.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a shell or a workflow reads. The numbers are a promise (docs/operations.md)."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    BUG = 3
    ROLLBACK_FAILED = 4
    NOT_NOW = 5
    INTERRUPTED = 130


class DualUpdateError(Exception):
    """Base of everything that ends a command with one calm sentence instead of a traceback."""

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(DualUpdateError):
    """The input is wrong: a flag, a config file, a compose file, a revision."""

    exit_code = ExitCode.USAGE


class NotNow(DualUpdateError):
    """The request is fine, the moment is not."""

    exit_code = ExitCode.NOT_NOW


class Refused(DualUpdateError):
    """Something was not proven before the first change, so nothing was changed."""


class StepFailed(DualUpdateError):
    """A step of a plan did not do what it was to do."""


class WorldError(DualUpdateError):
    """A neighbour failed: git, compose, the engine, a registry."""


class Timeout(WorldError):
    """A neighbour did not answer in time."""
