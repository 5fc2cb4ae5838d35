"""A deployment outlives the process that asked for it."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.integration.world import Cluster, Images, World, eventually

SLOW = "health: {settle_seconds: 3, deadline_seconds: 20}\n"


@pytest.fixture
def cluster(world: World, images: Images) -> Cluster:
    images.push("web:1", "one")
    images.push("web:2", "two")
    text = f"services:\n  web:\n    image: {images.ref('web:1')}\n"
    made = world.repo({"compose.yml": text, ".github/dual-update.yml": SLOW})
    assert made.dual_update("apply", "--auto").returncode == 0
    made.commit({"compose.yml": text.replace("web:1", "web:2")}, "two")
    return made


def start(cluster: Cluster) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "dual_update", "apply", "--auto", "--worker", "--format", "json"]
    return subprocess.Popen(
        command,
        cwd=cluster.directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )


def runs(cluster: Cluster) -> list[dict]:
    return json.loads(cluster.dual_update("history", "--format", "json").stdout)["runs"]


def is_under_way(cluster: Cluster) -> bool:
    return runs(cluster)[0]["outcome"] is None


def test_follower_shows_the_end_and_its_code(cluster: Cluster) -> None:
    follower = start(cluster)
    out, err = follower.communicate(timeout=60)
    assert follower.returncode == 0, err
    assert json.loads(out)["outcome"] == "succeeded"
    assert "roll web" in err


def test_a_killed_follower_does_not_stop_the_deployment(cluster: Cluster) -> None:
    follower = start(cluster)
    eventually(lambda: is_under_way(cluster), within_seconds=20)
    follower.kill()
    follower.communicate(timeout=10)
    eventually(lambda: runs(cluster)[0]["outcome"] == "succeeded", within_seconds=40)


def test_cancelling_takes_the_update_back(cluster: Cluster) -> None:
    before = cluster.container("web").image_id
    follower = start(cluster)
    eventually(lambda: is_under_way(cluster), within_seconds=20)
    follower.send_signal(signal.SIGINT)
    out, err = follower.communicate(timeout=60)
    assert follower.returncode == 130, err
    assert json.loads(out)["outcome"] in {"rolled_back", "refused"}
    assert cluster.container("web").image_id == before


def test_a_worker_needs_approval(cluster: Cluster) -> None:
    done = cluster.dual_update("apply", "--worker")
    assert done.returncode == 5
    assert "--auto" in done.stderr
