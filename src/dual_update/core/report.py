"""Decisions and runs as data for machines and as words for people. No value of any secret is in either."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dual_update.core.decision import Decision, ServiceDecision
from dual_update.core.diff import Change
from dual_update.core.secrecy import masked_all
from dual_update.core.submodule import SubmoduleMove

REPORT_SCHEMA = "dual-update/report/v1"

LONGEST_MARKDOWN = 64_000
"""GitHub takes 65,536 characters in an issue or comment; a marker and a footer come on top."""

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
        submodules=tuple(replace(one, commits=conceal(one.commits)) for one in decision.submodules),
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
        "submodules": [_submodule(one) for one in decision.submodules],
        "needs_person": list(decision.needs_person),
        "hints": list(decision.hints),
        "warnings": list(decision.warnings),
    }


def github_wants(decision: Decision) -> dict[str, Any]:
    """Which conversation an update asks for: the decision matrix of contract.md."""
    has_code = any(f.change.scope == "code" and f.impact != "none" for f in decision.findings)
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


def _submodule(move: SubmoduleMove) -> dict[str, Any]:
    return {
        "path": move.path,
        "before": move.before,
        "after": move.after,
        "repository": move.repository or None,
        "commits": list(move.commits),
        "files": list(move.files),
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
    for move in decision.submodules:
        lines.append(f"  submodule {_moved(move)}")
        lines += [f"    - {commit}" for commit in _few(move.commits)]
    lines += [f"  a person must agree: {why}" for why in decision.needs_person]
    lines += [f"  hint: {hint}" for hint in decision.hints]
    lines += [f"  warning: {warning}" for warning in decision.warnings]
    return "\n".join(map(printable, lines)) + "\n"


def _moved(move: SubmoduleMove) -> str:
    before, after = (one[:12] if one else "nothing" for one in (move.before, move.after))
    return f"{move.path}: {before} -> {after}, {counted(len(move.files), 'file')} changed"


def counted(count: int, what: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _few(lines: Sequence[str], most: int = 10) -> list[str]:
    more = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return [*lines[:most], *more]


def printable(text: str) -> str:
    """Foreign text without what moves a terminal's cursor, rings its bell or turns its direction."""
    return "".join(one if one.isprintable() else "\ufffd" for one in text)


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
    """The same for GitHub: a small table, details folded. Foreign text is escaped.

    Never longer than `LONGEST_MARKDOWN`, because GitHub refuses more: what does not fit is counted.
    """
    decision = concealed(decision)
    rows = [(n, s) for n, s in decision.services.items() if s.action != "none" or s.verdict != "same"]
    table = [
        f"| {escape(n)} | {s.verdict} | {s.action} | {escape(_arrow(s).removeprefix(', '))} |"
        for n, s in rows
    ]
    reasons = [f"- **{escape(n)}**: {escape(reason)}" for n, s in rows for reason in s.reasons]
    moves = []
    for move in decision.submodules:
        moves.append(f"- {escape(_moved(move))}")
        moves += [f"  - {escape(commit)}" for commit in _few(move.commits)]
    notes = [
        f"> **{label}:** {escape(note)}\n"
        for label, several in (
            ("A person must agree", decision.needs_person),
            ("Warning", decision.warnings),
            ("Hint", decision.hints),
        )
        for note in several
    ]
    lines = [
        f"### {TITLES[decision.update_type]}",
        "",
        f"**{escape(decision.cluster)}**: {escape(summary(decision))}",
        "",
        *_fitting(notes, 0.2),
    ]
    if rows:
        lines += ["| service | verdict | action | image |", "|---|---|---|---|", *_fitting(table, 0.35), ""]
        lines += ["<details><summary>Why</summary>", "", *_fitting(reasons, 0.25), "", "</details>"]
    if moves:
        lines += ["", "Submodules:", "", *_fitting(moves, 0.15)]
    lines += ["", f"<sub>fingerprint `{decision.fingerprint[:16]}`</sub>"]
    return "\n".join(lines) + "\n"


def _fitting(lines: Sequence[str], share: float) -> list[str]:
    """As many lines as fit into a share of the page, and how many there are beyond."""
    left = int(LONGEST_MARKDOWN * share) - 40
    for number, line in enumerate(lines):
        left -= len(line) + 1
        if left < 0:
            return [*lines[:number], "", f"... and {len(lines) - number} more", ""]
    return list(lines)


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
    }
)


def escape(text: str) -> str:
    """Foreign text made harmless in Markdown: no mentions, links or HTML, no way out of a table."""
    line = " ".join(text.splitlines()).replace("://", ":\u200b//")
    return "".join(one if one.isprintable() or one == "\u200b" else "\ufffd" for one in line).translate(
        _ESCAPES
    )
