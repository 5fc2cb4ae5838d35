"""Replicas return by `deploy.rollback_config` of the version that returns, as surely as by any way back."""

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from tests.integration.test_apply import apply
from tests.integration.test_lane import compose_would_touch, config, deployed, running_counts, two
from tests.integration.world import Cluster, Images, World, eventually

UPDATE = "replicas: 2, update_config: {order: start-first}"
GENTLE = "rollback_config: {order: start-first, parallelism: 1}"


def deploy(*words: str) -> str:
    return f"    deploy: {{{', '.join(words)}}}\n"


def rollback(cluster: Cluster) -> dict[str, Any]:
    done = cluster.dual_update("rollback", "--auto", "--format", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("extra", "has_gap", "most"),
    [
        (deploy(UPDATE, GENTLE), False, 3),
        (deploy(UPDATE), True, 2),  # without a word: as fast as it goes
    ],
    ids=["start-first", "at once"],
)
def test_a_rollback_by_hand_goes_by_it(
    world: World, images: Images, extra: str, has_gap: bool, most: int
) -> None:
    cluster = deployed(world, images, two(images, extra=extra), config())
    old = cluster.containers()
    images.push("web:2", "two")
    cluster.commit({"compose.yml": two(images, "web:2", extra)})
    assert apply(cluster)["outcome"] == "succeeded"
    with running_counts(cluster, "web") as counts:
        assert rollback(cluster)["outcome"] == "succeeded"
    assert (min(counts) < 2, max(counts)) == (has_gap, most)  # a busy machine does not see every moment
    now = cluster.containers()
    assert sorted((c.service, c.image_id, c.config_hash) for c in now) == sorted(
        (c.service, c.image_id, c.config_hash) for c in old
    )
    assert compose_would_touch(cluster) == set()


def test_a_failure_elsewhere_takes_a_good_service_back_without_a_gap(world: World, images: Images) -> None:
    extra, after = deploy(UPDATE, GENTLE), "    depends_on: [web]\n"
    text = two(images, extra=extra, db_extra=after)
    cluster = deployed(world, images, text, config())
    old = {c.image_id for c in cluster.containers()}
    images.push("web:2", "two")
    images.push("db:2", "bad", flavour="crash")
    cluster.commit({"compose.yml": two(images, "web:2", extra, after).replace("db:1", "db:2")})
    with running_counts(cluster, "web") as counts:
        report = apply(cluster, code=1)
    assert report["outcome"] == "rolled_back"
    assert "beside web" in [f"{one['op']} {one['target']}" for one in report["steps"]]
    assert {c.image_id for c in cluster.containers()} == old
    assert compose_would_touch(cluster) == set()
    assert min(counts) == 2


def test_what_cannot_return_beside_the_new_one_returns_at_once(world: World, images: Images) -> None:
    """Only one at a time gets the lock: the old one beside the new one ends, and the plain way is taken."""
    lock = "    healthcheck: {disable: true}\n    volumes: ['lock:/lock']\n"
    hold = "mkdir /lock/held || exit 1; trap 'rmdir /lock/held; exit 0' TERM; while :; do sleep 0.1; done"
    lock += f"    command: {json.dumps(['sh', '-c', hold])}\n"
    text = two(images, extra=deploy("replicas: 1", GENTLE) + lock) + "volumes:\n  lock: {}\n"
    cluster = deployed(world, images, text, config())
    old = cluster.container("web")
    cluster.commit({"compose.yml": text.replace("stop_grace_period: 2s", "stop_grace_period: 3s")})
    assert apply(cluster, "--scope", "changed")["outcome"] == "succeeded"
    ran = rollback(cluster)
    assert ran["outcome"] == "succeeded"
    returns = [one["outcome"] for one in ran["steps"] if one["op"] == "return"]
    assert returns == ["failed", "finished"]
    [now] = [c for c in cluster.containers() if c.service == "web"]
    assert (now.image_id, now.config_hash, now.state) == (old.image_id, old.config_hash, "running")


def test_killed_between_two_batches_it_is_settled(world: World, images: Images) -> None:
    extra = deploy(UPDATE, GENTLE)
    cluster = deployed(world, images, two(images, extra=extra), config())
    old = cluster.containers()
    images.push("web:2", "two")
    cluster.commit({"compose.yml": two(images, "web:2", extra)})
    assert apply(cluster)["outcome"] == "succeeded"
    words = [sys.executable, "-m", "dual_update", "rollback", "--auto"]
    with subprocess.Popen(
        words, cwd=cluster.directory, stdin=subprocess.DEVNULL, start_new_session=True
    ) as it:
        eventually(lambda: sum(c.service == "web" for c in cluster.containers()) == 3)
        os.killpg(it.pid, signal.SIGKILL)
    done = cluster.dual_update("recover")
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    now = cluster.containers()
    assert sorted((c.service, c.image_id, c.config_hash, c.state) for c in now) == sorted(
        (c.service, c.image_id, c.config_hash, c.state) for c in old
    )
    assert compose_would_touch(cluster) == set()
