"""GitHub's repository in memory, fit to the port: for tests that ask too often for a server.

What it does is held equal to the server (and so to GitHub's description) by test_memory.py: one story is told
to both, and all that can be read must be the same.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, TypeVar

from dual_update.core.errors import WorldError
from dual_update.usecases.github_ports import (
    BranchRules,
    Comment,
    Commit,
    Comparison,
    Deployment,
    Issue,
    Label,
    Protection,
    Pull,
    Review,
)

BOT = "github-actions[bot]"
T = TypeVar("T", bound=Callable[..., Any])


class Killed(BaseException):
    """The process that wrote ends here."""


def writes(method: T) -> T:
    """A write is counted. At the fatal one the process dies, before or after it is carried out."""

    @wraps(method)
    def counted(self: "Memory", *values: Any, **named: Any) -> Any:
        self.life.writes += 1
        is_last = self.life.writes == self.life.dies_at
        if is_last and not self.life.dies_after:
            raise Killed
        self.written.append(method.__name__)
        result = method(self, *values, **named)
        if is_last:
            raise Killed
        return result

    return counted  # type: ignore[return-value]


@dataclass
class Life:
    """How long the process lives that writes; repositories of one process share it."""

    writes: int = 0
    dies_at: int = 0
    dies_after: bool = False

    def until(self, write: int, *, after: bool) -> None:
        self.writes, self.dies_at, self.dies_after = 0, write, after


@dataclass
class Memory:
    """`files` of a commit are paths and their content; a submodule's content begins with `=`."""

    name: str
    life: Life = field(default_factory=Life)
    main: str = "main"
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    pasts: dict[str, frozenset[str]] = field(default_factory=dict)
    trees: dict[str, dict[str, str]] = field(default_factory=dict)
    issues: dict[int, Issue] = field(default_factory=dict)
    pulls: dict[int, Pull] = field(default_factory=dict)
    brought: dict[int, frozenset[str]] = field(default_factory=dict)
    said: dict[int, list[Comment]] = field(default_factory=dict)
    reviewed: dict[int, list[Review]] = field(default_factory=dict)
    statuses: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    needs: int = 0
    numbers: int = 0

    def __post_init__(self) -> None:
        self.branches[self.main] = self.plant({"README.md": "hello"})

    # For tests: what people do

    def plant(self, files: Mapping[str, str], *parents: str) -> str:
        """A new commit."""
        tree = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.trees[tree] = dict(files)
        self.numbers += 1
        made = hashlib.sha1(f"{self.name}{self.numbers}".encode()).hexdigest()
        self.commits[made] = Commit(made, parents, tree, "change")
        self.pasts[made] = frozenset({made}).union(*(self.pasts[one] for one in parents))
        return made

    def files(self, commit: str) -> dict[str, str]:
        return dict(self.trees[self.commits[commit].tree])

    def put(self, branch: str, files: Mapping[str, str | None]) -> str:
        tip = self.branches.get(branch) or self.branches[self.main]
        whole = {**self.files(tip), **files}
        self.branches[branch] = self.plant({k: v for k, v in whole.items() if v is not None}, tip)
        return self.branches[branch]

    def open_by(self, author: str, head: str, base: str) -> Pull | None:
        """None where GitHub would refuse it."""
        self._refresh()
        if any(one.is_open and (one.head, one.base) == (head, base) for one in self.pulls.values()):
            return None
        if head not in self.branches or self._is_in(self.branches[head], self.branches[base]):
            return None
        self.numbers += 1
        number = max((*self.issues, *self.pulls), default=0) + 1
        url = f"https://example.org/{self.name}/pull/{number}"
        tip = self.branches[head]
        self.pulls[number] = Pull(number, head, "", True, False, url, head, tip, base, None, author)
        return self.pulls[number]

    def review(self, number: int, login: str, *, objects: bool = False, is_trusted: bool = True) -> None:
        self._refresh()
        head = self.pulls[number].head_commit
        word = Review(login, not objects, objects, head, is_trusted)
        self.reviewed[number] = [one for one in self.reviewed.get(number, []) if one.login != login] + [word]

    def land(self, number: int, how: str) -> str | None:
        """Merge, or None where it does not go."""
        self._refresh()
        pull = self.pulls[number]
        if not pull.is_open or pull.head not in self.branches:
            return None
        base, head = self.branches[pull.base], self.branches[pull.head]
        files = self._merged(base, head)
        if files is None:
            return None
        self.brought[number] = self.pasts[head] - self.pasts[base]
        made = self.plant(files, base) if how == "squash" else self.plant(files, base, head)
        self.branches[pull.base] = made
        self.pulls[number] = replace(pull, is_open=False, is_merged=True, merge_commit=made)
        return made

    def _merged(self, base: str, head: str) -> dict[str, str] | None:
        common = self.pasts[base] & self.pasts[head]
        if not common:
            return None
        fork = self.files(max(common, key=lambda one: len(self.pasts[one])))
        ours, theirs = self.files(base), self.files(head)
        merged = {}
        for path in {*fork, *ours, *theirs}:
            old, mine, other = fork.get(path), ours.get(path), theirs.get(path)
            if mine != other and old not in (mine, other):
                return None
            chosen = other if mine == old else mine
            if chosen is not None:
                merged[path] = chosen
        return merged

    def _is_in(self, commit: str, tip: str) -> bool:
        return commit in self.pasts[tip]

    def _refresh(self) -> None:
        """Branches moved under their pull requests: heads follow, a pushed merge is one too."""
        for number, pull in self.pulls.items():
            head, base = self.branches.get(pull.head), self.branches.get(pull.base)
            if not pull.is_open:
                continue
            if head is None or base is None:
                self.pulls[number] = replace(pull, is_open=False)
            elif self._is_in(head, base):
                is_merged = self._is_in(pull.head_commit, base)
                if is_merged:
                    self.brought[number] = frozenset({pull.head_commit})
                merge = base if is_merged else None
                self.pulls[number] = replace(pull, is_open=False, is_merged=is_merged, merge_commit=merge)
            elif head != pull.head_commit:
                self.pulls[number] = replace(pull, head_commit=head)

    # The port: history

    @property
    def repository(self) -> str:
        return self.name

    def default_branch(self) -> str:
        return self.main

    def branch_commit(self, branch: str) -> str | None:
        return self.branches.get(branch)

    def commit(self, commit: str) -> Commit | None:
        return self.commits.get(commit)

    def compare(self, base: str, head: str) -> Comparison | None:
        base, head = self.branches.get(base, base), self.branches.get(head, head)
        if base not in self.commits or head not in self.commits:
            return None
        ahead, behind = self.pasts[head] - self.pasts[base], self.pasts[base] - self.pasts[head]
        if not self.pasts[base] & self.pasts[head]:
            return None
        relation: Any = {(True, True): "diverged", (True, False): "ahead", (False, True): "behind"}.get(
            (bool(ahead), bool(behind)), "identical"
        )
        ordered = sorted(ahead, key=lambda one: len(self.pasts[one]))
        fork = self.files(max(self.pasts[base] & self.pasts[head], key=lambda one: len(self.pasts[one])))
        now = self.files(head)
        files = tuple(sorted(path for path in {*fork, *now} if fork.get(path) != now.get(path)))
        return Comparison(relation, tuple(self.commits[one] for one in ordered), files)

    def pulls_of(self, commit: str) -> Sequence[Pull]:
        self._refresh()
        is_in = commit in self.pasts[self.branches[self.main]]
        return [pull for number, pull in self.pulls.items() if self._brings(number, pull, commit, is_in)]

    def _brings(self, number: int, pull: Pull, commit: str, is_in: bool) -> bool:
        if pull.is_merged:
            return commit == pull.merge_commit or commit in self.brought[number]
        base = self.branches.get(pull.base)
        past = self.pasts[base] if base else frozenset()
        return not is_in and commit in self.pasts.get(pull.head_commit, frozenset()) - past

    def reviews(self, number: int) -> Sequence[Review]:
        return [one for one in self.reviewed.get(number, []) if one.login != self.pulls[number].author]

    def rules(self, branch: str) -> BranchRules:
        return BranchRules(bool(self.needs), self.needs)

    def protection(self, environment: str) -> Protection:
        return Protection(does_exist=False)

    # The port: code

    def pointer(self, commit: str, path: str) -> str | None:
        content = self.files(commit).get(path, "") if commit in self.commits else ""
        return content[1:] if content.startswith("=") else None

    def file(self, commit: str, path: str) -> str | None:
        content = self.files(commit).get(path) if commit in self.commits else None
        return None if content is None or content.startswith("=") else content

    def branches_at(self, commit: str) -> Sequence[str]:
        return [name for name, tip in self.branches.items() if tip == commit]

    @writes
    def moved_pointer(self, commit: str, path: str, to: str) -> str:
        files = {**self.files(commit), path: f"={to}"}
        tree = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.trees[tree] = files
        return tree

    @writes
    def make_commit(self, tree: str, message: str, parent: str) -> str:
        made = self.plant(self.trees[tree], parent)
        self.commits[made] = replace(self.commits[made], message=message)
        return made

    @writes
    def set_branch(self, branch: str, commit: str) -> None:
        assert branch.startswith("dual-update/"), f"{branch} is not ours to move"
        if commit not in self.commits:
            raise WorldError(f"No commit {commit}.")
        self.branches[branch] = commit

    @writes
    def drop_branch(self, branch: str) -> None:
        assert branch.startswith("dual-update/"), f"{branch} is not ours to drop"
        self.branches.pop(branch, None)
        self._refresh()

    # The port: conversation

    def find_issues(self, marker: str, label: str) -> Sequence[Issue]:
        return [one for one in self.issues.values() if one.body.startswith(marker)]

    @writes
    def open_issue(self, marker: str, title: str, text: str, labels: Sequence[Label]) -> Issue:
        number = max((*self.issues, *self.pulls), default=0) + 1
        names = tuple(one.name for one in labels)
        url = f"https://example.org/{self.name}/issues/{number}"
        self.issues[number] = Issue(number, title, f"{marker}\n{text}", True, url, names)
        return self.issues[number]

    @writes
    def edit_issue(self, number: int, *, reason: str = "completed", **change: Any) -> Issue:
        given = {key: value for key, value in change.items() if value is not None}
        self.issues[number] = replace(self.issues[number], **given)
        return self.issues[number]

    def find_comments(self, number: int, marker: str) -> Sequence[Comment]:
        return [one for one in self.said.get(number, []) if one.body.startswith(marker)]

    @writes
    def comment(self, number: int, marker: str, text: str) -> Comment:
        self.numbers += 1
        made = Comment(self.numbers, f"{marker}\n{text}", "")
        self.said.setdefault(number, []).append(made)
        return made

    @writes
    def edit_comment(self, comment: int, body: str) -> Comment:
        for several in self.said.values():
            for place, one in enumerate(several):
                if one.id == comment:
                    several[place] = replace(one, body=body)
                    return several[place]
        raise WorldError("No such comment.")

    @writes
    def drop_comment(self, comment: int) -> None:
        for several in self.said.values():
            several[:] = [one for one in several if one.id != comment]

    # The port: pull requests

    def find_pulls(self, marker: str, head: str) -> Sequence[Pull]:
        self._refresh()
        return [
            one
            for one in self.pulls.values()
            if one.body.startswith(marker) and (one.head == head if head else one.is_open)
            if one.author == BOT or not marker
        ]

    @writes
    def open_pull(self, marker: str, title: str, text: str, head: str, base: str) -> Pull:
        made = self.open_by(BOT, head, base)
        if made is None:
            raise WorldError(f"No pull request from {head} into {base}.")
        self.pulls[made.number] = replace(made, title=title, body=f"{marker}\n{text}")
        return self.pulls[made.number]

    @writes
    def edit_pull(self, number: int, **change: Any) -> Pull:
        self._refresh()
        pull = self.pulls[number]
        given = {key: value for key, value in change.items() if value is not None}
        if given.get("is_open") and not pull.is_open and not self.may_return(pull):
            raise WorldError(f"#{number} cannot be opened again.")
        self.pulls[number] = replace(pull, **given)
        self._refresh()
        return self.pulls[number]

    def may_return(self, pull: Pull) -> bool:
        tip = self.branches.get(pull.head)
        sides = (pull.head, pull.base)
        is_taken = any(one.is_open and (one.head, one.base) == sides for one in self.pulls.values())
        return tip is not None and not pull.is_merged and not is_taken and self._is_in(pull.head_commit, tip)

    def pull(self, number: int) -> Pull:
        self._refresh()
        return self.pulls[number]

    @writes
    def merge(self, number: int, head_commit: str) -> str:
        if self.pull(number).head_commit != head_commit:
            raise WorldError("Head branch was modified.")
        made = self.land(number, "merge")
        if made is None:
            raise WorldError("Not mergeable.")
        return made

    # The port: what is known of a commit

    def status(self, commit: str, context: str) -> tuple[str, str]:
        return self.statuses.get((commit, context), ("", ""))

    @writes
    def set_status(self, commit: str, context: str, state: str, description: str, url: str = "") -> None:
        assert commit in self.commits
        self.statuses[commit, context] = state, description

    def find_deployments(self, cluster: str, commit: str = "") -> Sequence[Deployment]:
        return []
