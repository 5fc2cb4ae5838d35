"""What the service remembers besides runs: a history that pages quickly, notes, and messages to send.

`SqliteStore` has one of each: `store.history`, `store.notes`, `store.outbox`. Times go in and out as seconds
since 1970 (UTC) where they are numbers, and as RFC 3339 where they are text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from dual_update.usecases.ports import Json


@dataclass(frozen=True)
class Page:
    """Runs, newest first, each a line as `history --format json` prints it. `older` asks for the next page;
    empty where this is the last one."""

    lines: tuple[Json, ...]
    older: str = ""


@dataclass(frozen=True)
class Total:
    """How often something happened since the database was made; old runs that are forgotten still count.

    `within` says for each upper bound in seconds how many took no longer.
    """

    cluster: str
    outcome: str
    strategy: str
    count: int
    seconds: float
    within: Mapping[float, int] = field(default_factory=dict)


class History(Protocol):
    """Runs as lists and figures need them. Nothing here reads a run's whole record."""

    def page(
        self,
        *,
        cluster: str = "",
        outcome: str = "",
        since: float | None = None,
        until: float | None = None,
        limit: int = 50,
        before: str = "",
        offset: int = 0,
    ) -> Page:
        """Runs that began in [since, until). `outcome` may be `unfinished`; `before` is a page's `older`, and
        `offset` skips so many, which takes longer the more they are.

        Raises UsageError for a `before` that no page gave.
        """
        ...

    def count(
        self, *, cluster: str = "", outcome: str = "", since: float | None = None, until: float | None = None
    ) -> int: ...
    def lines(self, since: float, *, cluster: str = "", limit: int = 20_000) -> tuple[Json, ...]:
        """The newest `limit` runs that began since then, for figures."""
        ...

    def ended_since(self, moment: float) -> tuple[str, ...]:
        """Names of the runs that ended since then, of those that began no more than a day before it."""
        ...

    def totals(self) -> tuple[Total, ...]: ...
    def last_ended(self) -> Mapping[tuple[str, str], float]:
        """When the newest run of each cluster and outcome ended."""
        ...

    def unfinished(self) -> Mapping[str, float]:
        """Cluster -> when its unfinished run began."""
        ...

    def quarantined(self) -> Mapping[str, int]:
        """Cluster -> how many contents are quarantined."""
        ...


@dataclass(frozen=True)
class Pause:
    """Nothing is applied on this cluster until a moment, or until a person lifts it (None)."""

    cluster: str
    since: float
    until: float | None
    reason: str
    by_whom: str


@dataclass(frozen=True)
class Check:
    """One look for updates. `facts` is JSON without secrets; these keys are metrics too: `drift` (a list),
    `needs_update` (bool), `is_quarantined` (bool)."""

    cluster: str
    at: float
    seconds: float
    outcome: str
    facts: Json


@dataclass(frozen=True)
class Approval:
    """Who let what happen: `action` is apply, rollback, check, pause, resume, release; `subject` a
    fingerprint or a run; `door` is api, dashboard, issue, pull request, auto, command line."""

    cluster: str
    at: float
    action: str
    subject: str
    by_whom: str
    door: str


@dataclass(frozen=True)
class Reading:
    """A service at one look."""

    cluster: str
    service: str
    at: float
    is_healthy: bool
    detail: str = ""


class Notes(Protocol):
    """What the service writes down between runs."""

    def accept_delivery(self, delivery: str, event: str) -> bool:
        """Is this webhook delivery new. Asked after its signature was verified; it is remembered at once."""
        ...

    def pause(self, cluster: str, reason: str, by_whom: str, until: float | None = None) -> None: ...
    def resume(self, cluster: str) -> bool: ...
    def paused(self, cluster: str) -> Pause | None:
        """The pause that holds now; one that is over is none."""
        ...

    def pauses(self) -> tuple[Pause, ...]: ...
    def note_check(self, cluster: str, outcome: str, seconds: float, facts: Json) -> None:
        """`outcome`: `ok` or `failed`."""
        ...

    def last_check(self, cluster: str, outcome: str = "") -> Check | None: ...
    def checks(self, cluster: str, limit: int = 50) -> tuple[Check, ...]: ...
    def check_totals(self) -> Mapping[tuple[str, str], int]:
        """(cluster, outcome) -> how many since the database was made."""
        ...

    def note_approval(self, cluster: str, action: str, subject: str, by_whom: str, door: str) -> None: ...
    def approvals(self, cluster: str = "", *, subject: str = "", limit: int = 50) -> tuple[Approval, ...]:
        """Newest first."""
        ...

    def note_health(self, readings: Sequence[Reading]) -> None: ...
    def health_since(self, cluster: str, since: float) -> tuple[Reading, ...]: ...
    def health_now(self, since: float) -> tuple[Reading, ...]:
        """The newest reading of each service that was looked at since then."""
        ...

    def forget(self, *, older_than_seconds: float) -> None:
        """Drop notes of checks, readings and ended messages that are older. Approvals stay, and so do
        deliveries: a forgotten one could be replayed."""
        ...


@dataclass(frozen=True)
class Waiting:
    """A message that is to be sent to one address, which is named by a hash."""

    seq: int
    message: str
    address: str
    content: Mapping[str, Any]
    attempts: int


@dataclass(frozen=True)
class OutboxState:
    """How many wait, since when the oldest does, and what was given up. `error` is the newest dead one's."""

    waiting: int
    oldest: float | None
    sent: int
    dead: int
    error: str = ""


class Outbox(Protocol):
    """Messages that are sent at least once, or given up after too many attempts, across restarts."""

    def put(self, message: str, addresses: Sequence[str], content: Mapping[str, Any]) -> None:
        """A message under a name of its own; the same name again changes nothing."""
        ...

    def take(self, addresses: Sequence[str], lease_seconds: float, now: float) -> Waiting | None:
        """The next one that is due for one of these addresses. Nobody else gets it for the lease's time."""
        ...

    def sent(self, seq: int) -> None: ...
    def failed(self, seq: int, error: str, retry_at: float | None) -> None:
        """Try again at that time; None gives it up."""
        ...

    def state(self) -> OutboxState: ...
    def next_due(self, addresses: Sequence[str]) -> float | None: ...
