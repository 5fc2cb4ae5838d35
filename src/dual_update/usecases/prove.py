"""Waits until services are well and stay so, or until it is certain that they will not be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dual_update.core.cluster import Container, Observed, Reading
from dual_update.core.config import Check, Health, HttpCheck
from dual_update.core.shape import Link
from dual_update.usecases.reach import reach
from dual_update.usecases.site import Site

POLL_SECONDS = 0.5
CRASHES = 2
"""Restarts since the first look after which a container is said to be crashing."""


@dataclass(frozen=True)
class Wanted:
    """What has to be well. `containers` says how many of each service; `jobs` may have ended with 0, and
    `awaited` must have.

    `links` are the services that a service must reach; `ignored` are ids of containers not looked at;
    `patience` is how long services may take by their own words.
    """

    project: str
    containers: Mapping[str, int]
    jobs: frozenset[str] = frozenset()
    checks: tuple[Check, ...] = ()
    links: Mapping[str, Sequence[Link]] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()
    awaited: frozenset[str] = frozenset()
    patience: Mapping[str, float] = field(default_factory=dict)

    def has_ended(self, observed: Observed, service: str) -> bool:
        """Is it a job that is done: nobody answers under its name any more."""
        return service in self.jobs and not any(one.is_running for one in observed.of(service))


@dataclass(frozen=True)
class Proof:
    """The last look: all readings, and whether all were good for long enough. `well_seconds` says when each
    service became well for good, counted from the first look."""

    is_good: bool
    readings: tuple[Reading, ...] = ()
    seconds: float = 0.0
    well_seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def failures(self) -> tuple[Reading, ...]:
        return tuple(one for one in self.readings if not one.is_good)

    @property
    def reason(self) -> str:
        """One sentence: what is not well."""
        return "; ".join(f"{one.name}: {one.detail}" for one in self.failures) or "all is well"


@dataclass
class _Watch:
    """What a wait remembers between looks: restart counts at the first look, and when all became good."""

    restarts: dict[str, int] = field(default_factory=dict)
    good_since: float | None = None
    well: dict[str, float] = field(default_factory=dict)
    lives: frozenset[tuple[str, str]] = frozenset()
    has_reached: bool = False

    def note(self, readings: Sequence[Reading], elapsed: float) -> None:
        """Remember since when each service has been well without a break."""
        bad = {one.service for one in readings if not one.is_good}
        for service in {one.service for one in readings}:
            if service in bad:
                self.well.pop(service, None)
            else:
                self.well.setdefault(service, elapsed)


def prove(site: Site, wanted: Wanted, settle_seconds: float | None = None) -> Proof:
    """Look until everything has been good for the settle time, something cannot become good any more,
    or a service's deadline is over. A container that was started again or replaced begins the settle time
    anew, however well it looks; services that need each other are asked from inside once all else is good.
    """
    health = site.config.health
    settle = health.settle_seconds if settle_seconds is None else settle_seconds
    latest = max((_deadline(health, wanted, one) for one in wanted.containers), default=0.0) + settle
    began = site.clock.monotonic()
    watch = _Watch()
    while True:
        observed = site.engine.observe(wanted.project)
        readings = _look(site, observed, wanted, watch.restarts)
        if not watch.has_reached and all(one.is_good for one in readings):
            reached = [
                reading
                for service, links in wanted.links.items()
                for reading in reach(
                    site,
                    observed,
                    service,
                    [one for one in links if not wanted.has_ended(observed, one.service)],
                )
            ]
            watch.has_reached = all(one.is_good for one in reached)
            readings = (*readings, *reached)
        now = site.clock.monotonic()
        elapsed = now - began
        bad = [one for one in readings if not one.is_good]
        watch.note(readings, elapsed)
        lives = frozenset((c.id, c.started_at) for s in wanted.containers for c in observed.of(s))
        if not bad:
            if watch.good_since is None or lives != watch.lives:
                if watch.good_since is not None and elapsed > latest:
                    again = Reading("cluster", "", False, True, "its containers keep being started again")
                    return Proof(False, (*readings, again), elapsed)
                watch.good_since, watch.lives = now, lives
            if now - watch.good_since >= settle:
                return Proof(True, readings, elapsed, watch.well)
        else:
            watch.good_since = None
            late = any(elapsed >= _deadline(health, wanted, one.service) for one in bad)
            if late or any(one.is_final for one in bad):
                return Proof(False, readings, elapsed)
        site.clock.sleep(POLL_SECONDS)


def _deadline(health: Health, wanted: Wanted, service: str) -> float:
    """What the config says of this very service, else the usual one, or its own where that is later."""
    if service in health.services:
        return health.services[service]
    return max(health.deadline_seconds, wanted.patience.get(service, 0.0))


def look(site: Site, wanted: Wanted, restarts: dict[str, int] | None = None) -> tuple[Reading, ...]:
    """One look at every container and every check. `restarts` keeps the counts of the first look."""
    observed = site.engine.observe(wanted.project)
    return _look(site, observed, wanted, restarts if restarts is not None else {})


def _look(site: Site, observed: Observed, wanted: Wanted, restarts: dict[str, int]) -> tuple[Reading, ...]:
    readings = [
        reading
        for service, count in wanted.containers.items()
        for reading in _service(observed, service, count, restarts, wanted)
    ]
    readings += [check(site, one) for one in wanted.checks if one.service in ("", *wanted.containers)]
    return tuple(readings)


def _service(
    observed: Observed, service: str, count: int, restarts: dict[str, int], wanted: Wanted
) -> Sequence[Reading]:
    is_job, has_to_end = service in wanted.jobs, service in wanted.awaited
    containers = [
        one
        for one in observed.of(service)
        if one.state not in {"created", "dead"} and one.id not in wanted.ignored
    ]
    readings = [
        _container(one, restarts.setdefault(one.id, one.restart_count), is_job=is_job, has_to_end=has_to_end)
        for one in containers
    ]
    if len(containers) < count:
        seen = f"{len(containers)} of {count} containers are there"
        readings.append(Reading(service, service, False, False, seen))
    return readings


def _container(
    container: Container, restarts_before: int, *, is_job: bool, has_to_end: bool = False
) -> Reading:
    def reading(is_good: bool, detail: str, is_final: bool = False) -> Reading:
        return Reading(container.name, container.service, is_good, is_final, detail)

    crashes = container.restart_count - restarts_before
    if container.state in {"exited", "dead"}:
        if is_job and container.exit_code == 0:
            return reading(True, "ended with exit code 0")
        return reading(False, f"exited with code {container.exit_code}", True)
    if container.state == "restarting" or crashes > 0:
        return reading(
            False, f"restarted {crashes or 1} times, last exit code {container.exit_code}", crashes >= CRASHES
        )
    if container.state != "running":
        return reading(False, f"is {container.state}")
    if has_to_end:  # however its health check goes: that is often another service's, by a shared image
        return reading(False, "others wait for its end, and it still runs")
    if container.health == "unhealthy":
        return reading(False, "its health check fails", True)
    if container.health == "starting":
        return reading(False, "its health check has not passed yet")
    return reading(True, container.health or "running")


def check(site: Site, wanted: Check) -> Reading:
    """One look at one of the user's checks."""
    if isinstance(wanted, HttpCheck):
        wrong = site.prober.http(wanted.url, wanted.status, wanted.body, wanted.timeout_seconds)
    else:
        wrong = site.prober.tcp(wanted.host, wanted.port, wanted.timeout_seconds)
    return Reading(wanted.name, wanted.service, wrong is None, False, wrong or "answers")
