"""The GitHub adapter against the fake: what it writes once, what it says when something is wrong."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dual_update.adapters.github import Patience, PyGithubRepository
from dual_update.core.errors import DualUpdateError, UsageError, WorldError
from dual_update.usecases.github_ports import Label, Protection
from tests.fake_github import faults
from tests.fake_github.faults import Fault
from tests.fake_github.fixtures import NAME
from tests.fake_github.server import FakeGitHub, Token

MARKER = "<!-- dual-update test -->"
LABEL = Label("dual-update", "0e8a16", "Updates of a cluster")
QUICK = Patience(
    answer_seconds=20,
    rate_limit_seconds=0.5,
    pause_seconds=0.01,
    between_reads_seconds=0,
    between_writes_seconds=0,
)


@pytest.fixture
def github(server: FakeGitHub) -> PyGithubRepository:
    return PyGithubRepository(server.url, NAME, "a-token", patience=QUICK)


def opened(github: PyGithubRepository) -> int:
    return github.open_issue(MARKER, "Update", "text", [LABEL]).number


def test_an_issue_is_opened_found_edited_and_closed(server: FakeGitHub, github: PyGithubRepository) -> None:
    number = opened(github)
    assert [one.number for one in github.find_issues(MARKER, LABEL.name)] == [number]
    assert github.edit_issue(number, title="New").title == "New"
    assert not github.edit_issue(number, is_open=False, reason="not_planned").is_open
    assert server.repository(NAME).issues[number]["state_reason"] == "not_planned"
    assert server.repository(NAME).labels["dual-update"]["color"] == "0e8a16"


def test_a_label_taken_off_does_not_hide_an_issue(server: FakeGitHub, github: PyGithubRepository) -> None:
    number = opened(github)
    server.repository(NAME).issues[number]["labels"] = []
    assert [one.number for one in github.find_issues(MARKER, LABEL.name)] == [number]


def test_a_strangers_copy_of_a_marker_is_not_ours(server: FakeGitHub, github: PyGithubRepository) -> None:
    server.tokens["theirs"] = Token("mallory")
    stranger = PyGithubRepository(server.url, NAME, "theirs", patience=QUICK)
    number = opened(stranger)
    stranger.comment(number, MARKER, "mine")
    assert github.find_issues(MARKER, LABEL.name) == []
    assert github.find_comments(number, MARKER) == []
    assert opened(github) != number


def test_the_hundred_and_first_comment_is_found(server: FakeGitHub, github: PyGithubRepository) -> None:
    number = opened(github)
    for index in range(101):
        comment = github.comment(number, f"<!-- {index} -->", "text")
    assert github.find_comments(number, "<!-- 100 -->") == [comment]
    assert github.edit_comment(comment.id, "other").body == "other"


def test_a_pull_request_is_opened_once_and_merged(server: FakeGitHub, github: PyGithubRepository) -> None:
    server.repository(NAME).put("update/one", {"x": "y"})
    server.faults.add(faults.bad_gateway(method="POST", path="/pulls$", after=True))
    pull = github.open_pull(MARKER, "One", "text", "update/one", "main")
    assert [one.number for one in github.find_pulls(MARKER, "update/one")] == [pull.number]
    server.faults.add(faults.lost(method="PUT", path="/merge$", after=True))
    commit = github.merge(pull.number, pull.head_commit)
    assert github.pull(pull.number).merge_commit == commit
    assert len(server.repository(NAME).pulls) == 1


def test_a_deployment_and_its_states(server: FakeGitHub, github: PyGithubRepository) -> None:
    head = server.repository(NAME).put("main", {"x": "y"})
    server.faults.add(faults.bad_gateway(method="POST", path="/deployments$", after=True))
    made = github.deploy(head, "shop", "r1", "production")
    server.faults.add(faults.bad_gateway(method="POST", path="/deployments/[0-9]+/statuses$", after=True))
    github.set_deployment_state(made.id, "success", "x" * 200, "https://example.org/run")
    server.faults.add(faults.bad_gateway(method="POST", path=f"/statuses/{head}", after=True))
    github.set_status(head, "dual-update", "success", "done")
    assert [(one.run, one.commit) for one in github.find_deployments("shop")] == [("r1", head)]
    assert github.find_deployments("other") == []
    assert github.deployment_status(made.id).state == "success"
    repo = server.repository(NAME)
    assert [len(x) for x in (repo.deployments, repo.deployment_statuses[made.id], repo.statuses[head])] == [
        1,
        1,
        1,
    ]


def test_an_environment_that_does_not_exist_protects_nothing(
    server: FakeGitHub, github: PyGithubRepository
) -> None:
    repo = server.repository(NAME)
    rule = {"id": 1, "node_id": "x", "type": "required_reviewers", "prevent_self_review": False}
    reviewer = {"type": "User", "reviewer": repo.user("ada")}
    for name, rules in {
        "guarded": [
            {**rule, "reviewers": [reviewer]},
            {"id": 2, "node_id": "y", "type": "wait_timer", "wait_timer": 5},
        ],
        "open": [],
        "nobody": [{**rule, "reviewers": []}],
    }.items():
        repo.environments[name] = repo.made("environment", name=name, protection_rules=rules)
    assert github.protection("guarded") == Protection(True, True, 5)
    assert github.protection("open") == github.protection("nobody") == Protection(True)
    assert github.protection("missing") == Protection(False)


def test_a_pull_request_is_edited_and_closed(server: FakeGitHub, github: PyGithubRepository) -> None:
    server.repository(NAME).put("update/one", {"x": "y"})
    number = github.open_pull(MARKER, "One", "text", "update/one", "main").number
    assert github.edit_pull(number, title="Two", body="other").body == "other"
    assert not github.edit_pull(number, is_open=False).is_open
    assert [one.title for one in github.find_pulls("", "update/one")] == ["Two"]


def test_a_dispatch_is_never_repeated(server: FakeGitHub, github: PyGithubRepository) -> None:
    github.dispatch("deploy.yml", "main", {"cluster": "shop"})
    server.faults.add(faults.bad_gateway(method="POST", path="/dispatches$", after=True))
    with pytest.raises(WorldError, match="may have been started"):
        github.dispatch("deploy.yml", "main", {})
    assert len(server.repository(NAME).dispatches) == 2


WRITES = {"method": "POST", "path": "/issues$"}


@pytest.mark.parametrize(
    "fault",
    [
        faults.bad_gateway(**WRITES),
        faults.bad_gateway(**WRITES, after=True),
        faults.lost(**WRITES),
        faults.lost(**WRITES, after=True),
        faults.slow(2.5, **WRITES),
        faults.slow(2.5, **WRITES, after=True),
        faults.web_page(**WRITES),
        faults.web_page(**WRITES, after=True),
        faults.web_page(503, **WRITES, after=True),
        faults.bad_gateway(**WRITES, times=2),
    ],
)
def test_whatever_happens_to_the_write_there_is_one_issue(
    server: FakeGitHub, github: PyGithubRepository, fault: Fault
) -> None:
    server.faults.add(fault)
    if fault.seconds:
        github = PyGithubRepository(server.url, NAME, "a-token", patience=replace(QUICK, answer_seconds=2))
    number = opened(github)
    assert list(server.repository(NAME).issues) == [number] == [1]


def test_reads_are_retried_and_end(server: FakeGitHub, github: PyGithubRepository) -> None:
    server.faults.add(faults.bad_gateway(method="GET", times=2), faults.lost(method="GET"))
    assert github.find_issues(MARKER, LABEL.name) == []
    server.faults.add(faults.bad_gateway(method="GET", times=50))
    before = len(server.requests)
    with pytest.raises(WorldError, match="server errors"):
        github.find_issues(MARKER, LABEL.name)
    assert len(server.requests) - before == 1 + QUICK.reads


def switch_issues_off(server: FakeGitHub) -> None:
    server.repository(NAME).has_issues = False


def forbid_issues(server: FakeGitHub) -> None:
    server.tokens["a-token"] = Token(permissions={"issues": "read"})


def scripted(fault: Fault) -> Callable[[FakeGitHub], None]:
    return lambda server: server.faults.add(fault)


FOR_GOOD: dict[str, Any] = {"method": "POST", "path": "/issues$", "times": 99}
READS: dict[str, Any] = {"method": "GET", "times": 99}


@pytest.mark.parametrize(
    ("arrange", "says"),
    [
        (scripted(faults.unauthorized(**READS)), "valid github-token"),
        (forbid_issues, "permissions: issues: write"),
        (scripted(faults.forbidden(**FOR_GOOD)), "permissions: issues: write"),
        (scripted(faults.forbidden(**READS)), "permissions: issues: read"),
        (scripted(faults.rate_limited(**FOR_GOOD)), "used up until"),
        (scripted(faults.rate_limited(429, **FOR_GOOD)), "used up until"),
        (scripted(faults.rate_limited(**READS)), "used up until"),
        (scripted(faults.secondary_limit(**FOR_GOOD)), "run again in 120 seconds"),
        (scripted(faults.secondary_limit(429, **FOR_GOOD)), "run again in 120 seconds"),
        (scripted(faults.secondary_limit(429, retry_after=None, **FOR_GOOD)), "in a few minutes"),
        (scripted(faults.secondary_limit(**READS)), "run again in 120 seconds"),
        (scripted(faults.secondary_limit(429, **READS)), "run again in 120 seconds"),
        (scripted(Fault(404, "Not Found", **FOR_GOOD)), "Check the name"),
        (switch_issues_off, "switch Issues on"),
        (scripted(Fault(422, "Validation Failed", **FOR_GOOD)), "422"),
        (scripted(faults.bad_gateway(**FOR_GOOD)), "502; try again later"),
        (scripted(faults.moved(**FOR_GOOD)), "renamed or moved"),
        (scripted(faults.moved(**READS)), "renamed or moved"),
        (scripted(faults.web_page(**FOR_GOOD)), "web page instead of JSON"),
        (scripted(faults.web_page(**READS)), "web page instead of JSON"),
        (scripted(faults.lost(**FOR_GOOD)), "connection to GitHub broke"),
        (scripted(Fault(418, "teapot\n::error::x a-token", **FOR_GOOD)), "418"),
    ],
)
def test_each_failure_says_in_one_sentence_what_to_change(
    server: FakeGitHub,
    github: PyGithubRepository,
    arrange: Callable[[FakeGitHub], None],
    says: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    arrange(server)
    caplog.set_level("DEBUG")
    with pytest.raises(DualUpdateError) as refused:
        opened(github)
    told = str(refused.value)
    assert says in told
    assert "\n::" not in told
    assert "a-token" not in told + repr(github) + caplog.text + "".join(capfd.readouterr())
    assert server.repository(NAME).issues == {}


def test_a_number_that_is_missing_is_no_success(server: FakeGitHub, github: PyGithubRepository) -> None:
    server.faults.add(Fault(201, "an issue, would you believe it", **FOR_GOOD))
    with pytest.raises(WorldError, match="lacks what it must hold"):
        opened(github)


def test_nobody_there() -> None:
    github = PyGithubRepository("http://127.0.0.1:9", NAME, "a-token", patience=QUICK)
    with pytest.raises(WorldError, match="cannot be reached at http://127"):
        github.find_issues(MARKER, LABEL.name)


def test_an_enterprises_address_works(tmp_path: Path) -> None:
    with FakeGitHub(tmp_path, prefix="/api/v3") as server:
        server.repository(NAME)
        github = PyGithubRepository(server.url + "/", NAME, "a-token", patience=QUICK)
        opened(github)
        for index in range(101):
            github.comment(1, f"<!-- {index} -->", "text")
        assert len(github.find_comments(1, "<!-- 100 -->")) == 1
        assert {one.path.split("/repos/")[0] for one in server.requests} == {"/api/v3"}


@pytest.mark.parametrize(
    ("url", "name", "token"),
    [
        ("api.example.org", NAME, "t"),
        ("https://api.example.org", "shop", "t"),
        ("https://api.example.org", "a/b/../c", "t"),
        ("https://api.example.org", NAME, ""),
        ("https://api.example.org", NAME, "to\nken"),
    ],
)
def test_wrong_settings_are_told_without_asking(url: str, name: str, token: str) -> None:
    with pytest.raises(UsageError):
        PyGithubRepository(url, name, token)
