"""A command that a cluster's owner declared, with the one that takes it back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Command:
    """What a step `run` runs, and what takes it back.

    `argv` and `undo` are argument lists, no shell; an empty `undo` says that there is nothing to take back.
    `service` names in whose first running container; without one it is the host, in the checkout. The undo
    may find half of the work done, or be asked twice: it has to be able to bear both.
    """

    argv: tuple[str, ...]
    undo: tuple[str, ...] = ()
    service: str = ""
    timeout_seconds: float = 60.0

    @property
    def place(self) -> str:
        """Where it runs, for a sentence."""
        return f"in {self.service}" if self.service else "on the host"

    def to_json(self) -> dict[str, Any]:
        return {
            "argv": list(self.argv),
            "undo": list(self.undo),
            "service": self.service,
            "timeout_seconds": self.timeout_seconds,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Command":
        return Command(
            tuple(data["argv"]), tuple(data["undo"]), str(data["service"]), float(data["timeout_seconds"])
        )
