"""The service's brain: looks at the cluster by the clock and on request, applies what is approved, remembers.

One thread works: jobs wait in a queue and are done one after the other, so a tick that comes late, twice or
during a deployment finds nothing to disturb. Another one keeps what `status` and `health` answer fresh. No
caller ever waits for git, the engine or a registry. Deployments run in processes of their own (`Hands`),
which go on when this one ends; the one that starts next takes them up.
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from dual_update.core.errors import DualUpdateError, NotNow, UsageError, WorldError
from dual_update.core.job import Ending, Job, JobKind
from dual_update.core.schedule import next_tick, retry_after
from dual_update.usecases.checking import Checked, Surroundings, check
from dual_update.usecases.job_queue import JobQueue
from dual_update.usecases.looking import Look
from dual_update.usecases.memory_ports import Notes, Pause
from dual_update.usecases.notify import Courier
from dual_update.usecases.observing import Observed, Observer, observe
from dual_update.usecases.ports import Json
from dual_update.usecases.postman import Postman
from dual_update.usecases.run_view import find_run, history_page, job_json, run_json, seconds
from dual_update.usecases.service_ports import Forge, Hands, Memory, OpenSite, Wall
from dual_update.usecases.site import Site
from dual_update.usecases.telling import tell_how_it_ended

FOLLOW_SECONDS = 0.2
"""Between two looks at a job's process."""

LONGEST_WAIT_SECONDS = 60.0
DAY_SECONDS = 86_400.0
NOTES_SECONDS = 90 * DAY_SECONDS
"""How long checks, readings of health and sent messages are kept: the longest window that figures show."""

PAGE_SIZE = 50
LATEST = 253_370_764_800.0
"""The year 9999, in seconds since 1970: calendars end a little later."""

SCHEDULE = "schedule"
"""Who asked, where nobody did."""


@dataclass(frozen=True)
class Policy:
    """What the environment says about how the service acts. `url` is where people find the dashboard."""

    check_interval_seconds: float = 3600.0
    is_auto_approved: bool = False
    url: str = ""


@dataclass(frozen=True)
class World:
    """Everything that the service meets. `memory` is for its own threads, `reader` (of the same memory) for
    callers, so that none of them waits for a writer. `changes` gives another number once some other process
    has written. `connect` gives GitHub, or None where it is not used; `opened` another repository there."""

    open_site: OpenSite
    memory: Memory
    reader: Memory
    hands: Hands
    wall: Wall
    changes: Callable[[], int]
    zone: Callable[[str], tzinfo]
    connect: Callable[[], Forge | None]
    log: Callable[..., None]
    check: Callable[[Site, str, Surroundings, Checked | None], Checked] = check
    observe: Callable[[Site], Observed] = observe
    courier: Courier | None = None
    opened: Callable[[str], Forge | None] = lambda _: None


class Service:
    """See the module. Every public method answers at once and may be called from any thread."""

    def __init__(self, world: World, policy: Policy) -> None:
        self._world = world
        self._policy = policy
        self._jobs = JobQueue(world.hands)
        self._observer = Observer(world.open_site, world.observe, world.memory.notes, world.wall)
        self._thread = threading.Thread(target=self._work, name="worker", daemon=True)
        self._postman = Postman(world.courier, world.memory, world.log) if world.courier else None
        self._next_check = world.wall.monotonic()
        self._failures = 0
        self._forgot_at: float | None = None
        self._cluster = ""
        self._checked: Checked | None = None
        self._last_check: dict[str, Any] | None = None
        self._applied_unasked: tuple[str, float] = ("", float("-inf"))
        self._pause: Pause | None = None
        self._looks = 0

    # --- life

    def start(self) -> None:
        """Begin to work: take up what an earlier process left, then look."""
        self._observer.start()
        if self._postman:
            self._postman.start()
        self._thread.start()

    def stop(self) -> None:
        """Stop working. A deployment under way goes on in its own process."""
        self._jobs.close()
        self._observer.stop()
        if self._postman:
            self._postman.stop()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    # --- questions

    @property
    def revision(self) -> tuple[int, ...]:
        """Another one whenever an answer of `status`, `plan` or `health` may be another one."""
        told = self._postman.revision if self._postman else 0
        return (self._jobs.revision, self._observer.revision, self._looks, told)

    def status(self) -> dict[str, Any]:
        """The cluster as it was last observed, and what the service is about."""
        observed = self._observer.status() or {"cluster": self._cluster or None, "services": {}}
        running, checked = self._jobs.running, self._checked
        return {
            **observed,
            "schema": "dual-update/service/v1",
            "complaint": self._observer.complaint or None,
            "healthy": self._observer.health()["healthy"],
            "last_check": self._last_check,
            "next_check_at": self._next_check_at(),
            "pending": _short(checked) if checked and _is_pending(checked.look) else None,
            "drift": list(checked.look.drift) if checked else [],
            "job": job_json(running) if running else None,
            "queued": self._jobs.waiting,
            "auto_approve": self._policy.is_auto_approved,
            "paused": self._paused_json(),
            "notifications": self._postman.to_json() if self._postman else None,
        }

    def health(self) -> dict[str, Any]:
        """Readings of every wanted container and check, as they were last taken. `healthy` is None where
        nobody could look."""
        return dict(self._observer.health())

    def plan(self) -> dict[str, Any] | None:
        """The pending update with its plan and fingerprints; None when there is nothing to do."""
        checked = self._checked
        return checked.to_json() if checked and checked.look.has_plan else None

    @property
    def memory(self) -> Memory:
        """The host's memory, to read from."""
        return self._world.reader

    @property
    def notes(self) -> Notes:
        """What is written down between runs. To write it may take a while."""
        return self._world.memory.notes

    def changes(self) -> int:
        """Another number once the history may have become another one. Takes microseconds."""
        return self._world.changes()

    def touch(self) -> None:
        """Somebody asks: what was observed long ago is observed again."""
        self._observer.refresh_if_stale()

    def clusters(self) -> tuple[str, ...]:
        """Clusters that this host's history knows."""
        return self._world.reader.clusters()

    def history(
        self,
        cluster: str = "",
        outcome: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        page: int = 1,
        size: int = PAGE_SIZE,
        before: str = "",
    ) -> dict[str, Any]:
        """A page of runs, newest first. `has_more` says whether another follows, and `older`, given back as
        `before`, leads there however many runs there are. Raises UsageError for a `before` that is none."""
        history = self._world.reader.history
        return history_page(history, cluster, outcome, since, until, page, size, before)

    def run(self, name: str) -> dict[str, Any]:
        """A job, or a run of the history, with its steps. Raises UsageError where there is none."""
        job = self._jobs.find(name) or self._jobs.find(name.rpartition("-")[2])
        record = find_run(self._world.reader, name, job)
        if job is None and record is None:
            raise UsageError(f"There is no run {name[:100]}.")
        return run_json(name, job, record, self._world.reader, self._world.hands)

    def events(self, name: str, after: int = 0) -> tuple[list[dict[str, Any]], bool]:
        """Steps of a run since event number `after`, and whether it has ended. Raises UsageError."""
        run = self.run(name)
        return [one for one in run["journal"] if one["seq"] > after], run["state"] == "ended"

    # --- wishes

    def check(self, by: str = "api") -> dict[str, Any]:
        """Look as soon as may be. Several wishes that wait are one."""
        return job_json(self._jobs.ask(self._new("check", by)))

    def apply(
        self, fingerprint: str, by: str = "api", *, is_by_person: bool = False, key: str = ""
    ) -> dict[str, Any]:
        """Apply the pending update, which must have this fingerprint. `is_by_person`: a person has read the
        plan; else what needs one is refused, and so is everything while updates are paused. Raises NotNow."""
        known = self._known(key)
        checked = self._checked
        if known is None:
            if checked is None or not _is_pending(checked.look):
                raise NotNow("Nothing is pending.", hint="Ask for a check first.")
            if fingerprint not in {checked.look.fingerprint, checked.look.decision.fingerprint}:
                raise NotNow("What is pending has another fingerprint.", hint="Look at it and decide again.")
            if not is_by_person:
                self._refuse_unattended(checked)
        job = replace(
            self._new("apply", by),
            expect=fingerprint,
            ref=checked.look.commit if checked else "",
            is_by_person=is_by_person,
            accepts_drift=is_by_person and bool(checked and checked.look.accepts_drift),
            key=key,
        )
        return self._asked(job, fingerprint)

    def rollback(self, run: str = "", by: str = "api", *, key: str = "") -> dict[str, Any]:
        """Return to what ran before a run; without one, before the newest change. Raises UsageError for a
        run that is not known, NotNow where something is under way."""
        if run and self._world.reader.run(run) is None:
            raise UsageError(f"There is no run {run[:100]}.")
        job = replace(self._new("rollback", by), to_run=run, is_by_person=True, key=key)
        return self._asked(job, run or "the newest change")

    def pause(self, by: str = "api", reason: str = "", until: datetime | None = None) -> dict[str, Any]:
        """Apply nothing unasked until a moment, or until `resume`."""
        cluster = self._known_cluster()
        at = min(seconds(until), LATEST) if until else None
        self._world.memory.notes.pause(cluster, reason or f"Paused by {by}.", by, at)
        self._world.memory.notes.note_approval(cluster, "pause", "", by, _door(by))
        self._read_pause()
        return {"paused": self._paused_json()}

    def resume(self, by: str = "api") -> dict[str, Any]:
        """Lift the pause; what waited for it is looked at again."""
        cluster = self._known_cluster()
        if self._world.memory.notes.resume(cluster):
            self._world.memory.notes.note_approval(cluster, "resume", "", by, _door(by))
            self._jobs.ask(self._new("check", by))
        self._read_pause()
        return {"paused": self._paused_json()}

    # --- how wishes come in

    def _new(self, kind: JobKind, by: str) -> Job:
        return Job(self._world.wall.name(), kind, by, self._now())

    def _known(self, key: str) -> Job | None:
        return next((one for one in self._world.hands.jobs() if one.key == key), None) if key else None

    def _refuse_unattended(self, checked: Checked) -> None:
        paused = self._paused()
        if paused is not None:
            raise NotNow(f"Paused: {paused.reason}", hint="Resume, or let a person approve it.")
        if checked.opens_at is not None:
            raise NotNow(f"Outside the maintenance windows; the next opens at {checked.opens_at:%FT%H:%MZ}.")

    def _asked(self, job: Job, subject: str) -> dict[str, Any]:
        asked = self._jobs.ask(job)
        if asked.id == job.id:
            self._world.log("asked", kind=job.kind, job=job.id, by=job.by)
            self._quietly(
                lambda: self._world.memory.notes.note_approval(
                    self._cluster, job.kind, subject, job.by, _door(job.by)
                )
            )
        return job_json(asked)

    def _known_cluster(self) -> str:
        if not self._cluster:
            raise NotNow("The cluster was not looked at yet.", hint="Try again in a moment.")
        return self._cluster

    # --- work

    def _work(self) -> None:
        self._safely(self.take_up)
        while not self._jobs.is_closed:
            self._safely(self.turn)

    def _safely(self, work: Callable[[], None]) -> None:
        """A fault, or a bug of ours, must not end the thread that everything waits for."""
        try:
            work()
        except Exception as error:
            what = error.message if isinstance(error, DualUpdateError) else type(error).__name__
            self._world.log("fault", level="error", what=what)
            self._jobs.pause(1.0)

    def take_up(self) -> None:
        """What an earlier process of the service left: follow what lives, say of the rest that it ended."""
        for job in self._world.hands.jobs():
            if self._world.hands.ending(job.id) is not None:
                continue
            if self._world.hands.is_alive(job.id):
                self._world.log("taken up", job=job.id, kind=job.kind)
                self._follow(self._jobs.begin(job))
            else:
                has_begun = bool(self._world.hands.log(job.id))
                words = "Its process died." if has_begun else "The service ended before it began; ask again."
                self._world.hands.end(job.id, Ending(1, words))

    def turn(self) -> None:
        """One turn of the worker: the next job, or a look whose time has come, or a while of waiting."""
        left = self._next_check - self._world.wall.monotonic()
        job = self._jobs.next(min(left, LONGEST_WAIT_SECONDS)) if left > 0 or self._jobs.waiting else None
        if job is None:
            if self._jobs.is_closed or self._next_check > self._world.wall.monotonic():
                return
            job = self._jobs.begin(self._new("check", SCHEDULE))
        try:
            ended: Job | None = self._look(job) if job.kind == "check" else self._carry_out(job)
        except DualUpdateError as error:
            words = " ".join(str(error).split())
            ended = replace(job, exit_code=int(error.exit_code), sentence=words)
            self._world.hands.end(job.id, Ending(int(error.exit_code), words))
        except Exception as error:
            self._world.log("bug", level="error", what=type(error).__name__, job=job.id)
            ended = replace(job, exit_code=3, sentence=f"This is a bug ({type(error).__name__}).")
        if ended is not None:
            self._end(ended)

    def _end(self, job: Job) -> None:
        self._jobs.end(replace(job, state="ended", ended_at=self._now()))
        self._world.log("ended", job=job.id, kind=job.kind, code=job.exit_code, what=job.sentence)
        self._observer.look_again()

    # --- looking

    def _look(self, job: Job) -> Job:
        wall = self._world.wall
        began = wall.monotonic()
        interval = self._policy.check_interval_seconds
        try:
            checked = self._check()
        except DualUpdateError as error:
            self._failures += 1
            self._next_check = wall.monotonic() + retry_after(self._failures, interval, wall.luck())
            self._note_check("failed", wall.monotonic() - began, {}, error.message)
            raise
        self._failures = 0
        self._next_check = wall.monotonic() + self._until_next(checked, next_tick(interval, wall.luck()))
        look = checked.look
        words = f"{look.decision.update_type} update pending" if look.has_plan else "nothing to do"
        facts = {
            "needs_update": look.has_plan,
            "drift": list(look.drift),
            "is_quarantined": bool(look.quarantined),
            "commit": look.commit,
        }
        for warning in checked.warnings:
            self._world.log("warning", level="warning", what=warning)
        self._note_check("ok", wall.monotonic() - began, facts, f"{words}. {checked.permission.why}")
        if checked.permission.may_apply:
            self._apply_unasked(checked)
        elif checked.permission.answer == "wait" and look.has_plan and self._postman:
            postman, decision, why = self._postman, look.decision, checked.permission.why
            self._quietly(
                lambda: postman.waits(
                    look.cluster, decision.fingerprint, decision.update_type, look.commit, why
                )
            )
        return replace(job, exit_code=0, sentence=words)

    def _check(self) -> Checked:
        for attempt in (1, 2):
            with self._world.open_site(None) as (site, commit):
                self._cluster = site.cluster
                self._read_pause()
                if site.store.unfinished(site.cluster) is None:
                    around = Surroundings(
                        self._world.memory.notes,
                        self._world.connect(),
                        self._world.zone,
                        self._world.wall.now(),
                        self._policy.is_auto_approved,
                        self._world.opened,
                    )
                    self._checked = self._world.check(site, commit, around, self._checked)
                    self._looks += 1
                    return self._checked
            if attempt == 1:
                self._settle()
        raise NotNow("A run did not end and cannot be settled yet.", hint="See `dual-update recover`.")

    def _settle(self) -> None:
        """A run whose process died is settled before anything else, in a process of its own."""
        job = self._new("recover", SCHEDULE)
        self._world.hands.keep(job)
        self._world.hands.start(job)
        self._jobs.put(replace(job, state="running"))
        while self._world.hands.is_alive(job.id) and not self._jobs.is_closed:
            self._jobs.pause(FOLLOW_SECONDS)
        ending = self._world.hands.ending(job.id) or Ending(1, "Its process died.")
        self._jobs.put(_ended(job, ending, self._now()))
        self._observer.look_again()
        if ending.exit_code not in {0, 1}:
            raise (WorldError if ending.exit_code != 5 else NotNow)(ending.sentence)

    def _until_next(self, checked: Checked, usual: float) -> float:
        """A window that opens before the next tick moves it there."""
        if checked.opens_at is None:
            return usual
        wait: timedelta = checked.opens_at - self._world.wall.now()
        return min(usual, max(1.0, wait.total_seconds() + 1.0))

    def _note_check(self, outcome: str, seconds: float, facts: Json, sentence: str) -> None:
        self._last_check = {"at": self._now(), "outcome": outcome, "sentence": sentence}
        self._looks += 1
        if self._cluster:
            notes = self._world.memory.notes
            self._quietly(lambda: notes.note_check(self._cluster, outcome, seconds, facts))
            self._quietly(self._forget_the_old)

    def _forget_the_old(self) -> None:
        """Once a day. Runs and backups have a retention of their own, approvals stay."""
        now = self._world.wall.monotonic()
        if self._forgot_at is None or now - self._forgot_at >= DAY_SECONDS:
            self._forgot_at = now
            self._world.memory.notes.forget(older_than_seconds=NOTES_SECONDS)

    def _apply_unasked(self, checked: Checked) -> None:
        """What failed to apply is not tried again at once: each tick may try it once."""
        fingerprint = checked.look.fingerprint
        before, at = self._applied_unasked
        now = self._world.wall.monotonic()
        if before == fingerprint and now - at < self._policy.check_interval_seconds * 0.5:
            return
        self._applied_unasked = (fingerprint, now)
        job = replace(self._new("apply", SCHEDULE), expect=fingerprint, ref=checked.look.commit)
        with suppress(NotNow):  # somebody was quicker
            self._asked(job, fingerprint)

    # --- doing

    def _carry_out(self, job: Job) -> Job | None:
        self._world.hands.start(job)
        return self._follow(job)

    def _follow(self, job: Job) -> Job | None:
        """Until its process has ended. None: the service stops, and the next one follows it."""
        while self._world.hands.is_alive(job.id):
            if self._jobs.is_closed:
                return None
            self._jobs.pause(FOLLOW_SECONDS)
        ending = self._world.hands.ending(job.id)
        if ending is None:
            ending = Ending(1, "Its process died; what it left is settled next.")
            self._world.hands.end(job.id, ending)
        if ending.exit_code == 0 or not ending.run:
            self._next_check = self._world.wall.monotonic()
        ended = _ended(job, ending, self._now())
        self._jobs.put(replace(ended, state="running"))
        if self._postman:
            self._postman.ring()
        self._safely(lambda: self._tell(ending.run))
        if self._jobs.running is not None and self._jobs.running.id == job.id:
            self._end(ended)
            return None
        return ended

    def _tell(self, run: str) -> None:
        record = self._world.memory.run(run) if run else None
        forge = self._world.connect() if record else None
        if record is None or forge is None:
            return
        branch = self._checked_branch()
        for warning in tell_how_it_ended(record, forge, branch, self._policy.url):
            self._world.log("warning", level="warning", what=warning)

    def _checked_branch(self) -> str:
        return self._checked.branch if self._checked else ""

    # --- small things

    def _paused(self) -> Pause | None:
        """The pause that holds, as it was last read."""
        found = self._pause
        is_over = found is not None and found.until is not None
        if found is not None and is_over and (found.until or 0) <= self._world.wall.now().timestamp():
            return None
        return found

    def _read_pause(self) -> None:
        self._pause = self._world.memory.notes.paused(self._cluster)
        self._looks += 1

    def _paused_json(self) -> dict[str, Any] | None:
        paused = self._paused()
        if paused is None:
            return None
        until = _rfc3339(datetime.fromtimestamp(paused.until, UTC)) if paused.until else None
        since = _rfc3339(datetime.fromtimestamp(paused.since, UTC))
        return {"since": since, "until": until, "reason": paused.reason, "by": paused.by_whom}

    def _next_check_at(self) -> str:
        left = max(0.0, self._next_check - self._world.wall.monotonic())
        return _rfc3339(self._world.wall.now() + timedelta(seconds=left))

    def _now(self) -> str:
        return _rfc3339(self._world.wall.now())

    def _quietly(self, write: Callable[[], object]) -> None:
        """Notes are worth a line in the log, not the work itself."""
        try:
            write()
        except DualUpdateError as error:
            self._world.log("warning", level="warning", what=error.message)


def _ended(job: Job, ending: Ending, at: str) -> Job:
    return replace(
        job,
        state="ended",
        exit_code=ending.exit_code,
        sentence=ending.sentence,
        run=ending.run,
        ended_at=at,
    )


def _is_pending(look: Look) -> bool:
    """A commit that changes nothing here is news all the same: that it runs is to be written down."""
    return look.has_plan or look.is_news


def _short(checked: Checked) -> Mapping[str, Any]:
    look = checked.look
    return {
        "update_type": look.decision.update_type,
        "commit": look.commit,
        "fingerprint": look.decision.fingerprint,
        "plan_fingerprint": look.fingerprint,
        "answer": checked.permission.answer,
        "why": checked.permission.why,
        "issue_url": checked.issue_url or None,
    }


def _door(by: str) -> str:
    return {SCHEDULE: "auto", "dashboard": "dashboard"}.get(by, "api")


def _rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
