"""Runs the real workflow here, with act: its jobs, gates and matrix, the real action and its real container.

What act cannot do as GitHub does, and what stands in for it:
- it refuses `queue:` and `deployment:`, so it gets a copy without these two lines (`as_act_reads_it`; a test
  holds that nothing else differs);
- it does not ask at environments: a job that names one goes on as if a person had agreed;
- there is no place to download other people's actions from: checkout, upload-artifact and download-artifact
  are the small ones in `actions/`, which clone the fake GitHub's repository and copy files between jobs.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.workflows.workflow import ROOT, SYSTEM

STANDINS = Path(__file__).parent / "actions"
CALLED = "its-DeFine/dual-update/.github/workflows/dual-update-system.yml@v1"
LABELS = ("ubuntu-latest", "self-hosted", "dual-update")
_UNKNOWN_TO_ACT = re.compile(r"^ +(?:queue: max|deployment: false(?: #.*)?)\n", re.MULTILINE)
_USED = re.compile(r"uses: (actions/([\w-]+)@[0-9a-f]{40})")
LONGEST_RUN_SECONDS = 150


def as_act_reads_it(text: str) -> str:
    """The workflow without the two keys that act refuses, and with a matrix that it can read.

    GitHub looks at a job's `if` before its matrix. act does not, and an output of a job that it skipped is
    the bare expression.
    """
    known = _UNKNOWN_TO_ACT.sub("", text)
    clusters = "needs.detect.outputs.clusters"
    if_any = f"startsWith({clusters}, '[') && {clusters}"
    known = known.replace("${{ " + clusters + " }}", "${{ " + if_any + " || '' }}")
    return known.replace(f"fromJSON({clusters})", f"fromJSON({if_any} || '[]')")


def as_called_here(text: str) -> str:
    """A user's workflow file, calling the workflow of this checkout: act fetches none from elsewhere.

    Which actions that one uses is told below it, where act's own standins are looked for.
    """
    assert CALLED in text
    used = sorted(set(re.findall(r"uses: actions/[\w-]+@[0-9a-f]{40}", SYSTEM.read_text())))
    local = f"./.github/workflows/{SYSTEM.name}"
    return "\n".join([text.replace(CALLED, local), *(f"# {one}" for one in used), ""])


@dataclass(frozen=True)
class Ran:
    """How a run of the workflow ended: each job's result, what the jobs said, and their outputs."""

    jobs: Mapping[str, str]
    log: str
    outputs: Mapping[str, str] = field(default_factory=dict)


def run_workflow(
    workflow: Path,
    checkout: Path,
    event: str,
    payload: Mapping[str, Any],
    environment: Mapping[str, str],
    secrets: Mapping[str, str],
    variables: Mapping[str, str] = MappingProxyType({}),
) -> Ran:
    """Run a workflow file for an event. `checkout` is a clone at the event's commit; names come from it."""
    scratch = workflow.parent
    told = scratch / "event.json"
    told.write_text(json.dumps(payload))
    bin_folder = Path(sys.executable).parent
    command: list[str | Path] = [
        bin_folder / "act",
        event,
        "--eventpath",
        told,
        "--workflows",
        workflow,
        "--json",
    ]
    command += ["--pull=false", "--action-offline-mode", "--no-cache-server", "--no-skip-checkout"]
    command += ["--container-daemon-socket", "-"]
    for name, value in secrets.items():
        command += ["--secret", f"{name}={value}"]
    for name, value in variables.items():
        command += ["--var", f"{name}={value}"]
    for label in LABELS:
        command += ["--platform", f"{label}=-self-hosted"]
    command += ["--local-repository", f"its-DeFine/dual-update@v1={_action(scratch)}"]
    for used, name in sorted(set(_USED.findall(workflow.read_text()))):
        command += ["--local-repository", f"{used}={STANDINS / name}"]
    for name, value in environment.items():
        command += ["--env", f"{name}={value}"]
    done = subprocess.run(
        command,
        cwd=checkout,
        env={**os.environ, "HOME": str(scratch), "XDG_CACHE_HOME": str(scratch / "cache")},
        capture_output=True,
        text=True,
        timeout=LONGEST_RUN_SECONDS,
        check=False,
    )
    return _read(done)


def _action(scratch: Path) -> Path:
    """What a runner downloads of us, less the sources: act copies it all, and the image is there already."""
    folder = scratch / "action"
    (folder / "scripts").mkdir(parents=True)
    for name in ("action.yml", "scripts/run-action"):
        shutil.copy2(ROOT / name, folder / name)
    return folder


def _read(done: "subprocess.CompletedProcess[str]") -> Ran:
    jobs: dict[str, str] = {}
    outputs: dict[str, str] = {}
    said = []
    for line in (*done.stdout.splitlines(), *done.stderr.splitlines()):
        try:
            told = json.loads(line)
        except ValueError:
            said.append(line)
            continue
        said.append(f"[{told.get('job', '')}] {str(told.get('msg', '')).rstrip()}")
        if "jobResult" in told:
            jobs[told["jobID"]] = worst(jobs.get(told["jobID"], "success"), told["jobResult"])
        if told.get("command") == "set-output" and told.get("jobID"):
            outputs[f"{told['jobID']}.{told['name']}"] = told["arg"]
    return Ran(jobs, "\n".join(said), outputs)


def worst(one: str, other: str) -> str:
    """The result of a job whose matrix has several parts."""
    return one if one != "success" else other
