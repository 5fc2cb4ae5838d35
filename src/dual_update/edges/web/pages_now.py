"""The first page: how the cluster is, what waits, what was done last."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dual_update.edges.web.pages_views import (
    Pending,
    RunRow,
    ServiceRow,
    pending,
    run_row,
    service_rows,
)
from dual_update.edges.web.pages_words import Mark, Tone, When, short_commit, when

Json = Mapping[str, Any]

JOBS = {
    "check": "Looking for updates",
    "apply": "An update is under way",
    "rollback": "A rollback is under way",
    "recover": "An unfinished run is being settled",
}


@dataclass(frozen=True)
class Notice:
    """Something that a person has to know before anything else."""

    tone: Tone
    title: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class NowPage:
    headline: Mark
    told: str
    under_way: str
    deployed: str
    deployed_when: When | None
    checked: When | None
    next_check: When | None
    services: tuple[ServiceRow, ...]
    pending: Pending | None
    recent: tuple[RunRow, ...]
    notices: tuple[Notice, ...]
    is_busy: bool
    is_paused: bool
    can_roll_back: bool

    @property
    def mark(self) -> str:
        """Another one when a person would call the page another one; passing time alone changes nothing."""
        facts = (
            self.headline,
            self.told,
            [(one.name, one.mark, one.digest, one.containers) for one in self.services],
            self.pending,
            [(one.run, one.mark) for one in self.recent],
            self.notices,
            self.is_busy,
        )
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def now_page(
    status: Json,
    plan: Json | None,
    health: Json,
    runs: Iterable[Json],
    now: datetime,
) -> NowPage:
    lines = list(runs)
    waits = pending(plan)
    services = service_rows(status, now)
    job: Json = status.get("job") or {}
    check: Json = status.get("last_check") or {}
    last_good = next((one for one in lines if one.get("outcome") in {"succeeded", "unchanged"}), None)
    return NowPage(
        headline=_headline(status, waits, services),
        told=_told(status, waits, job),
        under_way=str(job.get("run") or job.get("id") or "")
        if job.get("kind") not in {None, "check"}
        else "",
        deployed=short_commit(status.get("deployed")) if status.get("deployed") else "",
        deployed_when=when(last_good.get("started_at"), now) if last_good else None,
        checked=when(check.get("at"), now),
        next_check=when(status.get("next_check_at"), now),
        services=services,
        pending=waits,
        recent=tuple(run_row(one, now) for one in lines),
        notices=tuple(_notices(status, plan, health, now)),
        is_busy=bool(job) or bool(status.get("queued")),
        is_paused=bool(status.get("paused")),
        can_roll_back=newest_change(lines) is not None,
    )


def newest_change(runs: Iterable[Json]) -> Json | None:
    """The newest run that changed the cluster and had something before it."""
    return next((one for one in runs if one.get("outcome") == "succeeded" and one.get("from")), None)


def _headline(status: Json, waits: Pending | None, services: tuple[ServiceRow, ...]) -> Mark:
    job: Json = status.get("job") or {}
    last: Json = status.get("last_run") or {}
    if job:
        return Mark("busy", JOBS.get(str(job.get("kind")), "Something is under way"))
    if status.get("complaint") and not services:
        return Mark("bad", "The cluster cannot be seen")
    if last.get("outcome") == "rollback_failed":
        return Mark("bad", "A person is needed: the way back failed")
    if status.get("healthy") is False:
        return Mark("bad", "Not everything is well")
    if status.get("healthy") is None:
        return Mark("idle", "Nobody has looked yet")
    if waits and _has_failed(status, waits):
        return Mark("warn", "All is well, but the update failed")
    if waits:
        return Mark("warn" if waits.needs_person else "good", "All is well, and an update waits")
    return Mark("good", "All is well")


def _has_failed(status: Json, waits: Pending) -> bool:
    """Is what waits the very commit that was tried last, and failed."""
    last: Json = status.get("last_run") or {}
    return last.get("outcome") in {"rolled_back", "refused"} and short_commit(last.get("to")) == waits.goes_to


def _told(status: Json, waits: Pending | None, job: Json) -> str:
    if job:
        return "This page follows it."
    check: Json = status.get("last_check") or {}
    if status.get("queued"):
        return "A check is about to begin."
    if waits and _has_failed(status, waits):
        return "What ran before runs again. It is not tried again unasked."
    if waits:
        return "Read what it does, then apply it. Nothing happens before you say so."
    if check.get("outcome") == "failed":
        return "The last check failed."
    if check:
        return "The cluster runs what git wants."
    return ""


def _notices(status: Json, plan: Json | None, health: Json, now: datetime) -> Iterable[Notice]:
    if status.get("complaint"):
        yield Notice("bad", "The cluster could not be looked at", (str(status["complaint"]),))
    bad = [one for one in health.get("readings") or () if not one.get("good")]
    if bad:
        yield Notice("bad", "Not well", tuple(f"{one['name']}: {one['detail']}" for one in bad))
    if status.get("unfinished_run") and not status.get("job"):
        yield Notice(
            "warn", "A run did not end", (f"Run {status['unfinished_run']} is settled before anything else.",)
        )
    drift = status.get("drift") or ()
    if drift and not plan:  # a plan that waits says it itself
        yield Notice("warn", "The cluster is not what was deployed", tuple(map(str, drift)))
    check: Json = status.get("last_check") or {}
    if check.get("outcome") == "failed":
        yield Notice("warn", "The last check failed", (str(check.get("sentence") or ""),))
    paused: Json = status.get("paused") or {}
    if paused:
        until = when(paused.get("until"), now)
        title = f"Paused{f' until {until.exact}' if until else ''}: nothing is applied unasked"
        yield Notice("warn", title, (str(paused["reason"]),) if paused.get("reason") else ())
