"""How a deploy ended, told on the fake GitHub: once, with evidence, whatever GitHub does meanwhile."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from dual_update.adapters.github import PyGithubRepository
from dual_update.core.redaction import redacted, tail
from dual_update.core.run import RunReport, ServiceResult, StepResult
from dual_update.usecases.announce import LABEL, LONGEST_BODY, marker_of
from dual_update.usecases.outcome import Deploy, Evidence, begin, body, context, deploy_of, tell
from tests.fake_github import faults
from tests.fake_github.faults import Fault
from tests.fake_github.repository import Repository
from tests.fake_github.server import FakeGitHub

MARKER = marker_of("shop", "f" * 64)


@pytest.fixture
def merged(github: PyGithubRepository, repo: Repository) -> tuple[str, str]:
    """An update that came by pull request #2, told by issue #1: the commit before and the merge."""
    base = repo.commit_of("main")
    assert base
    repo.put("update", {"compose.yml": "image: web:2\n"})
    github.open_issue(MARKER, "shop: roll web", "text", [LABEL])
    pull = github.open_pull("<!-- x -->", "Update", "text", "update", "main")
    return base, github.merge(pull.number, pull.head_commit)


def ran(outcome: str, base: str | None, head: str, **more: Any) -> dict[str, Any]:
    report = RunReport(
        run="20260101T000000Z-abcd",
        cluster="shop",
        outcome=outcome,  # type: ignore[arg-type]
        reason=None if outcome == "succeeded" else "Not healthy after 20 s: web: exited with 1.",
        update_type="image_only",
        strategy="watchtower",
        from_commit=base,
        to_commit=head,
        started_at="2026-01-01T00:00:00Z",
        duration_seconds=12.5,
        services={"web": ServiceResult("roll", "sha256:" + "1" * 64, "sha256:" + "2" * 64, True)},
        steps=(StepResult("prove", "shop", "to be sure", "failed", 20.0),) if outcome != "succeeded" else (),
    )
    return replace(report, **more).to_json()


def deployed(run: dict[str, Any]) -> Deploy:
    return deploy_of(run, "production", "main", fingerprint="f" * 64, url="https://example.org/run/1")


EVIDENCE = Evidence("web", "unhealthy: GET /health 500", "boom\npassword=hunter22\n", frozenset())


def test_success_closes_the_issue_and_is_told_on_the_pull_request(
    github: PyGithubRepository, repo: Repository, merged: tuple[str, str]
) -> None:
    run = ran("succeeded", *merged)
    deploy = deployed(run)
    assert begin(deploy, github) == ()
    told = tell(run, deploy, github)
    assert (told.issues, told.pulls, told.revert, told.warnings) == ((1,), (2,), None, ())
    assert (repo.issues[1]["state"], repo.issues[1]["state_reason"]) == ("closed", "completed")
    texts = [one["body"] for one in repo.comments.values()]
    assert len(texts) == 2
    assert all("Deployed: shop" in one and "`111111111111" not in one for one in texts)
    assert "| web | roll | 111111111111 -\\&gt; 222222222222 | yes |".replace("\\&", "&") in texts[0]
    assert told.deployment is not None
    states = [one["state"] for one in repo.deployment_statuses[told.deployment]]
    assert states == ["in_progress", "success"]
    assert github.status(merged[1], context("shop"))[0] == "success"
    assert len(repo.deployments) == 1
    made = next(iter(repo.deployments.values()))
    assert (made["task"], made["payload"]) == ("dual-update", {"cluster": "shop", "run": run["run"]})


def test_told_twice_is_told_once(
    server: FakeGitHub, github: PyGithubRepository, merged: tuple[str, str]
) -> None:
    for outcome in ("succeeded", "rolled_back"):
        run = ran(outcome, *merged, run=outcome)
        first = tell(run, deployed(run), github, EVIDENCE)
        writes = len(server.written())
        again = tell(run, deployed(run), github, EVIDENCE)
        new = [one.path for one in server.written()[writes:]]
        assert new == []
        assert (again.deployment, again.revert) == (first.deployment, first.revert)


def test_failure_keeps_the_issue_open_and_offers_one_way_back(
    github: PyGithubRepository, repo: Repository, merged: tuple[str, str]
) -> None:
    base, head = merged
    later = repo.put("main", {"later.txt": "kept\n"})
    run = ran("rolled_back", base, head)
    told = tell(run, deployed(run), github, EVIDENCE)
    assert told.warnings == ()
    assert repo.issues[1]["state"] == "open"
    text = next(iter(repo.comments.values()))["body"]
    for word in ("Failing service", "GET /health 500", "boom", "exited with 1", "prove shop", "merge #3"):
        assert word in text
    assert "hunter22" not in text
    assert told.revert is not None
    assert told.revert.base == "main"
    assert told.deployment is not None
    assert github.deployment_status(told.deployment).state == "failure"
    assert github.status(head, context("shop"))[0] == "failure"
    # Merging it gives the old files back and keeps what came later.
    github.merge(told.revert.number, told.revert.head_commit)
    listed = repo.git("ls-tree", "-r", "--name-only", "main").split()
    assert listed == ["README.md", "later.txt"]
    assert repo.git("rev-list", "--count", f"{later}..main").strip() == "2"


def test_a_way_back_that_was_closed_is_not_offered_again_and_success_closes_it(
    github: PyGithubRepository, repo: Repository, merged: tuple[str, str]
) -> None:
    run = ran("rolled_back", *merged)
    revert = tell(run, deployed(run), github).revert
    assert revert is not None
    again = ran("rolled_back", *merged, run="second")
    assert tell(again, deployed(again), github).revert == revert
    done = ran("succeeded", *merged, run="third")
    tell(done, deployed(done), github)
    assert repo.pulls[revert.number]["state"] == "closed"
    assert repo.commit_of(revert.head) is None
    assert [one["body"].count("No longer needed") for one in repo.comments.values()].count(1) == 1
    once_more = ran("rolled_back", *merged, run="fourth")
    assert tell(once_more, deployed(once_more), github).revert is not None
    assert [one["state"] for one in repo.pulls.values()].count("open") == 0
    assert repo.issues[1]["state"] == "open"


def test_another_clusters_way_back_is_left_open(
    github: PyGithubRepository, repo: Repository, merged: tuple[str, str]
) -> None:
    run = ran("rolled_back", *merged)
    revert = tell(run, deployed(run), github).revert
    other = ran("succeeded", *merged, run="other", cluster="shop-eu")
    tell(other, deployed(other), github)
    assert revert is not None
    assert repo.pulls[revert.number]["state"] == "open"


def test_a_first_deploy_that_fails_has_no_way_back_and_opens_an_issue(
    github: PyGithubRepository, repo: Repository
) -> None:
    head = repo.commit_of("main")
    assert head
    run = ran("rolled_back", None, head)
    told = tell(run, deployed(run), github)
    assert (told.revert, told.warnings) == (None, ())
    assert repo.issues[1]["title"] == f"shop: the update to {head[:12]} failed"
    assert repo.issues[1]["body"].startswith(MARKER)


def test_two_clusters_of_one_environment_are_both_known_as_deployed(
    github: PyGithubRepository, repo: Repository, merged: tuple[str, str]
) -> None:
    for cluster in ("eu", "us"):
        run = ran("succeeded", *merged, cluster=cluster)
        tell(run, replace(deployed(run), environment="staging"), github)
    states = [github.deployment_status(github.find_deployments(one)[0].id).state for one in ("eu", "us")]
    assert states == ["success", "success"]


@pytest.mark.parametrize("outcome", ["succeeded", "unchanged", "rolled_back", "rollback_failed", "refused"])
def test_every_outcome_has_its_words(outcome: str) -> None:
    run = ran(outcome, "a" * 40, "b" * 40)
    text = body(run, deployed(run), EVIDENCE)
    assert ("recover" in text) == (outcome == "rollback_failed")
    assert ("dual-update rollback" in text) == (outcome in {"succeeded", "unchanged"})
    assert ("git revert" in text) == (outcome not in {"succeeded", "unchanged"})
    assert text.count("<details>") == text.count("</details>")


FAULTS: list[Callable[..., Fault]] = [
    faults.bad_gateway,
    faults.lost,
    faults.web_page,
    faults.forbidden,
    faults.rate_limited,
    faults.secondary_limit,
    faults.unauthorized,
    faults.moved,
]


@pytest.mark.parametrize("lag", [0, 2])
def test_through_every_fault_the_last_telling_leaves_everything_once(
    server: FakeGitHub, github: PyGithubRepository, repo: Repository, merged: tuple[str, str], lag: int
) -> None:
    repo.lag = lag
    run = ran("rolled_back", *merged)
    for number in range(len(FAULTS)):
        make = FAULTS[number % len(FAULTS)]
        server.faults.waiting.clear()
        server.faults.add(make(method="POST|PATCH", times=2, after=number % 2 == 0))
        told = tell(run, deployed(run), github, EVIDENCE)
        assert all("\n" not in one and one.startswith("GitHub was not told") for one in told.warnings)
    server.faults.waiting.clear()
    for _ in range(1 + lag):
        told = tell(run, deployed(run), github, EVIDENCE)
    assert told.warnings == ()
    assert [one["state"] for one in repo.issues.values()] == ["open", "closed", "open"]
    assert len(repo.deployments) == 1
    assert len(repo.comments) == 2
    assert len(repo.pulls) == 2


@pytest.mark.parametrize("after", [True, False])
def test_a_write_whose_answer_is_lost_is_not_repeated_while_lists_lag(
    server: FakeGitHub, github: PyGithubRepository, repo: Repository, merged: tuple[str, str], after: bool
) -> None:
    """Two looks at a list do not show yet what was made."""
    repo.lag = 2
    server.faults.add(faults.bad_gateway(method="POST", after=after, path="/(comments|deployments|pulls)$"))
    run = ran("rolled_back", *merged)
    assert tell(run, deployed(run), github, EVIDENCE).warnings == ()
    assert (len(repo.deployments), len(repo.comments), len(repo.pulls)) == (1, 2, 2)


def test_one_part_that_is_refused_keeps_none_of_the_others_back(
    server: FakeGitHub, github: PyGithubRepository, repo: Repository, merged: tuple[str, str]
) -> None:
    server.faults.add(faults.forbidden(method="POST", path="/git/commits$", times=99))
    run = ran("rolled_back", *merged)
    told = tell(run, deployed(run), github)
    assert told.revert is None
    assert len(told.warnings) == 1
    assert "permissions: contents: write" in told.warnings[0]
    assert "git revert --no-edit" in next(iter(repo.comments.values()))["body"]
    assert github.status(merged[1], context("shop"))[0] == "failure"


EVIL = (
    "@everyone --> <img src=x> | [x](https://evil.example) ````\n::error::boo\r\n</details><!-- dual-update"
)


def test_nothing_that_a_program_logs_breaks_out(
    github: PyGithubRepository, repo: Repository, merged: tuple[str, str]
) -> None:
    services = {EVIL: ServiceResult("roll", None, EVIL, False)}
    run = ran("rolled_back", *merged, cluster=EVIL, reason=EVIL, run=EVIL, services=services)
    deploy = replace(deployed(run), url="https://example.org/) @everyone")
    told = tell(run, deploy, github, Evidence(EVIL, EVIL, EVIL))
    assert told.warnings == ()
    text = next(iter(repo.comments.values()))["body"]
    outside = "".join(text.split("`````")[::2])
    outside = re.sub(r"(?<!\\)`[^`\n]*`", "", outside)  # in a code span nothing is acted on
    assert outside.count("<!--") == outside.count("-->") == 1
    assert text.count("`````") == 4
    for word in ("@everyone", "<img", "](https", "</details><"):
        assert word not in outside
    assert "\n::error" not in outside
    assert told.revert is not None
    for shown in (told.revert.title, told.revert.body):
        assert "@everyone" not in shown
    assert "<img" not in told.revert.body
    assert "\n" not in told.revert.title


def test_five_thousand_services_and_endless_logs_fit() -> None:
    services = {f"service-{number:04}": ServiceResult("roll", "1" * 64, "2" * 64) for number in range(5000)}
    run = ran("rolled_back", "a" * 40, "b" * 40, services=services, reason="& <" * 9000)
    text = body(run, deployed(run), Evidence("web", "<&`" * 99_999, "a long line `` <\n" * 99_999))
    assert len(text) <= LONGEST_BODY - 500
    assert text.count("<details>") == text.count("</details>") == 3
    assert "more" in text
    assert "To try again" in text


@pytest.mark.parametrize(
    ("line", "kept", "gone"),
    [
        ("DB_PASSWORD=correct-horse", "DB_PASSWORD=", "correct-horse"),
        ('{"api_key": "abcd1234"}', "api_key", "abcd1234"),
        ("Authorization: Bearer abcdefgh12345678", "Authorization", "abcdefgh12345678"),
        ("login ghp_0123456789abcdefABCDEF0123456789abcd", "login", "ghp_0123"),
        ("postgres://shop:hunter22@db/shop", "db/shop", "hunter22"),
        ("\x1b[31mred\x1b[0m alert\x07", "red alert", "\x1b"),
        ("it says mysecretvalue aloud", "aloud", "mysecretvalue"),
        ("listening on port=8080", "port=8080", "***"),
    ],
)
def test_what_looks_like_a_secret_is_not_in_a_log_tail(line: str, kept: str, gone: str) -> None:
    shown = redacted(line, {"mysecretvalue"})
    assert kept in shown
    assert gone not in shown


def test_a_key_that_begins_above_the_tail_is_taken_out_too() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\n" + "abc\n" * 99 + "-----END RSA PRIVATE KEY-----\nlast\n"
    assert tail(key, 5) == "***\nlast"
