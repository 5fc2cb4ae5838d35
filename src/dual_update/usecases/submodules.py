"""Which repositories a commit points into, and the pull request that moves such a pointer."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import quote

from dual_update.core.report import escape
from dual_update.core.submodule import owner_and_name
from dual_update.usecases.announce import MOOT, say_once
from dual_update.usecases.github_ports import GitHub, Pull

OURS = "dual-update/"
"""How every branch begins that may be moved and dropped here."""

_SECTION = re.compile(r'^\s*\[\s*submodule\s+"(?P<name>(?:[^"\\]|\\.)*)"\s*\]\s*$', re.I)
_SETTING = re.compile(r"^\s*(?P<key>[A-Za-z][A-Za-z0-9-]*)\s*=\s*(?P<value>.*?)\s*$")


@dataclass(frozen=True)
class Entry:
    """One submodule as `.gitmodules` names it; an empty `branch` is the default branch."""

    path: str
    url: str
    branch: str = ""


@dataclass(frozen=True)
class Submodule:
    """A submodule whose repository may be asked, with a token of its own."""

    path: str
    github: GitHub
    branch: str = ""

    def tracked(self) -> str:
        """The branch that its pointer has to be on."""
        return self.branch or self.github.default_branch()


def entries(gitmodules: str) -> Sequence[Entry]:
    """What `.gitmodules` says, in order. Lines that git would not understand are left out."""
    found: list[dict[str, str]] = []
    section: dict[str, str] = {}
    for line in gitmodules.splitlines():
        if line.lstrip()[:1] == "[":
            section = {}
            if _SECTION.match(line):
                found.append(section)
        elif setting := _SETTING.match(line):
            section[setting["key"].lower()] = setting["value"].strip('"')
    return tuple(
        Entry(one["path"].strip("/"), one["url"], one.get("branch", ""))
        for one in found
        if one.get("path") and one.get("url")
    )


def submodules_of(
    parent: GitHub, commit: str, parent_url: str, opened: Callable[[str], GitHub | None]
) -> Sequence[Submodule]:
    """The submodules of a commit whose repositories can be asked.

    `opened` gives the repository OWNER/NAME, or None where there is no token for it: such a one is not
    coordinated. `branch = .` in `.gitmodules` means the branch of the parent's name.
    """
    listed = []
    for entry in entries(parent.file(commit, ".gitmodules") or ""):
        name = owner_and_name(entry.url, parent_url)
        github = opened(name) if name else None
        if github is not None:
            branch = parent.default_branch() if entry.branch == "." else entry.branch
            listed.append(Submodule(entry.path, github, branch))
    return tuple(listed)


@dataclass(frozen=True)
class Move:
    """A pointer that shall move: in which branch, where to, why (our own Markdown)."""

    kind: str
    path: str
    to: str
    into: str
    repository: str
    why: str

    @property
    def branch(self) -> str:
        """One branch for what is moved where; names that differ in odd characters do not meet."""
        words = f"{self.path}\n{self.into}"
        slug = re.sub(r"[^A-Za-z0-9]+", "-", self.path).strip("-")[:40] or "submodule"
        return f"{OURS}{self.kind}-{slug}-{sha256(words.encode()).hexdigest()[:8]}"

    @property
    def marker(self) -> str:
        return f"<!-- dual-update {self.kind} {quote(self.path, safe='').replace('--', '-%2D')} "


def offer_move(parent: GitHub, move: Move) -> Pull | None:
    """One pull request that moves the pointer, made anew on the newest commit where it is wanted elsewhere.

    None where the branch points there already. A pull request to the same place that a person closed
    stays closed, and is what is answered. Only branches of our own are written.
    """
    tip = parent.branch_commit(move.into)
    if tip is None or parent.pointer(tip, move.path) == move.to:
        withdraw_move(parent, move, f"{move.into} points there now.")
        return None
    marker = f"{move.marker}{move.to} -->"
    ours = [one for one in parent.find_pulls(move.marker, move.branch) if one.base == move.into]
    standing = [one for one in ours if one.is_open]
    refused = [one for one in ours if one.body.startswith(marker) and not one.is_open]
    if not standing and refused and not refused[-1].is_merged and not is_moot(refused[-1]):
        return refused[-1]
    if not standing or not _is_planted(parent, move, tip):
        message = f"Move {move.path} to {move.to[:12]}\n\n{move.repository}@{move.to}\n"
        tree = parent.moved_pointer(tip, move.path, move.to)
        parent.set_branch(move.branch, parent.make_commit(tree, message, tip))
    title = f"Move {_title(move.path)} to {move.to[:12]}"
    text = f"{move.why}\n\n`{move.path.replace('`', '')}` moves to {escape(move.repository)}@{move.to}.\n"
    if not standing:
        return parent.open_pull(marker, title, text, move.branch, move.into)
    pull = standing[0]
    if (pull.title, pull.body) != (title, f"{marker}\n{text}"):
        pull = parent.edit_pull(pull.number, title=title, body=f"{marker}\n{text}")
    return pull


def _is_planted(parent: GitHub, move: Move, tip: str) -> bool:
    """Does our branch move the pointer there, from where it is now? Else the two would not merge."""
    planted = parent.branch_commit(move.branch)
    commit = parent.commit(planted) if planted else None
    if planted is None or commit is None or not commit.parents:
        return False
    below = commit.parents[0]
    return parent.pointer(planted, move.path) == move.to and (
        below == tip or parent.pointer(below, move.path) == parent.pointer(tip, move.path)
    )


def withdraw_move(parent: GitHub, move: Move, word: str) -> None:
    """Close what stands open of it, with a word; its branch goes."""
    for pull in parent.find_pulls(move.marker, move.branch):
        if pull.is_open and pull.base == move.into:
            withdraw(parent, pull, f"No longer needed: {word}")
            parent.drop_branch(move.branch)


def withdraw(github: GitHub, pull: Pull, word: str) -> None:
    """Close a pull request of ours as moot: said first, and marked, so that it may be opened again."""
    say_once(github, pull.number, "moot", word)
    first, _, rest = pull.body.partition("\n")
    body = pull.body if is_moot(pull) else f"{first}\n{MOOT}\n{rest}"
    github.edit_pull(pull.number, body=body, is_open=False)


def is_moot(pull: Pull) -> bool:
    """Closed by us, not by a person: it may be opened again."""
    return pull.body.partition("\n")[2].startswith(MOOT)


def _title(text: str) -> str:
    line = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return line.replace("@", "@\u200b")[:120]
