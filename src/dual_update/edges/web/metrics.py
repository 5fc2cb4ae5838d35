"""GET /metrics in Prometheus' text format, read from the store at each scrape: a restart loses no count.

Names follow https://prometheus.io/docs/practices/naming/: base units, `_total` on what only grows,
`_timestamp_seconds` on moments. Labels are bounded: what would be one cluster, service or strategy too many
is added up under `other`, or left out where adding makes no sense.
"""

import importlib.metadata
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Protocol

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from dual_update.core.errors import DualUpdateError
from dual_update.edges.web.auth import Who, require_reader
from dual_update.usecases.memory_ports import History, Notes, Outbox

MOST_CLUSTERS = 100
MOST_SERVICES = 200
"""Of one cluster."""
MOST_STRATEGIES = 20
OTHER = "other"

OLDEST_READING_SECONDS = 600.0
"""A service that was looked at longer ago is neither healthy nor not: its series ends."""


class Memory(Protocol):
    """The part of a store that metrics are made from."""

    @property
    def history(self) -> History: ...
    @property
    def notes(self) -> Notes: ...
    @property
    def outbox(self) -> Outbox: ...


router = APIRouter(tags=["metrics"])


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics(request: Request, _: Annotated[Who, Depends(require_reader)]) -> Response:
    """Counts, durations and the state of each cluster and service.

    The app's state names the `memory` to read: a store of its own, so that scrapes wait for no writer.
    """
    state = request.app.state
    if not hasattr(state, "metrics_registry"):
        state.metrics_registry = registry_of(state.memory)
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(state.metrics_registry), media_type=content_type)


def registry_of(memory: Memory) -> CollectorRegistry:
    """What is told: the store's numbers, and those of this process."""
    registry = CollectorRegistry()
    registry.register(StoreCollector(memory))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


class StoreCollector(Collector):
    """Families made anew from the store at each scrape."""

    def __init__(self, memory: Memory, now: Callable[[], float] = time.time) -> None:
        self._memory = memory
        self._now = now

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        version = importlib.metadata.version("dual-update")
        info = GaugeMetricFamily(
            "dual_update_build_info", "1, with the version that runs.", labels=["version"]
        )
        info.add_metric([version], 1)
        yield info
        readable = GaugeMetricFamily(
            "dual_update_state_readable", "1 while the state database can be read, 0 when it cannot."
        )
        try:
            families = [
                *_runs(self._memory.history),
                *_checks(self._memory),
                *_services(self._memory.notes, self._now()),
                *_messages(self._memory.outbox),
            ]
        except DualUpdateError:  # a scrape that fails as a whole could not say why
            families = []
            readable.add_metric([], 0)
        else:
            readable.add_metric([], 1)
        yield readable
        yield from families


def _runs(history: History) -> Iterator[Metric]:
    totals = history.totals()
    clusters = _bounded((one.cluster for one in totals), MOST_CLUSTERS)
    strategies = _bounded((one.strategy or "none" for one in totals), MOST_STRATEGIES)
    runs: dict[tuple[str, str, str], int] = defaultdict(int)
    seconds: dict[tuple[str, str], float] = defaultdict(float)
    within: dict[tuple[str, str], dict[float, int]] = defaultdict(lambda: defaultdict(int))
    for one in totals:
        cluster = clusters[one.cluster]
        runs[cluster, one.outcome, strategies[one.strategy or "none"]] += one.count
        seconds[cluster, one.outcome] += one.seconds
        bounds = within[cluster, one.outcome]
        for at_most, count in one.within.items():
            bounds[at_most] += count
        bounds[math.inf] += one.count
    counts = CounterMetricFamily(
        "dual_update_runs_total", "Runs that ended.", labels=["cluster", "outcome", "strategy"]
    )
    for labels, count in sorted(runs.items()):
        counts.add_metric(labels, count)
    yield counts
    yield _durations(seconds, within)
    yield from _moments(history, clusters)
    yield _gauge(
        "dual_update_quarantined_contents",
        "Contents that failed and are not tried again until they change.",
        {**dict.fromkeys(clusters, 0), **history.quarantined()},
        clusters,
    )


def _durations(
    seconds: Mapping[tuple[str, str], float], within: Mapping[tuple[str, str], Mapping[float, int]]
) -> Metric:
    """A run of `n` seconds is under every bound from `n` on; a bound under which none fell says 0."""
    family = HistogramMetricFamily(
        "dual_update_run_duration_seconds", "Wall time of runs that ended.", labels=["cluster", "outcome"]
    )
    bounds = sorted({bound for found in within.values() for bound in found})
    for labels, total in sorted(seconds.items()):
        counted = within[labels]
        buckets = [("+Inf" if b == math.inf else f"{b:.1f}", counted.get(b, 0)) for b in bounds]
        family.add_metric(labels, buckets, total)
    return family


def _moments(history: History, clusters: Mapping[str, str]) -> Iterator[Metric]:
    ended = history.last_ended()
    last: dict[str, float] = {}
    for (cluster, outcome), at in ended.items():
        if outcome in {"succeeded", "unchanged"}:
            last[cluster] = max(at, last.get(cluster, 0.0))
    yield _gauge(
        "dual_update_last_success_timestamp_seconds",
        "When the newest run ended that left the cluster as wanted.",
        last,
        clusters,
    )
    newest = GaugeMetricFamily(
        "dual_update_last_run_timestamp_seconds",
        "When the newest run with this outcome ended.",
        labels=["cluster", "outcome"],
    )
    for (cluster, outcome), at in sorted(ended.items()):
        if clusters.get(cluster, OTHER) != OTHER:
            newest.add_metric([cluster, outcome], at)
    yield newest
    begun = history.unfinished()
    yield _gauge(
        "dual_update_run_start_timestamp_seconds",
        "When the run began that has not ended yet.",
        begun,
        _bounded(begun, MOST_CLUSTERS),
    )


def _checks(memory: Memory) -> Iterator[Metric]:
    totals = memory.notes.check_totals()
    clusters = _bounded((cluster for cluster, _ in totals), MOST_CLUSTERS)
    summed: dict[tuple[str, str], int] = defaultdict(int)
    for (cluster, outcome), count in totals.items():
        summed[clusters[cluster], outcome] += count
    family = CounterMetricFamily(
        "dual_update_checks_total", "Looks for updates, by how they ended.", labels=["cluster", "outcome"]
    )
    for labels, count in sorted(summed.items()):
        family.add_metric(labels, count)
    yield family
    good = {name: check for name in clusters if (check := memory.notes.last_check(name, "ok"))}
    moments = {name: check.at for name, check in good.items()}
    yield _gauge(
        "dual_update_last_check_success_timestamp_seconds",
        "When the newest look for updates ended that could see everything.",
        moments,
        clusters,
    )
    yield _gauge(
        "dual_update_update_pending",
        "1 when the newest look found an update that is not applied yet.",
        {name: int(bool(check.facts.get("needs_update"))) for name, check in good.items()},
        clusters,
    )
    yield _gauge(
        "dual_update_drift_findings",
        "Differences between what runs and what was deployed, made by someone else.",
        {name: len(check.facts.get("drift") or ()) for name, check in good.items()},
        clusters,
    )
    paused = {one.cluster for one in memory.notes.pauses()}
    yield _gauge(
        "dual_update_paused",
        "1 while nothing is applied on this cluster.",
        {name: int(name in paused) for name in {*clusters, *paused}},
        _bounded({*clusters, *paused}, MOST_CLUSTERS),
    )


def _services(notes: Notes, now: float) -> Iterator[Metric]:
    readings = notes.health_now(now - OLDEST_READING_SECONDS)
    clusters = _bounded((one.cluster for one in readings), MOST_CLUSTERS)
    family = GaugeMetricFamily(
        "dual_update_service_healthy",
        "1 when the service was well at the newest look, 0 when it was not.",
        labels=["cluster", "service"],
    )
    seen: dict[str, int] = defaultdict(int)
    for one in readings:
        seen[one.cluster] += 1
        if clusters[one.cluster] != OTHER and seen[one.cluster] <= MOST_SERVICES:
            family.add_metric([one.cluster, one.service], int(one.is_healthy))
    yield family


def _messages(outbox: Outbox) -> Iterator[Metric]:
    state = outbox.state()
    ended = CounterMetricFamily(
        "dual_update_notifications_total",
        "Messages that were sent, or given up after too many attempts.",
        labels=["outcome"],
    )
    ended.add_metric(["sent"], state.sent)
    ended.add_metric(["dead"], state.dead)
    yield ended
    yield GaugeMetricFamily(
        "dual_update_notifications_waiting", "Messages that wait to be sent.", state.waiting
    )


def _gauge(name: str, text: str, values: Mapping[str, float], clusters: Mapping[str, str]) -> Metric:
    """One value a cluster. Those that are one too many are left out: moments do not add up."""
    family = GaugeMetricFamily(name, text, labels=["cluster"])
    for cluster, value in sorted(values.items()):
        if clusters.get(cluster, cluster) != OTHER or cluster == OTHER:
            family.add_metric([cluster], value)
    return family


def _bounded(names: Iterable[str], most: int) -> Mapping[str, str]:
    """Each name's label: itself, or OTHER for those behind the first `most` in order."""
    ordered = sorted(set(names))
    return {name: name if place < most else OTHER for place, name in enumerate(ordered)}
