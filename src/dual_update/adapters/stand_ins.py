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
    rb"(?P<item>-[ \t]+[\"']?)?(?<!\$)\$(?:\{(?P<braced>%b)(?::?\?[^{}]*)?\}|(?P<bare>%b))(?P<path>:?/)?"
    % (_NAME, _NAME)
)

_NUMBER = "1"
"""Fits where text, a number, a port or a switch is wanted."""


def stand_ins(tree: Tree, dot_env: str, files: Iterable[bytes], known: Collection[str]) -> dict[str, str]:
    """Variable -> value for every one without a default and not `known`; none when the host keeps no
    `.env` of its own there."""
    if not is_git_ignored(tree, dot_env):
        return {}
    found: dict[str, str] = {}
    for content in files:
        for use in _USE.finditer(content):
            name = (use["braced"] or use["bare"]).decode()
            line = content[content.rfind(b"\n", 0, use.start()) + 1 : use.start()]
            is_path = use["item"] is not None and use["path"] is not None  # - "${DATA}:/var/lib/data"
            is_image = b"image:" in line  # is shown: app:tag, not app:1
            if name not in known and (is_path or name not in found):
                found[name] = f"/{name.lower()}" if is_path else name.lower() if is_image else _NUMBER
    return found
