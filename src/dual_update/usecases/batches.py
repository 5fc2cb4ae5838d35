"""The way back, a batch at a time: replicas return by `deploy.rollback_config` of the version that returns.

Only where that costs no certainty: what cannot be had in batches, takes too long, or goes wrong on the way,
is left to the plain way back, which makes all of them anew at once.
"""

from collections.abc import Sequence

from dual_update.core.cluster import Container
from dual_update.core.errors import StepFailed
from dual_update.core.model import Rendered
from dual_update.core.rolling import Rolling, rolling_back, why_not_one_by_one
from dual_update.core.running import jobs, patience
from dual_update.core.snapshot import Snapshot
from dual_update.usecases.ports import ComposeProject
from dual_update.usecases.prove import Wanted, prove
from dual_update.usecases.site import Site


def return_in_batches(
    site: Site, snapshot: Snapshot, old: Rendered, service: str, compose: ComposeProject
) -> bool:
    """Replace what came by what ran before, and say whether that was done; false where it was not begun.

    Compose makes the old containers (`--no-recreate`, a higher scale), so labels, names and numbers are its
    own. Raises StepFailed where one of them does not get well.
    """
    now = [one for one in site.engine.observe(snapshot.project).of(service) if not one.is_oneoff]
    kept = [one for one in now if one.id in snapshot.ids]
    leaving = [one for one in now if one.id not in snapshot.ids]
    missing = len(snapshot.of(service)) - len(kept)
    is_whole = all(one.is_running for one in kept) and all(one.is_running for one in snapshot.of(service))
    rolling = rolling_back(service, old, now, missing) if any(one.is_running for one in leaving) else None
    if rolling is None and kept and service in old.services and not why_not_one_by_one(service, old, now):
        rolling = Rolling(parallelism=0)  # at once, but for those that never left: they go on answering
    if rolling is None or not is_whole or not missing:  # nobody missing: it follows another, as a whole
        return False
    size, back = rolling.parallelism or missing, len(kept)
    while missing:
        count = min(size, missing)
        batch, leaving = leaving[:count], leaving[count:]
        if not rolling.is_start_first:
            _take_away(site, batch)
        missing, back = missing - count, back + count
        beside = len(leaving) + (len(batch) if rolling.is_start_first else 0)
        compose.up([service], keep_existing=True, scale={service: back + beside})
        _prove(site, snapshot, old, service, [*batch, *leaving], back, rolling)
        if rolling.is_start_first:
            _take_away(site, batch)
        if missing and rolling.delay_seconds:
            site.clock.sleep(rolling.delay_seconds)
    _take_away(site, leaving)
    return True


def _prove(
    site: Site,
    snapshot: Snapshot,
    old: Rendered,
    service: str,
    leaving: Sequence[Container],
    count: int,
    rolling: Rolling,
) -> None:
    ignored = frozenset(one.id for one in leaving)
    wanted = Wanted(snapshot.project, {service: count}, jobs(old), ignored=ignored, patience=patience(old))
    proof = prove(site, wanted, rolling.monitor_seconds)
    if not proof.is_good:
        raise StepFailed(f"{service} did not return in batches: {proof.reason}.")


def _take_away(site: Site, containers: Sequence[Container]) -> None:
    for one in containers:
        site.engine.stop(one.id)
        site.engine.remove(one.id)
