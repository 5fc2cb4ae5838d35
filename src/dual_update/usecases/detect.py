"""Two commits in, one Decision out."""

import posixpath
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import PurePosixPath
from threading import Thread
from typing import Any, Protocol

from dual_update.core.decision import Decision, Sides, decide
from dual_update.core.diff import Change, Op, compare
from dual_update.core.dockerfile import LARGEST_CHARACTERS, starts_from
from dual_update.core.errors import UsageError, WorldError
from dual_update.core.model import (
    ImageRef,
    Rendered,
    build_secrets,
    contexts,
    dockerfile,
    followers,
    ignores_of,
    is_built,
    service_paths,
)
from dual_update.core.origin import is_built_here
from dual_update.core.rules import Impact, check_overrides, judge
from dual_update.core.secrecy import assignments, expanded
from dual_update.usecases.ports import FileChange, Registry, Renderer, Repository, Tree

STANDARD_FILES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
OVERRIDE_FILES = tuple(name.replace("compose.", "compose.override.") for name in STANDARD_FILES)


class SentToBuild(Protocol):
    """Those of the paths that a build of a context reads; `before` is the tree that they differ from."""

    def __call__(
        self,
        tree: Tree,
        context: str,
        dockerfile: str | None,
        paths: Iterable[str],
        before: Tree | None = None,
    ) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Project:
    """Where a compose project lies in its repository. Files are paths below the repository's root."""

    directory: str = ""
    files: tuple[str, ...] = ()

    def is_named_by_env(self, files: Sequence[str]) -> bool:
        """Were these files chosen by COMPOSE_FILE of a `.env` that does not lie beside the first of them.
        Compose then reads that `.env` and the one beside it."""
        return bool(files) and not self.files and posixpath.dirname(files[0]) != self.directory


@dataclass(frozen=True)
class DetectRequest:
    """What to compare. Without a base everything wanted is new.

    `running` says which digests the running image of a service is known by, for a look into the
    registry; `warnings` come from whoever chose the base.
    """

    head: str
    base: str | None = None
    project: Project = field(default_factory=Project)
    cluster: str = ""
    overrides: Mapping[str, Impact] = field(default_factory=dict)
    running: Mapping[str, Collection[str]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Detected:
    """A Decision with the two models it was made from, for those who plan by it."""

    decision: Decision
    before: Rendered
    after: Rendered


def detect(
    request: DetectRequest,
    repository: Repository,
    renderer: Renderer,
    sent_to_build: SentToBuild,
    registry: Registry | None = None,
) -> Detected:
    """Decide what really changed between two commits. Raises UsageError for what cannot be loaded.

    With a registry, and digests of what runs, a tag that moved counts too; without one nothing is asked
    of any network.
    """
    check_overrides(request.overrides)
    base, head = _commits(request, repository)
    changed = repository.changed(base, head) if base else ()
    has_moves = any(one.is_submodule for one in changed)
    moves = repository.submodules(base, head, changed) if base and has_moves else ()
    before, after, warnings = _render(request.project, repository, renderer, base, head, changed)
    after = _with_bases(after, repository.tree(head))
    changes = [*compare(before, after)]
    trees = (repository.tree(head), *([repository.tree(base)] if base else []))
    changes += _content(trees, before, after, changed)
    changes += _code(trees, before, after, changed, sent_to_build)
    changes += [
        Change("submodule", one.path, "pointer", _op(one.before, one.after), one.before, one.after)
        for one in moves
    ]
    unanswered: tuple[str, ...] = ()
    if registry is not None:
        moved, unanswered = _moved(before, after, request.running, registry)
        changes += moved
    sides = Sides(
        cluster=request.cluster or after.name,
        before=before,
        after=after,
        base=base,
        head=head,
        warnings=(*request.warnings, *warnings, *after.warnings, *unanswered),
        submodules=tuple(moves),
    )
    return Detected(decide(sides, judge(changes, request.overrides)), before, after)


def _op(before: str | None, after: str | None) -> Op:
    if before is None:
        return "add"
    return "remove" if after is None else "change"


def _commits(request: DetectRequest, repository: Repository) -> tuple[str | None, str]:
    if request.base is None:
        return None, repository.resolve([request.head])[0]
    base, head = repository.resolve([request.base, request.head])
    return base, head


class _Aside(Thread):
    """One call in a thread of its own. (A pool costs every start of the command 10 ms of imports.)"""

    def __init__(self, call: Callable[[], Rendered]) -> None:
        super().__init__(daemon=True)
        self._call = call
        self._ended: Rendered | BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._ended = self._call()
        except BaseException as error:  # raised again where the result is wanted
            self._ended = error

    def result(self) -> Rendered:
        self.join()
        assert self._ended is not None
        if isinstance(self._ended, BaseException):
            raise self._ended
        return self._ended


def _render(
    project: Project,
    repository: Repository,
    renderer: Renderer,
    base: str | None,
    head: str,
    changed: Sequence[FileChange],
) -> tuple[Rendered, Rendered, tuple[str, ...]]:
    """Both models. What did not change is not rendered twice; what did is rendered side by side."""
    name = PurePosixPath(repository.root).name
    new_tree = repository.tree(head)

    def render(tree: Tree, files: tuple[str, ...]) -> Rendered:
        by_env = project.is_named_by_env(files)
        return renderer.render(tree, files, directory=project.directory, name=name, by_env=by_env)

    new_files = select_files(new_tree, project)
    if base is None:
        after = render(new_tree, new_files)
        return Rendered(after.name), after, ()
    old_tree = repository.tree(base)
    try:
        old_files = select_files(old_tree, project)
    except UsageError as error:
        after = render(new_tree, new_files)
        return (
            Rendered(after.name),
            after,
            (f"The base cannot be loaded, so all counts as new: {error.message}",),
        )
    paths = {one.path for one in changed}
    is_without = any(set(one.new_id) == {"0"} for one in changed)  # what is gone may have been read
    if old_files == new_files and not is_without and not paths.intersection(new_files):
        after = render(new_tree, new_files)
        if all(old_tree.read(path) == new_tree.read(path) for path in after.consulted):
            return after, after, ()
    old_side = _Aside(lambda: render(old_tree, old_files))  # on the other core
    try:
        after = render(new_tree, new_files)
    finally:
        old_side.join()
    try:
        return old_side.result(), after, ()
    except UsageError as error:
        return (
            Rendered(after.name),
            after,
            (f"The base cannot be loaded, so all counts as new: {error.message}",),
        )


def select_files(tree: Tree, project: Project) -> tuple[str, ...]:
    """The compose files: those that were named, else COMPOSE_FILE of `.env`, else the standard file.

    The standard file brings its override file along, as with compose. Raises UsageError when a named
    file is absent, none is found, or more than one could be meant.
    """
    at = f" of commit {tree.commit[:12]}"
    prefix = f"{project.directory}/" if project.directory else ""
    if project.files:
        return _named(
            tree, project.files, at, "Check the path given with -f, and that the file is committed."
        )
    listed = _compose_file_variable(tree.read(f"{prefix}.env") or b"")
    if listed:
        paths = tuple(posixpath.normpath(prefix + one) for one in listed)
        return _named(tree, paths, at, f"{prefix}.env names it in COMPOSE_FILE.")
    found = [prefix + name for name in STANDARD_FILES if tree.read(prefix + name) is not None]
    if not found:
        raise UsageError(
            f"No compose file in {project.directory or 'the root'}{at}.",
            hint=f"Looked for {', '.join(STANDARD_FILES)}. Commit yours, or name it with -f FILE.",
        )
    if len(found) > 1:
        raise UsageError(
            f"More than one compose file in {project.directory or 'the root'}{at}: {', '.join(found)}.",
            hint="Say which with -f FILE, or delete the other.",
        )
    overrides = [prefix + name for name in OVERRIDE_FILES if tree.read(prefix + name) is not None]
    return (found[0], *overrides[:1])


def _named(tree: Tree, files: tuple[str, ...], at: str, hint: str) -> tuple[str, ...]:
    for file in files:
        if tree.read(file) is not None:
            continue
        below = f"{file.rstrip('/')}/"
        if any(path.startswith(below) for path in tree.list()):
            raise UsageError(f"{file} is a directory in the tree{at}, not a compose file.", hint=hint)
        raise UsageError(f"{file} does not exist in the tree{at}.", hint=hint)
    return files


def _compose_file_variable(env: bytes) -> tuple[str, ...]:
    """Files that a project's `.env` names (compose: COMPOSE_FILE, COMPOSE_PATH_SEPARATOR)."""
    known = dict(assignments(env.decode("utf-8", "replace")))
    separator = known.get("COMPOSE_PATH_SEPARATOR") or ":"
    named = expanded("COMPOSE_FILE", known).split(separator)
    return tuple(one.strip() for one in named if one.strip())


def _ways(trees: Sequence[Tree], path: str) -> set[str]:
    """A path, what it leads to, and every link on the way there: who turns one changes what lies behind."""
    return {path, *(one for tree in trees for one in (tree.real(path), *tree.links(path)))}


def _content(
    trees: Sequence[Tree], before: Rendered, after: Rendered, changed: Sequence[FileChange]
) -> list[Change]:
    """Changed files that services mount, and who mounts them. Compose does not look into these.

    Compose files often lie in a folder that is mounted (`.:/app`). What they say is compared as a model
    already, and a comment in them is no reason to replace anything, unless they are mounted by name.
    """
    if not changed:
        return []
    users: dict[str, set[str]] = {}
    mounts: dict[str, set[str]] = {}
    for mounted, services in _mounts(before, after).items():
        for path in _ways(trees, mounted):  # a mounted link shows what it leads to
            mounts.setdefault(path, set()).update(services)
    judged = _judged(trees, before, after) if mounts else set()
    for path in (one.path for one in changed if not one.is_submodule):
        steps = path.split("/")
        for count in range(len(steps) if path in judged else 0, len(steps) + 1):
            users.setdefault(path, set()).update(mounts.get("/".join(steps[:count]), ()))
    return [
        Change("file", path, "", "change", users=tuple(sorted(users[path])))
        for path in sorted(users)
        if users[path]
    ]


def _judged(trees: Sequence[Tree], *sides: Rendered) -> set[str]:
    """Compose files, which are compared as models, and where those lie that are links."""
    named = {path for side in sides for path in side.composed}
    return named.union(tree.real(path) for tree in trees for path in named)


def _mounts(*sides: Rendered) -> dict[str, set[str]]:
    mounts: dict[str, set[str]] = {}
    for side in sides:
        for service in side.services:
            for path in service_paths(side, service):
                mounts.setdefault(path, set()).add(service)
    return mounts


def _with_bases(rendered: Rendered, tree: Tree) -> Rendered:
    """With what the Dockerfiles start from, where that is another service's image."""
    if sum(map(is_built, rendered.services.values())) <= 1:
        return rendered

    @cache
    def content(path: str) -> str:
        return (tree.read(path) or b"")[:LARGEST_CHARACTERS].decode("utf-8", "replace")

    def recipe(service: Mapping[str, Any]) -> str:
        path = dockerfile(service)
        inline = str((service.get("build") or {}).get("dockerfile_inline") or "")
        return inline or (content(path) if path is not None else "")

    return replace(rendered, starts_from=starts_from(rendered, recipe))


def _code(
    trees: Sequence[Tree],
    before: Rendered,
    after: Rendered,
    changed: Sequence[FileChange],
    sent_to_build: SentToBuild,
) -> list[Change]:
    """Changed files in build contexts, and the services that run what is built from them.

    Compose files often lie in a context (`build: .`). What they say is compared as a model already;
    a comment in them is no reason to build.
    """
    tree = trees[0]
    users: dict[str, set[str]] = {}
    if not changed or not any(is_built(service) for service in after.services.values()):
        return []
    judged = _judged(trees, before, after)
    paths = [one.path for one in changed if one.path not in judged and not one.is_submodule]
    who_holds = followers(after)
    sent: dict[tuple[str, str | None], tuple[str, ...]] = {}
    for name, service in after.services.items():
        if not is_built(service):
            continue
        runs = {one for one in who_holds(name) if one in before.services}
        named = [*build_secrets(after, name), *contexts(service)]
        recipe = dockerfile(service)
        turned = {way for path in (*named, *([recipe] if recipe else ())) for way in _ways(trees, path)}
        reads = turned.intersection(paths)
        for context in contexts(service):
            beside = ignores_of(service, context)
            build = (tree.real(context), beside and tree.real(beside))
            if build not in sent:
                sent[build] = sent_to_build(tree, *build, paths, trees[-1])
            reads.update(sent[build])
        for path in reads if runs else ():
            users.setdefault(path, set()).update(runs)
    return [Change("code", path, "", "change", users=tuple(sorted(users[path]))) for path in sorted(users)]


def _moved(
    before: Rendered, after: Rendered, running: Mapping[str, Collection[str]], registry: Registry
) -> tuple[list[Change], tuple[str, ...]]:
    """Services whose reference is unchanged and names other content now; and who did not answer."""
    asked: dict[str, list[str]] = {}
    unknown = []
    for name in after.active:
        service = after.services[name]
        reference = ImageRef.parse(str(service.get("image") or ""))
        is_same = name in before.services and before.services[name].get("image") == service.get("image")
        if name not in running or not is_same or is_built_here(service) or reference.is_pinned:
            continue
        if running[name]:
            asked.setdefault(reference.canonical, []).append(name)
        else:
            unknown.append(
                f"What {name} runs carries no digest of a registry, so it is not compared with one."
            )

    def ask(reference: str) -> tuple[str | None, str]:
        try:
            found = registry.digest(reference)
        except WorldError as error:
            return None, f"Whether {reference} has new content is not known: {error.message}"
        return (
            found,
            "" if found else f"The registry has no {reference} any more; what runs cannot be had again.",
        )

    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  most runs ask no registry

    with ThreadPoolExecutor(8) as pool:
        answers = tuple(pool.map(ask, asked))
    changes = [
        Change("service", name, "image.digest", "change", users=(name,))
        for names, (digest, _) in zip(asked.values(), answers, strict=True)
        for name in names
        if digest and digest not in running[name]
    ]
    return changes, (*unknown, *(warning for _, warning in answers if warning))
