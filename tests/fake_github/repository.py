"""One repository on the fake: its conversation is kept here, its commits in a real bare git repository."""

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fake_github.spec import filled

IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "fake"), ("EMAIL", "fake@example.org"))
}


@dataclass
class Repository:
    """`has_issues` and `may_create_pulls` are the two settings that users forget.

    `has_rules` is false for a private repository on the Free plan: no rulesets, no branch protection.
    `brought` are the commits of merged pull requests. What is made shows in lists only after `lag` of them
    have been read without it, as on GitHub for a moment.
    """

    name: str
    git_dir: Path
    host: str
    default_branch: str = "main"
    has_issues: bool = True
    may_create_pulls: bool = True
    has_rules: bool = True
    merge_methods: tuple[str, ...] = ("merge", "squash")
    issues: dict[int, dict[str, Any]] = field(default_factory=dict)
    pulls: dict[int, dict[str, Any]] = field(default_factory=dict)
    comments: dict[int, dict[str, Any]] = field(default_factory=dict)
    labels: dict[str, dict[str, Any]] = field(default_factory=dict)
    reviews: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    deployments: dict[int, dict[str, Any]] = field(default_factory=dict)
    deployment_statuses: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    statuses: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    environments: dict[str, dict[str, Any]] = field(default_factory=dict)
    protected: dict[str, dict[str, Any]] = field(default_factory=dict)
    rulesets: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    dispatches: list[dict[str, Any]] = field(default_factory=list)
    brought: dict[int, frozenset[str]] = field(default_factory=dict)
    lag: int = 0
    young: dict[int, int] = field(default_factory=dict)
    ticks: int = 0

    def __post_init__(self) -> None:
        if not self.git_dir.exists():
            self.git_dir.mkdir(parents=True)
            self.git("init", "--quiet", "--bare", f"--initial-branch={self.default_branch}")

    @property
    def url(self) -> str:
        return f"{self.host}/repos/{self.name}"

    @property
    def html_url(self) -> str:
        return f"{self.host}/{self.name}"

    def tick(self) -> int:
        """The next id: also the seconds of the fake's own clock, so that order is certain."""
        self.ticks += 1
        return self.ticks

    def now(self) -> str:
        seconds = self.ticks
        return f"2026-01-01T{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}Z"

    def next_number(self) -> int:
        return max((*self.issues, *self.pulls), default=0) + 1

    def made(self, schema: str, /, **given: Any) -> dict[str, Any]:
        """A thing as GitHub describes it, with an id and times."""
        tick = self.tick()
        self.young[tick] = self.lag
        now = self.now()
        given = {"id": tick, "node_id": f"N_{tick}", "created_at": now, "updated_at": now, **given}
        return filled(schema, given, self.host)

    def shown(self, listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """A list without what is too young for it."""
        hidden = {one["id"] for one in listed if self.young.get(one["id"], 0) > 0}
        for number in hidden:
            self.young[number] -= 1
        return [one for one in listed if one["id"] not in hidden]

    def contains(self, commit: str, ancestor: str) -> bool:
        return not self.git("rev-list", "--max-count=1", f"{commit}..{ancestor}")

    def user(self, login: str) -> dict[str, Any]:
        kind = "Bot" if login.endswith("[bot]") else "User"
        return filled("simple-user", {"login": login, "type": kind, "site_admin": False}, self.host)

    def described(self, schema: str) -> dict[str, Any]:
        return filled(
            schema,
            {
                "name": self.name.partition("/")[2],
                "full_name": self.name,
                "url": self.url,
                "html_url": self.html_url,
                "owner": self.user(self.name.partition("/")[0]),
                "default_branch": self.default_branch,
                "has_issues": self.has_issues,
            },
            self.host,
        )

    def git(self, *words: str, feed: bytes | None = None, codes: tuple[int, ...] = (0,)) -> str:
        """One git command in the bare repository; CalledProcessError for other exit codes."""
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_CONFIG_NOSYSTEM": "1",
            "HOME": "/nonexistent",
            **IDENTITY,
        }
        done = subprocess.run(
            ["git", *words], cwd=self.git_dir, input=feed, capture_output=True, env=environment, check=False
        )
        if done.returncode not in codes:
            raise subprocess.CalledProcessError(done.returncode, words, done.stdout, done.stderr)
        return done.stdout.decode()

    def commit_of(self, ref: str) -> str | None:
        """The commit that a branch, a tag or a name of a commit means."""
        for name in (f"refs/heads/{ref}", f"refs/tags/{ref}", ref if len(ref) == 40 else "refs/" + ref):
            found = self.git(
                "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", codes=(0, 1, 128)
            ).strip()
            if found:
                return found
        return None

    def commit(self, tree: str, message: str, *parents: str) -> str:
        words = [word for parent in parents for word in ("-p", parent)]
        return self.git("commit-tree", tree, *words, feed=message.encode()).strip()

    def put(self, branch: str, files: dict[str, str], message: str = "change") -> str:
        """Commit files to a branch, which begins where the default branch is; for the tests' own use."""
        tip = self.commit_of(branch) or self.commit_of(self.default_branch)
        entries = {}
        if tip:
            for line in self.git("ls-tree", "-r", tip).splitlines():
                head, _, path = line.partition("\t")
                entries[path] = head
        for path, text in files.items():
            blob = self.git("hash-object", "-w", "--stdin", feed=text.encode()).strip()
            entries[path] = f"100644 blob {blob}"
        new = self.commit(self.tree(entries), message, *([tip] if tip else []))
        self.git("update-ref", f"refs/heads/{branch}", new)
        return new

    def tree(self, entries: dict[str, str]) -> str:
        """The id of the tree with these paths, each `mode type id`."""
        inner: dict[str, dict[str, str]] = {}
        lines = []
        for path, head in entries.items():
            first, _, rest = path.partition("/")
            if rest:
                inner.setdefault(first, {})[rest] = head
            else:
                lines.append(f"{head}\t{first}")
        lines += [f"040000 tree {self.tree(some)}\t{name}" for name, some in inner.items()]
        return self.git("mktree", "--missing", feed=("\n".join(lines) + "\n").encode()).strip()

    def merged(self, base: str, head: str, message: str) -> str | None:
        """A commit that merges two, or None for a conflict."""
        done = self.git("merge-tree", "--write-tree", base, head, codes=(0, 1))
        if "\nCONFLICT" in done or "\n\n" in done:
            return None
        return self.commit(done.splitlines()[0], message, base, head)
