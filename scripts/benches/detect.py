"""detect: wall time as a ratio to two bare runs of compose on the same files, and peak memory.

Every measured round runs both in turn, and the median of the rounds' ratios counts: on a shared machine a
ratio of neighbours is steadier than a ratio of medians. Memory is the highest of the tool and its children.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dual_update.adapters.compose import binary

SIZES = (5, 50, 500, 5000)
BOUNDS = {5: 2.5}
BOUND = 1.5  # from 50 services on


def services(count: int, tag: int) -> str:
    """A file of `count` ordinary services; the first one's tag is `tag`."""
    lines = ["services:"]
    for i in range(count):
        lines += [
            f"  service-{i}:",
            f"    image: registry.example.com/team/service-{i}:{tag if i == 0 else 1}.0.{i}",
            "    restart: unless-stopped",
            "    environment:",
            f"      NAME: service-{i}",
            f"      DATABASE_URL: postgres://db/{i}",
            "      LOG_LEVEL: ${LOG_LEVEL:-info}",
            f"    ports: ['{10000 + i % 50000}:80']",
            f"    volumes: ['data-{i % 7}:/data', './conf/{i % 7}:/conf:ro']",
            "    labels: {team: shop, tier: back}",
            "    healthcheck:",
            "      test: [CMD, wget, -q, -O, /dev/null, 'http://localhost/health']",
            "      interval: 10s",
        ]
    return "\n".join([*lines, "volumes:", *(f"  data-{i}:" for i in range(min(7, count))), ""])


def run(command: list[str], directory: Path, environment: dict[str, str]) -> float:
    began = time.perf_counter()
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, check=False)
    took = time.perf_counter() - began
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed: {done.stderr.decode()[-500:]}")
    return took


def git(directory: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.org"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=directory, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def measure(directory: Path, count: int, repeat: int) -> tuple[float, float, float, float]:
    """Median seconds of two compose runs, of detect, the median ratio, and of detect with nothing changed."""
    project = directory / f"project-{count}"
    project.mkdir()
    git(project, "init", "--quiet")
    commits = []
    for tag in (1, 2):
        (project / "compose.yaml").write_text(services(count, tag))
        git(project, "add", "--all")
        git(project, "commit", "--quiet", "-m", f"tag {tag}")
        commits.append(git(project, "rev-parse", "HEAD"))
    git(project, "commit", "--quiet", "--allow-empty", "-m", "nothing")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "DUAL_UPDATE_STATE_DIR": str(directory / "state"),
    }
    bare = [binary(), "config", "--format", "json"]
    tool = [sys.executable, "-m", "dual_update", "detect", "--format", "json"]
    compared = [*tool, "--base", commits[0], "--head", commits[1]]
    unchanged = [*tool, "--base", commits[1], "--head", "HEAD"]
    rows = []
    for number in range(repeat + 1):
        row = (
            run(bare, project, environment) + run(bare, project, environment),
            run(compared, project, environment),
            run(unchanged, project, environment),
        )
        rows += [row] if number else []  # the first round only warms the caches
    median = statistics.median
    return (
        median(one[0] for one in rows),
        median(one[1] for one in rows),
        median(one[1] / one[0] for one in rows),
        median(one[2] for one in rows),
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench detect", description=__doc__)
    parser.add_argument("--services", type=int, nargs="*", default=list(SIZES), metavar="N")
    parser.add_argument("--repeat", type=int, default=11, help="rounds that count; 5,000 services get 3")
    options = parser.parse_args()
    print(f"{'services':>8}  {'2 x compose':>11}  {'detect':>8}  {'ratio':>6}  {'unchanged':>9}  {'peak':>8}")
    failed = False
    for count in sorted(options.services):
        with tempfile.TemporaryDirectory(prefix="dual-update-bench-") as folder:
            repeat = min(options.repeat, 3) if count >= 5000 else options.repeat
            bare, tool, ratio, unchanged = measure(Path(folder), count, repeat)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        bound = BOUNDS.get(count, BOUND)
        is_over = ratio > bound
        failed |= is_over
        mark = f"  over the bound of {bound}" if is_over else ""
        times = f"{bare:9.3f} s  {tool:6.3f} s  {ratio:6.2f}  {unchanged:7.3f} s"
        print(f"{count:8}  {times}  {peak:5.0f} MB{mark}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
