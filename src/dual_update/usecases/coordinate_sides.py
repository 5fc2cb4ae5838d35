"""Both sides of a change as they are now: nothing here writes."""

from dataclasses import dataclass, field, replace

from dual_update.core.coordination import Child, Parent, Proposal
from dual_update.usecases import coordinate_texts as texts
from dual_update.usecases.announce import LABEL
from dual_update.usecases.approval import is_approved
from dual_update.usecases.coordinate_texts import Change, Link
from dual_update.usecases.github_ports import GitHub, Pull
from dual_update.usecases.submodules import Submodule, is_moot


@dataclass
class Seen:
    """One submodule while it is being looked after.

    `is_owner`: of several changes that want the same pointer, one speaks for it in the submodule: the
    deploy branch, else the pull request that came first.
    """

    submodule: Submodule
    child: Child
    pull: Pull | None
    is_moving: bool = False
    is_owner: bool = False
    links: Link = field(default=Link("", "", ""))


def parent_side(parent: GitHub, change: Change, tip: str | None) -> tuple[Change, Parent, Pull | None]:
    """The change as it is now: a pull request that is merged is looked at as the deploy branch is."""
    pull = parent.pull(change.pull) if change.pull is not None else None
    if pull is not None and pull.is_open:
        now = replace(change, commit=pull.head_commit)
        return now, Parent(parent.repository, now.commit, proposal_of(parent, pull)), pull
    merge = pull.merge_commit if pull is not None and pull.is_merged else None
    if tip is not None and (pull is None or (merge is not None and is_within(parent, merge, tip))):
        brought = [one for one in parent.pulls_of(tip) if one.is_merged and one.base == change.deploy_branch]
        pull = brought[0] if brought else None
        now = replace(change, commit=tip, pull=pull.number if pull else None)
        proposal = Proposal(pull.number, False, True, merge_commit=tip) if pull else None
        return now, Parent(parent.repository, tip, proposal, is_on_branch=True), pull
    proposal = proposal_of(parent, pull) if pull else None
    return change, Parent(parent.repository, change.commit, proposal), pull


def speaks(parent: GitHub, change: Change) -> bool:
    """Of several pull requests with the same newest commit, the oldest open one sets its status."""
    pulls = parent.pulls_of(change.commit)
    same = [one.number for one in pulls if one.is_open and one.head_commit == change.commit]
    return not same or min(same) == change.pull


def owns(parent: GitHub, change: Change, submodule: Submodule, pointer: str) -> bool:
    for issue in submodule.github.find_issues(texts.marker(parent, submodule.path, pointer), LABEL.name):
        origin = texts.origin_of(issue.body)
        if origin is None or origin == change.pull:
            continue
        other = parent.pull(origin)
        if other.is_open and parent.pointer(other.head_commit, submodule.path) == pointer:
            return False
    return True


def look(parent: GitHub, commit: str, submodule: Submodule) -> Seen | None:
    """None where the commit has no such submodule."""
    pointer = parent.pointer(commit, submodule.path)
    if pointer is None:
        return None
    github, branch = submodule.github, submodule.tracked()
    tip = github.branch_commit(branch)
    does_exist = github.commit(pointer) is not None
    is_on_branch = does_exist and tip is not None and is_within(github, pointer, tip)
    pull = _bringing(parent, submodule, pointer, branch) if does_exist else None
    proposal = proposal_of(github, pull) if pull and not is_on_branch else None
    if pull and is_on_branch:
        proposal = Proposal(pull.number, pull.is_open, pull.is_merged, is_approved=True)
    merge = pull.merge_commit if pull else None
    is_merge_there = (
        not is_on_branch and merge is not None and tip is not None and (is_within(github, merge, tip))
    )
    child = Child(
        github.repository,
        submodule.path,
        pointer,
        branch,
        does_exist=does_exist,
        is_on_branch=is_on_branch,
        pull=replace(proposal, merge_commit=merge) if proposal else None,
        is_merge_on_branch=is_merge_there,
    )
    return Seen(submodule, child, pull)


def _bringing(parent: GitHub, submodule: Submodule, pointer: str, branch: str) -> Pull | None:
    """The pull request that brings this very commit to the branch: an open one, else a merged one, else one
    that was closed. One that we closed as moot does not speak for a person."""
    github = submodule.github
    listed = [one for one in github.pulls_of(pointer) if one.base == branch and one.head_commit == pointer]
    listed += github.find_pulls(texts.place(parent, submodule.path), texts.branch(pointer))
    known = {one.number: one for one in listed if one.base == branch and one.head_commit == pointer}
    ranked = sorted(known.values(), key=lambda one: (one.is_open, one.is_merged, one.number))
    fit = [one for one in ranked if one.is_open or one.is_merged or not is_moot(one)]
    return fit[-1] if fit else None


def proposal_of(github: GitHub, pull: Pull) -> Proposal:
    has_approval = False
    if pull.is_open:
        needed = max(1, github.rules(pull.base).approvals)
        has_approval = is_approved(pull, github.reviews(pull.number), needed, at_head=True)
    return Proposal(pull.number, pull.is_open, pull.is_merged, has_approval, pull.merge_commit)


def is_within(github: GitHub, commit: str, tip: str) -> bool:
    """Is a commit the tip or among what it comes from?"""
    if commit == tip:
        return True
    compared = github.compare(tip, commit)
    return compared is not None and compared.relation in {"behind", "identical"}
