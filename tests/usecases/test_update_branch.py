"""Branches that merge by themselves: only what was judged, only where the branch's rules allow it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from dual_update.adapters.github import PyGithubRepository
from dual_update.core.decision import Decision, Sides, decide
from dual_update.core.diff import Change, compare
from dual_update.core.model import Rendered
from dual_update.core.rules import judge
from dual_update.usecases.update_branch import UpdateBranch, fits, merge_update
from tests.fake_github import faults
from tests.fake_github.repository import Repository
from tests.fake_github.server import FakeGitHub

PUSHED = UpdateBranch(
    "update/web", "main", frozenset({"compose.yml"}), has_auto_approve=True, workflow="deploy.yml"
)


def pushed(repo: Repository, files: Mapping[str, str] = {"compose.yml": "web:2\n"}) -> Decision:
    return decided(repo.put("update/web", dict(files)))


def decided(head: str, *more: Change, **after: Any) -> Decision:
    old, new = (
        Rendered("shop", {"web": {"image": "web:1"}}),
        Rendered("shop", {"web": {"image": "web:2"}, **after}),
    )
    return decide(Sides("shop", old, new, base="a" * 40, head=head), judge([*compare(old, new), *more]))


def test_it_is_merged_and_its_deploy_started(github: PyGithubRepository, repo: Repository) -> None:
    decision = pushed(repo)
    merged = merge_update(decision, PUSHED, github)
    assert merged.commit == repo.commit_of("main")
    assert merged.why == "#1 was merged and its deploy was started."
    assert repo.dispatches == [{"workflow": "deploy.yml", "ref": "main", "inputs": {}}]
    again = merge_update(decision, PUSHED, github)
    assert (again.commit, len(repo.pulls), len(repo.dispatches)) == (None, 1, 1)


@pytest.mark.parametrize(
    ("change", "files", "why"),
    [
        ({"has_auto_approve": False}, {}, "auto-approve is not set"),
        ({"branch": "feature/web"}, {}, "none of the branches"),
        ({"branch": "main"}, {}, "none of the branches"),
        ({}, {".github/workflows/ci.yml": "x"}, "changes .github/workflows/ci.yml, which"),
        ({}, {"script.sh": "x", "b.sh": "y"}, "changes b.sh and 1 more"),
    ],
)
def test_else_it_waits(
    github: PyGithubRepository, repo: Repository, change: dict[str, Any], files: dict[str, str], why: str
) -> None:
    main = repo.commit_of("main")
    decision = pushed(repo, {"compose.yml": "web:2\n", **files})
    merged = merge_update(decision, replace(PUSHED, **change), github)
    assert (merged.commit, why in merged.why, repo.commit_of("main")) == (None, True, main), merged.why
    assert repo.dispatches == []


def test_more_than_images_waits(github: PyGithubRepository, repo: Repository) -> None:
    head = pushed(repo).head
    code = Change("code", "web/app.py", "", "change", users=("web",))
    volume = Change("volume", "data", "driver", "change")
    for decision in (decided(head, db={"image": "db:1"}), decided(head, code), decided(head, volume)):
        assert merge_update(decision, PUSHED, github).commit is None
    assert repo.pulls == {}


def test_what_was_pushed_after_the_judgement_is_not_merged(
    github: PyGithubRepository, repo: Repository
) -> None:
    decision = pushed(repo)
    repo.put("update/web", {"compose.yml": "web:evil\n"})
    assert "moved on" in merge_update(decision, PUSHED, github).why
    assert repo.pulls == {}


def test_required_approvals_hold_it_back(github: PyGithubRepository, repo: Repository) -> None:
    reviews = {
        "dismiss_stale_reviews": False,
        "require_code_owner_reviews": False,
        "required_approving_review_count": 1,
    }
    repo.protected["main"] = {"enabled": True, "required_pull_request_reviews": reviews}
    merged = merge_update(pushed(repo), PUSHED, github)
    assert (merged.commit, merged.why) == (None, "#1 needs 1 approvals before it may be merged.")


def test_a_repository_that_squashes_is_obeyed_and_one_that_refuses_is_told(
    github: PyGithubRepository, repo: Repository
) -> None:
    repo.merge_methods = ("squash",)
    assert merge_update(pushed(repo), PUSHED, github).commit == repo.commit_of("main")
    repo.merge_methods = ()
    repo.git("update-ref", "-d", "refs/heads/update/web")
    merged = merge_update(pushed(repo, {"compose.yml": "web:3\n"}), PUSHED, github)
    assert (merged.commit, "are not allowed" in merged.why) == (None, True)


def test_a_conflict_and_a_lost_answer(
    server: FakeGitHub, github: PyGithubRepository, repo: Repository
) -> None:
    decision = pushed(repo)
    server.faults.add(faults.lost(method="PUT", path="/merge$", after=True))
    server.faults.add(faults.bad_gateway(method="POST", path="/dispatches$", after=True))
    merged = merge_update(decision, PUSHED, github)
    assert merged.commit == repo.commit_of("main")
    assert "may have been started" in merged.why
    assert len(repo.dispatches) == 1
    decision = pushed(repo, {"compose.yml": "theirs\n"})
    repo.put("main", {"compose.yml": "ours\n"})
    assert "not mergeable" in merge_update(decision, PUSHED, github).why


@pytest.mark.parametrize(
    ("branch", "does_fit"),
    [
        ("update/web", True),
        ("update/a/b", True),
        ("update", False),
        ("updates/web", False),
        ("x/update/y", False),
    ],
)
def test_patterns(branch: str, does_fit: bool) -> None:
    assert fits(branch, ("update/**",)) == does_fit
    assert fits("renovate/web", ("update/**", "renovate/*"))
    assert not fits("renovate/a/b", ("renovate/*",))
