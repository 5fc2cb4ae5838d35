"""What a build context leaves out (`.dockerignore`), and what git leaves to the host (`.gitignore`).

The rules are those of moby/patternmatcher: the last pattern that matches a path or a folder above it
decides. (The docker package's own matcher misses `**/name` above a file.) Git's are the same, but for a
pattern without a slash, which holds at any depth.
"""

import posixpath
import re
from collections.abc import Callable, Iterable

from dual_update.usecases.ports import Tree

Matches = Callable[[str], bool]


def sent_to_build(
    tree: Tree, context: str, dockerfile: str | None, paths: Iterable[str], before: Tree | None = None
) -> tuple[str, ...]:
    """Those of `paths` that a build of `context` would read: below it and not ignored, its Dockerfile, and
    the ignore file itself, because with another one other files go in (not if it says what it said
    `before`)."""
    prefix = f"{context}/" if context else ""
    changed = set(paths)
    found = {path for path in changed if path.startswith(prefix) or path == context}
    candidates = ([f"{dockerfile}.dockerignore"] if dockerfile else []) + [f"{prefix}.dockerignore"]
    if found:
        patterns = _patterns(tree, candidates)
        found = {path for path in found if not _is_ignored(path[len(prefix) :], patterns)}
    if before is None or _lines(before, candidates) != _lines(tree, candidates):
        found.update(changed.intersection(candidates))
    if dockerfile in changed:
        found.add(dockerfile)
    return tuple(sorted(found))


def is_git_ignored(tree: Tree, path: str) -> bool:
    """Does a `.gitignore` of the tree, at the root or beside the file, say that git is to leave it alone?"""
    folder = posixpath.dirname(path)
    for prefix in {"", f"{folder}/" if folder else ""}:
        content = tree.read(f"{prefix}.gitignore") or b""
        lines = (line.rstrip() for line in content.decode("utf-8", "replace").splitlines())
        parsed = (_parsed(_at_any_depth(line)) for line in lines if line and not line.startswith("#"))
        relative = path.removeprefix(prefix)
        if _is_ignored(relative, [one for one in parsed if one is not None]):
            return True
    return False


def _at_any_depth(line: str) -> str:
    mark, pattern = ("!", line[1:]) if line.startswith("!") else ("", line)
    return line if "/" in pattern.rstrip("/") else f"{mark}**/{pattern}"


def _patterns(tree: Tree, candidates: Iterable[str]) -> list[tuple[bool, Matches]]:
    """(is an exception, pattern) in order."""
    return [one for one in map(_parsed, _lines(tree, candidates)) if one is not None]


def _lines(tree: Tree, candidates: Iterable[str]) -> list[str]:
    """What the ignore file says, without comments. The one beside the Dockerfile wins over the context's."""
    for candidate in candidates:
        content = tree.read(candidate)
        if content is not None:
            lines = content.decode("utf-8", "replace").lstrip("\ufeff").splitlines()
            return [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return []


def _parsed(line: str) -> tuple[bool, Matches] | None:
    is_exception = line.startswith("!")
    text = posixpath.normpath(line.removeprefix("!").strip() or ".").lstrip("/")
    if text in {"", "."}:
        return None
    try:
        return is_exception, _matcher(_steps(text))
    except re.error:  # a build would refuse it; until then nothing is left out by it
        return None


_ANY, _BELOW, _REST = "[^/]*", "(?:.*/)?", ".*"
_MOST_STARS = 2
"""With more, a regular expression could try for ages; the path and the pattern are a stranger's."""


def _steps(pattern: str) -> list[str]:
    """A pattern as expressions for one character each, and the three stars."""
    steps = []
    at = 0
    while at < len(pattern):
        here = pattern[at]
        if pattern.startswith("**", at):
            at += 2
            if at >= len(pattern):
                steps.append(_REST)
                break
            at += pattern[at] == "/"
            steps.append(_BELOW)
            continue
        end = pattern.find("]", at + 2) if here == "[" else -1
        if here == "*":
            steps.append(_ANY)
        elif here == "?":
            steps.append("[^/]")
        elif end > 0:
            steps.append(_set(pattern[at + 1 : end]))
            at = end
        elif here == "\\" and at + 1 < len(pattern):
            at += 1
            steps.append(re.escape(pattern[at]))
        else:
            steps.append(re.escape(here))
        at += 1
    return steps


def _set(body: str) -> str:
    """A set of characters, written so that only `^` at its start and ranges have a meaning."""
    sign = "^" if body.startswith("^") else ""
    parts = re.findall(r"(\\?.)(?:-(\\?.))?", body.removeprefix("^"), re.S)
    ranges = (re.escape(low[-1]) + (f"-{re.escape(high[-1])}" if high else "") for low, high in parts)
    return f"[{sign}{''.join(ranges)}]"


def _matcher(steps: list[str]) -> Matches:
    stars = sum(step in {_ANY, _BELOW, _REST} for step in steps)
    if stars <= _MOST_STARS:
        whole = re.compile("".join(steps), re.S)
        return lambda path: whole.fullmatch(path) is not None
    single = [None if step in {_ANY, _BELOW, _REST} else re.compile(step, re.S) for step in steps]
    return lambda path: _walked(path, steps, single)


def _walked(path: str, steps: list[str], single: list[re.Pattern[str] | None]) -> bool:
    """Match by following every possibility at once: time grows with pattern times path, never worse."""

    def spread(states: set[int]) -> set[int]:
        found = set(states)
        for state in states:
            at = state
            while at < len(steps) and single[at] is None:  # a star may stand for nothing
                at += 1
                found.add(at)
        return found

    # A state says which step comes next; `inside` says in which `**/` a folder's name is being read.
    states, inside = spread({0}), set[int]()
    for character in path:
        following: set[int] = set()
        inside |= {at for at in states if at < len(steps) and steps[at] == _BELOW}
        if character == "/":
            following |= {at + 1 for at in inside}
        for at in states:
            if at == len(steps):
                continue
            one = single[at]
            if one is None:
                if steps[at] == _REST or (steps[at] == _ANY and character != "/"):
                    following.add(at)
            elif one.fullmatch(character):
                following.add(at + 1)
        states = spread(following)
        if not states and not inside:
            return False
    return len(steps) in states


def _is_ignored(path: str, patterns: Iterable[tuple[bool, Matches]]) -> bool:
    steps = path.split("/")
    here_and_above = ["/".join(steps[: count + 1]) for count in range(len(steps))]
    ignored = False
    for is_exception, matches in patterns:
        if ignored == is_exception and any(matches(one) for one in here_and_above):
            ignored = not is_exception
    return ignored
