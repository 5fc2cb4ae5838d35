"""Jobs that wait, the one that runs, and those that ended. Safe for threads.

Wishes that mean the same are one job; of two that change the cluster the second is refused while the first
is under way. A job that changes the cluster is on disk before its caller hears of it.
"""

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from dual_update.core.errors import NotNow
from dual_update.core.job import Job
from dual_update.usecases.service_ports import Hands

KEPT = 500
"""Jobs that are remembered here; older ones are on disk, checks aside."""


class JobQueue:
    """One after the other."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._changed = threading.Condition(threading.RLock())
        self._waiting: deque[Job] = deque()
        self._jobs: dict[str, Job] = {}
        self._running: Job | None = None
        self._is_closed = False
        self.revision = 0

    @property
    def running(self) -> Job | None:
        return self._running

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def ask(self, job: Job) -> Job:
        """Queue a job; the job that is meant, where the same was wished before.

        Raises NotNow where another change is under way, or the caller's key stood for something else.
        """
        with self._changed:
            known = self._by_key(job)
            if known is not None:
                return known
            for one in self._under_way():
                if _is_same(one, job):
                    return one
                if job.kind != "check" and one.kind != "check":
                    raise NotNow(f"A {one.kind} is under way.", hint=f"Follow it: /api/runs/{one.id}")
            if job.kind != "check":
                self._hands.keep(job)
            self._waiting.append(job)
            self.put(job)
            return job

    def begin(self, job: Job) -> Job:
        """A job that did not wait: the worker's own."""
        with self._changed:
            self._running = replace(job, state="running")
            self.put(self._running)
            return self._running

    def next(self, within_seconds: float) -> Job | None:
        """The next job, which is the running one from now on; None when none came in time."""
        with self._changed:
            if not self._waiting and not self._is_closed:
                self._changed.wait(max(0.0, within_seconds))
            return self.begin(self._waiting.popleft()) if self._waiting and not self._is_closed else None

    def end(self, job: Job) -> None:
        """A job has ended."""
        with self._changed:
            if self._running is not None and self._running.id == job.id:
                self._running = None
            self.put(replace(job, state="ended"))

    def put(self, job: Job) -> None:
        """Remember how a job stands."""
        with self._changed:
            self._jobs[job.id] = job
            while len(self._jobs) > KEPT:
                self._jobs.pop(next(iter(self._jobs)))
            self.revision += 1
            self._changed.notify_all()

    def find(self, name: str) -> Job | None:
        """By its id: from here, else from disk."""
        with self._changed:
            return self._jobs.get(name) or self._hands.find(name)

    def pause(self, seconds: float) -> None:
        """Wait, but not for longer than it takes until something changes."""
        with self._changed:
            if not self._is_closed:
                self._changed.wait(seconds)

    def close(self) -> None:
        """No job begins any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _under_way(self) -> Iterator[Job]:
        if self._running is not None:
            yield self._running
        yield from self._waiting

    def _by_key(self, job: Job) -> Job | None:
        if not job.key:
            return None
        mine = (one for one in reversed(self._jobs.values()) if one.key == job.key)
        found = next(mine, None) or next((one for one in self._hands.jobs() if one.key == job.key), None)
        if found is None:
            return None
        if not _wishes_the_same(found, job):
            raise NotNow("This idempotency key stood for another wish.", hint="Use a new one.")
        return self._jobs.get(found.id, found)


def _is_same(one: Job, other: Job) -> bool:
    """Would doing `one` fulfil `other`. A check that runs already may have looked too early."""
    if other.kind == "check":
        return one.kind == "check" and one.state == "queued"
    return _wishes_the_same(one, other)


def _wishes_the_same(one: Job, other: Job) -> bool:
    return (one.kind, one.expect, one.to_run) == (other.kind, other.expect, other.to_run)
