"""What is wanted: image references and the model of a compose project, as frozen values.

A model is what the compose binary resolved from one commit (`config --format json`): no
interpolation, merging or defaulting is left to do. Paths inside the repository are written
below `/src`, whatever directory compose ran in, so that two renders can be compared.
"""

import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

SOURCE_ROOT = "/src"
"""Where paths of the repository appear in a model."""

OUTSIDE_ROOT = "/outside"
"""Where paths above the repository's root appear in a model: `/outside/x` lies beside it, `/outside/../x` one
folder further up."""

HOME_ROOT = "/home/of-the-deployer"
"""What `~` and `$HOME` are in a model: the same on every machine. See `placement.on_host`."""

HERE_ROOT = "/working-directory/of-the-deployer"
"""What `$PWD` is in fields that hold no path of the host: there `/src` would be a word like any other."""

ANY_PROFILE = "*"

_DIGEST = re.compile(r"^[a-z0-9+._-]+:[0-9a-fA-F]{32,}$")


@dataclass(frozen=True)
class ImageRef:
    """An image reference, split. Source of the grammar: distribution/reference.

    `repository` is written as the user wrote it; `familiar` forms are compared by `same_as`.
    """

    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> "ImageRef":
        """Split `repository[:tag][@digest]`. Never fails: compose does not refuse bad references either."""
        rest, _, digest = text.partition("@")
        if digest and not _DIGEST.match(digest):
            rest, digest = text, ""
        head, colon, tag = rest.rpartition(":")
        if not colon or "/" in tag:
            return cls(rest, "", digest)
        return cls(head, tag, digest)

    def __str__(self) -> str:
        return (
            self.repository
            + (f":{self.tag}" if self.tag else "")
            + (f"@{self.digest}" if self.digest else "")
        )

    @property
    def canonical(self) -> str:
        """Full name as the engine sees it: registry, repository and a tag or digest."""
        repository = self.repository
        if not self.has_host:
            repository = "docker.io/" + (repository if "/" in repository else f"library/{repository}")
        if self.digest:
            return f"{repository}@{self.digest}"
        return f"{repository}:{self.tag or 'latest'}"

    @property
    def has_host(self) -> bool:
        """Does it name a registry's host, as the engine reads it; without one the default one is meant."""
        first, slash, _ = self.repository.partition("/")
        return bool(slash) and ("." in first or ":" in first or first == "localhost")

    @property
    def is_pinned(self) -> bool:
        """A digest names content: nothing can move under it."""
        return bool(self.digest)


@dataclass(frozen=True)
class Rendered:
    """One side of a comparison: the model, and what was read to make it.

    `consulted` holds every path of the tree compose asked for, also those that were absent:
    when none of them changed, neither did the model. `composed` are those of them that were merged into the
    model: named, included or extended. `conditional` names files that git does
    not hold (an ignored env_file), so that the verdict depends on the host. `hidden` holds values of
    variables that look secret: no report shows them, whatever field they got into. `given` tells the values
    apart that configs and secrets take from variables, which no model shows: name -> digest. `starts_from`:
    service -> others whose images its Dockerfile names, which no model shows either (core/dockerfile).
    """

    name: str
    services: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    networks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    volumes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    secrets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    consulted: frozenset[str] = frozenset()
    composed: frozenset[str] = frozenset()
    conditional: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    profiles: frozenset[str] = frozenset()
    hidden: frozenset[str] = field(default=frozenset(), repr=False)
    given: Mapping[str, str] = field(default_factory=dict, repr=False)
    starts_from: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def is_active(self, service: str) -> bool:
        """Does `up` start this service: it has no profile, or one that is switched on."""
        wanted = self.services[service].get("profiles") or ()
        return not wanted or ANY_PROFILE in self.profiles or bool(self.profiles.intersection(wanted))

    @property
    def active(self) -> tuple[str, ...]:
        """Names of the services that `up` starts, sorted."""
        return tuple(sorted(name for name in self.services if self.is_active(name)))


def replicas(service: Mapping[str, Any]) -> int:
    """How many containers a service asks for: `scale`, else `deploy.replicas`, else one."""
    deploy = service.get("deploy") or {}
    for value in (service.get("scale"), deploy.get("replicas")):
        if value is not None:
            return int(value)
    return 1


def image_of(project: str, name: str, service: Mapping[str, Any]) -> str:
    """The reference a service's containers run: `image`, else what compose names a built image."""
    return str(service.get("image") or f"{project}-{name}")


def is_built(service: Mapping[str, Any]) -> bool:
    """Can compose build this service's image from the repository; whether it does says `core/origin.py`."""
    return bool(service.get("build"))


NAMESPACES = ("network_mode", "ipc", "pid")
"""Fields by which a service lives in another's namespaces: they are new ones whenever that one is started."""


def joined(service: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(field, service) for each service of the project in whose namespaces it lives."""
    uses = ((kind, str(service.get(kind) or "")) for kind in NAMESPACES)
    return [(kind, use.removeprefix("service:")) for kind, use in uses if use.startswith("service:")]


def has_hash_of_its_own(service: Mapping[str, Any]) -> bool:
    """Does compose label its containers by the model alone. It puts the id of another's container into the
    hash of a service that joins that one's namespaces or volumes (measured with compose 2.40.3)."""
    return not service.get("volumes_from") and not joined(service)


def image_runs(rendered: Rendered, service: str) -> str:
    """Full name of the image that a service runs."""
    return ImageRef.parse(image_of(rendered.name, service, rendered.services[service])).canonical


def image_names(rendered: Rendered, service: str) -> frozenset[str]:
    """Full names of the image that a service runs, those included that its build gives it besides."""
    tags = (rendered.services[service].get("build") or {}).get("tags") or ()
    more = (ImageRef.parse(str(one)).canonical for one in tags)
    return frozenset((image_runs(rendered, service), *more))


def inside_repository(path: str) -> str | None:
    """The path below the repository's root that a model path names, or None when it lies elsewhere."""
    path = posixpath.normpath(path)  # compose leaves `${PWD}/../x` as it is
    if path == SOURCE_ROOT:
        return ""
    if path.startswith(SOURCE_ROOT + "/"):
        return path[len(SOURCE_ROOT) + 1 :]
    return None


def _shows(path: str) -> str | None:
    """What of the repository a folder shows: all of it, where the folder lies around it."""
    is_around = path == OUTSIDE_ROOT or set(path.removeprefix(f"{OUTSIDE_ROOT}/").split("/")) == {".."}
    return "" if is_around else inside_repository(path)


def service_paths(rendered: Rendered, service: str) -> dict[str, str]:
    """Paths of the repository whose content a service's containers are made with and compose does not look
    into: path -> why (`bind`, `config`, `secret`, `profile`).

    A volume can be a bind in disguise (driver options of the local driver). A seccomp profile is read when
    the container is made (docker/compose pkg/compose/create.go, `parseSecurityOpts`).
    """
    found: dict[str, str] = {}
    model = rendered.services[service]
    for volume in model.get("volumes") or ():
        path = _shows(_bound(rendered, volume))
        if path is not None:
            found[path] = "bind"
    for option in model.get("security_opt") or ():
        kind, _, profile = re.sub("[=:]", "=", str(option), count=1).partition("=")
        if kind == "seccomp" and rendered.files and profile not in {"", "unconfined", "builtin"}:
            directory = posixpath.join(SOURCE_ROOT, posixpath.dirname(rendered.files[0]))
            path = inside_repository(posixpath.normpath(posixpath.join(directory, profile)))
            if path is not None:
                found[path] = "profile"
    for kind, resources in (("config", rendered.configs), ("secret", rendered.secrets)):
        for use in model.get(f"{kind}s") or ():
            source = str((resources.get(str(use.get("source"))) or {}).get("file", ""))
            path = inside_repository(source)
            if path is not None:
                found[path] = kind
    return found


def _bound(rendered: Rendered, volume: Mapping[str, Any]) -> str:
    """The path that a mount shows as it lies there, or nothing."""
    source = str(volume.get("source") or "")
    if volume.get("type") == "bind":
        return source
    options = (rendered.volumes.get(source) or {}).get("driver_opts") or {}
    words = str(options.get("o", "")).split(",")
    is_bind = volume.get("type") == "volume" and not {"bind", "rbind"}.isdisjoint(words)
    return str(options.get("device", "")) if is_bind else ""


def ignores_of(service: Mapping[str, Any], context: str) -> str | None:
    """The Dockerfile beside which an ignore file for this context may lie. Additional contexts heed none but
    their own `.dockerignore` (moby/buildkit frontend/dockerui/namedcontext.go)."""
    main = (service.get("build") or {}).get("context")
    return dockerfile(service) if inside_repository(str(main)) == context else None


def contexts(service: Mapping[str, Any]) -> tuple[str, ...]:
    """Paths of the repository that a service's image is built from: context and additional contexts."""
    build = service.get("build") or {}
    named = [build.get("context"), *(build.get("additional_contexts") or {}).values()]
    return tuple(path for path in (_shows(str(one)) for one in named if one) if path is not None)


def dockerfile(service: Mapping[str, Any]) -> str | None:
    """Path of the Dockerfile inside the repository, when it has one."""
    build = service.get("build") or {}
    if build.get("dockerfile_inline") or not build.get("context"):
        return None
    name = str(build.get("dockerfile") or "Dockerfile")
    return inside_repository(posixpath.normpath(posixpath.join(str(build["context"]), name)))


def build_secrets(rendered: Rendered, service: str) -> tuple[str, ...]:
    """Paths of the repository that a build reads as secrets."""
    uses = (rendered.services[service].get("build") or {}).get("secrets") or ()
    sources = (str((rendered.secrets.get(str(use.get("source"))) or {}).get("file", "")) for use in uses)
    return tuple(path for path in map(inside_repository, sources) if path is not None)


def followers(rendered: Rendered) -> Callable[[str], set[str]]:
    """For a service that is built: all whose containers hold what it builds. These are itself, builds that
    start from its image by `additional_contexts: service:NAME` or by its name, and services that run or mount
    it under one of its names."""
    runs: dict[str, list[str]] = defaultdict(list)
    starts_from: dict[str, list[str]] = defaultdict(list)
    for name, model in rendered.services.items():
        if not is_built(model):
            runs[image_runs(rendered, name)].append(name)
        for volume in model.get("volumes") or ():
            if volume.get("type") == "image":
                runs[ImageRef.parse(str(volume.get("source"))).canonical].append(name)
        for context in ((model.get("build") or {}).get("additional_contexts") or {}).values():
            if str(context).startswith("service:"):
                starts_from[str(context).removeprefix("service:")].append(name)
        for base in rendered.starts_from.get(name, ()):
            starts_from[base].append(name)

    def of(service: str) -> set[str]:
        found: set[str] = set()
        waiting = [service]
        while waiting:
            name = waiting.pop()
            if name in found or name not in rendered.services:
                continue
            found.add(name)
            waiting += starts_from[name]
            if is_built(rendered.services[name]):
                for image in image_names(rendered, name):
                    waiting += runs[image]
        return found

    return of
