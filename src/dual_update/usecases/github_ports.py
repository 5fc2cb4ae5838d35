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
    """A pull request. `merge_commit` is None until it is merged; a fork's branches are not ours to write."""

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
    author: str = ""
    is_fork: bool = False


@dataclass(frozen=True)
class Review:
    """The newest word of one reviewer about a pull request: `commit` is what was looked at.

    `is_trusted`: an owner, member or collaborator said it; GitHub shows anybody's.
    """

    login: str
    is_approval: bool
    is_objection: bool
    commit: str
    is_trusted: bool


@dataclass(frozen=True)
class Commit:
    """A commit as git holds it; the first parent is the line of the branch."""

    id: str
    parents: tuple[str, ...] = ()
    tree: str = ""
    message: str = ""


Relation = Literal["ahead", "behind", "diverged", "identical"]


@dataclass(frozen=True)
class Comparison:
    """What `head` has that `base` has not: `commits` oldest first, `files` that differ from the fork point.

    `is_complete` is false where GitHub did not list them all.
    """

    relation: Relation
    commits: tuple[Commit, ...] = ()
    files: tuple[str, ...] = ()
    is_complete: bool = True


@dataclass(frozen=True)
class BranchRules:
    """What a branch demands of a pull request: approving reviews, by protection and rulesets together.

    `is_known` is false where the token may not read the protection; then one approval is assumed at least.
    """

    is_protected: bool = False
    approvals: int = 0
    is_known: bool = True


@dataclass(frozen=True)
class Deployment:
    """A deployment with our task; `cluster` and `run` are its payload."""

    id: int
    commit: str
    cluster: str
    run: str
    environment: str


@dataclass(frozen=True)
class DeploymentStatus:
    """The newest word about a deployment, and when it was said (RFC 3339); empty where there is none."""

    state: str = ""
    since: str = ""


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


class History(Protocol):
    """How commits came into a repository, and who agreed."""

    @property
    def repository(self) -> str:
        """OWNER/NAME."""
        ...

    def default_branch(self) -> str: ...
    def branch_commit(self, branch: str) -> str | None:
        """The newest commit of a branch, None where there is no such branch."""
        ...

    def commit(self, commit: str) -> Commit | None:
        """None where the repository does not know it."""
        ...

    def compare(self, base: str, head: str) -> Comparison | None:
        """Both are commits or branches. None where one is unknown or they have no common past."""
        ...

    def pulls_of(self, commit: str) -> Sequence[Pull]:
        """Pull requests that brought this commit, or would bring it."""
        ...

    def reviews(self, number: int) -> Sequence[Review]:
        """The newest word of each reviewer that approves or objects; the author's own is none."""
        ...

    def rules(self, branch: str) -> BranchRules: ...
    def protection(self, environment: str) -> Protection: ...


class Code(Protocol):
    """What a repository holds, read and proposed without a clone. Only branches of our own are moved."""

    def pointer(self, commit: str, path: str) -> str | None:
        """The commit that a submodule's path points to, None where there is no submodule."""
        ...

    def file(self, commit: str, path: str) -> str | None:
        """A file's text, None where there is no such file."""
        ...

    def branches_at(self, commit: str) -> Sequence[str]:
        """Branches whose newest commit this is."""
        ...

    def moved_pointer(self, commit: str, path: str, to: str) -> str:
        """The tree of a commit with one submodule pointing elsewhere; its id."""
        ...

    def make_commit(self, tree: str, message: str, parent: str) -> str: ...
    def set_branch(self, branch: str, commit: str) -> None:
        """Make the branch, or move it there whatever it held."""
        ...

    def drop_branch(self, branch: str) -> None:
        """Gone, or gone already."""
        ...


class GitHub(History, Code, Protocol):
    """One repository on GitHub, or on a GitHub Enterprise Server."""

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
    def drop_comment(self, comment: int) -> None:
        """Gone, or gone already."""
        ...

    # Pull requests
    def find_pulls(self, marker: str, head: str) -> Sequence[Pull]:
        """Pull requests from this branch whose text begins with this, open and closed, oldest first.

        An empty `head` is any branch, and then only open ones are looked at.
        """
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
    def find_deployments(self, cluster: str, commit: str = "") -> Sequence[Deployment]:
        """Our deployments of a cluster, of one commit where one is given; newest first."""
        ...

    def deployment_status(self, deployment: int) -> DeploymentStatus: ...

    def deploy(self, commit: str, cluster: str, run: str, environment: str) -> Deployment: ...
    def set_deployment_state(
        self, deployment: int, state: DeploymentState, description: str, url: str = ""
    ) -> None: ...
    def set_status(
        self, commit: str, context: str, state: CommitState, description: str, url: str = ""
    ) -> None: ...
    def status(self, commit: str, context: str) -> tuple[str, str]:
        """State and description of a commit's status, two empty words when there is none."""
        ...

    def dispatch(self, workflow: str, ref: str, inputs: Mapping[str, Any]) -> None:
        """Start a workflow. Never repeated: a second run is worse than none."""
        ...
