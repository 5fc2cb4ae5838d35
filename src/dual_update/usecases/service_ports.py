"""What the service needs of the world, beside what every use-case needs."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

from dual_update.core.job import Ending, Job
from dual_update.usecases.ports import Store
from dual_update.usecases.site import Site

OpenSite = Callable[[str | None], AbstractContextManager[tuple[Site, str]]]
"""The cluster and the commit that a ref means; None is the newest, fetched before."""


class Hands(Protocol):
    """Carries out jobs in processes of their own, which outlive this one."""

    def start(self, job: Job) -> None:
        """Write the job down and start its process. Raises WorldError when either cannot be done."""
        ...

    def is_alive(self, job: str) -> bool: ...
    def ending(self, job: str) -> Ending | None:
        """How its process ended; None while it runs, or where nobody wrote it down (killed)."""
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


Memory = Store
Tell = Callable[[Mapping[str, Any]], None]
