"""A run's page: how it goes or went, step by step, with its log."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dual_update.core.report import printable
from dual_update.core.run import SENTENCES
from dual_update.core.secrecy import masked
from dual_update.edges.web.pages_views import (
    ResultRow,
    RunRow,
    StepRow,
    result_rows,
    run_row,
    step_rows,
)
from dual_update.edges.web.pages_words import STRATEGIES, Mark

Json = Mapping[str, Any]

_ENDINGS: Mapping[int, Mark] = {
    0: Mark("good", "Done"),
    5: Mark("warn", "Not now"),
    130: Mark("warn", "Interrupted"),
}

_KINDS = {
    "check": "A look for updates",
    "apply": "An update",
    "rollback": "A rollback by hand",
    "recover": "The settling of an unfinished run",
}


_DOORS = {
    "dashboard": "a person, here",
    "schedule": "rules, beforehand",
    "api": "a caller of the API",
}


@dataclass(frozen=True)
class RunPage:
    """`here` is the name that the address has: a job's, or a run's of the history."""

    here: str
    row: RunRow
    sentence: str
    heard: str
    way: str
    by: str
    is_ended: bool
    can_roll_back: bool
    steps: tuple[StepRow, ...]
    results: tuple[ResultRow, ...]
    log: str


def run_page(run: Json, now: datetime) -> RunPage:
    job: Json = run.get("job") or {}
    is_ended = run.get("state") == "ended"
    row = _row(run, job, now, is_ended=is_ended)
    steps = step_rows(run.get("journal") or (), run.get("steps") or ())
    outcome = str(run.get("outcome") or "")
    return RunPage(
        here=str(run["id"]),
        row=row,
        sentence=_sentence(run, job, outcome, is_ended=is_ended),
        heard=_heard(row, steps, is_ended=is_ended),
        way=STRATEGIES.get(str(run.get("strategy")), str(run.get("strategy") or "not yet known")),
        by=_DOORS.get(str(job.get("by")), str(job.get("by") or "")),
        is_ended=is_ended,
        can_roll_back=is_ended and outcome == "succeeded" and bool(run.get("from")),
        steps=steps,
        results=result_rows(run) if is_ended else (),
        log=_log(run),
    )


def _row(run: Json, job: Json, now: datetime, *, is_ended: bool) -> RunRow:
    kind = str(run.get("kind") or "apply")
    facts = {
        **run,
        "run": run.get("run") or run.get("id"),
        "started_at": run.get("started_at") or job.get("asked_at"),
    }
    row = run_row(facts, now)
    title = row.title or _KINDS.get(kind, "A run")
    mark = row.mark
    if not run.get("outcome") and is_ended:
        mark = _ENDINGS.get(int(job.get("exit_code") or 0), Mark("bad", "Failed"))
    elif run.get("state") == "queued":
        mark = Mark("busy", "Waits for its turn")
    return RunRow(
        row.run, mark, title, row.cluster, row.came_from, row.goes_to, row.started, row.took, row.cause
    )


def _sentence(run: Json, job: Json, outcome: str, *, is_ended: bool) -> str:
    if outcome in SENTENCES:
        return SENTENCES[outcome]
    if is_ended:
        return str(job.get("sentence") or "It ended.")
    if run.get("state") == "queued":
        return "It begins as soon as what runs before it has ended."
    return "It goes on when you leave this page. If a step fails, the cluster returns to what ran before."


def _heard(row: RunRow, steps: tuple[StepRow, ...], *, is_ended: bool) -> str:
    """What a screen reader says when something is new."""
    if is_ended:
        return f"{row.mark.word}."
    return f"{steps[-1].title}: {steps[-1].mark.word}." if steps else row.mark.word


def _log(run: Json) -> str:
    """The log's last lines, without what moves a cursor and without user names and passwords in URLs."""
    return "\n".join(printable(masked(str(line), ())) for line in run.get("log") or ())
