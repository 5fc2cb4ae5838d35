"""The repository in memory says what the fake server says: one story is told to both, and both are read."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dual_update.adapters.github import Patience, PyGithubRepository
from dual_update.core.errors import WorldError
from dual_update.usecases.announce import LABEL
from dual_update.usecases.github_ports import GitHub
from tests.fake_github.memory import Memory
from tests.fake_github.repository import Repository
from tests.fake_github.server import FakeGitHub, Token

NAME = "its-DeFine/shop"
QUICK = Patience(
    answer_seconds=20, pause_seconds=0.01, between_reads_seconds=0, between_writes_seconds=0, reads=1
)
LINK = "1" * 40


class Served:
    """What people do, done to the server."""

    def __init__(self, server: FakeGitHub) -> None:
        self.repo: Repository = server.repository(NAME)
        server.tokens["ada"], server.tokens["bob"] = Token("its-DeFine"), Token("bob")
        self.port = PyGithubRepository(server.url, NAME, "a-token", patience=QUICK)
        self.ada = PyGithubRepository(server.url, NAME, "ada", patience=QUICK)
        self.bob = PyGithubRepository(server.url, NAME, "bob", patience=QUICK)
        self.commits = [self.tip("main")]

    def tip(self, branch: str) -> str:
        return self.repo.commit_of(branch) or ""

    def put(self, branch: str, name: str, text: str) -> None:
        self.commits.append(self.repo.put(branch, {name: text}))

    def opened(self, head: str, base: str) -> None:
        try:
            self.ada.open_pull("", head, "", head, base)
        except WorldError:
            return

    def review(self, number: int, event: str) -> None:
        body = {"event": event, "body": "."}
        self.bob._send("POST", f"/pulls/{number}/reviews", body)
        for one in self.repo.reviews[number]:
            one["author_association"] = "MEMBER"

    def land(self, number: int, how: str) -> None:
        try:
            answer = self.ada._send("PUT", f"/pulls/{number}/merge", {"merge_method": how})
        except WorldError:
            return
        self.commits.append(str(answer["sha"]))

    def turn(self, number: int) -> None:
        try:
            self.ada.edit_pull(number, is_open=not self.port.pull(number).is_open)
        except WorldError:
            return

    def force(self, branch: str, place: int) -> None:
        self.repo.git("update-ref", f"refs/heads/{branch}", self.commits[place])

    def drop(self, branch: str) -> None:
        self.repo.git("update-ref", "-d", f"refs/heads/{branch}")


class Kept:
    """The same, done in memory."""

    def __init__(self) -> None:
        self.port = Memory(NAME)
        self.commits = [self.port.branches["main"]]

    def put(self, branch: str, name: str, text: str) -> None:
        self.commits.append(self.port.put(branch, {name: text}))

    def opened(self, head: str, base: str) -> None:
        self.port.open_by("its-DeFine", head, base)

    def review(self, number: int, event: str) -> None:
        self.port.review(number, "bob", objects=event == "REQUEST_CHANGES")

    def land(self, number: int, how: str) -> None:
        made = self.port.land(number, how)
        if made:
            self.commits.append(made)

    def turn(self, number: int) -> None:
        pull = self.port.pull(number)
        if pull.is_open or self.port.may_return(pull):
            self.port.edit_pull(number, is_open=not pull.is_open)

    def force(self, branch: str, place: int) -> None:
        self.port.branches[branch] = self.commits[place]

    def drop(self, branch: str) -> None:
        self.port.branches.pop(branch, None)


Step = Callable[[Any], None]


def steps() -> Iterator[Step]:
    """Each kind of thing that people do, and each order that GitHub answers in its own way."""
    yield lambda it: it.put("work", "a", "1")
    yield lambda it: it.opened("work", "main")
    yield lambda it: it.opened("work", "main")  # a second one is refused
    yield lambda it: it.review(1, "APPROVE")
    yield lambda it: it.put("work", "b", "1")
    yield lambda it: it.put("main", "c", "1")
    yield lambda it: it.land(1, "squash")
    yield lambda it: it.turn(1)  # merged for good
    yield lambda it: it.opened("work", "main")
    yield lambda it: it.turn(2)
    yield lambda it: it.force("work", 1)
    yield lambda it: it.turn(2)  # force-pushed since: not to be opened again
    yield lambda it: it.put("other", "d", "1")
    yield lambda it: it.opened("other", "main")
    yield lambda it: it.review(3, "REQUEST_CHANGES")
    yield lambda it: it.drop("other")
    yield lambda it: it.turn(3)
    yield lambda it: it.put("third", "a", "conflict")
    yield lambda it: it.put("main", "a", "main's")
    yield lambda it: it.opened("third", "main")
    yield lambda it: it.land(4, "merge")  # a conflict
    yield lambda it: it.put("fourth", "e", "1")
    yield lambda it: it.opened("fourth", "main")
    yield lambda it: it.force("main", len(it.commits) - 1)  # pushed by hand: merged, too
    yield lambda it: it.put("fifth", "f", "1")
    yield lambda it: it.opened("fifth", "main")
    yield lambda it: it.land(6, "merge")
    yield lambda it: it.force("main", 0)


def seen(port: GitHub, commits: list[str], pulls: int) -> list[Any]:
    """All that can be read, with commits told by their place in the story."""
    place = {commit: number for number, commit in enumerate(commits)}
    told: list[Any] = []
    for number in range(1, pulls + 1):
        pull = port.pull(number)
        merge = place.get(pull.merge_commit or "", "none") if pull.is_merged else None
        words = [
            (one.login, one.is_approval, one.is_objection, place[one.commit]) for one in port.reviews(number)
        ]
        told.append((number, pull.head, pull.is_open, pull.is_merged, place[pull.head_commit], merge, words))
    told += [sorted(one.number for one in port.pulls_of(commit)) for commit in commits[-5:]]
    told += [sorted(port.branches_at(commit)) for commit in commits[-3:]]
    for first, second in zip(commits[-4:], ["main"] * 4, strict=False):
        compared = port.compare(first, second)
        assert compared is not None
        lines = [place[one.id] for one in compared.commits]
        told.append((compared.relation, sorted(compared.files), sorted(lines)))
    return told


@pytest.mark.timeout(120)
def test_one_story_is_the_same_in_both(tmp_path: Path) -> None:
    with FakeGitHub(tmp_path) as server:
        served, kept = Served(server), Kept()
        pulls = 0
        for number, step in enumerate(steps()):
            step(served)
            step(kept)
            assert len(served.commits) == len(kept.commits), number
            pulls = len(kept.port.pulls)
            if number % 3 == 2:
                there = seen(served.port, served.commits, pulls)
                assert there == seen(kept.port, kept.commits, pulls), number
        assert pulls == 6


def test_what_we_write_is_the_same_in_both(tmp_path: Path) -> None:
    with FakeGitHub(tmp_path) as server:
        told = [written(Served(server).port), written(Kept().port)]
    assert told[0] == told[1]


def written(port: GitHub) -> list[Any]:
    main = port.branch_commit("main") or ""
    planted = port.make_commit(port.moved_pointer(main, "app", LINK), "move", main)
    port.set_branch("dual-update/x", planted)
    issue = port.open_issue("<!-- m -->", "t", "text", [LABEL])
    pull = port.open_pull("<!-- p -->", "t", "text", "dual-update/x", "main")
    comment = port.comment(pull.number, "<!-- c -->", "text")
    port.edit_comment(comment.id, "<!-- c -->\nother")
    port.set_status(planted, "dual-update/coordinated", "pending", "words")
    read = [
        port.pointer(planted, "app"),
        port.pointer(main, "app"),
        port.file(planted, "README.md") is not None,
        port.file(planted, "app"),
        [one.number for one in port.find_issues("<!-- ", LABEL.name)],
        [one.number for one in port.find_pulls("<!-- p", "")],
        [one.number for one in port.find_pulls("<!-- p", "dual-update/x")],
        [one.body for one in port.find_comments(pull.number, "<!-- c")],
        port.status(planted, "dual-update/coordinated"),
        port.status(main, "dual-update/coordinated"),
        port.edit_issue(issue.number, is_open=False).is_open,
        port.compare(main, LINK),
        port.commit(LINK),
        port.branch_commit("none"),
    ]
    port.drop_comment(comment.id)
    port.drop_comment(comment.id)
    merged = port.merge(pull.number, planted)
    port.drop_branch("dual-update/x")
    return [
        *read,
        port.find_comments(pull.number, "<!-- c"),
        port.pull(pull.number).is_merged,
        port.pointer(merged, "app"),
        [one.number for one in port.find_pulls("<!-- p", "dual-update/x")],
        port.branch_commit("dual-update/x"),
    ]
