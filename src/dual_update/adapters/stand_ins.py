"""Values for variables that only the host knows, because git leaves its `.env` alone.

Compose refuses files that demand such a variable (`${PASSWORD:?}`), or that have a number only by one. With
the same value on both sides of a comparison the rest of the files can be compared; what the variables
themselves would change is the host's to say, and the verdict is conditional.
"""

import re
from collections.abc import Collection, Iterable

from dual_update.adapters.ignore import is_git_ignored
from dual_update.usecases.ports import Tree

_NAME = rb"[A-Za-z_][A-Za-z0-9_]{0,63}"
_USE = re.compile(
    rb"(?P<item>(?:-[ \t]+|[\[,][ \t]*)[\"']?)?"
    rb"(?<!\$)\$(?:\{(?P<braced>%b)(?::?\?[^{}]*)?\}|(?P<bare>%b))"
    rb"(?P<path>:?/)?(?=(?P<address>:(?:\$\{[^{}]*\}|[^:/\s\"'])+:)?)" % (_NAME, _NAME)
)

_NUMBER = "1"
"""Fits where text, a number, a port or a switch is wanted."""
_ADDRESS = "127.0.0.1"


def stand_ins(tree: Tree, dot_env: str, files: Iterable[bytes], known: Collection[str]) -> dict[str, str]:
    """Variable -> value for every one without a default and not `known`; none when the host keeps no
    `.env` of its own there, nor what a link of that name leads to."""
    if not any(is_git_ignored(tree, path) for path in {dot_env, tree.real(dot_env)}):
        return {}
    found: dict[str, str] = {}
    for content in files:
        for use in _USE.finditer(content):
            name = (use["braced"] or use["bare"]).decode()
            line = content[content.rfind(b"\n", 0, use.start()) + 1 : use.start()]
            fitting = _fitting_a_list(name, use) if use["item"] is not None else None
            if name not in known and (fitting or name not in found):
                is_image = b"image:" in line  # is shown: app:tag, not app:1
                found[name] = fitting or (name.lower() if is_image else _NUMBER)
    return found


def _fitting_a_list(name: str, use: re.Match[bytes]) -> str | None:
    """What fits at the begin of a line of ports or volumes, if it is one."""
    if use["path"] is not None:  # - "${DATA}:/var/lib/data"
        return f"/{name.lower()}"
    return _ADDRESS if use["address"] is not None else None  # - "${BIND}:${PORT}:80"
