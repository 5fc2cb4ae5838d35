"""Figures of a cluster's life: how often it is updated, how that ends, how long it takes, how well it is.

What counts. An *attempt* is a finished run that set out to change the cluster: `unchanged` runs are none.
It *succeeded*, or it *failed* (`refused`, `rolled_back`, `rollback_failed`). A person's rollback is no
attempt; it is counted among the rollbacks, next to the updates that were taken back by themselves.

Update frequency and failure rate are two of the four keys of "Accelerate" (N. Forsgren, J. Humble, G. Kim,
2018): deployments in a span of time, and the share of them that failed.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

DAY_SECONDS = 86_400.0

SUCCEEDED = "succeeded"
FAILED: frozenset[str] = frozenset({"refused", "rolled_back", "rollback_failed"})

LONGEST_BY_DAY = 35
"""A window of more days is cut into weeks: more columns than that cannot be told apart on a phone."""


@dataclass(frozen=True)
class Past:
    """A finished run, as far as figures need it. `at` is when it began, `duration_seconds` its wall time."""

    at: datetime
    outcome: str
    duration_seconds: float
    kind: str = "apply"
    run: str = ""

    @property
    def is_attempt(self) -> bool:
        return not self.is_by_hand and (self.outcome == SUCCEEDED or self.outcome in FAILED)

    @property
    def is_rollback(self) -> bool:
        """Did this run take something back: by itself after a failure, or because a person asked."""
        return self.outcome == "rolled_back" or (self.is_by_hand and self.outcome == SUCCEEDED)

    @property
    def is_by_hand(self) -> bool:
        """A rollback that a person asked for."""
        return self.kind == "rollback"


@dataclass(frozen=True)
class Look:
    """One look at a service: was it well at that moment."""

    at: datetime
    service: str
    is_well: bool


@dataclass(frozen=True)
class Bin:
    """One column of a plot over time: [`start`, `end`), and what fell into it."""

    start: datetime
    end: datetime
    succeeded: int = 0
    failed: int = 0
    rollbacks: int = 0

    @property
    def attempts(self) -> int:
        return self.succeeded + self.failed


@dataclass(frozen=True)
class Wellness:
    """How a service was: looks that found it well, of all looks; and the same for each column (None: no
    look then)."""

    service: str
    well: int
    looks: int
    shares: tuple[float | None, ...] = ()

    @property
    def share(self) -> float:
        return self.well / self.looks


@dataclass(frozen=True)
class Figures:
    """Everything the page of figures shows for one window of time. Durations are in seconds."""

    since: datetime
    until: datetime
    attempts: int = 0
    succeeded: int = 0
    failed: int = 0
    rolled_back: int = 0
    rolled_back_by_hand: int = 0
    rollbacks_failed: int = 0
    unchanged: int = 0
    per_week: float | None = None
    average_seconds: float | None = None
    median_seconds: float | None = None
    p95_seconds: float | None = None
    durations: tuple[tuple[datetime, float, str, str], ...] = ()
    bins: tuple[Bin, ...] = ()
    wellness: tuple[Wellness, ...] = ()

    @property
    def success_rate(self) -> float | None:
        """Share of the attempts that succeeded; None where there was none."""
        return self.succeeded / self.attempts if self.attempts else None

    @property
    def failure_rate(self) -> float | None:
        return self.failed / self.attempts if self.attempts else None

    @property
    def rollbacks(self) -> int:
        return self.rolled_back + self.rolled_back_by_hand

    @property
    def is_by_day(self) -> bool:
        return bool(self.bins) and self.bins[0].end - self.bins[0].start <= timedelta(days=1)


def figures(runs: Iterable[Past], looks: Iterable[Look], since: datetime, until: datetime) -> Figures:
    """Figures of the runs and looks in [`since`, `until`]. Times carry their zone; columns begin at midnight
    UTC, and the last one ends with the window's last day."""
    if until < since:
        raise ValueError("A window ends after it begins.")
    within = sorted((one for one in runs if since <= one.at <= until), key=lambda one: one.at)
    attempts = [one for one in within if one.is_attempt]
    took = sorted(one.duration_seconds for one in attempts if one.outcome == SUCCEEDED)
    edges = columns(since, until)
    return Figures(
        since=since,
        until=until,
        attempts=len(attempts),
        succeeded=sum(one.outcome == SUCCEEDED for one in attempts),
        failed=sum(one.outcome in FAILED for one in attempts),
        rolled_back=sum(one.is_rollback and not one.is_by_hand for one in within),
        rolled_back_by_hand=sum(one.is_rollback and one.is_by_hand for one in within),
        rollbacks_failed=sum(one.outcome == "rollback_failed" for one in within),
        unchanged=sum(one.outcome == "unchanged" for one in within),
        per_week=weekly(attempts, until),
        average_seconds=math.fsum(took) / len(took) if took else None,
        median_seconds=percentile(took, 50) if took else None,
        p95_seconds=percentile(took, 95) if took else None,
        durations=tuple((one.at, one.duration_seconds, one.outcome, one.run) for one in attempts),
        bins=_bins(within, edges),
        wellness=_wellness([one for one in looks if since <= one.at <= until], edges),
    )


def weekly(attempts: Sequence[Past], until: datetime) -> float | None:
    """Attempts per week from the first one to the end of the window. A history of less than a week counts
    as a week: one update on the first day is not seven a week."""
    if not attempts:
        return None
    weeks = (until - min(one.at for one in attempts)).total_seconds() / (7 * DAY_SECONDS)
    return len(attempts) / max(weeks, 1.0)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of ascending values: the smallest of them that at least `percent` percent
    are not above (Hyndman and Fan, "Sample Quantiles in Statistical Packages", 1996, definition 1). It is
    always a value that occurred."""
    if not ordered:
        raise ValueError("There is no percentile of nothing.")
    rank = math.ceil(percent * len(ordered) / 100)
    return ordered[max(rank, 1) - 1]


def columns(since: datetime, until: datetime) -> tuple[tuple[datetime, datetime], ...]:
    """Days, or weeks counted back from the last day where the window is longer than LONGEST_BY_DAY."""
    first = _midnight(since)
    end = _midnight(until) + timedelta(days=1)
    days = (end - first).days
    if days <= LONGEST_BY_DAY:
        starts = [first + timedelta(days=number) for number in range(days)]
        return tuple((start, start + timedelta(days=1)) for start in starts)
    weeks = math.ceil(days / 7)
    starts = [end - timedelta(days=7 * number) for number in range(weeks, 0, -1)]
    return tuple((start, start + timedelta(days=7)) for start in starts)


def _midnight(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _place(moment: datetime, edges: Sequence[tuple[datetime, datetime]]) -> int:
    """Which column a moment of the window falls into. All columns are of one width."""
    start, end = edges[0]
    return min((moment - start) // (end - start), len(edges) - 1)


def _bins(runs: Sequence[Past], edges: Sequence[tuple[datetime, datetime]]) -> tuple[Bin, ...]:
    counts = [[0, 0, 0] for _ in edges]
    for one in runs:
        column = counts[_place(one.at, edges)]
        column[0] += one.is_attempt and one.outcome == SUCCEEDED
        column[1] += one.is_attempt and one.outcome in FAILED
        column[2] += one.is_rollback
    return tuple(Bin(start, end, *count) for (start, end), count in zip(edges, counts, strict=True))


def _wellness(looks: Sequence[Look], edges: Sequence[tuple[datetime, datetime]]) -> tuple[Wellness, ...]:
    seen: dict[str, list[list[int]]] = {}
    for one in looks:
        column = seen.setdefault(one.service, [[0, 0] for _ in edges])[_place(one.at, edges)]
        column[0] += one.is_well
        column[1] += 1
    return tuple(_of_service(service, counts) for service, counts in sorted(seen.items()))


def _of_service(service: str, counts: Sequence[Sequence[int]]) -> Wellness:
    return Wellness(
        service,
        well=sum(well for well, _ in counts),
        looks=sum(looks for _, looks in counts),
        shares=tuple(well / looks if looks else None for well, looks in counts),
    )


def past(record: Mapping[str, object]) -> Past | None:
    """A run of the store, or None for one that did not end or whose record does not say when it began."""
    at = moment(record.get("started_at"))
    seconds = record.get("duration_seconds")
    if at is None or not record.get("outcome") or not isinstance(seconds, int | float):
        return None
    kind = str(record.get("kind") or "apply")
    return Past(at, str(record["outcome"]), float(seconds), kind, str(record.get("run") or ""))


def moment(text: object) -> datetime | None:
    """A time as RFC 3339 writes it, with its zone (UTC where none is told); None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
