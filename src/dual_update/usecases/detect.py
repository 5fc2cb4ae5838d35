"""Two commits in, one Decision out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from dual_update.core.decision import Decision, Sides, decide
from dual_update.core.diff import Change, compare
from dual_update.core.errors import UsageError
from dual_update.core.model import Rendered, contexts, dockerfile, service_paths
from dual_update.core.rules import Impact, judge
from dual_update.usecases.ports import FileChange, Renderer, Repository, Tree

STANDARD_FILES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
OVERRIDE_FILES = tuple(name.replace("compose.", "compose.override.") for name in STANDARD_FILES)

SentToBuild = Callable[[Tree, str, str | None, Iterable[str]], tuple[str, ...]]


@dataclass(frozen=True)
class Project:
    """Where a compose project lies in its repository. Files are paths below the repository's root."""

    directory: str = ""
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class DetectRequest:
    """What to compare. Without a base everything wanted is new."""

    head: str
    base: str | None = None
    project: Project = field(default_factory=Project)
    cluster: str = ""
    overrides: Mapping[str, Impact] = field(default_factory=dict)


@dataclass(frozen=True)
class Detected:
    """A Decision with the two models it was made from, for those who plan by it."""

    decision: Decision
    before: Rendered
    after: Rendered


def detect(
    request: DetectRequest, repository: Repository, renderer: Renderer, sent_to_build: SentToBuild
) -> Detected:
    """Decide what really changed between two commits. Raises UsageError for what cannot be loaded."""
    base, head = _commits(request, repository)
    changed = repository.changed(base, head) if base else ()
    before, after, warnings = _render(request.project, repository, renderer, base, head, changed)
    changes = [*compare(before, after)]
    changes += _content(before, after, changed)
    changes += _code(repository.tree(head), before, after, changed, sent_to_build)
    changes += [
        Change("submodule", one.path, "pointer", "change", one.old_id, one.new_id)
        for one in changed
        if one.is_submodule
    ]
    cluster = request.cluster or after.name
    sides = Sides(cluster, before, after, base, head, (*warnings, *after.warnings))
    return Detected(decide(sides, judge(changes, request.overrides)), before, after)


def _commits(request: DetectRequest, repository: Repository) -> tuple[str | None, str]:
    if request.base is None:
        return None, repository.resolve([request.head])[0]
    base, head = repository.resolve([request.base, request.head])
    return base, head


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
        return renderer.render(tree, files, directory=project.directory, name=name)

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
    if old_files == new_files and not paths.intersection(new_files):
        after = render(new_tree, new_files)
        if not paths & after.consulted:
            return after, after, ()
    with ThreadPoolExecutor(1) as other_core:
        old_side = other_core.submit(render, old_tree, old_files)
        after = render(new_tree, new_files)
    try:
        return old_side.result(), after, ()
    except UsageError as error:
        return (
            Rendered(after.name),
            after,
            (f"The base cannot be loaded, so all counts as new: {error.message}",),
        )


def select_files(tree: Tree, project: Project) -> tuple[str, ...]:
    """The compose files: those that were named, else the one standard file and its override.

    Raises UsageError when a named file is absent, none is found, or more than one could be meant.
    """
    at = f" of commit {tree.commit[:12]}"
    if project.files:
        for file in project.files:
            if tree.read(file) is None:
                raise UsageError(
                    f"{file} does not exist in the tree{at}.", hint="Check the path given with -f."
                )
        return project.files
    prefix = f"{project.directory}/" if project.directory else ""
    found = [prefix + name for name in STANDARD_FILES if tree.read(prefix + name) is not None]
    if not found:
        raise UsageError(
            f"No compose file in {project.directory or 'the root'}{at}.",
            hint=f"Looked for {', '.join(STANDARD_FILES)}. Name yours with -f FILE.",
        )
    if len(found) > 1:
        raise UsageError(
            f"More than one compose file in {project.directory or 'the root'}{at}: {', '.join(found)}.",
            hint="Say which with -f FILE, or delete the other.",
        )
    overrides = [prefix + name for name in OVERRIDE_FILES if tree.read(prefix + name) is not None]
    return (found[0], *overrides[:1])


def _content(before: Rendered, after: Rendered, changed: Sequence[FileChange]) -> list[Change]:
    """Changed files that services mount, and who mounts them. Compose does not look into these."""
    users: dict[str, set[str]] = {}
    paths = {one.path for one in changed}
    for side in (before, after):
        for service in side.services:
            for mounted in service_paths(side, service):
                prefix = f"{mounted}/" if mounted else ""
                for path in paths:
                    if path == mounted or path.startswith(prefix):
                        users.setdefault(path, set()).add(service)
    return [Change("file", path, "", "change", users=tuple(sorted(users[path]))) for path in sorted(users)]


def _code(
    tree: Tree, before: Rendered, after: Rendered, changed: Sequence[FileChange], sent_to_build: SentToBuild
) -> list[Change]:
    """Changed files in build contexts, and the services that build from them.

    Compose files often lie in a context (`build: .`). What they say is compared as a model already;
    a comment in them is no reason to build.
    """
    users: dict[str, set[str]] = {}
    judged = {path for path in before.consulted | after.consulted if path.endswith((".yml", ".yaml"))}
    paths = [one.path for one in changed if one.path not in judged]
    for name, service in after.services.items():
        if name not in before.services:
            continue
        for context in contexts(service):
            for path in sent_to_build(tree, context, dockerfile(service), paths):
                users.setdefault(path, set()).add(name)
    return [Change("code", path, "", "change", users=tuple(sorted(users[path]))) for path in sorted(users)]
