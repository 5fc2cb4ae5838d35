"""What a comparison starts from: the last deployment where one is known, else what the event says."""

from collections.abc import Callable
from dataclasses import dataclass

from dual_update.core.errors import UsageError


@dataclass(frozen=True)
class Base:
    """The older side. `commit` is None when nothing is known to run, so that all counts as new.

    `is_deleted`: the push takes the branch away; there is no newer side and nothing to do.
    """

    commit: str | None
    why: str
    warnings: tuple[str, ...] = ()
    is_deleted: bool = False


def is_nothing(commit: str) -> bool:
    """Forty zeros (sixty-four with SHA-256): how git and GitHub write "no commit"."""
    return bool(commit) and set(commit) == {"0"}


def choose(
    deployed: str | None,
    before: str | None,
    head: str,
    *,
    has: Callable[[str], bool],
    is_shallow: bool,
) -> Base:
    """Choose the base of a push to `head`.

    `deployed` is the last successful deployment's commit, `before` the push event's; `has` says whether a
    commit is in the clone. A deployed commit that is gone is never replaced by the event's: between the
    two may lie changes that never reached the cluster. Raises UsageError when a shallow clone merely lacks
    the commit, and says how to get it.
    """
    if is_nothing(head):
        return Base(None, "The push deletes the branch; what runs stays.", is_deleted=True)
    if deployed:
        return _known(deployed, "the last successful deployment", has=has, is_shallow=is_shallow)
    if before and is_nothing(before):
        return Base(None, "The push creates the branch and nothing is known to run: all counts as new.")
    if before:
        return _known(before, "the commit before the push", has=has, is_shallow=is_shallow)
    return Base(None, "Nothing is known to run: all counts as new.")


def _known(commit: str, what: str, *, has: Callable[[str], bool], is_shallow: bool) -> Base:
    if has(commit):
        return Base(commit, f"Compared with {what}, {commit[:12]}.")
    if is_shallow:
        raise UsageError(
            f"Commit {commit}, {what}, is not in this shallow clone.",
            hint=f"Fetch it: git fetch --depth=1 origin {commit}, or all: git fetch --unshallow "
            "(in GitHub Actions fetch-depth: 0 for the checkout).",
        )
    why = f"Commit {commit[:12]}, {what}, is gone from the repository (a force push?): all counts as new."
    return Base(None, why, warnings=(why,))
