"""What the conditions of dual-update-system.yml say, by GitHub's own evaluator, case by case."""

import itertools
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from tests.workflows.workflow import SYSTEM, Evaluator, expressions, load, workflow_files

WORKFLOW = load(SYSTEM)
JOBS = WORKFLOW["jobs"]

US = {"name": "us", "runner": ["self-hosted", "us"], "deploy": "auto", "environment": None, "batch": 1}
EU = {
    "name": "eu",
    "runner": ["self-hosted", "eu"],
    "deploy": "approve",
    "environment": "production",
    "batch": 1,
}

RUN = {"conclusion": "success", "event": "push", "head_repository": {"full_name": "ada/shop"}}
EVENTS: dict[str, dict[str, Any]] = {
    "push": {"deleted": False},
    "pull_request": {"number": 1},
    "schedule": {"schedule": "17 */6 * * *"},
    "repository_dispatch": {"action": "dual-update"},
    "workflow_run": {"workflow_run": RUN},
    "workflow_dispatch": {"inputs": {"command": "deploy", "cluster": ""}},
}
FINE = {"success": True, "failure": False, "cancelled": False}


def contexts(
    name: str,
    event: Mapping[str, Any] | None = None,
    *,
    inputs: Mapping[str, Any] | None = None,
    needs: Mapping[str, Any] | None = None,
    repository: str = "ada/shop",
) -> dict[str, Any]:
    """The contexts of a job, as a run of this event in this repository has them."""
    event = EVENTS[name] if event is None else event
    if inputs is None:
        inputs = event.get("inputs", {}) if name == "workflow_dispatch" else {}
    github = {"repository": repository, "event_name": name, "event": event, "token": "t"}
    return {"github": github, "inputs": inputs, "needs": needs or {}, "secrets": {}, "vars": {}}


def needed(result: str = "success", **outputs: str) -> dict[str, Any]:
    return {"result": result, "outputs": {name.replace("_", "-"): value for name, value in outputs.items()}}


def runs(github_says: Evaluator, job: str, told: dict[str, Any], status: Mapping[str, bool] = FINE) -> bool:
    return github_says.is_true(JOBS[job]["if"], status, **told)


def test_every_condition_is_known_here() -> None:
    """A condition that is new in the workflow needs its cases below."""
    conditions = {
        name if step is None else f"{name}: {step['name']}"
        for name, job in JOBS.items()
        for step in (None, *job["steps"])
        if "if" in (job if step is None else step)
    }
    assert conditions == {
        "preview",
        "detect",
        "approve",
        "approve: A person has approved",
        "deploy",
        "deploy: Keep the run's report",
        "rollback",
        "rollback: Keep the run's report",
        "report",
    }


@pytest.mark.parametrize("path", workflow_files(), ids=lambda path: f"{path.parents[2].name}-{path.stem}")
def test_every_expression_is_one(github_says: Evaluator, path: Any) -> None:
    """Each is parsed and answered, with nothing known: no event, no input, no output of another job."""
    known = [
        "github",
        "inputs",
        "needs",
        "secrets",
        "vars",
        "matrix",
        "steps",
        "runner",
        "jobs",
        "env",
        "strategy",
        "job",
    ]
    for expression in expressions(load(path)):
        if not re.search(
            r"fromJSON\((needs|steps)\.", expression
        ):  # an empty text is no JSON: an error there, too
            github_says.is_true(expression, FINE, **{name: {} for name in known})


# --- detect and preview ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_is_looked_at_once(github_says: Evaluator, name: str) -> None:
    told = contexts(name)
    assert runs(github_says, "preview", told) is (name == "pull_request")
    assert runs(github_says, "detect", told) is (name != "pull_request")


@pytest.mark.parametrize("name", EVENTS)
def test_where_the_file_comes_from_it_runs_by_hand_only(github_says: Evaluator, name: str) -> None:
    told = contexts(name, repository="its-DeFine/dual-update")
    assert not runs(github_says, "preview", told)
    assert runs(github_says, "detect", told) is (name == "workflow_dispatch")


def test_a_branch_that_was_deleted_is_looked_at_too(github_says: Evaluator) -> None:
    """What was said about it is moot then; the action says so and finds nothing to deploy."""
    assert runs(github_says, "detect", contexts("push", {"deleted": True}))


@pytest.mark.parametrize(
    "other",
    [
        {"conclusion": "failure"},
        {"conclusion": "cancelled"},
        {"conclusion": None},
        {"event": "pull_request"},
        {"event": "workflow_dispatch"},
        {"head_repository": {"full_name": "mallory/shop"}},
        {"head_repository": None},  # the fork was deleted meanwhile
    ],
    ids=str,
)
def test_an_image_build_counts_only_after_a_good_push_of_this_repository(
    github_says: Evaluator, other: dict[str, Any]
) -> None:
    assert not runs(github_says, "detect", contexts("workflow_run", {"workflow_run": {**RUN, **other}}))


@pytest.mark.parametrize(
    ("command", "looks", "may_deploy", "rolls_back"),
    [
        ("deploy", True, True, False),
        ("check", True, False, False),
        ("rollback", False, False, True),
        ("", True, True, False),  # not given: the default
        ("destroy", False, False, False),
    ],
)
@pytest.mark.parametrize("way", ["by hand", "called", "called by hand"])
def test_commands(
    github_says: Evaluator, command: str, way: str, *, looks: bool, may_deploy: bool, rolls_back: bool
) -> None:
    """Chosen in the Actions tab of this file, given by a calling file, or chosen in that file's tab."""
    event = {"inputs": {"command": command}} if way != "called" else {"deleted": False}
    inputs = {"command": ""} if way == "called by hand" else {"command": command}
    needs = {
        "detect": needed(deploy="auto", clusters=json.dumps([US])),
        "approve": needed("skipped"),
    }
    told = contexts("push" if way == "called" else "workflow_dispatch", event, inputs=inputs, needs=needs)
    assert runs(github_says, "detect", told) is looks
    assert runs(github_says, "deploy", told) is may_deploy
    assert runs(github_says, "rollback", told) is (rolls_back and way != "called")


# --- the gate --------------------------------------------------------------------------------------

DECISIONS = ["auto", "approve", "no", "", "yes", "true", "auto approve", None]
RESULTS = ["success", "failure", "cancelled", "skipped"]
CLUSTERS = [json.dumps([US, EU]), "[]", "", None]


def test_the_gate_opens_for_the_positive_words_only(github_says: Evaluator) -> None:
    """Every answer of detect with every end of detect and approve, against the rule written once more."""
    count = opened = 0
    for decision, clusters, detected, approved, is_cancelled, event in itertools.product(
        DECISIONS, CLUSTERS, RESULTS, RESULTS, [False, True], ["push", "pull_request", "schedule"]
    ):
        outputs = {
            name: value for name, value in (("deploy", decision), ("clusters", clusters)) if value is not None
        }
        needs = {"detect": needed(detected, **outputs), "approve": needed(approved)}
        all_good = detected == approved == "success"
        status = {
            "success": all_good and not is_cancelled,
            "failure": not all_good,
            "cancelled": is_cancelled,
        }
        is_agreed = decision == "auto" or (decision == "approve" and approved == "success")
        rule = (
            is_agreed
            and detected == "success"
            and clusters not in ("[]", "", None)
            and not is_cancelled
            and event != "pull_request"
        )
        said = runs(github_says, "deploy", contexts(event, needs=needs), status)
        assert said is rule, (decision, clusters, detected, approved, is_cancelled, event)
        count, opened = count + 1, opened + said
    assert (count, opened) == (8 * 4 * 4 * 4 * 2 * 3, 10)


@pytest.mark.parametrize("decision", DECISIONS)
@pytest.mark.parametrize("name", EVENTS)
def test_a_person_is_asked_only_when_one_is_needed(
    github_says: Evaluator, name: str, decision: str | None
) -> None:
    outputs = {"clusters": json.dumps([US, EU]), **({} if decision is None else {"deploy": decision})}
    told = contexts(name, needs={"detect": needed(**outputs)})
    assert runs(github_says, "approve", told) is (decision == "approve" and name != "pull_request")
    failed = {"success": False, "failure": True, "cancelled": False}
    assert not runs(github_says, "approve", told, failed)


def test_nobody_is_asked_about_no_cluster(github_says: Evaluator) -> None:
    assert not runs(github_says, "approve", contexts("push", needs={"detect": needed(deploy="approve")}))


def test_outputs_are_never_compared_with_negative_words() -> None:
    """An output that GitHub dropped is an empty text: `!= 'no'` would open the gate."""
    for job in JOBS.values():
        assert not re.search(r"outputs\.[\w-]+\s*!=", str(job.get("if", "")))


@pytest.mark.parametrize(
    "cluster", [US, EU, {**EU, "environment": None}, {**US, "environment": "production"}]
)
def test_the_environment_that_asks(github_says: Evaluator, cluster: dict[str, Any]) -> None:
    """Its own environment asks where a person is needed; where none could ask, the job fails instead."""
    job = JOBS["approve"]
    name = github_says.filled(job["environment"]["name"], matrix={"cluster": cluster})
    is_asked = cluster["deploy"] == "approve"
    assert (name or "") == (cluster["environment"] or "" if is_asked else "")
    assert job["environment"]["deployment"] is False
    step = job["steps"][0]
    assert github_says.is_true(step["if"], FINE, matrix={"cluster": cluster}) is is_asked
    assert (
        github_says.filled(step["env"]["ENVIRONMENT"], matrix={"cluster": cluster}) == cluster["environment"]
    )


# --- deploy and rollback ---------------------------------------------------------------------------


def test_whose_word_it_is_was_settled_by_detect() -> None:
    """The deploy job reads no input of the event: an approval is decided once, by who judged the plan."""
    step = JOBS["deploy"]["steps"][0]
    assert "inputs" not in json.dumps(step["env"])
    assert step["env"]["APPROVAL"] == "${{ matrix.cluster.approval }}"


def test_each_cluster_deploys_on_its_own_runner(github_says: Evaluator) -> None:
    job = JOBS["deploy"]
    needs = {"detect": needed(clusters=json.dumps([US, EU]))}
    assert github_says.filled(job["strategy"]["matrix"]["cluster"], needs=needs) == [US, EU]
    for cluster in (US, EU):
        assert github_says.filled(job["runs-on"], matrix={"cluster": cluster}) == cluster["runner"]


@pytest.mark.parametrize(("batch", "stops"), [(1, True), (2, False)])
def test_one_by_one_the_first_failure_stops_the_rest(
    github_says: Evaluator, batch: int, *, stops: bool
) -> None:
    """Side by side it must not: a sibling would be stopped in the middle of its own update."""
    strategy = JOBS["deploy"]["strategy"]
    needs = {"detect": needed(clusters=json.dumps([{**US, "batch": batch}, EU]))}
    assert github_says.filled(strategy["max-parallel"], needs=needs) == batch
    assert github_says.filled(strategy["fail-fast"], needs=needs) is stops


@pytest.mark.parametrize("job", ["deploy", "rollback"])
def test_runs_on_one_cluster_wait_for_each_other_and_none_is_dropped(
    github_says: Evaluator, job: str
) -> None:
    concurrency = JOBS[job]["concurrency"]
    told = {**contexts("workflow_dispatch", {"inputs": {"cluster": "us"}}), "matrix": {"cluster": US}}
    assert github_says.filled(concurrency["group"], **told) == "dual-update-us"
    assert concurrency["cancel-in-progress"] is False
    assert concurrency["queue"] == "max"


@pytest.mark.parametrize(
    ("given", "labels"),
    [("", ["self-hosted", "dual-update"]), ('["self-hosted", "us"]', ["self-hosted", "us"])],
)
def test_the_runner_that_rolls_back(github_says: Evaluator, given: str, labels: list[str]) -> None:
    told = contexts("workflow_dispatch", {"inputs": {"runner": given}})
    assert github_says.filled(JOBS["rollback"]["runs-on"], **told) == labels


def test_jobs_on_a_host_ask_nothing_of_github_and_check_nothing_out() -> None:
    """The host's own checkout is the only one there; untrusted work never reaches a self-hosted runner."""
    for name in ("deploy", "rollback"):
        assert JOBS[name]["permissions"] == {}
        assert not any("actions/checkout" in step.get("uses", "") for step in JOBS[name]["steps"])
    hosted = [name for name, job in JOBS.items() if job["runs-on"] == "ubuntu-latest"]
    assert hosted == ["preview", "detect", "approve", "report"]


@pytest.mark.parametrize("status", [FINE, {"success": False, "failure": True}, {"cancelled": True}])
def test_a_report_is_kept_however_the_deploy_ended(github_says: Evaluator, status: dict[str, bool]) -> None:
    step = next(step for step in JOBS["deploy"]["steps"] if step["name"] == "Keep the run's report")
    assert github_says.is_true(step["if"], status)


# --- report ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("deployed", [*RESULTS, ""])
@pytest.mark.parametrize("detected", RESULTS)
@pytest.mark.parametrize("is_cancelled", [False, True])
def test_the_end_is_told_whenever_a_deploy_was_tried(
    github_says: Evaluator, deployed: str, detected: str, *, is_cancelled: bool
) -> None:
    needs = {"detect": needed(detected), "deploy": needed(deployed), "rollback": needed("skipped")}
    told = contexts("push", needs=needs)
    status = {"success": deployed == "success", "failure": deployed == "failure", "cancelled": is_cancelled}
    wanted = detected == "success" and deployed in ("success", "failure", "cancelled")
    assert runs(github_says, "report", told, status) is wanted


@pytest.mark.parametrize("ended", RESULTS)
def test_the_end_is_told_whenever_a_rollback_was_tried(github_says: Evaluator, ended: str) -> None:
    skipped = needed("skipped")
    told = contexts(
        "workflow_dispatch", needs={"detect": skipped, "deploy": skipped, "rollback": needed(ended)}
    )
    assert runs(github_says, "report", told) is (ended != "skipped")


# --- what callers get ------------------------------------------------------------------------------


def test_what_a_person_says_is_never_said_by_a_file() -> None:
    """What can be chosen by hand can be given by a calling file, but not an approval."""
    by_hand = set(WORKFLOW["on"]["workflow_dispatch"]["inputs"])
    assert by_hand - set(WORKFLOW["on"]["workflow_call"]["inputs"]) == {"approve", "cluster"}


def test_inputs_that_do_not_exist_are_not_read() -> None:
    """`inputs.TYPO` is an empty text, and nobody would notice."""
    called = WORKFLOW["on"]["workflow_call"]
    secrets = {*called["secrets"], "GITHUB_TOKEN"}
    for expression in expressions(JOBS):
        for name in re.findall(r"(?<![.\w])inputs\.([\w-]+)", expression):
            assert name in called["inputs"], name
        for name in re.findall(r"event\.inputs\.([\w-]+)", expression):
            assert name in WORKFLOW["on"]["workflow_dispatch"]["inputs"], name
        for name in re.findall(r"secrets\.([\w-]+)", expression):
            assert name in secrets, name


def test_the_action_is_given_only_what_it_takes_and_gives_what_is_read() -> None:
    action = load(SYSTEM.parents[2] / "action.yml")
    for name, job in JOBS.items():
        for step in job["steps"]:
            if step.get("uses", "").startswith("its-DeFine/dual-update@"):
                assert set(step["with"]) <= set(action["inputs"]), name
    read = set(re.findall(r"steps\.detect\.outputs\.([\w-]+)", json.dumps(JOBS["detect"]["outputs"])))
    assert read <= set(action["outputs"])
    assert read == set(JOBS["detect"]["outputs"])
