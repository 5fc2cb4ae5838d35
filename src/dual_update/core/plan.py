"""A plan is plain data: steps in order, each with its cause and its undo. It prints itself."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from dual_update.core.cluster import Observed
from dual_update.core.decision import Decision

Op = Literal[
    "pull",  # fetch images while the old cluster runs
    "build",  # build images while the old cluster runs
    "keep",  # give the running images names of our own
    "backup",  # write the very files and a resolved copy beside them
    "checkout",  # move the checkout on the host
    "retire",  # stop the cluster's old project (its name changed)
    "remove",  # stop and remove a service's containers
    "roll",  # replace one service's containers by ones of the new image
    "beside",  # the same, the new one healthy before the old one stops
    "poke",  # let Watchtower replace a service's containers
    "recreate",  # replace the containers of several services at once
    "create",  # start a new service
    "scale",  # more or fewer containers, those that run stay
    "heal",  # start what should run
    "revamp",  # replace every container of the cluster
    "prove",  # wait until services are well and stay so
    "audit",  # read the engine again and compare with what was wanted
    "tidy",  # drop networks nobody uses any more
    "restore",  # put back files that differ from the backup
    "retag",  # point references back at the images that ran
    "return",  # bring services back to what they were
]

PREPARING: frozenset[Op] = frozenset({"pull", "build", "keep", "backup"})
"""Steps that touch nothing that runs: failing in one of them refuses the update."""

TOUCHING: frozenset[Op] = frozenset(
    {"remove", "roll", "beside", "poke", "recreate", "create", "scale", "heal", "revamp"}
)
"""Steps that change containers of the wanted cluster."""


@dataclass(frozen=True)
class Step:
    """One thing to do. `services` is what it acts on, `target` how a person calls it."""

    op: Op
    target: str
    cause: str
    undo: str = ""
    services: tuple[str, ...] = ()
    is_forced: bool = False


@dataclass(frozen=True)
class Plan:
    """Everything a run will do, in order. Printing it is the dry run.

    `outage_seconds` is an estimate per service of how long it will not answer; 0 where it is not touched.
    """

    strategy: str
    steps: tuple[Step, ...] = ()
    outage_seconds: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def changes_nothing(self) -> bool:
        """No step touches a container."""
        return not any(step.op in TOUCHING or step.op == "retire" for step in self.steps)


def plan_fingerprint(decision: Decision, plan: Plan, observed: Observed, digests: Mapping[str, str]) -> str:
    """Names a plan that was shown: another commit, model, digest or running container gives another one."""
    running = sorted((c.id, c.image_id, c.config_hash, c.state) for c in observed.containers)
    steps = [(s.op, s.target, s.services, s.is_forced) for s in plan.steps]
    text = json.dumps([decision.fingerprint, steps, running, sorted(digests.items())])
    return hashlib.sha256(text.encode()).hexdigest()


def text(plan: Plan) -> str:
    """The plan for a terminal: a numbered line per step with its cause, and how it is undone."""
    if not plan.steps:
        return "Plan: nothing to do.\n"
    lines = [f"Plan ({plan.strategy}):"]
    for number, step in enumerate(plan.steps, 1):
        lines.append(f"  {number:2}. {step.op} {step.target}: {step.cause}")
        if step.undo:
            lines.append(f"      undo: {step.undo}")
    touched = {name: seconds for name, seconds in plan.outage_seconds.items() if seconds > 0}
    if touched:
        lines.append("  Expected outage (an estimate):")
        lines += [f"    {name}: about {seconds:.0f} s" for name, seconds in sorted(touched.items())]
    lines += [f"  note: {note}" for note in plan.notes]
    return "\n".join(lines) + "\n"


def listed(names: Iterable[str]) -> str:
    """Names for a sentence: `a, b and c`."""
    ordered = list(names)
    if len(ordered) < 2:
        return "".join(ordered)
    return f"{', '.join(ordered[:-1])} and {ordered[-1]}"
