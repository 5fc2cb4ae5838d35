"""The stage of an end-to-end story: a fake GitHub, a developer's clone, a host with a cluster, the workflow.

Verbs are what people do (`push`, `merge`, `run_by_hand`); each makes GitHub's event for it and runs the
workflow on it, as GitHub would. What the workflow does with its own token starts nothing, except what it
dispatches.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from ruamel.yaml import YAML

from tests.e2e.act import Ran, as_act_reads_it, run_workflow
from tests.fake_github.server import FakeGitHub, Token
from tests.integration.world import Cluster, run
from tests.workflows.workflow import SYSTEM

NOTHING = "0" * 40
PERSON = "ada"


@dataclass
class Stage:
    """One repository on the fake GitHub with its host. `folder` is the test's own."""

    folder: Path
    github: FakeGitHub
    host: Cluster
    image: str
    name: str = "ada/shop"
    workflow_text: str = field(default_factory=SYSTEM.read_text)
    secrets: Mapping[str, str] = field(default_factory=lambda: {"GITHUB_TOKEN": "a-token"})
    runs: int = 0

    def __post_init__(self) -> None:
        self.github.tokens[PERSON] = Token(PERSON)
        self.repository = self.github.repository(self.name)
        self.desk = self.clone("desk")  # where the developer works
        self.runner = self.clone("runner")  # where act reads which repository and commit this is
        run("git", "remote", "set-url", "origin", f"https://github.com/{self.name}", cwd=self.runner)

    def named(self, files: Mapping[str, str]) -> dict[str, str]:
        """`@NAME@` in a file becomes the compose project's name, which the tests' clean-up knows."""
        return {path: text.replace("@NAME@", self.host.project) for path, text in files.items()}

    def clone(self, name: str) -> Path:
        folder = self.folder / name
        run("git", "clone", "--quiet", self.repository.git_dir, folder)
        return folder

    def deploy_first(self) -> None:
        """The cluster runs main's tip, and GitHub knows: how a story begins that is about what comes next."""
        assert self.host.dual_update("apply", "--auto").returncode == 0
        payload = {"cluster": self.host.project, "run": "first"}
        made = self.ask(
            "POST",
            "/deployments",
            {
                "ref": self.tip("main"),
                "task": "dual-update",
                "payload": payload,
                "environment": "production",
                "auto_merge": False,
                "required_contexts": [],
            },
        )
        self.ask("POST", f"/deployments/{made['id']}/statuses", {"state": "success"})

    # what people do

    def push(self, branch: str, files: Mapping[str, str], message: str = "change") -> Ran:
        """Commit files on a branch, which begins at main, and push it."""
        before = self._begin(branch)
        for name, text in self.named(files).items():
            path = self.desk / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        run("git", "add", "--all", cwd=self.desk)
        self._finish(branch, message)
        return self.pushed(branch, before)

    def point(self, branch: str, path: str, commit: str) -> Ran:
        """Commit on a branch that a submodule is at this commit now, and push it."""
        before = self.commit_pointer(branch, path, commit)
        return self.pushed(branch, before)

    def commit_pointer(self, branch: str, path: str, commit: str) -> str | None:
        """The same, before GitHub tells anyone; the branch's tip until then."""
        before = self._begin(branch)
        run("git", "update-index", "--add", "--cacheinfo", f"160000,{commit},{path}", cwd=self.desk)
        self._finish(branch, f"{path} moves")
        return before

    def _begin(self, branch: str) -> str | None:
        before = self.tip(branch)
        start = f"origin/{branch}" if before else "origin/main"
        run("git", "fetch", "--quiet", "origin", cwd=self.desk)
        run("git", "checkout", "--quiet", "-B", branch, start, cwd=self.desk)
        return before

    def _finish(self, branch: str, message: str) -> None:
        run("git", "commit", "--quiet", "--message", message, cwd=self.desk)
        run("git", "push", "--quiet", "origin", branch, cwd=self.desk)

    def open_pull(self, branch: str) -> int:
        """A person opens a pull request for a branch; its number."""
        body = {"title": branch, "body": "", "head": branch, "base": "main"}
        return int(self.ask("POST", "/pulls", body)["number"])

    def merge(self, number: int, how: str = "merge") -> Ran:
        """A person merges a pull request on GitHub."""
        base = self.repository.pulls[number]["base"]["ref"]
        before = self.tip(base)
        self.ask("PUT", f"/pulls/{number}/merge", {"merge_method": how})
        return self.pushed(base, before)

    def pushed(self, branch: str, before: str | None) -> Ran:
        """GitHub's event of a push."""
        after = self.tip(branch)
        payload = {
            "ref": f"refs/heads/{branch}",
            "before": before or NOTHING,
            "after": after,
            "deleted": False,
        }
        return self.happens("push", payload, branch)

    def run_by_hand(self, **inputs: str) -> Ran:
        """*Run workflow* in the Actions tab, on main. What is not filled in is sent with its default."""
        asked = YAML(typ="safe").load(self.workflow_text)["on"]["workflow_dispatch"]["inputs"]
        form = {name: str(one.get("default", "")) for name, one in asked.items()}
        form = {name: {"True": "true", "False": "false"}.get(one, one) for name, one in form.items()}
        given = {name.replace("_", "-"): one for name, one in inputs.items()}
        assert given.keys() <= form.keys()
        payload = {"ref": "refs/heads/main", "workflow": SYSTEM.name, "inputs": {**form, **given}}
        return self.happens("workflow_dispatch", payload, "main")

    def dispatched(self) -> Ran:
        """What the workflow itself has asked GitHub to start; once."""
        asked = self.repository.dispatches.pop(0)
        payload = {
            "ref": f"refs/heads/{asked['ref']}",
            "workflow": asked["workflow"],
            "inputs": asked["inputs"],
        }
        sender = {"login": "github-actions[bot]", "type": "Bot"}
        return self.happens("workflow_dispatch", {**payload, "sender": sender}, asked["ref"])

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """What a person does on GitHub's pages."""
        url = f"{self.github.url}/repos/{self.name}{path}"
        answer = httpx.request(
            method, url, json=body, headers={"Authorization": f"token {PERSON}"}, timeout=10
        )
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    # what follows

    def tip(self, branch: str) -> str | None:
        found = self.repository.git("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}", codes=(0, 1))
        return found.strip() or None

    def happens(self, event: str, payload: Mapping[str, Any], branch: str) -> Ran:
        """Run the workflow on an event at a branch's tip."""
        self.runs += 1
        scratch = self.folder / f"run-{self.runs}"
        scratch.mkdir()
        workflow = scratch / SYSTEM.name
        workflow.write_text(as_act_reads_it(self.workflow_text))
        run(
            "git",
            "fetch",
            "--quiet",
            self.repository.git_dir,
            "+refs/heads/*:refs/remotes/origin/*",
            cwd=self.runner,
        )
        run("git", "checkout", "--quiet", "-B", branch, f"origin/{branch}", cwd=self.runner)
        whole = {
            "repository": {"full_name": self.name, "default_branch": "main", "owner": {"login": "ada"}},
            "sender": {"login": PERSON, "type": "User"},
            **payload,
        }
        return run_workflow(workflow, self.runner, event, whole, self._environment(scratch), self.secrets)

    def _environment(self, scratch: Path) -> dict[str, str]:
        artifacts = scratch / "artifacts"
        artifacts.mkdir()
        program = Path(sys.executable).with_name("dual-update")
        return {
            "GITHUB_API_URL": self.github.url,
            "GITHUB_RUN_ID": str(self.runs),
            "DUAL_UPDATE_IMAGE": self.image,
            "DUAL_UPDATE_NETWORK": "host",  # the fake GitHub is on this machine's loopback
            "DUAL_UPDATE_BIN": str(program),
            "CLUSTER_PATH": str(self.host.directory),
            "DUAL_UPDATE_STATE_DIR": os.environ["DUAL_UPDATE_STATE_DIR"],
            "FAKE_REPOSITORIES": str(self.github.folder),
            "FAKE_ARTIFACTS": str(artifacts),
        }

    # what people see

    def issues(self, state: str = "open") -> list[dict[str, Any]]:
        return [
            one
            for one in self.repository.issues.values()
            if self._is(one, state) and not one.get("pull_request")
        ]

    def pulls(self, state: str = "open") -> list[dict[str, Any]]:
        return [one for one in self.repository.pulls.values() if self._is(one, state)]

    def comments(self, number: int) -> list[str]:
        url = f"{self.repository.url}/issues/{number}"
        return [one["body"] for one in self.repository.comments.values() if one["issue_url"] == url]

    def deployments(self) -> list[tuple[str, str]]:
        """Commit and newest state of our deployments, oldest first."""
        statuses = self.repository.deployment_statuses
        ours = [one for one in self.repository.deployments.values() if one["task"] == "dual-update"]
        return [(one["sha"], statuses.get(one["id"], [{"state": "none"}])[-1]["state"]) for one in ours]

    def said(self) -> str:
        """Everything that was written on GitHub: titles, texts, comments."""
        repository = self.repository
        texts = [f"{one['title']}\n{one['body']}" for one in repository.issues.values()]
        return "\n".join([*texts, *(one["body"] for one in repository.comments.values())])

    def _is(self, one: Mapping[str, Any], state: str) -> bool:
        return self.repository.issues[one["number"]]["state"] == state
