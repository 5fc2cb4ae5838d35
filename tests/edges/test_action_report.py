"""After the deploys: what their jobs left behind, told on GitHub through the action's door."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dual_update.core.refusal import Refusal
from dual_update.core.run import Outcome, RunReport, ServiceResult
from tests.edges.actions_world import NAME, WEB, Job, Ran, commands_in, git
from tests.fake_github.faults import Fault
from tests.fake_github.server import FakeGitHub

NEW_TAG = WEB.replace("web:1", "web:2")


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Job]:
    with FakeGitHub(tmp_path) as server:
        job = Job(server, tmp_path, monkeypatch, capsys)
        job.put({"compose.yml": WEB})
        yield job


@pytest.fixture
def detected(job: Job) -> Ran:
    """A new image, merged and found fit for deploying."""
    job.deployed(job.tip())
    job.put({"compose.yml": NEW_TAG}, "update/web")
    job.merge("update/web")
    ran = job.push()
    assert ran.outputs["deploy"] == "auto"
    return ran


def ended(detected: Ran, outcome: Outcome, **more: Any) -> RunReport:
    """How the deploy job's `apply --format json` told it."""
    [entry] = detected.clusters
    report = RunReport(
        run="20260101T000000Z-abcd",
        cluster=entry["name"],
        outcome=outcome,
        reason=None if outcome == "succeeded" else "Not healthy after 20 s: web: exited with 1.",
        update_type="image_only",
        strategy="watchtower",
        from_commit=entry["base"],
        to_commit=entry["head"],
        started_at="2026-01-01T00:00:00Z",
        duration_seconds=12.5,
        services={"web": ServiceResult("roll", "sha256:" + "1" * 64, "sha256:" + "2" * 64, True)},
    )
    return replace(report, **more)


def report(job: Job, detected: Ran, *files: RunReport | str, log: str = "", **inputs: str) -> Ran:
    """The report job: the artifacts of the deploy jobs lie in the workspace."""
    workspace = job.clone()
    folder = workspace / ".dual-update-reports"
    folder.mkdir()
    for number, one in enumerate(files):
        text = one if isinstance(one, str) else json.dumps(one.to_json())
        (folder / f"{number}.json").write_text(text)
        (folder / f"{number}.log").write_text(log)
    given = {"command": "report", "clusters": detected.outputs["clusters"], **inputs}
    return job.step("push", {"after": job.tip()}, workspace=workspace, **given)


def test_success_closes_the_issue_sets_deployment_and_status(job: Job, detected: Ran) -> None:
    ran = report(job, detected, ended(detected, "succeeded"))
    assert ran.code == 0
    assert job.open_issues() == []
    [issue] = job.issues()
    assert issue["state_reason"] == "completed"
    head = detected.clusters[0]["head"]
    newest = job.github.find_deployments("shop")[0]
    assert (newest.commit, newest.run, newest.environment) == (head, "20260101T000000Z-abcd", "production")
    assert job.github.deployment_status(newest.id).state == "success"
    assert job.statuses(head) == {"dual-update/shop": "success", "dual-update/deploy/shop": "success"}
    assert any("Deployed" in one for one in job.comments(issue["number"]))
    assert "| shop | succeeded |" in ran.summary
    assert ran.annotations("error") == []


def test_the_next_comparison_starts_where_the_report_says_the_cluster_is(job: Job, detected: Ran) -> None:
    report(job, detected, ended(detected, "succeeded"))
    assert job.push().outputs["needs-update"] == "false"


def test_failure_leaves_the_issue_open_with_evidence_and_offers_one_way_back(job: Job, detected: Ran) -> None:
    seen = {"service": "web", "health": "GET /health: 500", "log": "boom at line 3"}
    failed = ended(detected, "rolled_back", evidence=seen)
    ran = report(job, detected, failed)
    report(job, detected, failed)
    assert ran.code == 0, "the deploy job is red already; telling about it is not"
    [issue] = job.open_issues()
    [told] = [one for one in job.comments(issue["number"]) if "rolled" in one or "failed" in one]
    for words in ("web", "GET /health: 500", "boom at line 3", "exited with 1"):
        assert words in told
    reverts = [one for one in job.repo.pulls.values() if one["head"]["ref"].startswith("dual-update/revert-")]
    assert [one["state"] for one in reverts] == ["open"]
    assert reverts[0]["html_url"] in ran.summary
    newest = job.github.find_deployments("shop")[0]
    assert job.github.deployment_status(newest.id).state == "failure"
    assert set(job.statuses(newest.commit).values()) == {"failure"}
    assert len(ran.annotations("error")) == 1
    assert job.push().outputs["needs-update"] == "true", "what failed is still to be done"


def test_without_evidence_the_end_of_the_deploys_log_is_told_redacted(job: Job, detected: Ran) -> None:
    log = "PASSWORD=tr0ub4dor-and-3\n::add-mask::x\nthe end\n"
    ran = report(job, detected, ended(detected, "refused"), log=log)
    [issue] = job.open_issues()
    told = "\n".join(job.comments(issue["number"]))
    assert "the end" in told
    everything = told + ran.log + ran.summary + json.dumps(ran.outputs)
    assert "tr0ub4dor" not in everything
    assert [value for name, value in commands_in(ran.log) if name == "add-mask"] == ["a-token"]


def test_a_look_that_found_nothing_is_no_news(job: Job) -> None:
    job.deployed(job.tip())
    looked = job.step("schedule", {})
    assert looked.outputs["deploy"] == "auto"
    before = len(job.server.written())
    ran = report(job, looked, ended(looked, "unchanged", reason=None, update_type="none"))
    assert "| shop | unchanged |" in ran.summary
    assert len(job.server.written()) == before


def test_a_deploy_job_that_left_no_report_is_said_and_deploys_nothing(job: Job, detected: Ran) -> None:
    before = len(job.github.find_deployments("shop"))
    ran = report(job, detected)
    assert ran.code == 0
    assert "| shop | no report |" in ran.summary
    assert "dual-update status" in ran.annotations("warning")[0]
    assert len(job.github.find_deployments("shop")) == before
    assert job.statuses(detected.clusters[0]["head"]) == {"dual-update/shop": "failure"}  # it waits no longer


def refusal(detected: Ran, reason: str, **more: Any) -> str:
    """What `apply --format json` answers where it began nothing."""
    [entry] = detected.clusters
    last = {"runs": entry["runs"], "run": f"run-{entry['runs'][:6]}"}
    return json.dumps(Refusal(entry["name"], entry["head"], 5, reason, "Look.", **{**last, **more}).to_json())


def test_what_the_host_did_not_begin_is_told_once(job: Job, detected: Ran) -> None:
    head, deployments = detected.clusters[0]["head"], len(job.repo.deployments)
    for _ in range(3):  # every scheduled run tries it again
        ran = report(job, detected, refusal(detected, "Locked by run-7 (password=hunter22)."))
    assert "| shop | not begun |" in ran.summary
    assert "Locked by run-7" in ran.annotations("error")[0]
    [issue] = job.open_issues()
    [told] = [one for one in job.comments(issue["number"]) if "Not begun" in one]
    assert "Locked by run-7" in told
    assert job.statuses(head) == {"dual-update/shop": "failure", "dual-update/deploy/shop": "failure"}
    assert len(job.repo.deployments) == deployments, "nothing was deployed"
    report(job, detected, refusal(detected, "web was changed by hand."))
    assert ["changed by hand" in one for one in job.comments(issue["number"]) if "Not begun" in one] == [True]
    assert "hunter22" not in json.dumps([*job.repo.comments.values(), *job.repo.statuses[head]]) + ran.log
    assert job.step("schedule", {}).outputs["deploy"] == "auto", "it is tried again"


def test_the_hosts_word_on_what_runs_is_where_the_next_comparison_starts(job: Job, detected: Ran) -> None:
    """Somebody went back on the host, and GitHub was not told."""
    older = job.repo.git("rev-list", "--max-parents=0", "main").strip()
    for _ in range(2):
        report(job, detected, refusal(detected, "Something else runs.", runs=older, run="by-hand"))
    assert [one.commit for one in job.github.find_deployments("shop")].count(older) == 1
    ran = job.step("schedule", {})
    assert json.loads(ran.outputs["report"])["base"] == older


def test_a_late_refusal_takes_nothing_from_what_was_deployed(job: Job, detected: Ran) -> None:
    report(job, detected, ended(detected, "succeeded"))
    head = detected.clusters[0]["head"]
    report(job, detected, refusal(detected, "It is older than what runs.", runs=head))
    assert set(job.statuses(head).values()) == {"success"}


def test_what_was_refused_is_tried_again_and_told_once(job: Job, detected: Ran) -> None:
    for number in range(3):
        report(job, detected, ended(detected, "refused", run=f"run-{number}"))
        assert job.step("schedule", {}).outputs["deploy"] == "auto"
    [issue] = job.open_issues()
    assert len([one for one in job.comments(issue["number"]) if "Not deployed" in one]) == 1
    assert len(job.github.find_deployments("shop", detected.clusters[0]["head"])) == 1


def test_a_rollback_is_told_and_stays(job: Job, detected: Ran) -> None:
    """GitHub knows what runs again, says so where the change came from, and does not bring it back."""
    report(job, detected, ended(detected, "succeeded"))
    [entry] = detected.clusters
    back = ended(
        detected, "succeeded", run="back", kind="rollback", from_commit=entry["head"], to_commit=entry["base"]
    )
    ran = report(job, detected, back, clusters="")
    assert ran.code == 0
    newest = job.github.find_deployments("shop")[0]
    assert (newest.commit, newest.environment) == (entry["base"], "production")
    [left] = job.github.find_deployments("shop", entry["head"])
    assert job.github.deployment_status(left.id).state == "inactive"
    assert job.statuses(entry["head"])["dual-update/deploy/shop"] == "failure"
    pull = next(iter(job.repo.pulls))
    assert any("Taken back: shop" in one for one in job.comments(pull))
    ran = job.step("schedule", {})
    assert (ran.outputs["needs-update"], ran.outputs["deploy"]) == ("true", "no")


@pytest.mark.parametrize(
    ("more", "outcome", "is_started"),
    [
        ({"next": True}, "succeeded", True),
        ({"next": True}, "unchanged", True),
        ({"next": True}, "rolled_back", False),
        ({"next": True, "bake_seconds": 600}, "succeeded", False),
        ({"next": False}, "succeeded", False),
    ],
)
def test_the_next_stage_is_started_by_a_good_one_only(
    job: Job, detected: Ran, more: dict[str, Any], outcome: Outcome, *, is_started: bool
) -> None:
    matrix = json.dumps([{**detected.clusters[0], **more}])
    report(job, detected, ended(detected, outcome), clusters=matrix)
    assert job.repo.dispatches == (
        [{"ref": "main", "inputs": {}, "workflow": "deploy.yml"}] if is_started else []
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"schema": "dual-update/run/v1"}',
        '{"schema": "dual-update/plan/v1", "cluster": "shop"}',
        "[" * 5000,
    ],
)
def test_a_file_that_is_no_report_is_left_alone(job: Job, detected: Ran, text: str) -> None:
    ran = report(job, detected, text)
    assert ran.code == 0
    assert "no report" in ran.summary


def test_a_report_of_a_cluster_that_nobody_deployed_is_not_believed(job: Job, detected: Ran) -> None:
    other = replace(ended(detected, "succeeded"), cluster="other")
    ran = report(job, detected, other)
    assert job.github.find_deployments("other") == []
    assert "| shop | no report |" in ran.summary


def test_a_matrix_that_is_none_is_a_usage_error(job: Job, detected: Ran) -> None:
    for text in ("{", "3", '["shop"]'):
        ran = report(job, detected, clusters=text)
        assert ran.code == 2
        assert len(ran.annotations("error")) == 1


def test_a_github_that_refuses_changes_no_result(job: Job, detected: Ran) -> None:
    job.server.faults.add(Fault(502, times=1000))
    ran = report(job, detected, ended(detected, "succeeded"))
    assert ran.code == 0
    assert ran.annotations("warning")


# Two repositories

CHILD = "its-DeFine/engine"


def pointing(job: Job, commit: str, branch: str) -> str:
    """A branch of the parent on which the submodule points to this commit."""
    repo = job.repo
    modules = '[submodule "engine"]\n\tpath = engine\n\turl = ../engine\n'
    tip = repo.put(branch, {".gitmodules": modules})
    tree = (
        job.github.moved_pointer(tip, "engine", commit)
        if job.github.pointer(tip, "engine")
        else planted(job, tip, commit)
    )
    new = repo.commit(tree, "point", tip)
    repo.git("update-ref", f"refs/heads/{branch}", new)
    return new


def with_submodule(job: Job) -> Path:
    """What actions/checkout leaves with `submodules: recursive`."""
    workspace = job.clone()
    child = str(job.server.repository(CHILD).git_dir)
    git("config", "submodule.engine.url", child, cwd=workspace)
    git("-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init", cwd=workspace)
    return workspace


def planted(job: Job, tip: str, commit: str) -> str:
    lines = job.repo.git("ls-tree", tip) + f"160000 commit {commit}\tengine\n"
    return job.repo.git("mktree", "--missing", feed=lines.encode()).strip()


def test_a_deploy_waits_until_the_submodules_commit_is_on_its_branch(job: Job) -> None:
    child = job.server.repository(CHILD)
    old = child.commit_of("main")
    assert old
    job.tokens["submodule-token"] = "a-token"
    job.deployed(pointing(job, old, "main"))
    new = child.put("feature", {"app.py": "new\n"})
    job.put({"compose.yml": NEW_TAG}, "main")
    pointing(job, new, "main")
    early = job.step("push", {"after": job.tip()}, workspace=with_submodule(job))
    assert early.outputs["update-type"] == "image_only"
    assert early.outputs["deploy"] == "no"
    assert early.outputs["submodule-issue-url"] or early.outputs["submodule-pr-url"]
    assert any(one["state"] == "open" for one in child.pulls.values()), "it is proposed there"
    child.git("update-ref", "refs/heads/main", new)
    ran = job.step("push", {"after": job.tip()}, workspace=with_submodule(job))
    assert ran.outputs["deploy"] == "auto"


def test_without_a_token_of_its_own_the_submodule_is_left_alone(job: Job) -> None:
    child = job.server.repository(CHILD)
    new = child.put("feature", {"app.py": "new\n"})
    job.deployed(pointing(job, new, "main"))
    job.put({"compose.yml": NEW_TAG}, "main")
    ran = job.push()
    assert ran.outputs["deploy"] == "auto"
    assert child.pulls == {}
    assert ran.outputs["submodule-issue-url"] == ""


def test_on_schedule_what_the_submodule_has_is_offered(job: Job) -> None:
    child = job.server.repository(CHILD)
    old = child.commit_of("main")
    assert old
    job.tokens["submodule-token"] = "a-token"
    job.deployed(pointing(job, old, "main"))
    child.put("main", {"app.py": "new\n"})
    ran = job.step("schedule", {})
    [pull] = job.repo.pulls.values()
    assert ran.outputs["pr-url"] == pull["html_url"]
    assert pull["base"]["ref"] == "main"
    assert NAME in pull["html_url"]
