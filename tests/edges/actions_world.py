"""A workflow's step, run as the runner would: a repository on the fake GitHub, a clone, an event, a step."""

import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dual_update.adapters.github import PyGithubRepository
from dual_update.edges.action import run
from dual_update.usecases.github_ports import DeploymentState
from tests.fake_github.fixtures import QUICK
from tests.fake_github.repository import Repository
from tests.fake_github.server import FakeGitHub, Token

NAME = "its-DeFine/shop"
ZEROS = "0" * 40

WEB = "services:\n  web:\n    image: web:1\n"


def read_file_commands(text: str) -> dict[str, str]:
    """What the runner reads in an output file: `NAME<<DELIMITER`, lines, DELIMITER (FileCommandManager)."""
    found: dict[str, str] = {}
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if not line:
            continue
        name, arrow, delimiter = line.partition("<<")
        assert arrow, f"not a heredoc: {line}"
        assert "=" not in name
        end = lines.index(delimiter, at)
        found[name] = "\n".join(lines[at:end])
        at = end + 1
    return found


def commands_in(log: str) -> list[tuple[str, str]]:
    """The workflow commands that a runner would carry out in a log, in both of its syntaxes."""
    found = []
    token = ""
    for line in log.splitlines():
        if token:
            if line.strip() == f"::{token}::":
                token = ""
            continue
        new = re.match(r"\s*::([a-z-]+)(?: [^:]*)?::(.*)", line)
        old = re.search(r"##\[([a-z-]+)[^\]]*\](.*)", line)
        if new and new[1] == "stop-commands":
            token = new[2]
        elif new or old:
            one = new or old
            assert one is not None
            found.append((one[1], one[2]))
    return found


@dataclass
class Ran:
    """How a step ended."""

    code: int
    outputs: dict[str, str]
    summary: str
    log: str

    @property
    def clusters(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.outputs["clusters"])
        return found

    def annotations(self, kind: str) -> list[str]:
        return [words for name, words in commands_in(self.log) if name == kind]


@dataclass
class Job:
    """The repository, and the runner's folder of one job."""

    server: FakeGitHub
    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    tokens: dict[str, str] = field(default_factory=lambda: {"github-token": "a-token"})
    steps: int = 0

    @property
    def repo(self) -> Repository:
        return self.server.repository(NAME)

    @property
    def github(self) -> PyGithubRepository:
        return PyGithubRepository(self.server.url, NAME, "a-token", patience=QUICK)

    def put(self, files: Mapping[str, str], branch: str = "main") -> str:
        return self.repo.put(branch, dict(files))

    def tip(self, branch: str = "main") -> str:
        found = self.repo.commit_of(branch)
        return found or self.repo.git("rev-parse", branch).strip()

    def deployed(self, commit: str, cluster: str = "shop", state: DeploymentState = "success") -> None:
        """A deployment of ours, which went well."""
        made = self.github.deploy(commit, cluster, f"run-{commit[:6]}", "production")
        self.github.set_deployment_state(made.id, state, "as it went")

    def protect(self, environment: str = "production") -> None:
        """An environment in which a person is asked."""
        reviewer = {"type": "User", "reviewer": self.repo.user("ada")}
        rule = {"id": 1, "node_id": "R", "type": "required_reviewers", "reviewers": [reviewer]}
        rule["prevent_self_review"] = False
        made = self.repo.made("environment", name=environment, protection_rules=[rule])
        self.repo.environments[environment] = made

    def merge(self, branch: str, *, approvals: int = 1) -> str:
        """Open a pull request for a branch, unless there is one, have it approved, and merge it."""
        there = [one for one in self.github.find_pulls("", branch) if one.is_open]
        pull = there[0] if there else self.github.open_pull("", branch, "text", branch, "main")
        for number in range(approvals):
            self.server.tokens[f"t{number}"] = Token(f"reviewer-{number}")
            reviewer = PyGithubRepository(self.server.url, NAME, f"t{number}", patience=QUICK)
            reviewer._send("POST", f"/pulls/{pull.number}/reviews", {"event": "APPROVE"})
        for one in self.repo.reviews.get(pull.number, []):
            one["author_association"] = "MEMBER"
        return self.github.merge(pull.number, pull.head_commit)

    def clone(self) -> Path:
        """What actions/checkout leaves with fetch-depth: 0."""
        self.steps += 1
        workspace = self.folder / f"work{self.steps}" / "shop"
        git("clone", "--quiet", str(self.repo.git_dir), str(workspace))
        return workspace

    def step(
        self,
        event: str,
        payload: Mapping[str, Any],
        *,
        ref: str = "refs/heads/main",
        sha: str = "",
        workspace: Path | None = None,
        **inputs: str,
    ) -> Ran:
        """Run the action's one step. Inputs are named with underscores."""
        workspace = workspace or self.clone()
        sha = sha or str(payload.get("after") or self.tip())
        runner = self.folder / f"runner{self.steps}-{len(list(self.folder.iterdir()))}"
        runner.mkdir()
        files = {name: runner / name for name in ("output", "summary", "event.json")}
        for file in files.values():
            file.write_text("")
        repository = {"full_name": NAME, "default_branch": "main"}
        files["event.json"].write_text(json.dumps({"repository": repository, **payload}))
        values = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": self.server.url,
            "GITHUB_SERVER_URL": "https://github.example",
            "GITHUB_REPOSITORY": NAME,
            "GITHUB_WORKSPACE": str(workspace),
            "GITHUB_EVENT_NAME": event,
            "GITHUB_EVENT_PATH": str(files["event.json"]),
            "GITHUB_SHA": sha,
            "GITHUB_REF": ref,
            "GITHUB_RUN_ID": "77",
            "GITHUB_WORKFLOW_REF": f"{NAME}/.github/workflows/deploy.yml@refs/heads/main",
            "GITHUB_OUTPUT": str(files["output"]),
            "GITHUB_STEP_SUMMARY": str(files["summary"]),
            "DUAL_UPDATE_GITHUB_PAUSE_SECONDS": "0.005",
        }
        given = {**self.tokens, **{name.replace("_", "-"): value for name, value in inputs.items()}}
        values.update({f"INPUT_{k.upper().replace('-', '_')}": v for k, v in given.items()})
        with self.monkeypatch.context() as patch:
            for name, value in values.items():
                patch.setenv(name, value)
            code = run(os.environ)
        said = self.capsys.readouterr()
        return Ran(
            code,
            read_file_commands(files["output"].read_text()),
            files["summary"].read_text(),
            said.out + said.err,
        )

    def push(self, branch: str = "main", before: str = "", **inputs: str) -> Ran:
        """The branch's tip was pushed."""
        payload = {"before": before or ZEROS, "after": self.tip(branch)}
        return self.step("push", payload, ref=f"refs/heads/{branch}", **inputs)

    def pull_request(self, number: int, *, fork: str = "", **inputs: str) -> Ran:
        pull = self.repo.pulls[number]
        payload = {
            "action": "synchronize",
            "pull_request": {
                "number": number,
                "head": {
                    "sha": self.tip(pull["head"]["ref"]),
                    "ref": pull["head"]["ref"],
                    "repo": {"full_name": fork or NAME},
                },
                "base": {"sha": self.tip(), "ref": "main"},
            },
        }
        return self.step("pull_request", payload, ref=f"refs/pull/{number}/merge", **inputs)

    def issues(self) -> list[dict[str, Any]]:
        return [one for one in self.repo.issues.values() if one["number"] not in self.repo.pulls]

    def open_issues(self) -> list[dict[str, Any]]:
        return [one for one in self.issues() if one["state"] == "open"]

    def comments(self, number: int) -> list[str]:
        of_it = [c for c in self.repo.comments.values() if c["issue_url"].endswith(f"/issues/{number}")]
        return [str(one["body"]) for one in of_it]

    def statuses(self, commit: str) -> dict[str, str]:
        return {one["context"]: one["state"] for one in self.repo.statuses.get(commit, [])}


def git(*words: str, cwd: Path | None = None) -> str:
    done = subprocess.run(["git", *words], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
