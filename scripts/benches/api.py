"""How quickly the service answers with 100,000 runs of history, against a bare hello-world.

    scripts/bench api [--runs 100000] [--seconds 2] [--rounds 3] [--minutes 0] [--quiet]

The hello-world is FastAPI under uvicorn with as many log lines as the service: one a request, or none with
`--quiet`. All are asked in turn within each round by the same client over the same number of connections, so
that a busy machine slows all of them; ratios are the median over rounds. With `--minutes` the load goes on
that long, and the service's memory is looked at before and after.
"""

import argparse
import asyncio
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import httpx
from tests.integration.world import free_port

from dual_update.adapters.store import SqliteStore

CONNECTIONS = 8
WANTED = {"status": 0.3, "history": 0.3}
"""Requests a second as a part of the hello-world's (issue 7)."""

GROWTH_BYTES = 20 * 1024 * 1024
"""Memory may differ by this much after the load: allocators keep what they had."""

HELLO = """
from fastapi import FastAPI
app = FastAPI()

@app.get("/")
async def hello():
    return {"hello": "world"}
"""


@dataclass(frozen=True)
class Measured:
    """Answers a second, and how long one took in milliseconds."""

    per_second: float
    p50: float
    p99: float


def fill(state: Path, runs: int) -> None:
    """A history as years of updates leave it, written in one transaction."""
    with SqliteStore(state) as store:
        store.clusters()
    now = datetime.now(UTC)
    services = {
        f"service-{n}": {"action": "roll", "image_id_before": "sha256:" + "a" * 64,
                         "image_id_after": "sha256:" + "b" * 64, "verified": True}
        for n in range(5)
    }  # fmt: skip
    steps = [
        {"op": "roll", "target": f"service-{n}", "cause": "a new image", "outcome": "finished",
         "duration_seconds": 1.5} for n in range(5)
    ]  # fmt: skip

    def rows() -> "Sequence[tuple[str, str, str, str]]":
        for number in range(runs):
            at = now - timedelta(minutes=10 * (runs - number))
            stamp = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            outcome = ("succeeded", "succeeded", "succeeded", "rolled_back", "refused")[number % 5]
            name = f"{at:%Y%m%dT%H%M%SZ}-{number:06x}"
            record = {
                "run": name, "kind": "apply", "cluster": "shop", "outcome": outcome,
                "from": f"{number:040x}", "to": f"{number + 1:040x}", "update_type": "image_only",
                "strategy": "watchtower", "reason": None, "started_at": stamp, "finished_at": stamp,
                "duration_seconds": 12.5, "services": services, "steps": steps,
            }  # fmt: skip
            yield name, "shop", outcome, json.dumps(record)

    database = sqlite3.connect(state / "state.sqlite3")
    with database:
        database.executemany("INSERT INTO runs (run, cluster, outcome, record) VALUES (?, ?, ?, ?)", rows())
    database.close()


async def load(port: int, path: str, seconds: float) -> Measured:
    """Ask over and over on a few connections that stay open."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (began := time.perf_counter()) < end:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head[:200]
            length = next(
                int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"
            )
            await reader.readexactly(length)
            took.append(time.perf_counter() - began)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
    spent = time.perf_counter() - began
    took.sort()
    return Measured(len(took) / spent, 1000 * took[len(took) // 2], 1000 * took[int(len(took) * 0.99)])


def resident(process: int) -> int:
    """Bytes of memory that a process holds."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(process)


def started(
    command: Sequence[str], folder: Path, port: int, path: str, env: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    with (folder / f"{port}.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **env}
        )
    end = time.monotonic() + 60
    while True:
        try:
            if httpx.get(f"http://127.0.0.1:{port}{path}", timeout=5, trust_env=False).status_code == 200:
                return process
        except httpx.TransportError:
            pass
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"It did not start:\n{(folder / f'{port}.log').read_text()}")
        time.sleep(0.1)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--quiet", action="store_true")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="dual-update-bench-"))
    processes: list[subprocess.Popen[bytes]] = []
    try:
        return measure(asked, folder, processes)
    finally:
        for process in processes:
            process.terminate()
            process.wait(timeout=20)
        shutil.rmtree(folder, ignore_errors=True)


def measure(asked: argparse.Namespace, folder: Path, processes: "list[subprocess.Popen[bytes]]") -> int:
    state, repo = folder / "state", folder / "shop"
    began = time.perf_counter()
    fill(state, asked.runs)
    print(f"{asked.runs} runs, written in {time.perf_counter() - began:.1f} s")
    repo.mkdir()
    (repo / "compose.yml").write_text("services:\n  web:\n    image: example.org/web:1\n")
    git = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *arguments], cwd=repo, check=True)
    (folder / "hello.py").write_text(HELLO)
    level = "warning" if asked.quiet else "info"
    bare, ours = free_port(), free_port()
    hello = [sys.executable, "-m", "uvicorn", "hello:app", "--port", str(bare), "--log-level", level]
    processes.append(started(hello, folder, bare, "/", {}))
    serve = [sys.executable, "-m", "dual_update", "serve", "--port", str(ours), "--repo", str(repo)]
    serve += ["--state-dir", str(state)]
    environment = {"CHECK_INTERVAL": "36000", "LOG_LEVEL": level.upper()}
    processes.append(started(serve, folder, ours, "/api/health", environment))
    targets = {
        "hello": (bare, "/"),
        "status": (ours, "/api/status"),
        "history": (ours, "/api/history"),
        "dashboard": (ours, "/"),
        "older page": (ours, "/api/history?page=500"),
    }
    time.sleep(3)  # the first look at the cluster is over
    rounds: dict[str, list[Measured]] = {name: [] for name in targets}
    for _ in range(asked.rounds):
        for name, (port, path) in targets.items():
            rounds[name].append(asyncio.run(load(port, path, asked.seconds)))
    is_good = True
    print(f"{'':<12}{'req/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'ratio':>8}")
    for name, measured in rounds.items():
        ratios = [
            one.per_second / base.per_second for one, base in zip(measured, rounds["hello"], strict=True)
        ]
        ratio = statistics.median(ratios)
        middle = [
            statistics.median(getattr(one, field) for one in measured)
            for field in ("per_second", "p50", "p99")
        ]
        wanted = WANTED.get(name)
        verdict = "" if wanted is None else f"  (at least {wanted}: {'yes' if ratio >= wanted else 'NO'})"
        is_good &= wanted is None or ratio >= wanted
        print(f"{name:<12}{middle[0]:>9.0f}{middle[1]:>9.2f}{middle[2]:>9.2f}{ratio:>8.2f}{verdict}")
    before = resident(processes[1].pid)
    if asked.minutes:
        asyncio.run(endure(ours, asked.minutes))
    after = resident(processes[1].pid)
    grown = after - before
    words = f"after {asked.minutes:g} minutes more" if asked.minutes else "and no longer load was asked for"
    print(f"memory {before / 1e6:.1f} MB, {after / 1e6:.1f} MB {words}")
    return 0 if is_good and grown <= GROWTH_BYTES else 1


async def endure(port: int, minutes: float) -> None:
    """Every kind of page in turn."""
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        for path in ("/api/status", "/api/history", "/", "/metrics", "/history", "/api/history?page=3"):
            await load(port, path, 1.0)


if __name__ == "__main__":
    sys.exit(main())
