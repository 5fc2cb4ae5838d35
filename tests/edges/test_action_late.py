"""Pushes that come late or bring nothing new: they set their own commit's status and spoil nothing else."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.edges.actions_world import NAME, WEB, ZEROS, Job, Ran, git
from tests.fake_github.faults import Fault
from tests.fake_github.server import FakeGitHub

PORTS = WEB + '    ports: ["8080:80"]\n'
OTHER_PORTS = PORTS.replace("8080", "9090")
NEW_TAG = WEB.replace("web:1", "web:2")


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Job]:
    with FakeGitHub(tmp_path) as server:
        job = Job(server, tmp_path, monkeypatch, capsys)
        job.put({"compose.yml": WEB})
        job.deployed(job.tip())
        job.protect()
        yield job


def late(job: Job, commit: str, before: str, branch: str = "main") -> Ran:
    """The run for a push after which the branch moved on.

    actions/checkout fetches everything, and then sets the event's branch to the event's commit.
    """
    workspace = job.clone()
    git("update-ref", f"refs/remotes/origin/{branch}", commit, cwd=workspace)
    payload = {"before": before, "after": commit}
    return job.step("push", payload, ref=f"refs/heads/{branch}", workspace=workspace)


def told(job: Job) -> list[tuple[object, ...]]:
    """Every issue and pull request as it stands."""
    return [
        (one["number"], one["state"], one["title"], one["body"], job.comments(one["number"]))
        for one in [*job.issues(), *job.repo.pulls.values()]
    ]


def test_a_late_run_leaves_the_clusters_issue_to_the_newer_commit(job: Job) -> None:
    base = job.tip()
    older = job.put({"compose.yml": PORTS})
    newer = job.put({"compose.yml": OTHER_PORTS})
    job.push(before=older)
    before = told(job)
    ran = late(job, older, base)
    assert told(job) == before
    assert len(before) == 1
    assert (ran.outputs["issue-url"], ran.outputs["pr-url"]) == ("", "")
    assert job.statuses(older) == {"dual-update/shop": "pending"}
    assert f"A newer commit is on main: {newer[:12]}" in ran.summary
    assert any(newer[:12] in one for one in ran.annotations("notice"))


def test_a_late_run_of_another_branch_leaves_its_issue_and_pull_request(job: Job) -> None:
    older = job.put({"compose.yml": PORTS}, "feature/ports")
    job.put({"compose.yml": OTHER_PORTS}, "feature/ports")
    job.push("feature/ports")
    before = told(job)
    ran = late(job, older, ZEROS, "feature/ports")
    assert told(job) == before
    assert len(before) == 2
    assert "A newer commit is on feature/ports" in ran.summary
    assert job.statuses(older) == {"dual-update/shop": "success"}


def test_a_late_run_of_a_branch_that_is_gone_opens_nothing(job: Job) -> None:
    head = job.put({"compose.yml": PORTS}, "feature/ports")
    workspace = job.clone()
    job.repo.git("update-ref", "-d", "refs/heads/feature/ports")
    payload = {"before": ZEROS, "after": head}
    ran = job.step("push", payload, ref="refs/heads/feature/ports", workspace=workspace)
    assert told(job) == []
    assert "The branch feature/ports is gone." in ran.summary


def test_a_late_run_of_a_pull_request_leaves_its_comment(job: Job) -> None:
    older = job.put({"compose.yml": NEW_TAG}, "update/web")
    pull = job.github.open_pull("", "web", "text", "update/web", "main")
    job.put({"compose.yml": PORTS}, "update/web")
    job.pull_request(pull.number)
    before = told(job)
    head = {"sha": older, "ref": "update/web", "repo": {"full_name": NAME}}
    base = {"sha": job.tip(), "ref": "main"}
    late_event = {"number": pull.number, "head": head, "base": base}
    ran = job.step("pull_request", {"action": "synchronize", "pull_request": late_event}, sha=older)
    assert told(job) == before
    assert "A newer commit is on update/web" in ran.summary
    job.merge("update/web")
    ran = job.pull_request(pull.number)
    assert job.comments(pull.number) == before[0][-1], "what was proposed is still told after the merge"
    assert "It lies on main already." in ran.summary


def test_a_commit_that_was_forced_away_is_not_deployed_though_checkout_set_the_branch_back(job: Job) -> None:
    base = job.tip()
    gone = job.put({"compose.yml": NEW_TAG})
    workspace = job.clone()  # with the commit, as checkout fetches it by its id
    job.repo.git("update-ref", "refs/heads/main", base)
    payload = {"before": base, "after": gone}
    ran = job.step("push", payload, workspace=workspace)
    assert (ran.outputs["deploy"], ran.outputs["update-type"]) == ("no", "image_only")
    assert told(job) == []


def test_where_the_tip_cannot_be_asked_the_run_counts_as_the_newest(job: Job) -> None:
    base = job.tip()
    job.put({"compose.yml": NEW_TAG})
    job.server.faults.add(Fault(403, "no", path="/git/ref/", times=9))
    ran = job.push(before=base)
    assert ran.outputs["deploy"] == "auto"
    assert len(job.open_issues()) == 1
    assert any("/git/ref/heads/main" in one for one in ran.annotations("warning"))


@pytest.mark.parametrize("is_deployed", [True, False])
def test_a_new_branch_at_the_tip_deploys_and_announces_nothing(job: Job, is_deployed: bool) -> None:
    head = job.put({"compose.yml": PORTS})
    if is_deployed:
        job.deployed(head)
    job.repo.git("update-ref", "refs/heads/feature", head)
    ran = job.push("feature")
    assert (ran.outputs["deploy"], ran.outputs["clusters"], ran.outputs["needs-update"]) == (
        "no",
        "[]",
        "false",
    )
    assert (told(job), job.statuses(head)) == ([], {})


def test_a_new_branch_at_an_older_commit_deploys_and_announces_nothing(job: Job) -> None:
    older = job.tip()
    job.deployed(job.put({"compose.yml": NEW_TAG}))
    job.repo.git("update-ref", "refs/heads/hotfix", older)
    ran = job.push("hotfix")
    assert (ran.outputs["deploy"], ran.outputs["clusters"]) == ("no", "[]")
    assert (told(job), job.statuses(older)) == ([], {})


def test_a_new_branch_does_not_take_the_word_from_a_commit_that_waits(job: Job) -> None:
    base = job.tip()
    head = job.put({"compose.yml": PORTS})
    assert job.push(before=base).outputs["deploy"] == "approve"
    before = told(job)
    job.repo.git("update-ref", "refs/heads/feature", head)
    assert job.push("feature").outputs["deploy"] == "no"
    assert told(job) == before
    assert job.statuses(head) == {"dual-update/shop": "pending"}


def test_a_branch_that_was_reset_to_the_deploy_branch_takes_its_issue_along(job: Job) -> None:
    job.put({"compose.yml": PORTS}, "feature/ports")
    job.push("feature/ports")
    assert len(job.open_issues()) == 1
    job.repo.git("update-ref", "refs/heads/feature/ports", job.tip())
    job.push("feature/ports")
    assert job.open_issues() == []
