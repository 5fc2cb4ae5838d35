"""Loads a user's strategy: one of an installed package, or a class in a file of the deploy branch."""

from dual_update.adapters.git import GitRepository
from dual_update.core.config import StrategyFile
from dual_update.core.custom import Custom
from dual_update.core.errors import NotNow, UsageError
from dual_update.core.strategies import Strategy

GROUP = "dual_update.strategies"
"""Entry points of this group are strategies; the built-in ones enter by it, too."""


def installed(name: str) -> Strategy:
    """The strategy that an installed package offers under this name. Raises UsageError without one."""
    from importlib.metadata import entry_points

    group = entry_points(group=GROUP)
    if name not in group.names:
        raise UsageError(
            f"There is no strategy {name}.",
            hint=f"Installed are: {', '.join(sorted(group.names)) or 'none'}.",
        )
    try:
        made = group[name].load()()
    except (Exception, SystemExit) as error:
        raise UsageError(f"The strategy {name} cannot be loaded: {_words(error)}") from error
    return Custom(name, made)


def from_file(repository: GitRepository, commit: str, deploy_branch: str, wanted: StrategyFile) -> Strategy:
    """The class in a file of this commit, which has to be on the deploy branch: code of a pull request that
    nobody has merged is never run. Raises NotNow for such a commit, UsageError where it cannot be loaded."""
    if not _is_on(repository, commit, deploy_branch):
        raise NotNow(
            f"The strategy in {wanted.file} is loaded from commits of {deploy_branch} only,"
            f" and {commit[:12]} is not one.",
            hint="Merge it first.",
        )
    content = repository.tree(commit).read(wanted.file)
    if content is None:
        raise UsageError(f"The strategy's file {wanted.file} is not in commit {commit[:12]}.")
    space: dict[str, object] = {"__name__": "dual_update_strategy", "__file__": wanted.file}
    try:
        # Reviewed and merged code of the cluster's owners, who already say what runs on this host.
        exec(compile(content, wanted.file, "exec"), space)  # noqa: S102
        made = space[wanted.class_name]() if wanted.class_name in space else None  # type: ignore[operator]
    except (Exception, SystemExit) as error:
        raise UsageError(f"The strategy in {wanted.file} cannot be loaded: {_words(error)}") from error
    if made is None:
        raise UsageError(f"{wanted.file} has no class {wanted.class_name}.")
    return Custom(wanted.class_name, made)


def _is_on(repository: GitRepository, commit: str, branch: str) -> bool:
    """Does the branch hold the commit: on a remote where there is one, since anybody can move a local one.

    Of several remotes it is `origin`: another one may be a contributor's fork, whose branch nobody reviewed.
    """
    listed = repository.git("for-each-ref", "--format=%(refname)", f"refs/remotes/*/{branch}").out.split()
    own = f"refs/remotes/origin/{branch}"
    for ref in [own] if own in listed else listed or [f"refs/heads/{branch}"]:
        if repository.try_git("merge-base", "--is-ancestor", commit, ref).code == 0:
            return True
    return False


def _words(error: BaseException) -> str:
    line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
    return f"{type(error).__name__}{line}: {' '.join(str(error).split()) or 'no reason given'}"
