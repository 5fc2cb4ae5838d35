"""The workflows and the action pass the linters that people run on them, without a finding."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflows.workflow import ROOT, SYSTEM, load, workflow_files

BIN = Path(sys.executable).parent
PINNED = re.compile(r"^[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)*$")
OURS = re.compile(r"^its-DeFine/dual-update(/[\w./-]+)?@v1$")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "NO_COLOR": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def names() -> list[str]:
    return [str(path.relative_to(ROOT)) for path in workflow_files()]


def test_there_are_workflows() -> None:
    assert str(SYSTEM.relative_to(ROOT)) in names()


def test_actionlint_and_shellcheck() -> None:
    done = run(BIN / "actionlint", "-shellcheck", BIN / "shellcheck", *names())
    assert done.returncode == 0, done.stdout + done.stderr


def test_actionlint_finds_what_is_wrong(tmp_path: Path) -> None:
    """A linter that says yes to everything would pass the test above."""
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(SYSTEM.read_text().replace("needs: detect\n", "needs: detectt\n"))
    assert wrong.read_text() != SYSTEM.read_text()
    assert run(BIN / "actionlint", wrong).returncode != 0


@pytest.mark.parametrize(
    ("schema", "files"),
    [("vendor.github-workflows", names()), ("vendor.github-actions", ["action.yml"])],
    ids=["workflows", "action"],
)
def test_published_schema(schema: str, files: list[str]) -> None:
    done = run(BIN / "check-jsonschema", "--builtin-schema", schema, *files)
    assert done.returncode == 0, done.stdout


def zizmor(*inputs: str) -> list[dict]:
    done = run(BIN / "zizmor", "--offline", "--no-progress", "--format", "json", *inputs)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_zizmor_finds_nothing() -> None:
    inputs = [".github", "action.yml", *(name for name in names() if name.startswith("examples/"))]
    found = [
        (one["ident"], one["determinations"]["severity"]) for one in zizmor(*inputs) if not one["ignored"]
    ]
    assert found == []


def test_the_one_thing_zizmor_is_told_to_overlook() -> None:
    """`workflow_run` runs with rights; its reason stands right above it, and nothing else is overlooked."""
    overlooked = []
    for path in [*workflow_files(), ROOT / "action.yml"]:
        lines = path.read_text().splitlines()
        for at, line in enumerate(lines):
            if "zizmor: ignore" in line:
                overlooked.append((path.name, line.strip()))
                assert lines[at - 1].strip().startswith("#"), f"{path.name}:{at + 1} gives no reason"
    ours = [line for name, line in overlooked if name == SYSTEM.name]
    assert ours == ["workflow_run: # zizmor: ignore[dangerous-triggers]"]
    assert all("dangerous-triggers" in line for _, line in overlooked)


@pytest.mark.parametrize("path", workflow_files(), ids=names())
def test_actions_are_pinned(path: Path) -> None:
    """By commit, with the version beside it; our own by the tag that users write."""
    for line in path.read_text().splitlines():
        used = re.match(r"^\s*(?:- )?uses: (.*)$", line)
        if used:
            action = used[1]
            assert PINNED.match(action) or OURS.match(action) or action.startswith("./"), action


@pytest.mark.parametrize("path", workflow_files(), ids=names())
def test_rights_and_time(path: Path) -> None:
    """Nothing is granted to all jobs, each job says what it needs and how long it may take."""
    workflow = load(path)
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        assert "permissions" in job, f"{path.name}: {name}"
        assert job["permissions"] not in ("write-all", "read-all")
        if "uses" not in job:
            assert 0 < job["timeout-minutes"] <= 120, f"{path.name}: {name}"


@pytest.mark.parametrize("path", workflow_files(), ids=names())
def test_no_checkout_keeps_its_key_and_no_script_holds_an_expression(path: Path) -> None:
    for name, job in load(path)["jobs"].items():
        for step in job.get("steps", []):
            if "actions/checkout@" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False, f"{path.name}: {name}"
            assert "${{" not in step.get("run", ""), f"{path.name}: {name}: values go through env"
