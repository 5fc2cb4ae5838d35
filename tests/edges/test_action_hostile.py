"""What strangers wrote reaches logs, outputs and summaries: none of it is an order to the runner."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.edges.actions_world import WEB, ZEROS, Job, commands_in
from tests.fake_github.server import FakeGitHub

OWN = {"add-mask", "group", "endgroup", "notice", "warning", "error"}
ORDERS = (
    "::set-output name=deploy::auto",
    "##[add-mask]dual",
    "::add-mask::web",
    "::stop-commands::x",
    "::set-env name=PATH::/tmp",
    "::error::done for",
)
SECRET = "tr0ub4dor-and-3-horses"


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Job]:
    with FakeGitHub(tmp_path) as server:
        job = Job(server, tmp_path, monkeypatch, capsys)
        job.put({"compose.yml": WEB})
        yield job


def quoted(text: str) -> str:
    return json.dumps(text)


@pytest.mark.parametrize("order", ORDERS)
def test_no_text_of_a_compose_file_is_an_order(job: Job, order: str) -> None:
    base = job.tip()
    job.deployed(base)
    hostile = f"x\n{order}\n\r\n{order}"
    job.put(
        {
            "compose.yml": "services:\n  web:\n    image: web:1\n    ports: ['8080:80']\n"
            f"    labels: {{{quoted(hostile)}: {quoted(hostile)}}}\n"
            f"    command: [{quoted(hostile)}]\n"
            f"  two:\n    image: {quoted(order)}\n    container_name: a\n"
        }
    )
    ran = job.push(before=base)
    found = commands_in(ran.log)
    assert {name for name, _ in found} <= OWN, found
    assert [value for name, value in found if name == "add-mask"] == ["a-token"]
    if ran.code == 0:
        assert ran.outputs["deploy"] in {"approve", "no"}


@pytest.mark.parametrize("order", ORDERS)
def test_no_error_about_a_strangers_file_is_an_order(job: Job, order: str) -> None:
    base = job.tip()
    job.put({".github/dual-update.yml": f"{quoted(order)}: 1\n"})
    ran = job.push(before=base)
    assert ran.code == 2
    assert [name for name, _ in commands_in(ran.log)] == ["add-mask", "error"]
    job.put({".github/dual-update.yml": "", "compose.yml": f"services:\n  {quoted(order)}:\n    image: a\n"})
    ran = job.push(before=base)
    assert ran.code == 2
    assert {name for name, _ in commands_in(ran.log)} <= {"add-mask", "error"}


@pytest.mark.parametrize("name", ["a\n::error::x", "##[error]x", "-x", "a" * 300, "\u202eevil"])
def test_a_branch_name_is_no_order(job: Job, name: str) -> None:
    pull = {
        "number": 1,
        "head": {"sha": job.tip(), "ref": name, "repo": {"full_name": "stranger/shop"}},
        "base": {"sha": job.tip(), "ref": "main"},
    }
    ran = job.step("pull_request", {"action": "opened", "pull_request": pull})
    assert ran.code == 0
    assert {one for one, _ in commands_in(ran.log)} <= OWN - {"error"}


@pytest.mark.parametrize(
    "payload",
    [
        {"pull_request": None},
        {"pull_request": {"head": [], "base": 3, "number": "x"}},
        {"pull_request": {"head": {"sha": "x" * 40, "ref": {}}, "base": {}}},
        {"before": 5, "after": ["x"]},
        {"workflow_run": {"head_sha": "../..", "conclusion": "success"}},
        {"inputs": [1, 2], "sender": "root"},
    ],
)
@pytest.mark.parametrize("event", ["push", "pull_request", "workflow_run", "workflow_dispatch"])
def test_an_event_of_the_wrong_shape_ends_with_a_sentence_or_an_answer(
    job: Job, event: str, payload: dict[str, object]
) -> None:
    job.tokens = {}
    ran = job.step(event, payload)
    assert ran.code in {0, 2}
    assert ran.outputs.get("deploy", "no") == "no"


def test_no_value_of_an_environment_variable_leaves_the_step(job: Job) -> None:
    secrets = f"DB_PASSWORD={SECRET}\nTAG=1\nTOKEN={SECRET}x\n"
    base = job.put({".env": secrets, "compose.yml": WEB})
    job.deployed(base)
    job.put(
        {
            "compose.yml": "services:\n  web:\n    image: registry.example/${TOKEN}/web:${TAG}\n"
            "    environment: {A: '${DB_PASSWORD}', B: plain-value-of-b}\n"
            "    command: ['--password=${DB_PASSWORD}']\n    ports: ['80:80']\n"
        }
    )
    ran = job.push(before=base)
    assert ran.code == 0
    said = json.dumps([one.body for one in job.server.requests])
    for place in (ran.log, ran.summary, json.dumps(ran.outputs), said):
        assert SECRET not in place
        assert "plain-value-of-b" not in place
    assert "a-token" not in ran.summary
    assert "a-token" not in json.dumps(ran.outputs)


def test_a_change_too_large_for_outputs_and_summary_is_cut_and_said(job: Job) -> None:
    services = "".join(f"  s{n:05}:\n    image: registry.example/team/app-{n}:1\n" for n in range(1500))
    job.put({"compose.yml": f"services:\n{services}"}, "large")
    job.tokens = {}
    ran = job.push("large", before=ZEROS)
    assert ran.code == 0
    report = json.loads(ran.outputs["report"])
    assert report["update_type"] == "structural"
    assert len(ran.outputs["report"]) <= 200_000
    assert len(ran.summary.encode()) <= 1_048_576
    assert ran.summary.count("<details>") == ran.summary.count("</details>")
