"""What use-cases need of GitHub. The adapter fits this; so may any other forge.

What is ours is known by its marker, the first line of its text. `find` looks at what a trusted author wrote:
a stranger's issue that copies a marker is never ours. Every write comes in two flavours: what makes something
looks for the marker before it is repeated, what sets something may be repeated as it is. All raise WorldError
with one sentence that says what to change; the caller decides how much a failed notification matters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Reason = Literal["completed", "not_planned"]
CommitState = Literal["error", "failure", "pending", "success"]
DeploymentState = Literal["error", "failure", "inactive", "in_progress", "queued", "pending", "success"]


@dataclass(frozen=True)
class Issue:
    """An issue, or a pull request seen as one."""

    number: int
    title: str
    body: str
    is_open: bool
    url: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comment:
    id: int
    body: str
    url: str


@dataclass(frozen=True)
class Pull:
    """A pull request. `merge_commit` is None until it is merged."""

    number: int
    title: str
    body: str
    is_open: bool
    is_merged: bool
    url: str
    head: str
    head_commit: str
    base: str
    merge_commit: str | None = None


@dataclass(frozen=True)
class Deployment:
    """A deployment with our task; `cluster` and `run` are its payload."""

    id: int
    commit: str
    cluster: str
    run: str
    environment: str


@dataclass(frozen=True)
class Protection:
    """How an environment is guarded. One that does not exist is guarded by nothing."""

    does_exist: bool
    has_reviewers: bool = False
    wait_minutes: int = 0


@dataclass(frozen=True)
class Label:
    name: str
    color: str
    description: str


class GitHub(Protocol):
    """One repository on GitHub, or on a GitHub Enterprise Server."""

    @property
    def repository(self) -> str:
        """OWNER/NAME."""
        ...

    # Conversation
    def find_issues(self, marker: str, label: str) -> Sequence[Issue]:
        """Our issues whose text begins with this, open and closed, oldest first."""
        ...

    def open_issue(self, marker: str, title: str, text: str, labels: Sequence[Label]) -> Issue:
        """Open an issue whose text is marker and text, with these labels, which are made where missing."""
        ...

    def edit_issue(
        self,
        number: int,
        *,
        title: str | None = None,
        body: str | None = None,
        is_open: bool | None = None,
        reason: Reason = "completed",
    ) -> Issue: ...
    def find_comments(self, number: int, marker: str) -> Sequence[Comment]: ...
    def comment(self, number: int, marker: str, text: str) -> Comment: ...
    def edit_comment(self, comment: int, body: str) -> Comment: ...

    # Pull requests
    def find_pulls(self, marker: str, head: str) -> Sequence[Pull]:
        """Pull requests from this branch whose text begins with this, open and closed, oldest first."""
        ...

    def open_pull(self, marker: str, title: str, text: str, head: str, base: str) -> Pull: ...
    def edit_pull(
        self, number: int, *, title: str | None = None, body: str | None = None, is_open: bool | None = None
    ) -> Pull: ...
    def pull(self, number: int) -> Pull: ...
    def merge(self, number: int, head_commit: str) -> str:
        """Merge if its head is still this commit; the merge commit."""
        ...

    # What runs, and what is known of a commit
    def find_deployments(self, cluster: str) -> Sequence[Deployment]:
        """Our deployments of a cluster, newest first."""
        ...

    def deployment_state(self, deployment: int) -> str:
        """The newest status, empty when there is none."""
        ...

    def deploy(self, commit: str, cluster: str, run: str, environment: str) -> Deployment: ...
    def set_deployment_state(
        self, deployment: int, state: DeploymentState, description: str, url: str = ""
    ) -> None: ...
    def set_status(
        self, commit: str, context: str, state: CommitState, description: str, url: str = ""
    ) -> None: ...
    def protection(self, environment: str) -> Protection: ...
    def dispatch(self, workflow: str, ref: str, inputs: Mapping[str, Any]) -> None:
        """Start a workflow. Never repeated: a second run is worse than none."""
        ...
