"""Submodules that moved on: one pull request each, made through the API, the parent's history untouched."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dual_update.usecases.submodules import Submodule
from dual_update.usecases.upstream import follow_upstream
from tests.fake_github import faults
from tests.fake_github.server import FakeGitHub
from tests.usecases.two_repositories import PATH, Two, two


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Two]:
    with FakeGitHub(tmp_path) as server:
        yield two(server)


def test_a_pull_request_moves_the_pointer_and_follows(both: Two) -> None:
    main = both.parent.branch_commit("main")
    assert follow_upstream(both.parent, both.submodules, "main")[0].pull is None
    first = both.app.put("main", {"a": "1"}, "Faster [x](https://evil.example) @everyone")
    told = follow_upstream(both.parent, both.submodules, "main")[0]
    assert told.pull is not None
    assert both.parent.pointer(told.pull.head_commit, PATH) == first
    assert "Faster" in told.pull.body
    assert "](https" not in told.pull.body
    assert "@everyone" not in told.pull.body
    writes = len(both.server.written())
    assert follow_upstream(both.parent, both.submodules, "main")[0].pull == told.pull
    assert both.server.written()[writes:] == []

    second = both.app.put("main", {"a": "2"})
    moved = follow_upstream(both.parent, both.submodules, "main")[0].pull
    assert moved is not None
    assert (moved.number, moved.title) == (told.pull.number, f"Move services/app to {second[:12]}")
    moved = both.parent.pull(moved.number)
    assert both.parent.pointer(moved.head_commit, PATH) == second
    assert both.parent.branch_commit("main") == main
    changed = both.parent.compare("main", moved.head_commit)
    assert changed is not None
    assert (changed.relation, changed.files) == ("ahead", (PATH,))
    both.parent.merge(moved.number, moved.head_commit)
    assert follow_upstream(both.parent, both.submodules, "main")[0].why.endswith("is up to date.")
    assert len(both.shop.pulls) == 1


def test_what_became_moot_is_closed_and_what_a_person_closed_stays(both: Two) -> None:
    first = both.app.put("main", {"a": "1"})
    pull = follow_upstream(both.parent, both.submodules, "main")[0].pull
    assert pull is not None
    both.point("main", first)
    assert follow_upstream(both.parent, both.submodules, "main")[0].pull is None
    assert both.shop.pulls[pull.number]["state"] == "closed"
    assert both.shop.git("for-each-ref", "--format=%(refname:short)", "refs/heads").split() == ["main"]

    both.app.put("main", {"a": "2"})
    pull = follow_upstream(both.parent, both.submodules, "main")[0].pull
    assert pull is not None
    both.parent.edit_pull(pull.number, is_open=False)
    told = follow_upstream(both.parent, both.submodules, "main")[0]
    assert (told.pull and told.pull.is_open, "stays closed" in told.why) == (False, True)
    third = both.app.put("main", {"a": "3"})
    again = follow_upstream(both.parent, both.submodules, "main")[0].pull
    assert again is not None
    assert (again.is_open, both.parent.pointer(again.head_commit, PATH)) == (True, third)


def test_a_rewritten_branch_is_offered_with_a_warning(both: Two) -> None:
    root = both.app.commit_of("main") or ""
    both.point("main", both.app.put("main", {"a": "1"}))
    both.app.git("update-ref", "refs/heads/main", root)
    both.app.put("main", {"b": "2"})
    pull = follow_upstream(both.parent, both.submodules, "main")[0].pull
    assert pull is not None
    assert "was rewritten" in pull.body


def test_one_that_cannot_be_asked_keeps_none_of_the_others_back(both: Two) -> None:
    both.app.put("main", {"a": "1"})
    both.server.faults.add(faults.forbidden(path="its-DeFine/app", times=1))
    several = [Submodule("other", both.child), *both.submodules]
    first, second = follow_upstream(both.parent, several, "main")
    assert "could not be followed" in first.why
    assert second.pull is not None


def test_another_branch_than_the_default_is_followed(both: Two) -> None:
    both.app.put("stable", {"a": "1"})
    both.app.put("main", {"a": "2"})
    pull = follow_upstream(both.parent, [Submodule(PATH, both.child, "stable")], "main")[0].pull
    assert pull is not None
    assert both.parent.pointer(pull.head_commit, PATH) == both.app.commit_of("stable")
