"""The fleet: which clusters go in which stage, and what they say of themselves, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dual_update.core.config import ClusterEntry, MultiCluster, StageEntry
from dual_update.core.rollout import Rollout, Stage, Word, is_back, place

FLEET_SCHEMA = "dual-update/fleet/v1"
ROLLOUT_SCHEMA = "dual-update/rollout/v1"


def stages_of(fleet: MultiCluster) -> tuple[Stage, ...]:
    """The stages, lowest number first; within one, clusters go in the order in which they were written."""
    how = {one.stage: one for one in fleet.stages}
    members: dict[int, list[str]] = {}
    for one in fleet.clusters:
        members.setdefault(one.stage, []).append(one.name)
    found = []
    for number in sorted(members):
        one_stage = how.get(number, StageEntry(number))
        name = one_stage.name or f"stage {number}"
        found.append(
            Stage(number, name, tuple(members[number]), one_stage.batch, float(one_stage.bake_seconds))
        )
    return tuple(found)


@dataclass(frozen=True)
class Standing:
    """One cluster of the fleet as it was just seen. `drift` is None where it was not looked for."""

    entry: ClusterEntry
    word: Word
    drift: tuple[str, ...] | None = None
    last_run: Mapping[str, Any] | None = None

    @property
    def health(self) -> str:
        if not self.word.is_reachable:
            return "unknown"
        return "well" if self.word.is_healthy else "not well"

    def to_json(self) -> dict[str, Any]:
        entry, word = self.entry, self.word
        return {
            "name": entry.name,
            "stage": entry.stage,
            "environment": entry.environment,
            "url": entry.url,
            "driver": driver_of(entry),
            "reachable": word.is_reachable,
            "version": word.commit,
            "drift": None if self.drift is None else list(self.drift),
            "health": self.health,
            "detail": word.detail or None,
            "under_way": word.is_busy,
            "last_run": dict(self.last_run) if self.last_run else None,
        }


def driver_of(entry: ClusterEntry) -> str:
    """Who carries out what a cluster is to do: the API at its `url`, a checkout on this machine, a runner.

    The `path` of a cluster with a runner is one on the runner's host.
    """
    if entry.url:
        return "api"
    return "path" if entry.path and not entry.runner else "runner"


def fleet_json(standings: Sequence[Standing], rollout: Rollout | None = None) -> dict[str, Any]:
    """What `status --all --format json` and `GET /api/clusters` answer."""
    return {
        "schema": FLEET_SCHEMA,
        "clusters": [one.to_json() for one in standings],
        "versions": sorted({one.word.commit for one in standings if one.word.commit}),
        "rollout": rollout_json(rollout, words_of(standings)) if rollout else None,
    }


def words_of(standings: Sequence[Standing]) -> dict[str, Word]:
    """What the clusters of a roll-out say now. Nothing stands for one that does not answer."""
    return {one.entry.name: one.word for one in standings if one.word.is_reachable}


def fleet_text(standings: Sequence[Standing], rollout: Rollout | None = None) -> str:
    """The same for a terminal, a line a cluster."""
    width = max((len(one.entry.name) for one in standings), default=0)
    lines = []
    for one in standings:
        version = one.word.commit[:12] if one.word.commit else "nothing of ours"
        drift = "not looked at" if one.drift is None else "drifted" if one.drift else "no drift"
        run = one.last_run
        last = f"{run['outcome'] or 'under way'} {run['started_at']}" if run else "no run yet"
        if not one.word.is_reachable:
            lines.append(f"{one.entry.name:<{width}}  unknown: {one.word.detail}")
            continue
        lines.append(f"{one.entry.name:<{width}}  {version:<15}  {one.health:<8}  {drift:<13}  {last}")
        lines += [f"{'':<{width}}    {sentence}" for sentence in one.drift or ()]
        if one.word.detail and not one.word.is_healthy:
            lines.append(f"{'':<{width}}    {one.word.detail}")
    if rollout is not None:
        lines.append(f"roll-out {rollout.id}: {state_of(rollout)}")
    return "\n".join(lines or ["There are no clusters."]) + "\n"


# --- a roll-out, told


def state_of(rollout: Rollout) -> str:
    """One word: how it ended, or what it is about."""
    if rollout.end is not None:
        return rollout.end
    if rollout.direction == "back":
        return "going_back"
    if rollout.has_failed:
        return "stopping"
    return "paused" if rollout.is_paused else "under_way"


def standing_of(rollout: Rollout, name: str, word: Word | None) -> str:
    """Where a cluster is in a roll-out, in one word."""
    if name in rollout.stuck:
        return "stuck"
    if word is None:
        if name in rollout.failed:
            return "failed"
        return "silent" if _is_reached(rollout, name) else "untouched"
    where = place(rollout, name, word)
    has_turned = rollout.direction == "back" or rollout.end in {"rolled_back", "rollback_failed"}
    if has_turned and is_back(rollout, name, word):
        start = rollout.starts[name]
        is_new = word.run is not None and word.run.id != start.run
        return "back" if is_new else "untouched"
    if name in rollout.failed:
        return "failed"
    return "untouched" if where == "waiting" else where


def _is_reached(rollout: Rollout, name: str) -> bool:
    """Has the turn come to its stage, so that it may have been touched."""
    is_open = True
    for stage in rollout.stages:
        if name in stage.clusters:
            return is_open
        is_open = is_open and stage.number in rollout.applied_at
    return False


def rollout_json(rollout: Rollout, words: Mapping[str, Word]) -> dict[str, Any]:
    """What `rollout --format json` answers."""
    return {
        "schema": ROLLOUT_SCHEMA,
        "rollout": rollout.id,
        "target": rollout.target,
        "state": state_of(rollout),
        "reason": rollout.reason or None,
        "on_failure": rollout.on_failure,
        "stages": [
            {
                "stage": stage.number,
                "name": stage.name,
                "batch": stage.batch,
                "bake_seconds": stage.bake_seconds,
                "clusters": [_cluster_json(rollout, name, words.get(name)) for name in stage.clusters],
            }
            for stage in rollout.stages
        ],
    }


def _cluster_json(rollout: Rollout, name: str, word: Word | None) -> dict[str, Any]:
    return {
        "name": name,
        "standing": standing_of(rollout, name, word),
        "from": rollout.starts[name].commit,
        "version": word.commit if word and word.is_reachable and word.is_seen else None,
        "run": word.run.id if word and word.run else None,
        "reason": rollout.stuck.get(name) or rollout.failed.get(name),
    }


SENTENCES: Mapping[str, str] = {
    "succeeded": "Every cluster runs the new version and is well.",
    "stopped": "It was stopped by a failure. Clusters that had been updated keep the new version.",
    "aborted": "A person ended it. Clusters that had been updated keep the new version.",
    "rolled_back": "It failed, and every cluster runs what it ran before; each one's own audit says so.",
    "rollback_failed": "It failed, and not every cluster came back. A person is needed now.",
    "going_back": "It failed, and the clusters go back; `dual-update rollout --resume` goes on.",
    "stopping": "It failed, and what was under way comes to its end.",
    "paused": "It is paused; `dual-update rollout --resume` goes on.",
    "under_way": "It is under way; `dual-update rollout --resume` takes it up where nobody leads it.",
}


def rollout_text(rollout: Rollout, words: Mapping[str, Word]) -> str:
    """The same for a terminal."""
    state = state_of(rollout)
    lines = [f"{state}: {SENTENCES[state]}"]
    if rollout.reason:
        lines.append(f"  why: {rollout.reason}")
    for stage in rollout.stages:
        lines.append(f"  {stage.name}")
        for name in stage.clusters:
            sentence = rollout.stuck.get(name, "")
            lines.append(f"    {name}: {standing_of(rollout, name, words.get(name))} {sentence}".rstrip())
    lines.append(f"  roll-out {rollout.id} to {rollout.target[:12]}")
    return "\n".join(lines) + "\n"
