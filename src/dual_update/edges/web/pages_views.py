"""What pages show, as plain frozen values: made from the service's JSON, rendered by templates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dual_update.core.figures import moment
from dual_update.core.plan import TOUCHING
from dual_update.edges.web.pages_words import (
    ACTIONS,
    PHASES,
    STRATEGIES,
    UPDATE_TYPES,
    Mark,
    When,
    container_mark,
    lasted,
    outcome_mark,
    short_commit,
    short_id,
    step_words,
    when,
    worst,
)

Json = Mapping[str, Any]


@dataclass(frozen=True)
class ServiceRow:
    """A service as it runs."""

    name: str
    mark: Mark
    image: str
    digest: str
    digest_short: str
    started: When | None
    containers: int
    restarts: int
    note: str = ""


@dataclass(frozen=True)
class ChangeRow:
    """What an update does to one service, and why."""

    name: str
    does: str
    image_before: str
    image_after: str
    reasons: tuple[str, ...]
    outage: str


@dataclass(frozen=True)
class PlanStep:
    title: str
    cause: str
    undo: str


@dataclass(frozen=True)
class Pending:
    """An update that waits, with its plan."""

    title: str
    way: str
    came_from: str
    goes_to: str
    fingerprint: str
    changes: tuple[ChangeRow, ...]
    unchanged: tuple[str, ...]
    steps: tuple[PlanStep, ...]
    needs_person: tuple[str, ...]
    drift: tuple[str, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    longest_outage: str
    quarantined: str = ""
    waits_for: str = ""
    issue_url: str = ""

    @property
    def touched(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.changes)


@dataclass(frozen=True)
class RunRow:
    """A run on one line of the history."""

    run: str
    mark: Mark
    title: str
    cluster: str
    came_from: str
    goes_to: str
    started: When | None
    took: str
    cause: str


@dataclass(frozen=True)
class StepRow:
    """A step of a run, as its journal has it."""

    title: str
    mark: Mark
    told: str
    took: str


@dataclass(frozen=True)
class ResultRow:
    """What became of a service in a run."""

    name: str
    does: str
    before: str
    after: str
    mark: Mark


def service_rows(status: Json, now: datetime) -> tuple[ServiceRow, ...]:
    return tuple(
        _service(name, containers, now) for name, containers in dict(status.get("services") or {}).items()
    )


def _service(name: str, containers: Sequence[Json], now: datetime) -> ServiceRow:
    marks = [
        container_mark(str(one.get("state")), one.get("health"), one.get("exit_code")) for one in containers
    ]
    first: Json = containers[0] if containers else {}
    digest = str(first.get("digest") or first.get("image_id") or "")
    images = {str(one.get("image_id")) for one in containers}
    return ServiceRow(
        name=name,
        mark=worst(marks),
        image=str(first.get("image") or ""),
        digest=digest,
        digest_short=short_id(digest) if digest else "",
        started=when(first.get("started_at"), now),
        containers=len(containers),
        restarts=sum(int(one.get("restarts") or 0) for one in containers),
        note="its containers run different images" if len(images) > 1 else "",
    )


def pending(plan: Json | None) -> Pending | None:
    """The update that waits (schema dual-update/pending/v1); None where there is nothing to do."""
    if not plan or not plan.get("steps"):
        return None
    decision: Json = plan.get("decision") or {}
    outages: Json = plan.get("outage_seconds") or {}
    services: Json = decision.get("services") or {}
    changed = {name: one for name, one in services.items() if one.get("action") != "none"}
    along = [name for name in _touched(plan["steps"]) if name not in changed]
    longest = max((float(one) for one in outages.values()), default=0.0)
    said = (
        *(f"a person must agree: {one}" for one in plan.get("needs_person") or ()),
        *(plan.get("drift") or ()),
    )
    notes = tuple(_sentence(one) for one in plan.get("notes") or () if one not in said)
    return Pending(
        title=UPDATE_TYPES.get(str(decision.get("update_type")), "Changes"),
        way=STRATEGIES.get(str(plan.get("strategy")), str(plan.get("strategy"))),
        came_from=short_commit(decision.get("base")),
        goes_to=short_commit(decision.get("head")),
        fingerprint=str(plan.get("plan_fingerprint") or decision.get("fingerprint") or ""),
        changes=(
            *(_change(name, one, outages) for name, one in changed.items()),
            *(_along(name, outages) for name in along),
        ),
        unchanged=tuple(name for name in services if name not in changed and name not in along),
        steps=tuple(
            PlanStep(
                step_words(str(one["op"]), str(one["target"])), str(one["cause"]), str(one.get("undo") or "")
            )
            for one in plan["steps"]
        ),
        needs_person=tuple(map(str, plan.get("needs_person") or ())),
        drift=tuple(map(str, plan.get("drift") or ())),
        notes=notes,
        warnings=tuple(map(str, (*(decision.get("warnings") or ()), *(decision.get("hints") or ())))),
        longest_outage=_about(longest),
        quarantined=str(plan.get("quarantined") or ""),
        waits_for=_waits_for(plan.get("gate") or {}),
        issue_url=_web(plan.get("issue_url")),
    )


def _sentence(note: object) -> str:
    words = str(note)
    return words[:1].upper() + words[1:]


def _touched(steps: Sequence[Json]) -> tuple[str, ...]:
    """Services whose containers a plan replaces or moves, whatever git says of them."""
    touching = [one for one in steps if one.get("op") in TOUCHING]
    return tuple(dict.fromkeys(str(name) for one in touching for name in one.get("services") or ()))


def _along(name: str, outages: Json) -> ChangeRow:
    does = "is replaced along with the others; nothing about it changes"
    return ChangeRow(name, does, "", "", (), _about(float(outages.get(name) or 0.0)))


def _waits_for(gate: Json) -> str:
    return "" if gate.get("answer") == "apply" else str(gate.get("why") or "")


def _web(url: object) -> str:
    """An address that may be linked to: of the web, and nothing else."""
    return str(url) if str(url or "").startswith("https://") else ""


def _change(name: str, service: Json, outages: Json) -> ChangeRow:
    image: Json = service.get("image") or {}
    return ChangeRow(
        name=name,
        does=ACTIONS.get(str(service.get("action")), str(service.get("action"))),
        image_before=str(image.get("before") or ""),
        image_after=str(image.get("after") or ""),
        reasons=tuple(map(str, service.get("reasons") or ())),
        outage=_about(float(outages.get(name) or 0.0)),
    )


def _about(seconds: float) -> str:
    return f"about {max(1, round(seconds))} s" if seconds > 0 else ""


def run_row(run: Json, now: datetime) -> RunRow:
    kind = run.get("kind") or "apply"
    update = UPDATE_TYPES.get(str(run.get("update_type")), str(run.get("update_type") or ""))
    is_good = run.get("outcome") in {"succeeded", "unchanged"}
    return RunRow(
        run=str(run.get("run") or ""),
        mark=outcome_mark(run.get("outcome"), kind),
        title="Rollback by hand" if kind == "rollback" else update,
        cluster=str(run.get("cluster") or ""),
        came_from=short_commit(run.get("from")),
        goes_to=short_commit(run.get("to")),
        started=when(run.get("started_at"), now),
        took=lasted(run.get("duration_seconds")),
        cause="" if is_good else str(run.get("reason") or ""),
    )


def step_rows(journal: Sequence[Json], reported: Sequence[Json] = ()) -> tuple[StepRow, ...]:
    """Steps in the order they began, each with how it went by now.

    A journal has a line when a step begins and one when it ended; steps may not overlap. `reported` are the
    steps of a finished run's report: they know causes and durations.
    """
    rows: list[StepRow] = []
    began: object = None
    for one in journal:
        op, target, phase = str(one.get("op")), str(one.get("target")), str(one.get("phase"))
        if phase == "started":
            rows.append(StepRow(step_words(op, target), PHASES["started"], "", ""))
            began = one.get("at")
            continue
        if phase not in PHASES:
            continue
        took = _between(began, one.get("at"))
        row = StepRow(step_words(op, target), PHASES[phase], str(one.get("detail") or ""), took)
        if rows and rows[-1].title == row.title and rows[-1].mark == PHASES["started"]:
            rows[-1] = row
        else:
            rows.append(row)
    if rows:
        return tuple(rows)
    return tuple(
        StepRow(
            step_words(str(one.get("op")), str(one.get("target"))),
            PHASES.get(str(one.get("outcome")), PHASES["finished"]),
            str(one.get("cause") or ""),
            lasted(one.get("duration_seconds")),
        )
        for one in reported
    )


def _between(began: object, ended: object) -> str:
    first, last = moment(began), moment(ended)
    return lasted((last - first).total_seconds()) if first and last else ""


def result_rows(run: Json) -> tuple[ResultRow, ...]:
    """What became of each service in a finished run."""
    is_good = run.get("outcome") in {"succeeded", "unchanged"}
    return tuple(_result(name, one, is_good=is_good) for name, one in (run.get("services") or {}).items())


def _result(name: str, one: Json, *, is_good: bool) -> ResultRow:
    before, after, action = one.get("image_id_before"), one.get("image_id_after"), str(one.get("action"))
    is_meant = action not in {"none", "record"}
    does = ACTIONS.get(action, action) if is_meant else "keeps its image"
    if is_good:
        mark = Mark("good", "Verified") if one.get("verified") else Mark("idle", "Untouched")
    else:
        does = "was part of the update" if is_meant else "was no part of it"
        mark = Mark("good", "As it was") if before == after else Mark("bad", "Another image")
    return ResultRow(name, does, short_id(before), short_id(after), mark)
