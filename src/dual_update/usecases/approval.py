"""May this be deployed: by itself, once a person agrees, or not now (contract.md, Rules: Approval).

What cannot be found out counts against: a history that GitHub does not tell in full, a branch rule that the
token may not read, an environment that does not exist. Nothing here writes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dual_update.core.decision import Decision
from dual_update.core.errors import DualUpdateError
from dual_update.core.origin import is_built_elsewhere
from dual_update.usecases.github_ports import Commit, History, Pull, Review

Answer = Literal["auto", "approve", "no"]

LONGEST_HISTORY = 100
"""First-parent commits that are looked into; beyond it a person decides. Each costs one to two requests."""


@dataclass(frozen=True)
class Circumstances:
    """What the Decision does not know.

    `is_base_deployed`: the base is a deployment that is known to have succeeded, not merely the commit
    before the push. `has_person`: someone with write access asked for this deploy by hand. `environment`
    is the protected environment where a person would be asked; None where they are asked elsewhere (a
    dashboard, a prompt). `holds` are sentences for which it must wait, whoever agrees.
    """

    branch: str
    deploy_branch: str
    is_base_deployed: bool
    has_auto_approve: bool = False
    has_person: bool = False
    environment: str | None = None
    holds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Approval:
    """The answer, one sentence that says why, and whose word it is or needs.

    `has_failed`: it is not offered because this very commit failed before.
    """

    deploy: Answer
    why: str
    by: Literal["rules", "person", "environment"] = "rules"
    has_failed: bool = False


def approval(decision: Decision, circumstances: Circumstances, github: History) -> Approval:
    """Never raises for what GitHub does: a question without an answer is a question for a person."""
    now = circumstances
    if not decision.needs_update:
        return Approval("no", "Nothing to do: the cluster runs what this commit wants.")
    if now.branch != now.deploy_branch:
        return Approval("no", f"Only {now.deploy_branch} is deployed; this is {now.branch or 'no branch'}.")
    if now.holds:
        return Approval("no", now.holds[0])
    if now.has_person:
        return Approval("auto", "A person asked for this deploy by hand.", by="person")
    if decision.needs_person:
        return _asked(f"Data may be lost: {decision.needs_person[0]}", now, github)
    if now.has_auto_approve:
        return Approval("auto", "auto-approve is set.")
    if decision.base is None:
        return _asked("Nothing is known to run here, so this counts as a first deploy.", now, github)
    if not now.is_base_deployed:
        return _asked("No successful deployment is known to compare with.", now, github)
    if decision.update_type == "image_only" and not has_code(decision):
        return Approval("auto", f"Only images change, and {now.branch} is the deploy branch.")
    try:
        doubt = unreviewed(github, decision.base, decision.head, now.deploy_branch)
    except DualUpdateError as error:
        doubt = f"How the commits came in could not be asked: {error.message}"
    if doubt:
        return _asked(doubt, now, github)
    return Approval("auto", "Every commit since the last deployment came through a merged pull request.")


def has_code(decision: Decision) -> bool:
    """Is code of a build context among what changed: it is `image_only`, yet nobody reviewed an image."""
    return any(f.change.scope == "code" and f.impact != "none" for f in decision.findings)


def waits_for_build(
    decision: Decision, services: Mapping[str, Mapping[str, Any]], built: Sequence[str] = ()
) -> tuple[str, ...]:
    """A sentence where changed code goes into an image that is built elsewhere and pushed to a registry.

    `services` are the wanted models; which of them are built elsewhere, core/origin.py says. `built` are
    services whose build has told that it is done.
    """
    waiting = sorted(
        one for one in decision.built_anew if one not in built and is_built_elsewhere(services.get(one, {}))
    )
    if not waiting:
        return ()
    named = ", ".join(waiting[:3]) + (f" and {len(waiting) - 3} more" if len(waiting) > 3 else "")
    return (f"Waiting for the build that pushes the image of {named}; its end starts the deploy.",)


def unreviewed(github: History, base: str, head: str, branch: str) -> str:
    """Why not every first-parent commit after `base` came through a merged and approved pull request.

    Empty when all did. Raises WorldError when GitHub does not tell.
    """
    commits = first_parents(github, base, head)
    if commits is None:
        return f"{base[:12]} is not on the straight line of commits to {head[:12]} (a force push?)."
    if len(commits) > LONGEST_HISTORY:
        return f"More than {LONGEST_HISTORY} commits since the last deployment: too many to look into."
    rules = github.rules(branch)
    needed = rules.approvals if rules.is_known else max(1, rules.approvals)
    agreed: dict[int, bool] = {}
    for commit in commits:
        merged = [one for one in github.pulls_of(commit.id) if one.is_merged and one.base == branch]
        if not merged:
            return f"Commit {commit.id[:12]} was pushed to {branch} without a pull request."
        for one in merged:
            if one.number not in agreed:
                agreed[one.number] = not needed or is_approved(one, github.reviews(one.number), needed)
        if not any(agreed[one.number] for one in merged):
            numbers = ", ".join(f"#{one.number}" for one in merged)
            return f"Commit {commit.id[:12]} came by {numbers}, which has fewer than {needed} approvals."
    return ""


def first_parents(github: History, base: str, head: str) -> Sequence[Commit] | None:
    """The commits that moved the branch from base to head, oldest first; None where base is not among
    the first parents of head, or GitHub does not list them all."""
    if base == head:
        return ()
    compared = github.compare(base, head)
    if compared is None or compared.relation != "ahead" or not compared.is_complete:
        return None
    known = {one.id: one for one in compared.commits}
    line: list[Commit] = []
    at = head
    while at != base:
        one = known.get(at)
        if one is None or not one.parents:
            return None
        line.append(one)
        at = one.parents[0]
    return line[::-1]


def is_approved(pull: Pull, reviews: Sequence[Review], needed: int, *, at_head: bool = False) -> bool:
    """Enough trusted approvals and no objection; with `at_head` only those of its newest commit count."""
    trusted = [one for one in reviews if one.is_trusted and one.login != pull.author]
    if any(one.is_objection for one in trusted):
        return False
    yes = [one for one in trusted if one.is_approval and (not at_head or one.commit == pull.head_commit)]
    return len(yes) >= needed


def _asked(why: str, now: Circumstances, github: History) -> Approval:
    """A person is asked in the environment, if one would really be asked there."""
    if now.environment is None:
        return Approval("approve", why)
    try:
        guard = github.protection(now.environment)
    except DualUpdateError as error:
        return Approval("no", f"{why} Whether a person is asked could not be found out: {error.message}")
    if guard.has_reviewers:
        return Approval("approve", why, by="environment")
    wrong = "has no required reviewers" if guard.does_exist else "does not exist"
    return Approval(
        "no",
        f"{why} The environment {now.environment!r} {wrong}, so nobody would be asked: add reviewers to it"
        " (Settings, Environments), or start the deploy by Run workflow with the box approve ticked.",
    )
