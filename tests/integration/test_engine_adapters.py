"""Engine and compose adapters on a real engine, and a model's hashes against real containers."""

import time
from pathlib import Path

import pytest

from dual_update.adapters.compose import ComposeRenderer
from dual_update.adapters.docker import DockerEngine
from dual_update.adapters.git import GitRepository
from dual_update.adapters.project import ComposeCli, ComposeWorkshop
from dual_update.core.errors import StepFailed, Timeout, WorldError
from dual_update.core.model import Rendered
from tests.integration.world import LABEL, PREFIX, SESSION, Cluster, World, eventually

FROM_SCRATCH = f"FROM scratch\nLABEL {LABEL}={SESSION}\n"


@pytest.fixture
def engine_adapter() -> DockerEngine:
    return DockerEngine()


def start(cluster: Cluster) -> None:
    """Whether it is well nobody waits for: most tests here have no need of it."""
    cluster.compose("up", "--detach", "--quiet-pull")


def render(cluster: Cluster, commit: str = "HEAD") -> Rendered:
    with GitRepository(cluster.directory) as repository:
        tree = repository.tree(repository.resolve([commit])[0])
        return ComposeRenderer().render(tree, ["compose.yaml"], directory="", name=cluster.directory.name)


def compose(cluster: Cluster) -> ComposeCli:
    return ComposeCli(cluster.directory, ["compose.yaml"], cluster.project)


# --- the engine


def test_what_runs_is_seen(world: World, engine_adapter: DockerEngine) -> None:
    image = world.images.push("app:1", "one", "volume", has_healthcheck=True)
    port = world.free_port()
    cluster = world.repo(
        {
            "compose.yaml": f"""
services:
  web:
    image: {image.ref}
    ports: ["{port}:80"]
    volumes: ["named:/named"]
    deploy: {{replicas: 1}}
  job:
    image: {image.ref}
    command: ["sh", "-c", "echo gone; exit 3"]
volumes:
  named: {{}}
"""
        }
    )
    start(cluster)
    cluster.compose("run", "--detach", "--no-deps", "web", "true")
    seen = engine_adapter.observe(cluster.project)
    assert seen.services == ("job", "web")
    assert len(seen.containers) == 3
    assert sum(one.is_oneoff for one in seen.containers) == 1
    (web,) = seen.of("web")
    real = next(one for one in cluster.containers() if one.id == web.id)
    assert (web.name, web.image_id, web.config_hash) == (real.name, image.id, real.config_hash)
    assert (web.image_ref, web.image_label, web.number) == (image.ref, image.id, 1)
    assert (web.working_dir, web.config_files) == (
        str(cluster.directory),
        str(cluster.directory / "compose.yaml"),
    )
    assert web.is_running
    assert web.has_healthcheck
    assert f"0.0.0.0:{port}/tcp" in web.host_ports
    assert engine_adapter.used_ports()[f"0.0.0.0:{port}/tcp"] == web.id
    assert web.named_volumes == (f"{cluster.project}_named",)
    assert list(web.anonymous_volumes) == ["/data"]
    assert web.networks == seen.networks == (f"{cluster.project}_default",)
    (job,) = seen.of("job")
    assert not job.has_healthcheck or job.health != "healthy"
    assert engine_adapter.log_tail(job.id) == "gone"
    assert engine_adapter.observe(f"{cluster.project}-none").is_empty
    assert engine_adapter.image_id(image.ref) == engine_adapter.image_id(image.id) == image.id
    assert engine_adapter.image_id(f"{image.ref}-none") is None
    assert engine_adapter.image_platform(image.id).startswith("linux/")
    assert engine_adapter.image_volumes(image.id) == ("/data",)
    assert engine_adapter.repo_digests(image.id) == (image.pinned,)
    assert engine_adapter.volumes() >= {*web.named_volumes, *web.anonymous_volumes.values()}


def test_one_call_names_engine_and_compose(engine_adapter: DockerEngine) -> None:
    info = engine_adapter.info()
    assert info.id == engine_adapter.info().id != ""
    assert info.architecture in {"amd64", "arm64"}
    assert info.compose_version.startswith(("2.", "5."))


def test_nameless_data_is_carried_to_the_next_container(world: World, engine_adapter: DockerEngine) -> None:
    """The container that held it is gone for good, as after a failed update; compose takes the bearer's."""
    image = world.images.push("app:1", "one", "volume")
    cluster = world.repo({"compose.yaml": f"services:\n  web:\n    image: {image.ref}\n"})
    start(cluster)
    (web,) = engine_adapter.observe(cluster.project).of("web")
    eventually(lambda: engine_adapter.read_file(web.id, "/data/marker"), what="the marker is written")
    marker = engine_adapter.read_file(web.id, "/data/marker")
    engine_adapter.stop(web.id)
    engine_adapter.remove(web.id)
    bearer = engine_adapter.carry(cluster.project, "web", 1, image.id, web.anonymous_volumes)
    (seen,) = engine_adapter.observe(cluster.project).of("web")
    assert (seen.id, seen.state, seen.anonymous_volumes) == (bearer, "created", web.anonymous_volumes)
    compose(cluster).up(["web"])
    (new,) = engine_adapter.observe(cluster.project).of("web")
    assert new.id != bearer
    assert new.name == web.name
    assert new.anonymous_volumes == web.anonymous_volumes
    assert engine_adapter.read_file(new.id, "/data/marker") == marker


def test_a_file_is_read_as_the_container_sees_it(world: World, engine_adapter: DockerEngine) -> None:
    """A mounted file that git replaced is another file; the container keeps the one it started with."""
    image = world.images.push("app:1", files={"etc/own": "own"})
    quiet = world.images.push("quiet:1", files={"bin/cat": "#!/nowhere\n"})
    cluster = world.repo(
        {
            "conf": "old",
            "compose.yaml": f"""
services:
  web: {{image: {image.ref}, volumes: ["./conf:/conf"]}}
  quiet: {{image: {quiet.ref}, volumes: ["./conf:/conf"]}}
""",
        }
    )
    start(cluster)
    cluster.write({"conf": None})
    cluster.write({"conf": "new"})
    seen = engine_adapter.observe(cluster.project)
    (web,), (quiet_one,) = seen.of("web"), seen.of("quiet")
    for container in (web, quiet_one):
        assert engine_adapter.read_file(container.id, "/conf") == b"old"
        assert engine_adapter.read_file(container.id, "/none") is None
    assert engine_adapter.read_file(web.id, "/etc/own") == b"own"
    assert engine_adapter.read_file(web.id, "/etc") is None
    engine_adapter.stop(web.id)
    assert engine_adapter.read_file(web.id, "/conf") == b"new"  # what it will see when it starts
    assert engine_adapter.read_file(web.id, "/etc") is None
    assert engine_adapter.read_file(web.id, "/none") is None
    binary = engine_adapter.read_file(web.id, "/bin/sh")
    assert binary is not None
    assert binary[:4] == b"\x7fELF"  # by way of a link
    assert engine_adapter.read_file("0" * 64, "/conf") is None


def test_commands_inside(world: World, engine_adapter: DockerEngine) -> None:
    image = world.images.push("app:1")
    cluster = world.repo({"compose.yaml": f"services:\n  web:\n    image: {image.ref}\n"})
    start(cluster)
    (web,) = engine_adapter.observe(cluster.project).of("web")
    assert engine_adapter.execute(web.id, ["sh", "-c", "echo said; echo more >&2; exit 3"], 10) == (
        3,
        "said\nmore\n",
    )
    assert engine_adapter.execute(web.id, ["nosuchprogram"], 10)[0] in {126, 127}
    began = time.monotonic()
    with pytest.raises(Timeout, match="did not end within"):
        engine_adapter.execute(web.id, ["sleep", "5"], 0.3)
    assert time.monotonic() - began < 3


def test_a_long_grace_period_is_no_silence(world: World) -> None:
    """The container takes 3 s to be stopped; an engine that is given 1 s for an answer is not late."""
    image = world.images.push("app:1", flavour="stubborn", has_healthcheck=False)
    cluster = world.repo(
        {"compose.yaml": f"services:\n  web: {{image: {image.ref}, stop_grace_period: 3s}}\n"}
    )
    start(cluster)
    engine = DockerEngine(timeout_seconds=1)
    (web,) = engine.observe(cluster.project).of("web")
    began = time.monotonic()
    engine.stop(web.id)
    assert 2.5 < time.monotonic() - began < 9
    assert engine.observe(cluster.project).of("web")[0].exit_code == 137


def test_names_of_images(world: World, engine_adapter: DockerEngine) -> None:
    image = world.images.push("app:1", "of no other test, so it has no other names")
    cluster = world.repo({"compose.yaml": f"services:\n  web:\n    image: {image.ref}\n"})
    start(cluster)
    kept = f"{PREFIX}kept"
    engine_adapter.tag(image.id, f"{kept}:a")
    engine_adapter.tag(image.id, f"{kept}:b")
    engine_adapter.tag(image.id, f"{kept}-other:a")
    for name in (f"{kept}-bare", f"127.0.0.1:5000/{kept}"):  # as compose names what it builds
        engine_adapter.tag(image.id, name)
        assert engine_adapter.image_id(f"{name}:latest") == image.id
        engine_adapter.untag(name)
    assert engine_adapter.kept_tags(kept) == (f"{kept}:a", f"{kept}:b")
    for _ in range(2):
        engine_adapter.untag(f"{kept}:a")
        engine_adapter.untag(f"{kept}-other:a")
    assert engine_adapter.kept_tags(kept) == (f"{kept}:b",)
    engine_adapter.untag(image.ref)
    assert engine_adapter.image_id(f"{kept}:b") == image.id
    engine_adapter.untag(f"{kept}:b")  # the last name of an image in use stays
    assert engine_adapter.image_id(f"{kept}:b") == image.id
    with pytest.raises(WorldError, match="No such image"):
        engine_adapter.tag(f"sha256:{'0' * 64}", f"{kept}:c")


def test_what_is_gone_is_no_error_where_gone_is_wanted(world: World, engine_adapter: DockerEngine) -> None:
    image = world.images.push("app:1")
    cluster = world.repo({"compose.yaml": f"services:\n  web:\n    image: {image.ref}\n"})
    start(cluster)
    network = f"{cluster.project}_default"
    assert network in engine_adapter.networks()
    with pytest.raises(WorldError, match="has active endpoints"):
        engine_adapter.remove_network(network)
    (web,) = engine_adapter.observe(cluster.project).of("web")
    engine_adapter.rename(web.id, f"{cluster.project}-other")
    engine_adapter.rename(web.id, f"{cluster.project}-other")
    assert engine_adapter.observe(cluster.project).of("web")[0].name == f"{cluster.project}-other"
    for _ in range(2):
        engine_adapter.stop(web.id)
    with pytest.raises(WorldError, match="not running"):
        engine_adapter.execute(web.id, ["true"], 5)
    for _ in range(2):
        engine_adapter.remove(web.id)
        engine_adapter.stop(web.id)
        engine_adapter.remove_network(network)
    assert network not in engine_adapter.networks()
    with pytest.raises(WorldError, match="No such container"):
        engine_adapter.start(web.id)


# --- compose


COMPOSE = """
name: {name}
services:
  web:
    image: {image}
    environment: {{PRICE: "a$$b", ROOT: /src/x, ROCKET: "\U0001f680"}}
    env_file: [web.env]
    volumes: ['./conf:/src/conf', 'named:/named', './data:/d']
    configs: [c]
    secrets: [s]
    depends_on: {{two: {{condition: service_healthy}}}}
    labels: {{x: "1"}}
  two:
    image: {image}
    deploy: {{replicas: 2}}
  joined:
    image: {image}
    network_mode: service:web
    command: ["sleep", "99"]
  off:
    image: {image}
    profiles: [never]
configs:
  c: {{file: ./conf}}
secrets:
  s: {{file: ./secret}}
volumes:
  named: {{}}
"""


def test_hashes_are_the_labels_of_real_containers(world: World, engine_adapter: DockerEngine) -> None:
    image = world.images.push("app:1")
    cluster = world.repo()
    cluster.commit(
        {
            "compose.yaml": COMPOSE.format(name=cluster.project, image=image.ref),
            "web.env": "KEY=value\nURL=http://x?$$y\n",
            "conf": "c",
            "secret": "s",
            "data/x": "x",
        }
    )
    model = render(cluster)
    workshop = ComposeWorkshop(cluster.directory, world.folder / "scratch", image_id=engine_adapter.image_id)
    workshop.pull(model, ["two", "web"])
    cli = compose(cluster)
    cli.up()
    hashes = workshop.hashes(model)
    assert sorted(hashes) == ["off", "two", "web"]  # whose network `joined` shares, nobody can foresee
    for container in engine_adapter.observe(cluster.project).containers:
        if container.service in hashes:
            assert container.config_hash == hashes[container.service], container.service
    assert cli.plans_nothing()
    cli.up()
    before = cluster.running_hash()
    assert cli.plans_nothing()
    assert cluster.running_hash() == before


def test_up_does_what_is_asked_and_no_more(world: World, engine_adapter: DockerEngine) -> None:
    one, two = world.images.push("app:1"), world.images.push("app:2")
    text = (
        "services:\n  web: {{image: {0}, depends_on: [db]}}\n  db: {{image: {0}, environment: {{V: {1}}}}}\n"
    )
    cluster = world.repo({"compose.yaml": text.format(one.ref, "a")})
    start(cluster)
    cli = compose(cluster)

    def ids() -> dict[str, list[str]]:
        seen = engine_adapter.observe(cluster.project)
        return {service: [c.id for c in seen.of(service)] for service in seen.services}

    first = ids()
    cluster.write({"compose.yaml": text.format(one.ref, "b")})
    assert not cli.plans_nothing()
    cli.up(["web"])
    assert ids() == first  # db differs, and nobody asked for it
    cli.up(["web"], with_dependencies=True)
    second = ids()
    assert second["web"] == first["web"]
    assert second["db"] != first["db"]
    cli.up(["web"], force=True)
    assert ids()["web"] != second["web"]
    cluster.write({"compose.yaml": text.format(one.ref, "c")})
    cli.up(["db"], keep_existing=True, scale={"db": 2})
    assert ids()["db"][:1] == second["db"]
    assert len(ids()["db"]) == 2
    cluster.write({"compose.yaml": f"services:\n  web: {{image: {one.ref}}}\n  new: {{image: {one.ref}}}\n"})
    cli.up(["new"], start=False)
    assert [c.state for c in engine_adapter.observe(cluster.project).of("new")] == ["created"]
    assert set(ids()) == {"web", "db", "new"}
    cli.up(remove_orphans=True)
    assert set(ids()) == {"web", "new"}
    cluster.write({"compose.yaml": text.format(two.ref, "c")})
    with pytest.raises(StepFailed, match=r"`compose up web` of .* failed: .*[Nn]o such image"):
        cli.up(["web"])
    with pytest.raises(StepFailed, match="failed: no such service: nope"):
        cli.up(["nope"])
    assert engine_adapter.image_id(two.ref) is None  # nothing was pulled


def test_a_volume_is_never_made_anew(world: World, engine_adapter: DockerEngine) -> None:
    """Compose asks whether to destroy a volume whose definition changed; nobody answers yes."""
    image = world.images.push("app:1")
    text = "services:\n  web: {{image: {}, volumes: ['data:/x']}}\nvolumes:\n  data: {}\n"
    cluster = world.repo({"compose.yaml": text.format(image.ref, "{}")})
    start(cluster)
    (web,) = engine_adapter.observe(cluster.project).of("web")
    engine_adapter.execute(web.id, ["sh", "-c", "echo precious > /x/kept"], 10)
    cluster.write({"compose.yaml": text.format(image.ref, "{labels: {a: b}}")})
    compose(cluster).up(force=True)
    (web,) = engine_adapter.observe(cluster.project).of("web")
    assert engine_adapter.read_file(web.id, "/x/kept") == b"precious\n"


def test_the_environment_of_whoever_calls_does_not_matter(
    world: World, engine_adapter: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = world.images.push("app:1")
    cluster = world.repo(
        {"compose.yaml": f"services:\n  web: {{image: {image.ref}, environment: {{A: '${{A:-default}}'}}}}\n"}
    )
    cluster.compose("pull", "--quiet")
    for name, value in {"A": "leaked", "COMPOSE_PROJECT_NAME": "x", "COMPOSE_FILE": "x"}.items():
        monkeypatch.setenv(name, value)
    compose(cluster).up()
    (web,) = engine_adapter.observe(cluster.project).of("web")
    assert engine_adapter.execute(web.id, ["sh", "-c", "echo $A"], 5) == (0, "default\n")


def test_compose_that_takes_too_long_is_ended(world: World) -> None:
    image = world.images.push("app:1", has_healthcheck=True, flavour="unhealthy", interval_seconds=30)
    cluster = world.repo(
        {
            "compose.yaml": f"""
services:
  db: {{image: {image.ref}}}
  web: {{image: {image.ref}, depends_on: {{db: {{condition: service_healthy}}}}}}
"""
        }
    )
    cluster.compose("pull", "--quiet")
    cli = ComposeCli(cluster.directory, ["compose.yaml"], cluster.project, timeout_seconds=3)
    began = time.monotonic()
    with pytest.raises(StepFailed, match="did not end within 3 seconds"):
        cli.up()
    assert time.monotonic() - began < 8


# --- the workshop


def test_refused_pulls_name_service_image_and_reason(world: World, engine_adapter: DockerEngine) -> None:
    there, missing = world.images.push("app:1"), world.images.ref("gone:9")
    workshop = ComposeWorkshop(world.folder, world.folder / "scratch", image_id=engine_adapter.image_id)
    model = Rendered("shop", {"ok": {"image": there.ref}, "web": {"image": missing}})
    with pytest.raises(StepFailed, match=rf"^Pulling web \({missing}\) failed: .*not found") as caught:
        workshop.pull(model, ["ok", "web"])
    assert "\n" not in caught.value.message
    with pytest.raises(StepFailed, match="connection refused"):
        workshop.pull(Rendered("shop", {"web": {"image": "127.0.0.1:1/app:1"}}), ["web"])


def test_only_what_is_needed_is_pulled(world: World, engine_adapter: DockerEngine) -> None:
    image = world.images.push("app:1")
    workshop = ComposeWorkshop(world.folder, world.folder / "scratch", image_id=engine_adapter.image_id)
    model = Rendered(
        "shop",
        {
            "web": {"image": image.pinned, "environment": {"BAD": "${unclosed"}},
            "never": {"image": world.images.ref("never:1"), "pull_policy": "never"},
            "built": {"image": "built:1", "build": {"context": "/src"}},
            "here": {
                "image": world.images.ref("here:1"),
                "build": {"context": "/src"},
                "pull_policy": "build",
            },
            "shared": {"image": "built:1"},
            "nameless": {"build": {"context": "/src"}},
        },
    )
    workshop.pull(model, list(model.services))
    assert engine_adapter.image_id(image.pinned) == image.id
    world.images.registry.stop()
    try:
        workshop.pull(model, list(model.services))  # pinned and here: nobody is asked
    finally:
        world.images.registry.start()


def test_builds_see_the_commit_and_nothing_else(world: World, engine_adapter: DockerEngine) -> None:
    cluster = world.repo()
    first = cluster.commit(
        {
            "compose.yaml": f"""
services:
  app:
    build: {{context: ./app, args: {{WHO: me}}}}
    pull_policy: build
  all:
    build: .
    image: {PREFIX}all:1
""",
            "app/Dockerfile": f'{FROM_SCRATCH}ARG WHO\nENV WHO=$WHO\nCOPY . /app/\nCMD ["x"]\n',
            "app/run.sh": "#!/bin/sh\n",
            "app/.dockerignore": "secret\n",
            "app/secret": "s",
            "Dockerfile": f'{FROM_SCRATCH}COPY . /all/\nCMD ["x"]\n',
        }
    )
    (cluster.directory / "app/run.sh").chmod(0o755)
    first = cluster.commit()
    cluster.commit({"app/run.sh": "a later commit\n"})
    cluster.write({"app/untracked": "mine", "app/run.sh": "edited\n"})
    scratch = world.folder / "scratch"
    with GitRepository(cluster.directory) as repository:
        workshop = ComposeWorkshop(cluster.directory, scratch)
        workshop.build(render(cluster, first), repository.tree(first), ["app", "all"])
    assert list(scratch.iterdir()) == []
    files = {}
    for name in (f"{cluster.project}-app", f"{PREFIX}all:1"):
        made = world.engine.api.create_container(name, labels={LABEL: SESSION})["Id"]
        try:
            for path in (
                "/app/run.sh",
                "/app/secret",
                "/app/untracked",
                "/all/app/run.sh",
                "/all/app/untracked",
            ):
                files[path] = files.get(path) or engine_adapter.read_file(made, path)
        finally:
            engine_adapter.remove(made)
    assert files == {
        "/app/run.sh": b"#!/bin/sh\n",
        "/app/secret": None,
        "/app/untracked": None,
        "/all/app/run.sh": b"#!/bin/sh\n",
        "/all/app/untracked": None,
    }


def test_a_build_from_a_submodule(world: World, engine_adapter: DockerEngine) -> None:
    (Path.home() / ".gitconfig").write_text('[protocol "file"]\n\tallow = always\n')
    lib = world.repo({"Dockerfile": f'{FROM_SCRATCH}COPY v /v\nCMD ["x"]\n', "v": "one"})
    cluster = world.repo()
    cluster.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(lib.directory), "lib")
    commit = cluster.commit({"compose.yaml": "services:\n  app: {build: ./lib}\n"})
    cluster.write({"lib/v": "edited"})
    with GitRepository(cluster.directory) as repository:
        workshop = ComposeWorkshop(cluster.directory, world.folder / "scratch")
        workshop.build(render(cluster, commit), repository.tree(commit), ["app"])
    made = world.engine.api.create_container(f"{cluster.project}-app", labels={LABEL: SESSION})["Id"]
    try:
        assert engine_adapter.read_file(made, "/v") == b"one"
    finally:
        engine_adapter.remove(made)


def test_a_build_that_fails_says_why(world: World) -> None:
    cluster = world.repo(
        {
            "compose.yaml": "services:\n  app: {build: .}\n",
            "Dockerfile": f"{FROM_SCRATCH}COPY missing /x\n",
        }
    )
    with GitRepository(cluster.directory) as repository:
        workshop = ComposeWorkshop(cluster.directory, world.folder / "scratch")
        with pytest.raises(StepFailed, match=r"^Building app of [0-9a-f]{12} failed: .*missing"):
            workshop.build(render(cluster), repository.tree(cluster.head), ["app"])
