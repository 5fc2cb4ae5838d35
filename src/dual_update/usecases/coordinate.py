"""Two repositories, one change: issue, pull request and status in the submodule follow the parent.

Level-triggered: each call looks at both sides as they are now and does what is missing (core/coordination.py
decides). So it may be called late, twice or in any order, and be killed between any two writes. What is ours
in the submodule is found by markers: parent, path and pointer in the first line, where it comes from in the
second.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dual_update.core.coordination import CONTEXT, Child, Parent, Verdict, judge, status
from dual_update.core.report import escape
from dual_update.usecases import coordinate_sides as sides
from dual_update.usecases import coordinate_texts as texts
from dual_update.usecases.announce import LABEL, MOOT, say_once
from dual_update.usecases.coordinate_texts import Change, Link
from dual_update.usecases.github_ports import GitHub, Issue, Pull
from dual_update.usecases.submodules import (
    Move,
    Submodule,
    is_moot,
    offer_move,
    withdraw,
    withdraw_move,
)

__all__ = ["Change", "Coordinated", "Link", "coordinate", "holds", "settle", "standing"]

KIND = "pointer"


@dataclass(frozen=True)
class Coordinated:
    """`holds` are the sentences for which the deploy waits. `links` are for the parent's own texts."""

    holds: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()
    state: str = ""
    words: str = ""


def holds(parent: GitHub, commit: str, submodules: Sequence[Submodule]) -> tuple[str, ...]:
    """Why this commit may not be deployed yet; empty when every pointer is on its submodule's branch.

    Only looks, and is asked again right before a deploy: what was true at the merge need not be any more.
    """
    found = []
    for one in submodules:
        seen = sides.look(parent, commit, one)
        hold = judge(seen.child).hold if seen else ""
        if hold:
            found.append(hold)
    return tuple(found)


def coordinate(parent: GitHub, change: Change, submodules: Sequence[Submodule]) -> Coordinated:
    """Bring everything in line. Raises WorldError where GitHub does not do its part; call again then.

    With the deploy branch every pull request is looked at that something of ours stands open for: an
    approval or a close that no event told of shows then.
    """
    tip = parent.branch_commit(change.deploy_branch)
    change, side, proposed = sides.parent_side(parent, change, tip)
    if proposed is not None and proposed.base != change.deploy_branch:
        return Coordinated()
    done = _in_line(parent, change, side, proposed, tip, submodules)
    if side.is_on_branch:
        for other in standing(parent, change.deploy_branch, submodules)[1:]:
            now, its_side, its_pull = sides.parent_side(parent, other, tip)
            if not its_side.is_on_branch:
                _in_line(parent, now, its_side, its_pull, tip, submodules)
    return done


def _in_line(
    parent: GitHub,
    change: Change,
    side: Parent,
    proposed: Pull | None,
    tip: str | None,
    submodules: Sequence[Submodule],
) -> Coordinated:
    several = []
    for one in submodules:
        seen = sides.look(parent, change.commit, one)
        if seen is None:
            _tidy(parent, change, side, one)
            continue
        at_tip = parent.pointer(tip, one.path) if tip else None
        seen.is_moving = not side.is_on_branch and at_tip != seen.child.pointer
        seen.is_owner = side.is_on_branch or (
            at_tip != seen.child.pointer and sides.owns(parent, change, one, seen.child.pointer)
        )
        _propose(parent, change, side, proposed, seen)
        several.append(seen)
    for seen in several:
        _tidy(parent, change, side, seen.submodule, seen.child)
    moved = [one for one in several if one.is_moving or not one.child.is_on_branch or one.pull is not None]
    state, words = status(side, [one.child for one in moved])
    is_told = bool(moved) or parent.status(change.commit, CONTEXT) != ("", "")
    if is_told and (side.is_on_branch or sides.speaks(parent, change)):
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
        for issue in one.github.find_issues(texts.place(parent, one.path), LABEL.name):
            number = texts.origin_of(issue.body)
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
        for issue in one.github.find_issues(texts.marker(parent, one.path, pointer), LABEL.name):
            if issue.is_open:
                say_once(one.github, issue.number, "done", word)
                one.github.edit_issue(issue.number, is_open=False, reason="completed")


# Doing


def _propose(parent: GitHub, change: Change, side: Parent, proposed: Pull | None, seen: sides.Seen) -> None:
    """A pull request in the submodule where the pointer has none; one in the parent where it must follow."""
    verdict = judge(seen.child, is_given_up=side.is_given_up)
    if verdict.needs_pull:
        seen.pull = _open_in_submodule(parent, change, side, seen)
        proposal = sides.proposal_of(seen.submodule.github, seen.pull)
        seen.child = replace(seen.child, pull=proposal)
    move = _offer_pointer(parent, change, side, proposed, seen, verdict)
    seen.links = Link(seen.child.path, seen.child.repository, verdict.phase, None, seen.pull, move)


def _open_in_submodule(parent: GitHub, change: Change, side: Parent, seen: sides.Seen) -> Pull:
    """On a branch of ours that ends at the pointer; one that we closed as moot is opened again."""
    github, child = seen.submodule.github, seen.child
    marker = texts.marker(parent, child.path, child.pointer)
    text = texts.wording(parent, change, side, child)
    head = texts.branch(child.pointer)
    moot = [one for one in github.find_pulls(marker, head) if not one.is_open and one.base == child.branch]
    if github.branch_commit(head) != child.pointer:
        github.set_branch(head, child.pointer)
    for one in moot:
        if is_moot(one) and not one.is_merged and one.head_commit == child.pointer:
            return github.edit_pull(one.number, body=f"{marker}\n{text}", is_open=True)
    return github.open_pull(marker, texts.title(parent, change), text, head, child.branch)


def _offer_pointer(
    parent: GitHub, change: Change, side: Parent, pull: Pull | None, seen: sides.Seen, verdict: Verdict
) -> Pull | None:
    """After a squash or rebase merge: into the parent's pull request while that is open, else into the
    deploy branch."""
    child = seen.child
    if pull is not None and pull.is_fork and not side.is_on_branch:
        return None  # what the hold says is for its author to do
    proposed = pull.head if pull is not None and not pull.is_fork else None
    into = proposed if proposed is not None and not side.is_on_branch else change.deploy_branch
    stale = set()
    if verdict.move_to is not None or child.is_on_branch or side.is_given_up:
        stale |= {proposed} - {None, into if verdict.move_to else None}
    is_ended = proposed is not None and pull is not None and not pull.is_open
    if is_ended and any(one.is_open for one in parent.find_pulls("", proposed or "")):
        stale.discard(proposed)  # another pull request goes on from the same branch
    if verdict.move_to is None and side.is_on_branch:  # landed, or what it was merged as is gone by force
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


def _converse(parent: GitHub, change: Change, side: Parent, seen: sides.Seen) -> None:
    """One issue in the submodule while its change is under way; closed with a word when it is given up."""
    github, child = seen.submodule.github, seen.child
    marker = texts.marker(parent, child.path, child.pointer)
    ours = github.find_issues(marker, LABEL.name)
    is_wanted = not side.is_given_up and (
        seen.is_moving or not child.is_on_branch or child.path in change.waiting
    )
    if not is_wanted:
        return
    text = texts.wording(parent, change, side, child, seen.pull)
    if not ours:
        title = texts.title(parent, change)
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
    place = texts.place(parent, path)
    for issue in github.find_issues(place, LABEL.name):
        pointer = texts.pointer_of(issue.body)
        if issue.is_open and pointer and not is_wanted(pointer, texts.origin_of(issue.body)):
            _close_issues(github, [issue], word)
    for pull in github.find_pulls(place, ""):
        pointer = texts.pointer_of(pull.body)
        if pull.is_open and pointer and not is_wanted(pointer, texts.origin_of(pull.body)):
            withdraw(github, pull, word)
            github.drop_branch(pull.head)
    if child and child.is_on_branch and github.branch_commit(texts.branch(child.pointer)) is not None:
        github.drop_branch(texts.branch(child.pointer))


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
