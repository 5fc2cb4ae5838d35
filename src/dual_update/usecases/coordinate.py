"""Two repositories, one change: issue, pull request and status in the submodule follow the parent.

Level-triggered: each call looks at both sides as they are now and does what is missing (core/coordination.py
decides). So it may be called late, twice or in any order, and be killed between any two writes. What is ours
in the submodule is found by markers: parent, path and pointer in the first line, where it comes from in the
second.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from dual_update.core.coordination import CONTEXT, Child, Parent, Proposal, Verdict, judge, status
from dual_update.core.report import escape
from dual_update.usecases.announce import LABEL, MOOT, in_marker, say_once
from dual_update.usecases.approval import is_approved
from dual_update.usecases.github_ports import GitHub, Issue, Pull
from dual_update.usecases.submodules import (
    OURS,
    Move,
    Submodule,
    is_moot,
    offer_move,
    withdraw,
    withdraw_move,
)

KIND = "pointer"


@dataclass(frozen=True)
class Change:
    """What is looked at: a pull request of the parent, or the newest commit of its deploy branch.

    `title` says what changes; `issue` is the parent's own. `waiting` are paths of submodules whose new code
    is not deployed yet.
    """

    commit: str
    deploy_branch: str
    pull: int | None = None
    issue: int | None = None
    title: str = ""
    waiting: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Link:
    """What stands in one submodule's repository for this change."""

    path: str
    repository: str
    phase: str
    issue: Issue | None = None
    pull: Pull | None = None
    move: Pull | None = None


@dataclass(frozen=True)
class Coordinated:
    """`holds` are the sentences for which the deploy waits. `links` are for the parent's own texts."""

    holds: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()
    state: str = ""
    words: str = ""


@dataclass
class _Seen:
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


def holds(parent: GitHub, commit: str, submodules: Sequence[Submodule]) -> tuple[str, ...]:
    """Why this commit may not be deployed yet; empty when every pointer is on its submodule's branch.

    Only looks, and is asked again right before a deploy: what was true at the merge need not be any more.
    """
    found = []
    for one in submodules:
        seen = _look(parent, commit, one)
        hold = judge(seen.child).hold if seen else ""
        if hold:
            found.append(hold)
    return tuple(found)


def coordinate(parent: GitHub, change: Change, submodules: Sequence[Submodule]) -> Coordinated:
    """Bring everything in line. Raises WorldError where GitHub does not do its part; call again then."""
    tip = parent.branch_commit(change.deploy_branch)
    change, side, proposed = _parent_side(parent, change, tip)
    several = []
    for one in submodules:
        seen = _look(parent, change.commit, one)
        if seen is None:
            _tidy(parent, change, side, one)
            continue
        at_tip = parent.pointer(tip, one.path) if tip else None
        seen.is_moving = not side.is_on_branch and at_tip != seen.child.pointer
        seen.is_owner = side.is_on_branch or (
            at_tip != seen.child.pointer and _owns(parent, change, one, seen.child.pointer)
        )
        _propose(parent, change, side, proposed, seen)
        several.append(seen)
    for seen in several:
        _tidy(parent, change, side, seen.submodule, seen.child)
    moved = [one for one in several if one.is_moving or not one.child.is_on_branch or one.pull is not None]
    state, words = status(side, [one.child for one in moved])
    is_told = bool(moved) or parent.status(change.commit, CONTEXT) != ("", "")
    if is_told and (side.is_on_branch or _speaks(parent, change)):
        _set_status(parent, change.commit, state, words)
    for seen in moved:
        if seen.is_owner and seen.pull is not None:
            _set_status(seen.submodule.github, seen.pull.head_commit, state, words)
    for seen in several:
        _converse(parent, change, side, seen)
    links = [one.links for one in several if one in moved]
    for number in (change.pull, change.issue):
        if number is not None and links:
            _link_back(parent, number, links)
    sentences = tuple(hold for one in several if (hold := judge(one.child).hold))
    return Coordinated(sentences, tuple(one.links for one in several), state, words if moved else "")


def standing(parent: GitHub, deploy_branch: str, submodules: Sequence[Submodule]) -> Sequence[Change]:
    """What may need a look when something happened in a submodule: the deploy branch, and every pull
    request of the parent that an open issue of ours in a submodule comes from."""
    tip = parent.branch_commit(deploy_branch)
    changes = [Change(tip, deploy_branch)] if tip else []
    numbers: dict[int, None] = {}
    for one in submodules:
        for issue in one.github.find_issues(_place(parent, one.path), LABEL.name):
            number = _origin_of(issue.body)
            if issue.is_open and number:
                numbers[number] = None
    changes += [Change(parent.pull(one).head_commit, deploy_branch, one) for one in numbers]
    return changes


def settle(parent: GitHub, commit: str, submodules: Sequence[Submodule], word: str) -> None:
    """The commit is deployed: say so on the issue of each submodule's pointer, and close it as completed."""
    for one in submodules:
        pointer = parent.pointer(commit, one.path)
        if pointer is None:
            continue
        for issue in one.github.find_issues(_marker(parent, one.path, pointer), LABEL.name):
            if issue.is_open:
                say_once(one.github, issue.number, "done", word)
                one.github.edit_issue(issue.number, is_open=False, reason="completed")


# Looking


def _parent_side(parent: GitHub, change: Change, tip: str | None) -> tuple[Change, Parent, Pull | None]:
    """The change as it is now: a pull request that is merged is looked at as the deploy branch is."""
    pull = parent.pull(change.pull) if change.pull is not None else None
    if pull is not None and pull.is_open:
        now = replace(change, commit=pull.head_commit)
        return now, Parent(parent.repository, now.commit, _proposal(parent, pull)), pull
    merge = pull.merge_commit if pull is not None and pull.is_merged else None
    if tip is not None and (pull is None or (merge is not None and _is_within(parent, merge, tip))):
        brought = [one for one in parent.pulls_of(tip) if one.is_merged and one.base == change.deploy_branch]
        pull = brought[0] if brought else None
        now = replace(change, commit=tip, pull=pull.number if pull else None)
        proposal = Proposal(pull.number, False, True, merge_commit=tip) if pull else None
        return now, Parent(parent.repository, tip, proposal, is_on_branch=True), pull
    proposal = _proposal(parent, pull) if pull else None
    return change, Parent(parent.repository, change.commit, proposal), pull


def _speaks(parent: GitHub, change: Change) -> bool:
    """Of several pull requests with the same newest commit, the oldest open one sets its status."""
    pulls = parent.pulls_of(change.commit)
    same = [one.number for one in pulls if one.is_open and one.head_commit == change.commit]
    return not same or min(same) == change.pull


def _owns(parent: GitHub, change: Change, submodule: Submodule, pointer: str) -> bool:
    for issue in submodule.github.find_issues(_marker(parent, submodule.path, pointer), LABEL.name):
        origin = _origin_of(issue.body)
        if origin is None or origin == change.pull:
            continue
        other = parent.pull(origin)
        if other.is_open and parent.pointer(other.head_commit, submodule.path) == pointer:
            return False
    return True


def _look(parent: GitHub, commit: str, submodule: Submodule) -> _Seen | None:
    """None where the commit has no such submodule."""
    pointer = parent.pointer(commit, submodule.path)
    if pointer is None:
        return None
    github, branch = submodule.github, submodule.tracked()
    tip = github.branch_commit(branch)
    does_exist = github.commit(pointer) is not None
    is_on_branch = does_exist and tip is not None and _is_within(github, pointer, tip)
    pull = _bringing(parent, submodule, pointer, branch) if does_exist else None
    proposal = _proposal(github, pull) if pull and not is_on_branch else None
    if pull and is_on_branch:
        proposal = Proposal(pull.number, pull.is_open, pull.is_merged, is_approved=True)
    merge = pull.merge_commit if pull else None
    is_merge_there = (
        not is_on_branch and merge is not None and tip is not None and (_is_within(github, merge, tip))
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
    return _Seen(submodule, child, pull)


def _bringing(parent: GitHub, submodule: Submodule, pointer: str, branch: str) -> Pull | None:
    """The pull request that brings this very commit to the branch: an open one, else a merged one, else one
    that was closed. One that we closed as moot does not speak for a person."""
    github = submodule.github
    listed = [one for one in github.pulls_of(pointer) if one.base == branch and one.head_commit == pointer]
    listed += github.find_pulls(_place(parent, submodule.path), _branch(pointer))
    known = {one.number: one for one in listed if one.base == branch and one.head_commit == pointer}
    ranked = sorted(known.values(), key=lambda one: (one.is_open, one.is_merged, one.number))
    fit = [one for one in ranked if one.is_open or one.is_merged or not is_moot(one)]
    return fit[-1] if fit else None


def _proposal(github: GitHub, pull: Pull) -> Proposal:
    has_approval = False
    if pull.is_open:
        needed = max(1, github.rules(pull.base).approvals)
        has_approval = is_approved(pull, github.reviews(pull.number), needed, at_head=True)
    return Proposal(pull.number, pull.is_open, pull.is_merged, has_approval, pull.merge_commit)


def _is_within(github: GitHub, commit: str, tip: str) -> bool:
    """Is a commit the tip or among what it comes from?"""
    if commit == tip:
        return True
    compared = github.compare(tip, commit)
    return compared is not None and compared.relation in {"behind", "identical"}


# Doing


def _propose(parent: GitHub, change: Change, side: Parent, proposed: Pull | None, seen: _Seen) -> None:
    """A pull request in the submodule where the pointer has none; one in the parent where it must follow."""
    verdict = judge(seen.child, is_given_up=side.is_given_up)
    if verdict.needs_pull:
        seen.pull = _open_in_submodule(parent, change, side, seen)
        proposal = _proposal(seen.submodule.github, seen.pull)
        seen.child = replace(seen.child, pull=proposal)
    move = _offer_pointer(parent, change, side, proposed, seen, verdict)
    seen.links = Link(seen.child.path, seen.child.repository, verdict.phase, None, seen.pull, move)


def _open_in_submodule(parent: GitHub, change: Change, side: Parent, seen: _Seen) -> Pull:
    """On a branch of ours that ends at the pointer; one that we closed as moot is opened again."""
    github, child = seen.submodule.github, seen.child
    marker = _marker(parent, child.path, child.pointer)
    text = _wording(parent, change, side, child)
    head = _branch(child.pointer)
    moot = [one for one in github.find_pulls(marker, head) if not one.is_open and one.base == child.branch]
    if github.branch_commit(head) != child.pointer:
        github.set_branch(head, child.pointer)
    for one in moot:
        if is_moot(one) and not one.is_merged and one.head_commit == child.pointer:
            return github.edit_pull(one.number, body=f"{marker}\n{text}", is_open=True)
    return github.open_pull(marker, _title(parent, change), text, head, child.branch)


def _offer_pointer(
    parent: GitHub, change: Change, side: Parent, pull: Pull | None, seen: _Seen, verdict: Verdict
) -> Pull | None:
    """After a squash or rebase merge: into the parent's pull request while that is open, else into the
    deploy branch."""
    child = seen.child
    proposed = pull.head if pull is not None else None
    into = pull.head if pull is not None and pull.is_open else change.deploy_branch
    stale = set()
    if verdict.move_to is not None or child.is_on_branch or side.is_given_up:
        stale |= {proposed} - {None, into if verdict.move_to else None}
    is_ended = pull is not None and not pull.is_open
    if is_ended and any(one.is_open for one in parent.find_pulls("", proposed or "")):
        stale.discard(proposed)  # another pull request goes on from the same branch
    if child.is_on_branch and side.is_on_branch:
        stale.add(change.deploy_branch)
    for place in stale:
        if place is not None:
            there = Move(KIND, child.path, child.pointer, place, child.repository, "")
            withdraw_move(parent, there, "the pointer need not follow there any more.")
    if verdict.move_to is None:
        return None
    number = f"{child.repository}#{child.pull.number}" if child.pull else child.repository
    why = (
        f"{number} was merged as another commit than {child.pointer[:12]}, to which this repository still"
        " points. Until the pointer follows, nothing is deployed."
    )
    return offer_move(parent, Move(KIND, child.path, verdict.move_to, into, child.repository, why))


def _set_status(github: GitHub, commit: str, state: str, words: str) -> None:
    words = words if len(words) <= 140 else f"{words[:139]}…"
    if github.status(commit, CONTEXT) != (state, words):
        github.set_status(commit, CONTEXT, state, words)  # type: ignore[arg-type]


def _converse(parent: GitHub, change: Change, side: Parent, seen: _Seen) -> None:
    """One issue in the submodule while its change is under way; closed with a word when it is given up."""
    github, child = seen.submodule.github, seen.child
    marker = _marker(parent, child.path, child.pointer)
    ours = github.find_issues(marker, LABEL.name)
    is_wanted = not side.is_given_up and (
        seen.is_moving or not child.is_on_branch or child.path in change.waiting
    )
    if not is_wanted:
        return
    text = _wording(parent, change, side, child, seen.pull)
    if not ours:
        title = _title(parent, change)
        seen.links = replace(seen.links, issue=github.open_issue(marker, title, text, [LABEL]))
        return
    issue = next((one for one in ours if one.is_open), ours[0])
    _close_issues(
        github, [one for one in ours if one.number != issue.number], f"The same as #{issue.number}."
    )
    wanted = f"{marker}\n{text}"
    may_change = seen.is_owner and (issue.is_open or _moot_issue(issue))
    if may_change and (issue.body, issue.is_open) != (wanted, True):
        issue = github.edit_issue(issue.number, body=wanted, is_open=True)
    seen.links = replace(seen.links, issue=issue)


def _tidy(
    parent: GitHub, change: Change, side: Parent, submodule: Submodule, child: Child | None = None
) -> None:
    """Close what we opened in the submodule for pointers that nobody wants any more."""
    github, path = submodule.github, submodule.path
    is_wanted = _wanting(parent, change, side, path, child)
    word = f"No longer needed: {parent.repository} does not point there any more."
    place = _place(parent, path)
    for issue in github.find_issues(place, LABEL.name):
        pointer = _pointer_of(issue.body)
        if issue.is_open and pointer and not is_wanted(pointer, _origin_of(issue.body)):
            _close_issues(github, [issue], word)
    for pull in github.find_pulls(place, ""):
        pointer = _pointer_of(pull.body)
        if pull.is_open and pointer and not is_wanted(pointer, _origin_of(pull.body)):
            withdraw(github, pull, word)
            github.drop_branch(pull.head)
    if child and child.is_on_branch and github.branch_commit(_branch(child.pointer)) is not None:
        github.drop_branch(_branch(child.pointer))


def _wanting(
    parent: GitHub, change: Change, side: Parent, path: str, child: Child | None
) -> Callable[[str, int | None], bool]:
    """Does anyone want a pointer: this change, the deploy branch, or the open pull request it comes from."""
    tip = parent.branch_commit(change.deploy_branch)
    wanted = {parent.pointer(tip, path)} if tip else set()
    if child is not None and not side.is_given_up:
        wanted.add(child.pointer)

    def is_wanted(pointer: str, origin: int | None) -> bool:
        if pointer in wanted:
            return True
        if origin is None:
            return False
        pull = parent.pull(origin)
        return pull.is_open and parent.pointer(pull.head_commit, path) == pointer

    return is_wanted


def _link_back(parent: GitHub, number: int, links: Sequence[Link]) -> None:
    """One comment in the parent that leads to the other side, changed in place."""
    marker = "<!-- dual-update linked -->"
    lines = ["| submodule | issue | pull request | pointer |", "|---|---|---|---|"]
    for one in links:
        issue, pull = (f"{one.repository}#{it.number}" if it else "" for it in (one.issue, one.pull))
        move = f"#{one.move.number}" if one.move else one.phase
        lines.append(f"| {escape(one.path)} | {issue} | {pull} | {move} |")
    text = "\n".join(lines) + "\n"
    there = parent.find_comments(number, marker)
    if not there:
        parent.comment(number, marker, text)
    elif there[0].body != f"{marker}\n{text}":
        parent.edit_comment(there[0].id, f"{marker}\n{text}")
    for twin in there[1:]:
        parent.drop_comment(twin.id)


def _close_issues(github: GitHub, issues: Sequence[Issue], word: str) -> None:
    for one in issues:
        if one.is_open:
            say_once(github, one.number, "moot", word)
            first, _, rest = one.body.partition("\n")
            body = one.body if _moot_issue(one) else f"{first}\n{MOOT}\n{rest}"
            github.edit_issue(one.number, body=body, is_open=False, reason="not_planned")


def _moot_issue(issue: Issue) -> bool:
    return issue.body.partition("\n")[2].startswith(MOOT)


# Words and markers


def _place(parent: GitHub, path: str) -> str:
    """How everything begins that is ours in a submodule's repository for one path of one parent."""
    return f"<!-- dual-update coordinated {in_marker(parent.repository)} {in_marker(path)} "


def _marker(parent: GitHub, path: str, pointer: str) -> str:
    return f"{_place(parent, path)}{pointer} -->"


def _pointer_of(body: str) -> str | None:
    found = re.match(r"<!-- dual-update coordinated \S+ \S+ ([0-9a-f]{40,64}) -->", body)
    return found[1] if found else None


def _origin_of(body: str) -> int | None:
    found = re.search(r"^<!-- dual-update from (\d+) -->$", "\n".join(body.split("\n")[:3]), re.M)
    return int(found[1]) if found else None


def _branch(pointer: str) -> str:
    return f"{OURS}coordinate-{pointer[:16]}"


def _title(parent: GitHub, change: Change) -> str:
    words = f"{parent.repository}: {change.title or 'a change of this repository is to be deployed'}"
    line = " ".join("".join(one if one.isprintable() else " " for one in words).split())
    return line.replace("@", "@\u200b")[:200]


def _wording(parent: GitHub, change: Change, side: Parent, child: Child, pull: Pull | None = None) -> str:
    """Says nothing that changes with every push: else every push would edit it."""
    is_proposed = change.pull is not None and not side.is_on_branch
    there = f"{parent.repository}#{change.pull}" if is_proposed else f"{parent.repository}"
    lines = [
        f"<!-- dual-update from {change.pull if is_proposed else 'branch'} -->",
        f"{there} wants commit {child.pointer} of this repository deployed, as"
        f" `{child.path.replace('`', '')}`.",
        "",
        f"It is deployed once {child.pointer[:12]} is on `{child.branch.replace('`', '')}` here and the"
        " change there is merged.",
    ]
    if pull is not None:
        lines.append(f"Pull request here: #{pull.number}.")
    if change.issue is not None:
        lines.append(f"Issue there: {parent.repository}#{change.issue}.")
    return "\n".join(lines) + "\n"
