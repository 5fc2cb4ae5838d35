"""A plan is plain data: steps in order, each with its cause and its undo. It prints itself."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from dual_update.core.cluster import Observed
from dual_update.core.command import Command
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
    "run",  # a command that its owner declared
    "revamp",  # replace every container of the cluster
    "prove",  # wait until services are well and stay so
    "audit",  # read the engine again and compare with what was wanted
    "tidy",  # drop networks nobody uses any more
    "restore",  # put back files that differ from the backup
    "retag",  # point references back at the images that ran
    "return",  # bring services back to what they were
    "undo",  # take a command's work back by the command that its owner declared for it
]

PREPARING: frozenset[Op] = frozenset({"pull", "build", "keep", "backup"})
"""Steps that touch nothing that runs: failing in one of them refuses the update."""

TOUCHING: frozenset[Op] = frozenset(
    {"remove", "roll", "beside", "poke", "recreate", "create", "scale", "heal", "revamp"}
)
"""Steps that change containers of the wanted cluster."""


WAYS_BACK: Mapping[Op, str] = {
    "pull": "names of images point to what they pointed to",
    "build": "names of images point to what they pointed to",
    "keep": "nothing to undo: only names of our own are given",
    "backup": "nothing to undo: the backup stays",
    "prove": "nothing to undo: it only looks",
    "audit": "nothing to undo: it only looks",
    "tidy": "compose makes a network again for those who need it",
    "heal": "it is stopped again",
}
"""What every step of a kind has by nature. A step of another kind says its own."""


@dataclass(frozen=True)
class Step:
    """One thing to do. `services` is what it acts on, `target` how a person calls it."""

    op: Op
    target: str
    cause: str
    undo: str = ""
    services: tuple[str, ...] = ()
    is_forced: bool = False
    command: Command | None = None

    @property
    def way_back(self) -> str:
        """How it is undone, said for every step."""
        return self.undo or WAYS_BACK.get(self.op, "nothing to undo")


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


@dataclass(frozen=True)
class Evidence:
    """What a plan rests on besides the Decision and what runs.

    `images`: reference -> digest that would be pulled; `files`: path -> digest of what only this host holds;
    `hashes`: service -> config hash on this host; `host` names the engine, and keeps guesses at the content
    of files from being tried elsewhere.
    """

    images: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    host: str = ""


_PARTS = (
    "another commit, or other files in it",
    "a tag names another image in the registry than then",
    "the running containers are others than then",
    "a file that only this host holds has changed",
)
"""What the four marks at a fingerprint's end stand for."""

_WHOLE, _MARK = 32, 8
"""Lengths in hexadecimal digits: of the hash of everything, and of each mark."""


def plan_fingerprint(decision: Decision, plan: Plan, observed: Observed, evidence: Evidence) -> str:
    """Names a plan that was shown. Another commit, model, digest, file, step or container gives another one.

    It begins with a hash of everything. Four marks follow, one for each kind of thing that may have changed:
    by them `differences` can say what did.
    """
    running = sorted((c.id, c.image_id, c.config_hash, c.state) for c in observed.containers)
    steps = [
        (s.op, s.target, s.services, s.is_forced, s.command.to_json() if s.command else None)
        for s in plan.steps
    ]
    parts = [
        [decision.fingerprint],
        sorted(evidence.images.items()),
        running,
        [evidence.host, sorted(evidence.files.items())],
    ]
    whole = _hash([*parts, steps, sorted(evidence.hashes.items())])[:_WHOLE]
    return whole + "".join(_hash(part)[:_MARK] for part in parts)


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def differences(expected: str, fingerprint: str) -> tuple[str, ...]:
    """Why a plan is not the one that was shown. Nothing when that cannot be told from the two names."""
    if len(expected) != len(fingerprint):
        return ()
    starts = range(_WHOLE, len(fingerprint), _MARK)
    same = [expected[at : at + _MARK] == fingerprint[at : at + _MARK] for at in starts]
    if all(same):
        return ("the steps differ (another scope, or another way to the same end)",)
    return tuple(part for part, is_same in zip(_PARTS, same, strict=True) if not is_same) if any(same) else ()


def text(plan: Plan) -> str:
    """The plan for a terminal: a numbered line per step with its cause, and how it is undone."""
    lines = [f"Plan ({plan.strategy}):" if plan.steps else "Plan: nothing to do."]
    for number, step in enumerate(plan.steps, 1):
        lines.append(f"  {number:2}. {step.op} {step.target}: {step.cause}")
        lines.append(f"      undo: {step.way_back}")
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
