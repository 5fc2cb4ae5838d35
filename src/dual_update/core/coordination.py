"""Two repositories, one change: what a parent's commit and the submodule commit it points to still need.

A pure function of what is seen now, so that any order of merge, close, reopen, force push and revert leads to
the same answer: nothing is remembered from one look to the next. The one rule that keeps a deploy whole: a
parent's commit is deployed only while its pointer is on the submodule's branch.

    proposed   the pointer is not on the branch; a pull request brings it there
    landed     it is on the branch as it is: nothing is held back
    rewritten  its pull request was merged as another commit (squash, rebase): the pointer has to follow
    refused    its pull request was closed without a merge
    lost       it was merged and the branch no longer has it (a force push)
    unknown    the submodule's repository has no such commit
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Phase = Literal["proposed", "landed", "rewritten", "refused", "lost", "unknown"]
State = Literal["success", "pending", "failure"]

CONTEXT = "dual-update/coordinated"
"""The commit status on both heads; green only when both are approved."""


@dataclass(frozen=True)
class Proposal:
    """A pull request as far as it matters here. `is_approved`: enough people agreed to its newest commit."""

    number: int
    is_open: bool
    is_merged: bool
    is_approved: bool = False
    merge_commit: str | None = None

    @property
    def has_agreement(self) -> bool:
        """A merge is an agreement, too: whoever merged could have asked for more."""
        return self.is_merged or (self.is_open and self.is_approved)


@dataclass(frozen=True)
class Child:
    """The submodule's side. `pointer` is the commit that the parent names.

    `is_merge_on_branch`: the commit that its pull request became is on the branch still.
    """

    repository: str
    path: str
    pointer: str
    branch: str
    does_exist: bool
    is_on_branch: bool
    pull: Proposal | None = None
    is_merge_on_branch: bool = False


@dataclass(frozen=True)
class Parent:
    """The parent's side: a pull request, or a commit that is on the deploy branch already."""

    repository: str
    commit: str
    pull: Proposal | None
    is_on_branch: bool = False

    @property
    def has_agreement(self) -> bool:
        return self.is_on_branch or (self.pull is not None and self.pull.has_agreement)

    @property
    def is_given_up(self) -> bool:
        """Closed without a merge, or merged and taken off the branch by force."""
        return not self.is_on_branch and self.pull is not None and not self.pull.is_open


@dataclass(frozen=True)
class Verdict:
    """What one submodule still needs. `hold` is the sentence for which the deploy waits, empty if none."""

    phase: Phase
    hold: str = ""
    needs_pull: bool = False
    move_to: str | None = None


def phase_of(child: Child) -> Phase:
    """Where the pointer stands; what the branch holds counts before what a pull request says."""
    if child.is_on_branch:
        return "landed"
    if not child.does_exist:
        return "unknown"
    if child.pull is None or child.pull.is_open:
        return "proposed"
    if not child.pull.is_merged:
        return "refused"
    return "rewritten" if child.is_merge_on_branch else "lost"


def judge(child: Child, *, is_given_up: bool = False) -> Verdict:
    """The phase, and what follows from it. A change that was given up needs nothing more."""
    phase = phase_of(child)
    at = f"{child.repository}@{child.pointer[:12]}"
    number = f"{child.repository}#{child.pull.number}" if child.pull else "its pull request"
    holds = {
        "landed": "",
        "proposed": f"{child.path} points at {at}, which is not on {child.branch} yet: merge {number}.",
        "rewritten": f"{number} was merged as another commit: move the pointer of {child.path} to it.",
        "refused": f"{number} was closed without a merge: reopen it, or take {child.path} back.",
        "lost": f"{child.branch} of {child.repository} no longer has {at}: move {child.path} to what it has.",
        "unknown": f"{child.repository} has no commit {child.pointer[:12]} ({child.path}): push it there.",
    }
    is_wanted = not is_given_up
    move = child.pull.merge_commit if phase == "rewritten" and child.pull and is_wanted else None
    return Verdict(
        phase=phase,
        hold=holds[phase],
        needs_pull=is_wanted and phase == "proposed" and child.pull is None,
        move_to=move,
    )


def status(parent: Parent, children: Sequence[Child]) -> tuple[State, str]:
    """The commit status of the parent's head and of each submodule's: one state, one sentence for all."""
    if parent.is_given_up:
        return "failure", f"The change in {parent.repository} was closed; nothing waits for it."
    for child in children:
        verdict = judge(child)
        if verdict.phase in {"refused", "lost", "unknown"}:
            return "failure", verdict.hold
        if verdict.phase == "rewritten":
            return "pending", verdict.hold
    missing = [
        f"{child.repository}#{child.pull.number}" if child.pull else child.repository
        for child in children
        if not child.is_on_branch and not (child.pull and child.pull.has_agreement)
    ]
    if not parent.has_agreement:
        number = f"#{parent.pull.number}" if parent.pull else f"@{parent.commit[:12]}"
        missing.append(f"{parent.repository}{number}")
    if missing:
        return "pending", f"Waiting for approval: {', '.join(missing)}."
    return "success", "All sides are approved."
