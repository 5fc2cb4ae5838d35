"""The overlay's allow-list holds all that updates need, and none of what they never do."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.world import Cluster, World, run
from tests.standins.socket_proxy import SocketProxy

pytestmark = pytest.mark.engine

FOLDER = Path(__file__).parents[2] / "orchestrator"
FAST = "health: {settle_seconds: 1, deadline_seconds: 8}\n"


def allowed() -> dict[str, str]:
    text = (FOLDER / "compose.socket-proxy.yml").read_text()
    return dict(re.findall(r"^ +SP_ALLOW_([A-Z]+): '(.*)'$", text, re.M))


@pytest.fixture
def proxy(tmp_path: Path, engine_host: str | None, monkeypatch: pytest.MonkeyPatch) -> Iterator[SocketProxy]:
    if engine_host and not engine_host.startswith("unix://"):
        pytest.skip("the engine has no socket here")
    one = SocketProxy(tmp_path / "docker.sock", (engine_host or "unix:///var/run/docker.sock")[7:], allowed())
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    yield one
    one.close()


def compose(world: World, web: str) -> str:
    return f"""
services:
  web:
    image: {world.images.ref(web)}
    volumes: ["store:/store", "/nameless", "./data:/data"]
    configs: [settings]
    healthcheck: {{test: ["CMD", "true"], interval: 1s}}
  built:
    build: {{context: ./code}}
    depends_on: [web]
    networks: [default, back]
volumes: {{store: {{}}}}
networks: {{back: {{}}}}
configs: {{settings: {{file: ./settings}}}}
"""


def apply(cluster: Cluster) -> dict:
    done = cluster.dual_update("apply", "--auto", "--format", "json")
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_updates_and_the_way_back_pass(world: World, proxy: SocketProxy) -> None:
    world.images.push("web:1", "one")
    cluster = world.repo(
        {
            "compose.yml": compose(world, "web:1"),
            ".github/dual-update.yml": FAST,
            "settings": "a",
            "data/x": "",
            "code/Dockerfile": f"FROM {world.images.ref('web:1')}\nCOPY file /file\n",
            "code/file": "1",
        }
    )
    assert apply(cluster)["outcome"] == "succeeded"
    world.images.push("web:2", "two")
    cluster.commit({"compose.yml": compose(world, "web:2"), "code/file": "2"})
    assert apply(cluster)["outcome"] == "succeeded"
    done = cluster.dual_update("rollback", "--auto", "--format", "json")
    report = json.loads(done.stdout)
    assert report["outcome"] == "succeeded", (report["reason"], proxy.refused)
    assert proxy.refused == []
    assert {one.split(" ")[0] for one in proxy.passed} >= {"GET", "POST", "DELETE"}


def test_what_no_update_does_is_refused(world: World, proxy: SocketProxy) -> None:
    for words in (
        ("volume", "rm", "du-no-such-volume"),
        ("volume", "prune", "--force"),
        ("system", "prune", "--force"),
        ("image", "prune", "--force"),
        ("plugin", "ls"),
        ("swarm", "init"),
        ("commit", "du-no-such-container"),
    ):
        with pytest.raises(AssertionError, match=r"(?i)forbidden|403|EOF|error"):
            run("docker", *words)
    assert len(proxy.refused) >= 7
    assert not [one for one in proxy.passed if one.startswith(("DELETE", "POST"))]
