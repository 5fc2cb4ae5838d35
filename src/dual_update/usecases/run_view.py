"""How a job, a run and a page of the history look to those who ask."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from dual_update.core.job import Job
from dual_update.core.run import LINE_KEYS
from dual_update.core.secrecy import masked
from dual_update.usecases.memory_ports import History
from dual_update.usecases.ports import Json
from dual_update.usecases.service_ports import Hands, Memory

RECORD_KEYS = (*(key for key in LINE_KEYS if key not in {"run", "kind"}), "services", "steps")
NEWEST = 20
"""Runs among which a job's is looked for."""


def job_json(job: Job) -> dict[str, Any]:
    """A job; what is not known yet is null."""
    keys = ("id", "kind", "by", "state", "asked_at", "ended_at", "sentence", "exit_code", "run")
    return {key: None if getattr(job, key) == "" else getattr(job, key) for key in keys}


def find_run(memory: Memory, name: str, job: Job | None) -> Json | None:
    """The record of a run by its name, or of the run that a job made: its name ends in the job's."""
    if job is None or name != job.id:
        return memory.run(name)
    if job.run:
        return memory.run(job.run)
    if job.kind == "check":
        return None
    lines = memory.history.page(limit=NEWEST).lines
    return next(
        (memory.run(str(one["run"])) for one in lines if str(one["run"]).endswith(f"-{job.id}")), None
    )


def run_json(name: str, job: Job | None, record: Json | None, memory: Memory, hands: Hands) -> dict[str, Any]:
    """A job with its run, or one of them. A job that no process carries any more has ended."""
    outcome = record.get("outcome") if record else None
    journal = memory.journal(str(record["run"])) if record else ()
    state = job.state if job else "ended" if outcome else "running"
    if job and state != "ended" and hands.ending(job.id) is not None:
        state = "ended"
    facts: Mapping[str, Any] = record or {}
    return {
        "id": name,
        "state": state,
        "kind": job.kind if job else facts.get("kind"),
        "run": str(facts["run"]) if record else None,
        "job": job_json(job) if job else None,
        **{key: facts.get(key) for key in RECORD_KEYS},
        "journal": [
            {"seq": e.seq, "op": e.op, "target": e.target, "phase": e.phase, "at": e.at, "detail": e.detail}
            for e in journal
        ],
        "log": [masked(line, ()) for line in hands.log(job.id)] if job else [],
    }


def history_page(
    history: History,
    cluster: str,
    outcome: str,
    since: datetime | None,
    until: datetime | None,
    page: int,
    size: int,
    before: str,
) -> dict[str, Any]:
    """A page by number, or the one that follows another. Raises UsageError for a `before` that is none."""
    begin, end = (seconds(one) if one else None for one in (since, until))
    skipped = 0 if before else (page - 1) * size
    found = history.page(
        cluster=cluster,
        outcome=outcome,
        since=begin,
        until=end,
        limit=size,
        before=before,
        offset=skipped,
    )
    return {
        "runs": [dict(one) for one in found.lines],
        "page": page,
        "size": size,
        "has_more": bool(found.older),
        "older": found.older or None,
    }


def seconds(at: datetime) -> float:
    """Since 1970. A moment without a zone is UTC's."""
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
