"""A branch that changes images alone: merged and deployed without a person, where its owner allows that.

Merged is only what was judged: the very commit of the Decision, and no file beside those that the model was
made from. What the workflow's token merges starts no workflow, so the deploy is dispatched.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from dual_update.core.decision import Decision
from dual_update.core.errors import DualUpdateError
from dual_update.usecases.announce import body_of, in_marker, title_of
from dual_update.usecases.approval import has_code, is_approved
from dual_update.usecases.github_ports import GitHub, Pull

PATTERNS = ("update/**",)


@dataclass(frozen=True)
class UpdateBranch:
    """What was pushed, and what its owner allows.

    `judged` are the paths that the Decision was made from (`Rendered.consulted` of both sides). `workflow`
    is the file name of the one to start on the deploy branch, empty for none.
    """

    branch: str
    deploy_branch: str
    judged: frozenset[str]
    has_auto_approve: bool = False
    patterns: tuple[str, ...] = PATTERNS
    workflow: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Merged:
    """`commit` is the merge, None where nothing was merged; `why` is one sentence."""

    commit: str | None
    why: str
    pull: Pull | None = None


def merge_update(decision: Decision, pushed: UpdateBranch, github: GitHub) -> Merged:
    """Merge it if all of that holds. What GitHub refuses is an answer, not an error.

    Safe to call again: a pull request that is merged is left alone, and the dispatch is sent at most once a
    merge. A deploy whose dispatch was lost comes with the next schedule.
    """
    doubt = _doubt(decision, pushed)
    if doubt:
        return Merged(None, doubt)
    try:
        doubt = _doubt_of_files(decision, pushed, github)
        if doubt:
            return Merged(None, doubt)
        return _merge(decision, pushed, github)
    except DualUpdateError as error:
        return Merged(None, f"Not merged: {' '.join(str(error).split())}")


def fits(branch: str, patterns: tuple[str, ...]) -> bool:
    """Does a branch fit one of the patterns: `*` within a part of the name, `**` across parts."""
    return any(re.fullmatch(_expression(one), branch) for one in patterns)


def _expression(pattern: str) -> str:
    words = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(words.get(one) or re.escape(one) for one in re.split(r"(\*\*|\*|\?)", pattern) if one)


def _doubt(decision: Decision, pushed: UpdateBranch) -> str:
    if not pushed.has_auto_approve:
        return "auto-approve is not set."
    if pushed.branch == pushed.deploy_branch or not fits(pushed.branch, pushed.patterns):
        return f"{pushed.branch} is none of the branches that may merge by themselves."
    if decision.update_type != "image_only" or has_code(decision):
        return "More than images changes."
    if decision.needs_person:
        return f"Data may be lost: {decision.needs_person[0]}"
    return ""


def _doubt_of_files(decision: Decision, pushed: UpdateBranch, github: GitHub) -> str:
    compared = github.compare(pushed.deploy_branch, pushed.branch)
    if compared is None or not compared.is_complete:
        return "GitHub does not tell all that the branch changes."
    if not compared.commits:
        return f"{pushed.branch} has nothing that {pushed.deploy_branch} has not."
    if github.branch_commit(pushed.branch) != decision.head:
        return f"{pushed.branch} has moved on since it was judged."
    others = sorted(set(compared.files) - pushed.judged)
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        return (
            f"The branch changes {others[0]}{more}, which says nothing about the cluster and was not judged."
        )
    return ""


def _merge(decision: Decision, pushed: UpdateBranch, github: GitHub) -> Merged:
    standing = [one for one in github.find_pulls("", pushed.branch) if one.base == pushed.deploy_branch]
    opened = [one for one in standing if one.is_open]
    if opened:
        pull = opened[-1]
    else:
        marker = f"<!-- dual-update pull {in_marker(decision.cluster)} -->"
        text = body_of(decision, "Only images change; merged by itself, as auto-approve allows.")
        pull = github.open_pull(marker, title_of(decision), text, pushed.branch, pushed.deploy_branch)
    rules = github.rules(pushed.deploy_branch)
    needed = rules.approvals if rules.is_known else max(1, rules.approvals)
    if needed and not is_approved(pull, github.reviews(pull.number), needed):
        return Merged(None, f"#{pull.number} needs {needed} approvals before it may be merged.", pull)
    commit = github.merge(pull.number, decision.head)
    if not pushed.workflow:
        return Merged(commit, f"#{pull.number} was merged.", pull)
    try:
        github.dispatch(pushed.workflow, pushed.deploy_branch, pushed.inputs)
    except DualUpdateError as error:
        return Merged(commit, f"#{pull.number} was merged; its deploy: {error.message}", pull)
    return Merged(commit, f"#{pull.number} was merged and its deploy was started.", pull)
