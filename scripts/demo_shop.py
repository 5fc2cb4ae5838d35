"""The demo's little world: a registry on loopback, images, git repositories, and the way to remove it all."""

import contextlib
import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import docker
import docker.errors
import httpx

BASE_IMAGE = "busybox:stable-musl"
"""Where the images' one program comes from when a registry can be reached; else from the machine."""

PULL_SECONDS = 20
PROJECT = "com.docker.compose.project"
NOTE = "demo.json"

SERVER = """\
#!/bin/sh
# Says who it is, and shows the files in /www. PID 1 leaves at once when told to.
trap 'exit 0' TERM INT
echo "@WORDS@${GREETING:+, $GREETING}" > /www/index.html
busybox httpd -f -p 80 -h /www & wait
"""
BROKEN = "#!/bin/sh\necho 'the price list is missing' >&2\nexit 1\n"


class CannotGoOn(Exception):
    """The demo lacks something. The message says what to do."""


@dataclass(frozen=True)
class Shop:
    """Names of everything that a demo makes; written down at once, so that a killed demo can be removed."""

    folder: str
    project: str
    registry_port: int
    ports: Mapping[str, int]
    registry_pid: int = 0
    pulled: str = ""

    @property
    def registry(self) -> str:
        return f"127.0.0.1:{self.registry_port}"

    def ref(self, image: str) -> str:
        return f"{self.registry}/{self.project}/{image}"

    def path(self, name: str) -> Path:
        return Path(self.folder, name)

    def note(self) -> None:
        self.path(NOTE).write_text(json.dumps(asdict(self), indent=2))

    @classmethod
    def noted(cls, folder: Path) -> Self:
        try:
            return cls(**json.loads((folder / NOTE).read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise CannotGoOn(f"{folder} is not the folder of a demo: {NOTE} cannot be read.") from error


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


# --- the registry ------------------------------------------------------------------------------------


def start_registry(shop: Shop, *, is_kept: bool) -> int:
    """A registry on loopback; it dies with the demo unless it is to be kept. Gives its process id."""
    configuration = shop.path("registry.yml")
    configuration.write_text(
        json.dumps(  # JSON is YAML
            {
                "version": "0.1",
                "log": {"level": "error", "accesslog": {"disabled": True}},
                "storage": {"filesystem": {"rootdirectory": str(shop.path("registry"))}},
                "http": {"addr": shop.registry, "secret": "on loopback, for minutes"},
            }
        )
    )
    program = shutil.which("docker-registry")
    if program is None:
        raise CannotGoOn("docker-registry is not on PATH; run scripts/bootstrap --tests.")
    mortal = [] if is_kept else ["setpriv", "--pdeathsig", "KILL"]
    with shop.path("registry.log").open("ab") as log:
        process = subprocess.Popen(
            [*mortal, program, "serve", str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    end = time.monotonic() + 20
    while http_get(shop.registry_port, "/v2/") != "{}":
        if process.poll() is not None or time.monotonic() > end:
            raise CannotGoOn(f"The registry does not start; its log is {shop.path('registry.log')}.")
        time.sleep(0.1)
    return process.pid


def http_get(port: int, path: str = "/") -> str | None:
    """The words that 127.0.0.1:port answers with status 200, else None."""
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}{path}", timeout=3, trust_env=False)
    except httpx.HTTPError:
        return None
    return answer.text.strip() if answer.status_code == 200 else None


# --- images ------------------------------------------------------------------------------------------


def pulled_busybox(engine: docker.DockerClient, image: str = BASE_IMAGE) -> tuple[bytes, bool] | None:
    """busybox out of a public image, and whether that had to be pulled; None where no registry answers."""
    is_new = False
    try:
        engine.images.get(image)
    except docker.errors.ImageNotFound:
        patience = docker.from_env(timeout=PULL_SECONDS)
        try:
            patience.images.pull(image)
        except (docker.errors.DockerException, httpx.HTTPError, OSError):
            return None
        finally:
            patience.close()
        is_new = True
    holder = engine.containers.create(image, command=["true"])
    try:
        stream, _ = holder.get_archive("/bin/busybox")
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
            entry = next(one for one in archive if one.isfile())
            program = archive.extractfile(entry)
            return (program.read(), is_new) if program else None
    finally:
        holder.remove()


def local_busybox() -> bytes:
    """The machine's own static busybox (Debian's busybox-static)."""
    path = shutil.which("busybox")
    if path is None:
        raise CannotGoOn("busybox is not on PATH; run scripts/bootstrap --tests.")
    return Path(path).read_bytes()


def publish(shop: Shop, name: str, busybox: bytes, words: str | None) -> None:
    """Puts an image of one layer into the registry, as a build elsewhere would. Without words it is broken.

    The engine does not see it until somebody pulls.
    """
    start = BROKEN if words is None else SERVER.replace("@WORDS@", words)
    raw = layer({"bin/busybox": busybox, "start": start.encode()})
    configuration = json.dumps(
        {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(
                os.uname().machine, os.uname().machine
            ),
            "os": "linux",
            "config": {"Cmd": ["/start"], "Env": ["PATH=/bin"], "ExposedPorts": {"80/tcp": {}}},
            "rootfs": {"type": "layers", "diff_ids": [sha256(raw)]},
        }
    ).encode()
    packed = gzip.compress(raw, compresslevel=1, mtime=0)
    kind = "application/vnd.docker"
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}.distribution.manifest.v2+json",
        "config": described(f"{kind}.container.image.v1+json", configuration),
        "layers": [described(f"{kind}.image.rootfs.diff.tar.gzip", packed)],
    }
    repository, _, tag = name.partition(":")
    at = f"/v2/{shop.project}/{repository}"
    with httpx.Client(base_url=f"http://{shop.registry}", timeout=30, trust_env=False) as registry:
        for blob in (configuration, packed):
            place = registry.post(f"{at}/blobs/uploads/").raise_for_status().headers["Location"]
            url = httpx.URL(place).copy_merge_params({"digest": sha256(blob)})
            registry.put(url, content=blob).raise_for_status()
        registry.put(
            f"{at}/manifests/{tag}",
            content=json.dumps(manifest).encode(),
            headers={"Content-Type": str(manifest["mediaType"])},
        ).raise_for_status()


def layer(files: Mapping[str, bytes]) -> bytes:
    """A tar with these programs, `/bin/sh`, and the folder that is served."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
        shell = tarfile.TarInfo("bin/sh")
        shell.type, shell.linkname = tarfile.SYMTYPE, "busybox"
        archive.addfile(shell)
        www = tarfile.TarInfo("www")
        www.type, www.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(www)
    return buffer.getvalue()


def described(media_type: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "size": len(blob), "digest": sha256(blob)}


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


# --- what runs, and the end of it ----------------------------------------------------------------------


def containers(engine: docker.DockerClient, shop: Shop) -> dict[str, str]:
    """Service -> id of its container, asked from the engine."""
    found = engine.api.containers(all=True, filters={"label": f"{PROJECT}={shop.project}"})
    return {one["Labels"]["com.docker.compose.service"]: one["Id"] for one in found}


def remove(engine: docker.DockerClient, shop: Shop) -> list[str]:
    """Takes everything of this demo away and nothing else. Gives a sentence for each thing that stays."""
    ours = {"label": f"{PROJECT}={shop.project}"}
    api = engine.api
    left: list[str] = []

    def attempt(what: str, act: Any, *arguments: Any, **options: Any) -> None:
        try:
            act(*arguments, **options)
        except docker.errors.NotFound:
            pass
        except docker.errors.DockerException as error:
            left.append(f"{what}: {error}")

    for one in api.containers(all=True, filters=ours):
        attempt(f"container {one['Names']}", api.remove_container, one["Id"], v=True, force=True)
    for one in api.networks(filters=ours):
        attempt(f"network {one['Name']}", api.remove_network, one["Id"])
    for one in api.volumes(filters=ours)["Volumes"] or ():
        attempt(f"volume {one['Name']}", api.remove_volume, one["Name"], force=True)
    for image in api.images():
        for name in image["RepoTags"] or ():
            if is_ours(shop, name):
                attempt(f"image {name}", api.remove_image, name, force=True)
        if not image["RepoTags"] and any(is_ours(shop, name) for name in image["RepoDigests"] or ()):
            attempt(f"image {image['Id']}", api.remove_image, image["Id"], force=True)
    if shop.pulled:
        attempt(f"image {shop.pulled}", api.remove_image, shop.pulled)
    stop_registry(shop)
    if not left:
        shutil.rmtree(shop.folder, ignore_errors=True)
        if Path(shop.folder).exists():
            left.append(f"folder {shop.folder}: remove it by hand")
    return left


def is_ours(shop: Shop, name: str) -> bool:
    """An image that the demo published, or one that dual-update kept for the way back."""
    return name.startswith((f"{shop.registry}/{shop.project}/", f"dual-update/{shop.project}:"))


def stop_registry(shop: Shop) -> None:
    """Ends the registry, if the process of that number is still ours."""
    try:
        command = Path(f"/proc/{shop.registry_pid}/cmdline").read_bytes()
    except OSError:
        return
    if shop.registry_pid and str(shop.path("registry.yml")).encode() in command:
        os.kill(shop.registry_pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):  # of another process, where --remove ends it
            os.waitpid(shop.registry_pid, 0)
