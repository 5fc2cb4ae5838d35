"""What use-cases need of the world. Adapters fit these; so do the fakes in tests."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dual_update.core.model import Rendered


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


class Repository(Protocol):
    """A git repository on this machine."""

    @property
    def root(self) -> str: ...
    def resolve(self, revisions: Sequence[str]) -> tuple[str, ...]: ...
    def tree(self, commit: str) -> Tree: ...
    def changed(self, base: str, head: str) -> Sequence[FileChange]: ...


class Renderer(Protocol):
    """Compose, as the authority on compose files."""

    def render(self, tree: Tree, files: Sequence[str], *, directory: str, name: str) -> Rendered:
        """Resolve the compose `files` of a tree. `directory` is where they lie in the tree, `name` what the
        repository's directory is called. Raises UsageError with compose's own words."""
        ...


class Registry(Protocol):
    """Where images come from."""

    def digest(self, reference: str) -> str | None:
        """The digest a reference has now, or None. Raises WorldError when the registry does not answer."""
        ...


Say = Callable[[str], None]
Json = Mapping[str, Any]
Names = Iterable[str]
