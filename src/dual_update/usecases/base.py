"""Find what a comparison starts from."""

from typing import Protocol

from dual_update.core.base import Base, choose


class Clone(Protocol):
    """What must be known of a repository to choose a base in it."""

    def has(self, commit: str) -> bool:
        """Is the commit in this clone."""
        ...

    @property
    def is_shallow(self) -> bool:
        """Does this clone lack the older part of its history."""
        ...


def find_base(clone: Clone, *, deployed: str | None, before: str | None, head: str) -> Base:
    """The base of a push to `head` in this clone; see `core.base.choose`."""
    return choose(deployed, before, head, has=clone.has, is_shallow=clone.is_shallow)
