"""Submodules: other repositories that a commit points into."""

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass

_URL = re.compile(r"^(?:https?|ssh|git)://(?:[^/@]*@)?[^/]+/(?P<path>.+)$")
_SCP = re.compile(r"^(?:[^/@:]+@)?[^/:]+:(?P<path>[^/].*)$")
_NAME = re.compile(r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$")


@dataclass(frozen=True)
class SubmoduleMove:
    """A pointer that differs between two commits. `before` is None for a new submodule, `after` for one gone.

    `commits` are those between, newest first, as short id and subject; one that the move leaves behind
    begins with `undone: `. `files` counts every path that differs. `repository` is OWNER/NAME, or empty.
    """

    path: str
    before: str | None
    after: str | None
    repository: str = ""
    commits: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


def owner_and_name(url: str, parent_url: str = "") -> str:
    """OWNER/NAME that a submodule's url names; empty for a path or a host that has no such names.

    A relative url (`../lib.git`) is taken from the url of the repository around it, as git does
    (gitsubmodules: `./` and `../` are relative to the superproject's origin).
    """
    if url.startswith(("./", "../")):
        around = _path(parent_url)
        path = posixpath.normpath(posixpath.join("/", around, url)).lstrip("/") if around else ""
    else:
        path = _path(url)
    name = path.strip("/").removesuffix(".git")
    return name if _NAME.match(name) else ""


def _path(url: str) -> str:
    found = _URL.match(url) or _SCP.match(url)
    return found["path"] if found else ""


def innermost(path: str, moves: Sequence[SubmoduleMove]) -> SubmoduleMove | None:
    """The submodule that a file lies in: of nested ones the one deepest down."""
    around = [one for one in moves if path.startswith(f"{one.path}/")]
    return max(around, key=lambda one: len(one.path), default=None)
