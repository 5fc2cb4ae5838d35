"""The door of the action: inputs and an event in, outputs, summary, annotations and words on GitHub out."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dual_update.core.errors import DualUpdateError, ExitCode, UsageError
from dual_update.edges.action_event import occasion

if TYPE_CHECKING:
    from dual_update.adapters.actions import Step
    from dual_update.usecases.gate import Judged
    from dual_update.usecases.github_ports import GitHub
    from dual_update.wiring_github import Opened, Request, Verdicts

INPUTS: Mapping[str, str] = {
    "command": "detect",
    "config": ".github/dual-update.yml",
    "compose-files": "",
    "base": "",
    "head": "",
    "deploy-branch": "",
    "mode": "",
    "auto-approve": "false",
    "github-token": "",
    "submodule-token": "",
    "clusters": "",
    "scope": "",
    "fail-on": "",
}
"""Inputs that the program reads, with what holds where they are empty. `image` is for scripts/run-action."""

OUTPUTS = (
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

CHOICES: Mapping[str, tuple[str, ...]] = {
    "command": ("detect", "report"),
    "mode": ("", "dual", "watchtower_only", "revamp_only"),
    "scope": ("", "cluster", "changed"),
    "auto-approve": ("true", "false"),
}
FAIL_ON = ("any", "image_only", "structural", "mixed", "no")
LARGEST_EVENT_BYTES = 32_000_000


@dataclass(frozen=True)
class Asked:
    """Everything a step was given, read once."""

    inputs: Mapping[str, str]
    event: str
    payload: Mapping[str, Any]
    sha: str
    ref: str
    workspace: Path
    repository: str
    api_url: str
    server_url: str
    run: str
    workflow: str
    """The file name of the workflow that this step belongs to."""

    reports: Path

    @property
    def run_url(self) -> str:
        return f"{self.server_url}/{self.repository}/actions/runs/{self.run}" if self.run else ""

    @property
    def fails_on(self) -> tuple[str, ...]:
        return tuple(one.strip() for one in self.inputs["fail-on"].split(",") if one.strip())


def read(environ: Mapping[str, str]) -> Asked:
    """Inputs and event. Raises UsageError that names the input which is wrong."""
    inputs = {}
    for name, default in INPUTS.items():
        inputs[name] = environ.get(f"INPUT_{name.replace('-', '_').upper()}", "").strip() or default
        allowed = CHOICES.get(name)
        if allowed and inputs[name] not in allowed:
            words = ", ".join(one for one in allowed if one)
            raise UsageError(f"The input {name} must be one of {words}.")
    workspace = Path(environ.get("GITHUB_WORKSPACE") or ".")
    asked = Asked(
        inputs=inputs,
        event=environ.get("GITHUB_EVENT_NAME", ""),
        payload=_payload(environ.get("GITHUB_EVENT_PATH", "")),
        sha=environ.get("GITHUB_SHA", ""),
        ref=environ.get("GITHUB_REF", ""),
        workspace=workspace,
        repository=environ.get("GITHUB_REPOSITORY", ""),
        api_url=environ.get("GITHUB_API_URL") or "https://api.github.com",
        server_url=(environ.get("GITHUB_SERVER_URL") or "https://github.com").rstrip("/"),
        run=environ.get("GITHUB_RUN_ID", ""),
        workflow=environ.get("GITHUB_WORKFLOW_REF", "").partition("@")[0].rpartition("/")[2],
        reports=workspace / (environ.get("DUAL_UPDATE_REPORTS") or ".dual-update-reports"),
    )
    unknown = [one for one in asked.fails_on if one not in FAIL_ON]
    if unknown:
        raise UsageError(f"The input fail-on takes {', '.join(FAIL_ON)}, separated by commas.")
    return asked


def _payload(path: str) -> Mapping[str, Any]:
    if not path:
        return {}
    try:
        with Path(path).open("rb") as file:
            found = json.loads(file.read(LARGEST_EVENT_BYTES))
    except (OSError, ValueError, RecursionError):
        raise UsageError(f"The event in {path} cannot be read.") from None
    return found if isinstance(found, dict) else {}


def run(environ: Mapping[str, str] = os.environ) -> int:
    """Do what the step asks and give its exit code. Every end is said as one annotation."""
    from dual_update.adapters.actions import Step

    step = Step()
    try:
        asked = read(environ)
        for secret in ("github-token", "submodule-token"):
            step.mask(asked.inputs[secret])
        if asked.inputs["command"] == "report":
            from dual_update.edges.action_report import report

            return report(asked, step, github_of(asked, step), opened_by(asked, step))
        return detect(asked, step)
    except DualUpdateError as error:
        step.error(str(error))
        return error.exit_code


def request_of(asked: Asked) -> "Request":
    """The use-case's request."""
    from dual_update.wiring_github import Request

    given = asked.inputs
    return Request(
        repo=asked.workspace,
        occasion=occasion(asked.event, asked.payload, asked.sha, asked.ref),
        files=tuple(line.strip() for line in given["compose-files"].splitlines() if line.strip()),
        config=given["config"],
        base=given["base"],
        head=given["head"],
        deploy_branch=given["deploy-branch"],
        mode=given["mode"],
        scope=given["scope"],
        clusters=given["clusters"],
        has_auto_approve=given["auto-approve"] == "true",
        url=f"{asked.server_url}/{asked.repository}",
    )


def github_of(asked: Asked, step: "Step") -> "GitHub | None":
    """The repository on GitHub, or None where there is no token or it cannot be right."""
    from dual_update.wiring_github import connect

    token = asked.inputs["github-token"]
    if not token:
        return None
    try:
        return connect(asked.api_url, asked.repository, token)
    except UsageError as error:
        step.warning(str(error))
        return None


def opened_by(asked: Asked, step: "Step") -> "Opened | None":
    """How repositories of submodules are opened: with a token of their own, or not at all."""
    from dual_update.wiring_github import connect

    token = asked.inputs["submodule-token"]
    if not token or occasion(asked.event, asked.payload, asked.sha, asked.ref).is_fork:
        return None

    def opened(name: str) -> "GitHub | None":
        try:
            return connect(asked.api_url, name, token)
        except UsageError as error:
            step.warning(str(error))
            return None

    return opened


def detect(asked: Asked, step: "Step") -> int:
    """Judge, say, announce."""
    from dual_update.edges.action_tell import announced, withdrawn
    from dual_update.edges.action_words import log, summary
    from dual_update.wiring_github import judge

    request = request_of(asked)
    github = github_of(asked, step)
    if request.occasion.kind in {"deleted", "ended"}:
        step.notice("Nothing to judge: the branch is gone, or the pull request has ended.")
        if github and not request.occasion.is_fork:
            withdrawn(request.occasion, github, step)
        write_outputs(step, (), {})
        return ExitCode.DONE
    verdicts = judge(request, github, opened_by(asked, step))
    for words in verdicts.warnings:
        step.warning(words)
    with step.group("dual-update: what changed, and why"):
        step.plain(log(verdicts))
    urls = {}
    if github and request.occasion.may_write:
        urls = announced(asked, request.occasion, verdicts, github, step)
    step.summary(summary(verdicts, asked))
    write_outputs(step, verdicts.judged, urls, request.occasion.only_cluster)
    return verdict_code(asked, verdicts, step)


def write_outputs(
    step: "Step", judged: Sequence["Judged"], urls: Mapping[str, str], only_cluster: str = ""
) -> None:
    """All outputs, always all of them: an empty one is an answer, too."""
    from dual_update.core.report import report
    from dual_update.usecases.gate import answer, heaviest, matrix

    update_type, strategy = heaviest(judged)
    entries = matrix(judged, only_cluster)
    decisions = [report(one.decision) for one in judged]
    values = {
        "update-type": update_type,
        "needs-update": "true" if any(one.decision.needs_update for one in judged) else "false",
        "strategy": strategy,
        "deploy": answer(entries),
        "fingerprint": judged[0].decision.fingerprint if len(judged) == 1 else "",
        **{name: urls.get(name, "") for name in OUTPUTS if name.endswith("-url")},
        "clusters": compact(entries),
        "report": fitting_report(decisions),
    }
    for name in OUTPUTS:
        step.output(name, values[name])


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True)


def fitting_report(decisions: Sequence[dict[str, Any]]) -> str:
    """All decisions; where they are too many for an output, what is most of them is left out and said."""
    from dual_update.adapters.actions import LARGEST_OUTPUT_CHARACTERS

    room = LARGEST_OUTPUT_CHARACTERS // 2
    whole: Any = decisions[0] if len(decisions) == 1 else list(decisions)
    if len(text := compact(whole)) <= room:
        return text
    short = [
        {key: value for key, value in one.items() if key not in {"changes", "services"}}
        | {"changes": [], "services": {}, "warnings": [*one["warnings"][:5], "Too large for an output."]}
        for one in decisions
    ]
    return compact(short[0] if len(short) == 1 else short)


def verdict_code(asked: Asked, verdicts: "Verdicts", step: "Step") -> int:
    """The step's end: 0, or 1 where `fail-on` names the verdict."""
    for one in verdicts.judged:
        found = {"any", one.decision.update_type} if one.decision.needs_update else set()
        if one.decision.needs_update and one.approval.deploy == "no":
            found.add("no")
        if named := sorted(found.intersection(asked.fails_on)):
            step.error(f"{one.decision.cluster}: fail-on asks to fail for {', '.join(named)}.")
            return ExitCode.FAILED
    return ExitCode.DONE
