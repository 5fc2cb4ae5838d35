"""Markers and words of what is ours in a submodule's repository.

The first line of a text names parent, path and pointer, the second where it comes from.
"""

import re
from dataclasses import dataclass

from dual_update.core.coordination import Child, Parent
from dual_update.usecases.announce import in_marker
from dual_update.usecases.github_ports import GitHub, Issue, Pull
from dual_update.usecases.submodules import OURS


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


def place(parent: GitHub, path: str) -> str:
    """How everything begins that is ours in a submodule's repository for one path of one parent."""
    return f"<!-- dual-update coordinated {in_marker(parent.repository)} {in_marker(path)} "


def marker(parent: GitHub, path: str, pointer: str) -> str:
    return f"{place(parent, path)}{pointer} -->"


def pointer_of(body: str) -> str | None:
    found = re.match(r"<!-- dual-update coordinated \S+ \S+ ([0-9a-f]{40,64}) -->", body)
    return found[1] if found else None


def origin_of(body: str) -> int | None:
    found = re.search(r"^<!-- dual-update from (\d+) -->$", "\n".join(body.split("\n")[:3]), re.M)
    return int(found[1]) if found else None


def branch(pointer: str) -> str:
    return f"{OURS}coordinate-{pointer[:16]}"


def title(parent: GitHub, change: Change) -> str:
    words = f"{parent.repository}: {change.title or 'a change of this repository is to be deployed'}"
    line = " ".join("".join(one if one.isprintable() else " " for one in words).split())
    return line.replace("@", "@\u200b")[:200]


def wording(parent: GitHub, change: Change, side: Parent, child: Child, pull: Pull | None = None) -> str:
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
