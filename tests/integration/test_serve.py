"""The service on a real engine: what waits is shown, what is agreed to is applied, nothing is lost."""

import hashlib
import hmac
import json
import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.served import SECRET, TOKEN, Served, children, serving
from tests.integration.world import Cluster, Images, World, eventually

QUICK = "health: {settle_seconds: 0.5, deadline_seconds: 20}\n"
DRIVEN = f"driver: service\n{QUICK}"


def compose(images: Images, tag: str) -> str:
    return f"services:\n  web:\n    image: {images.ref(tag)}\n    init: true\n"


def deployed(world: World, images: Images, config: str = DRIVEN) -> Cluster:
    """A cluster that runs web:1, and its commit."""
    images.push("web:1", "one")
    images.push("web:2", "two")
    made = world.repo({"compose.yml": compose(images, "web:1"), ".github/dual-update.yml": config})
    assert (
        made.dual_update("apply", "--auto", "--state-dir", str(made.directory.parent / "state")).returncode
        == 0
    )
    return made


@pytest.fixture
def cluster(world: World, images: Images) -> Cluster:
    return deployed(world, images)


@pytest.fixture
def state(cluster: Cluster) -> Path:
    return cluster.directory.parent / "state"


def runs_new(cluster: Cluster, before: str) -> bool:
    """Has a container of another image taken over. Between the two there may be both."""
    return any(one.image_id != before and one.state == "running" for one in cluster.containers())


def webhook(served: Served, body: dict[str, Any], delivery: str, event: str = "push") -> httpx.Response:
    content = json.dumps(body).encode()
    signature = "sha256=" + hmac.new(SECRET.encode(), content, hashlib.sha256).hexdigest()
    headers = {"X-GitHub-Event": event, "X-GitHub-Delivery": delivery, "X-Hub-Signature-256": signature}
    return httpx.post(f"{served.url}/webhooks/github", content=content, headers=headers, trust_env=False)


def test_a_pending_update_is_shown_applied_followed_and_taken_back(
    cluster: Cluster, images: Images, state: Path
) -> None:
    before = cluster.container("web").image_id
    cluster.commit({"compose.yml": compose(images, "web:2")}, "two")
    with serving(cluster, state) as served:
        eventually(served.quiet, within_seconds=30)
        pending = served.get("/api/plan")["pending"]
        assert pending["update_type"] == "image_only"
        assert pending["gate"]["answer"] == "wait", "AUTO_APPROVE is off"
        assert cluster.container("web").image_id == before
        wrong = served.post("/api/apply", {"fingerprint": "0" * 64})
        assert wrong.status_code == 409
        assert wrong.headers["content-type"] == "application/problem+json"

        wish = {"fingerprint": pending["plan_fingerprint"], "approved_by": "Ada"}
        asked = served.post("/api/apply", wish, **{"Idempotency-Key": "one"})
        again = served.post("/api/apply", wish, **{"Idempotency-Key": "one"})
        assert (asked.status_code, again.status_code) == (202, 202)
        assert asked.headers["Location"] == again.headers["Location"]
        seen = list(served.events(asked.headers["Location"]))
        assert ("roll", "finished") in [(data["op"], data["phase"]) for kind, data in seen if kind == "step"]
        assert seen[-1][0] == "end"
        run = served.follow(asked.headers["Location"])
        assert run["outcome"] == "succeeded"
        assert run["job"]["by"] == "Ada"
        assert served.get(f"/api/runs/{run['run']}")["journal"] == run["journal"], "found by either name"
        assert cluster.container("web").image_id != before
        eventually(lambda: served.quiet() and served.get("/api/plan")["pending"] is None, within_seconds=30)

        back = served.ask("/api/rollback", {"run": ""})
        assert back["outcome"] == "succeeded", back
        assert cluster.container("web").image_id == before
        history = served.get("/api/history", size=2)
        assert [one["kind"] for one in history["runs"]] == ["rollback", "apply"]
        older = served.get("/api/history", before=history["older"])
        assert [one["kind"] for one in older["runs"]] == ["apply"]


def test_images_are_applied_unasked_where_that_was_agreed_to(
    cluster: Cluster, images: Images, state: Path
) -> None:
    before = cluster.container("web").image_id
    with serving(cluster, state, {"AUTO_APPROVE": "true"}) as served:
        eventually(served.quiet, within_seconds=30)
        assert served.post("/api/pause", {"reason": "a freeze"}).json()["paused"]["reason"] == "a freeze"
        cluster.commit({"compose.yml": compose(images, "web:2")}, "two")
        pending = served.check()
        assert pending is not None
        assert pending["gate"] == {"answer": "wait", "why": "Paused: a freeze"}
        assert served.post("/api/apply", {"fingerprint": pending["fingerprint"]}).status_code == 409
        assert cluster.container("web").image_id == before

        served.post("/api/resume")
        eventually(lambda: runs_new(cluster, before), within_seconds=30)
        eventually(lambda: served.get("/api/history")["runs"][0]["outcome"] == "succeeded", within_seconds=30)

        structural = compose(images, "web:2") + "    environment: {A: b}\n"
        cluster.commit({"compose.yml": structural}, "three")
        pending = served.check()
        assert pending is not None
        assert pending["gate"]["answer"] == "wait", "nobody reviewed this"


def test_a_webhook_makes_it_look_and_a_runner_keeps_it_from_acting(world: World, images: Images) -> None:
    cluster = deployed(world, images, QUICK)  # driver: runner
    before = cluster.running_hash()
    with serving(cluster, cluster.directory.parent / "state", {"AUTO_APPROVE": "true"}) as served:
        eventually(served.quiet, within_seconds=30)
        assert served.get("/api/plan")["pending"] is None
        cluster.commit({"compose.yml": compose(images, "web:2")}, "two")
        push = {"ref": "refs/heads/main", "repository": {"full_name": "a/b"}}
        assert webhook(served, push, "11111111-1111").status_code == 202
        eventually(lambda: served.get("/api/plan")["pending"], within_seconds=30)
        assert served.get("/api/plan")["pending"]["gate"]["answer"] == "never"
        assert webhook(served, push, "22222222-2222").status_code == 409, "the same body under another id"
        eventually(served.quiet, within_seconds=30)
        assert cluster.running_hash() == before


def test_a_killed_service_loses_no_run(cluster: Cluster, images: Images, state: Path) -> None:
    """Killed while a deployment runs: that goes on, and the next service knows how it ended."""
    cluster.commit({"compose.yml": compose(images, "web:2")}, "two")
    with serving(cluster, state) as first:
        eventually(first.quiet, within_seconds=30)
        pending = first.get("/api/plan")["pending"]
        wish = {"fingerprint": pending["plan_fingerprint"], "approved_by": "Ada"}
        location = first.post("/api/apply", wish).headers["Location"]
        eventually(lambda: children(state), within_seconds=30)
        first.stop(signal.SIGKILL)
        with serving(cluster, state) as second:
            run = second.follow(location)
            assert run["outcome"] == "succeeded", run
            eventually(
                lambda: second.quiet() and second.get("/api/plan")["pending"] is None, within_seconds=30
            )


def test_a_killed_deployment_is_settled(cluster: Cluster, images: Images, state: Path) -> None:
    """Service and deployment die at once, as when the host does: the next service puts things right first."""
    slow = compose(images, "web:2")
    cluster.commit({"compose.yml": slow, ".github/dual-update.yml": DRIVEN.replace("0.5", "8")}, "two")
    before = cluster.container("web").image_id
    with serving(cluster, state) as first:
        eventually(first.quiet, within_seconds=30)
        pending = first.get("/api/plan")["pending"]
        wish = {"fingerprint": pending["plan_fingerprint"], "approved_by": "Ada"}
        location = first.post("/api/apply", wish).headers["Location"]
        eventually(lambda: runs_new(cluster, before), within_seconds=30)
        first.stop(signal.SIGKILL)
        for process in children(state):
            os.kill(process, signal.SIGKILL)
        with serving(cluster, state) as second:
            eventually(second.quiet, within_seconds=60)
            run = second.get(location)
            assert (run["state"], run["outcome"]) == ("ended", "rolled_back")
            assert cluster.container("web").image_id == before
            eventually(lambda: second.get("/api/status")["unfinished_run"] is None, within_seconds=30)


def test_callers_are_answered_while_a_deployment_runs(cluster: Cluster, images: Images, state: Path) -> None:
    cluster.commit({"compose.yml": compose(images, "web:2")}, "two")
    with serving(cluster, state) as served:
        eventually(served.quiet, within_seconds=30)
        pending = served.get("/api/plan")["pending"]
        wish = {"fingerprint": pending["plan_fingerprint"], "approved_by": "Ada"}
        location = served.post("/api/apply", wish).headers["Location"]
        slowest = 0.0
        ended = threading.Event()
        while not ended.is_set():
            for path in ("/api/status", "/api/history", "/api/health", location):
                answer = served.http.get(path)
                assert answer.status_code == 200
                slowest = max(slowest, answer.elapsed.total_seconds())
            if served.get(location)["state"] == "ended":
                ended.set()
        assert slowest < 2.0
        other = served.post("/api/rollback", {"run": "no-such-run"})
        assert other.status_code == 404


def test_it_says_what_is_wrong_before_it_listens(cluster: Cluster) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        second = cluster.dual_update("serve", "--port", str(taken.getsockname()[1]))
    assert second.returncode == 2
    assert "cannot be listened on: Address already in use" in second.stderr
    open_to_all = cluster.dual_update("serve", "--host", "0.0.0.0", "--port", "1")
    assert open_to_all.returncode == 2
    assert "API_TOKEN" in open_to_all.stderr
    assert TOKEN not in open_to_all.stderr
