"""`dual-update serve` as a process, with a caller that holds its token."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.integration.world import Cluster, eventually, free_port

TOKEN = "a-token-for-the-tests-0123456789"
SECRET = "a-secret-for-the-webhooks-0123456789"


class Served:
    """The service of one cluster. `state` outlives it."""

    def __init__(self, cluster: Cluster, state: Path, environment: Mapping[str, str] | None = None) -> None:
        self.cluster = cluster
        self.state = state
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            "API_TOKEN": TOKEN,
            "WEBHOOK_SECRET": SECRET,
            "CHECK_INTERVAL": "3600",
            **(environment or {}),
        }
        self.log = state.parent / f"serve-{self.port}.log"
        self.http = httpx.Client(
            base_url=self.url, timeout=30, trust_env=False, headers={"Authorization": f"Bearer {TOKEN}"}
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, is_expected_up: bool = True) -> None:
        command = [sys.executable, "-m", "dual_update", "serve", "--port", str(self.port)]
        command += ["--repo", str(self.cluster.directory), "--state-dir", str(self.state)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.state.parent,
            )
        if is_expected_up:
            eventually(self.is_up, within_seconds=30, what=f"the service answers (its log: {self.log})")

    def is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.http.get("/api/health").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self, how: int = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(timeout=30)

    # --- what a caller does

    def get(self, path: str, **query: str | int) -> dict[str, Any]:
        answer = self.http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: object = None, **headers: str) -> httpx.Response:
        content = {"json": body} if body is not None else {}
        return self.http.post(path, headers=headers, **content)

    def ask(self, path: str, body: object = None, **headers: str) -> dict[str, Any]:
        """Ask for long work, and wait for its end."""
        answer = self.post(path, body, **headers)
        assert answer.status_code == 202, answer.text
        return self.follow(answer.headers["Location"])

    def follow(self, location: str, within_seconds: float = 90) -> dict[str, Any]:
        end = time.monotonic() + within_seconds
        while True:
            run = self.get(location)
            if run["state"] == "ended" and (run["job"] is None or run["job"]["state"] == "ended"):
                return run
            assert time.monotonic() < end, f"{run}\n{self.log.read_text()}"
            time.sleep(0.1)

    def check(self) -> dict[str, Any] | None:
        """Look now; what is pending then."""
        run = self.ask("/api/check")
        assert run["job"]["exit_code"] == 0, run
        return self.get("/api/plan")["pending"]

    def quiet(self) -> bool:
        """Nothing is under way, and something was looked at."""
        now = self.get("/api/status")
        return now["job"] is None and now["queued"] == 0 and now["last_check"] is not None

    def events(self, location: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """A run's server-sent events, until it has ended."""
        with self.http.stream("GET", f"{location}/events", timeout=60) as answer:
            assert answer.status_code == 200
            kind = ""
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    yield kind, json.loads(line.removeprefix("data: "))


@contextmanager
def serving(cluster: Cluster, state: Path, environment: Mapping[str, str] | None = None) -> Iterator[Served]:
    """The service, up; gone afterwards, with every process that it started."""
    served = Served(cluster, state, environment)
    try:
        served.start()
        yield served
    finally:
        if served.process is not None and served.process.poll() is None:
            served.process.terminate()
            try:
                served.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                served.process.kill()
                served.process.wait(timeout=10)
        served.http.close()
        eventually(lambda: not children(state), within_seconds=60, what="its jobs have ended")


def children(state: Path) -> list[int]:
    """Processes that carry out jobs of this state folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if b"service-job" in line and os.fsencode(state) in line:
            found.append(int(entry.name))
    return found
