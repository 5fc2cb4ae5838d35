"""Read an event of GitHub's once, into an Occasion. Strangers write it: only its shape is trusted."""

import re
from collections.abc import Mapping
from typing import Any

from dual_update.core.base import is_nothing
from dual_update.usecases.gate import Kind, Occasion

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_LONGEST_BRANCH = 250


def occasion(name: str, payload: Mapping[str, Any], sha: str, ref: str) -> Occasion:
    """What an event means. `sha` and `ref` are the runner's GITHUB_SHA and GITHUB_REF.

    An event that is not known, or lacks what it must hold, is `other`: it is looked at and never deployed.
    """
    default = _branch(_at(payload, "repository", "default_branch"))
    here = _branch(ref.removeprefix("refs/heads/")) if ref.startswith("refs/heads/") else ""
    at = _commit(sha)
    if name == "push":
        return _push(payload, here, default, at)
    if name in {"pull_request", "pull_request_target"}:
        return _pull_request(payload, default, at)
    if name == "workflow_dispatch":
        given = payload.get("inputs") if isinstance(payload.get("inputs"), Mapping) else {}
        # Where the workflow asks "do you approve", that answer counts; else starting it is the answer.
        agreed = str(_at(payload, "inputs", "approve") if given and "approve" in given else "true").lower()
        is_person = _at(payload, "sender", "type") == "User"
        return Occasion(
            "manual",
            at,
            here,
            default_branch=default,
            has_person=is_person and agreed == "true",
            only_cluster=str(_at(payload, "inputs", "cluster") or ""),
        )
    if name == "schedule":
        return Occasion("schedule", at, here or default, default_branch=default)
    if name == "repository_dispatch":
        return Occasion("submodule", at, here or default, default_branch=default)
    if name == "workflow_run":
        return _workflow_run(payload, default)
    return Occasion("other", at, here, default_branch=default)


def _push(payload: Mapping[str, Any], here: str, default: str, at: str) -> Occasion:
    after = str(payload.get("after") or at)
    if payload.get("deleted") is True or is_nothing(after):
        return Occasion("deleted", branch=here, default_branch=default)
    before = str(payload.get("before") or "")
    kind: Kind = "push" if here else "other"  # a tag is no branch
    return Occasion(kind, _commit(after), here, _commit(before) or None, default)


def _pull_request(payload: Mapping[str, Any], default: str, at: str) -> Occasion:
    pull = payload.get("pull_request")
    if not isinstance(pull, Mapping):
        return Occasion("other", at, default_branch=default)
    ours = _at(payload, "repository", "full_name")
    theirs = _at(pull, "head", "repo", "full_name")  # a fork that was deleted has none
    number = pull.get("number")
    return Occasion(
        "ended" if payload.get("action") == "closed" else "pull_request",
        _commit(_at(pull, "head", "sha")) or at,
        _branch(_at(pull, "head", "ref")),
        default_branch=default,
        pull=number if isinstance(number, int) else None,
        into=_branch(_at(pull, "base", "ref")),
        trusted=_commit(_at(pull, "base", "sha")),
        is_fork=not ours or ours != theirs,
        is_merged=pull.get("merged") is True,
    )


def _workflow_run(payload: Mapping[str, Any], default: str) -> Occasion:
    run = payload.get("workflow_run")
    head = _commit(_at(payload, "workflow_run", "head_sha"))
    if not isinstance(run, Mapping):
        return Occasion("other", default_branch=default)
    is_ours = _at(run, "head_repository", "full_name") == _at(payload, "repository", "full_name")
    is_good = (run.get("conclusion"), run.get("event")) == ("success", "push")
    kind: Kind = "built" if is_ours and is_good else "other"
    return Occasion(kind, head, _branch(run.get("head_branch")), default_branch=default)


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _commit(value: Any) -> str:
    return value if isinstance(value, str) and (_COMMIT.fullmatch(value) or is_nothing(value)) else ""


def _branch(value: Any) -> str:
    is_name = isinstance(value, str) and value.isprintable() and not value.startswith("-")
    return value if is_name and len(value) <= _LONGEST_BRANCH else ""
