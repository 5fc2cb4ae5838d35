"""What a build context leaves out: `.dockerignore`, by the docker package's own matcher."""

from collections.abc import Iterable
from pathlib import PurePath

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
        if patterns:
            from docker.utils.build import PatternMatcher

            matcher = PatternMatcher(patterns)
            found = {path for path in found if not matcher.matches(PurePath(path[len(prefix) :]))}
    found.update(changed.intersection([*candidates, dockerfile] if dockerfile else candidates))
    return tuple(sorted(found))


def _patterns(tree: Tree, candidates: Iterable[str]) -> list[str]:
    """The ignore file beside the Dockerfile wins over the one in the context, as in docker build."""
    for candidate in candidates:
        content = tree.read(candidate)
        if content is not None:
            lines = content.decode("utf-8", "replace").lstrip("\ufeff").splitlines()
            return [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return []
