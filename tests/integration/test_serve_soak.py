"""A sample of long life: checks, applies, webhooks, an engine that goes away, a service that is killed.

`DUAL_UPDATE_SOAK_SECONDS` says for how long, `DUAL_UPDATE_SOAK_SEED` in which order things happen.
"""

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest

from tests.integration.served import Served, children, serving
from tests.integration.test_serve import compose, deployed, webhook
from tests.integration.test_serve_faults import Passage, passage  # noqa: F401  (a fixture)
from tests.integration.world import PROJECT_LABEL, Images, World, eventually

SECONDS = float(os.environ.get("DUAL_UPDATE_SOAK_SECONDS", "45"))
SEED = int(os.environ.get("DUAL_UPDATE_SOAK_SEED", "7"))


class Life:
    """What is done to the service, and what it promised meanwhile."""

    def __init__(self, world: World, images: Images, gate: Passage) -> None:
        self.cluster = deployed(world, images)
        self.state = self.cluster.directory.parent / "state"
        self.images = images
        self.gate = gate
        self.luck = random.Random(SEED)
        self.tag = "web:1"
        self.promised: list[str] = []
        self.deliveries = 0
        self.done: dict[str, int] = {}

    def push(self, served: Served) -> None:
        """A commit, and the webhook that tells of it."""
        self.tag = "web:2" if self.tag == "web:1" else "web:1"
        self.cluster.commit({"compose.yml": compose(self.images, self.tag)}, self.tag)
        self.deliveries += 1
        answer = webhook(served, {"number": self.deliveries}, f"delivery-{self.deliveries:06}")
        assert answer.status_code == 202, answer.text

    def check(self, served: Served) -> None:
        self.promised.append(served.post("/api/check").headers["Location"])

    def update(self, served: Served) -> None:
        """A push, a look, an apply; the engine may go away in the midst of it."""
        self.push(served)
        served.ask("/api/check")
        pending = served.get("/api/plan")["pending"]
        if pending is None:  # the engine was away while it looked
            return
        answer = served.post("/api/apply", _wish(pending))
        assert answer.status_code in {202, 409}, answer.text
        if answer.status_code == 409:  # another look came between
            return
        self.promised.append(answer.headers["Location"])
        if self.luck.random() < 0.4:
            time.sleep(3 * self.luck.random())
            self.lose_engine(served)
        if self.luck.random() < 0.8:
            served.follow(answer.headers["Location"])

    def read(self, served: Served) -> None:
        for path in ("/api/status", "/api/history", "/api/health", "/", "/metrics"):
            assert served.http.get(path).status_code == 200

    def lose_engine(self, served: Served) -> None:
        self.gate.close()
        time.sleep(self.luck.random())
        self.read(served)
        self.gate.open()

    def live(self, served: Served, seconds: float) -> None:
        deeds = [self.update, self.update, self.push, self.check, self.read, self.lose_engine]
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            deed = self.luck.choice(deeds)
            deed(served)
            self.done[deed.__name__] = self.done.get(deed.__name__, 0) + 1
            time.sleep(0.5)


@pytest.mark.timeout(SECONDS * 2 + 240)
def test_nothing_is_lost_and_nothing_leaks(world: World, images: Images, passage: Passage) -> None:  # noqa: F811
    life = Life(world, images, passage)
    environment = {"DOCKER_HOST": passage.host, "CHECK_INTERVAL": "7"}
    with serving(life.cluster, life.state, environment) as first:
        eventually(first.quiet, within_seconds=30)
        life.live(first, SECONDS / 2)
        lasting = [one for one in life.promised if _is_kept(first, one)]
        first.stop(signal.SIGKILL)
        with serving(life.cluster, life.state, environment) as second:
            eventually(second.quiet, within_seconds=60)
            life.promised = lasting
            files = _files(second)
            life.live(second, SECONDS / 2)
            _settled(second)
            assert all(served_as(second, place)["state"] == "ended" for place in life.promised)
            runs = second.get("/api/history", size=200)["runs"]
            assert len(runs) > 2
            assert [one["run"] for one in runs if one["outcome"] is None] == []
            assert "rollback_failed" not in {one["outcome"] for one in runs}
            if pending := second.get("/api/plan")["pending"]:
                last = second.ask("/api/apply", _wish(pending))
                assert last["outcome"] == "succeeded", last["reason"]
                _settled(second)
            second.http.close()
            eventually(lambda: _files(second) <= files + 4, within_seconds=30, what="its files are closed")
            second.http = httpx.Client(base_url=second.url, trust_env=False)
            assert "bug" not in second.log.read_text()
    assert children(life.state) == []
    client = docker.from_env()
    found: list[Any] = client.containers.list(
        all=True, filters={"label": f"{PROJECT_LABEL}={life.cluster.project}"}
    )
    assert [one.status for one in found] == ["running"], "one service, one container"
    assert found[0].image.id == client.images.get(life.images.ref(life.tag)).id
    client.close()
    print(f"{SECONDS:g} s: {life.done}, {Counter(one['outcome'] for one in runs)}")


def _wish(pending: dict[str, Any]) -> dict[str, str]:
    return {"fingerprint": pending["plan_fingerprint"], "approved_by": "Ada"}


def _settled(served: Served) -> None:
    """All that was asked for is over, and one more look has seen what it led to."""
    eventually(served.quiet, within_seconds=90)
    eventually(lambda: served.get("/api/status")["complaint"] is None, within_seconds=60)
    served.ask("/api/check")
    eventually(served.quiet, within_seconds=60)


def served_as(served: Served, place: str) -> dict[str, Any]:
    return served.get(place)


def _is_kept(served: Served, place: str) -> bool:
    """Looks live in memory alone: a restart forgets them. What changes the cluster is on disk."""
    return bool(served.get(place)["kind"] != "check")


def _files(served: Served) -> int:
    assert served.process is not None
    return len(list(Path(f"/proc/{served.process.pid}/fd").iterdir()))
