"""Composition of a fleet: each line of multi-cluster.yml becomes a cluster that can be asked."""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from dual_update.adapters.cluster_api import SILENCE_SECONDS, ClusterApi
from dual_update.adapters.fleet_config import closed, token_of
from dual_update.adapters.rollout_record import RolloutRecord, fleet_key
from dual_update.core.config import ClusterEntry, MultiCluster
from dual_update.core.errors import DualUpdateError
from dual_update.core.fleet import Standing, driver_of
from dual_update.core.rollout import Word
from dual_update.usecases.local_cluster import LocalCluster
from dual_update.usecases.rollout import Conductor
from dual_update.wiring import Settings, deaf, open_site, open_store, state_directory

AT_ONCE = 16
"""Clusters that are looked at in the same moment."""

Say = Callable[[str], None]


def settings_of(entry: ClusterEntry, settings: Settings) -> Settings:
    """How the cluster of a checkout on this machine is opened."""
    return Settings(
        repo=Path(entry.path),
        files=entry.compose_files,
        cluster=entry.name,
        state_dir=Path(entry.state_dir) if entry.state_dir else settings.state_dir,
        overrides={"health": entry.health} if entry.health else {},
    )


def member_of(
    entry: ClusterEntry, settings: Settings, say: Say, silence_seconds: float = SILENCE_SECONDS
) -> ClusterApi | LocalCluster:
    """The cluster behind a line. Raises UsageError where its token is not set."""
    if entry.url:
        return ClusterApi(entry.url, token_of(entry), entry.token_env, silence_seconds=silence_seconds)
    own = settings_of(entry, settings)
    return LocalCluster(lambda ref: open_site(own, ref, lambda words: say(f"{entry.name}: {words}")), deaf)


def standings(fleet: MultiCluster, settings: Settings) -> list[Standing]:
    """Every cluster of the fleet as it is now, all asked at the same time."""

    def standing(entry: ClusterEntry) -> Standing:
        if driver_of(entry) == "runner":
            detail = "it is driven by a runner, and cannot be asked from here."
            return Standing(entry, Word(is_reachable=False, detail=detail))
        try:
            return Standing(entry, *member_of(entry, settings, lambda _: None).stand())
        except DualUpdateError as error:
            return Standing(entry, Word(is_reachable=False, detail=" ".join(str(error).split())))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(standing, fleet.clusters))


def fleet_of_this_host(settings: Settings) -> MultiCluster:
    """Without a multi-cluster.yml: the clusters that this host's state knows."""
    store = open_store(settings)
    found = []
    for name in store.clusters():
        newest = next(iter(store.runs(name, limit=1)), None)
        if newest is not None and newest.get("checkout"):
            path = Path(str(newest["checkout"])) / str(newest.get("directory") or "")
            found.append(ClusterEntry(name, path=str(path)))
    return MultiCluster(tuple(found))


def record_of(fleet: MultiCluster, settings: Settings) -> RolloutRecord:
    """Where the roll-outs of this fleet are written down."""
    return RolloutRecord(state_directory(settings), fleet_key(one.name for one in fleet.clusters))


def lock_of(fleet: MultiCluster) -> str:
    """One coordinator at a time."""
    return f"roll-out {fleet_key(one.name for one in fleet.clusters)}"


def together(looks: Sequence[Callable[[], Word]]) -> Sequence[Word]:
    """Look at clusters at the same time: one that is slow holds up nobody."""
    if len(looks) < 2:
        return [look() for look in looks]
    with ThreadPoolExecutor(min(AT_ONCE, len(looks))) as pool:
        return list(pool.map(lambda look: look(), looks))


def open_conductor(
    fleet: MultiCluster, settings: Settings, say: Say, approve: Callable[[Sequence[str]], bool]
) -> Conductor:
    """Everything that a roll-out of this fleet meets."""

    def closed_now(names: Iterable[str]) -> frozenset[str]:
        return closed(fleet.clusters, names, datetime.now(UTC))

    silence = min(SILENCE_SECONDS, fleet.patience_seconds)
    return Conductor(
        members={one.name: member_of(one, settings, say, silence) for one in fleet.clusters},
        record=record_of(fleet, settings),
        time=time.time,
        sleep=time.sleep,
        say=say,
        approve=approve,
        closed=closed_now,
        together=together,
    )
