"""What use-cases need of the world. Adapters fit these; so do the fakes in tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # every command starts here: what only annotations name is not loaded
    from dual_update.core.cluster import Details, EngineInfo, Observed
    from dual_update.core.model import Rendered
    from dual_update.core.submodule import SubmoduleMove
    from dual_update.core.surroundings import Holder, Listener, Surroundings
    from dual_update.core.watchtower import PokeAnswer, WatchtowerPolicy


@dataclass(frozen=True)
class FileChange:
    """One path that differs between two trees. A mode of `160000` is a submodule's pointer."""

    path: str
    old_mode: str
    new_mode: str
    old_id: str
    new_id: str

    @property
    def is_submodule(self) -> bool:
        return "160000" in (self.old_mode, self.new_mode)


class Tree(Protocol):
    """One commit's files, read from git objects; nothing is ever checked out."""

    @property
    def commit(self) -> str: ...
    def read(self, path: str) -> bytes | None:
        """Content of a regular file, or None when the commit holds no such file."""
        ...

    def list(self) -> Sequence[str]:
        """Every path of the commit, submodules' included where their objects are here."""
        ...

    def real(self, path: str) -> str:
        """The path with the commit's symbolic links followed."""
        ...

    def links(self, path: str) -> Sequence[str]:
        """The symbolic links that lead from a path to where it really is."""
        ...


class Repository(Protocol):
    """A git repository on this machine."""

    @property
    def root(self) -> str: ...
    def resolve(self, revisions: Sequence[str]) -> tuple[str, ...]: ...
    def tree(self, commit: str) -> Tree: ...
    def history(self, commit: str, limit: int) -> Sequence[str]:
        """The commit and its first-parent ancestors, newest first."""
        ...

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Does `newer` contain `older`; false where one of them is not in this clone."""
        ...

    def changed(self, base: str, head: str) -> Sequence[FileChange]:
        """Every path that differs between two commits, those inside moved submodules too."""
        ...

    def submodules(self, base: str, head: str, changes: Sequence[FileChange]) -> Sequence[SubmoduleMove]:
        """The submodules whose pointer is among these changes, with their commits."""
        ...

    def submodule_around(self, commit: str, path: str) -> tuple[str, str] | None:
        """The innermost submodule that a path of a commit lies in: its path, and the commit pointed to."""
        ...

    def changed_inside(self, commit: str, submodule: str, revision: str) -> Sequence[FileChange]:
        """Every path below a submodule that differs between one of its own commits and the one that `commit`
        points to. Raises UsageError for a revision that is not here."""
        ...


class Renderer(Protocol):
    """Compose, as the authority on compose files."""

    def render(
        self, tree: Tree, files: Sequence[str], *, directory: str, name: str, by_env: bool = False
    ) -> Rendered:
        """Resolve the compose `files` of a tree. `directory` is where compose runs in the tree, `name` what
        the repository's directory is called; `by_env`: the `.env` in `directory` named the files, so that it
        counts, too. Raises UsageError with compose's own words."""
        ...


class Watchtower(Protocol):
    """A Watchtower's HTTP API. What it answers is a claim; nothing here raises for a bad answer."""

    def poke(self, containers: Sequence[str], images: Sequence[str]) -> PokeAnswer: ...
    def policy(self) -> WatchtowerPolicy: ...


class Registry(Protocol):
    """Where images come from."""

    def digest(self, reference: str) -> str | None:
        """The digest a reference has now, or None. Raises WorldError when the registry does not answer."""
        ...


Say = Callable[[str], None]
Json = Mapping[str, Any]
Names = Iterable[str]


class Engine(Protocol):
    """The docker engine. Every call raises WorldError (Timeout when it does not answer)."""

    def info(self) -> EngineInfo: ...
    def observe(self, project: str) -> Observed:
        """Every container and network that carries the project's label, running or not."""
        ...

    def image_id(self, reference: str) -> str | None:
        """Id of the local image behind a reference (tag, digest or id), None when it is not here."""
        ...

    def image_platform(self, image_id: str) -> str:
        """`os/architecture` of a local image."""
        ...

    def image_has_command(self, image_id: str) -> bool:
        """Does a local image say what to run: a command or an entrypoint."""
        ...

    def image_labels(self, image_id: str) -> Mapping[str, str]:
        """Labels of a local image, its base image's among them."""
        ...

    def image_volumes(self, image_id: str) -> tuple[str, ...]:
        """Paths the image declares as VOLUME."""
        ...

    def repo_digests(self, image_id: str) -> tuple[str, ...]:
        """`repository@sha256:...` names the local image is known by."""
        ...

    def tag(self, image_id: str, reference: str) -> None:
        """Give a local image a name `repository:tag`, taking it from whatever had it."""
        ...

    def untag(self, reference: str) -> None:
        """Take a name away. No error when it is gone already."""
        ...

    def kept_tags(self, repository: str) -> tuple[str, ...]:
        """Local references `repository:*`."""
        ...

    def stop(self, container_id: str) -> None:
        """Stop with the container's own grace period. No error when it is stopped or gone."""
        ...

    def told_to_stop(self, since: str) -> frozenset[str] | None:
        """Containers that were told to stop since a moment (RFC 3339) and have not ended yet; None where
        the engine does not remember that far back."""
        ...

    def start(self, container_id: str) -> None: ...
    def remove(self, container_id: str) -> None:
        """Remove a container, stopped or not; never a volume. No error when it is gone."""
        ...

    def rename(self, container_id: str, name: str) -> None: ...
    def remove_network(self, name: str) -> None:
        """Remove a network without endpoints. No error when it is gone."""
        ...

    def carry(
        self, project: str, service: str, number: int, image_id: str, volumes: Mapping[str, str]
    ) -> str:
        """Create, not start, a container of the service that mounts nameless volumes (path -> volume name).

        Compose, recreating it, hands its volumes on. Returns the id.
        """
        ...

    def networks(self) -> frozenset[str]: ...
    def volumes(self) -> frozenset[str]: ...
    def used_ports(self) -> Mapping[str, str]:
        """Published host ports of all running containers: `0.0.0.0:80/tcp` -> container id."""
        ...

    def surroundings(self) -> Surroundings:
        """Everything else on the engine, and what it can do."""
        ...

    def details(self, container_id: str) -> Details | None:
        """Labels, environment and what the image brings; None when the container is gone."""
        ...

    def log_tail(self, container_id: str, lines: int = 20) -> str: ...
    def execute(self, container_id: str, command: Sequence[str], timeout_seconds: float) -> tuple[int, str]:
        """Run a command inside; exit code and output. 126 or 127 where the image has no such program."""
        ...

    def read_file(self, container_id: str, path: str) -> bytes | None:
        """A file as the container sees it, None when it has none."""
        ...


class Shell(Protocol):
    """Runs the owner's commands on the host."""

    def run(self, command: Sequence[str], directory: str, timeout_seconds: float) -> tuple[int, str]:
        """Exit code and output; what it started is gone when this returns. Raises Timeout; WorldError when
        there is no such program."""
        ...

    def has(self, program: str, directory: str) -> bool:
        """Is there such a program, by name or by path (a relative one is in the directory)."""
        ...


class ComposeProject(Protocol):
    """Compose acting on a project from its stable checkout. Raises StepFailed with compose's words."""

    def up(
        self,
        services: Sequence[str] = (),
        *,
        with_dependencies: bool = False,
        force: bool = False,
        remove_orphans: bool = False,
        scale: Mapping[str, int] | None = None,
        keep_existing: bool = False,
        start: bool = True,
    ) -> None:
        """`up -d --pull never --no-build [...] SERVICES`. `force` recreates, `keep_existing` never does."""
        ...

    def plans_nothing(self) -> bool:
        """Would a plain `up -d` change anything (dry run)."""
        ...


class Workshop(Protocol):
    """Prepares what a commit needs while the old one runs: pulls and builds, from git objects alone."""

    def pull(self, rendered: Rendered, services: Sequence[str]) -> None: ...
    def build(self, rendered: Rendered, tree: Tree, services: Sequence[str]) -> None: ...
    def hashes(self, rendered: Rendered) -> Mapping[str, str]:
        """Config hash of each service as `up` would label its containers on this host."""
        ...


class Checkout(Protocol):
    """The stable checkout on the host."""

    @property
    def path(self) -> str: ...
    def head(self) -> str: ...
    def dirty(self, target: str) -> tuple[str, ...]:
        """Paths with local edits to tracked files, or untracked ones that `target` would overwrite."""
        ...

    def bring(self, commit: str) -> tuple[str, ...]:
        """Fetch what `move` will need of the checkout's submodules; the work tree stays as it is.

        Returns a sentence for each commit that cannot be had.
        """
        ...

    def move(self, commit: str) -> None:
        """Work tree and submodules to exactly this commit, detached; never over local edits. Idempotent."""
        ...

    def untracked(self, paths: Sequence[str]) -> Mapping[str, bytes]:
        """Content of those of these paths that exist on the host and are not in git (an ignored .env)."""
        ...


class Prober(Protocol):
    """Looks at what the user said has to answer."""

    def http(self, url: str, status: int, body: str | None, timeout_seconds: float) -> str | None:
        """None when it answers as wanted, else one line that says what came instead."""
        ...

    def tcp(self, host: str, port: int, timeout_seconds: float) -> str | None: ...


@dataclass(frozen=True)
class Entry:
    """One line of a run's journal."""

    seq: int
    op: str
    target: str
    phase: str
    at: str
    detail: str = ""


class Store(Protocol):
    """Memory on the cluster's host: runs, journal, quarantine, backups. Every write is on disk on return."""

    def begin(self, record: Json) -> None:
        """A new run (`run`, `cluster`, `kind`, `from`, `to`, `started_at`, `snapshot`, ... as JSON)."""
        ...

    def amend(self, run: str, fields: Json) -> None:
        """Change fields of a run's record."""
        ...

    def write(self, run: str, op: str, target: str, phase: str, detail: str = "") -> None: ...
    def journal(self, run: str) -> tuple[Entry, ...]: ...
    def finish(self, run: str, outcome: str, fields: Json) -> None: ...
    def unfinished(self, cluster: str) -> Json | None: ...
    def run(self, run: str) -> Json | None: ...
    def runs(self, cluster: str = "", *, limit: int = 50, offset: int = 0) -> tuple[Json, ...]:
        """Newest first."""
        ...

    def returnable(self) -> tuple[Json, ...]:
        """Records of every cluster that a way back could need: unfinished runs, and those with a backup."""
        ...

    def clusters(self) -> tuple[str, ...]: ...
    def quarantine(self, cluster: str, fingerprint: str, reason: str, run: str) -> None: ...
    def quarantined(self, cluster: str, fingerprint: str) -> str | None:
        """Why this content is not tried again, or None."""
        ...

    def release(self, cluster: str, fingerprint: str = "") -> int:
        """Lift quarantine (of everything without a fingerprint). Returns how many."""
        ...

    def backup_directory(self, cluster: str, run: str) -> str:
        """A fresh directory for this run's backup, mode 0700; `latest` points at it once `seal`ed."""
        ...

    def seal_backup(self, cluster: str, run: str) -> None: ...
    def prune(self, cluster: str, *, runs: int, backups: int) -> tuple[str, ...]:
        """Forget all but the newest finished runs and backups. Unfinished runs, the newest good one, and runs
        that tell why something is quarantined stay, and so do their backups and the latest one."""
        ...

    def lock(self, key: str, why: str, wait_seconds: float) -> AbstractContextManager[None]:
        """One writer per key, by flock. Raises NotNow that says who holds it, since when and why."""
        ...


class Clock(Protocol):
    def now(self) -> str:
        """RFC 3339, UTC."""
        ...

    def monotonic(self) -> float: ...
    def sleep(self, seconds: float) -> None: ...


class Disk(Protocol):
    """Plain files on the host."""

    def read(self, path: str) -> bytes | None:
        """Bytes of a file, None when there is none."""
        ...

    def write(self, path: str, content: bytes) -> None:
        """Write a file whole and durably; a new one is private to its owner."""
        ...

    def files(self, directory: str) -> Mapping[str, bytes]:
        """Every file below a directory, by its path there; empty when there is no such directory."""
        ...

    def free_bytes(self, path: str) -> int:
        """Space left on the disk that holds a path."""
        ...

    def exists(self, path: str) -> bool: ...

    def is_directory(self, path: str) -> bool: ...
    def is_writable(self, path: str) -> bool:
        """May files be made in this directory, or in the nearest one above it that exists."""
        ...

    def free_inodes(self, path: str) -> int | None:
        """How many more files the disk that holds a path can have; None where it has no such limit."""
        ...


class Sockets(Protocol):
    """Sockets of the host this process runs on."""

    def listening(self) -> Sequence[Listener]: ...
    def holder(self, listener: Listener) -> Holder | None: ...
    def has_address(self, address: str) -> bool: ...
