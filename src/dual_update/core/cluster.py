"""What runs: read from the engine, frozen, never kept as truth beyond the moment it was asked."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Container:
    """One container of a compose project.

    `image_id` is the content that runs, `image_ref` the name it was created by. `config_hash` and
    `image_label` are compose's own labels. `anonymous_volumes` maps a path in the container to the
    name of the nameless volume mounted there; its data is lost when nobody remembers that name.
    `aliases` are its names on each network, without its own id; `mounts` maps a path in the container to
    the volume's name or the host's path.
    """

    id: str
    name: str
    service: str
    number: int
    image_id: str
    image_ref: str
    state: str
    health: str = ""
    started_at: str = ""
    restart_count: int = 0
    exit_code: int = 0
    config_hash: str = ""
    image_label: str = ""
    working_dir: str = ""
    config_files: str = ""
    is_oneoff: bool = False
    host_ports: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    named_volumes: tuple[str, ...] = ()
    anonymous_volumes: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    mounts: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_running(self) -> bool:
        return self.state == "running"

    @property
    def has_healthcheck(self) -> bool:
        return self.health != ""


@dataclass(frozen=True)
class Details:
    """What is looked at of one container when it matters, and kept nowhere: environments hold secrets."""

    labels: Mapping[str, str] = field(default_factory=dict, repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    image_environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    image_volumes: tuple[str, ...] = ()
    health_output: str = field(default="", repr=False)  # of the health check's last try


@dataclass(frozen=True)
class Observed:
    """A project as the engine has it: every container with its label, running or not."""

    project: str
    containers: tuple[Container, ...] = ()
    networks: tuple[str, ...] = ()

    @property
    def services(self) -> tuple[str, ...]:
        return tuple(sorted({one.service for one in self.containers if not one.is_oneoff}))

    def of(self, service: str) -> tuple[Container, ...]:
        """Containers of a service, by number; one-off containers (`compose run`) are nobody's."""
        mine = (one for one in self.containers if one.service == service and not one.is_oneoff)
        return tuple(sorted(mine, key=lambda one: (one.number, one.name)))

    @property
    def is_empty(self) -> bool:
        return not any(not one.is_oneoff for one in self.containers)


@dataclass(frozen=True)
class EngineInfo:
    """Which engine answered. `id` is the engine's own, the lock's name is made from it."""

    id: str
    version: str
    api_version: str
    architecture: str
    root_directory: str
    compose_version: str = ""


@dataclass(frozen=True)
class Reading:
    """One look at one thing that has to be well: a container, a URL, a port, a name on a network."""

    name: str
    service: str
    is_good: bool
    is_final: bool = False
    detail: str = ""
    """What was seen, in one line. `is_final`: waiting longer cannot help (it has crashed)."""
