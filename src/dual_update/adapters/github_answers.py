"""GitHub's answers, read into our own words. A KeyError means: that was no such answer."""

import json
from collections.abc import Mapping
from typing import Any

from dual_update.usecases.github_ports import Comment, Commit, Deployment, Issue, Pull, Review

TRUSTED = frozenset({"OWNER", "MEMBER", "COLLABORATOR"})


def is_ours(thing: Mapping[str, Any], marker: str) -> bool:
    """Does its text begin with the marker, and may its author speak for us: strangers can copy a marker."""
    user = thing.get("user") or {}
    is_trusted = user.get("type") == "Bot" or thing.get("author_association") in TRUSTED
    return is_trusted and str(thing.get("body") or "").startswith(marker)


def issue(one: Any) -> Issue:
    return Issue(
        number=int(one["number"]),
        title=str(one["title"]),
        body=str(one["body"] or ""),
        is_open=one["state"] == "open",
        url=str(one["html_url"]),
        labels=tuple(str(label["name"]) for label in one["labels"]),
    )


def comment(one: Any) -> Comment:
    return Comment(int(one["id"]), str(one.get("body") or ""), str(one["html_url"]))


def pull(one: Any) -> Pull:
    is_merged = one.get("merged_at") is not None
    return Pull(
        number=int(one["number"]),
        title=str(one["title"]),
        body=str(one["body"] or ""),
        is_open=one["state"] == "open",
        is_merged=is_merged,
        url=str(one["html_url"]),
        head=str(one["head"]["ref"]),
        head_commit=str(one["head"]["sha"]),
        base=str(one["base"]["ref"]),
        merge_commit=str(one["merge_commit_sha"]) if is_merged else None,
        author=str((one.get("user") or {}).get("login") or ""),
        is_fork=_repository(one["head"]) != _repository(one["base"]),
    )


def _repository(side: Any) -> str:
    """Whose branch it is; a fork that is gone has no name."""
    return str((side.get("repo") or {}).get("full_name") or "")


def review(one: Any) -> Review:
    return Review(
        login=str(one["user"]["login"]),
        is_approval=one["state"] == "APPROVED",
        is_objection=one["state"] == "CHANGES_REQUESTED",
        commit=str(one.get("commit_id") or ""),
        is_trusted=one.get("author_association") in TRUSTED,
    )


def commit(one: Any) -> Commit:
    """A commit as git's own objects are told."""
    return Commit(
        id=str(one["sha"]),
        parents=tuple(str(parent["sha"]) for parent in one["parents"]),
        tree=str(one["tree"]["sha"]),
        message=str(one["message"]),
    )


def compared(one: Any) -> Commit:
    """A commit in a list: git's own part lies one deeper there."""
    return commit({"sha": one["sha"], "parents": one["parents"], **one["commit"], "url": ""})


def deployment(one: Any) -> Deployment:
    """A payload may come back as the text that it was stored as."""
    payload = one["payload"]
    if isinstance(payload, str):
        try:
            payload = json.loads(payload or "{}")
        except ValueError:
            payload = {}
    payload = payload if isinstance(payload, dict) else {}
    return Deployment(
        id=int(one["id"]),
        commit=str(one["sha"]),
        cluster=str(payload.get("cluster") or ""),
        run=str(payload.get("run") or ""),
        environment=str(one["environment"]),
    )
