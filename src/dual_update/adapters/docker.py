"""The docker engine, by its API: what runs, and the few changes that compose does not make for us."""

import io
import os
import re
import secrets
import signal
import stat
import tarfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from dual_update.adapters.compose import binary
from dual_update.adapters.process import run
from dual_update.core.cluster import Container, Details, EngineInfo, Observed
from dual_update.core.errors import Timeout, WorldError
from dual_update.core.surroundings import Neighbour, NeighbourNetwork, Surroundings

if TYPE_CHECKING:
    from docker import APIClient

DEFAULT_HOST = "unix:///var/run/docker.sock"
ENGINE_SECONDS = 60.0
"""Longest wait for an answer of the engine, beyond what the question itself needs (a stop's grace)."""

LARGEST_FILE_BYTES = 32 * 1024 * 1024
STOP_SECONDS = 10
"""How long the engine waits after SIGTERM where a container says nothing else."""

UNLIMITED_STOP_SECONDS = 3600
REMEMBERED_EVENTS = 250
CLOCK_SECONDS = 2.0
"""How far our clock and the engine's may be apart."""

_PROJECT = "com.docker.compose.project"
_SERVICE = "com.docker.compose.service"
_NUMBER = "com.docker.compose.container-number"
_ONEOFF = "com.docker.compose.oneoff"
_HASH = "com.docker.compose.config-hash"
_IMAGE = "com.docker.compose.image"
_WORKING_DIR = "com.docker.compose.project.working_dir"
_CONFIG_FILES = "com.docker.compose.project.config_files"
_VERSION = "com.docker.compose.version"


class DockerEngine:
    """The engine at `host`, else where DOCKER_HOST or the current docker context points.

    Nothing is asked before the first call. Errors are WorldError, Timeout where it does not answer.
    """

    def __init__(self, host: str = "", *, timeout_seconds: float = ENGINE_SECONDS) -> None:
        self._given_host = host
        self._timeout_seconds = timeout_seconds
        self._client: APIClient | None = None
        self._one_client = threading.Lock()

    def __enter__(self) -> "DockerEngine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections. A closed engine opens new ones when asked again."""
        if self._client is not None:
            self._client.close()
            self._client = None

    @property
    def host(self) -> str:
        """The address that is asked."""
        return self._given_host or os.environ.get("DOCKER_HOST") or self._of_context()[0]

    def info(self) -> EngineInfo:
        with self._asked("tell what it is") as api:
            info, version = api.info(), api.version()
        return EngineInfo(
            id=str(info.get("ID") or info.get("Name") or self.host),
            version=str(version.get("Version", "")),
            api_version=str(version.get("ApiVersion", "")),
            architecture=str(version.get("Arch", "")),
            root_directory=str(info.get("DockerRootDir", "")),
            compose_version=self._compose_version,
        )

    @cached_property
    def _compose_version(self) -> str:
        return _compose_version()

    def observe(self, project: str) -> Observed:
        """Every container and network that carries the project's label, running or not.

        A container that goes away between the list and the look at it is left out.
        """
        label = {"label": f"{_PROJECT}={project}"}
        with self._asked(f"list the containers of {project}") as api:
            facts = [
                found
                for one in api.containers(all=True, filters=label)
                if (found := self._inspect(api, str(one["Id"]))) is not None
            ]
            networks = sorted(str(one["Name"]) for one in api.networks(filters=label))
            named: frozenset[str] = frozenset()
            if any(_is_nameless(mount) for one in facts for mount in one["Mounts"]):
                named = frozenset(str(one["Name"]) for one in api.volumes(filters=label).get("Volumes") or ())
        containers = sorted((_container(one, named) for one in facts), key=lambda one: one.name)
        return Observed(project, tuple(containers), tuple(networks))

    def image_id(self, reference: str) -> str | None:
        found = self._image(reference)
        return None if found is None else str(found["Id"])

    def image_platform(self, image_id: str) -> str:
        found = self._present_image(image_id)
        return f"{found.get('Os', '')}/{found.get('Architecture', '')}"

    def image_has_command(self, image_id: str) -> bool:
        config = self._present_image(image_id).get("Config") or {}
        return bool(config.get("Cmd") or config.get("Entrypoint"))

    def image_labels(self, image_id: str) -> Mapping[str, str]:
        config = self._present_image(image_id).get("Config") or {}
        return {str(name): str(value) for name, value in (config.get("Labels") or {}).items()}

    def image_volumes(self, image_id: str) -> tuple[str, ...]:
        config = self._present_image(image_id).get("Config") or {}
        return tuple(sorted(config.get("Volumes") or ()))

    def repo_digests(self, image_id: str) -> tuple[str, ...]:
        return tuple(self._present_image(image_id).get("RepoDigests") or ())

    def tag(self, image_id: str, reference: str) -> None:
        repository, colon, tag = reference.rpartition(":")
        if not colon or "/" in tag:  # no tag: a name that compose gave to what it built, or HOST:PORT/NAME
            repository, tag = reference, "latest"
        with self._asked(f"tag {image_id[:19]} as {reference}") as api:
            api.tag(image_id, repository, tag, force=True)

    def untag(self, reference: str) -> None:
        """Take a name away. An image that a container uses keeps its last name: taking it would let any
        cleanup remove the image. Without other names and users the image goes too."""
        from docker.errors import APIError, NotFound

        with self._asked(f"remove the name {reference}") as api:
            try:
                api.remove_image(reference, noprune=True)
            except NotFound:
                return
            except APIError as error:
                if error.status_code != 409:
                    raise

    def kept_tags(self, repository: str) -> tuple[str, ...]:
        with self._asked(f"list the images of {repository}") as api:
            images = api.images(name=repository)
        names = {str(name) for one in images for name in one.get("RepoTags") or ()}
        return tuple(sorted(name for name in names if name.rpartition(":")[0] == repository))

    def stop(self, container_id: str) -> None:
        from docker.errors import NotFound

        with self._asked(f"stop container {container_id[:12]}") as api, suppress(NotFound):
            grace = api.inspect_container(container_id)["Config"].get("StopTimeout")
            seconds = STOP_SECONDS if grace is None else int(grace)
            # The client waits for its own limit and the grace together.
            api.stop(container_id, timeout=seconds if seconds >= 0 else UNLIMITED_STOP_SECONDS)

    def told_to_stop(self, since: str) -> frozenset[str] | None:
        """Containers that were sent a signal since a moment (RFC 3339) and have not ended yet.

        The engine goes on stopping them though whoever asked is gone. None where it does not remember that
        far back: it keeps its last 256 events (moby, daemon/events, eventsLimit).
        """
        begin = datetime.fromisoformat(since).timestamp() - CLOCK_SECONDS
        with self._asked("tell what it was asked to stop") as api:
            span: dict[str, Any] = {"since": int(begin), "until": f"{time.time():.6f}"}
            events = [one for one in api.events(**span, decode=True) if one]
        if len(events) >= REMEMBERED_EVENTS:
            return None
        told: dict[str, None] = {}
        for one in events:
            if one.get("Type") != "container":
                continue
            name, action = str(one["Actor"]["ID"]), str(one.get("Action", ""))
            if action == "kill":
                told[name] = None
            elif action in {"die", "start", "destroy"}:
                told.pop(name, None)
        return frozenset(told)

    def start(self, container_id: str) -> None:
        with self._asked(f"start container {container_id[:12]}") as api:
            api.start(container_id)

    def remove(self, container_id: str) -> None:
        from docker.errors import APIError, NotFound

        with self._asked(f"remove container {container_id[:12]}") as api, suppress(NotFound):
            try:
                api.remove_container(container_id, v=False, force=True)
            except APIError as error:
                if error.status_code != 409:
                    raise
                self._wait_until_gone(api, container_id)  # somebody else is removing it

    def rename(self, container_id: str, name: str) -> None:
        with self._asked(f"rename container {container_id[:12]} to {name}") as api:
            if str(api.inspect_container(container_id)["Name"]).lstrip("/") != name:
                api.rename(container_id, name)

    def remove_network(self, name: str) -> None:
        from docker.errors import NotFound

        self.set_free(name)
        with self._asked(f"remove network {name}") as api, suppress(NotFound):
            api.remove_network(name)

    def set_free(self, network: str) -> None:
        """Let go of endpoints on a network whose container is gone or does not run.

        An engine that is asked to stop a container while it still attaches it forgets such an endpoint;
        nothing but force removes it, and the network could never be made anew. What runs stays connected.
        """
        from docker.errors import APIError, NotFound

        with self._asked(f"look at the endpoints of network {network}") as api, suppress(NotFound):
            for holder, endpoint in (api.inspect_network(network).get("Containers") or {}).items():
                facts = self._inspect(api, holder)
                if facts is None or not facts["State"]["Running"]:
                    with suppress(APIError):  # it may have gone by itself
                        api.disconnect_container_from_network(endpoint["Name"], network, force=True)

    def carry(
        self, project: str, service: str, number: int, image_id: str, volumes: Mapping[str, str]
    ) -> str:
        """Create, not start, a container that holds nameless volumes for compose to hand on.

        Compose takes it for an outdated container of the service, since no configuration has the hash
        that it is labelled with. It has no network and its command is never run.
        """
        from docker.types import Mount

        with self._asked(f"make a container that carries the volumes of {service}") as api:
            mounts = [
                Mount(path, name, type="volume", no_copy=True) for path, name in sorted(volumes.items())
            ]
            made = api.create_container(
                image_id,
                command=["true"],  # an image may have none, and then the engine would refuse
                name=f"{project}-{service}-{number}-carried-{secrets.token_hex(4)}",
                labels={
                    _PROJECT: project,
                    _SERVICE: service,
                    _NUMBER: str(number),
                    _ONEOFF: "False",
                    _HASH: "carried",
                    _VERSION: _compose_version(),
                },
                host_config=api.create_host_config(mounts=mounts, network_mode="none"),
            )
        return str(made["Id"])

    def networks(self) -> frozenset[str]:
        with self._asked("list its networks") as api:
            return frozenset(str(one["Name"]) for one in api.networks())

    def volumes(self) -> frozenset[str]:
        with self._asked("list its volumes") as api:
            return frozenset(str(one["Name"]) for one in api.volumes().get("Volumes") or ())

    def used_ports(self) -> Mapping[str, str]:
        with self._asked("list its published ports") as api:
            containers = api.containers()
        return {
            _address(str(port.get("IP", "")), str(port["PublicPort"]), f"/{port['Type']}"): str(one["Id"])
            for one in containers
            for port in one.get("Ports") or ()
            if port.get("PublicPort")
        }

    def surroundings(self) -> Surroundings:
        with self._asked("tell what else it runs") as api:
            info, containers, networks = api.info(), api.containers(all=True), api.networks()
        plugins = info.get("Plugins") or {}
        is_here = self.host.startswith("unix://") and info.get("Name") == os.uname().nodename
        return Surroundings(
            containers=tuple(
                Neighbour(
                    str(one["Id"]),
                    tuple(str(name).lstrip("/") for name in one.get("Names") or ()),
                    str((one.get("Labels") or {}).get(_PROJECT, "")),
                )
                for one in containers
            ),
            networks={
                str(one["Name"]): NeighbourNetwork(
                    str(one["Name"]),
                    str((one.get("Labels") or {}).get(_PROJECT, "")),
                    tuple(
                        str(part["Subnet"])
                        for part in (one.get("IPAM") or {}).get("Config") or ()
                        if part.get("Subnet")
                    ),
                )
                for one in networks
            },
            runtimes=frozenset(info.get("Runtimes") or ()),
            log_drivers=frozenset(plugins.get("Log") or ()),
            volume_drivers=frozenset(plugins.get("Volume") or ()),
            network_drivers=frozenset(plugins.get("Network") or ()),
            cpus=int(info.get("NCPU") or 0),
            is_same_host=is_here,
        )

    def details(self, container_id: str) -> Details | None:
        with self._asked(f"look at container {container_id[:12]}") as api:
            facts = self._inspect(api, container_id)
        if facts is None:
            return None
        config = facts["Config"]
        image = (self._image(str(facts["Image"])) or {}).get("Config") or {}
        return Details(
            labels=dict(config.get("Labels") or {}),
            environment=_variables(config.get("Env")),
            image_environment=_variables(image.get("Env")),
            image_volumes=tuple(sorted(image.get("Volumes") or ())),
            health_output=_last_words(facts),
        )

    def log_tail(self, container_id: str, lines: int = 20) -> str:
        from docker.errors import NotFound

        with self._asked(f"show the log of container {container_id[:12]}") as api:
            try:
                raw = api.logs(container_id, stdout=True, stderr=True, tail=lines)
            except NotFound:
                return ""
        return _text(raw).rstrip()

    def execute(self, container_id: str, command: Sequence[str], timeout_seconds: float) -> tuple[int, str]:
        """Run a command inside. One that takes too long raises Timeout, and is ended where it is a process of
        this host; the engine has no call for that."""
        code, out, err = self._execute(container_id, command, timeout_seconds)
        return code, _text(out + err)

    def read_file(self, container_id: str, path: str) -> bytes | None:
        """A file as the container sees it; None when it has none.

        The engine's own archive of a mounted file shows what lies at the host's path now. A container goes
        on seeing the file that was there when it started, also after git has put another in its place. So
        a running container is looked into by the kernel's view of its process, or asked from inside where
        it runs elsewhere; the archive serves those that do not run or have no `cat`.
        """
        with self._asked(f"read {path} in container {container_id[:12]}") as api:
            facts = self._inspect(api, container_id)
            if facts is None:
                return None
            if facts["State"]["Status"] == "running":
                try:
                    return _through_proc(int(facts["State"].get("Pid") or 0), path, container_id)
                except OSError:
                    code, content, words = self._execute(
                        container_id, ["cat", path], self._timeout_seconds, user="0"
                    )
                if code == 0:
                    return content
                if path.encode() in words:  # it is `cat` that complains
                    return None
            return self._archived(api, container_id, path)

    # --- how it is asked

    @contextmanager
    def _asked(self, what: str) -> "Iterator[APIClient]":
        """The client; what goes wrong with it becomes a WorldError that says what the engine was to do."""
        from docker.errors import APIError, DockerException
        from requests.exceptions import RequestException

        try:
            yield self._open()
        except APIError as error:
            words = str(error.explanation or error).strip()
            raise WorldError(f"The docker engine could not {what}: {words}") from error
        except (DockerException, RequestException, OSError) as error:
            raise self._unreachable(what, error) from error

    def _open(self) -> "APIClient":
        with self._one_client:
            if self._client is None:
                self._client = self._connect(self._timeout_seconds, "auto")
            return self._client

    def _connect(self, timeout_seconds: float, version: str) -> "APIClient":
        from docker import APIClient
        from docker.utils import kwargs_from_env

        options: dict[str, Any] = {}
        if not self._given_host:
            options = dict(kwargs_from_env())
            if "base_url" not in options:
                host, tls = self._of_context()
                options["base_url"] = host
                if tls is not None:
                    options["tls"] = tls
        else:
            options["base_url"] = self._given_host
        is_ssh = str(options["base_url"]).startswith("ssh://")
        # The SDK takes fractions of a second; its types say int.
        limit: Any = timeout_seconds
        return APIClient(version=version, timeout=limit, use_ssh_client=is_ssh, **options)

    def _of_context(self) -> tuple[str, Any]:
        """Address and TLS settings of docker's current context, which compose obeys as well."""
        from docker.context import ContextAPI
        from docker.errors import DockerException

        name = os.environ.get("DOCKER_CONTEXT") or None
        try:
            context = ContextAPI.get_context(name) if name else ContextAPI.get_current_context()
        except (DockerException, OSError, ValueError, KeyError):
            context = None
        if context is None:
            if name:
                raise WorldError(
                    f"The docker context {name!r} does not exist.", hint="See `docker context ls`."
                )
            return DEFAULT_HOST, None
        if context.Name == "default":
            return DEFAULT_HOST, None
        return str(context.Host or DEFAULT_HOST), context.TLSConfig

    def _unreachable(self, what: str, error: BaseException) -> WorldError:
        chain = list(_causes(error))
        where = self.host
        if any("Timeout" in type(one).__name__ or isinstance(one, TimeoutError) for one in chain):
            return Timeout(
                f"The docker engine at {where} did not answer within {self._timeout_seconds:g} seconds"
                f" when asked to {what}.",
                hint="It may be overloaded or stuck: look at its log (`journalctl -u docker`).",
            )
        if any(isinstance(one, PermissionError) for one in chain):
            return WorldError(
                f"This user may not talk to the docker engine at {where}.",
                hint="Run as root, or as a member of the group `docker`.",
            )
        if any(isinstance(one, FileNotFoundError | ConnectionRefusedError) for one in chain):
            return WorldError(
                f"No docker engine answers at {where}: start it, or set DOCKER_HOST to where it is."
            )
        return WorldError(f"The docker engine at {where} broke off when asked to {what}: {chain[-1]}")

    def _inspect(self, api: "APIClient", container_id: str) -> dict[str, Any] | None:
        from docker.errors import NotFound

        try:
            facts: dict[str, Any] = api.inspect_container(container_id)
        except NotFound:
            return None
        return facts

    def _image(self, reference: str) -> dict[str, Any] | None:
        from docker.errors import NotFound

        with self._asked(f"look at image {reference}") as api:
            try:
                found: dict[str, Any] = api.inspect_image(reference)  # type: ignore[no-untyped-call]
            except NotFound:
                return None
        return found

    def _present_image(self, image_id: str) -> dict[str, Any]:
        found = self._image(image_id)
        if found is None:
            raise WorldError(f"Image {image_id} is not on this engine.")
        return found

    def _wait_until_gone(self, api: "APIClient", container_id: str) -> None:
        end = time.monotonic() + self._timeout_seconds
        while self._inspect(api, container_id) is not None:
            if time.monotonic() > end:
                raise WorldError(
                    f"Container {container_id[:12]} is still being removed after"
                    f" {self._timeout_seconds:g} seconds.",
                    hint="The engine may be stuck on its storage: look at its log.",
                )
            time.sleep(0.1)

    def _execute(
        self, container_id: str, command: Sequence[str], timeout_seconds: float, user: str = ""
    ) -> tuple[int, bytes, bytes]:
        """Exit code and both outputs. A thread does the waiting, since a stream has no end of its own."""
        from docker.errors import APIError

        shown = " ".join(command)[:60]
        done: list[tuple[bytes | None, bytes | None]] = []
        failed: list[BaseException] = []
        with self._asked(f"run `{shown}` in container {container_id[:12]}") as api:
            own = self._connect(timeout_seconds + self._timeout_seconds, str(api.api_version))
            try:
                made = own.exec_create(container_id, list(command), user=user)

                def wait() -> None:
                    try:
                        done.append(own.exec_start(made["Id"], demux=True))
                    except BaseException as error:  # handed to the caller's thread below
                        failed.append(error)

                thread = threading.Thread(target=wait, daemon=True)
                thread.start()
                thread.join(timeout_seconds)
                if thread.is_alive():
                    self._end(own, made["Id"])
                    raise Timeout(
                        f"`{shown}` in container {container_id[:12]} did not end within"
                        f" {timeout_seconds:g} seconds."
                    )
                if failed:
                    words = str(failed[0])
                    if isinstance(failed[0], APIError) and _names_no_program(words):
                        return 127, b"", words.encode()
                    raise failed[0]
                out, err = done[0]
                code = own.exec_inspect(made["Id"])["ExitCode"]
            finally:
                own.close()
        return int(code if code is not None else -1), out or b"", err or b""

    def _end(self, api: "APIClient", exec_id: str) -> None:
        """Kill the process of an exec that still runs, where the engine is this host's."""
        facts = api.exec_inspect(exec_id)
        pid = int(facts.get("Pid") or 0)
        with suppress(OSError):
            if facts.get("Running") and _is_of(pid, str(facts.get("ContainerID"))):
                os.kill(pid, signal.SIGKILL)

    def _archived(self, api: "APIClient", container_id: str, path: str) -> bytes | None:
        """A file by the engine's archive; a symbolic link is followed once."""
        from docker.errors import NotFound

        for _ in range(2):
            try:
                chunks, about = api.get_archive(container_id, path)
            except NotFound:
                return None
            if about.get("linkTarget"):
                chunks.close()
                path = str(PurePosixPath(path).parent / str(about["linkTarget"]))
                continue
            if int(about["size"]) > LARGEST_FILE_BYTES:
                chunks.close()
                raise WorldError(f"{path} in container {container_id[:12]} is too large to be compared.")
            if stat.S_ISDIR(int(about["mode"]) & 0o170000) or int(about["mode"]) & (1 << 31):
                chunks.close()  # Go marks a directory by the highest bit
                return None
            with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
                member = next(iter(archive), None)
                content = archive.extractfile(member) if member is not None else None
                return content.read() if content is not None else None
        return None


def _container(facts: Mapping[str, Any], named: frozenset[str]) -> Container:
    config, state = facts["Config"], facts["State"]
    labels = config.get("Labels") or {}
    mounts = [one for one in facts.get("Mounts") or () if one.get("Type") == "volume"]
    nameless = {
        str(one["Destination"]): str(one["Name"])
        for one in mounts
        if _is_nameless(one) and one["Name"] not in named
    }
    number = str(labels.get(_NUMBER, "1"))
    return Container(
        id=str(facts["Id"]),
        name=str(facts["Name"]).lstrip("/"),
        service=str(labels.get(_SERVICE, "")),
        number=int(number) if number.isdigit() else 1,
        image_id=str(facts["Image"]),
        image_ref=str(config.get("Image", "")),
        state=str(state["Status"]),
        health=_health(state),
        started_at=str(state.get("StartedAt", "")),
        restart_count=int(facts.get("RestartCount", 0)),
        exit_code=int(state.get("ExitCode", 0)),
        config_hash=str(labels.get(_HASH, "")),
        image_label=str(labels.get(_IMAGE, "")),
        working_dir=str(labels.get(_WORKING_DIR, "")),
        config_files=str(labels.get(_CONFIG_FILES, "")),
        is_oneoff=str(labels.get(_ONEOFF, "")).lower() == "true",
        host_ports=_host_ports(facts),
        networks=tuple(sorted((facts.get("NetworkSettings") or {}).get("Networks") or ())),
        named_volumes=tuple(sorted({str(one["Name"]) for one in mounts} - set(nameless.values()))),
        anonymous_volumes=nameless,
        aliases={
            str(network): tuple(
                sorted({str(one) for one in (its or {}).get("Aliases") or () if not _SHORT_ID.fullmatch(one)})
            )
            for network, its in ((facts.get("NetworkSettings") or {}).get("Networks") or {}).items()
        },
        mounts={
            str(one["Destination"]): str(one.get("Name") or one.get("Source") or "")
            for one in facts.get("Mounts") or ()
        },
    )


_SHORT_ID = re.compile(r"[0-9a-f]{12}")
"""A name on a network that nobody asked for: the engine adds a container's id, and Watchtower hands on the
ids of earlier containers. Compose does not, so none of them may count as lost."""


def _last_words(facts: Mapping[str, Any]) -> str:
    """What the health check's last try printed."""
    tries = (facts["State"].get("Health") or {}).get("Log") or []
    return str(tries[-1].get("Output") or "") if tries else ""


def _variables(pairs: Sequence[str] | None) -> dict[str, str]:
    return {name: value for name, _, value in (one.partition("=") for one in pairs or ())}


def _health(state: Mapping[str, Any]) -> str:
    status = str((state.get("Health") or {}).get("Status", ""))
    return "" if status == "none" else status


def _is_nameless(mount: Mapping[str, Any]) -> bool:
    """The engine names a volume that nobody named with 64 hexadecimal digits."""
    name = str(mount.get("Name", ""))
    return mount.get("Type") == "volume" and len(name) == 64 and set(name) <= set("0123456789abcdef")


def _host_ports(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Published ports; of a container that does not run, those it asks for by number."""
    bound = (facts.get("NetworkSettings") or {}).get("Ports") or {}
    if facts["State"]["Status"] != "running":
        bound = (facts.get("HostConfig") or {}).get("PortBindings") or {}
    return tuple(
        sorted(
            {
                _address(str(one.get("HostIp", "")), str(one["HostPort"]), f"/{port.partition('/')[2]}")
                for port, hosts in bound.items()
                for one in hosts or ()
                if one.get("HostPort")
            }
        )
    )


def _address(address: str, port: str, protocol: str) -> str:
    address = address or "0.0.0.0"  # noqa: S104  what the engine means by no address
    return f"[{address}]:{port}{protocol}" if ":" in address else f"{address}:{port}{protocol}"


def _compose_version() -> str:
    """Of the program that this machine has, or nothing where it has none."""
    try:
        found = run([binary(), "version", "--short"])
    except WorldError:
        return ""
    return found.out.strip().lstrip("v") if found.code == 0 else ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and everything it was raised for, also what requests only keeps as an argument."""
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop(0)
        if one is None or one in seen:
            continue
        seen.append(one)
        yield one
        waiting += [one.__cause__, one.__context__, getattr(one, "reason", None)]
        waiting += [argument for argument in one.args if isinstance(argument, BaseException)]


def _names_no_program(words: str) -> bool:
    return "executable file not found" in words or "no such file or directory" in words


def _is_of(pid: int, container_id: str) -> bool:
    """Is a process of this host one of the container's. Raises OSError where that cannot be seen."""
    return pid > 0 and container_id[:12] in Path(f"/proc/{pid}/cgroup").read_text()


def _through_proc(pid: int, path: str, container_id: str) -> bytes | None:
    """The file through the kernel's view of a process of the container, None when it is not there.

    Raises OSError where this cannot be told: on another host or in another container than the engine's,
    without the right to look, and where the path is a link.
    """
    if not _is_of(pid, container_id):
        raise OSError(f"{pid} is no process of the container here")
    try:
        return _regular_file(f"/proc/{pid}/root", path)
    except FileNotFoundError:
        if not Path(f"/proc/{pid}/root").exists():
            raise OSError(f"{pid} has ended") from None
        return None


def _regular_file(root: str, path: str) -> bytes:
    """Content of a file below `root`. No symbolic link is followed: one of a container's may point at us."""
    at = os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        for part in PurePosixPath(path).parts:
            if part == "/":
                continue
            below = os.open(part, os.O_PATH | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = below
        about = os.fstat(at)
        if not stat.S_ISREG(about.st_mode) or about.st_size > LARGEST_FILE_BYTES:
            raise OSError(f"{path} is no file that can be compared")
        return Path(f"/proc/self/fd/{at}").read_bytes()
    finally:
        os.close(at)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
