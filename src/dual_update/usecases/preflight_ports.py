"""Host ports: free, or ours to take over."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dual_update.core.model import replicas
from dual_update.core.surroundings import Listener
from dual_update.usecases.scene import Check, Scene

_EVERYWHERE = frozenset({"0.0.0.0", "::", "[::]", ""})  # noqa: S104


@dataclass(frozen=True)
class _Wish:
    """One line of a service's `ports`. With a range as published port, compose takes any one of it."""

    service: str
    address: str
    first: int
    last: int
    protocol: str
    count: int

    @property
    def text(self) -> str:
        ports = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        return f"{self.address}:{ports}/{self.protocol}" if self.address else f"{ports}/{self.protocol}"


@dataclass(frozen=True)
class _Taken:
    """A port somebody has. `listener` is set where a process was seen, `owner` where it is a container."""

    address: str
    port: int
    protocol: str
    owner: str = ""
    listener: Listener | None = None


def _wishes(scene: Scene) -> Iterator[_Wish]:
    for service, model in scene.services():
        for port in model.get("ports") or ():
            first, _, last = str(port.get("published") or "").partition("-")
            if first.isdigit() and int(first) > 0:
                yield _Wish(
                    service,
                    str(port.get("host_ip") or ""),
                    int(first),
                    int(last) if last.isdigit() else int(first),
                    str(port.get("protocol") or "tcp"),
                    replicas(model),
                )


def _taken_ports(scene: Scene) -> Iterator[str]:
    """Ports that another container publishes, or a process of this host listens on."""
    wishes = list(_wishes(scene))
    if not wishes:
        return
    containers, processes = list(_published(scene)), list(_listened(scene))
    for wish in wishes:
        reasons = []
        for port in range(wish.first, wish.last + 1):
            reason = _reason(scene, wish, port, containers, processes)
            if reason:
                reasons.append(reason)
        if wish.last - wish.first + 1 - len(reasons) < min(wish.count, wish.last - wish.first + 1):
            yield f"{wish.service}: host port {wish.text} is taken by {reasons[0]}."


def _published(scene: Scene) -> Iterator[_Taken]:
    for key, owner in scene.site.engine.used_ports().items():
        address, _, rest = key.rpartition(":")
        port, _, protocol = rest.partition("/")
        yield _Taken(address, int(port), protocol, owner)


def _listened(scene: Scene) -> Iterator[_Taken]:
    if scene.site.sockets is not None and scene.surroundings.is_same_host:
        for one in scene.site.sockets.listening():
            yield _Taken(one.address, one.port, one.protocol, listener=one)


def _reason(
    scene: Scene, wish: _Wish, port: int, containers: Sequence[_Taken], processes: Sequence[_Taken]
) -> str:
    """Who has this port, or nothing where it is free or ours."""
    hits = [one for one in containers if _collides(one, wish, port)]
    for one in hits:
        if one.owner not in scene.ours:
            return f"container {_name(scene, one.owner)}"
    for one in processes:
        if not _collides(one, wish, port) or one.listener is None:
            continue
        if any(one.address in (hit.address.strip("[]"), *_EVERYWHERE) for hit in hits):
            continue  # the engine itself listens there, for a container of ours
        holder = scene.site.sockets.holder(one.listener) if scene.site.sockets is not None else None
        if holder is None:
            return "another program of this host"
        if holder.container in scene.ours:
            continue
        return f"the program {holder.program} (process {holder.pid})"
    return ""


def _collides(taken: _Taken, wish: _Wish, port: int) -> bool:
    if (taken.port, taken.protocol) != (port, wish.protocol):
        return False
    address = taken.address.strip("[]")
    return address == wish.address or address in _EVERYWHERE or wish.address in _EVERYWHERE


def _name(scene: Scene, container: str) -> str:
    found = scene.surroundings.named(container)
    return found.names[0] if found is not None and found.names else container[:12]


def _foreign_addresses(scene: Scene) -> Iterator[str]:
    """A port can only be published on an address that this host has."""
    sockets = scene.site.sockets
    if sockets is None or not scene.surroundings.is_same_host:
        return
    for wish in _wishes(scene):
        if wish.address not in _EVERYWHERE and not sockets.has_address(wish.address):
            yield f"{wish.service}: {wish.text} cannot be published, this host has no address {wish.address}."


def _wanted_twice(scene: Scene) -> Iterator[str]:
    """Two services that want one port: the second would not start."""
    seen: list[_Wish] = []
    for wish in _wishes(scene):
        if wish.first != wish.last:
            continue
        for other in seen:
            taken = _Taken(other.address, other.first, other.protocol)
            if other.service != wish.service and _collides(taken, wish, wish.first):
                yield f"{wish.service}: host port {wish.text} is wanted by {other.service} too."
                break
        seen.append(wish)


def _too_many_for_one(scene: Scene) -> Iterator[str]:
    for service, model in scene.services():
        count = replicas(model)
        places = [wish.last - wish.first + 1 for wish in _wishes(scene) if wish.service == service]
        if count > 1 and (model.get("container_name") or any(place < count for place in places)):
            yield f"{service}: {count} containers cannot share one fixed name or host port."


CHECKS: tuple[Check, ...] = (_taken_ports, _foreign_addresses, _wanted_twice, _too_many_for_one)
