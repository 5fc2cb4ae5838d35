"""What happened, and what may follow from it: which commits an event compares, and what must wait.

An event is told once as an `Occasion`, whoever told it. `usecases/approval.py` answers whether a Decision may
be deployed; here is what it cannot know: what the event means, and the holds that come of the policy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from dual_update.core.config import Config, StageEntry
from dual_update.core.decision import Decision
from dual_update.core.errors import WorldError
from dual_update.usecases.approval import Approval

Kind = Literal[
    "push", "pull_request", "manual", "schedule", "built", "submodule", "deleted", "ended", "other"
]

DEPLOYING: frozenset[Kind] = frozenset({"push", "manual", "schedule", "built", "submodule"})
"""Occasions that may end in a deploy."""


@dataclass(frozen=True)
class Occasion:
    """An event. `head` is the commit that it is about, `before` what the branch was until then.

    `branch` is where `head` lies; `into` and `pull` belong to a pull request, `trusted` is what it
    wants to change. `has_person`: someone asked for a deploy by hand. `only_cluster`: for this cluster alone.
    """

    kind: Kind
    head: str = ""
    branch: str = ""
    before: str | None = None
    default_branch: str = ""
    pull: int | None = None
    into: str = ""
    trusted: str = ""
    is_fork: bool = False
    is_merged: bool = False
    has_person: bool = False
    only_cluster: str = ""

    @property
    def may_write(self) -> bool:
        """May this be talked about on GitHub: a fork's pull request has no rights there."""
        return not self.is_fork and self.kind not in {"deleted", "ended"}


@dataclass(frozen=True)
class Judged:
    """One cluster's Decision and what may be done with it."""

    decision: Decision
    approval: Approval
    runner: tuple[str, ...] = ("self-hosted", "dual-update")
    environment: str = "production"
    scope: str = "cluster"
    stage: StageEntry = field(default_factory=lambda: StageEntry(0))
    path: str = ""
    deploy_branch: str = "main"
    mode: str = ""
    runs: str = ""
    """The commit that GitHub knows to run there; empty where none is known."""

    runs_since: datetime | None = None
    is_older: bool = False
    """What runs contains the wanted commit already."""

    is_elsewhere: bool = False
    """Another than the workflow's runner leads this cluster."""

    judged_files: frozenset[str] = frozenset()
    """The files that the Decision was made from, on both sides."""

    commits: tuple[str, ...] = ()
    """What came to the deploy branch since the base, newest first; the newest few."""

    @property
    def is_there(self) -> bool:
        """Has this cluster got what is wanted, or is it past it."""
        return not self.decision.needs_update or (self.is_older and self.runs == self.decision.base)

    def entry(self, *, has_next: bool = False) -> dict[str, Any]:
        """One entry of the deploy job's matrix. `has_next`: a later stage waits for this one."""
        decision = self.decision
        return {
            "name": decision.cluster,
            "runner": list(self.runner),
            "environment": self.environment,
            "base": decision.base or "",
            "head": decision.head,
            "update_type": decision.update_type,
            "strategy": decision.strategy,
            "deploy": self.approval.deploy,
            "approval": self.approval.by,
            "fingerprint": decision.fingerprint,
            "scope": self.scope,
            "mode": self.mode,
            "runs": self.runs,
            "older": self.is_older,
            "stage": self.stage.stage,
            "next": has_next,
            "bake_seconds": self.stage.bake_seconds,
            "path": self.path,
            "deploy_branch": self.deploy_branch,
        }


def left_before(status: str, kind: Kind) -> Approval | None:
    """The answer where this very commit was at the cluster before and is not now; None where it was not.

    `status` is the newest word about its deployment. What failed is not tried again by itself, and what was
    there and was left (somebody went back) does not return by itself. A new build of its image may be tried.
    """
    if status == "failure" and kind != "built":
        return Approval(
            "no",
            "This commit failed here before. It is tried again by Run workflow, approve.",
            has_failed=True,
        )
    if status in {"success", "inactive"}:
        return Approval("no", "This commit ran here and was left. It returns by Run workflow, approve.")
    return None


def holds(
    decision: Decision, config: Config, mode: str, *, is_older: bool, has_person: bool
) -> tuple[str, ...]:
    """Sentences for which a deploy must wait, whoever agrees."""
    found = []
    if is_older and not has_person:
        found.append(
            f"Commit {decision.head[:12]} is older than what runs ({str(decision.base)[:12]});"
            " going back is done by Run workflow, command rollback."
        )
    if (mode or config.mode) == "watchtower_only" and decision.strategy == "revamp":
        found.append("The mode is watchtower_only, and this update is more than images.")
    if config.driver == "service":
        found.append(
            "The policy names the service as driver: the update-orchestrator on the host applies it."
        )
    return tuple(found)


WEIGHTS = ("none", "image_only", "structural", "mixed")
ANSWERS = ("no", "auto", "approve")


def heaviest(judged: Sequence[Judged]) -> tuple[str, str]:
    """Update type and strategy for all clusters together."""
    if not judged:
        return "none", "none"
    worst = max(judged, key=lambda one: WEIGHTS.index(one.decision.update_type))
    return worst.decision.update_type, worst.decision.strategy


def answer(entries: Sequence[Mapping[str, Any]]) -> str:
    """One answer for a whole matrix: one cluster that asks makes all wait."""
    return max((str(one["deploy"]) for one in entries), key=ANSWERS.index, default="no")


def staged(judged: Sequence[Judged], now: datetime, asked_for: str = "") -> tuple[Judged, ...]:
    """Hold every cluster back until those of all earlier stages are on the commit and have baked.

    The one that a person `asked_for` by name is not held. Clusters that another leads are nobody's barrier:
    GitHub does not know what they run.
    """
    found = []
    for one in judged:
        earlier = [
            other for other in judged if other.stage.stage < one.stage.stage and not other.is_elsewhere
        ]
        why = "" if one.decision.cluster == asked_for else barrier(earlier, now)
        is_held = why and one.approval.deploy != "no"
        found.append(replace(one, approval=Approval("no", why)) if is_held else one)
    return tuple(found)


def barrier(earlier: Sequence[Judged], now: datetime) -> str:
    """Why the next stage must wait; nothing when it need not."""
    behind = [one for one in earlier if not one.is_there]
    if behind:
        first = min(behind, key=lambda one: one.stage.stage)
        return f"{_stage(first)} comes first, and {first.decision.cluster} is not on this commit yet."
    for one in earlier:
        until = (one.runs_since or datetime.min.replace(tzinfo=UTC)) + timedelta(
            seconds=one.stage.bake_seconds
        )
        if now < until:
            return f"{_stage(one)} is watched until {until:%FT%H:%M:%SZ}; the first run after that goes on."
    return ""


def _stage(one: Judged) -> str:
    return f"Stage {one.stage.name or one.stage.stage}"


def matrix(judged: Sequence[Judged], only: str = "") -> list[dict[str, Any]]:
    """What the deploy job goes through, earlier stages first: only what may be deployed.

    `batch`: how many of them may be under way at once. With 1 the first failure stops the rest. Where
    clusters of several stages are in it (what changed is in the registries alone, so nobody knows who needs
    it), they go one after another.
    """
    may = [one for one in judged if one.approval.deploy != "no" and only in {"", one.decision.cluster}]
    waiting = [one.stage.stage for one in judged if not (one.is_there or one.is_elsewhere)]
    last = max(waiting, default=0) if not only else 0
    has_several = len({one.stage.stage for one in may}) > 1
    return [
        {**one.entry(has_next=one.stage.stage < last), "batch": 1 if has_several else one.stage.batch}
        for one in sorted(may, key=lambda one: one.stage.stage)
    ]


class NoGitHub:
    """A History for runs without a token: every question is left to a person."""

    repository = ""

    def __getattr__(self, name: str) -> Any:
        def ask(*_: object, **__: object) -> Any:
            raise WorldError("there is no token to ask GitHub with.", hint="Give the input github-token.")

        return ask
