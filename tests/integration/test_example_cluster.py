"""The example cluster: whichever of its four endpoints fails, the old version answers again."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.integration.world import Cluster, Images, World, http_get

EXAMPLE = Path(__file__).parents[2] / "examples" / "single-cluster"


@dataclass(frozen=True)
class Endpoint:
    service: str
    port: int
    path: str

    @property
    def variable(self) -> str:
        return f"{self.service.upper()}_IMAGE"


# As the documentation of the system gives them.
ENDPOINTS = (
    Endpoint("orchestrator", 8082, "/health"),
    Endpoint("neurosync", 5001, "/health"),
    Endpoint("agent", 8200, "/health"),
    Endpoint("ollama", 11434, "/api/tags"),
)


@pytest.fixture
def node(world: World, images: Images) -> Cluster:
    """The example as it lies in the repository, deployed: images from here, and patience made short."""
    versions = {
        e.variable: images.push(
            f"{e.service}:1", f"{e.service} 1", ports=(e.port,), has_healthcheck=False
        ).ref
        for e in ENDPOINTS
    }
    policy = (EXAMPLE / ".github" / "dual-update.yml").read_text()
    for slow, quick in (
        ("settle_seconds: 5", "settle_seconds: 0.5"),
        ("deadline_seconds: 120", "deadline_seconds: 4"),
    ):
        assert slow in policy
        policy = policy.replace(slow, quick)
    compose = (EXAMPLE / "compose.yml").read_text()
    assert "name: orchestrator-node\n" in compose
    cluster = world.repo(
        {
            # without a name of its own it is named after its directory, which the world cleans up
            "compose.yml": compose.replace("name: orchestrator-node\n", ""),
            ".github/dual-update.yml": policy,
            ".env": env(versions),
        }
    )
    assert apply(cluster)["outcome"] == "succeeded"
    return cluster


def env(versions: dict[str, str]) -> str:
    return "".join(f"{name}={image}\n" for name, image in versions.items())


def apply(cluster: Cluster, code: int = 0) -> dict[str, Any]:
    done = cluster.dual_update("apply", "--auto", "--format", "json")
    assert done.returncode == code, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def answers() -> dict[str, str]:
    return {e.service: http_get(e.port, e.path, within_seconds=5).body for e in ENDPOINTS}


def publish_fault(images: Images, endpoint: Endpoint, fault: str) -> str:
    """An image that starts and runs well for all that docker knows, but whose endpoint is broken."""
    how: dict[str, Any] = (
        {"answers": {endpoint.path: (500, "broken on purpose")}}
        if fault == "500"
        else {"files": {"app/answer": "#!/bin/sh\nexec sleep 600\n"}}
    )
    name = f"{endpoint.service}:{fault}"
    return images.push(name, ports=(endpoint.port,), has_healthcheck=False, **how).ref


def test_the_example_asks_the_documented_endpoints() -> None:
    policy = YAML(typ="safe", pure=True).load(EXAMPLE / ".github" / "dual-update.yml")
    compose = YAML(typ="safe", pure=True).load(EXAMPLE / "compose.yml")
    asked = {(check["service"], check["url"]) for check in policy["health"]["checks"]}
    assert asked == {(e.service, f"http://localhost:{e.port}{e.path}") for e in ENDPOINTS}
    assert set(compose["services"]) == {e.service for e in ENDPOINTS}
    for e in ENDPOINTS:
        assert compose["services"][e.service]["ports"] == [f"127.0.0.1:{e.port}:{e.port}"]


@pytest.mark.engine
@pytest.mark.parametrize("fault", ["500", "silent"])
def test_each_endpoint_that_fails_brings_the_old_version_back(
    node: Cluster, images: Images, fault: str
) -> None:
    well = {e.service: f"{e.service} 1" for e in ENDPOINTS}
    assert answers() == well
    deployed = node.head
    versions = dict(line.split("=", 1) for line in (node.directory / ".env").read_text().splitlines())
    for e in ENDPOINTS:
        before = {c.service: c for c in node.containers()}
        broken = publish_fault(images, e, fault)
        node.commit({".env": env({**versions, e.variable: broken})}, f"{e.service} breaks")

        report = apply(node, code=1)

        assert report["outcome"] == "rolled_back"
        assert report["update_type"] == "image_only"
        assert e.service in report["reason"]
        assert answers() == well
        assert node.head == deployed
        for service, container in before.items():
            now = node.container(service)
            assert now.image_id == container.image_id
            if service != e.service:
                assert (now.id, now.started_at) == (container.id, container.started_at)
