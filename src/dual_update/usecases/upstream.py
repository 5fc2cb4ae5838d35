"""On schedule: submodules that moved on without their parent. A pull request moves each pointer."""

from collections.abc import Sequence
from dataclasses import dataclass

from dual_update.core.errors import DualUpdateError
from dual_update.core.report import counted, escape
from dual_update.usecases.github_ports import GitHub, Pull
from dual_update.usecases.submodules import Move, Submodule, offer_move, withdraw_move

KIND = "upstream"
LISTED = 20


@dataclass(frozen=True)
class Upstream:
    """What became of one submodule. `pull` is what stands open for it; `why` says what was seen."""

    path: str
    pull: Pull | None
    why: str


def follow_upstream(
    parent: GitHub, submodules: Sequence[Submodule], deploy_branch: str
) -> Sequence[Upstream]:
    """Offer one pull request for each submodule whose branch has commits that the parent does not name.

    One that cannot be asked keeps none of the others back. The parent's own branches are never written:
    what is offered lies on a branch of ours, made through the API.
    """
    tip = parent.branch_commit(deploy_branch)
    if tip is None:
        return ()
    return tuple(_follow(parent, one, deploy_branch, tip) for one in submodules)


def _follow(parent: GitHub, submodule: Submodule, into: str, tip: str) -> Upstream:
    path = submodule.path
    try:
        return _offered(parent, submodule, into, tip)
    except DualUpdateError as error:
        return Upstream(path, None, f"{path} could not be followed: {error.message}")


def _offered(parent: GitHub, submodule: Submodule, into: str, tip: str) -> Upstream:
    path, github = submodule.path, submodule.github
    branch = submodule.tracked()
    pointer, newest = parent.pointer(tip, path), github.branch_commit(branch)
    if pointer is None or newest is None:
        return Upstream(path, None, f"{path} has no pointer, or {github.repository} no branch {branch}.")
    compared = github.compare(pointer, newest)
    relation = compared.relation if compared else "diverged"
    move = Move(KIND, path, newest, into, github.repository, "")
    if relation in {"identical", "behind"}:
        withdraw_move(parent, move, f"{into} holds what {branch} of {github.repository} has.")
        return Upstream(path, None, f"{path} is up to date.")
    lines = [f"`{branch}` of {escape(github.repository)} has moved on."]
    if relation == "diverged":
        lines = [
            f"`{branch}` of {escape(github.repository)} no longer holds {pointer[:12]}: it was rewritten."
            " Look twice before you take this."
        ]
    commits = compared.commits if compared else ()
    lines += ["", *(f"- {one.id[:12]} {escape(_subject(one.message))}" for one in commits[-LISTED:])]
    if len(commits) > LISTED:
        lines.append(f"- and {counted(len(commits) - LISTED, 'commit')} before")
    pull = offer_move(parent, Move(KIND, path, newest, into, github.repository, "\n".join(lines)))
    state = "is offered" if pull and pull.is_open else "was closed by a person and stays closed"
    number = f"#{pull.number}" if pull else "the move"
    return Upstream(path, pull, f"{path} may move to {newest[:12]}: {number} {state}.")


def _subject(message: str) -> str:
    return message.strip().partition("\n")[0][:120]
