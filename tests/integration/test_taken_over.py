"""A cluster that someone else runs with plain compose (here pytest-docker) is taken over, not restarted."""

import json

from pytest_docker.plugin import get_docker_services

from tests.integration.world import Images, World

FAST = "health: {settle_seconds: 1, deadline_seconds: 15}\n"


def test_a_strangers_cluster_is_taken_over_while_it_runs(world: World, images: Images) -> None:
    images.push("web:1", "one")
    images.push("web:2", "two")
    text = f"services:\n  web:\n    image: {images.ref('web:1')}\n    ports: ['127.0.0.1::80']\n"
    cluster = world.repo({"compose.yml": text, ".github/dual-update.yml": FAST})
    files = [str(cluster.directory / "compose.yml")]
    with get_docker_services(
        "docker compose", files, cluster.project, ["up -d --wait"], ["stop"]
    ) as services:
        port = services.port_for("web", 80)
        services.wait_until_responsive(
            timeout=20, pause=0.2, check=lambda: world.http_get(port, "/").body.strip() == "one"
        )
        before = cluster.running_hash()
        report = json.loads(cluster.dual_update("apply", "--auto", "--format", "json").stdout)
        assert report["outcome"] == "unchanged"
        assert cluster.running_hash() == before

        cluster.commit({"compose.yml": text.replace("web:1", "web:2")}, "two")
        report = json.loads(cluster.dual_update("apply", "--auto", "--format", "json").stdout)
        assert (report["outcome"], report["update_type"]) == ("succeeded", "image_only")
