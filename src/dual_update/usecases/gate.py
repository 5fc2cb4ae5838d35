"""What happened, and what may follow from it: which commits an event compares, and what must wait.

An event is told once as an `Occasion`, whoever told it. `usecases/approval.py` answers whether a Decision may
be deployed; here is what it cannot know: what the event means, and the holds that come of the policy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dual_update.core.config import Config
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
    stage: int = 0
    path: str = ""
    deploy_branch: str = "main"
    judged_files: frozenset[str] = frozenset()
    """The files that the Decision was made from, on both sides."""

    commits: tuple[str, ...] = ()
    """What came to the deploy branch since the base, newest first; the newest few."""

    def entry(self) -> dict[str, Any]:
        """One entry of the deploy job's matrix."""
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
            "fingerprint": decision.fingerprint,
            "scope": self.scope,
            "stage": self.stage,
            "path": self.path,
            "deploy_branch": self.deploy_branch,
        }


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


def matrix(judged: Sequence[Judged], only: str = "") -> list[dict[str, Any]]:
    """What the deploy job goes through, earlier stages first: only what may be deployed."""
    may = [one for one in judged if one.approval.deploy != "no" and only in {"", one.decision.cluster}]
    return [one.entry() for one in sorted(may, key=lambda one: one.stage)]


class NoGitHub:
    """A History for runs without a token: every question is left to a person."""

    repository = ""

    def __getattr__(self, name: str) -> Any:
        def ask(*_: object, **__: object) -> Any:
            raise WorldError("there is no token to ask GitHub with.", hint="Give the input github-token.")

        return ask
