"""action.yml, the README's tables, the code and the names that users rely on are the same."""

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from dual_update.edges.action import INPUTS, OUTPUTS

ROOT = Path(__file__).parents[2]
ACTION: dict[str, Any] = YAML(typ="safe").load((ROOT / "action.yml").read_text())
SCRIPT = (ROOT / "scripts/run-action").read_text()
README = (ROOT / "README.md").read_text()

NAMED_INPUTS = (
    "command",
    "config",
    "compose-files",
    "base",
    "head",
    "deploy-branch",
    "mode",
    "auto-approve",
    "github-token",
    "submodule-token",
    "clusters",
    "scope",
    "fail-on",
    "image",
)
NAMED_OUTPUTS = (
    "update-type",
    "needs-update",
    "strategy",
    "deploy",
    "fingerprint",
    "issue-url",
    "pr-url",
    "submodule-issue-url",
    "submodule-pr-url",
    "clusters",
    "report",
)
STEP: dict[str, Any] = ACTION["runs"]["steps"][0]


def variable(name: str) -> str:
    return f"INPUT_{name.replace('-', '_').upper()}"


def test_the_names_that_users_rely_on() -> None:
    assert tuple(ACTION["inputs"]) == NAMED_INPUTS
    assert tuple(ACTION["outputs"]) == NAMED_OUTPUTS
    assert (*INPUTS, "image") == NAMED_INPUTS
    assert OUTPUTS == NAMED_OUTPUTS


@pytest.mark.parametrize("kind", ["inputs", "outputs"])
def test_every_name_is_described_here_and_in_the_readme(kind: str) -> None:
    table = README.partition(f"| {kind[:-1]} |")[2].partition("\n\n")[0]
    listed = re.findall(r"^\| `([a-z-]+)` \| (.*) \|$", table, re.M)
    assert listed == [(name, one["description"]) for name, one in ACTION[kind].items()]
    assert all(len(words) > 10 for _, words in listed)


def test_defaults_are_the_codes() -> None:
    for name, default in INPUTS.items():
        said = ACTION["inputs"][name].get("default", "")
        if name != "github-token":
            assert said == default, name


def test_one_step_and_every_input_by_a_variable() -> None:
    assert ACTION["runs"]["using"] == "composite"
    assert len(ACTION["runs"]["steps"]) == 1
    assert "${{" not in STEP["run"]
    assert STEP["run"] == 'exec "$GITHUB_ACTION_PATH/scripts/run-action"'
    assert STEP["env"] == {variable(name): f"${{{{ inputs.{name} }}}}" for name in NAMED_INPUTS}
    for name, one in ACTION["outputs"].items():
        assert one["value"] == f"${{{{ steps.{STEP['id']}.outputs.{name} }}}}"


def test_the_script_hands_on_what_the_program_reads_and_nothing_of_the_jobs_own() -> None:
    names = set(re.findall(r"[A-Z_a-z]+", SCRIPT.partition("names=(")[2].partition(")")[0]))
    assert {variable(name) for name in INPUTS} <= names
    assert "INPUT_IMAGE" not in names
    source = "".join(file.read_text() for file in (ROOT / "src/dual_update/edges").glob("action*.py"))
    read = set(re.findall(r'environ\.get\("([A-Z_]+)"', source))
    assert read <= names, read - names
    assert not {name for name in names if name.startswith(("ACTIONS_", "RUNNER_"))}


def test_it_is_branded() -> None:
    assert set(ACTION["branding"]) == {"icon", "color"}
    assert ACTION["name"] == "dual-update"
    assert ACTION["author"]
