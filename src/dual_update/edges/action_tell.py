"""Tell GitHub what an event means: issue, pull request or comment, and the commit's status.

Quietly: what GitHub refuses becomes a warning of the step, and no decision depends on it.
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from dual_update.core.report import TITLES, escape
from dual_update.edges.action_words import footer
from dual_update.usecases import announce
from dual_update.usecases.announce import quietly

if TYPE_CHECKING:
    from dual_update.adapters.actions import Step
    from dual_update.edges.action import Asked
    from dual_update.usecases.gate import Judged, Occasion
    from dual_update.usecases.github_ports import CommitState, GitHub
    from dual_update.usecases.update_branch import Merged
    from dual_update.wiring_github import Verdicts


def announced(
    asked: "Asked", now: "Occasion", verdicts: "Verdicts", github: "GitHub", step: "Step"
) -> dict[str, str]:
    """Announce every cluster's Decision where this event is talked about; addresses by output's name.

    A pull request gets one comment. A branch gets an issue of its own, and the pull request where one is
    asked for. What comes to the deploy branch gets the cluster's issue. A run that comes late, when its
    branch has moved on, sets the status of its own commit and leaves the rest to the newer commit's run.
    Other events are only looked at.
    """
    if now.kind == "other":
        return {}
    urls: dict[str, str] = {}
    pulls: list[int] = []
    moved_on: list[str] = []
    quietly(lambda: moved_on.append(_moved_on(now, verdicts, github)), step.warning)
    late = "".join(moved_on)
    if late:
        step.notice(late)
        step.summary(escape(late))
    for one in verdicts.judged:
        words = footer(asked, one, verdicts.deploy_branch)
        if not late:
            quietly(partial(_tell, asked, one, words, now, verdicts, github, urls, pulls), step.warning)
        if not (verdicts.is_proposal and verdicts.is_on_branch):  # else its status is the deploy branch's
            quietly(partial(_set_status, asked, one, github, verdicts), step.warning)
    if verdicts.submodules:
        quietly(
            lambda: _coordinate(now, verdicts, github, urls, pulls, is_late=bool(late)),
            step.warning,
        )
    return urls


def _moved_on(now: "Occasion", verdicts: "Verdicts", github: "GitHub") -> str:
    """Why the judged commit is not what its branch should become, in a sentence; empty while it is.

    GitHub is asked: in the clone of a late run, actions/checkout has moved the event's branch back to the
    event's commit.
    """
    branch = now.branch if verdicts.is_proposal else verdicts.deploy_branch
    is_nowhere = verdicts.is_proposal and branch in {"", verdicts.deploy_branch}
    if is_nowhere or not verdicts.judged:
        return ""
    head, newest = verdicts.judged[0].decision.head, github.branch_commit(branch)
    if now.kind == "pull_request" and verdicts.is_on_branch:
        there = f"It lies on {verdicts.deploy_branch} already. "
    elif newest == head:
        return ""
    elif newest is not None:
        there = f"A newer commit is on {branch}: {newest[:12]}. "
    elif verdicts.is_proposal:
        there = f"The branch {branch} is gone. "
    else:
        return ""  # a deploy branch that GitHub does not show: nothing newer is known
    return f"{there}This run, for {head[:12]}, changes no issue and no pull request."


def _coordinate(
    now: "Occasion",
    verdicts: "Verdicts",
    github: "GitHub",
    urls: dict[str, str],
    pulls: list[int],
    *,
    is_late: bool,
) -> None:
    """Bring the submodules' repositories in line; on schedule, offer what they have that we do not name.

    What this commit asks of them is left out where it is not its branch's newest any more.
    """
    from dual_update.usecases.coordinate import Change, coordinate, standing
    from dual_update.usecases.upstream import follow_upstream

    decisions = [] if is_late else [one.decision for one in verdicts.judged]
    if now.kind == "schedule":
        for upstream in follow_upstream(github, verdicts.submodules, verdicts.deploy_branch):
            if upstream.pull is not None:
                urls.setdefault("pr-url", upstream.pull.url)
    changes = []
    if verdicts.is_proposal:
        number = now.pull or next(iter(pulls), None)
        if number is not None and decisions:
            title = announce.title_of(decisions[0])
            changes = [Change(decisions[0].head, verdicts.deploy_branch, number, title=title)]
    elif now.kind == "submodule":
        changes = list(standing(github, verdicts.deploy_branch, verdicts.submodules))
    elif decisions:
        waiting = {move.path for one in decisions if one.needs_update for move in one.submodules}
        title = announce.title_of(decisions[0])
        changes = [Change(decisions[0].head, verdicts.deploy_branch, title=title, waiting=frozenset(waiting))]
    for change in changes:
        for link in coordinate(github, change, verdicts.submodules).links:
            if link.issue is not None:
                urls.setdefault("submodule-issue-url", link.issue.url)
            if link.pull is not None:
                urls.setdefault("submodule-pr-url", link.pull.url)


def _tell(
    asked: "Asked",
    one: "Judged",
    words: str,
    now: "Occasion",
    verdicts: "Verdicts",
    github: "GitHub",
    urls: dict[str, str],
    pulls: list[int],
) -> None:
    if now.kind == "pull_request" and now.pull is not None:
        url = announce.announce_on_pull(one.decision, github, now.pull, words)
        urls["pr-url"] = url.partition("#")[0]
        return
    if verdicts.is_proposal and now.branch in {"", verdicts.deploy_branch}:
        return  # a commit that was forced away, or lies on no branch: there is nothing to propose
    if now.kind == "push" and verdicts.is_proposal and asked.inputs["auto-approve"] == "true":
        merged_now = _merge_by_itself(asked, one, now, verdicts, github)
        urls.update({"pr-url": merged_now.pull.url} if merged_now.pull else {})
        if merged_now.commit is not None:
            return
        if one.decision.update_type == "image_only":
            words = f"{words}\n\nNot merged by itself: {escape(merged_now.why)}"
    branch = now.branch if verdicts.is_proposal else ""
    merged = () if branch else _merged(github, one.commits, verdicts.deploy_branch)
    issue = announce.announce(one.decision, github, words, branch=branch, merged=merged).issue
    if issue is not None:
        urls["issue-url"] = issue.url
    if branch and now.kind == "push":
        pull = announce.offer_pull(one.decision, github, branch, verdicts.deploy_branch, issue, words)
        if pull is not None:
            urls["pr-url"] = pull.url
            pulls.append(pull.number)


def _merge_by_itself(
    asked: "Asked", one: "Judged", now: "Occasion", verdicts: "Verdicts", github: "GitHub"
) -> "Merged":
    """Merge a branch that changes images alone, where auto-approve allows that; its deploy is dispatched."""
    from dual_update.usecases.update_branch import Merged, UpdateBranch, merge_update

    if len(verdicts.judged) != 1:
        return Merged(None, "With several clusters, one of them cannot speak for all.")
    pushed = UpdateBranch(
        now.branch,
        verdicts.deploy_branch,
        one.judged_files,
        has_auto_approve=True,
        workflow=asked.workflow,
    )
    return merge_update(one.decision, pushed, github)


def _merged(github: "GitHub", commits: Sequence[str], deploy_branch: str) -> tuple[str, ...]:
    """The branches that these commits of the deploy branch brought."""
    pulls = [one for commit in commits for one in github.pulls_of(commit)]
    ours = [one.head for one in pulls if one.is_merged and one.base == deploy_branch]
    return tuple(dict.fromkeys(ours))


def _set_status(asked: "Asked", one: "Judged", github: "GitHub", verdicts: "Verdicts") -> None:
    state, words = status_of(one, is_proposal=verdicts.is_proposal)
    name = context(one.decision.cluster)
    if github.status(one.decision.head, name) != (state, words):
        github.set_status(one.decision.head, name, state, words, asked.run_url)


def context(cluster: str) -> str:
    """The name of the commit status that tells what a commit means for a cluster."""
    return f"dual-update/{cluster}"[:200]


def status_of(one: "Judged", *, is_proposal: bool) -> "tuple[CommitState, str]":
    """State and description of the commit's status: green for what is judged or needs nothing."""
    title = TITLES[one.decision.update_type]
    if is_proposal or not one.decision.needs_update:
        return "success", f"{title}."
    says = {"auto": "is deployed now", "approve": "waits for a person", "no": "is not deployed"}
    state: CommitState = "failure" if one.approval.has_failed else "pending"
    return state, f"{title}; {says[one.approval.deploy]}. {one.approval.why}"[:140]


def withdrawn(now: "Occasion", github: "GitHub", step: "Step") -> None:
    """The branch is gone, or its pull request was closed: what was said about the proposal is moot."""
    if not now.branch or now.is_merged:
        return
    gone = "The branch is gone." if now.kind == "deleted" else "Its pull request was closed."
    quietly(lambda: announce.withdraw(github, now.branch, f"No longer needed: {gone}"), step.warning)
