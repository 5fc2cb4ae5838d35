"""What a build context leaves out: `.dockerignore`.

The rules are those of moby/patternmatcher: the last pattern that matches a path or a folder above it
decides. (The docker package's own matcher misses `**/name` above a file.)
"""

import posixpath
import re
from collections.abc import Iterable

from dual_update.usecases.ports import Tree


def sent_to_build(tree: Tree, context: str, dockerfile: str | None, paths: Iterable[str]) -> tuple[str, ...]:
    """Those of `paths` that a build of `context` would read: below it and not ignored, its Dockerfile, and
    the ignore file itself, because with another one other files go in."""
    prefix = f"{context}/" if context else ""
    changed = set(paths)
    found = {path for path in changed if path.startswith(prefix) or path == context}
    candidates = ([f"{dockerfile}.dockerignore"] if dockerfile else []) + [f"{prefix}.dockerignore"]
    if found:
        patterns = _patterns(tree, candidates)
        found = {path for path in found if not _is_ignored(path[len(prefix) :], patterns)}
    found.update(changed.intersection([*candidates, dockerfile] if dockerfile else candidates))
    return tuple(sorted(found))


def _patterns(tree: Tree, candidates: Iterable[str]) -> list[tuple[bool, re.Pattern[str]]]:
    """(is an exception, pattern) in order. The file beside the Dockerfile wins over the context's."""
    for candidate in candidates:
        content = tree.read(candidate)
        if content is not None:
            lines = content.decode("utf-8", "replace").lstrip("\ufeff").splitlines()
            parsed = (_parsed(line.strip()) for line in lines if not line.startswith("#"))
            return [one for one in parsed if one is not None]
    return []


def _parsed(line: str) -> tuple[bool, re.Pattern[str]] | None:
    is_exception = line.startswith("!")
    text = posixpath.normpath(line.removeprefix("!").strip() or ".").lstrip("/")
    if text in {"", "."}:
        return None
    try:
        return is_exception, re.compile(_regex(text), re.S)
    except re.error:  # a build would refuse it; until then nothing is left out by it
        return None


def _regex(pattern: str) -> str:
    parts = []
    at = 0
    while at < len(pattern):
        here = pattern[at]
        if pattern.startswith("**", at):
            at += 2
            if at >= len(pattern):
                parts.append(".*")
                break
            at += pattern[at] == "/"
            parts.append("(?:.*/)?")
            continue
        end = pattern.find("]", at + 2) if here == "[" else -1
        if here == "*":
            parts.append("[^/]*")
        elif here == "?":
            parts.append("[^/]")
        elif end > 0:
            parts.append(pattern[at : end + 1])
            at = end
        elif here == "\\" and at + 1 < len(pattern):
            at += 1
            parts.append(re.escape(pattern[at]))
        else:
            parts.append(re.escape(here))
        at += 1
    return "".join(parts)


def _is_ignored(path: str, patterns: Iterable[tuple[bool, re.Pattern[str]]]) -> bool:
    steps = path.split("/")
    here_and_above = ["/".join(steps[: count + 1]) for count in range(len(steps))]
    ignored = False
    for is_exception, pattern in patterns:
        if ignored == is_exception and any(pattern.fullmatch(one) for one in here_and_above):
            ignored = not is_exception
    return ignored
