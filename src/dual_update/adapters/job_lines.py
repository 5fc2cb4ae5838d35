"""What a job's process says, told again by the service: `docker logs` and `journalctl` show a deploy live.

The process writes to a file of its own, which nobody else holds up; the service reads that file whenever it
looks whether the process lives.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from dual_update.adapters.jobs import JobFiles
from dual_update.core.job import Job

MOST_AT_ONCE = 64 * 1024
"""Bytes that are read at a look; the rest comes with the next one."""


class TalkingJobs(JobFiles):
    """Fits the port Hands, and logs each line of the jobs under way with the job's name."""

    def __init__(
        self, state: Path, command: Callable[[Path], Sequence[str]], log: Callable[..., None]
    ) -> None:
        super().__init__(state, command)
        self._log = log
        self._told: dict[str, int] = {}

    def start(self, job: Job) -> None:
        self._told[job.id] = 0
        super().start(job)

    def is_alive(self, job: str) -> bool:
        is_alive = super().is_alive(job)
        if job not in self._told and is_alive:  # an earlier service has told what is there
            self._told[job] = self._size(job)
        if job in self._told:
            self._tell(job, is_last=not is_alive)
        if not is_alive:
            self._told.pop(job, None)
        return is_alive

    def _tell(self, job: str, *, is_last: bool) -> None:
        """Whole lines; the last one also without its end."""
        try:
            with self._path(job, "log").open("rb") as file:
                file.seek(self._told[job])
                found = file.read() if is_last else file.read(MOST_AT_ONCE)
        except OSError:
            return
        if not is_last and len(found) < MOST_AT_ONCE:
            found = found[: found.rfind(b"\n") + 1]
        self._told[job] += len(found)
        for line in found.decode("utf-8", "replace").splitlines():
            if line.strip():
                self._log(line.strip(), job=job)

    def _size(self, job: str) -> int:
        try:
            return self._path(job, "log").stat().st_size
        except OSError:
            return 0
