"""Which files a compose file makes compose read, checked before compose runs.

This stands in where the kernel cannot confine compose (sandbox.py). It errs towards refusing: a path that
could lead out of the repository, or that cannot be told, is refused.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from dual_update.core.errors import UsageError

LARGEST_BYTES = 1_000_000
MOST_NODES = 200_000

_READS = frozenset({"env_file", "label_file", "extends", "include"})
_MENTIONS = re.compile(rb"env_file|label_file|extends|include|\\|![^ ]|^%|[\x00\xfe\xff]", re.M)
_VARIABLE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)([^}]*\}?)")
_OWN_TERMS = re.compile(rb"^\s*(?:export\s+)?(COMPOSE_(?:FILE|ENV_FILES))\s*[=:]", re.M)


def check(files: Mapping[str, bytes], environment: Mapping[str, str], commit: str) -> None:
    """Raise UsageError when one of the files names a file outside of the repository."""
    depth = min((path.count("/") for path in files), default=0)
    for path, content in files.items():
        if path.endswith((".yml", ".yaml", ".json")):
            if _MENTIONS.search(content):
                _check_yaml(path, content, environment, commit, depth)
        elif setting := _OWN_TERMS.search(content):
            line = content[: setting.start(1)].count(b"\n") + 1
            raise _refused(path, line, commit, f"sets {setting[1].decode()}, which makes compose read files")


def _check_yaml(path: str, content: bytes, environment: Mapping[str, str], commit: str, depth: int) -> None:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    if len(content) > LARGEST_BYTES:
        raise _refused(path, 1, commit, f"names other files and has more than {LARGEST_BYTES // 1000} kB")
    has_moved = b"project_directory" in content
    try:
        documents = [one for one in YAML(typ="safe", pure=True).compose_all(content) if one is not None]
        found = [pair for one in documents for pair in _pairs(one)]
        wanted = [(key, [*_scalars(node)]) for key, node in found if key.value in _READS or _is_binary(key)]
    except (YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise _refused(path, line, commit, "cannot be checked before compose runs") from None
    for key, scalars in wanted:
        if _is_binary(key):
            raise _refused(path, key.start_mark.line + 1, commit, "hides the name of a key")
        for scalar in scalars:
            why = _leads_out(str(scalar.value), environment, 0 if has_moved else depth)
            if why:
                raise _refused(path, scalar.start_mark.line + 1, commit, why)


def _is_binary(key: Any) -> bool:
    return "binary" in str(key.tag)


def _pairs(root: Any) -> Iterator[tuple[Any, Any]]:
    """Every key and value below a node. An alias is the node it stands for, and visited once."""
    for node in _nodes(root):
        if isinstance(node.value, list):
            yield from (pair for pair in node.value if isinstance(pair, tuple))


def _scalars(root: Any) -> Iterator[Any]:
    return (node for node in _nodes(root) if not isinstance(node.value, list))


def _nodes(root: Any) -> Iterator[Any]:
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if len(seen) > MOST_NODES:
            raise RecursionError
        if isinstance(node.value, list):
            for child in node.value:
                waiting += child if isinstance(child, tuple) else (child,)


def _leads_out(path: str, environment: Mapping[str, str], depth: int) -> str | None:
    """Why a path is refused, or None. Variables are replaced by what the `.env` files say of them."""
    for name, rest in _VARIABLE.findall(path):
        if rest.strip("}") or "$" in environment.get(name, ""):
            return f"names a file by the variable {name} in a way that cannot be checked before compose runs"
    resolved = _VARIABLE.sub(lambda found: environment.get(found[1], ""), path)
    if resolved.startswith(("/", "~", "git@")) or "://" in resolved:
        return f"names {path}, outside of the repository"
    for step in resolved.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(step, 1)
        if depth < 0:
            return f"names {path}, outside of the repository"
    return None


def _refused(path: str, line: int, commit: str, why: str) -> UsageError:
    return UsageError(
        f"{path}, line {line} of commit {commit[:12]} {why}.",
        hint="Only files of the repository are read. Put it there, or take the reference out.",
    )
