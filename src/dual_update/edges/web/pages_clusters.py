"""The page of the fleet: every cluster with its version, health, drift and newest run, stage by stage."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dual_update.edges.web.pages_words import NOTHING, OUTCOMES, Mark, When, when

HEALTH: Mapping[str, Mark] = {
    "well": Mark("good", "Well"),
    "not well": Mark("bad", "Not well"),
    "unknown": Mark("idle", "Not reached"),
}
STATES: Mapping[str, Mark] = {
    "succeeded": Mark("good", "Succeeded"),
    "stopped": Mark("bad", "Stopped"),
    "aborted": Mark("warn", "Aborted"),
    "rolled_back": Mark("warn", "Rolled back"),
    "rollback_failed": Mark("bad", "Not every cluster came back"),
    "going_back": Mark("busy", "Going back"),
    "stopping": Mark("busy", "Stopping"),
    "paused": Mark("idle", "Paused"),
    "under_way": Mark("busy", "Under way"),
}


@dataclass(frozen=True)
class ClusterRow:
    name: str
    mark: Mark
    version: str
    drift: str
    outcome: str
    ran_at: When | None
    detail: str


@dataclass(frozen=True)
class StageRows:
    number: int
    name: str
    clusters: tuple[ClusterRow, ...]


@dataclass(frozen=True)
class RolloutView:
    target: str
    mark: Mark
    reason: str


@dataclass(frozen=True)
class ClustersPage:
    headline: str
    stages: tuple[StageRows, ...]
    rollout: RolloutView | None


def clusters_page(fleet: Mapping[str, Any], now: datetime) -> ClustersPage:
    """The answer of `GET /api/clusters` as a page shows it."""
    rollout = fleet.get("rollout")
    names = {one["stage"]: one["name"] for one in rollout["stages"]} if rollout else {}
    stages: dict[int, list[ClusterRow]] = {}
    for one in fleet["clusters"]:
        stages.setdefault(one["stage"], []).append(_row(one, now))
    return ClustersPage(
        headline=_headline(fleet),
        stages=tuple(
            StageRows(number, names.get(number, f"Stage {number}"), tuple(stages[number]))
            for number in sorted(stages)
        ),
        rollout=_rollout(rollout) if rollout else None,
    )


def _row(one: Mapping[str, Any], now: datetime) -> ClusterRow:
    run = one["last_run"] or {}
    outcome = str(run.get("outcome") or "")
    drift = "" if one["drift"] is None else "drifted" if one["drift"] else "no drift"
    return ClusterRow(
        name=one["name"],
        mark=Mark("busy", "Under way") if one["under_way"] else HEALTH[one["health"]],
        version=str(one["version"] or NOTHING)[:12],
        drift=drift,
        outcome=OUTCOMES[outcome].word if outcome in OUTCOMES else "",
        ran_at=when(run.get("started_at"), now),
        detail=str(one["detail"] or "; ".join(one["drift"] or ())),
    )


def _headline(fleet: Mapping[str, Any]) -> str:
    count = len(fleet["clusters"])
    versions = len(fleet["versions"])
    ill = sum(one["health"] == "not well" for one in fleet["clusters"])
    silent = sum(not one["reachable"] for one in fleet["clusters"])
    words = [f"{count} clusters" if count != 1 else "1 cluster"]
    words.append(
        "one version" if versions == 1 else f"{versions} versions" if versions else "no version known"
    )
    words += [f"{ill} not well"] if ill else []
    words += [f"{silent} not reached"] if silent else []
    return ", ".join(words) + "."


def _rollout(rollout: Mapping[str, Any]) -> RolloutView:
    return RolloutView(
        str(rollout["target"])[:12], STATES[rollout["state"]], str(rollout.get("reason") or "")
    )
