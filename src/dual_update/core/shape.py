"""What a service's containers look like when they were really made from a model: the auditor's measure.

Compose's own hash label is a claim as well: a container can carry it and have other mounts, names or
variables. Here the model is laid out so that each can be compared with what the engine shows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dual_update.core.cluster import Container, Details
from dual_update.core.model import Rendered, image_of, joined, replicas
from dual_update.core.placement import at


@dataclass(frozen=True)
class MountedFile:
    """A file that a container must see at `target`: the bytes themselves, or where they lie on the host.

    `is_made_by_compose`: compose wrote it into the container, so that no other tool brings it back.
    """

    target: str
    what: str
    content: bytes | None = field(default=None, repr=False)
    host_path: str = ""
    is_made_by_compose: bool = False


@dataclass(frozen=True)
class Link:
    """Another service that must be found by name, and the TCP ports that the model says it has."""

    service: str
    ports: tuple[int, ...] = ()


@dataclass(frozen=True)
class Shape:
    """One service as its containers must show it. `mounts`: path -> volume name or host path; `joins`:
    services in whose namespaces it lives."""

    reference: str
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    networks: Mapping[str, frozenset[str]] = field(default_factory=dict)
    mounts: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[str, ...] = ()
    files: tuple[MountedFile, ...] = ()
    links: tuple[Link, ...] = ()
    joins: tuple[str, ...] = ()
    has_own_name: bool = False
    has_own_network: bool = True


def shape_of(rendered: Rendered, service: str, checkout: str) -> Shape:
    """The shape of a service; `checkout` is where the repository lies on the host."""
    model = rendered.services[service]
    has_network = not model.get("network_mode")
    return Shape(
        reference=image_of(rendered.name, service, model),
        environment={
            name: _plain(value)
            for name, value in (model.get("environment") or {}).items()
            if value is not None
        },
        networks=_networks(rendered, service) if has_network else {},
        mounts=_mounts(rendered, model, checkout),
        ports=_ports(model) if has_network else (),
        files=(*_made_files(rendered, model, checkout), *_bound_files(model, checkout)),
        links=tuple(_links(rendered, service)) if has_network else (),
        joins=tuple(sorted({other for _, other in joined(model)})),
        has_own_name=bool(model.get("container_name")),
        has_own_network=has_network,
    )  # fmt: skip


def bound_files(shape: Shape) -> tuple[MountedFile, ...]:
    """Files of the host: a start mounts whatever lies there by then."""
    return tuple(one for one in shape.files if not one.is_made_by_compose)


def misfits(container: Container, details: Details | None, shape: Shape) -> list[str]:
    """Sentences about what a running container has otherwise than its model says. Values are never said."""
    found = []
    name = container.name
    if container.image_ref != shape.reference:
        found.append(f"{name} was made from {container.image_ref}, not from {shape.reference}.")
    if shape.has_own_network:
        found += _network_misfits(container, shape)
    for target, source in shape.mounts.items():
        seen = container.mounts.get(target)
        if seen is None:
            found.append(f"{name} mounts nothing at {target}.")
        elif source and not _is_same_source(seen, source):
            found.append(f"{name} mounts something else than the wanted source at {target}.")
    for port in shape.ports:
        if not any(one.endswith(port) for one in container.host_ports):
            found.append(f"{name} does not publish port {port.lstrip(':')}.")
    if details is not None:
        other = sorted(k for k, v in shape.environment.items() if details.environment.get(k) != v)
        if other:
            found.append(f"{name} has other values than wanted in its environment: {', '.join(other)}.")
    if not shape.has_own_name and not _is_numbered(container):
        found.append(f"{name} does not have the name that compose gives container {container.number}.")
    return found


def _network_misfits(container: Container, shape: Shape) -> list[str]:
    found = []
    for network, aliases in shape.networks.items():
        if network not in container.aliases:
            found.append(f"{container.name} is not on the network {network}.")
        else:
            lost = sorted(aliases - set(container.aliases[network]))
            if lost:
                found.append(f"{container.name} lost its name {', '.join(lost)} on the network {network}.")
    foreign = sorted(set(container.aliases) - set(shape.networks))
    return [*found, *(f"{container.name} is on the network {one}, and nobody wants that." for one in foreign)]


def _is_numbered(container: Container) -> bool:
    return container.name.replace("_", "-").endswith(
        f"{container.service.replace('_', '-')}-{container.number}"
    )


def _is_same_source(seen: str, wanted: str) -> bool:
    """Engines inside a virtual machine show a host's path below a prefix of their own."""
    return seen.rstrip("/") == wanted.rstrip("/") or (wanted.startswith("/") and seen.endswith(wanted))


def _plain(value: object) -> str:
    """A value as the container gets it: in a rendered model a `$` is written `$$`."""
    return str(value).replace("$$", "$")


def _networks(rendered: Rendered, service: str) -> dict[str, frozenset[str]]:
    found = {}
    for key, settings in (rendered.services[service].get("networks") or {}).items():
        name = str((rendered.networks.get(key) or {}).get("name") or f"{rendered.name}_{key}")
        found[name] = frozenset({service, *((settings or {}).get("aliases") or ())})
    return found


def _mounts(rendered: Rendered, model: Mapping[str, Any], checkout: str) -> dict[str, str]:
    found = {}
    for one in model.get("volumes") or ():
        kind, source = one.get("type"), str(one.get("source") or "")
        target = str(one.get("target", "")).rstrip("/") or "/"
        if kind == "volume" and source:
            found[target] = str(
                (rendered.volumes.get(source) or {}).get("name") or f"{rendered.name}_{source}"
            )
        elif kind == "volume":
            found[target] = ""
        elif kind == "bind":
            found[target] = at(source, checkout)
    return found


def _ports(model: Mapping[str, Any]) -> tuple[str, ...]:
    found = []
    for one in model.get("ports") or ():
        published = str(one.get("published") or "")
        if published.isdigit() and published != "0":
            found.append(f":{published}/{one.get('protocol') or 'tcp'}")
    return tuple(found)


def _made_files(rendered: Rendered, model: Mapping[str, Any], checkout: str) -> list[MountedFile]:
    found = []
    for kind, resources, folder in (
        ("config", rendered.configs, "/"),
        ("secret", rendered.secrets, "/run/secrets/"),
    ):
        for use in model.get(f"{kind}s") or ():
            source = str(use.get("source") if isinstance(use, Mapping) else use)
            target = str((use.get("target") if isinstance(use, Mapping) else "") or source)
            target = target if target.startswith("/") else f"{folder}{target}"
            resource = resources.get(source) or {}
            what = f"{kind} {source}"
            if resource.get("content") is not None:
                content = _plain(resource["content"]).encode()
                found.append(MountedFile(target, what, content, is_made_by_compose=True))
            elif resource.get("file"):
                found.append(MountedFile(target, what, host_path=at(str(resource["file"]), checkout)))
            elif resource.get("environment"):
                found.append(MountedFile(target, what, is_made_by_compose=True))
    return found


def _bound_files(model: Mapping[str, Any], checkout: str) -> list[MountedFile]:
    """Binds of paths in the checkout; whether they are files is known on the host."""
    root = checkout.rstrip("/") + "/"
    found = []
    for one in model.get("volumes") or ():
        source = at(str(one.get("source") or ""), checkout)
        if one.get("type") == "bind" and source.startswith(root):
            what = f"file {source.removeprefix(root)}"
            found.append(MountedFile(str(one["target"]), what, host_path=source))
    return found


def _links(rendered: Rendered, service: str) -> list[Link]:
    """Services it depends on and shares a network with."""
    mine = set(rendered.services[service].get("networks") or ())
    found = []
    for needed, how in sorted((rendered.services[service].get("depends_on") or {}).items()):
        model = rendered.services.get(needed)
        if model is None or not rendered.is_active(needed) or not replicas(model):
            continue
        if not mine & set(model.get("networks") or ()):
            continue
        if (how or {}).get("condition") == "service_completed_successfully":
            continue
        found.append(Link(needed, _tcp_ports(model)))
    return found


def _tcp_ports(model: Mapping[str, Any]) -> tuple[int, ...]:
    """Ports that the file itself declares; an image's EXPOSE often names what nobody listens on."""
    named = [str(one) for one in model.get("expose") or ()]
    named += [f"{one.get('target')}/{one.get('protocol') or 'tcp'}" for one in model.get("ports") or ()]
    found = {one.partition("/")[0] for one in named if one.partition("/")[2] in ("", "tcp")}
    return tuple(sorted(int(one) for one in found if one.isdigit()))
