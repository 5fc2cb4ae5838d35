"""What this project relies on in Watchtower, held against the stand-in and against the true one.

The true one is the image DUAL_UPDATE_WATCHTOWER_IMAGE. Where the engine neither has nor gets it, exactly the
tests marked `real_watchtower` are skipped; with DUAL_UPDATE_REQUIRE_WATCHTOWER=1 they fail.
It sees the containers of one test alone: by their enable label, and by a scope of that test's own.
"""

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache, partial

import docker
import docker.errors
import httpx
import pytest

from dual_update.adapters.watchtower import Watchtower
from dual_update.core.watchtower import PokeAnswer
from tests.integration.world import LABEL, SESSION, Cluster, Image, World, eventually, free_port
from tests.standins.watchtower import Fault, Version, WatchtowerStandIn

# Read here: no test sees the settings of whoever runs it.
IMAGE = os.environ.get("DUAL_UPDATE_WATCHTOWER_IMAGE", "nickfedor/watchtower:1.21.0")
IS_REQUIRED = os.environ.get("DUAL_UPDATE_REQUIRE_WATCHTOWER") == "1"
TOKEN = "contract-token"
POKE_SECONDS = 60.0


@dataclass(frozen=True)
class Tower:
    url: str
    scope: str

    @property
    def labels(self) -> str:
        return (
            "{com.centurylinklabs.watchtower.enable: 'true', "
            f"com.centurylinklabs.watchtower.scope: {self.scope}}}"
        )

    @property
    def client(self) -> Watchtower:
        return Watchtower(self.url, TOKEN, POKE_SECONDS)

    def poke(self, containers: list[str], images: list[str]) -> PokeAnswer:
        """As the client does. 1.7.1 cannot name images of a registry with a port, as the world's is; a
        second request names all that the registry has, for what is the same in every version."""
        answer = self.client.poke(containers, images)
        print(answer)  # shown when the test fails
        if not answer.has_report:
            address = images[0].partition(":")[0]
            headers = {"Authorization": f"Bearer {TOKEN}"}
            query = {"image": address}
            httpx.post(f"{self.url}/v1/update", params=query, headers=headers, timeout=60, trust_env=False)
        return answer


@contextmanager
def stand_in(world: World, version: Version) -> Iterator[Tower]:
    scope = f"s{secrets.token_hex(4)}"
    with WatchtowerStandIn(world.engine, version=version, token=TOKEN, scope=scope) as standin:
        yield Tower(standin.url, scope)


@cache
def why_no_image(engine: docker.DockerClient) -> str | None:
    with_it = f"no {IMAGE} on this engine"
    try:
        engine.api.inspect_image(IMAGE)
    except docker.errors.ImageNotFound:
        try:
            engine.api.pull(IMAGE)
        except (docker.errors.APIError, OSError) as error:
            return f"{with_it}, and it cannot be pulled: {str(error)[:200]}"
    return None


@contextmanager
def the_true_one(world: World) -> Iterator[Tower]:
    if reason := why_no_image(world.engine):
        if IS_REQUIRED:
            pytest.fail(f"{reason} (DUAL_UPDATE_REQUIRE_WATCHTOWER=1)", pytrace=False)
        pytest.skip(reason)
    api, scope, port = world.engine.api, f"s{secrets.token_hex(4)}", free_port()
    prefix = "com.centurylinklabs.watchtower"
    made = api.create_container(
        IMAGE,
        name=f"watchtower-{scope}",
        labels={LABEL: SESSION, prefix: "true", f"{prefix}.scope": scope, f"{prefix}.enable": "false"},
        environment={
            "WATCHTOWER_HTTP_API_UPDATE": "true",
            "WATCHTOWER_HTTP_API_ENDPOINTS": "update,config",
            "WATCHTOWER_HTTP_API_TOKEN": TOKEN,
            "WATCHTOWER_LABEL_ENABLE": "true",
            "WATCHTOWER_SCOPE": scope,
            "WATCHTOWER_NO_STARTUP_MESSAGE": "true",
            "DOCKER_API_VERSION": api.version()["ApiVersion"],
        },
        ports=[8080],
        volumes=["/var/run/docker.sock"],
        host_config=api.create_host_config(
            binds=["/var/run/docker.sock:/var/run/docker.sock"], port_bindings={8080: ("127.0.0.1", port)}
        ),
    )
    tower = Tower(f"http://127.0.0.1:{port}", scope)
    try:
        api.start(made["Id"])
        eventually(partial(answers, tower.url), within_seconds=30, what=f"{IMAGE} answers at {tower.url}")
        yield tower
        print(api.logs(made["Id"]).decode("utf-8", "replace"))  # shown when the test fails
    finally:
        api.remove_container(made["Id"], force=True, v=True)


def claims(answer: PokeAnswer, status: str) -> bool:
    """Is it said so? By versions without a report nothing ever is."""
    return answer.status == (status if answer.has_report else "unknown")


def answers(url: str) -> bool:
    try:
        httpx.get(url, timeout=5, trust_env=False)
    except httpx.TransportError:
        return False
    return True


Start = Callable[[World], AbstractContextManager[Tower]]
REAL = pytest.param(the_true_one, id="real", marks=pytest.mark.real_watchtower)


def like(*versions: Version) -> pytest.MarkDecorator:
    """Runs a test against stand-ins of these versions, and against the true one."""
    standins = [pytest.param(partial(stand_in, version=v), id=f"stand-in-{v}") for v in versions]
    return pytest.mark.parametrize("start", [*standins, REAL])


def names(cluster: Cluster, *services: str) -> list[str]:
    return [c.name for c in cluster.containers() if c.service in services]


def news(world: World, name: str) -> tuple[Image, Callable[[], Image]]:
    """An image, and what publishes another one under its tag."""
    return world.images.push(name, body="old"), partial(world.images.push, name, body="new")


@like("1.7.1", "1.12", "1.14.3", "1.20")
def test_what_moved_under_its_tag_is_replaced_and_all_else_stays(world: World, start: Start) -> None:
    app, publish_app = news(world, "app:1")
    off, publish_off = news(world, "off:1")
    watched, publish_watched = news(world, "watched:1")
    moved, pinned = world.images.push("moved:1"), world.images.push("pinned:1")
    port = world.free_port()
    with start(world) as tower:
        labels = tower.labels
        cluster = world.repo(
            {
                "compose.yml": f"""
services:
  app:
    image: {app.ref}
    labels: {labels}
    environment: {{WHO: ada}}
    ports: ["127.0.0.1:{port}:80"]
    networks: {{default: {{aliases: [door]}}, back: {{aliases: [yard]}}}}
    volumes: ["kept:/kept"]
  off: {{image: "{off.ref}", labels: {{com.centurylinklabs.watchtower.enable: "false"}}}}
  watched:
    image: {watched.ref}
    labels:
      com.centurylinklabs.watchtower.enable: "true"
      com.centurylinklabs.watchtower.monitor-only: "true"
      com.centurylinklabs.watchtower.scope: {tower.scope}
  moved: {{image: "{moved.ref}", labels: {labels}}}
  pinned: {{image: "{pinned.pinned}", labels: {labels}}}
networks: {{back: {{}}}}
volumes: {{kept: {{}}}}
"""
            }
        )
        cluster.up()
        before = {c.service: c for c in cluster.containers()}
        new = publish_app()
        publish_off()
        publish_watched()
        newer_tag = world.images.push("moved:2", body="new")
        world.images.push("pinned:1", body="new")
        answer = tower.poke(
            names(cluster, "app", "off", "watched", "moved", "pinned"),
            [app.ref, off.ref, watched.ref, newer_tag.ref, pinned.pinned],
        )
    after = {c.service: c for c in cluster.containers()}
    assert claims(answer, "done"), answer
    if answer.counts:
        counts_watched = answer.counts.restarted is None  # before 1.13, as 1.7.1 does in its metrics
        assert (answer.counts.updated, answer.counts.failed) == (2 if counts_watched else 1, 0), answer
    assert after["app"].image_id == new.id
    assert (after["app"].name, after["app"].state) == (before["app"].name, "running")
    assert after["app"].networks == before["app"].networks
    assert after["app"].mounts == before["app"].mounts
    assert aliases(world, after["app"].id) >= {"app", "door", "yard"}
    for label in ("config-hash", "image", "project", "service", "container-number"):
        name = f"com.docker.compose.{label}"
        assert after["app"].labels[name] == before["app"].labels[name], "copied, stale or not"
    assert world.http_get(port, within_seconds=10).body == "new"
    assert world.http_get(port, "/env/WHO").body == "ada"
    for service in ("off", "watched", "moved", "pinned"):
        assert (after[service].id, after[service].started_at) == (
            before[service].id,
            before[service].started_at,
        ), f"{service} was touched"


def aliases(world: World, container: str) -> set[str]:
    networks = world.engine.api.inspect_container(container)["NetworkSettings"]["Networks"]
    return {alias for network in networks.values() for alias in network["Aliases"] or ()}


@like("1.7.1", "1.20")
def test_what_compose_put_in_is_lost(world: World, start: Start) -> None:
    app = world.images.push("app:1", "old", "volume")
    tail = world.images.push("tail:1", ports=[81])
    port = world.free_port()
    with start(world) as tower:
        cluster = world.repo(
            {
                "settings.txt": "from a file",
                "compose.yml": f"""
services:
  app:
    image: {app.ref}
    labels: {tower.labels}
    environment: {{WHO: ada}}
    ports: ["127.0.0.1:{port}:80"]
    volumes: [/anonymous]
    configs: [{{source: inline, target: /inline}}, {{source: file, target: /from-file}}]
  tail: {{image: "{tail.ref}", labels: {tower.labels}, network_mode: "service:app"}}
configs:
  inline: {{content: written by compose}}
  file: {{file: settings.txt}}
""",
            }
        )
        cluster.up()
        assert world.http_get(port, "/file/inline", within_seconds=10).body == "written by compose"
        before, tail_before = cluster.container("app"), cluster.container("tail")
        compose = (cluster.directory / "compose.yml").read_text()
        cluster.write({"compose.yml": compose.replace("WHO: ada", "WHO: bob")})
        world.images.push("app:1", "new", "volume")
        answer = tower.poke(names(cluster, "app"), [app.ref])
    assert claims(answer, "done"), answer
    after, tail_after = cluster.container("app"), cluster.container("tail")
    assert after.id != before.id
    assert world.http_get(port, within_seconds=10).body == "new"
    assert world.http_get(port, "/file/inline").status == 404
    assert world.http_get(port, "/file/from-file").body == "from a file"
    assert world.http_get(port, "/env/WHO").body == "ada", "a compose file is never read"
    assert source(after, "/data") != source(before, "/data"), "an image's VOLUME is a new and empty one"
    assert source(after, "/anonymous") != source(before, "/anonymous")
    mode = world.engine.api.inspect_container(tail_after.id)["HostConfig"]["NetworkMode"]
    if answer.has_report:
        assert (tail_after.id, tail_after.started_at) == (tail_before.id, tail_before.started_at)
        assert mode == f"container:{before.id}", "it hangs on to a container that is gone"
    else:  # the wide request took it in, and it was made again because of the other
        assert tail_after.id != tail_before.id
        assert mode == f"container:{after.id}"


def source(container: object, destination: str) -> str:
    return next(m.source for m in container.mounts if m.destination == destination)  # type: ignore[attr-defined]


@like("1.7.1", "1.14.3", "1.20")
def test_container_names_narrow_from_1_20_on_and_replicas_stop_together(world: World, start: Start) -> None:
    app, publish = news(world, "app:1")
    with start(world) as tower:
        cluster = world.repo(
            {
                "compose.yml": f"""
services:
  app: {{image: "{app.ref}", labels: {tower.labels}, deploy: {{replicas: 2}}}}
  same: {{image: "{app.ref}", labels: {tower.labels}}}
"""
            }
        )
        cluster.up()
        same = cluster.container("same")
        knows_names = tower.client.policy().is_known
        publish()
        since = time.time()
        answer = tower.poke(names(cluster, "app"), [app.ref])
        until = time.time()
    assert claims(answer, "done"), answer
    if answer.counts:
        assert answer.counts.updated == (2 if knows_names else 3)
    assert (cluster.container("same").id == same.id) == knows_names, "older ones pass over container="
    happened = [
        event["Action"]
        for event in world.engine.api.events(
            since=since,
            until=until,
            decode=True,
            filters={"label": f"com.docker.compose.project={cluster.project}"},
        )
        if event["Action"] in ("destroy", "create")
    ]
    assert happened == sorted(happened, reverse=True), "everything is removed before anything is made"


@like("1.7.1", "1.14.3", "1.20")
def test_a_failed_pull_is_no_failure(world: World, start: Start) -> None:
    app, _ = news(world, "app:1")
    with start(world) as tower:
        cluster = world.repo(
            {"compose.yml": f"services: {{app: {{image: '{app.ref}', labels: {tower.labels}}}}}\n"}
        )
        cluster.up()
        before = cluster.running_hash()
        world.images.withdraw(app)
        unknown_image = tower.poke(names(cluster, "app"), [app.ref])
        world.registry.stop()
        try:
            no_registry = tower.poke(names(cluster, "app"), [app.ref])
        finally:
            world.registry.start()
        nobody = tower.poke(["no-such-container"], [f"{app.ref}-no-such-tag"])
    assert cluster.running_hash() == before
    for answer in (unknown_image, no_registry, nobody):
        assert claims(answer, "nothing"), answer
        if answer.counts:
            assert answer.counts.failed == 0, "Watchtower calls it skipped, or up to date"


@like("1.7.1", "1.20")
def test_a_broken_image_is_called_updated(world: World, start: Start) -> None:
    app, _ = news(world, "app:1")
    with start(world) as tower:
        cluster = world.repo(
            {"compose.yml": f"services: {{app: {{image: '{app.ref}', labels: {tower.labels}}}}}\n"}
        )
        cluster.up()
        broken = world.images.push("app:1", "broken", "crash")
        answer = tower.poke(names(cluster, "app"), [app.ref])
    assert claims(answer, "done"), answer
    eventually(lambda: cluster.container("app").state == "exited", what="the new container died")
    assert cluster.container("app").image_id == broken.id


@like("1.7.1", "1.20")
def test_a_wrong_token_is_refused(world: World, start: Start) -> None:
    with start(world) as tower:
        answer = Watchtower(tower.url, "another-token", POKE_SECONDS).poke(["a-name"], ["app:1"])
    assert answer.status == "failed"
    assert "token (401)" in answer.detail


@pytest.mark.parametrize(
    ("fault", "status", "left"),
    [("lie", "done", "old"), ("stop", "unknown", None), ("create", "failed", None)],
)
def test_the_stand_in_fails_as_it_is_told(world: World, fault: Fault, status: str, left: str | None) -> None:
    app, publish = news(world, "app:1")
    with WatchtowerStandIn(world.engine, token=TOKEN, scope=world.folder.name, fault=fault) as standin:
        tower = Tower(standin.url, standin.scope)
        cluster = world.repo(
            {"compose.yml": f"services: {{app: {{image: '{app.ref}', labels: {tower.labels}}}}}\n"}
        )
        cluster.up()
        publish()
        answer = tower.poke(names(cluster, "app"), [app.ref])
    assert answer.status == status, answer
    assert [c.image_id for c in cluster.containers()] == ([app.id] if left else [])
