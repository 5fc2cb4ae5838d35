"""A repository's files and branches, read and proposed through the API: no clone, no history rewritten.

Trees and commits are named by their content, so making one twice is harmless. A branch is looked at before
and after; only branches that the caller calls its own are moved.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from dual_update.adapters.github_requests import Asking, Invalid, NotThere

SUBMODULE = "160000"
"""The mode of a submodule's entry in a tree."""


class CodeOfRepository(Asking):
    """Files, trees, commits, branches."""

    def pointer(self, commit: str, path: str) -> str | None:
        at, parts = commit, path.strip("/").split("/")
        for number, part in enumerate(parts):
            place = f"/git/trees/{quote(at, safe='')}"
            try:
                listed = self._read(self._get(place), lambda one: list(one["tree"]), place)
            except NotThere:
                return None
            entry: Any = next((one for one in listed if one.get("path") == part), {})
            is_last = number == len(parts) - 1
            if is_last:
                return str(entry["sha"]) if entry.get("mode") == SUBMODULE else None
            if entry.get("type") != "tree":
                return None
            at = str(entry["sha"])
        return None

    def file(self, commit: str, path: str) -> str | None:
        place = f"/contents/{quote(path)}"
        try:
            answer = self._get(place, ref=commit)
        except NotThere:
            return None
        if not isinstance(answer, dict) or answer.get("type") != "file":
            return None
        try:
            return base64.b64decode(str(answer.get("content") or "")).decode("utf-8", "replace")
        except binascii.Error:
            return None

    def branches_at(self, commit: str) -> Sequence[str]:
        path = f"/commits/{quote(commit, safe='')}/branches-where-head"
        try:
            answer = self._get(path)
        except (NotThere, Invalid):
            return ()
        return self._read(answer, lambda several: [str(one["name"]) for one in several], path)

    def moved_pointer(self, commit: str, path: str, to: str) -> str:
        place = f"/git/commits/{commit}"
        tree = self._read(self._get(place), lambda one: str(one["tree"]["sha"]), place)
        entry = {"path": path, "mode": SUBMODULE, "type": "commit", "sha": to}
        body = {"base_tree": tree, "tree": [entry]}
        return self._set("POST", "/git/trees", body, lambda one: str(one["sha"]))

    def make_commit(self, tree: str, message: str, parent: str) -> str:
        body = {"tree": tree, "message": message, "parents": [parent]}
        return self._set("POST", "/git/commits", body, lambda one: str(one["sha"]))

    def set_branch(self, branch: str, commit: str) -> None:
        there = self._tip(branch)
        if there is None:
            try:
                body = {"ref": f"refs/heads/{branch}", "sha": commit}
                self._make("/git/refs", body, _tip_of, lambda: self._tip(branch))
            except Invalid:
                if self._tip(branch) is None:
                    raise
            there = self._tip(branch)
        if there != commit:
            forced = {"sha": commit, "force": True}
            self._set("PATCH", f"/git/refs/heads/{quote(branch)}", forced, _tip_of)

    def drop_branch(self, branch: str) -> None:
        try:
            self._set("DELETE", f"/git/refs/heads/{quote(branch)}", None, lambda _: None)
        except (NotThere, Invalid):
            if self._tip(branch) is not None:
                raise

    def _tip(self, branch: str) -> str | None:
        path = f"/git/ref/heads/{quote(branch)}"
        try:
            return self._read(self._get(path), _tip_of, path)
        except NotThere:
            return None


def _tip_of(one: Any) -> str:
    return str(one["object"]["sha"])
