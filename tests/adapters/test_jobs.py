"""Jobs on disk and their processes, which outlive whoever started them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from dual_update.adapters.jobs import KEPT, JobFiles
from dual_update.core.errors import WorldError
from dual_update.core.job import Ending, Job
from tests.integration.world import eventually

SLEEPS = "import sys, time; print('at work', file=sys.stderr, flush=True); time.sleep(60)"
ENDS = (
    "import json, pathlib, sys; p = pathlib.Path(sys.argv[1]);"
    " p.with_suffix('.end').write_text(json.dumps({'exit_code': 0, 'sentence': 'Done.', 'run': 'r-1'}))"
)


def job(number: int = 1) -> Job:
    return Job(f"{number:012x}", "apply", "Ada", "2026-01-01T00:00:00Z", expect="f")


def running(code: str) -> "Sequence[str]":
    return [sys.executable, "-c", code]


@pytest.fixture
def sleeping(tmp_path: Path) -> Iterator[JobFiles]:
    made = JobFiles(tmp_path, lambda path: [*running(SLEEPS), str(path)])
    yield made
    for one in made.jobs():
        if made.is_alive(one.id):
            _kill(tmp_path, one.id)


def _kill(folder: Path, name: str) -> None:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(folder / "service" / f"{name}.job") in line:
            os.kill(int(entry.name), signal.SIGKILL)


def test_a_job_lives_until_its_process_ends(sleeping: JobFiles, tmp_path: Path) -> None:
    sleeping.keep(job())
    sleeping.start(job())
    assert sleeping.is_alive(job().id)
    eventually(lambda: sleeping.log(job().id) == ("at work",))
    other = JobFiles(tmp_path, lambda path: [])  # the service that starts next
    assert other.is_alive(job().id)
    assert other.find(job().id) == job()
    _kill(tmp_path, job().id)
    eventually(lambda: not sleeping.is_alive(job().id) and not other.is_alive(job().id))
    assert other.ending(job().id) is None
    other.end(job().id, Ending(1, "Its process died."))
    assert sleeping.ending(job().id) == Ending(1, "Its process died.")


def test_it_outlives_the_one_that_started_it(tmp_path: Path) -> None:
    starter = (
        "import sys; from pathlib import Path; from dual_update.adapters.jobs import JobFiles;"
        " from dual_update.core.job import Job;"
        f" files = JobFiles(Path({str(tmp_path)!r}), lambda p: [sys.executable, '-c', {SLEEPS!r}, str(p)]);"
        " job = Job('000000000001', 'apply', 'Ada', ''); files.keep(job); files.start(job)"
    )
    subprocess.run([sys.executable, "-c", starter], check=True, timeout=30)
    files = JobFiles(tmp_path, lambda path: [])
    assert files.is_alive(job().id)
    _kill(tmp_path, job().id)
    eventually(lambda: not files.is_alive(job().id))


def test_how_it_ended_is_read(tmp_path: Path) -> None:
    files = JobFiles(tmp_path, lambda path: [*running(ENDS), str(path)])
    files.keep(job())
    files.start(job())
    eventually(lambda: not files.is_alive(job().id))
    assert files.ending(job().id) == Ending(0, "Done.", "r-1")


def test_its_files_are_private_and_secrets_are_not_handed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_TOKEN", "hunter2")
    monkeypatch.setenv("WEBHOOK_SECRET", "hunter3")
    files = JobFiles(
        tmp_path, lambda path: running("import os, sys; print(dict(os.environ), file=sys.stderr)")
    )
    files.keep(job())
    files.start(job())
    eventually(lambda: not files.is_alive(job().id))
    assert "PATH" in files.log(job().id)[0]
    assert "hunter" not in files.log(job().id)[0]
    for path in (tmp_path / "service").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
    assert (tmp_path / "service").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "x" * 12, "0" * 11, "0" * 13, "0" * 11 + "\n"])
def test_names_that_are_none_lead_nowhere(tmp_path: Path, name: str) -> None:
    files = JobFiles(tmp_path, lambda path: [])
    assert files.find(name) is None
    assert files.ending(name) is None
    assert files.log(name) == ()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"id": 1}', b"\xff"])
def test_files_that_were_cut_off_are_none(tmp_path: Path, content: bytes) -> None:
    files = JobFiles(tmp_path, lambda path: [])
    files.keep(job())
    for end in ("job", "end"):
        (tmp_path / "service" / f"{job().id}.{end}").write_bytes(content)
    assert files.find(job().id) is None
    assert files.ending(job().id) is None
    assert files.jobs() == ()


def test_old_ones_go_and_living_ones_stay(sleeping: JobFiles) -> None:
    sleeping.keep(job(0))
    sleeping.start(job(0))
    for number in range(1, KEPT + 20):
        sleeping.keep(job(number))
        path = sleeping._path(job(number).id, "job")
        os.utime(path, (1e9 + number, 1e9 + number))
    os.utime(sleeping._path(job(0).id, "job"), (1, 1))
    sleeping.keep(job(10_000))
    assert len(sleeping.jobs()) <= KEPT + 1
    assert sleeping.find(job(0).id) == job(0)
    assert sleeping.find(job(1).id) is None


def test_what_cannot_be_started_is_a_sentence(tmp_path: Path) -> None:
    files = JobFiles(tmp_path, lambda path: ["/no/such/program"])
    files.keep(job())
    with pytest.raises(WorldError, match="cannot be started: No such file"):
        files.start(job())
    blocked = JobFiles(tmp_path / "file", lambda path: [])
    (tmp_path / "file").write_text("")
    with pytest.raises(WorldError, match="cannot be written down"):
        blocked.keep(job())
