"""Verbs that build a real world - a registry, images, repositories, clusters - so that tests read as stories.

Rules that keep the engine clean, also for whoever else uses it at the same time:
- an image comes from `Images`, so it and every container of it carry the label LABEL=SESSION;
- a compose project is named after its directory, which `World.repo` chooses; a test that gives a project
  another name starts it with `cluster.project`;
- whatever a test leaves behind is removed after it; what is found after the last test fails the session.
"""

import gzip
import hashlib
import io
import json
import os
import random
import secrets
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import docker
import docker.errors
import httpx

LABEL = "dual-update.test"
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
SESSION = (os.environ.get("DUAL_UPDATE_TEST_RUN") or f"t{os.getpid()}x{secrets.token_hex(3)}") + WORKER
"""Whose things these are: of this run of the tests, and of this worker where several run at once."""

PREFIX = f"du-{SESSION}-"
PROJECT_LABEL = "com.docker.compose.project"

Flavour = Literal["good", "crash", "crash_after", "unhealthy", "slow", "no_route", "volume", "stubborn"]


def eventually(is_true: Callable[[], object], *, within_seconds: float = 10, what: str = "") -> None:
    """Asks again and again until the answer is yes; an AssertionError says what never came true."""
    end = time.monotonic() + within_seconds
    while not is_true():
        assert time.monotonic() < end, f"not within {within_seconds} s: {what or is_true}"
        time.sleep(0.05)


# --- ports and HTTP --------------------------------------------------------------------------------

_taken: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on, never given twice, and not one that the kernel hands to clients."""
    first = 20000 + 2000 * (int(WORKER.removeprefix("gw") or 0) % 5)  # workers do not meet
    while True:
        port = random.randrange(first, first + 2000)
        with socket.socket() as probe:
            if port not in _taken and probe.connect_ex(("127.0.0.1", port)) != 0:
                _taken.add(port)
                return port


@dataclass(frozen=True)
class Answer:
    status: int  # 0: nobody answered
    body: str


def http_get(port: int, path: str = "/", *, within_seconds: float = 0) -> Answer:
    """What 127.0.0.1:port says; with `within_seconds`, the first 200 or the last answer before time is up."""
    end = time.monotonic() + within_seconds
    while True:
        try:
            response = httpx.get(f"http://127.0.0.1:{port}{path}", timeout=5, trust_env=False)
            answer = Answer(response.status_code, response.text.rstrip("\n"))
        except httpx.TransportError as error:
            answer = Answer(0, str(error))
        if answer.status == 200 or time.monotonic() >= end:
            return answer
        time.sleep(0.05)


# --- the registry ----------------------------------------------------------------------------------


class Registry:
    """A real registry on 127.0.0.1, without credentials; it dies with the process that started it."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=f"http://{self.address}", timeout=30, trust_env=False)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.http.close()

    def start(self) -> None:
        configuration = self._folder / "registry.yml"
        configuration.write_text(
            json.dumps(  # JSON is YAML
                {
                    "version": "0.1",
                    "log": {"level": "error", "accesslog": {"disabled": True}},
                    "storage": {
                        "filesystem": {"rootdirectory": str(self._folder / "storage")},
                        "delete": {"enabled": True},
                    },
                    "http": {"addr": self.address, "secret": SESSION},
                }
            )
        )
        log = self._folder / "registry.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "docker-registry", "serve", str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        eventually(self._is_up, within_seconds=20, what=f"the registry answers (its log: {log})")

    def stop(self) -> None:
        """Ends it, for tests of a lost registry; the storage stays, so `start` brings everything back."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=10)
            self._process = None

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "the registry ended by itself"
        try:
            return self.http.get("/v2/").status_code == 200
        except httpx.TransportError:
            return False


# --- images ----------------------------------------------------------------------------------------

ANSWER = """\
#!/bin/sh
# One HTTP exchange: /env/NAME and /file/PATH show what the container was given; all else says the body.
read -r method path version
while read -r line && [ ${#line} -gt 1 ]; do :; done
status=200
body=${BODY:-$(cat /app/body)}
case "$path" in
  /env/*) body=$(env | sed -n "s/^${path#/env/}=//p") ;;
  /file/*) body=$(cat "/${path#/file/}" 2>/dev/null) || status=404 ;;
  *)
    name=/app/answers/$(printf %s "$path" | tr / _)
    if [ -e "$name" ]; then { read -r status; body=$(cat); } <"$name"; fi
    ;;
esac
printf 'HTTP/1.0 %s Test\\r\\nContent-Type: text/plain\\r\\n' "$status"
printf 'Content-Length: %s\\r\\nConnection: close\\r\\n\\r\\n%s\\n' "$((${#body} + 1))" "$body"
"""

# A bare server as PID 1 ignores SIGTERM, and every stop takes ten seconds; a shell that waits with a trap
# leaves at once, and the kernel ends the rest of the container.
SERVE = """\
for port in ${PORTS:-@PORTS@}; do nc -ll -p "$port" -e /app/answer & done
"""
START: Mapping[Flavour, str] = {
    "good": SERVE + "wait",
    "unhealthy": SERVE + "wait",
    "no_route": SERVE + "wait",
    "crash": "echo 'broken on purpose' >&2\nexit 1",
    "crash_after": SERVE + "sleep @SECONDS@ & wait $!\necho 'broken on purpose' >&2\nexit 1",
    "slow": "sleep @SECONDS@ & wait $!\n" + SERVE + "wait",
    "volume": "[ -e /data/marker ] || cat /proc/sys/kernel/random/uuid >/data/marker\n" + SERVE + "wait",
    "stubborn": "trap '' TERM\n" + SERVE + "wait",
}
SECOND = 1_000_000_000
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass(frozen=True)
class Image:
    ref: str  # 127.0.0.1:PORT/NAMESPACE/NAME:TAG
    id: str  # the image id that an engine gives it after a pull
    digest: str  # of its manifest; what the registry has under the tag

    @property
    def pinned(self) -> str:
        return f"{self.ref.rpartition(':')[0]}@{self.digest}"


class Images:
    """Builds small images byte by byte and publishes them, as a build elsewhere would.

    The engine has none of them until something pulls. The same arguments give the same image, and each test
    has names of its own.
    """

    def __init__(self, registry: Registry, namespace: str) -> None:
        self.registry = registry
        self._prefix = f"{registry.address}/{namespace}"
        self._namespace = namespace

    def ref(self, name: str) -> str:
        return f"{self._prefix}/{name}"

    def push(
        self,
        name: str,
        body: str | None = None,
        flavour: Flavour = "good",
        *,
        seconds: float = 1,
        ports: Sequence[int] = (80,),
        answers: Mapping[str, tuple[int, str]] | None = None,
        has_healthcheck: bool | None = None,
        interval_seconds: float = 0.5,
        volumes: Iterable[str] = (),
        env: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
    ) -> Image:
        """Publishes `name` ("app:1"): a server that answers `body`, else its name, on every port and path.

        `seconds` is how long `crash_after` lives and how long `slow` takes; `answers` gives paths another
        status and body. In a container, PORTS and BODY of the environment win over what was built in.
        """
        if flavour == "no_route":
            answers = {"/health": (500, "no route"), **(answers or {})}
        if has_healthcheck is None:
            has_healthcheck = flavour != "no_route"
        if flavour == "volume":
            volumes = (*volumes, "/data")
        start = (
            START[flavour].replace("@PORTS@", " ".join(map(str, ports))).replace("@SECONDS@", str(seconds))
        )
        base, app = (
            base_layer(),
            Layer.of(
                {
                    "app/run": f"#!/bin/sh\ntrap 'exit 0' TERM INT\n{start}\n",
                    "app/answer": ANSWER,
                    "app/body": body if body is not None else name,
                    **{
                        f"app/answers/{p.replace('/', '_')}": f"{s}\n{b}\n"
                        for p, (s, b) in (answers or {}).items()
                    },
                    **{path.lstrip("/"): content for path, content in (files or {}).items()},
                }
            ),
        )
        configuration: dict[str, Any] = {
            "Cmd": ["/app/run"],
            "Env": ["PATH=/bin", *(f"{key}={value}" for key, value in (env or {}).items())],
            "ExposedPorts": {f"{port}/tcp": {} for port in ports},
            "Labels": {LABEL: SESSION, **(labels or {})},
            "StopSignal": "SIGTERM",
        }
        if volumes := tuple(volumes):
            configuration["Volumes"] = {volume: {} for volume in volumes}
        if has_healthcheck:
            question = f"set -- ${{PORTS:-{ports[0]}}}; wget -q -O /dev/null http://127.0.0.1:$1/health"
            configuration["Healthcheck"] = {
                "Test": ["CMD", "false"] if flavour == "unhealthy" else ["CMD-SHELL", question],
                "Interval": int(interval_seconds * SECOND),
                "Timeout": 2 * SECOND,
                "Retries": 2,
                "StartPeriod": int((seconds + 5) * SECOND) if flavour == "slow" else 0,
            }
        return self._upload(name, configuration, [base, app])

    def digest(self, name: str) -> str | None:
        """What the registry has under this tag now."""
        answer = self.registry.http.head(self._manifest(name), headers={"Accept": MANIFEST})
        return answer.headers["Docker-Content-Digest"] if answer.status_code == 200 else None

    def withdraw(self, image: Image) -> None:
        """Takes the image out of the registry, with every tag that pointed to it."""
        name = image.ref.removeprefix(f"{self._prefix}/")
        path = self._manifest(f"{name.rpartition(':')[0]}:{image.digest}")
        self.registry.http.delete(path).raise_for_status()

    def context(self, body: str, folder: str = ".") -> dict[str, str]:
        """Files of a build context: `build: FOLDER` gives a good server that answers `body`."""
        base = self.push("base:1", body="base")
        root = "" if folder == "." else f"{folder.rstrip('/')}/"
        return {f"{root}Dockerfile": f"FROM {base.ref}\nCOPY body /app/body\n", f"{root}body": f"{body}\n"}

    def _manifest(self, name: str) -> str:
        repository, _, tag = name.partition(":")
        return f"/v2/{self._namespace}/{repository}/manifests/{tag or 'latest'}"

    def _upload(self, name: str, configuration: dict[str, Any], layers: list["Layer"]) -> Image:
        repository = f"{self._namespace}/{name.partition(':')[0]}"
        document = json.dumps(
            {
                "architecture": engine_architecture(),
                "os": "linux",
                "created": "2026-01-01T00:00:00Z",
                "config": configuration,
                "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
                "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "tests"} for _ in layers],
            },
            sort_keys=True,
        ).encode()
        blobs = [document, *(layer.blob for layer in layers)]
        for blob in blobs:
            self._put_blob(repository, blob)
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": descriptor("application/vnd.docker.container.image.v1+json", document),
                "layers": [
                    descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip", layer.blob)
                    for layer in layers
                ],
            }
        ).encode()
        path = self._manifest(name)
        self.registry.http.put(path, content=manifest, headers={"Content-Type": MANIFEST}).raise_for_status()
        return Image(self.ref(name), sha256(document), sha256(manifest))

    def _put_blob(self, repository: str, blob: bytes) -> None:
        digest = sha256(blob)
        if self.registry.http.head(f"/v2/{repository}/blobs/{digest}").status_code == 200:
            return
        upload = self.registry.http.post(f"/v2/{repository}/blobs/uploads/")
        upload.raise_for_status()
        place = httpx.URL(upload.headers["Location"]).copy_merge_params({"digest": digest})
        self.registry.http.put(place, content=blob).raise_for_status()


@dataclass(frozen=True)
class Layer:
    blob: bytes
    diff_id: str

    @classmethod
    def of(cls, files: Mapping[str, str | bytes], links: Mapping[str, str] | None = None) -> Self:
        """A layer with these files, all executable, and these symbolic links; the same bytes every time."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for path, content in sorted(files.items()):
                data = content.encode() if isinstance(content, str) else content
                entry = tarfile.TarInfo(path)
                entry.size, entry.mode = len(data), 0o755
                archive.addfile(entry, io.BytesIO(data))
            for path, target in sorted((links or {}).items()):
                entry = tarfile.TarInfo(path)
                entry.type, entry.linkname = tarfile.SYMTYPE, target
                archive.addfile(entry)
            if links:
                entry = tarfile.TarInfo("tmp")
                entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
                archive.addfile(entry)
        raw = buffer.getvalue()
        return cls(gzip.compress(raw, compresslevel=1, mtime=0), sha256(raw))


_base: list[Layer] = []


def base_layer() -> Layer:
    if not _base:
        busybox = shutil.which("busybox")
        assert busybox, "busybox is not on PATH; scripts/bootstrap --tests installs it"
        applets = set(run(busybox, "--list").split()) - {"busybox"}
        _base.append(
            Layer.of({"bin/busybox": Path(busybox).read_bytes()}, {f"bin/{a}": "busybox" for a in applets})
        )
    return _base[0]


def engine_architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


def descriptor(media_type: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "size": len(blob), "digest": sha256(blob)}


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


# --- repositories and clusters ---------------------------------------------------------------------


def run(*command: str | Path, cwd: Path | None = None, timeout: float = 120) -> str:
    """Runs a command that must succeed and returns what it printed; its complaints are in the failure."""
    done = subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


@dataclass(frozen=True)
class Mount:
    type: str
    source: str  # a volume's name, or a host path
    destination: str


@dataclass(frozen=True)
class Container:
    id: str
    name: str
    service: str
    image_id: str
    image: str  # the reference it was made from
    started_at: str
    state: str
    health: str | None
    exit_code: int
    config_hash: str
    labels: Mapping[str, str] = field(repr=False)
    mounts: tuple[Mount, ...] = ()
    networks: tuple[str, ...] = ()

    @classmethod
    def seen(cls, facts: Mapping[str, Any]) -> Self:
        state, labels = facts["State"], facts["Config"]["Labels"] or {}
        mounts = [Mount(m["Type"], m.get("Name") or m["Source"], m["Destination"]) for m in facts["Mounts"]]
        return cls(
            id=facts["Id"],
            name=facts["Name"].lstrip("/"),
            service=labels.get("com.docker.compose.service", ""),
            image_id=facts["Image"],
            image=facts["Config"]["Image"],
            started_at=state["StartedAt"],
            state=state["Status"],
            health=state.get("Health", {}).get("Status"),
            exit_code=state["ExitCode"],
            config_hash=labels.get("com.docker.compose.config-hash", ""),
            labels=labels,
            mounts=tuple(sorted(mounts, key=lambda mount: mount.destination)),
            networks=tuple(sorted(facts["NetworkSettings"]["Networks"])),
        )


class Cluster:
    """A git checkout and the compose project of the same name that runs from it."""

    def __init__(self, directory: Path, engine: docker.DockerClient) -> None:
        self.directory = directory
        self.project = directory.name
        self._engine = engine

    # git

    def git(self, *arguments: str) -> str:
        return run("git", *arguments, cwd=self.directory)

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def write(self, files: Mapping[str, str | bytes | None]) -> None:
        """Puts files into the checkout without a commit; None removes one."""
        for name, content in files.items():
            path = self.directory / name
            if content is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def commit(self, files: Mapping[str, str | bytes | None] | None = None, message: str = "change") -> str:
        self.write(files or {})
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.head

    # what a person would type in the checkout

    def compose(self, *arguments: str, timeout: float = 120) -> str:
        return run("docker", "compose", *arguments, cwd=self.directory, timeout=timeout)

    def up(self, *arguments: str) -> None:
        """`docker compose up`, until everything is running and healthy."""
        self.compose("up", "--detach", "--quiet-pull", "--wait", "--wait-timeout", "60", *arguments)

    def dual_update(self, *arguments: str, timeout: float = 180) -> subprocess.CompletedProcess[str]:
        """The tool, as a process without a terminal; look at `returncode`, `stdout` and `stderr`."""
        return subprocess.run(
            [sys.executable, "-m", "dual_update", *arguments],
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    # what really runs, asked from the engine

    def containers(self) -> list[Container]:
        """Every container of the project, stopped ones too, by name."""
        found = []
        for summary in self._engine.api.containers(
            all=True, filters={"label": f"{PROJECT_LABEL}={self.project}"}
        ):
            try:
                found.append(Container.seen(self._engine.api.inspect_container(summary["Id"])))
            except docker.errors.NotFound:
                continue
        return sorted(found, key=lambda container: container.name)

    def container(self, service: str) -> Container:
        """The one container of a service."""
        found = [container for container in self.containers() if container.service == service]
        assert len(found) == 1, f"{service} has {len(found)} containers: {found}"
        return found[0]

    def networks(self) -> list[str]:
        found = self._engine.api.networks(filters={"label": f"{PROJECT_LABEL}={self.project}"})
        return sorted(network["Name"] for network in found)

    def volumes(self) -> list[str]:
        found = (
            self._engine.api.volumes(filters={"label": f"{PROJECT_LABEL}={self.project}"})["Volumes"] or []
        )
        return sorted(volume["Name"] for volume in found)

    def running_hash(self) -> str:
        """Changes whenever anything was recreated, restarted, stopped, started, added or taken away."""
        facts = [(c.id, c.image_id, c.started_at, c.state, c.networks, c.mounts) for c in self.containers()]
        return sha256(repr((facts, self.networks(), self.volumes())).encode())

    def logs(self, service: str) -> str:
        return self.compose("logs", "--no-log-prefix", service)


# --- nothing is left behind ------------------------------------------------------------------------


@dataclass(frozen=True)
class Leftovers:
    containers: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.containers or self.networks or self.volumes)


def anything(_: str) -> bool:
    return True


class Broom:
    """Knows what this session has on the engine, and removes it.

    Anonymous volumes carry no label, and outlive their containers when compose hands them on; so the broom
    listens to the engine while the session lasts, and remembers which of them containers of ours mounted.
    """

    def __init__(self, engine: docker.DockerClient) -> None:
        self.engine = engine
        self._projects: dict[str, str] = {}  # of our containers, by id
        self._anonymous: dict[str, str] = {}  # volume: project
        self._events = engine.events(
            decode=True, filters={"type": ["container", "volume"], "event": ["create", "mount"]}
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        self._events.close()
        self.engine.close()

    def _listen(self) -> None:
        for event in self._events:
            name, facts = event["Actor"]["ID"], event["Actor"]["Attributes"]
            if event["Type"] == "container" and facts.get(LABEL) == SESSION:
                self._projects[name] = facts.get(PROJECT_LABEL, facts.get("name", ""))
            elif event["Action"] == "mount" and facts["container"] in self._projects and len(name) == 64:
                self._anonymous[name] = self._projects[facts["container"]]

    def leftovers(self, is_meant: Callable[[str], bool] = anything) -> Leftovers:
        """What is there of our projects, or of those among them that `is_meant` says yes to."""

        def ours(thing: Mapping[str, Any], name: str) -> bool:
            labels = thing.get("Labels") or {}
            project = labels.get(PROJECT_LABEL) or self._anonymous.get(name, name)
            is_of_session = (
                labels.get(LABEL) == SESSION or name in self._anonymous or project.startswith(PREFIX)
            )
            return is_of_session and is_meant(project)

        api = self.engine.api
        return Leftovers(
            tuple(c["Id"] for c in api.containers(all=True) if ours(c, (c["Names"] or ["/"])[0].lstrip("/"))),
            tuple(network["Name"] for network in api.networks() if ours(network, network["Name"])),
            tuple(
                volume["Name"] for volume in api.volumes()["Volumes"] or [] if ours(volume, volume["Name"])
            ),
        )

    def sweep(self, is_meant: Callable[[str], bool] = anything) -> Leftovers:
        """Removes it, again if something came up meanwhile; says what was there at first."""
        found = left = self.leftovers(is_meant)
        api = self.engine.api
        for attempt in range(8):
            if not left:
                break
            time.sleep(0.25 * attempt)
            with ThreadPoolExecutor(8) as pool:
                list(
                    pool.map(
                        lambda name: gone(api.remove_container, name, v=True, force=True), left.containers
                    )
                )
            for name in left.networks:
                if attempt > 1:
                    self._set_free(name)
                gone(api.remove_network, name)
            for name in left.volumes:
                gone(api.remove_volume, name, force=True)
            left = self.leftovers(is_meant)
        return found

    def _set_free(self, network: str) -> None:
        """Lets go of endpoints whose container died while it was being attached: the engine forgets them."""
        try:
            held = self.engine.api.inspect_network(network)["Containers"]
        except docker.errors.NotFound:
            return
        for endpoint in held.values():
            gone(
                self.engine.api.disconnect_container_from_network,
                endpoint["Name"],
                net_id=network,
                force=True,
            )

    def sweep_images(self) -> None:
        """Every image of this session, under whatever tags it has by now."""
        for image in self.engine.api.images(all=True, filters={"label": f"{LABEL}={SESSION}"}):
            gone(self.engine.api.remove_image, image["Id"], force=True)


def gone(remove: Callable[..., Any], name: str, **options: bool | str) -> None:
    """Removes something that may be gone, or on its way out; what stays is found at the next look."""
    try:
        remove(name, **options)
    except docker.errors.APIError as error:
        if error.status_code not in (403, 404, 409):  # 403: a network that a dying container still holds
            raise


# --- the world ------------------------------------------------------------------------------------


class World:
    """Everything one test needs; the `world` fixture makes it and takes it down again."""

    def __init__(self, folder: Path, images: Images, broom: Broom, name: str) -> None:
        self.folder = folder
        self.images = images
        self.registry = images.registry
        self.engine = broom.engine
        self.broom = broom
        self._prefix = f"{PREFIX}{name}-"
        self._clusters: list[Cluster] = []

    def repo(self, files: Mapping[str, str | bytes] | None = None, message: str = "start") -> Cluster:
        """A repository on branch main with one commit of these files, in a directory of its own."""
        directory = self.folder / f"{self._prefix}{len(self._clusters) + 1}"
        directory.mkdir()
        cluster = Cluster(directory, self.engine)
        self._clusters.append(cluster)
        cluster.git("init", "--quiet", "--initial-branch=main")
        cluster.commit(files, message)
        return cluster

    def free_port(self) -> int:
        return free_port()

    def http_get(self, port: int, path: str = "/", *, within_seconds: float = 0) -> Answer:
        return http_get(port, path, within_seconds=within_seconds)

    def teardown(self) -> None:
        if self._clusters:
            self.broom.sweep(lambda project: project.startswith(self._prefix))
