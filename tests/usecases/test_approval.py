"""May it be deployed: asked of the real adapter and the fake GitHub, history made by real merges."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from dual_update.adapters.github import PyGithubRepository
from dual_update.core.decision import Decision, Sides, decide
from dual_update.core.diff import Change, compare
from dual_update.core.model import Rendered
from dual_update.core.rules import judge
from dual_update.usecases.approval import (
    LONGEST_HISTORY,
    Approval,
    Circumstances,
    approval,
    unreviewed,
    waits_for_build,
)
from dual_update.usecases.github_ports import Commit, Comparison
from tests.fake_github import faults
from tests.fake_github.fixtures import NAME, QUICK
from tests.fake_github.repository import Repository
from tests.fake_github.server import FakeGitHub, Token

WEB = {"web": {"image": "web:1"}}
CODE = Change("code", "web/app.py", "", "change", users=("web",))
ON_MAIN = Circumstances("main", "main", is_base_deployed=True)


@pytest.fixture
def server(server: FakeGitHub) -> FakeGitHub:
    server.tokens["ada"] = Token("its-DeFine")
    return server


def decision(after: Mapping[str, Any], base: str | None, head: str, *more: Change) -> Decision:
    old, new = Rendered("shop", dict(WEB)), Rendered("shop", dict(after))
    return decide(Sides("shop", old, new, base=base, head=head), judge([*compare(old, new), *more]))


def tip(repo: Repository) -> str:
    found = repo.commit_of("main")
    assert found
    return found


def by_pull(
    server: FakeGitHub, github: PyGithubRepository, branch: str, *, approvals: int = 0, how: str = "merge"
) -> str:
    """One more commit on main, through a pull request."""
    repo = server.repository(NAME)
    repo.put(branch, {branch.replace("/", "-"): "x\n"})
    pull = github.open_pull("", branch, "text", branch, "main")
    for number in range(approvals):
        server.tokens[f"t{number}"] = Token(f"reviewer-{number}")
        said = PyGithubRepository(server.url, NAME, f"t{number}", patience=QUICK)
        said._send("POST", f"/pulls/{pull.number}/reviews", {"event": "APPROVE"})
        for one in repo.reviews[pull.number]:
            one["author_association"] = "MEMBER"
    merged = github._send("PUT", f"/pulls/{pull.number}/merge", {"merge_method": how})
    return str(merged["sha"])


def protect(repo: Repository, approvals: int) -> None:
    reviews = {
        "dismiss_stale_reviews": False,
        "require_code_owner_reviews": False,
        "required_approving_review_count": approvals,
    }
    repo.protected["main"] = {"enabled": True, "required_pull_request_reviews": reviews}


MORE = {**WEB, "db": {"image": "db:1"}}
NEW_TAG = {"web": {"image": "web:2"}}


@pytest.mark.parametrize(
    ("after", "more", "circumstances", "answer", "why"),
    [
        (WEB, (), ON_MAIN, "no", "Nothing to do"),
        (NEW_TAG, (), ON_MAIN, "auto", "Only images change"),
        (NEW_TAG, (), replace(ON_MAIN, branch="update/web"), "no", "Only main is deployed"),
        (NEW_TAG, (), replace(ON_MAIN, branch="update/web", has_person=True), "no", "Only main is deployed"),
        (NEW_TAG, (), replace(ON_MAIN, is_base_deployed=False), "approve", "No successful deployment"),
        (MORE, (), ON_MAIN, "approve", "pushed to main without a pull request"),
        (WEB, (CODE,), ON_MAIN, "approve", "pushed to main without a pull request"),
        ({**NEW_TAG, "db": {}}, (), ON_MAIN, "approve", "without a pull request"),
        (MORE, (), replace(ON_MAIN, has_auto_approve=True), "auto", "auto-approve"),
        (MORE, (), replace(ON_MAIN, has_auto_approve=True, is_base_deployed=False), "auto", "auto-approve"),
        (MORE, (), replace(ON_MAIN, has_person=True), "auto", "by hand"),
        (MORE, (), replace(ON_MAIN, has_person=True, holds=("Waiting.",)), "no", "Waiting."),
    ],
)
def test_each_row_of_the_rule(
    github: PyGithubRepository,
    repo: Repository,
    after: Mapping[str, Any],
    more: tuple[Change, ...],
    circumstances: Circumstances,
    answer: str,
    why: str,
) -> None:
    base = tip(repo)
    head = repo.put("main", {"compose.yml": "pushed\n"})
    told = approval(decision(after, base, head, *more), circumstances, github)
    assert (told.deploy, why in told.why) == (answer, True), told


def test_a_first_deploy_asks_a_person(github: PyGithubRepository, repo: Repository) -> None:
    first = decision(NEW_TAG, None, tip(repo))
    assert approval(first, ON_MAIN, github).deploy == "approve"
    assert approval(first, replace(ON_MAIN, has_auto_approve=True), github).deploy == "auto"


def test_what_can_lose_data_always_asks_a_person(github: PyGithubRepository, repo: Repository) -> None:
    base = tip(repo)
    head = repo.put("main", {"compose.yml": "pushed\n"})
    volume = Change("volume", "data", "driver", "change")
    lossy = decision(NEW_TAG, base, head, volume)
    told = approval(lossy, replace(ON_MAIN, has_auto_approve=True), github)
    assert told.deploy == "approve"
    assert "volume data" in told.why


@pytest.mark.parametrize("how", ["merge", "squash"])
def test_what_came_by_merged_pull_requests_is_deployed(
    server: FakeGitHub, github: PyGithubRepository, repo: Repository, how: str
) -> None:
    base = tip(repo)
    by_pull(server, github, "one", how=how)
    head = by_pull(server, github, "two", how=how)
    assert approval(decision(MORE, base, head), ON_MAIN, github).deploy == "auto"
    pushed = repo.put("main", {"x": "by hand\n"})
    told = approval(decision(MORE, base, pushed), ON_MAIN, github)
    assert told == Approval("approve", f"Commit {pushed[:12]} was pushed to main without a pull request.")
    after = by_pull(server, github, "three")
    assert approval(decision(MORE, base, after), ON_MAIN, github).deploy == "approve"
    assert approval(decision(MORE, pushed, after), ON_MAIN, github).deploy == "auto"


def test_a_commit_of_a_pull_request_into_another_branch_counts_for_nothing(
    server: FakeGitHub, github: PyGithubRepository, repo: Repository
) -> None:
    base = tip(repo)
    repo.git("update-ref", "refs/heads/other", base)
    head = repo.put("work", {"x": "y"})
    number = github.open_pull("", "t", "t", "work", "other").number
    github._send("PUT", f"/pulls/{number}/merge", {})
    repo.git("update-ref", "refs/heads/main", head)
    assert approval(decision(MORE, base, head), ON_MAIN, github).deploy == "approve"


@pytest.mark.parametrize(("approvals", "answer"), [(0, "approve"), (1, "approve"), (2, "auto")])
@pytest.mark.parametrize("by_ruleset", [True, False])
def test_required_approvals_are_counted_again(
    server: FakeGitHub,
    github: PyGithubRepository,
    repo: Repository,
    approvals: int,
    answer: str,
    by_ruleset: bool,
) -> None:
    """An administrator can merge past the rules; a deploy then asks."""
    base = tip(repo)
    head = by_pull(server, github, "one", approvals=approvals)
    if by_ruleset:
        ask: dict[str, Any] = {"required_approving_review_count": 2}
        ask |= dict.fromkeys(
            (
                "dismiss_stale_reviews_on_push",
                "require_code_owner_review",
                "require_last_push_approval",
                "required_review_thread_resolution",
            ),
            False,
        )
        repo.rulesets["main"] = [{"type": "deletion"}, {"type": "pull_request", "parameters": ask}]
    else:
        protect(repo, 2)
    assert approval(decision(MORE, base, head), ON_MAIN, github).deploy == answer


def test_where_the_plan_knows_no_rules_a_merged_pull_request_is_enough(
    server: FakeGitHub, github: PyGithubRepository, repo: Repository
) -> None:
    base = tip(repo)
    head = by_pull(server, github, "one")
    repo.has_rules = False
    assert approval(decision(MORE, base, head), ON_MAIN, github).deploy == "auto"
    server.faults.add(faults.forbidden(path="/rules/branches/"))
    told = approval(decision(MORE, base, head), ON_MAIN, github)
    assert (told.deploy, "could not be asked" in told.why) == ("approve", True)


def test_strangers_objections_and_dismissals(
    server: FakeGitHub, github: PyGithubRepository, repo: Repository
) -> None:
    protect(repo, 1)
    base = tip(repo)
    head = by_pull(server, github, "one", approvals=1)
    change = decision(MORE, base, head)
    assert approval(change, ON_MAIN, github).deploy == "auto"
    said = repo.reviews[1][0]
    for damage in (
        {"author_association": "NONE"},
        {"author_association": "MEMBER", "state": "DISMISSED"},
        {"state": "CHANGES_REQUESTED"},
    ):
        said.update(damage)
        assert approval(change, ON_MAIN, github).deploy == "approve"
    said.update(state="APPROVED")
    repo.reviews[1].append({**said, "id": 99, "state": "COMMENTED"})
    assert approval(change, ON_MAIN, github).deploy == "auto"


@pytest.mark.parametrize("status", [403, 404])
def test_rules_that_the_token_may_not_read_count_as_one_approval(
    server: FakeGitHub, github: PyGithubRepository, repo: Repository, status: int
) -> None:
    protect(repo, 0)
    base = tip(repo)
    fault = faults.Fault(status, "Not Found", path="/protection$", times=9)
    for approvals, answer in ((0, "approve"), (1, "auto")):
        server.faults.waiting.clear()
        head = by_pull(server, github, f"b{approvals}", approvals=approvals)
        server.faults.add(fault)
        assert approval(decision(MORE, base, head), ON_MAIN, github).deploy == answer
        base = head


def test_a_force_push_and_a_side_line_are_for_a_person(
    server: FakeGitHub, github: PyGithubRepository, repo: Repository
) -> None:
    before = tip(repo)
    gone = repo.put("main", {"x": "gone\n"})
    repo.git("update-ref", "refs/heads/main", before)
    head = by_pull(server, github, "one")
    assert "straight line" in unreviewed(github, gone, head, "main")
    aside = repo.put("aside", {"y": "1\n"})
    number = github.open_pull("", "t", "t", "aside", "main").number
    merged = github.merge(number, aside)
    assert "straight line" in unreviewed(github, aside, merged, "main")
    assert unreviewed(github, head, merged, "main") == ""
    assert unreviewed(github, merged, merged, "main") == ""


class Endless(PyGithubRepository):
    def compare(self, base: str, head: str) -> Comparison:
        ids = [f"{number:040x}" for number in range(LONGEST_HISTORY + 2)]
        commits = [Commit(one, (before,)) for before, one in pairwise(ids)]
        return Comparison("ahead", tuple(commits))


def test_a_long_history_is_for_a_person(server: FakeGitHub) -> None:
    github = Endless(server.url, NAME, "a-token", patience=QUICK)
    why = unreviewed(github, f"{0:040x}", f"{LONGEST_HISTORY + 1:040x}", "main")
    assert "too many" in why
    assert server.requests == []


class Partial(PyGithubRepository):
    def compare(self, base: str, head: str) -> Comparison:
        return Comparison("ahead", (Commit(head, (base,)),), is_complete=False)


def test_a_history_that_is_not_told_in_full_is_for_a_person(server: FakeGitHub) -> None:
    github = Partial(server.url, NAME, "a-token", patience=QUICK)
    assert "straight line" in unreviewed(github, "a" * 40, "b" * 40, "main")


def test_github_that_fails_is_no_approval(
    server: FakeGitHub, github: PyGithubRepository, repo: Repository
) -> None:
    base = tip(repo)
    head = by_pull(server, github, "one")
    for fault in (faults.bad_gateway, faults.forbidden, faults.unauthorized, faults.web_page, faults.lost):
        server.faults.waiting.clear()
        server.faults.add(fault(times=9))
        told = approval(decision(MORE, base, head), replace(ON_MAIN, environment="production"), github)
        assert told.deploy == "no"
        told = approval(decision(MORE, base, head), ON_MAIN, github)
        assert told.deploy == "approve"
        assert "could not be asked" in told.why


def test_an_environment_without_reviewers_is_no_approval(
    github: PyGithubRepository, repo: Repository
) -> None:
    base = tip(repo)
    head = repo.put("main", {"compose.yml": "pushed\n"})
    asking = replace(ON_MAIN, environment="production")
    change = decision(MORE, base, head)
    told = approval(change, asking, github)
    assert (told.deploy, "does not exist" in told.why) == ("no", True)
    timer = {"id": 2, "node_id": "y", "type": "wait_timer", "wait_timer": 5}
    repo.environments["production"] = repo.made("environment", name="production", protection_rules=[timer])
    told = approval(change, asking, github)
    assert (told.deploy, "has no required reviewers" in told.why) == ("no", True)
    reviewers = [{"type": "User", "reviewer": repo.user("ada")}]
    rule = {"id": 1, "node_id": "x", "type": "required_reviewers", "reviewers": reviewers}
    repo.environments["production"]["protection_rules"] = [{"prevent_self_review": False, **rule}]
    assert approval(change, asking, github).deploy == "approve"
    assert approval(decision(NEW_TAG, base, head), asking, github).deploy == "auto"


@pytest.mark.parametrize(
    ("model", "waits"),
    [
        ({"image": "registry.example.org/web:1", "build": {"context": "web"}}, True),
        ({"image": "localhost:5000/web", "build": {"context": "web"}}, True),
        ({"image": "shop-web", "build": {"context": "web"}}, False),
        ({"image": "myorg/web", "build": {"context": "web"}}, False),
        ({"image": "myorg/web", "build": {"context": "web"}, "pull_policy": "always"}, True),
        ({"image": "registry.example.org/web:1", "build": {"context": "web"}, "pull_policy": "build"}, False),
        ({"build": {"context": "web"}}, False),
        ({"image": "registry.example.org/web:1"}, False),
    ],
)
def test_code_waits_for_the_image_that_is_built_elsewhere(model: dict[str, Any], waits: bool) -> None:
    change = decision(WEB, "a" * 40, "b" * 40, CODE)
    holds = waits_for_build(change, {"web": model})
    assert bool(holds) == waits
    assert waits_for_build(change, {"web": model}, built=("web",)) == ()
    assert waits_for_build(decision(NEW_TAG, "a" * 40, "b" * 40), {"web": model}) == ()
    how = Change("service", "web", "build.args.VERSION", "change")
    assert bool(waits_for_build(decision(WEB, "a" * 40, "b" * 40, how), {"web": model})) == waits
