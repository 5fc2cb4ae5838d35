"""Verbs that build git repositories for tests that need no engine."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dual_update.adapters.compose import ComposeRenderer
from dual_update.adapters.git import GitRepository
from dual_update.adapters.ignore import sent_to_build
from dual_update.core.rules import Impact
from dual_update.usecases.detect import Detected, DetectRequest, Project, detect

Files = Mapping[str, str | bytes | None]


class Checkout:
    """A git repository on branch main, made where `directory` says."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str, stdin: bytes | None = None) -> str:
        """Runs git here; local paths are allowed as remotes of submodules."""
        done = subprocess.run(
            ["git", "-c", "protocol.file.allow=always", *arguments],
            cwd=self.directory,
            input=stdin,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, f"git {arguments}: {done.stdout!r} {done.stderr!r}"
        return done.stdout.decode().strip()

    def write(self, files: Files) -> None:
        for name, content in files.items():
            path = self.directory / name
            if content is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def commit(self, files: Files | None = None, message: str = "change") -> str:
        """Writes files (None removes one), commits everything and returns the commit's id."""
        self.write(files or {})
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.head

    def commits(self, *trees: Mapping[str, bytes]) -> list[str]:
        """One commit for each tree, fast: a single process, nothing written to the work tree."""
        lines: list[bytes] = []
        for number, tree in enumerate(trees, 1):
            lines += [b"commit refs/heads/trees", b"mark :%d" % number]
            lines += [b"committer T <t@example.org> %d +0000" % number, b"data 1", b"t", b"deleteall"]
            for path, content in sorted(tree.items()):
                lines += [b"M 644 inline " + path.encode(), b"data %d" % len(content), content]
            lines.append(b"")
        marks = self.directory / ".git" / "marks"
        self.git("fast-import", "--quiet", f"--export-marks={marks}", stdin=b"\n".join(lines))
        found = dict(line.split(" ") for line in marks.read_text().splitlines())
        return [found[f":{number}"] for number in range(1, len(trees) + 1)]

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def detect(
        self,
        base: str | None,
        head: str = "HEAD",
        files: Sequence[str] = (),
        directory: str = "",
        overrides: Mapping[str, Impact] | None = None,
    ) -> Detected:
        """What the use-case says of two commits; `files` and `directory` are paths below the root."""
        request = DetectRequest(
            head=head, base=base, project=Project(directory, tuple(files)), overrides=overrides or {}
        )
        with GitRepository(self.directory) as repository:
            return detect(request, repository, ComposeRenderer(), sent_to_build)


def dual_update(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """The command as a user runs it, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "dual_update", *arguments],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def tree_of(directory: Path) -> dict[str, bytes]:
    """Every file below a directory, as a tree for `Checkout.commits`."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }
