"""Git: commits as trees of bytes. Nothing here touches a work tree; see `checkout.py` for what does."""

import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from dual_update.adapters.process import Result, run, scrubbed
from dual_update.core.errors import UsageError, WorldError
from dual_update.usecases.ports import FileChange

ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0",  # a password prompt would hang a service
    "GIT_OPTIONAL_LOCKS": "0",  # reading must not take index.lock from the user
    "GIT_CONFIG_COUNT": "2",
    "GIT_CONFIG_KEY_0": "safe.directory",  # the checkout may belong to another user of the host
    "GIT_CONFIG_VALUE_0": "*",
    "GIT_CONFIG_KEY_1": "core.fsmonitor",  # a repository's config must not start programs
    "GIT_CONFIG_VALUE_1": "false",
    "LC_ALL": "C",
}


class GitTree:
    """One commit, read through a `git cat-file --batch` that stays open."""

    def __init__(self, repository: "GitRepository", commit: str) -> None:
        self._repository = repository
        self._commit = commit
        self._paths: tuple[str, ...] | None = None

    @property
    def commit(self) -> str:
        return self._commit

    def read(self, path: str) -> bytes | None:
        kind, content = self._repository.object(f"{self._commit}:{path}")
        return content if kind == "blob" else None

    def list(self) -> Sequence[str]:
        if self._paths is None:
            out = self._repository.git("ls-tree", "-r", "-z", "--name-only", self._commit).out
            self._paths = tuple(out.split("\0")[:-1])
        return self._paths


class GitRepository:
    """A repository found from a directory inside it.

    Raises UsageError for a directory that is no repository and for unknown revisions.
    """

    def __init__(self, directory: Path) -> None:
        if not directory.is_dir():
            raise UsageError(f"{directory} is not a directory.", hint="Give the checkout with --repo DIR.")
        self._directory = directory
        found = self._run("rev-parse", "--show-toplevel")
        if found.code != 0:
            raise UsageError(
                f"{directory} is not inside a git repository: {_last_line(found)}",
                hint="Give the checkout with --repo DIR, or run `git init` and commit there.",
            )
        self._root = Path(found.out.strip())
        self._reader: subprocess.Popen[bytes] | None = None
        self._one_question = threading.Lock()

    def __enter__(self) -> "GitRepository":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the reader process. A closed repository opens a new one when asked again."""
        if self._reader is not None:
            self._reader.kill()
            self._reader.communicate()
            self._reader = None

    @property
    def root(self) -> str:
        return str(self._root)

    @property
    def directory(self) -> str:
        """Where in the repository it was found from, as a path below the root (empty for the root)."""
        relative = self._directory.resolve().relative_to(self._root.resolve())
        return "" if relative == Path() else relative.as_posix()

    def git(self, *arguments: str, timeout_seconds: float = 60.0) -> Result:
        """Run git in the repository's root. Raises WorldError with git's own words when it fails."""
        result = self._run(*arguments, timeout_seconds=timeout_seconds)
        if result.code != 0:
            raise WorldError(f"git {arguments[0]} failed in {self._root}: {_last_line(result)}")
        return result

    def try_git(self, *arguments: str, timeout_seconds: float = 60.0) -> Result:
        """Run git where a failure is an answer."""
        return self._run(*arguments, timeout_seconds=timeout_seconds)

    def resolve(self, revisions: Sequence[str]) -> tuple[str, ...]:
        """Commit ids of revisions. Raises UsageError that names the first unknown one."""
        return tuple(self._resolve(one) for one in revisions)

    def _resolve(self, revision: str) -> str:
        if revision.startswith("-"):
            raise UsageError(f"{revision!r} is not a revision.")
        kind, content = self.object(f"{revision}^{{commit}}", want_id=True)
        if kind == "commit":
            return content.decode()
        raise UsageError(
            f"{revision!r} is not a commit in {self._root}.",
            hint="Check the name with `git log`. A shallow clone may lack it: `git fetch --unshallow`.",
        )

    def tree(self, commit: str) -> GitTree:
        return GitTree(self, commit)

    def changed(self, base: str, head: str) -> Sequence[FileChange]:
        out = self.git("diff-tree", "-r", "-z", "--raw", "--no-renames", base, head).out
        parts = out.split("\0")
        changes = []
        for meta, path in zip(parts[0::2], parts[1::2], strict=False):
            old_mode, new_mode, old_id, new_id, _ = meta.lstrip(":").split(" ")
            changes.append(FileChange(path, old_mode, new_mode, old_id, new_id))
        return changes

    def object(self, name: str, *, want_id: bool = False) -> tuple[str, bytes]:
        """Kind and content of an object, or of `want_id` its id. A missing one has the kind `missing`."""
        if "\n" in name or "\0" in name:
            return "missing", b""
        with self._one_question:
            return self._ask(name, want_id=want_id)

    def _ask(self, name: str, *, want_id: bool) -> tuple[str, bytes]:
        reader = self._open_reader()
        assert reader.stdin is not None
        assert reader.stdout is not None
        try:
            reader.stdin.write(name.encode("utf-8", "surrogateescape") + b"\n")
            reader.stdin.flush()
            header = reader.stdout.readline().rstrip(b"\n")
            fields = header.rsplit(b" ", 2)
            if len(fields) != 3 or not fields[2].isdigit():
                return "missing", b""
            content = reader.stdout.read(int(fields[2]))
            reader.stdout.read(1)
        except OSError as error:
            raise WorldError(f"git stopped answering in {self._root}: {error}") from error
        return fields[1].decode(), fields[0] if want_id else content

    def _open_reader(self) -> "subprocess.Popen[bytes]":
        if self._reader is None or self._reader.poll() is not None:
            self._reader = subprocess.Popen(
                ["git", "cat-file", "--batch"],
                cwd=self._root,
                env=scrubbed(ENVIRONMENT),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        return self._reader

    def _run(self, *arguments: str, timeout_seconds: float = 60.0) -> Result:
        where = getattr(self, "_root", self._directory)
        return run(["git", *arguments], cwd=where, env=scrubbed(ENVIRONMENT), timeout_seconds=timeout_seconds)


def _last_line(result: Result) -> str:
    lines = result.err.strip().splitlines()
    return lines[-1] if lines else f"exit code {result.code}"
