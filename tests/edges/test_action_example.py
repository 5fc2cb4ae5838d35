"""The examples' workflows: linted, and they grant and offer what the workflow that they call needs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
EXAMPLES = tuple(
    ROOT / "examples" / name / ".github/workflows/dual-update.yml"
    for name in ("single-cluster", "dual-repo/shop")
)
TELLS = ROOT / "examples/dual-repo/app/.github/workflows/tell-shop.yml"
SYSTEM = ROOT / ".github/workflows/dual-update-system.yml"
CALLED = "its-DeFine/dual-update/.github/workflows/dual-update-system.yml@v1"
WEIGHT = ("none", "read", "write")


def load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(path.read_text())
    return found


def run(*command: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.mark.parametrize("path", [*EXAMPLES, TELLS], ids=lambda one: str(one.relative_to(ROOT)))
def test_linters_find_nothing_but_our_own_floating_tag(path: Path) -> None:
    assert run(BIN / "actionlint", path).stdout == ""
    done = run(BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", path)
    assert done.returncode == 0, done.stdout
    done = run(BIN / "zizmor", "--offline", "--no-progress", "--format", "json", path)
    found = [one["ident"] for one in json.loads(done.stdout)]
    assert set(found) <= {"unpinned-uses"}, found


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda one: str(one.relative_to(ROOT)))
def test_it_calls_our_workflow_and_grants_what_each_of_its_jobs_asks_for(path: Path) -> None:
    example, system = load(path), load(SYSTEM)
    assert example["permissions"] == {}
    [job] = example["jobs"].values()
    assert job["uses"] == CALLED
    assert "workflow_call" in system["on"]
    asked: dict[str, str] = {}
    for one in system["jobs"].values():
        for name, right in (one.get("permissions") or {}).items():
            asked[name] = max(asked.get(name, "none"), right, key=WEIGHT.index)
    assert job["permissions"] == asked


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda one: str(one.relative_to(ROOT)))
def test_what_a_person_may_say_is_what_the_called_workflow_hears(path: Path) -> None:
    example, system = load(path), load(SYSTEM)
    offered = example["on"]["workflow_dispatch"]["inputs"]
    known = system["on"]["workflow_dispatch"]["inputs"]
    assert set(offered) <= set(known)
    assert offered["command"]["options"] == known["command"]["options"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda one: str(one.relative_to(ROOT)))
@pytest.mark.parametrize("event", ["push", "pull_request", "schedule", "workflow_dispatch"])
def test_it_starts_for_the_events_that_the_called_workflow_answers(path: Path, event: str) -> None:
    assert event in load(path)["on"]
    assert event in load(SYSTEM)["on"]
