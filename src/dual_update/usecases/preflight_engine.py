"""What the engine must have and be able to do. The engine itself would say so only halfway through."""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Any

from dual_update.core.model import NAMESPACES, Rendered, replicas
from dual_update.usecases.scene import Check, Scene, is_reference

LEAST_COMPOSE = (2, 20)
"""The first with `include`, and a dry run of `up` to rely on. Source: docker/compose, release notes."""

LEAST_API = (1, 40)
"""Docker 19.03; what compose 2 asks for. Source: docker/compose, README of v2."""

LEAST_MEMORY_BYTES = 6 * 1024 * 1024
"""The engine gives no container less. Source: moby, daemon/daemon_unix.go (`linuxMinMemory`)."""


def _versions(scene: Scene) -> Iterator[str]:
    for what, said, least in (
        ("compose", scene.info.compose_version, LEAST_COMPOSE),
        ("the docker engine's API", scene.info.api_version, LEAST_API),
    ):
        found = re.match(r"v?(\d+)\.(\d+)", said)
        wanted = ".".join(map(str, least))
        if found is None:
            yield f"The version of {what} is not known; at least {wanted} is needed."
        elif (int(found[1]), int(found[2])) < least:
            yield f"The version of {what} is {said}; at least {wanted} is needed."


def _external_resources(scene: Scene) -> Iterator[str]:
    engine = scene.site.engine
    for kind, here in (("network", engine.networks()), ("volume", engine.volumes())):
        resources: Mapping[str, Mapping[str, object]] = getattr(scene.after, f"{kind}s")
        for key, resource in resources.items():
            name = str(resource.get("name") or key)
            if resource.get("external") and name not in here:
                yield f"The external {kind} {name} does not exist: `docker {kind} create {name}` makes it."


def _foreign_networks(scene: Scene) -> Iterator[str]:
    """Compose refuses a network of its name that another project made."""
    projects = {scene.after.name, scene.situation.observed.project, scene.situation.before.name}
    for key, network in _own_networks(scene.after):
        name = str(network.get("name") or f"{scene.after.name}_{key}")
        other = scene.surroundings.networks.get(name)
        if other is not None and other.project not in projects:
            whose = f"project {other.project}" if other.project else "nobody's compose project"
            yield f"The network {name} exists already and belongs to {whose}."


def _colliding_subnets(scene: Scene) -> Iterator[str]:
    for key, network in _own_networks(scene.after):
        name = str(network.get("name") or f"{scene.after.name}_{key}")
        for subnet in _subnets(network):
            for other in scene.surroundings.networks.values():
                if other.name == name or other.project == scene.after.name:
                    continue
                for taken in other.subnets:
                    if _overlap(subnet, taken):
                        yield f"The network {key} wants {subnet}, and the network {other.name} has {taken}."


def _addresses(scene: Scene) -> Iterator[str]:
    """An address of a service's own lies in the network's range, which has to be written down."""
    for service, model in scene.services():
        for key, use in (model.get("networks") or {}).items():
            network = scene.after.networks.get(key) or {}
            for field in ("ipv4_address", "ipv6_address"):
                wanted = (use or {}).get(field)
                if not wanted or network.get("external"):
                    continue
                if not any(_contains(subnet, str(wanted)) for subnet in _subnets(network)):
                    yield f"{service}: the address {wanted} lies in no subnet that the network {key} has."


def _own_networks(after: Rendered) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return ((key, one) for key, one in after.networks.items() if not (one or {}).get("external"))


def _subnets(network: Mapping[str, Any]) -> list[str]:
    parts = (network.get("ipam") or {}).get("config") or ()
    return [str(part["subnet"]) for part in parts if part.get("subnet")]


def _overlap(one: str, other: str) -> bool:
    try:
        a, b = ipaddress.ip_network(one, strict=False), ipaddress.ip_network(other, strict=False)
    except ValueError:
        return False
    return a.version == b.version and a.overlaps(b)


def _contains(subnet: str, address: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(subnet, strict=False)
    except ValueError:
        return False


def _taken_names(scene: Scene) -> Iterator[str]:
    """Container names are the engine's, not a project's."""
    for service, model in scene.services():
        own = model.get("container_name")
        count = replicas(model)
        numbered = [f"{scene.after.name}-{service}-{number}" for number in range(1, count + 1)]
        for name in [str(own)] if own else numbered:
            other = scene.surroundings.named(name)
            if other is not None and name in other.names and other.id not in scene.ours:
                whose = f" of project {other.project}" if other.project else ""
                yield f"{service}: the container name {name} is taken by container {other.id[:12]}{whose}."


def _joined_containers(scene: Scene) -> Iterator[str]:
    """Containers outside the project that a service joins by name."""
    for service, model in scene.services():
        wanted = [(kind, str(model.get(kind) or "")) for kind in NAMESPACES]
        wanted += [("volumes_from", str(one)) for one in model.get("volumes_from") or ()]
        for kind, value in wanted:
            if value.startswith("container:"):
                name = value.split(":")[1]
                if scene.surroundings.named(name) is None:
                    yield f"{service}: {kind} names the container {name}, and there is none."
        for link in model.get("external_links") or ():
            name = str(link).partition(":")[0]
            if scene.surroundings.named(name) is None:
                yield f"{service}: external_links names the container {name}, and there is none."


def _references(scene: Scene) -> Iterator[str]:
    """Compose takes any text for an image; the engine does not."""
    for service, model in scene.services():
        image = str(model.get("image") or "")
        if image and not is_reference(image):
            yield f"{service}: {image} is no image reference (invalid reference format)."


def _drivers(scene: Scene) -> Iterator[str]:
    around = scene.surroundings
    for service, model in scene.services():
        runtime = model.get("runtime")
        if runtime and around.runtimes and runtime not in around.runtimes:
            yield f"{service}: the engine has no runtime {runtime}, it has {_few(around.runtimes)}."
        driver = (model.get("logging") or {}).get("driver")
        if driver and driver != "none" and around.log_drivers and driver not in around.log_drivers:
            yield f"{service}: the engine has no logging driver {driver}."
    for kind, known in (("network", around.network_drivers), ("volume", around.volume_drivers)):
        for key, resource in getattr(scene.after, f"{kind}s").items():
            driver = (resource or {}).get("driver")
            if driver and driver != "default" and known and driver not in known:
                yield f"The {kind} {key} wants the driver {driver}, which the engine does not have."


def _few(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)[:5])


def _gpus(scene: Scene) -> Iterator[str]:
    for service, model in scene.services():
        reserved = ((model.get("deploy") or {}).get("resources") or {}).get("reservations") or {}
        wishes = [*(reserved.get("devices") or ()), *(model.get("gpus") or ())]
        if not any(_is_nvidia(one) for one in wishes) or "nvidia" in scene.surroundings.runtimes:
            continue
        if scene.surroundings.is_same_host and not scene.site.disk.exists("/dev/nvidiactl"):
            yield f"{service}: asks for a GPU, and this host and its engine show none."


def _is_nvidia(wish: Mapping[str, Any]) -> bool:
    driver = wish.get("driver") or ""
    return driver == "nvidia" or (not driver and "gpu" in (wish.get("capabilities") or ["gpu"]))


def _limits(scene: Scene) -> Iterator[str]:
    """Limits that the engine refuses when it makes the container."""
    for service, model in scene.services():
        limits = ((model.get("deploy") or {}).get("resources") or {}).get("limits") or {}
        cpus = float(model.get("cpus") or limits.get("cpus") or 0)
        if scene.surroundings.cpus and cpus > scene.surroundings.cpus:
            yield f"{service}: wants {cpus:g} CPUs, and the engine has {scene.surroundings.cpus}."
        memory = int(model.get("mem_limit") or limits.get("memory") or 0)
        if 0 < memory < LEAST_MEMORY_BYTES:
            least = LEAST_MEMORY_BYTES // 2**20
            yield f"{service}: a memory limit of {memory} bytes is less than the engine's least, {least} MiB."


def _unsupported(scene: Scene) -> Iterator[str]:
    """What compose cannot do on a plain engine, and says so only when it comes to it."""
    for service, model in scene.services():
        provider = (model.get("provider") or {}).get("type")
        if provider:
            yield f"{service}: is made by the provider {provider}, and that cannot be proven or taken back."
    for kind in ("config", "secret"):
        for key, resource in getattr(scene.after, f"{kind}s").items():
            if (resource or {}).get("external"):
                yield f"The {kind} {key} is external, which only a swarm knows."


CHECKS: tuple[Check, ...] = (
    _versions,
    _references,
    _external_resources,
    _foreign_networks,
    _colliding_subnets,
    _addresses,
    _taken_names,
    _joined_containers,
    _drivers,
    _gpus,
    _limits,
    _unsupported,
)
