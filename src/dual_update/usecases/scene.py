"""What the checks of the preflight look at: gathered once, so that they all judge the same moment."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dual_update.core.cluster import EngineInfo
from dual_update.core.model import OUTSIDE_ROOT, Rendered, inside_repository
from dual_update.core.placement import at
from dual_update.core.situation import Situation
from dual_update.core.surroundings import Surroundings
from dual_update.usecases.site import Site


@dataclass(frozen=True)
class Scene:
    """The wanted cluster, and the place it is to stand in. `state` is where this run's backup goes."""

    site: Site
    situation: Situation
    info: EngineInfo
    surroundings: Surroundings
    state: str = ""

    @property
    def after(self) -> Rendered:
        return self.situation.after

    def services(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Services that will run, with their models."""
        for name in self.after.active:
            yield name, self.after.services[name]

    @cached_property
    def ours(self) -> frozenset[str]:
        """Ids of the containers that make way, or stay as ours."""
        old = self.situation.old_project
        return frozenset(
            one.id for seen in (self.situation.observed, old) if seen is not None for one in seen.containers
        )

    @cached_property
    def wanted_paths(self) -> frozenset[str]:
        """Every path of the wanted commit."""
        return frozenset(self.site.repository.tree(self.situation.decision.head).list())

    @cached_property
    def current_paths(self) -> frozenset[str]:
        """Every path of the commit that is checked out: git takes those away that are not wanted."""
        current = self.situation.current_commit
        return frozenset(self.site.repository.tree(current).list()) if current else frozenset()

    def kind(self, path: str) -> str | None:
        """What will lie at a model's path once the commit is checked out: `file`, `directory`, or `` for
        nothing. None where it cannot be known: the path is the engine's, and the engine is elsewhere."""
        inside = inside_repository(path)
        if inside is None:
            if path.startswith(f"{OUTSIDE_ROOT}/"):
                return self._on_host(at(path, self.site.checkout.path))
            return self._on_host(path) if self.surroundings.is_same_host else None
        if inside in self.wanted_paths:
            return "file"
        if inside == "" or any(one.startswith(f"{inside}/") for one in self.wanted_paths):
            return "directory"
        if inside in self.current_paths:
            return ""
        return self._on_host(f"{self.site.checkout.path}/{inside}")

    def _on_host(self, path: str) -> str:
        if not self.site.disk.exists(path):
            return ""
        return "directory" if self.site.disk.is_directory(path) else "file"


_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:[A-Za-z0-9.-]+(?::[0-9]+)?/|\[[0-9a-fA-F:]+\](?::[0-9]+)?/)?{_PART}(?:/{_PART})*"
    r"(?::\w[\w.-]{0,127})?(?:@[a-z0-9+._-]+:[0-9a-fA-F]{32,})?"
)


def is_reference(text: str) -> bool:
    """Can an engine take this as an image's name. Source: distribution/reference, `regexp.go`."""
    return _REFERENCE.fullmatch(text) is not None


def shown(path: str) -> str:
    """A model's path as its owner knows it."""
    inside = inside_repository(path)
    return path if inside is None else inside or "."


Check = Callable[[Scene], Iterator[str]]
