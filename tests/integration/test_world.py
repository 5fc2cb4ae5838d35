"""What the other stories stand on: images do what their names say, and a world leaves nothing behind."""

import time

import pytest

from tests.integration.world import Images, World, eventually


def compose(**services: str) -> dict[str, str]:
    return {"compose.yaml": "services:\n" + "".join(f"  {name}: {body}\n" for name, body in services.items())}


def test_a_good_image_answers_its_body_on_every_path(world: World, images: Images) -> None:
    image = images.push("app:1", body="one")
    port = world.free_port()
    cluster = world.repo(compose(web=f'{{image: "{image.ref}", ports: ["{port}:80"]}}'))
    cluster.up()

    for path in ("/", "/health", "/api/tags"):
        assert world.http_get(port, path).body == "one"
    web = cluster.container("web")
    assert (web.image_id, web.image, web.state, web.health) == (image.id, image.ref, "running", "healthy")
    assert web.config_hash
    assert web.networks == (f"{cluster.project}_default",)


def test_the_environment_and_files_of_a_container_can_be_asked_over_http(
    world: World, images: Images
) -> None:
    image = images.push("app:1", body="one", answers={"/teapot": (418, "short")})
    port = world.free_port()
    settings = f'image: "{image.ref}", ports: ["{port}:8082"]'
    environment = 'environment: {PORTS: "8082 9000", BODY: other, NAME: value}'
    cluster = world.repo(
        {
            **compose(web=f"{{{settings}, {environment}, volumes: ['./site:/site:ro']}}"),
            "site/page": "hello\n",
        }
    )
    cluster.up()

    assert world.http_get(port).body == "other"
    assert world.http_get(port, "/env/NAME").body == "value"
    assert world.http_get(port, "/file/site/page").body == "hello"
    assert world.http_get(port, "/file/nothing").status == 404
    assert (world.http_get(port, "/teapot").status, world.http_get(port, "/teapot").body) == (418, "short")


def test_a_good_image_leaves_at_once_when_told_to(world: World, images: Images) -> None:
    cluster = world.repo(compose(web=f'{{image: "{images.push("app:1").ref}"}}'))
    cluster.up()
    started = time.monotonic()
    cluster.compose("stop")
    assert time.monotonic() - started < 3
    assert cluster.container("web").exit_code == 0


def test_the_same_arguments_give_the_same_image_and_another_body_another(images: Images) -> None:
    first, again, other = (
        images.push("app:1", "one"),
        images.push("app:2", "one"),
        images.push("app:1", "two"),
    )
    assert (first.id, first.digest) == (again.id, again.digest)
    assert other.id != first.id
    assert images.digest("app:1") == other.digest
    assert images.digest("app:2") == first.digest


def test_a_withdrawn_image_is_gone_from_the_registry(images: Images) -> None:
    image = images.push("app:1")
    images.withdraw(image)
    assert images.digest("app:1") is None


def test_a_tag_that_moves_is_seen_by_a_pull_and_not_before(world: World, images: Images) -> None:
    first = images.push("app:1", "one")
    cluster = world.repo(compose(web=f'{{image: "{first.ref}"}}'))
    cluster.up()
    second = images.push("app:1", "two")
    cluster.up()
    assert cluster.container("web").image_id == first.id
    cluster.compose("pull", "--quiet")
    cluster.up()
    assert cluster.container("web").image_id == second.id


def test_a_crash_crashes(world: World, images: Images) -> None:
    cluster = world.repo(compose(web=f'{{image: "{images.push("app:1", flavour="crash").ref}"}}'))
    with pytest.raises(AssertionError, match="exited"):
        cluster.up()
    assert (cluster.container("web").state, cluster.container("web").exit_code) == ("exited", 1)
    assert "broken on purpose" in cluster.logs("web")


def test_a_late_crash_answers_first(world: World, images: Images) -> None:
    image, port = images.push("app:1", "one", flavour="crash_after", seconds=2), world.free_port()
    cluster = world.repo(compose(web=f'{{image: "{image.ref}", ports: ["{port}:80"]}}'))
    cluster.up()
    assert world.http_get(port, within_seconds=2).body == "one"
    eventually(lambda: cluster.container("web").state == "exited", within_seconds=10)
    assert cluster.container("web").exit_code == 1


def test_an_unhealthy_image_runs_and_answers_and_is_unhealthy(world: World, images: Images) -> None:
    image, port = images.push("app:1", "one", flavour="unhealthy"), world.free_port()
    cluster = world.repo(compose(web=f'{{image: "{image.ref}", ports: ["{port}:80"]}}'))
    with pytest.raises(AssertionError, match="unhealthy"):
        cluster.up()
    assert (cluster.container("web").state, cluster.container("web").health) == ("running", "unhealthy")
    assert world.http_get(port).body == "one"


def test_a_slow_image_becomes_healthy_when_its_time_has_come(world: World, images: Images) -> None:
    image, port = images.push("app:1", "one", flavour="slow", seconds=2), world.free_port()
    cluster = world.repo(compose(web=f'{{image: "{image.ref}", ports: ["{port}:80"]}}'))
    cluster.compose("up", "--detach", "--quiet-pull")
    assert cluster.container("web").health == "starting"
    assert world.http_get(port).status == 0
    assert world.http_get(port, within_seconds=10).body == "one"
    eventually(lambda: cluster.container("web").health == "healthy")


def test_an_image_without_a_route_runs_and_answers_500_on_health(world: World, images: Images) -> None:
    image, port = images.push("app:1", "one", flavour="no_route"), world.free_port()
    cluster = world.repo(compose(web=f'{{image: "{image.ref}", ports: ["{port}:80"]}}'))
    cluster.up()
    assert world.http_get(port, within_seconds=5).body == "one"
    assert world.http_get(port, "/health").status == 500
    assert cluster.container("web").health is None


def test_a_volume_keeps_its_marker_through_a_new_container(world: World, images: Images) -> None:
    image, port = images.push("app:1", flavour="volume"), world.free_port()
    cluster = world.repo(compose(web=f'{{image: "{image.ref}", ports: ["{port}:80"]}}'))
    cluster.up()
    marker = world.http_get(port, "/file/data/marker").body
    before = cluster.container("web")
    cluster.up("--force-recreate")
    assert cluster.container("web").id != before.id
    assert cluster.container("web").mounts == before.mounts
    assert world.http_get(port, "/file/data/marker").body == marker != ""


def test_a_build_context_builds(world: World, images: Images) -> None:
    port = world.free_port()
    files = {**compose(web=f'{{build: ./web, ports: ["{port}:80"]}}'), **images.context("built", "web")}
    cluster = world.repo(files)
    cluster.up("--build")
    assert world.http_get(port).body == "built"


def test_the_running_hash_moves_only_when_something_was_touched(world: World, images: Images) -> None:
    cluster = world.repo(compose(web=f'{{image: "{images.push("app:1").ref}"}}'))
    cluster.up()
    before = cluster.running_hash()
    cluster.up()
    assert cluster.running_hash() == before
    cluster.compose("restart", "--timeout", "1")
    assert cluster.running_hash() != before


def test_a_commit_is_a_commit(world: World) -> None:
    cluster = world.repo({"a/b": "1", "c": "2"})
    first = cluster.head
    second = cluster.commit({"a/b": "3", "c": None}, "why")
    assert cluster.git("log", "--format=%H %s") == f"{second} why\n{first} start"
    assert cluster.git("show", "--name-status", "--format=").split() == ["M", "a/b", "D", "c"]
    assert cluster.git("status", "--porcelain") == ""


def test_teardown_leaves_nothing(world: World, images: Images) -> None:
    service = f'{{image: "{images.push("app:1", flavour="volume").ref}", volumes: ["named:/named"]}}'
    cluster = world.repo({"compose.yaml": f"services:\n  web: {service}\nvolumes:\n  named:\n"})
    cluster.up()
    cluster.up("--force-recreate")  # from here on a removed container leaves its anonymous volume behind
    cluster.compose("--project-name", f"{cluster.project}-renamed", "up", "--detach")
    before = world.broom.leftovers()
    assert (len(before.containers), len(before.networks), len(before.volumes)) == (2, 2, 4)

    world.teardown()

    assert not world.broom.leftovers()
    assert not {v.name for v in world.engine.volumes.list()} & set(before.volumes)
