"""A run, told: what it was asked, what it did, how it ended (contract.md, `apply --format json`)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dual_update.core.errors import ExitCode

RUN_SCHEMA = "dual-update/run/v1"

Outcome = Literal["succeeded", "unchanged", "rolled_back", "rollback_failed", "refused"]

EXIT_CODES: Mapping[str, ExitCode] = {
    "succeeded": ExitCode.DONE,
    "unchanged": ExitCode.DONE,
    "rolled_back": ExitCode.FAILED,
    "refused": ExitCode.FAILED,
    "rollback_failed": ExitCode.ROLLBACK_FAILED,
}


@dataclass(frozen=True)
class ServiceResult:
    """What became of a service: image ids before and after, and whether the audit saw it as wanted."""

    action: str
    image_id_before: str | None = None
    image_id_after: str | None = None
    is_verified: bool = False


@dataclass(frozen=True)
class StepResult:
    """How a step went. `duration_seconds` is wall time."""

    op: str
    target: str
    cause: str
    outcome: str
    duration_seconds: float


@dataclass(frozen=True)
class RunReport:
    """A finished run. `evidence` is what the host saw of a failure: service, health, log; redacted."""

    run: str
    cluster: str
    outcome: Outcome
    reason: str | None
    update_type: str
    strategy: str
    from_commit: str | None
    to_commit: str
    started_at: str
    duration_seconds: float
    kind: str = "apply"
    services: Mapping[str, ServiceResult] = field(default_factory=dict)
    steps: tuple[StepResult, ...] = ()
    was_interrupted: bool = False
    evidence: Mapping[str, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> ExitCode:
        if self.was_interrupted and self.outcome in {"rolled_back", "refused"}:
            return ExitCode.INTERRUPTED
        return EXIT_CODES[self.outcome]

    def to_json(self) -> dict[str, Any]:
        """The JSON that machines read; its schema is shipped as run.schema.json."""
        return {
            "schema": RUN_SCHEMA,
            "run": self.run,
            "kind": self.kind,
            "cluster": self.cluster,
            "outcome": self.outcome,
            "reason": self.reason,
            "update_type": self.update_type,
            "strategy": self.strategy,
            "from": self.from_commit,
            "to": self.to_commit,
            "services": {
                name: {
                    "action": one.action,
                    "image_id_before": one.image_id_before,
                    "image_id_after": one.image_id_after,
                    "verified": one.is_verified,
                }
                for name, one in self.services.items()
            },
            "started_at": self.started_at,
            "duration_seconds": round(self.duration_seconds, 3),
            "steps": [
                {
                    "op": step.op,
                    "target": step.target,
                    "cause": step.cause,
                    "outcome": step.outcome,
                    "duration_seconds": round(step.duration_seconds, 3),
                }
                for step in self.steps
            ],
            **({"evidence": dict(self.evidence)} if self.evidence else {}),
        }


LINE_KEYS = (
    "run",
    "kind",
    "cluster",
    "outcome",
    "reason",
    "update_type",
    "strategy",
    "from",
    "to",
    "started_at",
    "duration_seconds",
)
"""What lists show of a run: these keys of its JSON."""


def line_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """The line of a run; null for what is not known yet."""
    return {key: record.get(key) for key in LINE_KEYS}


SENTENCES: Mapping[str, str] = {
    "succeeded": "The cluster runs what is wanted; the engine was read again to be sure.",
    "unchanged": "Nothing to do: the cluster already runs what is wanted.",
    "rolled_back": "The update failed and was taken back; the cluster is as it was.",
    "refused": "The update was refused before anything was touched.",
    "rollback_failed": "The update failed and so did the way back. A person is needed now.",
}

_STAMP = re.compile(r"[-:]|\.\d+")


def run_id(now: str, salt: str) -> str:
    """A run's name: when it began, sortable, and a few characters against collisions."""
    return f"{_STAMP.sub('', now).replace('+0000', 'Z')}-{salt}"


def text(report: RunReport) -> str:
    """The end of a run for a terminal."""
    lines = [f"{report.outcome}: {SENTENCES[report.outcome]}"]
    if report.reason and report.outcome not in {"succeeded", "unchanged"}:
        lines.append(f"  why: {report.reason}")
    for name, one in report.services.items():
        if one.image_id_before != one.image_id_after:
            before, after = _short(one.image_id_before), _short(one.image_id_after)
            lines.append(f"  {name}: {one.action}, image {before} -> {after}")
        elif report.outcome == "succeeded" and one.action not in {"none", "record"}:
            lines.append(f"  {name}: {one.action}, same image")
    lines.append(f"  run {report.run}, {report.duration_seconds:.1f} s")
    return "\n".join(lines) + "\n"


def _short(image_id: str | None) -> str:
    return image_id.removeprefix("sha256:")[:12] if image_id else "nothing"
