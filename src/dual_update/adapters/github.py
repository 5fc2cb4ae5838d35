"""One repository on GitHub, through its REST API: issues, pull requests, deployments, statuses, dispatches.

What is asked of its history is in github_history.py, of its files and branches in github_code.py; how it is
asked in github_requests.py.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from dual_update.adapters import github_answers as answers
from dual_update.adapters.github_code import CodeOfRepository
from dual_update.adapters.github_history import HistoryOfRepository
from dual_update.adapters.github_requests import Invalid, NotThere, Patience, Unknown
from dual_update.core.errors import WorldError
from dual_update.usecases.github_ports import (
    Comment,
    CommitState,
    Deployment,
    DeploymentState,
    DeploymentStatus,
    Issue,
    Label,
    Pull,
    Reason,
)

__all__ = ["Patience", "PyGithubRepository"]

TASK = "dual-update"
LONGEST_DESCRIPTION = 140
"""Characters that GitHub takes in the description of a commit's or a deployment's status."""

LONGEST_LOOK = 3
"""Pages of a hundred open issues that are searched for a marker whose label was taken off."""


class PyGithubRepository(HistoryOfRepository, CodeOfRepository):
    """One repository by name. `base_url` is as GITHUB_API_URL gives it; an enterprise's ends in `/api/v3`."""

    # Conversation

    def find_issues(self, marker: str, label: str) -> Sequence[Issue]:
        """The label finds them in one page; where it was taken off, the newest open issues are searched."""
        listed = list(self._pages("/issues", state="all", labels=label))
        found = [answers.issue(one) for one in listed if _is_our_issue(one, marker)]
        if not found:
            newest = self._pages("/issues", most=LONGEST_LOOK, state="open")
            found = [answers.issue(one) for one in newest if _is_our_issue(one, marker)]
        return sorted(found, key=lambda one: one.number)

    def open_issue(self, marker: str, title: str, text: str, labels: Sequence[Label]) -> Issue:
        for label in labels:
            self._ensure(label)
        names = [label.name for label in labels]
        body = {"title": title, "body": f"{marker}\n{text}", "labels": names}

        def found() -> Issue | None:
            return next((one for one in self.find_issues(marker, names[0]) if one.is_open), None)

        return self._make("/issues", body, answers.issue, found)

    def edit_issue(
        self,
        number: int,
        *,
        title: str | None = None,
        body: str | None = None,
        is_open: bool | None = None,
        reason: Reason = "completed",
    ) -> Issue:
        change: dict[str, Any] = {"title": title, "body": body}
        if is_open is not None:
            change["state"] = "open" if is_open else "closed"
            change["state_reason"] = "reopened" if is_open else reason
        change = {key: value for key, value in change.items() if value is not None}
        return self._set("PATCH", f"/issues/{number}", change, answers.issue)

    def find_comments(self, number: int, marker: str) -> Sequence[Comment]:
        listed = self._pages(f"/issues/{number}/comments")
        return [answers.comment(one) for one in listed if answers.is_ours(one, marker)]

    def comment(self, number: int, marker: str, text: str) -> Comment:
        def found() -> Comment | None:
            return next(iter(self.find_comments(number, marker)), None)

        return self._make(f"/issues/{number}/comments", {"body": f"{marker}\n{text}"}, answers.comment, found)

    def edit_comment(self, comment: int, body: str) -> Comment:
        return self._set("PATCH", f"/issues/comments/{comment}", {"body": body}, answers.comment)

    def drop_comment(self, comment: int) -> None:
        with suppress(NotThere):
            self._set("DELETE", f"/issues/comments/{comment}", None, lambda _: None)

    def _ensure(self, label: Label) -> None:
        """Make a label that is missing; two that make it at once both have it."""
        path = f"/labels/{quote(label.name, safe='')}"

        def found() -> str | None:
            try:
                return str(self._get(path)["name"])
            except NotThere:
                return None

        if found() is None:
            body = {"name": label.name, "color": label.color, "description": label.description[:100]}
            try:
                self._make("/labels", body, lambda one: str(one["name"]), found)
            except Invalid:
                if found() is None:
                    raise

    # Pull requests

    def find_pulls(self, marker: str, head: str) -> Sequence[Pull]:
        owner = self._name.partition("/")[0]
        if head:
            listed = list(self._pages("/pulls", state="all", head=f"{owner}:{head}"))
        else:
            listed = list(self._pages("/pulls", most=LONGEST_LOOK, state="open"))
        ours = [
            answers.pull(one)
            for one in listed
            if answers.is_ours(one, marker) and head in ("", one["head"]["ref"])
        ]
        return sorted(ours, key=lambda one: one.number)

    def open_pull(self, marker: str, title: str, text: str, head: str, base: str) -> Pull:
        def found() -> Pull | None:
            return next((one for one in self.find_pulls(marker, head) if one.is_open), None)

        body = {"title": title, "body": f"{marker}\n{text}", "head": head, "base": base}
        try:
            return self._make("/pulls", body, answers.pull, found)
        except Invalid as invalid:
            there = self._looked_for(found) if "already exists" in invalid.message else None
            if there is None:
                raise
            return there

    def edit_pull(
        self, number: int, *, title: str | None = None, body: str | None = None, is_open: bool | None = None
    ) -> Pull:
        state = None if is_open is None else "open" if is_open else "closed"
        change = {"title": title, "body": body, "state": state}
        change = {key: value for key, value in change.items() if value is not None}
        return self._set("PATCH", f"/pulls/{number}", change, answers.pull)

    def pull(self, number: int) -> Pull:
        return self._read(self._get(f"/pulls/{number}"), answers.pull, f"/pulls/{number}")

    def merge(self, number: int, head_commit: str) -> str:
        """As a merge commit, or in the first way that the repository allows."""
        for how in ("merge", "squash", "rebase"):
            try:
                return self._merge(number, head_commit, how)
            except WorldError as error:
                last = error
                if "are not allowed" not in error.message:
                    raise
        raise last

    def _merge(self, number: int, head_commit: str, how: str) -> str:
        """A merge whose answer was lost is seen at the pull request itself."""
        path = f"/pulls/{number}/merge"
        for attempt in range(self._patience.tries):
            try:
                answer = self._send("PUT", path, {"sha": head_commit, "merge_method": how})
                return self._read(answer, lambda one: str(one["sha"]), path)
            except Unknown as unknown:
                self._pause(attempt)
                now = self.pull(number)
                if now.is_merged and now.merge_commit:
                    return now.merge_commit
                last = unknown
        raise last

    # What runs, and what is known of a commit

    def find_deployments(self, cluster: str, commit: str = "") -> Sequence[Deployment]:
        # An empty word would find nothing; `none` is GitHub's own word for any.
        listed = (
            answers.deployment(one) for one in self._pages("/deployments", task=TASK, sha=commit or "none")
        )
        return [one for one in listed if one.cluster == cluster]

    def deployment_status(self, deployment: int) -> DeploymentStatus:
        newest: Any = next(self._pages(f"/deployments/{deployment}/statuses", most=1), {})
        return DeploymentStatus(str(newest.get("state") or ""), str(newest.get("created_at") or ""))

    def deploy(self, commit: str, cluster: str, run: str, environment: str) -> Deployment:
        def found() -> Deployment | None:
            ours = self.find_deployments(cluster, commit)
            return next((one for one in ours if one.run == run), None)

        body = {
            "ref": commit,
            "task": TASK,
            "auto_merge": False,  # GitHub's default would merge the default branch into the ref
            "required_contexts": [],
            "payload": {"cluster": cluster, "run": run},
            "environment": environment,
        }
        return self._make("/deployments", body, answers.deployment, found)

    def set_deployment_state(
        self, deployment: int, state: DeploymentState, description: str, url: str = ""
    ) -> None:
        path = f"/deployments/{deployment}/statuses"
        words = description[:LONGEST_DESCRIPTION]

        def found() -> int | None:
            newest: Any = next(self._pages(path, most=1), {})
            same = (newest.get("state"), newest.get("description")) == (state, words)
            return int(newest["id"]) if same else None

        # GitHub's default would end the deployments of other clusters in the same environment.
        body = {"state": state, "description": words, "auto_inactive": False}
        body.update({"log_url": url} if url else {})
        self._make(path, body, lambda one: int(one["id"]), found)

    def set_status(
        self, commit: str, context: str, state: CommitState, description: str, url: str = ""
    ) -> None:
        words = description[:LONGEST_DESCRIPTION]

        def found() -> int | None:
            statuses = self._get(f"/commits/{commit}/status", per_page="100")["statuses"]
            same = (one for one in statuses if (one["context"], one["state"]) == (context, state))
            return next((int(one["id"]) for one in same if one["description"] == words), None)

        body = {"state": state, "context": context, "description": words}
        body.update({"target_url": url} if url else {})
        self._make(f"/statuses/{commit}", body, lambda one: int(one["id"]), found)

    def status(self, commit: str, context: str) -> tuple[str, str]:
        statuses = self._get(f"/commits/{commit}/status", per_page="100")["statuses"]
        same = [one for one in statuses if one["context"] == context]
        return (str(same[0]["state"]), str(same[0]["description"] or "")) if same else ("", "")

    def dispatch(self, workflow: str, ref: str, inputs: Mapping[str, Any]) -> None:
        path = f"/actions/workflows/{quote(workflow, safe='')}/dispatches"
        try:
            self._send("POST", path, {"ref": ref, "inputs": dict(inputs)})
        except Unknown as unknown:
            raise WorldError(
                f"{unknown.message} The workflow {workflow} may have been started or not.",
                hint="Look at the Actions tab before starting it again.",
            ) from None


def _is_our_issue(one: Mapping[str, Any], marker: str) -> bool:
    """GitHub lists pull requests among the issues."""
    return "pull_request" not in one and answers.is_ours(one, marker)
