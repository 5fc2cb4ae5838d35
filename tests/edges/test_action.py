"""What happens when: each event through the action's door, with the fake GitHub on the other side."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.edges.actions_world import NAME, WEB, ZEROS, Job, git
from tests.fake_github.faults import Fault
from tests.fake_github.server import FakeGitHub, Token

PORTS = WEB + '    ports: ["8080:80"]\n'
NEW_TAG = WEB.replace("web:1", "web:2")
DATA = WEB + "    volumes: [data:/data]\nvolumes:\n  data: {}\n"
OTHER_DATA = DATA.replace("data: {}", "data:\n    driver_opts: {type: tmpfs, device: tmpfs, o: size=1m}")


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Job]:
    with FakeGitHub(tmp_path) as server:
        job = Job(server, tmp_path, monkeypatch, capsys)
        job.put({"compose.yml": WEB})
        yield job


# Pushes to the deploy branch


def test_an_image_pushed_to_the_deploy_branch_is_deployed_by_itself(job: Job) -> None:
    base = job.tip()
    job.deployed(base)
    head = job.put({"compose.yml": NEW_TAG})
    ran = job.push(before=base)
    assert ran.code == 0
    assert ran.outputs["update-type"] == "image_only"
    assert ran.outputs["needs-update"] == "true"
    assert ran.outputs["strategy"] == "watchtower"
    assert ran.outputs["deploy"] == "auto"
    [entry] = ran.clusters
    assert entry["name"] == "shop"
    assert entry["base"] == base
    assert entry["head"] == head
    assert entry["deploy"] == "auto"
    assert entry["fingerprint"] == ran.outputs["fingerprint"]
    assert entry["runner"] == ["self-hosted", "dual-update"]
    assert entry["environment"] == "production"
    assert entry["scope"] == "cluster"
    assert job.statuses(head) == {"dual-update/shop": "pending"}
    [issue] = job.open_issues()
    assert issue["title"] == "shop: roll web"
    assert issue["html_url"] == ran.outputs["issue-url"]
    assert json.loads(ran.outputs["report"])["services"]["web"]["action"] == "roll"
    assert "### Images only" in ran.summary
    assert "github.example/its-DeFine/shop/actions/runs/77" in ran.summary


def test_the_base_is_the_last_good_deployment_not_the_commit_before_the_push(job: Job) -> None:
    base = job.tip()
    job.deployed(base)
    job.github.deploy(job.tip(), "other", "r", "production")
    skipped = job.put({"compose.yml": PORTS})
    failed = job.github.deploy(skipped, "shop", "run-2", "production")
    job.github.set_deployment_state(failed.id, "failure", "broken")
    job.put({"compose.yml": PORTS.replace("web:1", "web:2")})
    ran = job.push(before=skipped)
    assert ran.outputs["update-type"] == "mixed"
    assert json.loads(ran.outputs["report"])["base"] == base


@pytest.mark.parametrize(("has_reviewers", "deploy"), [(True, "approve"), (False, "no")])
def test_structure_pushed_without_a_pull_request_asks_a_person_or_waits(
    job: Job, has_reviewers: bool, deploy: str
) -> None:
    if has_reviewers:
        job.protect()
    base = job.tip()
    job.deployed(base)
    job.put({"compose.yml": PORTS})
    ran = job.push(before=base)
    assert ran.outputs["deploy"] == deploy
    assert bool(ran.clusters) is has_reviewers
    [issue] = job.open_issues()
    assert ("To approve" in issue["body"]) is has_reviewers
    assert has_reviewers or "does not exist" in issue["body"]


def test_structure_that_came_by_an_approved_pull_request_is_deployed(job: Job) -> None:
    job.deployed(job.tip())
    job.put({"compose.yml": PORTS}, "feature/ports")
    proposal = job.push("feature/ports")
    [issue] = job.open_issues()
    assert proposal.outputs["pr-url"] == job.repo.pulls[2]["html_url"]
    job.merge("feature/ports")
    ran = job.push()
    assert ran.outputs["deploy"] == "auto"
    assert job.open_issues() == [issue], "the proposal's issue goes on"
    assert ran.outputs["issue-url"] == proposal.outputs["issue-url"]
    assert ran.outputs["fingerprint"] in job.open_issues()[0]["body"]


@pytest.mark.parametrize("approve", ["true", "false"])
def test_what_can_lose_data_is_never_deployed_without_a_person(job: Job, approve: str) -> None:
    job.put({"compose.yml": DATA})
    job.protect()
    job.deployed(job.tip())
    job.put({"compose.yml": OTHER_DATA}, "update/volume")
    job.merge("update/volume")
    assert job.push(auto_approve=approve).outputs["deploy"] == "approve"


def test_auto_approve_deploys_structure(job: Job) -> None:
    job.deployed(job.tip())
    job.put({"compose.yml": PORTS})
    assert job.push(auto_approve="true").outputs["deploy"] == "auto"


def test_the_first_deploy_asks_a_person(job: Job) -> None:
    job.protect()
    job.put({"compose.yml": NEW_TAG})
    assert job.push(before=job.tip()).outputs["needs-update"] == "false"
    ran = job.push(before=ZEROS)
    assert ran.outputs["deploy"] == "approve"
    assert ran.clusters[0]["base"] == ""


def test_an_old_run_started_again_does_not_take_the_cluster_back(job: Job) -> None:
    old = job.put({"compose.yml": NEW_TAG})
    workspace = job.clone()
    new = job.put({"compose.yml": WEB.replace("web:1", "web:3")})
    job.deployed(new)
    git("fetch", "--quiet", cwd=workspace)
    ran = job.step("push", {"before": ZEROS, "after": old}, workspace=workspace)
    assert ran.outputs["deploy"] == "no"
    assert "older than what runs" in ran.summary


def test_a_commit_that_was_forced_away_is_not_deployed_by_its_old_run(job: Job) -> None:
    base = job.tip()
    job.deployed(base)
    gone = job.put({"compose.yml": NEW_TAG})
    workspace = job.clone()
    job.repo.git("update-ref", "refs/heads/main", base)
    git("fetch", "--quiet", "--prune", "origin", cwd=workspace)
    ran = job.step("push", {"before": base, "after": gone}, workspace=workspace)
    assert ran.outputs["update-type"] == "image_only"
    assert ran.outputs["deploy"] == "no"
    assert job.issues() == []


def test_nothing_to_do_closes_what_was_said(job: Job) -> None:
    base = job.tip()
    job.deployed(base)
    job.put({"compose.yml": NEW_TAG})
    job.push(before=base)
    assert len(job.open_issues()) == 1
    head = job.put({"compose.yml": "# a comment\n" + WEB})
    ran = job.push(before=base)
    assert ran.outputs["update-type"] == "none"
    assert ran.outputs["needs-update"] == "false"
    assert ran.outputs["deploy"] == "no"
    assert ran.outputs["clusters"] == "[]"
    assert job.open_issues() == []
    assert job.statuses(head) == {"dual-update/shop": "success"}


def test_the_same_event_twice_says_nothing_new(job: Job) -> None:
    base = job.tip()
    job.deployed(base)
    job.put({"compose.yml": NEW_TAG})
    first = job.push(before=base)
    written = len(job.server.written())
    again = job.push(before=base)
    assert again.outputs == first.outputs
    assert len(job.server.written()) == written


# Proposals


def test_structure_on_another_branch_gets_an_issue_and_a_pull_request(job: Job) -> None:
    job.deployed(job.tip())
    job.put({"compose.yml": PORTS}, "feature/ports")
    ran = job.push("feature/ports")
    assert ran.outputs["update-type"] == "structural"
    assert ran.outputs["deploy"] == "no"
    assert ran.outputs["clusters"] == "[]"
    [issue] = job.open_issues()
    [pull] = job.repo.pulls.values()
    assert ran.outputs["issue-url"] == issue["html_url"]
    assert ran.outputs["pr-url"] == pull["html_url"]
    assert f"#{issue['number']}" in pull["body"]


def test_an_image_on_another_branch_gets_an_issue_only(job: Job) -> None:
    job.put({"compose.yml": NEW_TAG}, "update/web")
    ran = job.push("update/web")
    assert ran.outputs["update-type"] == "image_only"
    assert len(job.open_issues()) == 1
    assert job.repo.pulls == {}
    assert ran.outputs["pr-url"] == ""


def test_an_image_on_an_update_branch_is_merged_and_dispatched_where_auto_approve_allows(job: Job) -> None:
    base = job.tip()
    job.deployed(base)
    job.put({"compose.yml": NEW_TAG}, "update/web")
    assert job.push("update/web").code == 0
    assert job.tip() == base, "nobody allowed it"
    job.push("update/web", auto_approve="true")
    assert job.tip() != base
    assert [(one["workflow"], one["ref"]) for one in job.repo.dispatches] == [("deploy.yml", "main")]
    bot = {"sender": {"type": "Bot"}, "inputs": None}
    assert job.step("workflow_dispatch", bot).outputs["deploy"] == "auto"
    [issue] = job.open_issues()
    assert issue["number"] == 1, "the proposal's issue goes on"
    job.put({"compose.yml": PORTS}, "update/ports")
    job.push("update/ports", auto_approve="true")
    assert len(job.repo.dispatches) == 1, "structure is not merged by itself"


def test_proposals_of_two_branches_and_the_deploy_branch_do_not_close_each_other(job: Job) -> None:
    base = job.tip()
    job.deployed(base)
    job.put({"compose.yml": NEW_TAG}, "update/a")
    job.put({"compose.yml": WEB.replace("web:1", "web:3")}, "update/b")
    job.put({"compose.yml": PORTS})
    job.push(before=base)
    job.push("update/a")
    job.push("update/b")
    assert len(job.open_issues()) == 3
    gone = job.step("push", {"before": base, "after": ZEROS, "deleted": True}, ref="refs/heads/update/a")
    assert gone.code == 0
    assert gone.outputs["deploy"] == "no"
    assert len(job.open_issues()) == 2


def test_a_proposal_is_not_blamed_for_what_came_to_the_deploy_branch_since(job: Job) -> None:
    job.put({"compose.yml": NEW_TAG}, "update/web")
    job.put({"compose.yml": WEB, "db.yml": "x\n"})
    job.put({"compose.yml": PORTS})
    assert job.push("update/web").outputs["update-type"] == "image_only"


def test_a_pull_request_gets_one_comment_changed_in_place_and_a_status(job: Job) -> None:
    job.put({"compose.yml": NEW_TAG}, "update/web")
    pull = job.github.open_pull("", "web", "text", "update/web", "main")
    job.pull_request(pull.number)
    head = job.put({"compose.yml": PORTS}, "update/web")
    ran = job.pull_request(pull.number)
    assert ran.outputs["deploy"] == "no"
    assert ran.outputs["pr-url"] == job.repo.pulls[pull.number]["html_url"]
    [comment] = job.comments(pull.number)
    assert "Structure changed" in comment
    assert job.statuses(head) == {"dual-update/shop": "success"}
    assert job.issues() == []


def test_a_forks_pull_request_gets_the_summary_and_nothing_is_written(job: Job) -> None:
    job.put({"compose.yml": PORTS}, "theirs")
    pull = job.github.open_pull("", "web", "text", "theirs", "main")
    written = len(job.server.written())
    ran = job.pull_request(pull.number, fork="stranger/shop")
    assert ran.code == 0
    assert "Structure changed" in ran.summary
    assert ran.outputs["deploy"] == "no"
    assert len(job.server.written()) == written
    assert ran.annotations("warning") == []


@pytest.mark.parametrize("action", ["closed"])
def test_a_pull_request_that_ends_unmerged_takes_its_issue_along(job: Job, action: str) -> None:
    job.put({"compose.yml": PORTS}, "feature/ports")
    job.push("feature/ports")
    [pull] = job.repo.pulls.values()
    payload = {
        "action": action,
        "pull_request": {
            "number": pull["number"],
            "merged": False,
            "head": {"sha": job.tip("feature/ports"), "ref": "feature/ports", "repo": {"full_name": NAME}},
            "base": {"sha": job.tip(), "ref": "main"},
        },
    }
    assert job.step("pull_request", payload).code == 0
    assert job.open_issues() == []


# Whom the policy is taken from

LOOSE = "rules:\n  service.ports: none\n"
STRICT = "rules:\n  service.image: structural\n"


def test_a_pull_request_does_not_choose_the_rules_it_is_judged_by(job: Job) -> None:
    job.put({"compose.yml": PORTS, ".github/dual-update.yml": LOOSE}, "sneaky")
    pull = job.github.open_pull("", "web", "text", "sneaky", "main")
    assert job.pull_request(pull.number, fork="stranger/shop").outputs["update-type"] == "structural"
    assert job.push("sneaky").outputs["update-type"] == "structural"


def test_a_push_that_loosens_the_rules_is_not_let_in_by_them(job: Job) -> None:
    job.protect()
    base = job.put({".github/dual-update.yml": STRICT})
    job.deployed(base)
    job.put({".github/dual-update.yml": "rules: {}\n", "compose.yml": NEW_TAG})
    ran = job.push(before=base)
    assert ran.outputs["update-type"] == "image_only"
    assert ran.outputs["deploy"] == "approve", "by the rules before it this was structure"
    job.deployed(job.tip())
    job.put({"compose.yml": WEB.replace("web:1", "web:3")})
    assert job.push().outputs["deploy"] == "auto", "from the next commit on they hold"


HOOKED = "hooks:\n  before:\n    - {name: migrate, command: [./migrate.sh], undo: []}\n"


def test_what_runs_on_the_host_is_not_let_in_beside_an_image(job: Job) -> None:
    job.protect()
    base = job.tip()
    job.deployed(base)
    job.put({".github/dual-update.yml": HOOKED, "migrate.sh": "#!/bin/sh\n", "compose.yml": NEW_TAG})
    assert job.push(before=base).outputs["deploy"] == "approve", "a hook came along"
    job.deployed(job.tip())
    job.put({"compose.yml": WEB.replace("web:1", "web:3")})
    assert job.push().outputs["deploy"] == "auto"
    job.deployed(job.tip())
    job.put({"migrate.sh": "#!/bin/sh\nrm -rf /\n", "compose.yml": NEW_TAG})
    assert job.push().outputs["deploy"] == "approve", "what the hook runs has changed"


def test_the_policy_names_the_deploy_branch(job: Job) -> None:
    job.put({".github/dual-update.yml": "deploy_branch: live\n"})
    job.repo.git("update-ref", "refs/heads/live", job.tip())
    job.deployed(job.tip())
    job.put({"compose.yml": NEW_TAG})
    assert job.push().outputs["deploy"] == "no"
    job.put({"compose.yml": NEW_TAG}, "live")
    assert job.push("live").outputs["deploy"] == "auto"


@pytest.mark.parametrize(
    ("policy", "compose", "word"),
    [
        ("mode: watchtower_only\n", PORTS, r"watchtower\_only"),
        ("driver: service\n", NEW_TAG, "update-orchestrator"),
    ],
)
def test_what_the_policy_holds_back_is_said_and_not_deployed(
    job: Job, policy: str, compose: str, word: str
) -> None:
    job.put({".github/dual-update.yml": policy})
    job.deployed(job.tip())
    job.put({"compose.yml": compose})
    ran = job.push(auto_approve="true")
    assert ran.outputs["deploy"] == "no"
    assert word in job.open_issues()[0]["body"]


# Other events

CODE = {"compose.yml": "services:\n  web:\n    image: registry.example/web:1\n    build: app\n"}


def test_code_whose_image_is_built_elsewhere_waits_for_that_build(job: Job) -> None:
    job.put({**CODE, "app/Dockerfile": "FROM scratch\n"})
    job.deployed(job.tip())
    job.put({"app/Dockerfile": "FROM scratch\nCOPY x /\n", "app/x": "x\n"}, "code")
    head = job.merge("code")
    assert job.push().outputs["deploy"] == "no"
    by_hand = {"sender": {"type": "User"}, "inputs": None}
    assert job.step("workflow_dispatch", by_hand).outputs["deploy"] == "auto", "the host looks at the image"
    built: dict[str, Any] = {
        "workflow_run": {
            "conclusion": "success",
            "event": "push",
            "head_sha": head,
            "head_branch": "main",
            "head_repository": {"full_name": NAME},
        }
    }
    assert job.step("workflow_run", built).outputs["deploy"] == "auto"
    built["workflow_run"]["head_repository"]["full_name"] = "stranger/shop"
    assert job.step("workflow_run", built).outputs["deploy"] == "no"
    built["workflow_run"] |= {"head_repository": {"full_name": NAME}, "conclusion": "failure"}
    assert job.step("workflow_run", built).outputs["deploy"] == "no"


@pytest.mark.parametrize(
    ("payload", "deploy"),
    [
        ({"sender": {"type": "User"}, "inputs": {"approve": "true"}}, "auto"),
        ({"sender": {"type": "User"}, "inputs": {"approve": "false"}}, "no"),
        ({"sender": {"type": "User"}, "inputs": None}, "auto"),
        ({"sender": {"type": "Bot"}, "inputs": {"approve": "true"}}, "no"),
    ],
)
def test_run_workflow_is_a_persons_word_when_a_person_says_it(
    job: Job, payload: dict[str, Any], deploy: str
) -> None:
    job.deployed(job.tip())
    job.put({"compose.yml": PORTS})
    assert job.step("workflow_dispatch", payload).outputs["deploy"] == deploy


def test_run_workflow_on_another_branch_deploys_nothing(job: Job) -> None:
    job.deployed(job.tip())
    head = job.put({"compose.yml": NEW_TAG}, "update/web")
    person = {"sender": {"type": "User"}, "inputs": None}
    ran = job.step("workflow_dispatch", person, ref="refs/heads/update/web", sha=head)
    assert ran.outputs["deploy"] == "no"
    ran = job.step("workflow_dispatch", person, head=head)
    assert ran.outputs["deploy"] == "no", "nor when main's workflow is given its commit"


@pytest.mark.parametrize("event", ["schedule", "repository_dispatch"])
def test_other_events_on_the_deploy_branch_follow_the_approval_rule(job: Job, event: str) -> None:
    job.deployed(job.tip())
    job.put({"compose.yml": NEW_TAG})
    assert job.step(event, {}).outputs["deploy"] == "auto"
    job.put({"compose.yml": PORTS})
    assert job.step(event, {}).outputs["deploy"] == "no"


@pytest.mark.parametrize(
    ("image", "deploy"), [("web:1", "auto"), (f"web@sha256:{'1' * 64}", "no"), (None, "no")]
)
def test_on_schedule_the_host_looks_for_new_content_under_tags(
    job: Job, image: str | None, deploy: str
) -> None:
    web = {"image": image} if image else {"build": "."}
    job.put({"compose.yml": json.dumps({"services": {"web": web}}), "Dockerfile": "FROM scratch\n"})
    assert job.step("schedule", {}).outputs["deploy"] == "no", "nobody deployed it yet"
    job.deployed(job.tip())
    ran = job.step("schedule", {})
    assert ran.outputs["needs-update"] == "false"
    assert ran.outputs["deploy"] == deploy
    assert [one["update_type"] for one in ran.clusters] == (["none"] if deploy == "auto" else [])
    assert job.push().outputs["deploy"] == "no", "a push is about what was pushed"
    assert job.open_issues() == []


@pytest.mark.parametrize("event", ["issues", "release", "made_up"])
def test_an_event_that_is_not_known_is_looked_at_and_changes_nothing(job: Job, event: str) -> None:
    job.deployed(job.tip())
    job.put({"compose.yml": NEW_TAG})
    ran = job.step(event, {"repository": "no object", "pull_request": 3})
    assert ran.code == 0
    assert ran.outputs["deploy"] == "no"
    assert job.issues() == []


def test_a_tag_is_no_branch(job: Job) -> None:
    job.deployed(job.tip())
    job.put({"compose.yml": NEW_TAG})
    ran = job.step("push", {"before": ZEROS, "after": job.tip()}, ref="refs/tags/v1")
    assert ran.outputs["deploy"] == "no"
    assert job.issues() == []


# GitHub fails


def test_what_github_refuses_is_a_warning_and_changes_no_answer(job: Job) -> None:
    base = job.tip()
    job.deployed(base)
    job.put({"compose.yml": NEW_TAG})
    job.server.tokens["reader"] = Token(permissions={"contents": "read", "deployments": "read"})
    job.tokens["github-token"] = "reader"
    ran = job.push(before=base)
    assert ran.code == 0
    assert ran.outputs["deploy"] == "auto"
    warnings = ran.annotations("warning")
    assert any("issues" in one for one in warnings), warnings
    assert all("\n" not in one for one in warnings)


def test_a_github_that_does_not_answer_leaves_the_base_to_the_event_and_the_rest_to_a_person(
    job: Job,
) -> None:
    base = job.tip()
    job.deployed(base)
    job.put({"compose.yml": NEW_TAG})
    job.server.faults.add(Fault(502, times=1000))
    ran = job.push(before=base)
    assert ran.code == 0
    assert ran.outputs["update-type"] == "image_only"
    assert ran.outputs["deploy"] == "no"
    assert ran.outputs["issue-url"] == ""
    assert ran.annotations("warning")


def test_without_a_token_the_decision_is_made_and_nothing_is_told(job: Job) -> None:
    base = job.tip()
    job.put({"compose.yml": NEW_TAG})
    job.tokens = {}
    ran = job.push(before=base)
    assert ran.code == 0
    assert ran.outputs["update-type"] == "image_only"
    assert ran.outputs["deploy"] == "no"


# Inputs


@pytest.mark.parametrize(
    ("fail_on", "code"), [("", 0), ("any", 1), ("structural", 1), ("image_only,mixed", 0), ("no", 1)]
)
def test_fail_on_names_the_verdicts_that_fail_the_step(job: Job, fail_on: str, code: int) -> None:
    job.deployed(job.tip())
    job.put({"compose.yml": PORTS})
    ran = job.push(fail_on=fail_on)
    assert ran.code == code
    assert ran.outputs["update-type"] == "structural"


@pytest.mark.parametrize(
    "inputs",
    [
        {"command": "explode"},
        {"mode": "sideways"},
        {"auto_approve": "perhaps"},
        {"fail_on": "everything"},
        {"config": "nowhere.yml"},
        {"clusters": "nowhere.yml"},
        {"base": "no-such-commit"},
        {"compose_files": "nowhere.yml"},
    ],
)
def test_wrong_inputs_end_with_one_annotation_and_code_2(job: Job, inputs: dict[str, str]) -> None:
    ran = job.push(**inputs)
    assert ran.code == 2
    assert len(ran.annotations("error")) == 1
    assert ran.outputs == {}


def test_a_shallow_clone_is_told_how_to_be_deepened(job: Job) -> None:
    job.put({"compose.yml": NEW_TAG})
    job.deployed(
        job.tip("main~1") if job.repo.commit_of("main~1") else job.repo.git("rev-parse", "main~1").strip()
    )
    workspace = job.folder / "shallow" / "shop"
    git("clone", "--quiet", "--depth=1", f"file://{job.repo.git_dir}", str(workspace))
    ran = job.step("push", {"before": ZEROS, "after": job.tip()}, workspace=workspace)
    assert ran.code == 2
    assert "fetch-depth: 0" in ran.annotations("error")[0]


CLUSTERS = """\
clusters:
  - {name: us, stage: 1, runner: [self-hosted, us], environment: us-live, compose_files: [us.yml]}
  - {name: eu, stage: 0, path: /srv/eu, compose_files: [eu.yml]}
  - {name: by-api, url: "https://by-api.example", compose_files: [eu.yml]}
"""


def test_several_clusters_are_judged_each_by_its_own_deployment(job: Job) -> None:
    job.put({"us.yml": WEB, "eu.yml": WEB, "multi-cluster.yml": CLUSTERS})
    job.deployed(job.tip(), "us")
    job.deployed(job.tip(), "eu")
    job.deployed(job.tip(), "by-api")
    job.protect("us-live")
    head = job.put({"eu.yml": NEW_TAG, "us.yml": PORTS})
    before = job.tip("main~1")
    ran = job.push(clusters="multi-cluster.yml")
    [eu] = ran.clusters
    assert (eu["name"], eu["deploy"], eu["environment"]) == ("eu", "auto", "production")
    assert (eu["path"], eu["runs"], eu["next"], eu["batch"]) == ("/srv/eu", before, True, 1)
    assert ran.outputs["deploy"] == "auto"
    assert "Stage 0 comes first, and eu is not on this commit yet." in ran.summary
    assert ran.outputs["update-type"] == "structural"
    assert ran.outputs["fingerprint"] == ""
    assert len(json.loads(ran.outputs["report"])) == 3
    assert set(job.statuses(head)) == {"dual-update/us", "dual-update/eu", "dual-update/by-api"}
    only = {"sender": {"type": "User"}, "inputs": {"approve": "false", "cluster": "eu"}}
    again = job.step("workflow_dispatch", only, clusters="multi-cluster.yml")
    assert [one["name"] for one in again.clusters] == ["eu"]
    assert again.outputs["deploy"] == "auto"

    job.deployed(head, "eu")
    ran = job.step("workflow_dispatch", {"sender": {"type": "Bot"}}, clusters="multi-cluster.yml")
    [us] = ran.clusters
    assert (us["name"], us["deploy"], us["environment"]) == ("us", "approve", "us-live")
    assert (us["runner"], us["approval"], us["next"]) == (["self-hosted", "us"], "environment", False)


STAGES = """\
stages:
  - {stage: 0, name: staging, bake_seconds: 3600}
  - {stage: 1, batch: 2}
clusters:
  - {name: staging, stage: 0}
  - {name: eu, stage: 1}
  - {name: us, stage: 1}
"""


def staged_clusters(job: Job) -> str:
    """Three clusters in two stages, all on the same commit for long; then a new image. Its commit."""
    pinned = [WEB.replace("web:1", f"web@sha256:{digit * 64}") for digit in "12"]  # no registry to ask
    job.put({"compose.yml": pinned[0], "multi-cluster.yml": STAGES})
    for name in ("staging", "eu", "us"):
        job.deployed(job.tip(), name)
    return job.put({"compose.yml": pinned[1]})


def said_at(job: Job, time: str) -> None:
    """As if every deployment's status had been set then."""
    for statuses in job.repo.deployment_statuses.values():
        for one in statuses:
            one["created_at"] = time


def test_a_later_stage_waits_until_the_earlier_one_has_baked(job: Job) -> None:
    head = staged_clusters(job)
    assert [one["name"] for one in job.push(clusters="multi-cluster.yml").clusters] == ["staging"]
    job.deployed(head, "staging")
    said_at(job, f"{datetime.now(UTC) - timedelta(minutes=50):%FT%TZ}")
    ran = job.step("schedule", {}, clusters="multi-cluster.yml")
    assert ran.clusters == []
    assert "Stage staging is watched until" in ran.summary
    said_at(job, f"{datetime.now(UTC) - timedelta(minutes=61):%FT%TZ}")
    ran = job.step("schedule", {}, clusters="multi-cluster.yml")
    assert [(one["name"], one["batch"], one["next"]) for one in ran.clusters] == [
        ("eu", 2, False),
        ("us", 2, False),
    ]


def test_a_stage_that_failed_holds_the_later_ones(job: Job) -> None:
    head = staged_clusters(job)
    job.deployed(head, "staging", "failure")
    for event in ("push", "schedule"):
        ran = job.step(event, {"before": ZEROS, "after": head}, clusters="multi-cluster.yml")
        assert ran.clusters == []
        assert "This commit failed here before." in ran.summary
    assert job.statuses(head)["dual-update/staging"] == "failure"
    by_hand = {"sender": {"type": "User"}, "inputs": {"approve": "true", "cluster": "eu"}}
    ran = job.step("workflow_dispatch", by_hand, clusters="multi-cluster.yml")
    assert [one["name"] for one in ran.clusters] == ["eu"]  # a person named it


@pytest.mark.parametrize(
    ("state", "word"), [("failure", "failed here before"), ("inactive", "was left"), ("success", "was left")]
)
def test_a_commit_that_was_there_before_returns_by_a_person_only(job: Job, state: str, word: str) -> None:
    """It failed, or somebody went back from it: no schedule may bring it again."""
    old = job.tip()
    head = job.put({"compose.yml": NEW_TAG})
    job.deployed(head, state=state)
    job.deployed(old)
    ran = job.step("schedule", {})
    assert (ran.outputs["deploy"], ran.outputs["needs-update"]) == ("no", "true")
    assert word in ran.summary
    ran = job.step("workflow_dispatch", {"sender": {"type": "User"}, "inputs": {"approve": "true"}})
    assert (ran.outputs["deploy"], ran.clusters[0]["approval"]) == ("auto", "person")


def test_a_failed_commit_is_tried_again_with_a_new_build(job: Job) -> None:
    job.deployed(job.tip())
    head = job.put({"compose.yml": NEW_TAG})
    job.deployed(head, state="failure")
    built = {"conclusion": "success", "event": "push", "head_sha": head, "head_branch": "main"}
    payload = {"workflow_run": {**built, "head_repository": {"full_name": "its-DeFine/shop"}}}
    assert job.step("workflow_run", payload).outputs["deploy"] == "auto"
