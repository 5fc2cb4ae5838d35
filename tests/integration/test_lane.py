"""The image lane: poked where a poke is faithful, rolled else, start-first and batch by batch where asked."""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.integration.test_apply import apply, seen
from tests.integration.world import Cluster, Images, World, eventually
from tests.standins.watchtower import WatchtowerStandIn

TOKEN = "stand-in-token"
WATCHED = "    labels: {com.centurylinklabs.watchtower.enable: 'true'}\n"


def config(url: str = "", mode: str = "dual") -> str:
    watchtower = f"watchtower: {{url: '{url}', token_file: '%s'}}\n" if url else ""
    return f"mode: {mode}\nhealth: {{settle_seconds: 0.5, deadline_seconds: 12}}\n{watchtower}"


def two(images: Images, web: str = "web:1", extra: str = "", db_extra: str = "") -> str:
    return (
        f"services:\n  web:\n    image: {images.ref(web)}\n    stop_grace_period: 2s\n{WATCHED}{extra}"
        f"  db:\n    image: {images.ref('db:1')}\n{db_extra}"
    )


def deployed(world: World, images: Images, text: str, settings: str) -> Cluster:
    images.push("web:1", "one")
    images.push("db:1", "db")
    token = world.folder / "token"
    token.write_text(TOKEN)
    files = {"compose.yml": text, ".github/dual-update.yml": settings.replace("%s", str(token))}
    cluster = world.repo(files)
    assert apply(cluster)["outcome"] == "succeeded"
    return cluster


def ops(report: dict) -> list[str]:
    return [f"{one['op']} {one['target']}" for one in report["steps"]]


def cause(report: dict, op: str) -> str:
    return next(one["cause"] for one in report["steps"] if one["op"] == op)


def pokes(watchtower: WatchtowerStandIn) -> int:
    return sum(one.path == "/v1/update" for one in watchtower.requests)


def body(cluster: Cluster, service: str = "web") -> str:
    return cluster.compose("exec", "-T", service, "wget", "-q", "-O", "-", "http://127.0.0.1/").strip()


def compose_would_touch(cluster: Cluster) -> set[str]:
    """Services that a plain `up -d` would do something to."""
    done = subprocess.run(
        ["docker", "compose", "--dry-run", "--ansi", "never", "--progress", "plain", "up", "-d"],
        cwd=cluster.directory, capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = [one for one in (done.stdout + done.stderr).splitlines() if "Container" in one]
    touched = [one for one in lines if not one.rstrip().endswith(("Running", "Waiting", "Healthy"))]
    return {c.service for c in cluster.containers() for line in touched if f" {c.name} " in f"{line} "}


@pytest.fixture
def watchtower(world: World) -> Iterator[WatchtowerStandIn]:
    with WatchtowerStandIn(world.engine, token=TOKEN, stop_seconds=2) as one:
        yield one


def test_new_content_under_the_same_tag_is_poked(
    world: World, images: Images, watchtower: WatchtowerStandIn
) -> None:
    cluster = deployed(world, images, two(images), config(watchtower.url))
    assert apply(cluster)["outcome"] == "unchanged"
    others, new = seen(cluster, "web"), images.push("web:1", "two")
    report = apply(cluster)
    assert (report["outcome"], report["update_type"]) == ("succeeded", "image_only")
    assert report["services"]["web"]["action"] == "poke"
    assert report["services"]["web"]["verified"] is True
    assert "poke web" in ops(report)
    assert "Poked." in cause(report, "poke")
    assert cluster.container("web").image_id == new.id
    assert body(cluster) == "two"
    assert seen(cluster, "web") == others
    assert pokes(watchtower) == 1
    assert compose_would_touch(cluster) <= {"web"}
    assert apply(cluster)["outcome"] == "unchanged"


@pytest.mark.parametrize("fault", ["lie", "stop", "create", "zero"])
def test_what_watchtower_left_wrong_is_rolled(
    world: World, images: Images, watchtower: WatchtowerStandIn, fault: str
) -> None:
    cluster = deployed(world, images, two(images), config(watchtower.url))
    others, new = seen(cluster, "web"), images.push("web:1", "two")
    watchtower.fault = fault  # type: ignore[assignment]
    report = apply(cluster)
    assert report["outcome"] == "succeeded"
    assert "Repaired by rolling." in cause(report, "poke")
    assert cluster.container("web").image_id == new.id
    assert seen(cluster, "web") == others
    assert compose_would_touch(cluster) == set()


def test_what_a_poke_would_lose_is_rolled(
    world: World, images: Images, watchtower: WatchtowerStandIn
) -> None:
    extra = "    configs: [{source: hello, target: /hello}]\n"
    text = two(images, extra=extra) + "configs: {hello: {content: 'good day'}}\n"
    cluster = deployed(world, images, text, config(watchtower.url))
    images.push("web:1", "two")
    report = apply(cluster)
    assert report["outcome"] == "succeeded"
    assert "config `hello`" in cause(report, "roll")
    assert pokes(watchtower) == 0
    assert cluster.compose("exec", "-T", "web", "cat", "/hello") == "good day"
    assert compose_would_touch(cluster) == set()


def test_broken_content_under_the_same_tag_is_taken_back(
    world: World, images: Images, watchtower: WatchtowerStandIn
) -> None:
    monitored = two(images, extra="    deploy: {update_config: {monitor: 6s}}\n")
    cluster = deployed(world, images, monitored, config(watchtower.url))
    old, others = cluster.container("web").image_id, seen(cluster, "web")
    images.push("web:1", "bad", flavour="crash_after", seconds=3)
    report = apply(cluster, code=1)
    assert report["outcome"] == "rolled_back"
    assert report["services"]["web"]["verified"] is False
    assert cluster.container("web").image_id == old
    assert seen(cluster, "web") == others
    apply_again = cluster.dual_update("apply", "--auto")
    assert apply_again.returncode == 5  # the same content is not tried twice
    images.push("web:1", "three")
    assert apply(cluster)["outcome"] == "succeeded"
    assert body(cluster) == "three"


def test_a_silent_registry_is_a_warning(world: World, images: Images) -> None:
    cluster = deployed(world, images, two(images), config())
    before = cluster.running_hash()
    world.registry.stop()
    try:
        planned = cluster.dual_update("plan")
        assert planned.returncode == 0
        assert "is not known" in planned.stdout
        assert apply(cluster)["outcome"] == "unchanged"
    finally:
        world.registry.start()
    assert cluster.running_hash() == before


def test_modes(world: World, images: Images, watchtower: WatchtowerStandIn) -> None:
    cluster = deployed(world, images, two(images), config(watchtower.url))
    settings = (cluster.directory / ".github/dual-update.yml").read_text()
    cluster.commit({".github/dual-update.yml": settings.replace("mode: dual", "mode: revamp_only")})
    images.push("web:1", "two")
    report = apply(cluster)
    assert "revamp_only" in cause(report, "roll")
    assert pokes(watchtower) == 0
    cluster.commit(
        {
            ".github/dual-update.yml": settings.replace("mode: dual", "mode: watchtower_only"),
            "compose.yml": two(images, extra="    environment: {A: b}\n"),
        }
    )
    before = cluster.running_hash()
    refused = cluster.dual_update("apply", "--auto")
    assert refused.returncode == 5
    assert "watchtower_only" in refused.stderr
    assert cluster.running_hash() == before


# --- replicas and start-first

START_FIRST = "    deploy: {replicas: 2, update_config: {order: start-first, parallelism: 1, delay: 0s}}\n"


@contextmanager
def running_counts(cluster: Cluster, service: str) -> Iterator[list[int]]:
    """How many containers of a service run, asked all the time from the engine."""
    counts: list[int] = []
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.is_set():
            counts.append(sum(c.service == service and c.state == "running" for c in cluster.containers()))
            time.sleep(0.02)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield counts
    finally:
        is_over.set()
        thread.join()


def test_start_first_never_has_fewer(world: World, images: Images) -> None:
    cluster = deployed(world, images, two(images, extra=START_FIRST), config())
    others, new = seen(cluster, "web"), images.push("web:2", "two")
    cluster.commit({"compose.yml": two(images, "web:2", START_FIRST)})
    with running_counts(cluster, "web") as counts:
        report = apply(cluster)
    assert report["outcome"] == "succeeded"
    assert "beside web" in ops(report)
    assert min(counts) == 2
    assert max(counts) == 3
    web = [c for c in cluster.containers() if c.service == "web"]
    assert {c.image_id for c in web} == {new.id}
    numbers = [c.labels["com.docker.compose.container-number"] for c in web]
    assert [c.name for c in web] == [f"{cluster.project}-web-{number}" for number in numbers]
    assert compose_would_touch(cluster) == set()
    assert seen(cluster, "web") == others


@pytest.mark.parametrize("flavour", ["crash", "unhealthy"])
def test_start_first_with_a_broken_image_never_stops_the_old(
    world: World, images: Images, flavour: str
) -> None:
    cluster = deployed(world, images, two(images, extra=START_FIRST), config())
    before = {(c.id, c.started_at) for c in cluster.containers()}
    images.push("web:2", "bad", flavour=flavour)  # type: ignore[arg-type]
    cluster.commit({"compose.yml": two(images, "web:2", START_FIRST)})
    report = apply(cluster, code=1)
    assert report["outcome"] == "rolled_back"
    assert {(c.id, c.started_at) for c in cluster.containers()} == before


def test_replicas_go_one_after_another(world: World, images: Images) -> None:
    three = "    deploy: {replicas: 3, update_config: {parallelism: 2, delay: 500ms}}\n"
    debug = f"  debug: {{image: '{images.ref('db:1')}', profiles: [debug]}}\n"
    cluster = deployed(world, images, two(images, extra=three, db_extra=debug), config())
    cluster.compose("up", "--detach", "debug")  # by hand: nobody's business
    others, new = seen(cluster, "web"), images.push("web:2", "two")
    cluster.commit({"compose.yml": two(images, "web:2", three, debug)})
    with running_counts(cluster, "web") as counts:
        assert apply(cluster)["outcome"] == "succeeded"
    assert min(counts) >= 1
    assert max(counts) == 3
    assert seen(cluster, "web") == others
    assert {c.image_id for c in cluster.containers() if c.service == "web"} == {new.id}
    assert compose_would_touch(cluster) == set()


def test_a_broken_image_costs_one_replica_of_several(world: World, images: Images) -> None:
    three = "    deploy: {replicas: 3}\n"
    cluster = deployed(world, images, two(images, extra=three), config())
    before = {(c.id, c.started_at) for c in cluster.containers()}
    images.push("web:2", "bad", flavour="crash")
    cluster.commit({"compose.yml": two(images, "web:2", three)})
    assert apply(cluster, code=1)["outcome"] == "rolled_back"
    now = {(c.id, c.started_at) for c in cluster.containers()}
    assert len(now) == 4
    assert len(now & before) == 3
    assert compose_would_touch(cluster) == set()


def test_a_nameless_volume_forbids_two_at_once(world: World, images: Images) -> None:
    extra = f"{START_FIRST}    volumes: ['/nameless']\n".replace("replicas: 2", "replicas: 1")
    cluster = deployed(world, images, two(images, extra=extra), config())
    cluster.compose("exec", "-T", "web", "sh", "-c", "echo kept > /nameless/marker")
    images.push("web:2", "two")
    cluster.commit({"compose.yml": two(images, "web:2", extra)})
    planned = cluster.dual_update("plan").stdout
    assert "nameless volume" in planned
    assert "roll web" in ops(apply(cluster))
    eventually(lambda: cluster.compose("exec", "-T", "web", "cat", "/nameless/marker") == "kept")


# --- services that need each other


def test_a_service_that_cannot_find_another_is_not_well(world: World, images: Images) -> None:
    """The dependency listens on no declared port: healthy by itself, out of reach for who needs it."""
    needs = "    depends_on: [db]\n"
    cluster = deployed(world, images, two(images, extra=needs, db_extra="    expose: ['80']\n"), config())
    before = {c.service: c.image_id for c in cluster.containers()}
    images.push("web:2", "two")
    cluster.commit({"compose.yml": two(images, "web:2", needs, "    expose: ['81']\n")})
    report = json.loads(cluster.dual_update("apply", "--auto", "--format", "json").stdout)
    assert report["outcome"] == "rolled_back"
    assert "cannot connect to db:81" in report["reason"]
    assert {c.service: c.image_id for c in cluster.containers()} == before
