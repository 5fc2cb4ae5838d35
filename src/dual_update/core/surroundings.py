"""What else lives on the engine and its host: everything an update could run into."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Neighbour:
    """A container, of whatever project. `project` is compose's label, empty where there is none."""

    id: str
    names: tuple[str, ...]
    project: str = ""


@dataclass(frozen=True)
class NeighbourNetwork:
    """A network of the engine and the address ranges it has taken."""

    name: str
    project: str = ""
    subnets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Surroundings:
    """The engine's other containers and networks, and what it can do.

    `is_same_host`: the engine shares files, devices and addresses with this process, so that they can be
    looked at. Empty sets of drivers and runtimes mean that the engine did not say.
    """

    containers: tuple[Neighbour, ...] = ()
    networks: Mapping[str, NeighbourNetwork] = field(default_factory=dict)
    runtimes: frozenset[str] = frozenset()
    log_drivers: frozenset[str] = frozenset()
    volume_drivers: frozenset[str] = frozenset()
    network_drivers: frozenset[str] = frozenset()
    cpus: int = 0
    is_same_host: bool = False

    def named(self, name: str) -> Neighbour | None:
        """The container that has this name, or whose id begins like this."""
        for one in self.containers:
            if name in one.names or (len(name) >= 12 and one.id.startswith(name)):
                return one
        return None


@dataclass(frozen=True)
class Listener:
    """A socket of this host that others cannot bind any more. `protocol` is `tcp` or `udp`."""

    address: str
    port: int
    protocol: str
    inode: int = 0


@dataclass(frozen=True)
class Holder:
    """The process behind a socket. `container` is the id of the container it runs in, if any."""

    pid: int
    program: str
    container: str = ""
