"""The way back: what ran before a run changed anything, down to image ids and nameless volumes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dual_update.core.cluster import Container, Observed
from dual_update.core.model import ImageRef

KEEP_REPOSITORY = "dual-update"
"""Images of snapshots are kept under `dual-update/PROJECT:ID`, so that no cleanup by tag removes them."""


@dataclass(frozen=True)
class Kept:
    """One container as it was. `started_at` is empty in snapshots from before it was kept. `is_restarting`:
    it kept crashing, and the engine kept starting it."""

    id: str
    name: str
    service: str
    number: int
    image_id: str
    image_ref: str
    config_hash: str
    is_running: bool
    exit_code: int = 0
    anonymous_volumes: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    started_at: str = ""
    is_restarting: bool = False


@dataclass(frozen=True)
class Snapshot:
    """A cluster before a run. `commit` is where the checkout stood, if anywhere.

    `files` are the compose files as paths below the repository's root; `directory` is the backup on disk.
    `tags` are the references that the wanted cluster pulls or builds, with the images they named before.
    """

    project: str
    commit: str | None
    files: tuple[str, ...]
    containers: tuple[Kept, ...] = ()
    networks: tuple[str, ...] = ()
    directory: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Nothing ran: the way back is to remove what came."""
        return not self.containers

    @property
    def services(self) -> tuple[str, ...]:
        return tuple(sorted({one.service for one in self.containers}))

    @property
    def ids(self) -> frozenset[str]:
        return frozenset(one.id for one in self.containers)

    @property
    def started(self) -> Mapping[str, str]:
        """Id of each container -> when it was started."""
        return {one.id: one.started_at for one in self.containers}

    def of(self, service: str) -> tuple[Kept, ...]:
        return tuple(one for one in self.containers if one.service == service)

    @property
    def images(self) -> Mapping[str, str]:
        """Reference -> image id for every image that ran. Two ids under one reference: the running one's."""
        found: dict[str, str] = {}
        for one in sorted(self.containers, key=lambda kept: kept.is_running):
            found[one.image_ref] = one.image_id
        return found

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Snapshot":
        containers = tuple(Kept(**one) for one in data["containers"])
        return cls(
            project=data["project"],
            commit=data["commit"],
            files=tuple(data["files"]),
            containers=containers,
            networks=tuple(data["networks"]),
            directory=data["directory"],
            tags=data.get("tags") or {},
        )


def take(
    observed: Observed,
    commit: str | None,
    files: tuple[str, ...],
    directory: str = "",
    tags: Mapping[str, str] | None = None,
) -> Snapshot:
    """Freeze what is observed. One-off containers (`compose run`) are left out: nobody returns to them."""
    return Snapshot(
        project=observed.project,
        commit=commit,
        files=files,
        containers=tuple(_kept(one) for one in observed.containers if not one.is_oneoff),
        networks=observed.networks,
        directory=directory,
        tags=dict(tags or {}),
    )


def _kept(container: Container) -> Kept:
    return Kept(
        id=container.id,
        name=container.name,
        service=container.service,
        number=container.number,
        image_id=container.image_id,
        image_ref=container.image_ref,
        config_hash=container.config_hash,
        is_running=container.is_running,
        exit_code=container.exit_code,
        anonymous_volumes=dict(container.anonymous_volumes),
        mounts=dict(container.mounts),
        aliases={network: tuple(names) for network, names in container.aliases.items()},
        started_at=container.started_at,
        is_restarting=container.state == "restarting",
    )


def keep_reference(project: str, image_id: str) -> str:
    """Our own name for an image that a snapshot needs."""
    return f"{KEEP_REPOSITORY}/{project}:{image_id.removeprefix('sha256:')[:12]}"


def can_be_retagged(reference: str) -> bool:
    """A tag can be pointed back at an old image. A digest cannot: it names content."""
    return not ImageRef.parse(reference).is_pinned and not reference.startswith("sha256:")
