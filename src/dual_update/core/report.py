"""Decisions and runs as data for machines and as words for people. No value of any secret is in either."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dual_update.core.decision import Decision, ServiceDecision
from dual_update.core.diff import Change
from dual_update.core.secrecy import masked_all

REPORT_SCHEMA = "dual-update/report/v1"

TITLES = {
    "none": "Nothing to do",
    "image_only": "Images only",
    "structural": "Structure changed",
    "mixed": "Images and structure changed",
}


def report(decision: Decision) -> dict[str, Any]:
    """The JSON of `detect` (contract.md; schema report.schema.json)."""
    words: dict[str, Any] = masked_all(_report(decision), decision.hidden)
    return words


def concealed(decision: Decision) -> Decision:
    """The same decision with hidden values taken out of everything that a report shows."""
    if not decision.hidden:
        return decision

    def conceal(value: Any) -> Any:
        return masked_all(value, decision.hidden)

    return replace(
        decision,
        services={
            conceal(name): replace(
                one,
                image_before=conceal(one.image_before),
                image_after=conceal(one.image_after),
                reasons=conceal(one.reasons),
            )
            for name, one in decision.services.items()
        },
        warnings=conceal(decision.warnings),
        needs_person=conceal(decision.needs_person),
        hints=conceal(decision.hints),
    )


def _report(decision: Decision) -> dict[str, Any]:
    return {
        "schema": REPORT_SCHEMA,
        "cluster": decision.cluster,
        "base": decision.base,
        "head": decision.head,
        "update_type": decision.update_type,
        "needs_update": decision.needs_update,
        "strategy": decision.strategy,
        "fingerprint": decision.fingerprint,
        "services": {name: _service(one) for name, one in decision.services.items()},
        "changes": [_change(f.change, f.rule.id, f.impact) for f in decision.findings],
        "github": github_wants(decision),
        "needs_person": list(decision.needs_person),
        "hints": list(decision.hints),
        "warnings": list(decision.warnings),
    }


def github_wants(decision: Decision) -> dict[str, Any]:
    """Which conversation an update asks for: the decision matrix of contract.md."""
    has_code = any(f.change.scope == "code" for f in decision.findings)
    return {
        "issue": decision.needs_update,
        "pull_request": decision.update_type in {"structural", "mixed"} or has_code,
        "repositories": list(decision.repositories),
    }


def _service(service: ServiceDecision) -> dict[str, Any]:
    image = None
    if service.has_new_image:
        image = {"before": service.image_before, "after": service.image_after}
    return {
        "verdict": service.verdict,
        "action": service.action,
        "image": image,
        "reasons": list(service.reasons),
    }


def _change(change: Change, rule: str, impact: str) -> dict[str, Any]:
    return {
        "rule": rule,
        "scope": change.scope,
        "name": change.name,
        "path": change.path,
        "op": change.op,
        "impact": impact,
        "before": change.before,
        "after": change.after,
    }


def text(decision: Decision) -> str:
    """A page for a terminal: the verdict, a line per service with its reasons, what to know."""
    decision = concealed(decision)
    lines = [f"{TITLES[decision.update_type]}: {summary(decision)}"]
    base = decision.base[:12] if decision.base else "nothing"
    lines.append(f"  cluster {decision.cluster}, {base} -> {decision.head[:12]}")
    for name, service in decision.services.items():
        if service.verdict == "same" and service.action == "none":
            continue
        lines.append(f"  {name}: {service.verdict}, {service.action}{_arrow(service)}")
        lines += [f"    - {reason}" for reason in service.reasons]
    same = [n for n, s in decision.services.items() if s.verdict == "same" and s.action == "none"]
    if same and decision.needs_update:
        lines.append(f"  unchanged: {', '.join(same)}")
    lines += [f"  a person must agree: {why}" for why in decision.needs_person]
    lines += [f"  hint: {hint}" for hint in decision.hints]
    lines += [f"  warning: {warning}" for warning in decision.warnings]
    return "\n".join(lines) + "\n"


def summary(decision: Decision) -> str:
    """One line: what would be done."""
    counts: dict[str, int] = {}
    for service in decision.services.values():
        if service.action != "none":
            counts[service.action] = counts.get(service.action, 0) + 1
    if not decision.needs_update:
        return "the running cluster is what is wanted."
    return (
        ", ".join(f"{count} to {action}" for action, count in counts.items())
        or "recorded, nothing is touched"
    )


def markdown(decision: Decision) -> str:
    """The same for GitHub: a small table, details folded. Foreign text is escaped."""
    decision = concealed(decision)
    lines = [
        f"### {TITLES[decision.update_type]}",
        "",
        f"`{decision.cluster}`: {escape(summary(decision))}",
        "",
    ]
    rows = [(n, s) for n, s in decision.services.items() if s.action != "none" or s.verdict != "same"]
    if rows:
        lines += ["| service | verdict | action | image |", "|---|---|---|---|"]
        for name, service in rows:
            lines.append(
                f"| {escape(name)} | {service.verdict} | {service.action} | {escape(_arrow(service)[2:])} |"
            )
        lines += ["", "<details><summary>Why</summary>", ""]
        lines += [f"- **{escape(name)}**: {escape(reason)}" for name, s in rows for reason in s.reasons]
        lines += ["", "</details>"]
    for label, notes in (
        ("A person must agree", decision.needs_person),
        ("Hint", decision.hints),
        ("Warning", decision.warnings),
    ):
        lines += [f"> **{label}:** {escape(note)}" for note in notes]
    lines += ["", f"<sub>fingerprint `{decision.fingerprint[:16]}`</sub>"]
    return "\n".join(lines) + "\n"


def _arrow(service: ServiceDecision) -> str:
    if not service.has_new_image:
        return ""
    return f", {service.image_before or 'nothing'} -> {service.image_after or 'nothing'}"


_ESCAPES: Mapping[int, str] = str.maketrans(
    {
        **{c: f"\\{c}" for c in "\\`*_{}[]()#+!|~"},
        "<": "&lt;",
        ">": "&gt;",
        "&": "&amp;",
        "@": "@\u200b",
        "\n": " ",
        "\r": " ",
    }
)


def escape(text: str) -> str:
    """Foreign text made harmless in Markdown: no mentions, no HTML, no way out of a table."""
    return text.translate(_ESCAPES)
