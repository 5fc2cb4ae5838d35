"""A job's words in the service's log: each line once, whole, with the job's name."""

import sys
import time
from pathlib import Path

from dual_update.adapters.job_lines import TalkingJobs
from dual_update.core.job import Job

ID = "0123456789ab"


def job() -> Job:
    return Job(ID, "apply", "ada", "2026-01-01T00:00:00Z")


def follow(jobs: TalkingJobs, until: float = 20) -> None:
    end = time.monotonic() + until
    while jobs.is_alive(ID):
        assert time.monotonic() < end
        time.sleep(0.01)


def talking(folder: Path, said: list[tuple[str, str]], script: str) -> TalkingJobs:
    def log(event: str, *, job: str) -> None:
        said.append((event, job))

    return TalkingJobs(folder, lambda _: [sys.executable, "-c", f"import sys, time\n{script}"], log)


def test_each_line_once_and_whole(tmp_path: Path) -> None:
    said: list[tuple[str, str]] = []
    script = (
        "for n in range(50):\n"
        "    sys.stderr.write(f'line '); sys.stderr.flush(); time.sleep(0.002)\n"
        "    sys.stderr.write(f'{n}\\n'); sys.stderr.flush()\n"
        "sys.stderr.write('\\nthe end')"
    )
    jobs = talking(tmp_path, said, script)
    jobs.keep(job())
    jobs.start(job())
    follow(jobs)
    assert said == [*((f"line {n}", ID) for n in range(50)), ("the end", ID)]
    jobs.is_alive(ID)
    assert len(said) == 51


def test_very_much_at_once_is_told_in_parts(tmp_path: Path) -> None:
    said: list[tuple[str, str]] = []
    jobs = talking(tmp_path, said, "sys.stderr.write('x' * 99 + '\\n')\n" * 3000)
    jobs.keep(job())
    jobs.start(job())
    follow(jobs)
    assert sum(line.count("x") for line, _ in said) == 99 * 3000


def test_the_next_service_tells_what_comes_and_not_what_was(tmp_path: Path) -> None:
    script = "sys.stderr.write('old\\n'); sys.stderr.flush()\ntime.sleep(1)\nsys.stderr.write('new\\n')"
    first: list[tuple[str, str]] = []
    second: list[tuple[str, str]] = []
    jobs = talking(tmp_path, first, script)
    jobs.keep(job())
    jobs.start(job())
    while not first:
        assert jobs.is_alive(ID)
    follow(talking(tmp_path, second, ""))
    assert second == [("new", ID)]
