"""What the service needs of the world, beside what every use-case needs."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from dual_update.core.job import Ending, Job
from dual_update.usecases.github_ports import GitHub
from dual_update.usecases.github_ports import History as Reviews
from dual_update.usecases.memory_ports import History, Notes
from dual_update.usecases.ports import Store
from dual_update.usecases.site import Site

OpenSite = Callable[[str | None], AbstractContextManager[tuple[Site, str]]]
"""The cluster and the commit that a ref means; None is the newest, fetched before."""


class Hands(Protocol):
    """Carries out jobs in processes of their own, which outlive this one."""

    def keep(self, job: Job) -> None:
        """Write a job down, so that no restart loses it. Raises WorldError when that cannot be done."""
        ...

    def start(self, job: Job) -> None:
        """Start the process of a job that is kept. Raises WorldError when that cannot be done."""
        ...

    def is_alive(self, job: str) -> bool: ...
    def ending(self, job: str) -> Ending | None:
        """How its process ended; None while it runs, or where nobody wrote it down (killed)."""
        ...

    def end(self, job: str, ending: Ending) -> None:
        """Write down how it ended, for a process that could not."""
        ...

    def log(self, job: str, lines: int = 200) -> tuple[str, ...]:
        """The last lines that its process said."""
        ...

    def jobs(self) -> Sequence[Job]:
        """Those that are still known, newest first."""
        ...

    def find(self, job: str) -> Job | None: ...


class Wall(Protocol):
    """The host's clock and its luck."""

    def now(self) -> datetime: ...
    def monotonic(self) -> float: ...
    def luck(self) -> float:
        """A random number in [0, 1)."""
        ...

    def name(self) -> str:
        """A fresh name for a job: 12 hexadecimal digits."""
        ...


class Memory(Store, Protocol):
    """The host's memory with what only a service asks of it (adapters/store.py)."""

    @property
    def history(self) -> History: ...
    @property
    def notes(self) -> Notes: ...
    def changes(self) -> int:
        """Another number once somebody else has written."""
        ...


class Forge(GitHub, Reviews, Protocol):
    """GitHub with all that a service asks of it."""
