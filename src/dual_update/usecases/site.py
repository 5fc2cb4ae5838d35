"""One cluster on its host: everything a transaction needs, bound once by the composition root."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from dual_update.core.config import Config
from dual_update.core.strategies import Strategy
from dual_update.usecases.detect import Project, SentToBuild
from dual_update.usecases.ports import (
    Checkout,
    Clock,
    ComposeProject,
    Disk,
    Engine,
    Prober,
    Registry,
    Renderer,
    Repository,
    Say,
    Shell,
    Sockets,
    Store,
    Tree,
    Watchtower,
    Workshop,
)


class HostTree:
    """A commit's files, and beneath them the host's own that git does not hold (an ignored `.env`).

    `served` remembers which of the host's files were used: they belong into the backup.
    """

    def __init__(self, tree: Tree, host: Callable[[str], bytes | None]) -> None:
        self._tree = tree
        self._host = host
        self.served: dict[str, bytes] = {}

    @property
    def commit(self) -> str:
        return self._tree.commit

    def read(self, path: str) -> bytes | None:
        content = self._tree.read(path)
        if content is None:
            content = self._host(path)
            if content is not None:
                self.served[path] = content
        return content

    def list(self) -> "tuple[str, ...]":
        return tuple(self._tree.list())

    def real(self, path: str) -> str:
        return self._tree.real(path)

    def links(self, path: str) -> Sequence[str]:
        return self._tree.links(path)


@dataclass(frozen=True)
class Site:
    """The cluster, its checkout and the world around it.

    `compose` gives compose for a project name and compose files (paths below the repository's root).
    `salt` gives a few random characters for names. Without `sockets` only containers are known to take
    ports; without a `registry` an image is known by what is here; without a `watchtower` nothing is poked;
    without a `shell` no command runs on the host. `strategy` loads the owner's choice, where there is one:
    only a plan runs it. `words`: what this host says for words of a model (`placement.on_host`).
    """

    cluster: str
    project: Project
    config: Config
    repository: Repository
    renderer: Renderer
    sent_to_build: SentToBuild
    engine: Engine
    compose: Callable[[str, tuple[str, ...]], ComposeProject]
    workshop: Workshop
    checkout: Checkout
    store: Store
    prober: Prober
    clock: Clock
    disk: Disk
    say: Say
    salt: Callable[[], str]
    sockets: Sockets | None = None
    registry: Registry | None = None
    watchtower: Watchtower | None = None
    shell: Shell | None = None
    strategy: Callable[[], Strategy | None] = lambda: None
    words: Mapping[str, str] = field(default_factory=dict)
