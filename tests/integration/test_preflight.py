"""Nothing is touched before everything is proven: each fault is met beside a running cluster.

Every case is one fault in a wanted commit, on the host, on the engine or in the registry. The update has to
be refused with the right exit code and a sentence that names the fault; afterwards every container, network,
volume, tag and file is as it was. One deployed cluster serves them all, which is a proof of its own.
"""

import copy
import http.server
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dual_update.usecases.quarantine import content, offered, with_images
from dual_update.usecases.recover import lock_key
from dual_update.usecases.situation import see
from dual_update.wiring import Settings, open_site
from tests.integration.shop import Model, Shop
from tests.integration.world import Broom, Cluster, Images, Registry, World, sha256

FAST = "health: {settle_seconds: 0.2, deadline_seconds: 15}\n"
Words = tuple[str, ...]


@pytest.fixture(scope="module")
def shelf() -> Iterator[list[Shop]]:
    shops: list[Shop] = []
    yield shops
    for shop in shops:
        shop.world.teardown()


@pytest.fixture
def shop(
    shelf: list[Shop], tmp_path_factory: pytest.TempPathFactory, registry: Registry, broom: Broom
) -> Iterator[Shop]:
    if not shelf:
        shelf.append(deployed(tmp_path_factory.mktemp("preflight"), registry, broom))
    shop = shelf[0]
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    with shop.stack:
        yield shop
    shop.arguments.clear()
    for number, handler in handlers.items():
        signal.signal(number, handler)


def deployed(folder: Path, registry: Registry, broom: Broom) -> Shop:
    images = Images(registry, "preflight")
    world = World(folder, images, broom, "preflight")
    images.push("web:1", "web one")
    images.push("db:1", "db one")
    port = world.free_port()
    model: Model = {
        "services": {
            "web": {"image": images.ref("web:1"), "ports": [f"127.0.0.1:{port}:80"], "depends_on": ["db"]},
            "db": {"image": images.ref("db:1"), "volumes": ["store:/store"]},
        },
        "volumes": {"store": {"labels": {"a": "b"}}},
    }
    library = folder / "library"
    library.mkdir()
    code = Cluster(library, world.engine)
    code.git("init", "--quiet", "--initial-branch=main")
    code.commit({"code.txt": "one\n"})
    cluster = world.repo({"compose.yml": json.dumps(model), ".github/dual-update.yml": FAST})
    cluster.write({".gitignore": "ignored/\n"})
    cluster.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "library")
    shop = Shop(world, cluster, images, port, folder / "state", model)
    shop.good = cluster.commit({}, "good")
    assert shop.run("apply", "--auto") == (0, "")
    return shop


@dataclass(frozen=True)
class Fault:
    name: str
    code: int
    words: Words
    arrange: Callable[[Shop], str]


FAULTS: list[Fault] = []


def fault(code: int, *words: str) -> Callable[[Callable[[Shop], str]], None]:
    """Registers a case. It returns the revision that is wanted."""

    def register(arrange: Callable[[Shop], str]) -> None:
        name = arrange.__name__.replace("_", "-")
        FAULTS.append(Fault(name, code, words, arrange))

    return register


# --- compose files that cannot be loaded (2) -------------------------------------------------------


@fault(2, "compose.yml")
def broken_yaml(shop: Shop) -> str:
    return shop.commits({"compose.yml": "services: {web: [\n"})


@fault(2, "imgae")
def unknown_key(shop: Shop) -> str:
    return shop.wants({"imgae": "x"})


@fault(2, "web", "neither an image nor a build")
def neither_image_nor_build(shop: Shop) -> str:
    return shop.commits({"compose.yml": "services: {web: {restart: always}}\n"})


@fault(2, "nowhere")
def undefined_network(shop: Shop) -> str:
    return shop.wants({"networks": ["nowhere"]})


@fault(2, "nobody")
def unknown_dependency(shop: Shop) -> str:
    return shop.wants({"depends_on": ["nobody"]})


@fault(2, "cycle")
def dependency_cycle(shop: Shop) -> str:
    return shop.wants(services={"db": {**shop.model["services"]["db"], "depends_on": ["web"]}})


@fault(2, "TOKEN")
def required_variable_is_missing(shop: Shop) -> str:
    return shop.wants({"environment": {"TOKEN": "${TOKEN:?is needed}"}})


@fault(2, "nobody")
def joined_service_is_missing(shop: Shop) -> str:
    model = copy.deepcopy(shop.model)
    model["services"]["tool"] = {"image": shop.images.ref("web:1"), "network_mode": "service:nobody"}
    return shop.commits({"compose.yml": json.dumps(model)})


@fault(2, "No compose file")
def compose_file_is_gone(shop: Shop) -> str:
    return shop.commits({"compose.yml": None})


@fault(2, "nonsense")
def unknown_commit(shop: Shop) -> str:
    return "nonsense"


@fault(2, "settle")
def broken_config_file(shop: Shop) -> str:
    return shop.commits({".github/dual-update.yml": "health: {settle_second: 1}\n"})


# --- images and registries (1) ---------------------------------------------------------------------


def republished(shop: Shop, name: str, change: Callable[[Model], None]) -> str:
    """The image web:1 with a changed configuration, under another name."""
    http = shop.images.registry.http
    manifest = http.get("/v2/preflight/web/manifests/1", headers={"Accept": MANIFEST}).json()
    document = http.get(f"/v2/preflight/web/blobs/{manifest['config']['digest']}").json()
    change(document)
    blob = json.dumps(document).encode()
    place = http.post("/v2/preflight/web/blobs/uploads/").headers["Location"]
    http.put(f"{place}&digest={sha256(blob)}", content=blob).raise_for_status()
    manifest["config"] |= {"digest": sha256(blob), "size": len(blob)}
    return published(shop, name, manifest, MANIFEST)


MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


def published(shop: Shop, tag: str, manifest: Model, kind: str) -> str:
    answer = shop.images.registry.http.put(
        f"/v2/preflight/web/manifests/{tag}", content=json.dumps(manifest), headers={"Content-Type": kind}
    )
    answer.raise_for_status()
    return shop.images.ref(f"web:{tag}")


@fault(1, "web:absent", "not found")
def tag_is_missing(shop: Shop) -> str:
    return shop.wants({"image": shop.images.ref("web:absent")})


@fault(1, "sha256:1111")
def digest_is_missing(shop: Shop) -> str:
    return shop.wants({"image": f"{shop.images.ref('web')}@sha256:{'1' * 64}"})


@fault(1, "connection refused")
def registry_does_not_answer(shop: Shop) -> str:
    return shop.wants({"image": f"127.0.0.1:{shop.world.free_port()}/web:1"})


class _Locked(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="shop"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        return


@fault(1, "web", "no basic auth credentials")
def registry_wants_a_login(shop: Shop) -> str:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Locked)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    shop.stack.callback(server.server_close)
    shop.stack.callback(server.shutdown)
    return shop.wants({"image": f"127.0.0.1:{server.server_port}/private/web:1"})


@fault(1, "web", "s390x")
def image_is_for_another_platform(shop: Shop) -> str:
    image = republished(shop, "s390x", lambda document: document.update(architecture="s390x"))
    return shop.wants({"image": image})


@fault(1, "web", "no matching manifest")
def index_without_this_platform(shop: Shop) -> str:
    headers = {"Accept": MANIFEST}
    content = shop.images.registry.http.get("/v2/preflight/web/manifests/1", headers=headers).content
    entry = {
        "mediaType": MANIFEST,
        "size": len(content),
        "digest": sha256(content),
        "platform": {"os": "linux", "architecture": "s390x"},
    }
    index = {"schemaVersion": 2, "mediaType": MANIFEST_LIST, "manifests": [entry]}
    return shop.wants({"image": published(shop, "index", index, MANIFEST_LIST)})


@fault(1, "web", "linux/s390x")
def asked_platform_is_not_the_images(shop: Shop) -> str:
    return shop.wants({"platform": "linux/s390x"})


@fault(1, "web", "what to run")
def nothing_to_run(shop: Shop) -> str:
    return shop.wants({"image": republished(shop, "mute", lambda document: document["config"].pop("Cmd"))})


@fault(1, "web", "torn")
def registry_lost_a_part(shop: Shop) -> str:
    image = republished(shop, "torn", lambda document: document.update(author="nobody"))
    manifest = shop.images.registry.http.get("/v2/preflight/web/manifests/torn", headers={"Accept": MANIFEST})
    digest = manifest.json()["config"]["digest"]
    shop.images.registry.http.delete(f"/v2/preflight/web/blobs/{digest}").raise_for_status()
    return shop.wants({"image": image})


@fault(1, "web", "invalid reference format")
def impossible_reference(shop: Shop) -> str:
    return shop.wants({"image": "UPPER/Case:1"})


@fault(1, "web", "pull_policy is never")
def never_pulled_and_not_here(shop: Shop) -> str:
    return shop.wants({"image": shop.images.ref("web:elsewhere"), "pull_policy": "never"})


@fault(1, "db:absent")
def moved_tag_beside_a_missing_one(shop: Shop) -> str:
    """The pull of web moves its tag, the one of db fails: the tag has to come back."""
    moved = shop.images.push("web:1", f"web moved {os.urandom(4).hex()}")
    shop.stack.callback(shop.images.push, "web:1", "web one")
    assert shop.tags()[shop.images.ref("web:1")] != moved.id
    db = {**shop.model["services"]["db"], "image": shop.images.ref("db:absent")}
    return shop.wants({"environment": {"A": "b"}}, services={"db": db})


# --- builds (1) ------------------------------------------------------------------------------------


def builds(shop: Shop, dockerfile: str | None) -> str:
    built = {"build": "./app", "image": "preflight-built"}
    files = {"app/file": "x"} if dockerfile is None else {"app/Dockerfile": dockerfile}
    return shop.wants(services={"built": built}, files=files)


@fault(1, "built", "NONSENSE")
def broken_dockerfile(shop: Shop) -> str:
    return builds(shop, "FROM scratch\nNONSENSE x\n")


@fault(1, "built", "Dockerfile")
def missing_dockerfile(shop: Shop) -> str:
    return builds(shop, None)


@fault(1, "built")
def missing_build_context(shop: Shop) -> str:
    return shop.wants(services={"built": {"build": "./nowhere"}})


@fault(1, "built", "no-such-base")
def missing_base_image(shop: Shop) -> str:
    return builds(shop, f"FROM {shop.images.ref('no-such-base:1')}\n")


@fault(1, "built", "nofile")
def dockerfile_copies_what_is_not_there(shop: Shop) -> str:
    return builds(shop, f"FROM {shop.images.ref('web:1')}\nCOPY nofile /\n")


# --- ports (1) -------------------------------------------------------------------------------------


@fault(1, "web", "taken by container")
def port_of_another_container(shop: Shop) -> str:
    port = shop.world.free_port()
    network = shop.world.engine.networks.create(f"{shop.cluster.project}-strangers")
    shop.stack.callback(network.remove)
    shop.stranger(ports={"80/tcp": ("127.0.0.1", port)}, network=network.name)
    return shop.wants({"ports": [f"{port}:80"]})


@fault(1, "web", "taken by the program")
def port_of_a_program(shop: Shop) -> str:
    return shop.wants({"ports": [f"{shop.listener(socket.SOCK_STREAM)}:80"]})


@fault(1, "web", "/udp", "taken by the program")
def udp_port_of_a_program(shop: Shop) -> str:
    return shop.wants({"ports": [f"127.0.0.1:{shop.listener(socket.SOCK_DGRAM)}:80/udp"]})


@fault(1, "web", "taken")
def one_port_of_many_is_taken(shop: Shop) -> str:
    port = shop.listener(socket.SOCK_STREAM)
    return shop.wants({"ports": [f"127.0.0.1:{port - 1}-{port}:80-81"]})


@fault(1, "web", "is taken")
def whole_range_is_taken(shop: Shop) -> str:
    port = shop.world.free_port()
    for number in (port, port + 1):
        shop.listener(socket.SOCK_STREAM, number)
    return shop.wants({"ports": [f"127.0.0.1:{port}-{port + 1}:80"]})


@fault(1, "web", "no address 192.0.2.77")
def address_of_another_host(shop: Shop) -> str:
    return shop.wants({"ports": ["192.0.2.77:8080:80"]})


@fault(1, "wanted by", "too")
def one_port_for_two_services(shop: Shop) -> str:
    db = {**shop.model["services"]["db"], "ports": [f"{shop.port}:80"]}
    return shop.wants(services={"db": db})


@fault(1, "web", "3 containers")
def many_containers_for_one_port(shop: Shop) -> str:
    return shop.wants({"deploy": {"replicas": 3}})


# --- networks, volumes, names and what the engine can do (1) ---------------------------------------


@fault(1, "external network nowhere-net")
def external_network_is_missing(shop: Shop) -> str:
    top = {"networks": {"n": {"external": True, "name": "nowhere-net"}}}
    return shop.wants({"networks": ["n"]}, top=top)


@fault(1, "external volume nowhere-vol")
def external_volume_is_missing(shop: Shop) -> str:
    volumes = {**shop.model["volumes"], "vol": {"external": True, "name": "nowhere-vol"}}
    return shop.wants({"volumes": ["vol:/v"]}, top={"volumes": volumes})


@fault(1, "network", "belongs to")
def network_of_somebody_else(shop: Shop) -> str:
    name = f"{shop.cluster.project}-foreign"
    network = shop.world.engine.networks.create(name)
    shop.stack.callback(network.remove)
    return shop.wants({"networks": ["n"]}, top={"networks": {"n": {"name": name}}})


@fault(1, "10.213.0.0/25", "10.213.0.0/24")
def subnet_is_taken(shop: Shop) -> str:
    from docker.types import IPAMConfig, IPAMPool

    pool = IPAMConfig(pool_configs=[IPAMPool(subnet="10.213.0.0/24")])
    network = shop.world.engine.networks.create(f"{shop.cluster.project}-subnet", ipam=pool)
    shop.stack.callback(network.remove)
    top = {"networks": {"n": {"ipam": {"config": [{"subnet": "10.213.0.0/25"}]}}}}
    return shop.wants({"networks": ["n"]}, top=top)


@fault(1, "web", "10.9.9.9")
def address_outside_of_the_subnet(shop: Shop) -> str:
    top = {"networks": {"n": {"ipam": {"config": [{"subnet": "10.214.0.0/24"}]}}}}
    return shop.wants({"networks": {"n": {"ipv4_address": "10.9.9.9"}}}, top=top)


@fault(1, "web", "name", "taken by container")
def container_name_is_taken(shop: Shop) -> str:
    name = shop.stranger(name=f"{shop.cluster.project}-taken", network_mode="none")
    return shop.wants({"container_name": name})


@fault(1, "tool", "gone-by", "there is none")
def joined_container_is_missing(shop: Shop) -> str:
    tool = {"image": shop.images.ref("web:1"), "network_mode": "container:gone-by"}
    return shop.wants(services={"tool": tool})


@fault(1, "web", "external_links", "gone-by")
def linked_container_is_missing(shop: Shop) -> str:
    return shop.wants({"external_links": ["gone-by"]})


@fault(1, "web", "runtime warp")
def unknown_runtime(shop: Shop) -> str:
    return shop.wants({"runtime": "warp"})


@fault(1, "web", "logging driver papyrus")
def unknown_logging_driver(shop: Shop) -> str:
    return shop.wants({"logging": {"driver": "papyrus"}})


@fault(1, "volume vol", "driver papyrus")
def unknown_volume_driver(shop: Shop) -> str:
    volumes = {**shop.model["volumes"], "vol": {"driver": "papyrus"}}
    return shop.wants({"volumes": ["vol:/v"]}, top={"volumes": volumes})


@fault(1, "network n", "driver papyrus")
def unknown_network_driver(shop: Shop) -> str:
    return shop.wants({"networks": ["n"]}, top={"networks": {"n": {"driver": "papyrus"}}})


@fault(1, "web", "GPU")
def no_gpu(shop: Shop) -> str:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this host has a GPU")
    wish = {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    return shop.wants({"deploy": {"resources": {"reservations": {"devices": [wish]}}}})


@fault(1, "web", "4096 CPUs")
def more_cpus_than_there_are(shop: Shop) -> str:
    return shop.wants({"cpus": 4096})


@fault(1, "web", "memory limit")
def too_little_memory(shop: Shop) -> str:
    return shop.wants({"mem_limit": "1m"})


@fault(1, "tool", "provider")
def service_of_a_provider(shop: Shop) -> str:
    return shop.wants(services={"tool": {"provider": {"type": "sorcery"}}})


@fault(1, "secret key", "external")
def external_secret(shop: Shop) -> str:
    return shop.wants({"secrets": ["key"]}, top={"secrets": {"key": {"external": True}}})


# --- files, devices and room on the host (1) -------------------------------------------------------


@fault(1, "ignored/web.env")
def env_file_is_missing(shop: Shop) -> str:
    return shop.wants({"env_file": ["ignored/web.env"]})


@fault(1, "web", "ignored/site.conf")
def config_file_is_missing(shop: Shop) -> str:
    return shop.wants({"configs": ["site"]}, top={"configs": {"site": {"file": "./ignored/site.conf"}}})


@fault(1, "web", "ignored/key")
def secret_file_is_missing(shop: Shop) -> str:
    return shop.wants({"secrets": ["key"]}, top={"secrets": {"key": {"file": "./ignored/key"}}})


@fault(1, "web", "library", "directory")
def secret_is_a_directory(shop: Shop) -> str:
    return shop.wants({"secrets": ["key"]}, top={"secrets": {"key": {"file": "./library"}}})


@fault(1, "secret key", "API_KEY")
def secrets_variable_is_not_set(shop: Shop) -> str:
    return shop.wants({"secrets": ["key"]}, top={"secrets": {"key": {"environment": "API_KEY"}}})


@fault(1, "web", "/nowhere/at/all")
def mounted_path_is_missing(shop: Shop) -> str:
    mount = {"type": "bind", "source": "/nowhere/at/all", "target": "/x"}
    return shop.wants({"volumes": [mount]})


@fault(1, "web", "site.conf")
def mounted_file_is_missing(shop: Shop) -> str:
    """Compose would make a directory of that name, and the container would fail on it."""
    return shop.wants({"volumes": ["./site.conf:/etc/site.conf"]})


@fault(1, "web", "site.conf", "directory")
def mounted_file_is_a_directory(shop: Shop) -> str:
    directory = shop.cluster.directory / "ignored" / "site.conf"
    directory.mkdir(parents=True)
    shop.stack.callback(directory.rmdir)
    return shop.wants({"volumes": ["./ignored/site.conf:/etc/site.conf"]})


@fault(1, "web", "v:/v", "drive")
def volume_named_by_one_letter(shop: Shop) -> str:
    return shop.wants({"volumes": ["v:/v"]}, top={"volumes": {**shop.model["volumes"], "v": {}}})


@fault(1, "web", "/dev/nothing")
def device_is_missing(shop: Shop) -> str:
    return shop.wants({"devices": ["/dev/nothing:/dev/nothing"]})


@fault(1, "volume disk", "/nowhere/disk")
def volumes_device_is_missing(shop: Shop) -> str:
    options = {"type": "none", "o": "bind", "device": "/nowhere/disk"}
    volumes = {**shop.model["volumes"], "disk": {"driver": "local", "driver_opts": options}}
    return shop.wants({"volumes": ["disk:/disk"]}, top={"volumes": volumes})


def small_state(shop: Shop, options: str) -> str:
    tiny = shop.world.folder / "tiny"
    tiny.mkdir(exist_ok=True)
    shop.mount("-t", "tmpfs", "-o", options, "tmpfs", at=tiny)
    shop.arguments += ["--state-dir", str(tiny / "state")]
    return shop.wants({"environment": {"A": "b"}})


@fault(1, "MiB are free")
def state_disk_is_full(shop: Shop) -> str:
    return small_state(shop, "size=12m")


@fault(1, "inodes")
def state_disk_has_no_inodes(shop: Shop) -> str:
    return small_state(shop, "size=64m,nr_inodes=400")


@fault(1, "state")
def state_cannot_be_written(shop: Shop) -> str:
    file = shop.world.folder / "file"
    file.write_text("in the way")
    shop.arguments += ["--state-dir", str(file / "state")]
    return shop.wants({"environment": {"A": "b"}})


@fault(1, "checkout", "cannot be written")
def checkout_cannot_be_written(shop: Shop) -> str:
    commit = shop.wants({"environment": {"A": "b"}})
    directory = shop.cluster.directory
    shop.mount("--bind", str(directory), at=directory)
    subprocess.run(["mount", "-o", "remount,bind,ro", str(directory)], check=True)
    return commit


@fault(2, "library", "not on this machine")
def submodules_commit_is_missing(shop: Shop) -> str:
    shop.cluster.git("update-index", "--cacheinfo", f"160000,{'1' * 40},library")
    shop.cluster.git("commit", "--quiet", "--message", "pointer")
    commit = shop.cluster.head
    shop.cluster.git("reset", "--quiet", "--hard", shop.good)
    return commit


# --- the engine (1) ----------------------------------------------------------------------------------


@fault(1, "engine", "unix:///nowhere.sock")
def engine_does_not_answer(shop: Shop) -> str:
    before = os.environ.get("DOCKER_HOST")
    os.environ["DOCKER_HOST"] = "unix:///nowhere.sock"
    shop.stack.callback(
        lambda: os.environ.pop("DOCKER_HOST") if before is None else os.environ.update(DOCKER_HOST=before)
    )
    return shop.wants({"environment": {"A": "b"}})


# --- not now (5) -----------------------------------------------------------------------------------


@fault(5, "local edits", "compose.yml")
def checkout_has_edits(shop: Shop) -> str:
    commit = shop.wants({"environment": {"A": "b"}})
    shop.cluster.write({"compose.yml": "# mine\n"})
    shop.stack.callback(shop.cluster.git, "reset", "--quiet", "--hard")
    return commit


@fault(5, "local edits", "notes.txt")
def unknown_file_is_in_the_way(shop: Shop) -> str:
    commit = shop.wants({"environment": {"A": "b"}}, files={"notes.txt": "theirs\n"})
    shop.cluster.write({"notes.txt": "mine\n"})
    shop.stack.callback(shop.cluster.write, {"notes.txt": None})
    return commit


@fault(5, "local edits", "compose.yml")
def checkout_is_amid_a_merge(shop: Shop) -> str:
    one, other = shop.wants({"user": "1"}), shop.wants({"user": "2"})
    git = shop.cluster.git
    git("merge", "--quiet", "--no-ff", "--no-commit", one)
    shop.stack.callback(git, "merge", "--abort")
    return other


@fault(5, "person must agree", "store")
def volume_definition_changed(shop: Shop) -> str:
    return shop.wants(top={"volumes": {"store": {"labels": {"a": "other"}}}})


@fault(5, "quarantined", "it burned")
def content_failed_before(shop: Shop) -> str:
    commit = shop.wants({"environment": {"A": "quarantined"}})
    with open_site(settings(shop), commit, lambda _: None) as (site, _):
        seen = see(site, commit, "cluster")
        name = content(site, seen)
        for one in (name, with_images(name, offered(site, seen))):
            site.store.quarantine(site.cluster, one, "it burned.", "earlier")
        shop.stack.callback(site.store.release, site.cluster)
    return commit


@fault(5, "a long story")
def somebody_else_deploys(shop: Shop) -> str:
    site, _ = shop.stack.enter_context(open_site(settings(shop), shop.good, lambda _: None))
    key = lock_key(site, shop.cluster.project)
    shop.stack.enter_context(site.store.lock(key, "a long story", 0))
    return shop.wants({"environment": {"A": "b"}})


@fault(5, "changed by someone else", "db")
def cluster_has_drifted(shop: Shop) -> str:
    model = copy.deepcopy(shop.model)
    model["services"]["db"]["environment"] = {"BY": "hand"}
    other = shop.world.folder / "by-hand.yml"
    other.write_text(json.dumps(model))
    up = ("up", "--detach", "--no-deps", "--timeout", "1", "db")
    shop.cluster.compose("--file", str(other), "--project-name", shop.cluster.project, *up)
    shop.stack.callback(shop.cluster.compose, *up)
    return shop.wants({"environment": {"A": "b"}})


def settings(shop: Shop) -> Settings:
    return Settings(repo=shop.cluster.directory, state_dir=shop.state)


def test_every_case_is_one_of_its_kind() -> None:
    """Two cases of one name would hide each other."""
    names = [one.name for one in FAULTS]
    assert len(names) == len(set(names))


# --- the proof --------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", FAULTS, ids=[one.name for one in FAULTS])
def test_fault_is_named_and_nothing_is_touched(
    shop: Shop, one: Fault, capsys: pytest.CaptureFixture[str]
) -> None:
    ref = one.arrange(shop)
    before = shop.cluster.running_hash()
    tags, status = shop.tags(), shop.cluster.git("status", "--porcelain")
    capsys.readouterr()
    arguments = ["--auto", "--ref", ref, "--format", "json", *shop.arguments]
    code, said = shop.run("apply", *arguments)
    out = capsys.readouterr().out
    if out:
        report = json.loads(out)
        assert report.get("outcome", "refused") == "refused"  # or there was no run, and a refusal says why
        said = said if said else report["reason"]
    for word in one.words:
        assert word in said, said
    assert code == one.code, said
    assert "Traceback" not in said
    assert len(said) < 600, said
    assert shop.cluster.running_hash() == before
    now = shop.tags()
    assert {tag: now.get(tag) for tag in tags} == tags
    assert shop.cluster.head == shop.good
    assert shop.cluster.git("status", "--porcelain") == status


def test_at_least_thirty_kinds() -> None:
    assert len(FAULTS) >= 30


def test_afterwards_a_good_update_works(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.images.push("web:2", "web two")
    commit = shop.wants({"image": shop.images.ref("web:2")})
    assert shop.run("apply", "--auto", "--ref", commit, "--format", "json") == (0, "")
    assert json.loads(capsys.readouterr().out)["outcome"] == "succeeded"
    assert shop.world.http_get(shop.port, "/", within_seconds=5).body == "web two"
    assert shop.run("apply", "--auto", "--allow-older", "--ref", shop.good) == (0, "")
