"""The service stays up: without engine, remote or disk, and with a long history."""

import importlib.util
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import missing
from tests.integration.served import Served, serving
from tests.integration.test_serve import DRIVEN, compose, deployed, runs_new
from tests.integration.world import Cluster, Images, World, eventually, run

ENGINE = "/var/run/docker.sock"


class Passage:
    """The engine behind a socket of our own. Closed it is, to callers, an engine that is down."""

    def __init__(self, path: Path) -> None:
        self.host = f"unix://{path}"
        self._path = path
        self._open: socket.socket | None = None
        self._pairs: list[socket.socket] = []

    def open(self) -> None:
        self._path.unlink(missing_ok=True)
        self._open = socket.socket(socket.AF_UNIX)
        self._open.bind(str(self._path))
        self._open.listen(64)
        threading.Thread(target=self._accept, args=(self._open,), daemon=True).start()

    def close(self) -> None:
        self._path.unlink(missing_ok=True)
        for one in [*([self._open] if self._open else []), *self._pairs]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open, self._pairs = None, []

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                near, _ = listening.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(ENGINE)
            self._pairs += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=(one, other), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(65536):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def passage(tmp_path: Path) -> Iterator[Passage]:
    if not Path(ENGINE).is_socket():
        missing(f"the engine has no socket at {ENGINE}")
    made = Passage(tmp_path / "engine.sock")
    made.open()
    yield made
    made.close()


@pytest.fixture
def cluster(world: World, images: Images) -> Cluster:
    return deployed(world, images)


@pytest.fixture
def state(cluster: Cluster) -> Path:
    return cluster.directory.parent / "state"


def apply_pending(served: Served) -> None:
    pending = served.check()
    assert pending is not None
    wish = {"fingerprint": pending["plan_fingerprint"], "approved_by": "Ada"}
    run = served.ask("/api/apply", wish)
    assert run["outcome"] == "succeeded", run["reason"]


def test_without_engine_and_without_remote(
    cluster: Cluster, images: Images, state: Path, passage: Passage, tmp_path: Path
) -> None:
    """Both come back, and what was missed is found."""
    before = cluster.container("web").image_id
    remote = tmp_path / "remote.git"
    run("git", "clone", "--quiet", "--bare", str(cluster.directory), str(remote))
    branch = cluster.git("symbolic-ref", "--short", "HEAD")
    cluster.git("remote", "add", "origin", str(remote))
    cluster.git("fetch", "--quiet", "origin")
    cluster.git("branch", "--quiet", f"--set-upstream-to=origin/{branch}")
    with serving(cluster, state, {"DOCKER_HOST": passage.host}) as served:
        eventually(lambda: served.quiet() and served.get("/api/status")["healthy"], within_seconds=30)
        passage.close()
        failed = served.ask("/api/check")
        assert failed["job"]["exit_code"] == 1
        status = served.get("/api/status")
        assert status["last_check"]["outcome"] == "failed"
        eventually(lambda: served.get("/api/status")["complaint"], within_seconds=30)
        assert served.get("/api/health") == {**served.get("/api/health"), "status": "ok", "healthy": None}
        assert served.get("/api/history")["runs"]
        passage.open()
        eventually(lambda: served.get("/api/status")["complaint"] is None, within_seconds=60)

        hidden = remote.rename(tmp_path / "away.git")
        gone = served.ask("/api/check")
        assert "cannot be fetched" in gone["job"]["sentence"]
        eventually(lambda: served.get("/api/status")["healthy"], within_seconds=30)
        hidden.rename(remote)

        copy = tmp_path / "copy"
        run("git", "clone", "--quiet", str(remote), str(copy))
        (copy / "compose.yml").write_text(compose(images, "web:2"))
        run("git", "commit", "--quiet", "--all", "--message", "two", cwd=copy)
        run("git", "push", "--quiet", cwd=copy)
        apply_pending(served)
        assert runs_new(cluster, before)


def test_a_full_disk(cluster: Cluster, images: Images, state: Path, world: World, tmp_path: Path) -> None:
    """The state's own disk fills up: answers go on, nothing begins, and with space all goes on."""
    small = tmp_path / "small"
    small.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(small)], capture_output=True, check=False
    )
    if done.returncode != 0:
        missing("nothing can be mounted here: run the tests as root")
    try:
        shutil.copytree(state, small / "state", symlinks=True)
        before = cluster.container("web").image_id
        with serving(cluster, small / "state") as served:
            eventually(served.quiet, within_seconds=30)
            cluster.commit({"compose.yml": compose(images, "web:2")}, "two")
            pending = served.check()
            assert pending is not None
            _fill(small)
            wish = {"fingerprint": pending["plan_fingerprint"], "approved_by": "Ada"}
            refused = served.post("/api/apply", wish)
            assert refused.status_code == 503
            assert "space" in refused.json()["detail"].lower()
            for path in ("/api/status", "/api/health", "/api/history", "/api/plan"):
                assert served.http.get(path).status_code == 200
            assert not runs_new(cluster, before)
            (small / "filler").unlink()
            apply_pending(served)
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def _fill(folder: Path) -> None:
    """To the last byte."""
    with (folder / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def test_a_hundred_thousand_runs(world: World, images: Images, tmp_path: Path) -> None:
    """No page is dearer than the first by more than a few times, and the service is up at once."""
    bench = _bench()
    state = tmp_path / "long"
    bench.fill(state, 100_000)
    cluster = world.repo({"compose.yml": compose(images, "web:1"), ".github/dual-update.yml": DRIVEN})
    with serving(cluster, state) as served:
        took: dict[str, float] = {}
        paths = {
            "first": "/api/history",
            "deep": "/api/history?page=1000",
            "filtered": "/api/history?cluster=shop&outcome=refused&page=100",
            "span": "/api/history?since=2025-01-01T00:00:00Z&until=2026-01-01T00:00:00Z",
            "status": "/api/status",
            "dashboard": "/",
            "metrics": "/metrics",
        }
        for name, path in paths.items():
            times = []
            for _ in range(5):
                began = time.monotonic()
                assert served.http.get(path).status_code == 200
                times.append(time.monotonic() - began)
            took[name] = min(times)
        assert max(took.values()) < 1.0, took
        older = served.get("/api/history", size=200)["older"]
        seen = 200
        while older and seen < 2000:
            page = served.get("/api/history", size=200, before=older)
            seen += len(page["runs"])
            older = page["older"]
        assert seen == 2000
        assert served.stop(signal.SIGTERM) == 0


def _bench() -> ModuleType:
    path = Path(__file__).parents[2] / "scripts" / "benches" / "api.py"
    spec = importlib.util.spec_from_file_location("bench_api", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
