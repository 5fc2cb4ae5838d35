"""What the action writes for people: the step's log, its summary, and what stands below a report."""

from typing import TYPE_CHECKING

from dual_update.core.report import escape, markdown, text

if TYPE_CHECKING:
    from dual_update.edges.action import Asked
    from dual_update.usecases.gate import Judged
    from dual_update.wiring_github import Verdicts

ANSWERS = {
    "auto": "It is deployed without asking.",
    "approve": "A person must approve it.",
    "no": "It is not deployed now.",
}


def log(verdicts: "Verdicts") -> str:
    """The step's log: each decision and its answer."""
    parts = []
    for one in verdicts.judged:
        parts.append(text(one.decision))
        if one.decision.needs_update or one.approval.deploy != "no":
            parts.append(f"  {ANSWERS[one.approval.deploy]} {one.approval.why}\n")
    return "".join(parts)


def summary(verdicts: "Verdicts", asked: "Asked") -> str:
    """The step's summary."""
    parts = []
    for one in verdicts.judged:
        parts.append(markdown(one.decision))
        if one.decision.needs_update:
            parts.append(footer(asked, one, verdicts.deploy_branch))
    return "\n\n".join(parts)


def footer(asked: "Asked", one: "Judged", deploy_branch: str) -> str:
    """What may be done with it, how it is done by hand, and where this was judged."""
    decision = one.decision
    if not decision.needs_update:
        return f"[Judged here]({asked.run_url})." if asked.run_url else ""
    lines = [f"**{ANSWERS[one.approval.deploy]}** {escape(one.approval.why)}", ""]
    if one.approval.deploy == "approve":
        lines += [
            f"To approve: *Review deployments* in the run, or *Run workflow* on `{deploy_branch}`.",
            "",
        ]
    lines += [
        "<details><summary>By hand, on the cluster's host</summary>",
        "",
        "```sh",
        f"dual-update plan --ref {decision.head}",
        f"dual-update apply --ref {decision.head} --expect {decision.fingerprint}",
        "dual-update rollback   # what ran before runs again",
        "```",
        "",
        "</details>",
    ]
    if asked.run_url:
        lines += ["", f"[Judged here]({asked.run_url})."]
    return "\n".join(lines)
