"""Files that a checkout writes in another way although git's content is the same: `.gitattributes` changed.

Only what has an effect on Linux counts (gitattributes, "Effects"): `text=auto` alone changes no file there.
"""

import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

Git = Callable[[Path, tuple[str, ...], bytes], str]
"""Runs git with an index of its own and what it reads; returns what it prints."""

_NAME = ".gitattributes"
_CONVERTING = ("text", "eol", "filter", "ident", "working-tree-encoding")


def rewritten(git: Git, before: str, after: str, changed: Collection[str]) -> Iterator[str]:
    """Paths, none of them `changed`, that the two commits' attributes have written differently."""
    folders = {path.removesuffix(_NAME) for path in changed if f"/{path}".endswith(f"/{_NAME}")}
    if not folders:
        return
    was, now = _conversions(git, before, folders), _conversions(git, after, folders)
    for path in sorted((was.keys() & now.keys()) - set(changed)):
        if was[path] != now[path]:
            yield path


def _conversions(git: Git, commit: str, folders: Collection[str]) -> dict[str, tuple[str, ...]]:
    """What is done to each file below these folders when it is written."""
    with tempfile.TemporaryDirectory(prefix="dual-update-") as scratch:
        index = Path(scratch, "index")
        git(index, ("read-tree", commit), b"")
        specs = () if "" in folders else tuple(f":(literal){one}" for one in sorted(folders))
        listed = git(index, ("ls-files", "--stage", "-z", "--", *specs), b"").split("\0")[:-1]
        files = (path for meta, _, path in (one.partition("\t") for one in listed) if meta[:3] == "100")
        asked = "".join(f"{path}\0" for path in files).encode("utf-8", "surrogateescape")
        told = git(index, ("check-attr", "--cached", "-z", "--stdin", *_CONVERTING), asked).split("\0")[:-1]
    found = {}
    step = 3 * len(_CONVERTING)  # path, attribute, value
    for at in range(0, len(told), step):
        text, eol, *others = told[at + 2 : at + step : 3]
        has_crlf = eol == "crlf" and text != "unset"  # `binary` is `-text`
        found[told[at]] = (str(has_crlf), *(one.removeprefix("unspecified") or "unset" for one in others))
    return found
