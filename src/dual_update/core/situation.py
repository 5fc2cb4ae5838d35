"""What a strategy may know, and where that is not as the files say: services that are missing, that nobody
wants, that a person started or altered by hand."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from dual_update.core.cluster import Observed
from dual_update.core.decision import Decision
from dual_update.core.model import Rendered, replicas
from dual_update.core.plan import listed
from dual_update.core.running import jobs, start_order

Scope = Literal["cluster", "changed"]


@dataclass(frozen=True)
class Situation:
    """All that a strategy may know. `hashes` are the config hashes `up` would write for the wanted model;
    `why_rolled`: service -> why Watchtower is not to replace it, where its image moved in the registry."""

    decision: Decision
    before: Rendered
    after: Rendered
    observed: Observed
    current_commit: str | None
    scope: Scope = "cluster"
    hashes: Mapping[str, str] = field(default_factory=dict)
    old_project: Observed | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    why_rolled: Mapping[str, str] = field(default_factory=dict)

    @property
    def deployed_commit(self) -> str | None:
        """What the running cluster was made from; the checkout may stand elsewhere already."""
        return self.decision.base or self.current_commit

    @property
    def came_from(self) -> str | None:
        """The commit a report names as the one before; a first deployment comes from nothing."""
        return None if self.is_first else self.deployed_commit

    @property
    def is_first(self) -> bool:
        """Nothing of this project exists yet."""
        return self.observed.is_empty and self.old_project is None


def missing(situation: Situation) -> list[str]:
    """Services that should run and have too few running containers (jobs that ended well are not missing)."""
    found = []
    may_end = jobs(situation.after)
    for service in start_order(situation.after):
        model = situation.after.services[service]
        well = [
            c for c in situation.observed.of(service)
            if c.is_running or (c.state == "exited" and c.exit_code == 0 and service in may_end)
        ]  # fmt: skip
        if len(well) < replicas(model):
            found.append(service)
    return found


def unwanted(situation: Situation) -> list[str]:
    """Services whose containers have to go: no longer in the files, or behind a profile now."""
    alone = left_alone(situation)
    return [s for s in situation.observed.services if s not in situation.after.active and s not in alone]


def left_alone(situation: Situation) -> frozenset[str]:
    """Services that run though their profile was off before as well: a person started them, and compose
    neither updates nor removes them. Not those that hold on to a network that has to go."""
    before, after = situation.before, situation.after
    changed = (one.change for one in situation.decision.findings if one.impact != "none")
    going = {one.name for one in changed if one.scope == "network"}

    def holds(name: str) -> bool:
        sides = (side.services.get(name, {}).get("networks") or () for side in (before, after))
        return any(going.intersection(one) for one in sides)

    return frozenset(
        name
        for name in situation.observed.services
        if name in after.services
        and not after.is_active(name)
        and not holds(name)
        and not (name in before.services and before.is_active(name))
    )


def altered(situation: Situation) -> dict[str, str]:
    """Services that someone paused, or gave more containers than either side wants: sentences."""
    found = {}
    for service in situation.after.active:
        sides = [
            one.services[service] for one in (situation.before, situation.after) if service in one.services
        ]
        containers = situation.observed.of(service)
        paused = [one.name for one in containers if one.state == "paused"]
        most = max(map(replicas, sides))
        if paused:
            found[service] = f"{service}: someone paused {listed(paused)}."
        elif len(containers) > most:
            found[service] = f"{service}: {len(containers)} containers are there, and {most} deployed."
    return found
