"""What a build context leaves out: `.dockerignore`, by the docker package's own matcher."""

from collections.abc import Iterable
from pathlib import PurePath

from dual_update.usecases.ports import Tree


def sent_to_build(tree: Tree, context: str, dockerfile: str | None, paths: Iterable[str]) -> tuple[str, ...]:
    """Those of `paths` that a build of `context` would read: below it and not ignored, or its Dockerfile."""
    prefix = f"{context}/" if context else ""
    inside = [path for path in paths if path.startswith(prefix) or path == context]
    found = set(inside)
    patterns = _patterns(tree, context, dockerfile)
    if patterns and inside:
        from docker.utils.build import PatternMatcher

        matcher = PatternMatcher(patterns)
        found = {path for path in inside if not matcher.matches(PurePath(path[len(prefix) :]))}
    if dockerfile is not None and dockerfile in set(paths):
        found.add(dockerfile)
    return tuple(sorted(found))


def _patterns(tree: Tree, context: str, dockerfile: str | None) -> list[str]:
    """The ignore file beside the Dockerfile wins over the one in the context, as in docker build."""
    prefix = f"{context}/" if context else ""
    candidates = ([f"{dockerfile}.dockerignore"] if dockerfile else []) + [f"{prefix}.dockerignore"]
    for candidate in candidates:
        content = tree.read(candidate)
        if content is not None:
            lines = content.decode("utf-8", "replace").lstrip("\ufeff").splitlines()
            return [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return []
