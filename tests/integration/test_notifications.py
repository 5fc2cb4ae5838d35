"""The command line tells of its runs; whoever listens, late, never or not at all, changes nothing in them."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dual_update.adapters.store import SqliteStore
from tests.adapters.test_notify import Receiver
from tests.integration.world import Cluster, World

pytestmark = pytest.mark.engine

FAST = "health: {settle_seconds: 1, deadline_seconds: 8}\n"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    yield one
    one.drips.clear()
    one.server.shutdown()
    one.server.server_close()


def compose(reference: str) -> str:
    return f"services:\n  web:\n    image: {reference}\n"


@pytest.fixture
def cluster(world: World) -> Cluster:
    world.images.push("web:1", "one")
    return world.repo({"compose.yml": compose(world.images.ref("web:1")), ".github/dual-update.yml": FAST})


def apply(cluster: Cluster) -> tuple[int, dict, str]:
    done = cluster.dual_update("apply", "--auto", "--format", "json")
    return done.returncode, json.loads(done.stdout), done.stderr


def test_good_and_bad_ends_are_told(
    world: World, cluster: Cluster, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "webhook"
    file.write_text(f"{receiver.url}/hooks/veryverysecret\n")
    monkeypatch.setenv("WEBHOOK_URL_FILE", str(file))
    monkeypatch.setenv("GITHUB_REPOSITORY", "acme/shop")
    code, report, _ = apply(cluster)
    assert (code, report["outcome"]) == (0, "succeeded")
    ((_, first),) = receiver.got
    assert first["title"] == f"{report['cluster']}: updated"
    assert f"https://github.com/acme/shop/commit/{report['to']}" in first["message"]

    assert apply(cluster)[1]["outcome"] == "unchanged"
    assert len(receiver.got) == 1, "nothing to do is no news"

    world.images.push("web:2", "two", flavour="crash")
    cluster.commit({"compose.yml": compose(world.images.ref("web:2"))})
    code, report, _ = apply(cluster)
    assert (code, report["outcome"]) == (1, "rolled_back")
    _, second = receiver.got[1]
    assert second["type"] == "failure"
    assert "taken back" in second["title"]
    assert report["reason"].split()[0] in second["message"]
    assert report["run"] in second["message"]


def test_a_deaf_a_slow_and_a_wrong_address_change_nothing(
    world: World, cluster: Cluster, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        deaf = f"http://127.0.0.1:{unused.getsockname()[1]}/veryverysecret"
    monkeypatch.setenv("WEBHOOK_URL", f"{deaf} {receiver.url}/slow-veryverysecret")
    receiver.drips.set()
    code, report, words = apply(cluster)
    assert (code, report["outcome"]) == (0, "succeeded")
    assert "secret" not in words
    assert "Traceback" not in words
    with SqliteStore(os.environ["DUAL_UPDATE_STATE_DIR"]) as store:
        assert store.outbox.state().waiting == 2
    monkeypatch.setenv("WEBHOOK_URL", "nonsense-veryverysecret")
    world.images.push("web:2", "two")
    cluster.commit({"compose.yml": compose(world.images.ref("web:2"))})
    code, report, words = apply(cluster)
    assert (code, report["outcome"]) == (0, "succeeded")
    assert "nobody is told: WEBHOOK_URL: address 1" in words
    assert "secret" not in words


def test_an_impatient_person_does_not_change_the_end_of_a_run_by_leaving_its_message(
    cluster: Cluster, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal
    import subprocess
    import sys

    monkeypatch.setenv("WEBHOOK_URL", f"{receiver.url}/slow")
    receiver.drips.set()
    child = subprocess.Popen(
        [sys.executable, "-m", "dual_update", "apply", "--auto", "--format", "json"],
        cwd=cluster.directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    end = time.monotonic() + 100
    while not receiver.got:
        assert time.monotonic() < end, "no message"
        threading.Event().wait(0.05)
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=60)
    assert (child.returncode, json.loads(out)["outcome"]) == (0, "succeeded")
