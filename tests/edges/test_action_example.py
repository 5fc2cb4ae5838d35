"""The workflows that users copy, from the examples and from README: linted, and whole.

They start for what the workflow that they call answers, grant what it needs and offer what it hears."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
TELLS = ROOT / "examples/dual-repo/app/.github/workflows/tell-shop.yml"
SYSTEM = ROOT / ".github/workflows/dual-update-system.yml"
CALLED = "its-DeFine/dual-update/.github/workflows/dual-update-system.yml@v1"
WEIGHT = ("none", "read", "write")


def load(text: str) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(text)
    return found


def callers() -> dict[str, str]:
    """Whatever calls our workflow, by where it stands."""
    files = sorted(ROOT.glob("examples/**/.github/workflows/*.yml"))
    found = {str(one.relative_to(ROOT)): one.read_text() for one in files if CALLED in one.read_text()}
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    [block] = [one for one in blocks if CALLED in one]
    return found | {"README.md": block}


CALLERS = callers()
EVENTS = load(SYSTEM.read_text())["on"]


def whole(text: str) -> dict[str, Any]:
    """With the triggers that not everybody needs: they stand there as comments."""
    return load(re.sub(r"(?m)^  # (workflow_run|repository_dispatch): ", r"  \1: ", text))


def choice(given: dict[str, Any]) -> tuple[Any, ...]:
    """What *Run workflow* shows for an input: its kind, what may be chosen, what stands there at first."""
    options = given.get("options", [""])
    first = {"boolean": False}.get(given["type"], options[0])
    return given["type"], options, given.get("default", first), bool(given["description"])


def test_the_callers_are_known_here() -> None:
    assert list(CALLERS) == [
        "examples/dual-repo/shop/.github/workflows/dual-update.yml",
        "examples/single-cluster/.github/workflows/dual-update.yml",
        "README.md",
    ]


def run(*command: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.mark.parametrize("text", [*CALLERS.values(), TELLS.read_text()], ids=[*CALLERS, TELLS.name])
def test_linters_find_nothing_but_our_own_floating_tag(text: str, tmp_path: Path) -> None:
    path = tmp_path / ".github/workflows/dual-update.yml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert run(BIN / "actionlint", path).stdout == ""
    done = run(BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", path)
    assert done.returncode == 0, done.stdout
    done = run(BIN / "zizmor", "--offline", "--no-progress", "--format", "json", path)
    found = [one["ident"] for one in json.loads(done.stdout)]
    assert set(found) <= {"unpinned-uses"}, found


@pytest.mark.parametrize("text", CALLERS.values(), ids=CALLERS)
def test_it_calls_our_workflow_and_grants_what_each_of_its_jobs_asks_for(text: str) -> None:
    caller, system = load(text), load(SYSTEM.read_text())
    assert caller["permissions"] == {}
    [job] = caller["jobs"].values()
    assert job["uses"] == CALLED
    assert "workflow_call" in system["on"]
    asked: dict[str, str] = {}
    for one in system["jobs"].values():
        for name, right in (one.get("permissions") or {}).items():
            asked[name] = max(asked.get(name, "none"), right, key=WEIGHT.index)
    assert job["permissions"] == asked


@pytest.mark.parametrize("text", CALLERS.values(), ids=CALLERS)
def test_what_a_person_may_say_is_what_the_called_workflow_hears(text: str) -> None:
    """`github.event.inputs` are the caller's: what is not declared there, *Run workflow* does not offer."""
    offered = load(text)["on"]["workflow_dispatch"]["inputs"]
    heard = EVENTS["workflow_dispatch"]["inputs"]
    assert {name: choice(one) for name, one in offered.items()} == {
        name: choice(one) for name, one in heard.items()
    }
    read = set(re.findall(r"github\.event\.inputs\.([\w-]+)", SYSTEM.read_text()))
    program = (ROOT / "src/dual_update/edges/action_event.py").read_text()
    read |= set(re.findall(r'_at\(payload, "inputs", "([\w-]+)"\)', program))
    assert {"command", "ref", "approve", "cluster"} <= read <= set(offered)


@pytest.mark.parametrize("text", CALLERS.values(), ids=CALLERS)
def test_it_starts_for_the_events_that_the_called_workflow_answers(text: str) -> None:
    started = whole(text)["on"]
    assert set(started) == set(EVENTS) - {"workflow_call"}
    for event, asked in EVENTS.items():
        if event not in {"workflow_call", "workflow_dispatch"}:
            assert started[event] == asked, event


@pytest.mark.parametrize("name", CALLERS)
def test_what_not_everybody_needs_is_a_comment_with_a_word(name: str) -> None:
    """Code in a submodule says when it moved; images that are built elsewhere are waited for."""
    text = CALLERS[name]
    assert ("repository_dispatch" in load(text)["on"]) is name.startswith("examples/dual-repo/")
    assert "workflow_run" not in load(text)["on"]
    for event in ("repository_dispatch", "workflow_run"):
        assert re.search(rf"(?m)^  (# )?{event}: \{{.*\}} # \w+", text), event
