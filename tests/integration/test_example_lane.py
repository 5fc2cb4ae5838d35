"""The examples of the image lane, each run as it lies in the repository, with images from here."""

import json
import threading
import time
from pathlib import Path
from typing import Any

from tests.integration.world import Cluster, Images, World
from tests.standins.watchtower import WatchtowerStandIn

EXAMPLES = Path(__file__).parents[2] / "examples" / "image-lane"
QUICK = (("settle_seconds: 20", "settle_seconds: 0.5"), ("deadline_seconds: 120", "deadline_seconds: 15"))


def example(world: World, name: str, *changes: tuple[str, str], **images: str) -> Cluster:
    """The folder with some words replaced: what is tested must be there to be replaced."""
    folder = EXAMPLES / name
    texts = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    for old, new in (*QUICK, *changes):
        assert any(old in text for text in texts.values()), old
        texts = {path: text.replace(old, new) for path, text in texts.items()}
    env = "".join(f"{variable}_IMAGE={ref}\n" for variable, ref in images.items())
    cluster = world.repo({**texts, ".env": env})
    if name == "start-first":
        (cluster.directory / "proxy").chmod(0o755)
        cluster.commit(message="executable")
    assert apply(cluster)["outcome"] == "succeeded"
    return cluster


def apply(cluster: Cluster) -> dict[str, Any]:
    done = cluster.dual_update("apply", "--auto", "--format", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def ops(report: dict[str, Any]) -> list[str]:
    return [f"{one['op']} {one['target']}" for one in report["steps"]]


def test_poke(world: World, images: Images) -> None:
    web = images.push("web:stable", "one").ref
    token = world.folder / "watchtower-token"
    token.write_text("stand-in-token\n")
    with WatchtowerStandIn(world.engine, stop_seconds=2) as watchtower:
        cluster = example(
            world,
            "poke",
            ("127.0.0.1:8089:8080", f"127.0.0.1:{world.free_port()}:8080"),
            ("http://127.0.0.1:8089", watchtower.url),
            ("/etc/dual-update/watchtower-token", str(token)),
            WEB=web,
            DB=images.push("db:1").ref,
            WATCHTOWER=images.push("watchtower:1").ref,
        )
        others = [(c.id, c.started_at) for c in cluster.containers() if c.service != "web"]
        new = images.push("web:stable", "two")
        report = apply(cluster)
    assert "poke web" in ops(report)
    assert cluster.container("web").image_id == new.id
    assert [(c.id, c.started_at) for c in cluster.containers() if c.service != "web"] == others


def test_roll(world: World, images: Images) -> None:
    first = {"WEB": images.push("web:1", "one").ref, "DB": images.push("db:1").ref}
    cluster = example(world, "roll", **first)
    db = cluster.container("db")
    new = images.push("web:2", "two")
    text = (cluster.directory / ".env").read_text()
    cluster.commit({".env": text.replace("web:1", "web:2")})
    assert "roll web" in ops(apply(cluster))
    assert cluster.container("web").image_id == new.id
    assert cluster.container("db") == db


def test_start_first(world: World, images: Images) -> None:
    port = world.free_port()
    images.push("web:1", "one")
    cluster = example(
        world,
        "start-first",
        ("127.0.0.1:8088:80", f"127.0.0.1:{port}:80"),
        ("http://127.0.0.1:8088/", f"http://127.0.0.1:{port}/"),
        ("delay: 1s", "delay: 0s"),
        WEB=images.ref("web:1"),
        PROXY=images.push("proxy:1", has_healthcheck=False).ref,
    )
    images.push("web:2", "two")
    text = (cluster.directory / ".env").read_text()
    cluster.commit({".env": text.replace("web:1", "web:2")})
    answers: list[tuple[int, str]] = []
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.is_set():
            answer = world.http_get(port)
            answers.append((answer.status, answer.body))
            time.sleep(0.05)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        report = apply(cluster)
    finally:
        is_over.set()
        asking.join()
    assert "beside web" in ops(report)
    assert [one for one in answers if one[0] != 200] == []
    assert {body for _, body in answers} == {"one", "two"}
