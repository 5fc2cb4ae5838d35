"""How commits came into a repository and who agreed: comparisons, pull requests of commits, reviews."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from dual_update.adapters import github_answers as answers
from dual_update.adapters.github_requests import Asking, Forbidden, NotThere
from dual_update.usecases.github_ports import (
    BranchRules,
    Commit,
    Comparison,
    Protection,
    Pull,
    Review,
)

LONGEST_COMPARISON = 10
"""Pages of a hundred commits that are read of one comparison."""

MOST_FILES = 300
"""Files that GitHub names in one comparison; with as many, there may be more."""

NOT_IN_PLAN = "Upgrade to GitHub Pro or make this repository public to enable this feature."
"""GitHub's 403 for rulesets and branch protection of a private repository on the Free plan, a user's or an
organization's: there are none, and what stood there under an earlier plan is not enforced."""


class HistoryOfRepository(Asking):
    """What GitHub knows beside git: nothing here writes."""

    def default_branch(self) -> str:
        return self._read(self._get(""), lambda one: str(one["default_branch"]), "")

    def branch_commit(self, branch: str) -> str | None:
        path = f"/git/ref/heads/{quote(branch)}"
        try:
            return self._read(self._get(path), lambda one: str(one["object"]["sha"]), path)
        except NotThere:
            return None

    def commit(self, commit: str) -> Commit | None:
        path = f"/git/commits/{quote(commit, safe='')}"
        try:
            return self._read(self._get(path), answers.commit, path)
        except NotThere:
            return None

    def compare(self, base: str, head: str) -> Comparison | None:
        path = f"/compare/{quote(base, safe='')}...{quote(head, safe='')}"
        commits: list[Commit] = []
        first: Any = None
        for page in range(1, LONGEST_COMPARISON + 1):
            try:
                answer = self._get(path, per_page="100", page=str(page))
            except NotThere:
                return None
            first = first or answer
            some = self._read(answer, lambda one: [answers.compared(each) for each in one["commits"]], path)
            commits += some
            if not some or len(commits) >= int(answer["total_commits"]):
                break

        def read(one: Any) -> Comparison:
            files = tuple(str(file["filename"]) for file in one.get("files") or ())
            renamed = tuple(
                str(file["previous_filename"])
                for file in one.get("files") or ()
                if file.get("previous_filename")
            )
            return Comparison(
                relation=one["status"],
                commits=tuple(commits),
                files=(*files, *renamed),
                is_complete=len(commits) >= int(one["total_commits"]) and len(files) < MOST_FILES,
            )

        return self._read(first, read, path)

    def pulls_of(self, commit: str) -> Sequence[Pull]:
        path = f"/commits/{quote(commit, safe='')}/pulls"
        return [self._read(one, answers.pull, path) for one in self._pages(path)]

    def reviews(self, number: int) -> Sequence[Review]:
        """A mere comment does not take an approval back, a dismissal does."""
        newest: dict[str, Any] = {}
        for one in self._pages(f"/pulls/{number}/reviews"):
            if one.get("state") in {"APPROVED", "CHANGES_REQUESTED", "DISMISSED"}:
                newest[str((one.get("user") or {}).get("login"))] = one
        return [
            answers.review(one) for one in newest.values() if one["state"] != "DISMISSED" and one.get("user")
        ]

    def rules(self, branch: str) -> BranchRules:
        """Rulesets are for every token to read, a branch's protection for administrators only.

        Where the repository's plan has neither, there are none.
        """
        name = quote(branch, safe="")
        try:
            listed = list(self._pages(f"/rules/branches/{name}"))
        except NotThere:  # an enterprise server from before rulesets
            listed = []
        except Forbidden as error:
            if error.said != NOT_IN_PLAN:
                raise
            listed = []
        wanted = [one.get("parameters") or {} for one in listed if one.get("type") == "pull_request"]
        most = max((int(one.get("required_approving_review_count") or 0) for one in wanted), default=0)
        seen = self._get(f"/branches/{name}")
        if not seen.get("protected"):
            return BranchRules(bool(listed), most)
        try:
            answer = self._get(f"/branches/{name}/protection")
        except NotThere as error:
            # Administrators read that it is not protected (a ruleset is); all others that there is nothing.
            return BranchRules(True, most, is_known="not protected" in error.said)
        except Forbidden as error:
            if error.said == NOT_IN_PLAN:
                return BranchRules(bool(listed), most)
            return BranchRules(True, most, is_known=False)
        reviews = answer.get("required_pull_request_reviews") or {}
        return BranchRules(True, max(most, int(reviews.get("required_approving_review_count") or 0)))

    def protection(self, environment: str) -> Protection:
        try:
            answer = self._get(f"/environments/{quote(environment, safe='')}")
        except NotThere:
            return Protection(does_exist=False)
        rules = answer.get("protection_rules") or []
        return Protection(
            does_exist=True,
            has_reviewers=any(
                rule.get("type") == "required_reviewers" and rule.get("reviewers") for rule in rules
            ),
            wait_minutes=max((int(rule.get("wait_timer") or 0) for rule in rules), default=0),
        )
