"""action: start-up of the container and the whole detect step, against the bare base image and a bare detect.

Every round runs all four in turn, and the median of the rounds' ratios counts: neighbours on a shared machine
see the same noise. The step runs without a token, so that no network is in the figures.

  start   `docker run IMAGE --version`         against `docker run BASE true`
  step    scripts/run-action, command detect   against `docker run BASE true` plus a bare detect
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from scripts.benches.detect import git, services
from tests.integration.action_image import ROOT, action_image, base_image, docker

START_BOUND = 2.0
STEP_BOUND = 2.3
RIGHTS = ["--rm", "--init", "--cap-drop", "ALL", "--read-only", "--tmpfs", "/tmp:mode=1777"]


def seconds(command: list[str], environment: Mapping[str, str], directory: Path) -> float:
    began = time.perf_counter()
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, check=False)
    took = time.perf_counter() - began
    if done.returncode != 0:
        sys.exit(f"{command[:3]} failed: {(done.stdout + done.stderr).decode()[-800:]}")
    return took


def project(folder: Path, count: int) -> tuple[Path, str, str]:
    """A repository of `count` services with two commits: the first service's tag moves."""
    shop = folder / "shop"
    shop.mkdir()
    git(shop, "init", "--quiet", "--initial-branch=main")
    commits = []
    for tag in (1, 2):
        (shop / "compose.yaml").write_text(services(count, tag))
        git(shop, "add", "--all")
        git(shop, "commit", "--quiet", "-m", f"tag {tag}")
        commits.append(git(shop, "rev-parse", "HEAD"))
    return shop, commits[0], commits[1]


def surroundings(folder: Path, image: str, base: str, head: str) -> dict[str, str]:
    """What a runner gives to the step."""
    event = folder / "event.json"
    repository = {"full_name": "its-DeFine/shop", "default_branch": "main"}
    event.write_text(json.dumps({"before": base, "after": head, "repository": repository}))
    (folder / "output").touch()
    return {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        **{name: os.environ[name] for name in ("DOCKER_HOST",) if name in os.environ},
        "DUAL_UPDATE_STATE_DIR": str(folder / "state"),
        "GITHUB_WORKSPACE": str(folder / "shop"),
        "GITHUB_OUTPUT": str(folder / "output"),
        "GITHUB_EVENT_NAME": "push",
        "GITHUB_EVENT_PATH": str(event),
        "GITHUB_REF": "refs/heads/main",
        "GITHUB_SHA": head,
        "GITHUB_REPOSITORY": "its-DeFine/shop",
        "INPUT_IMAGE": image,
    }


def size(image: str) -> int:
    return int(json.loads(docker("image", "inspect", image))[0]["Size"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="how often each is measured [7]")
    parser.add_argument("--services", type=int, default=50, help="services in the compose file [50]")
    given = parser.parse_args()
    image, base = action_image(), base_image()
    with tempfile.TemporaryDirectory(prefix="dual-update-bench-") as temporary:
        folder = Path(temporary)
        shop, before, after = project(folder, given.services)
        environment = surroundings(folder, image, before, after)
        program = str(Path(sys.executable).with_name("dual-update"))
        commands = {
            "bare container": ["docker", "run", *RIGHTS, "--network", "none", base, "true"],
            "container's start": ["docker", "run", *RIGHTS, "--network", "none", image, "--version"],
            "bare detect": [program, "detect", "--base", before, "--head", after, "--format", "json"],
            "whole step": [str(ROOT / "scripts/run-action")],
        }
        taken: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(given.rounds + 1):
            for name, command in commands.items():
                took = seconds(command, environment, shop)
                if number:  # the first round warms caches
                    taken[name].append(took)
    for name, several in taken.items():
        print(f"{name:18} {statistics.median(several):6.3f} s")
    rounds = list(zip(*taken.values(), strict=True))
    start = statistics.median(run / bare for bare, run, _, _ in rounds)
    step = statistics.median(whole / (bare + detect) for bare, _, detect, whole in rounds)
    print(f"start / bare container                 {start:5.2f}  (bound {START_BOUND})")
    print(f"step / (bare container + bare detect)  {step:5.2f}  (bound {STEP_BOUND})")
    whole, below = size(image), size(base)
    print(f"image {whole / 1e6:.0f} MB: base {below / 1e6:.0f} MB, ours {(whole - below) / 1e6:.0f} MB")
    if start > START_BOUND or step > STEP_BOUND:
        sys.exit("over the bound")


if __name__ == "__main__":
    main()
