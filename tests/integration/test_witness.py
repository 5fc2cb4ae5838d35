"""A failed update leaves evidence in its report, without a value of any environment variable."""

import json

from tests.integration.world import Cluster, Images, World

FAST = "health: {settle_seconds: 0.5, deadline_seconds: 10}\n"


def deployed(world: World, images: Images) -> Cluster:
    images.push("web:1")
    text = f"services:\n  web:\n    image: {images.ref('web:1')}\n"
    cluster = world.repo({"compose.yml": text, ".github/dual-update.yml": FAST})
    assert cluster.dual_update("apply", "--auto").returncode == 0
    return cluster


def failed(cluster: Cluster) -> dict:
    done = cluster.dual_update("apply", "--auto", "--format", "json")
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert report["outcome"] == "rolled_back"
    return report["evidence"]


def test_a_service_that_ends_leaves_its_log_without_its_environment(world: World, images: Images) -> None:
    cluster = deployed(world, images)
    cluster.commit(
        {
            "compose.yml": f"""
services:
  web:
    image: {images.ref("web:1")}
    environment: {{GREETING: marmalade}}
    command: ["sh", "-c", "echo greeting is $$GREETING; echo API_TOKEN=abcdefgh12345; exit 3"]
"""
        }
    )
    assert failed(cluster) == {
        "service": "web",
        "health": "",
        "log": "greeting is ***\nAPI_TOKEN=***",
    }


def test_a_service_that_is_unwell_leaves_the_words_of_its_health_check(world: World, images: Images) -> None:
    cluster = deployed(world, images)
    cluster.commit(
        {
            "compose.yml": f"""
services:
  web:
    image: {images.ref("web:1")}
    healthcheck:
      test: ["CMD", "sh", "-c", "echo the pantry is empty; exit 1"]
      interval: 0.3s
      retries: 1
"""
        }
    )
    seen = failed(cluster)
    assert (seen["service"], seen["health"]) == ("web", "the pantry is empty")
