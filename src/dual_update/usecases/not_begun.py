"""Tell GitHub that a deploy was not begun, and what runs instead.

The host said no before any run: it was busy, something else runs than was judged, somebody changed it by
hand. Nothing was touched, so there is no Deployment of the wanted commit; but the host's word on what runs is
taken, for else the next comparison would start from the wrong commit again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dual_update.core.redaction import redacted
from dual_update.core.report import escape
from dual_update.usecases.announce import LABEL, in_marker, marker_of, quietly
from dual_update.usecases.github_ports import GitHub
from dual_update.usecases.outcome import Deploy, context, one_line, say

LOOKED_AT = 30
LONGEST_REASON = 2_000


def tell_not_begun(refusal: Mapping[str, Any], deploy: Deploy, github: GitHub) -> tuple[str, ...]:
    """Tell it once, however often it is said again; `refusal` is the host's JSON (refusal.schema.json).

    Returns a sentence for each part that GitHub did not take.
    """
    warnings: list[str] = []
    quietly(lambda: _know(refusal, deploy, github), warnings.append)
    quietly(lambda: _set_status(refusal, deploy, github), warnings.append)
    quietly(lambda: _comment(refusal, deploy, github), warnings.append)
    return tuple(warnings)


def newest_good(github: GitHub, cluster: str) -> str:
    """The commit of a cluster's newest deployment that went well, empty where none is known."""
    for one in github.find_deployments(cluster)[:LOOKED_AT]:
        if github.deployment_status(one.id).state == "success":
            return one.commit
    return ""


def _know(refusal: Mapping[str, Any], deploy: Deploy, github: GitHub) -> None:
    runs, run = refusal.get("runs"), refusal.get("run")
    if not runs or not run or newest_good(github, deploy.cluster) == runs:
        return
    made = github.deploy(runs, deploy.cluster, f"{run} as seen by {deploy.run}", deploy.environment)
    github.set_deployment_state(made.id, "success", "The host says that this runs.", deploy.url)


def _set_status(refusal: Mapping[str, Any], deploy: Deploy, github: GitHub) -> None:
    words = one_line(f"Not begun: {redacted(str(refusal['reason']))}")
    there = github.status(deploy.commit, context(deploy.cluster))
    if there[0] != "success" and there != (
        "failure",
        words,
    ):  # it was deployed once: a late job changes nothing
        github.set_status(deploy.commit, context(deploy.cluster), "failure", words, deploy.url)


def _comment(refusal: Mapping[str, Any], deploy: Deploy, github: GitHub) -> Sequence[int]:
    """On the open issue of this update: one comment for a commit, changed when the reason changes."""
    if not deploy.fingerprint:
        return []
    found = github.find_issues(marker_of(deploy.cluster, deploy.fingerprint), LABEL.name)
    told = [one.number for one in found if one.is_open]
    marker = f"<!-- dual-update not-begun {in_marker(deploy.cluster)} {deploy.commit} -->"
    for number in told:
        say(github, number, marker, _body(refusal, deploy))
    return told


def _body(refusal: Mapping[str, Any], deploy: Deploy) -> str:
    lines = [
        f"### Not begun: {escape(deploy.cluster)}",
        "",
        f"Commit {deploy.commit} was not begun, and nothing was touched.",
        "",
        f"**Why:** {escape(redacted(str(refusal['reason'])[:LONGEST_REASON]))}",
        "",
    ]
    if refusal.get("hint"):
        lines += [escape(redacted(str(refusal["hint"])[:LONGEST_REASON])), ""]
    if refusal.get("runs"):
        lines += [f"The host runs {escape(str(refusal['runs']))}.", ""]
    return "\n".join(lines)
