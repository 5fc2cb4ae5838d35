"""The service's brain: looks at the cluster by the clock and on request, applies what is approved, remembers.

One thread works: jobs wait in a queue and are done one after the other, so a tick that comes late, twice or
during a deployment finds nothing to disturb. Another thread keeps what `status` and `health` answer fresh.
No request of a caller ever waits for git, the engine or a registry. Deployments run in processes of their
own (`Hands`), which go on when this one ends.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from dual_update.core.errors import DualUpdateError, NotNow, UsageError
from dual_update.core.job import Job, JobKind
from dual_update.core.schedule import next_tick
from dual_update.usecases.looking import Look, look
from dual_update.usecases.ports import Store
from dual_update.usecases.service_ports import Hands, OpenSite, Wall
from dual_update.usecases.status import health, status

FRESH_SECONDS = 5.0
"""What was observed longer ago is observed again when somebody asks."""

OBSERVE_SECONDS = 60.0
"""Between two observations that nobody asked for."""

FOLLOW_SECONDS = 0.2
KEPT_JOBS = 500
PAGE_SIZE = 50


@dataclass(frozen=True)
class Policy:
    """What the environment says about how the service acts."""

    check_interval_seconds: float = 3600.0
    is_auto_approved: bool = False


@dataclass(frozen=True)
class World:
    """Everything that the service meets."""

    open_site: OpenSite
    store: Store
    hands: Hands
    wall: Wall
    log: Callable[..., None]


class Service:
    """See the module. Every public method answers at once and may be called from any thread."""

    def __init__(self, world: World, policy: Policy) -> None:
        self._world = world
        self._policy = policy
        self._lock = threading.RLock()
        self._wake = threading.Condition(self._lock)
        self._look_again = threading.Event()
        self._queue: deque[Job] = deque()
        self._jobs: dict[str, Job] = {}
        self._running: Job | None = None
        self._is_stopping = False
        self._next_check = world.wall.monotonic()
        self._look: Look | None = None
        self._last_check: dict[str, Any] | None = None
        self._status: dict[str, Any] | None = None
        self._health: dict[str, Any] | None = None
        self._observed_at = 0.0
        self._complaint = ""
        self._threads: list[threading.Thread] = []
        self._revision = 0

    # --- life

    def start(self) -> None:
        """Begin to work: settle what an earlier process left, then look."""
        for work in (self._work, self._watch):
            thread = threading.Thread(target=work, name=work.__name__.strip("_"), daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Stop working. A deployment under way goes on in its own process."""
        with self._wake:
            self._is_stopping = True
            self._wake.notify_all()
        self._look_again.set()
        for thread in self._threads:
            thread.join(timeout=10)

    # --- questions

    @property
    def revision(self) -> int:
        """Grows whenever an answer of `status`, `plan` or `health` may have changed."""
        return self._revision

    def status(self) -> dict[str, Any]:
        """The cluster as it was last observed, and what the service is about."""
        self._refresh_if_stale()
        with self._lock:
            observed = self._status or {"cluster": None, "services": {}, "last_run": None, "commit": None}
            pending = self._look
            return {
                **observed,
                "schema": "dual-update/service/v1",
                "complaint": self._complaint or None,
                "healthy": self._health["healthy"] if self._health else None,
                "last_check": self._last_check,
                "next_check_at": self._next_check_at(),
                "pending": self._pending(pending),
                "job": self._job_json(self._running) if self._running else None,
                "queued": len(self._queue),
                "auto_approve": self._policy.is_auto_approved,
                "paused": None,
            }

    def health(self) -> dict[str, Any]:
        """Readings of every wanted container and check, as they were last taken."""
        self._refresh_if_stale()
        with self._lock:
            return self._health or {
                "schema": "dual-update/health/v1", "cluster": None, "healthy": None, "readings": []
            }  # fmt: skip

    def plan(self) -> dict[str, Any] | None:
        """The pending update with its plan and fingerprints; None when there is nothing to do."""
        with self._lock:
            return self._look.to_json() if self._look and self._look.has_plan else None

    def history(
        self,
        cluster: str = "",
        outcome: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        page: int = 1,
        size: int = PAGE_SIZE,
    ) -> dict[str, Any]:
        """A page of runs, newest first; `has_more` says whether another follows."""
        found = self._world.store.runs(cluster, limit=size + 1, offset=(page - 1) * size)
        runs = [_line(one) for one in found if not outcome or one.get("outcome") == outcome]
        runs = [one for one in runs if _is_within(one["started_at"], since, until)]
        return {"runs": runs[:size], "page": page, "size": size, "has_more": len(found) > size}

    def run(self, name: str) -> dict[str, Any]:
        """A job or a run of the history, with its steps. Raises UsageError where there is none."""
        job = self._find(name)
        record = self._record(job.run if job else name)
        if job is None and record is None:
            raise UsageError(f"There is no run {name}.")
        return self._run_json(name, job, record)

    def events(self, name: str, after: int = 0) -> tuple[list[dict[str, Any]], bool]:
        """Steps of a run since event number `after`, and whether it has ended. Raises UsageError."""
        run = self.run(name)
        return [one for one in run["journal"] if one["seq"] > after], run["state"] == "ended"

    # --- wishes

    def check(self, by: str = "api") -> dict[str, Any]:
        """Look as soon as may be. Several wishes that wait are one."""
        return self._ask(self._new("check", by))

    def apply(
        self,
        fingerprint: str,
        by: str = "api",
        *,
        is_by_person: bool = False,
        key: str = "",
    ) -> dict[str, Any]:
        """Apply the pending update, which must have this fingerprint. Raises NotNow where it has not."""
        with self._lock:
            pending = self._look
            if pending is None or not (pending.has_plan or pending.is_news):
                raise NotNow("Nothing is pending.", hint="Ask for a check first.")
            if fingerprint not in {pending.fingerprint, pending.decision.fingerprint}:
                raise NotNow(
                    "What is pending has another fingerprint.", hint="Look at the plan and decide again."
                )
            return self._ask(
                replace(
                    self._new("apply", by),
                    expect=fingerprint,
                    ref=pending.commit,
                    is_by_person=is_by_person,
                    accepts_drift=is_by_person and pending.accepts_drift,
                    key=key,
                )
            )

    def rollback(self, run: str = "", by: str = "api", *, key: str = "") -> dict[str, Any]:
        """Return to what ran before a run; without one, before the newest change."""
        if run and self._world.store.run(run) is None:
            raise UsageError(f"There is no run {run}.")
        return self._ask(replace(self._new("rollback", by), to_run=run, is_by_person=True, key=key))

    # --- the queue

    def _new(self, kind: JobKind, by: str) -> Job:
        return Job(self._world.wall.name(), kind, by, self._now())

    def _ask(self, job: Job) -> dict[str, Any]:
        with self._wake:
            for one in (*self._queue, *([self._running] if self._running else ())):
                if _is_same(one, job):
                    return self._job_json(one)
                if job.kind != "check" and one.kind != "check":
                    raise NotNow(f"A {one.kind} is under way.", hint=f"Follow it: /api/runs/{one.id}")
            self._keep(job)
            self._queue.append(job)
            self._wake.notify_all()
            return self._job_json(job)

    def _keep(self, job: Job) -> None:
        with self._lock:
            self._jobs[job.id] = job
            while len(self._jobs) > KEPT_JOBS:
                self._jobs.pop(next(iter(self._jobs)))
            self._revision += 1

    def _work(self) -> None:
        while True:
            job = self._next()
            if job is None:
                return
            self._do(job)

    def _next(self) -> Job | None:
        """The next job; a check when its time has come. None: the service stops."""
        with self._wake:
            while not self._is_stopping:
                if self._queue:
                    job = replace(self._queue.popleft(), state="running")
                    self._running = job
                    self._keep(job)
                    return job
                left = self._next_check - self._world.wall.monotonic()
                if left <= 0:
                    self._queue.append(self._new("check", "schedule"))
                    continue
                self._wake.wait(min(left, 60.0))
            return None

    def _do(self, job: Job) -> None:
        try:
            done = self._checked(job) if job.kind == "check" else self._carried_out(job)
        except DualUpdateError as error:
            done = replace(job, exit_code=int(error.exit_code), sentence=error.message)
        except Exception as error:  # a bug of ours must not end the thread that everything waits for
            self._world.log("bug", level="error", what=type(error).__name__, job=job.id)
            done = replace(job, exit_code=3, sentence=f"This is a bug ({type(error).__name__}).")
        with self._lock:
            self._running = None
            self._keep(replace(done, state="ended", ended_at=self._now()))
        self._look_again.set()

    # --- looking

    def _checked(self, job: Job) -> Job:
        wall = self._world.wall
        interval = next_tick(self._policy.check_interval_seconds, wall.luck())
        self._next_check = wall.monotonic() + interval
        try:
            with self._world.open_site(None) as (site, commit):
                found = look(site, commit)
        except DualUpdateError as error:
            self._noted("failed", error.message)
            raise
        with self._lock:
            self._look = found
        words = f"{found.decision.update_type} update pending" if found.has_plan else "nothing to do"
        self._noted("done", words)
        return replace(job, exit_code=0, sentence=words)

    def _noted(self, outcome: str, sentence: str) -> None:
        with self._lock:
            self._last_check = {"at": self._now(), "outcome": outcome, "sentence": sentence}
            self._revision += 1

    # --- doing

    def _carried_out(self, job: Job) -> Job:
        hands = self._world.hands
        hands.start(job)
        while hands.is_alive(job.id):
            with self._wake:
                if self._is_stopping:
                    return job
                self._wake.wait(FOLLOW_SECONDS)
        ending = hands.ending(job.id)
        self._next_check = self._world.wall.monotonic()
        if ending is None:
            return replace(job, exit_code=3, sentence="Its process died; what it left is settled next.")
        return replace(job, exit_code=ending.exit_code, sentence=ending.sentence, run=ending.run)

    # --- observing

    def _watch(self) -> None:
        while True:
            self._look_again.wait(OBSERVE_SECONDS)
            self._look_again.clear()
            if self._is_stopping:
                return
            self._observe()

    def _observe(self) -> None:
        try:
            with self._world.open_site("HEAD") as (site, _):
                now, well = status(site), health(site)
            complaint = ""
        except DualUpdateError as error:
            now, well, complaint = None, None, error.message
        except Exception as error:
            now, well, complaint = None, None, f"This is a bug ({type(error).__name__})."
        with self._lock:
            if now is not None:
                self._status, self._health = {**now, "observed_at": self._now()}, well
            self._complaint = complaint
            self._observed_at = self._world.wall.monotonic()
            self._revision += 1

    def _refresh_if_stale(self) -> None:
        if self._world.wall.monotonic() - self._observed_at > FRESH_SECONDS:
            self._look_again.set()

    # --- telling

    def _find(self, name: str) -> Job | None:
        with self._lock:
            return self._jobs.get(name) or self._world.hands.find(name)

    def _record(self, run: str) -> Mapping[str, Any] | None:
        return self._world.store.run(run) if run else None

    def _run_json(self, name: str, job: Job | None, record: Mapping[str, Any] | None) -> dict[str, Any]:
        run = str(record["run"]) if record else ""
        journal = [
            {"seq": e.seq, "op": e.op, "target": e.target, "phase": e.phase, "at": e.at, "detail": e.detail}
            for e in (self._world.store.journal(run) if run else ())
        ]
        outcome = record.get("outcome") if record else None
        state = job.state if job else ("ended" if outcome else "running")
        return {
            "id": name,
            "job": self._job_json(job) if job else None,
            "state": state,
            "run": run or None,
            "kind": job.kind if job else record.get("kind") if record else None,
            **{key: (record or {}).get(key) for key in RECORD_KEYS},
            "journal": journal,
            "log": list(self._world.hands.log(job.id)) if job else [],
        }

    def _job_json(self, job: Job) -> dict[str, Any]:
        keys = ("id", "kind", "by", "state", "asked_at", "ended_at", "sentence", "exit_code", "run")
        return {key: getattr(job, key) if getattr(job, key) != "" else None for key in keys}

    def _pending(self, pending: Look | None) -> dict[str, Any] | None:
        if pending is None or not pending.has_plan:
            return None
        return {
            "update_type": pending.decision.update_type,
            "commit": pending.commit,
            "plan_fingerprint": pending.fingerprint,
            "drift": list(pending.drift),
        }

    def _next_check_at(self) -> str:
        left = max(0.0, self._next_check - self._world.wall.monotonic())
        at = self._world.wall.now().timestamp() + left
        return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

    def _now(self) -> str:
        return self._world.wall.now().astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


RECORD_KEYS = (
    "cluster", "outcome", "reason", "update_type", "strategy", "from", "to", "started_at",
    "duration_seconds", "services", "steps",
)  # fmt: skip


def _line(run: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("run", "kind", "cluster", "outcome", "reason", "update_type", "strategy", "from", "to")
    return {key: run.get(key) for key in (*keys, "started_at", "duration_seconds")}


def _is_same(one: Job, other: Job) -> bool:
    if one.kind != other.kind:
        return False
    if other.key and one.key == other.key:
        return True
    if other.kind == "check":
        return one.state == "queued"
    return (one.expect, one.to_run, one.ref) == (other.expect, other.to_run, other.ref)


def _is_within(at: object, since: datetime | None, until: datetime | None) -> bool:
    moment = datetime.fromisoformat(str(at))
    return (since is None or moment >= since) and (until is None or moment < until)
