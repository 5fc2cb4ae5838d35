"""Where new commits come from: the branch that a checkout follows, fetched."""

import re
from dataclasses import dataclass
from pathlib import Path

from dual_update.adapters.checkout import fetching_environment
from dual_update.adapters.git import GitRepository
from dual_update.adapters.process import run
from dual_update.core.errors import UsageError, WorldError

FETCH_SECONDS = 120.0

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_CREDENTIALS = re.compile(r"(?<=//)[^/@\s]+@")


@dataclass(frozen=True)
class Followed:
    """A branch on a remote: `ref` here (`refs/remotes/origin/main`), and the remote's name."""

    ref: str
    remote: str


def newest(repository: GitRepository, deploy_branch: str) -> str:
    """The revision that "the newest" means, fetched before: the followed branch's tip, else HEAD.

    Raises WorldError when the remote cannot be asked: what was newest yesterday must not pass for today's.
    """
    followed = _followed(repository, deploy_branch)
    if followed is None:
        return "HEAD"
    _fetch(Path(repository.root), followed.remote)
    return followed.ref


def is_elsewhere(repository: GitRepository, ref: str) -> bool:
    """Does this name a commit, as a deploy job does, that has not come to this clone yet."""
    return _COMMIT.fullmatch(ref) is not None and not repository.has(ref)


def _followed(repository: GitRepository, deploy_branch: str) -> Followed | None:
    """The upstream of the checked-out branch. Deployments detach HEAD; then the only upstream there is,
    else that of the deploy branch. None where nothing is followed."""
    upstreams = _upstreams(repository)
    branch = repository.try_git("symbolic-ref", "--quiet", "--short", "HEAD").out.strip()
    if branch:
        return upstreams.get(branch)
    candidates = set(upstreams.values())
    if len(candidates) > 1 and deploy_branch in upstreams:
        return upstreams[deploy_branch]
    if len(candidates) > 1:
        named = ", ".join(sorted(one.ref.removeprefix("refs/remotes/") for one in candidates))
        raise UsageError(
            f"This checkout is on no branch and could follow {named}.",
            hint="Set deploy_branch in .github/dual-update.yml, or give --ref.",
        )
    return candidates.pop() if candidates else None


def _upstreams(repository: GitRepository) -> dict[str, Followed]:
    """Local branches and what they follow on a remote that is still there."""
    listed = repository.git(
        "for-each-ref",
        "--format=%(refname:short)%00%(upstream)%00%(upstream:remotename)%00%(upstream:track)",
        "refs/heads",
    )
    found = {}
    for line in listed.out.splitlines():
        branch, ref, remote, state = line.split("\0")
        if ref and remote not in ("", ".") and state != "[gone]":
            found[branch] = Followed(ref, remote)
    return found


def _fetch(root: Path, remote: str) -> None:
    with fetching_environment(root) as env:
        command = ["git", "fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--", remote]
        done = run(command, cwd=root, env=env, timeout_seconds=FETCH_SECONDS)
    if done.code != 0:
        words = (
            _CREDENTIALS.sub("", done.err.strip().splitlines()[0]) if done.err.strip() else "no reason given"
        )
        raise WorldError(
            f"The remote {remote} cannot be fetched: {words}",
            hint="Mend the connection, or give --ref to deploy a commit that is here already.",
        )
