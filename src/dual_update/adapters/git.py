"""Git: commits as trees of bytes. Nothing here touches a work tree; see `checkout.py` for what does.

A submodule's commits are read from its own object store, wherever git keeps that: `modules/NAME` in the
git directory around it, or the checkout of the submodule.
"""

import posixpath
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dual_update.adapters.attributes import rewritten
from dual_update.adapters.process import Result, run, scrubbed
from dual_update.core.errors import UsageError, WorldError
from dual_update.core.submodule import SubmoduleMove, owner_and_name
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

LISTED_COMMITS = 50
"""How many commits of a moved submodule are listed."""

MOST_LINKS = 40
"""How many symbolic links one path may lead through; Linux has the same bound."""

_LINK_PAYLOADS = (b"symlink", b"dangling", b"loop", b"notdir")


@dataclass(frozen=True)
class _Pointer:
    """A submodule as one commit has it."""

    path: str
    commit: str
    name: str
    url: str


class Objects:
    """One object store, read through a `git cat-file --batch` that stays open."""

    def __init__(self, git_dirs: Sequence[Path], worktree: Path, extra: Mapping[str, str]) -> None:
        self.worktree = worktree
        self._git_dirs = git_dirs  # of a linked work tree there are two: its own, and the one all share
        self._environment = {**ENVIRONMENT, **extra}
        self._where = worktree if not extra else git_dirs[0]
        self._reader: subprocess.Popen[bytes] | None = None
        self._one_question = threading.Lock()
        self._modules: dict[Path, Objects] = {}

    @classmethod
    def of_module(cls, git_dir: Path, worktree: Path) -> "Objects":
        """A submodule's store. Its config names a work tree that need not exist, so another one is said."""
        return cls([git_dir], worktree, {"GIT_DIR": str(git_dir), "GIT_WORK_TREE": str(git_dir)})

    def close(self) -> None:
        for module in self._modules.values():
            module.close()
        if self._reader is not None:
            self._reader.kill()
            self._reader.communicate()
            self._reader = None

    def try_git(self, *arguments: str, timeout_seconds: float = 60.0) -> Result:
        environment = scrubbed(self._environment)
        return run(["git", *arguments], cwd=self._where, env=environment, timeout_seconds=timeout_seconds)

    def git(self, *arguments: str, timeout_seconds: float = 60.0) -> Result:
        result = self.try_git(*arguments, timeout_seconds=timeout_seconds)
        if result.code != 0:
            raise WorldError(f"git {arguments[0]} failed in {self._where}: {_last_line(result)}")
        return result

    def object(self, name: str, *, want_id: bool = False) -> tuple[str, bytes]:
        """Kind and content of an object, or of `want_id` its id. A missing one has the kind `missing`.

        A symbolic link inside the commit is followed; one that leads out of it is missing.
        """
        if "\n" in name or "\0" in name:
            return "missing", b""
        with self._one_question:
            return self._ask(name, want_id=want_id)

    def has(self, commit: str) -> bool:
        return self.object(f"{commit}^{{commit}}", want_id=True)[0] == "commit"

    def _ask(self, name: str, *, want_id: bool) -> tuple[str, bytes]:
        reader = self._open_reader()
        assert reader.stdin is not None
        assert reader.stdout is not None
        try:
            reader.stdin.write(name.encode("utf-8", "surrogateescape") + b"\n")
            reader.stdin.flush()
            header = reader.stdout.readline().rstrip(b"\n")
            fields = header.rsplit(b" ", 2)
            if len(fields) == 2 and fields[0] in _LINK_PAYLOADS and fields[1].isdigit():
                reader.stdout.read(int(fields[1]) + 1)
                return "missing", b""
            if len(fields) != 3 or not fields[2].isdigit():
                return "missing", b""
            content = reader.stdout.read(int(fields[2]))
            reader.stdout.read(1)
        except OSError as error:
            raise WorldError(f"git stopped answering in {self._where}: {error}") from error
        return fields[1].decode(), fields[0] if want_id else content

    def _open_reader(self) -> "subprocess.Popen[bytes]":
        if self._reader is None or self._reader.poll() is not None:
            self._reader = subprocess.Popen(
                ["git", "cat-file", "--batch", "--follow-symlinks"],
                cwd=self._where,
                env=scrubbed(self._environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        return self._reader

    def diff(self, before: str, after: str) -> Iterator[FileChange]:
        out = self.git(
            "diff-tree", "-r", "-z", "--raw", "--no-renames", "--ignore-submodules=none", before, after
        ).out
        parts = out.split("\0")
        for meta, path in zip(parts[0::2], parts[1::2], strict=False):
            old_mode, new_mode, old_id, new_id, _ = meta.lstrip(":").split(" ")
            yield FileChange(path, old_mode, new_mode, old_id, new_id)

    def rewritten(self, before: str, after: str, changes: Sequence[FileChange]) -> Iterator[FileChange]:
        """Files that are the same in git and are written differently by a checkout."""

        def git(index: Path, arguments: tuple[str, ...], stdin: bytes) -> str:
            environment = scrubbed({**self._environment, "GIT_INDEX_FILE": str(index)})
            result = run(["git", *arguments], cwd=self._where, env=environment, stdin=stdin)
            if result.code != 0:
                raise WorldError(f"git {arguments[0]} failed in {self._where}: {_last_line(result)}")
            return result.out

        for path in rewritten(git, before, after, [one.path for one in changes]):
            yield FileChange(path, "100644", "100644", "earlier", "now")

    def between(self, before: str | None, after: str | None) -> tuple[str, ...]:
        """Commits on the way, newest first, as short id and subject."""
        if before and after and self.has(before) and self.has(after):
            which = ["--left-right", f"{before}...{after}"]
        else:
            which = [str(after or before)]
        result = self.git(
            "log", "--no-show-signature", f"-{LISTED_COMMITS}", "--format=%m%h %s", *which, "--"
        )
        undone = "" if after else "undone: "
        lines = result.out.split("\n")[:-1]
        return tuple(("undone: " if line.startswith("<") else undone) + line[1:] for line in lines)

    def empty_tree(self) -> str:
        """The id of the tree without files; each hash algorithm has its own."""
        return self.git("hash-object", "-t", "tree", "/dev/null").out.strip()

    def declared(self, commit: str) -> dict[str, tuple[str, str]]:
        """What a commit's `.gitmodules` says: path -> (name, url)."""
        if self.object(f"{commit}:.gitmodules")[0] != "blob":
            return {}
        wanted = r"^submodule\..*\.(path|url)$"
        blob = f"{commit}:.gitmodules"  # a stranger's file: an `include.path` in it opens nothing
        result = self.try_git("config", "--no-includes", "--blob", blob, "-z", "--get-regexp", wanted)
        if result.code > 1:
            raise UsageError(f".gitmodules of commit {commit[:12]} cannot be read: {_last_line(result)}")
        values: dict[str, dict[str, str]] = {}
        for entry in result.out.split("\0")[:-1]:
            key, _, value = entry.partition("\n")
            name, _, field = key.removeprefix("submodule.").rpartition(".")
            values.setdefault(name, {})[field] = value
        return {v["path"].rstrip("/"): (n, v.get("url", "")) for n, v in values.items() if "path" in v}

    def origin(self) -> str:
        return self.try_git("config", "--get", "remote.origin.url").out.strip()

    def module(self, pointer: _Pointer) -> "Objects | None":
        """The store of a submodule that has the commit pointed to; None when there is none here."""
        for git_dir in self._stores(pointer):
            if git_dir not in self._modules:
                self._modules[git_dir] = Objects.of_module(git_dir, self.worktree / pointer.path)
            if self._modules[git_dir].has(pointer.commit):
                return self._modules[git_dir]
        return None

    def _stores(self, pointer: _Pointer) -> Iterator[Path]:
        name = PurePosixPath(pointer.name)
        # `.gitmodules` comes from strangers: a name that climbs out of `modules/` opens nothing.
        if pointer.name and not name.is_absolute() and ".." not in name.parts:
            for around in self._git_dirs:
                if (around / "modules" / name / "HEAD").is_file():
                    yield around / "modules" / name
        checkout = self.worktree / pointer.path
        if checkout.resolve().is_relative_to(self.worktree.resolve()):
            found = _git_dir_of(checkout)
            if found is not None:
                yield found


def _git_dir_of(checkout: Path) -> Path | None:
    dot_git = checkout / ".git"
    if dot_git.is_dir():
        return dot_git
    if not dot_git.is_file():
        return None
    words = dot_git.read_text(encoding="utf-8", errors="replace").strip()
    found = checkout / words.removeprefix("gitdir:").strip()
    return found if words.startswith("gitdir:") and (found / "HEAD").is_file() else None


class GitTree:
    """One commit. Paths lead into submodules as if their files were its own."""

    def __init__(self, objects: Objects, commit: str, within: str = "") -> None:
        self._objects = objects
        self._commit = commit
        self._within = within  # the submodule this is the tree of, as a path with a slash at its end
        self._entries: tuple[Sequence[str], Sequence[_Pointer]] | None = None
        self._followed: dict[str, GitTree] = {}  # by the submodule's path
        self._links: dict[str, str] = {}  # symbolic links, and the ids of the blobs that say where to

    @property
    def commit(self) -> str:
        return self._commit

    def read(self, path: str) -> bytes | None:
        kind, content = self._objects.object(f"{self._commit}:{path}")
        if kind == "blob":
            return content
        if kind != "missing":
            return None
        for pointer in self.pointers():
            if path.startswith(f"{pointer.path}/"):
                return self.follow(pointer).read(path[len(pointer.path) + 1 :])
        return None

    def list(self) -> Sequence[str]:
        paths = list(self._ls()[0])
        for pointer in self._ls()[1]:
            if self._objects.module(pointer) is not None:
                paths += [f"{pointer.path}/{path}" for path in self.follow(pointer).list()]
        return paths

    def real(self, path: str) -> str:
        """The path with the commit's symbolic links followed, its submodules' too, as the host's kernel
        would. One that leads out of the commit or in circles stays as it is."""
        return self._way(path)[0]

    def links(self, path: str) -> Sequence[str]:
        """The symbolic links that lead from a path to where it really is."""
        return self._way(path)[1]

    def _way(self, path: str) -> tuple[str, Sequence[str]]:
        if not self._ls()[1] and not self._links:
            return path, ()
        links: list[str] = []
        done: list[str] = []
        left = path.split("/")[::-1]
        for _ in range(MOST_LINKS):
            words = None
            while left and (words := self._target("/".join([*done, left[-1]]))) is None:
                done.append(left.pop())
            if words is None:
                return "/".join(done), links
            links.append("/".join([*done, left.pop()]))
            here = posixpath.normpath(posixpath.join("/".join(done), words))
            if here.startswith(("/", "..")):
                return path, links
            done, left = [], [*left, *([] if here == "." else here.split("/")[::-1])]
        return path, links

    def _target(self, path: str) -> str | None:
        """Where the symbolic link at a path leads, in its own words; None where there is no link."""
        pointers = self._ls()[1]
        if path in self._links:
            return self._objects.object(self._links[path])[1].decode("utf-8", "surrogateescape")
        for pointer in pointers:
            if path.startswith(f"{pointer.path}/"):
                try:
                    inner = self.follow(pointer)
                except UsageError:  # its commit is not here; whoever needs its files says so
                    return None
                return inner._target(path[len(pointer.path) + 1 :])
        return None

    def pointers(self) -> Sequence[_Pointer]:
        """The submodules of this commit. Most commits have none, which one look into `.gitmodules` tells."""
        if self._entries is None and not self._objects.declared(self._commit):
            return ()
        return self._ls()[1]

    def follow(self, pointer: _Pointer) -> "GitTree":
        """The tree a pointer names. Raises UsageError that says how to fetch it when it is not here."""
        if pointer.path in self._followed:
            return self._followed[pointer.path]
        module = self._objects.module(pointer)
        path = self._within + pointer.path
        if module is not None:
            self._followed[pointer.path] = GitTree(module, pointer.commit, path + "/")
            return self._followed[pointer.path]
        what = f"Submodule {path} points to commit {pointer.commit}, which is not on this machine."
        if _git_dir_of(self._objects.worktree / pointer.path) is not None:
            raise UsageError(what, hint=f"Fetch it: git -C {path} fetch origin {pointer.commit}")
        outer = f"-C {self._within.rstrip('/')} " if self._within else ""
        raise UsageError(
            what, hint=f"Fetch it: git {outer}submodule update --init --recursive {pointer.path}"
        )

    def _ls(self) -> tuple[Sequence[str], Sequence[_Pointer]]:
        if self._entries is None:
            declared = self._objects.declared(self._commit)
            paths, pointers = [], []
            for line in self._objects.git("ls-tree", "-r", "-z", self._commit).out.split("\0")[:-1]:
                meta, _, path = line.partition("\t")
                if meta.startswith("160000"):
                    name, url = declared.get(path, ("", ""))
                    pointers.append(_Pointer(path, meta.split(" ")[2], name, url))
                else:
                    paths.append(path)
                if meta.startswith("120000"):
                    self._links[path] = meta.split(" ")[2]
            self._entries = (tuple(paths), tuple(pointers))
        return self._entries

    def pointer(self, path: str) -> _Pointer:
        return next(one for one in self._ls()[1] if one.path == path)

    def changed_from(self, old: "GitTree | None") -> Iterator[FileChange]:
        """Every path that differs, submodules' included; the pointers themselves too."""
        before = old.commit if old is not None else self._objects.empty_tree()
        changes = tuple(self._objects.diff(before, self._commit))
        for one in changes:
            yield one
            if one.is_submodule:
                yield from self._inside(one, old)
        if old is not None:
            yield from self._objects.rewritten(before, self._commit, changes)

    def removed(self) -> Iterator[FileChange]:
        """Every path of this commit, as one that is no more."""
        for one in self._objects.diff(self._commit, self._objects.empty_tree()):
            yield one
            if one.is_submodule:
                yield from _below(one.path, self.follow(self.pointer(one.path)).removed())

    def _inside(self, moved: FileChange, old: "GitTree | None") -> Iterator[FileChange]:
        was = None
        if moved.old_mode == "160000":
            assert old is not None
            was = old.follow(old.pointer(moved.path))
        if moved.new_mode == "160000":
            now = self.follow(self.pointer(moved.path))
            if was is None or now._objects.has(was.commit):
                yield from _below(moved.path, now.changed_from(was))
                return
            # The submodule is another repository now: nothing is shared, so all goes and all comes.
            yield from _below(moved.path, now.changed_from(None))
        if was is not None:
            yield from _below(moved.path, was.removed())

    def moves_from(self, old: "GitTree", changes: Sequence[FileChange]) -> Iterator[SubmoduleMove]:
        """The submodules whose pointer moved, outer ones first, with their commits."""
        for one in changes:
            if not one.is_submodule:
                continue
            was = old.at(one.path) if one.old_mode == "160000" else None
            now = self.at(one.path) if one.new_mode == "160000" else None
            tree, pointer, around = now or was or self.at(one.path)
            yield SubmoduleMove(
                path=one.path,
                before=was[1].commit if was else None,
                after=now[1].commit if now else None,
                repository=owner_and_name(pointer.url, around),
                commits=tree._objects.between(was[1].commit if was else None, now[1].commit if now else None),
                files=tuple(c.path for c in changes if c.path.startswith(f"{one.path}/")),
            )

    def around(self, path: str) -> "tuple[str, GitTree] | None":
        """The innermost submodule that a path lies in, or is: its path in this tree, and its own tree."""
        for pointer in self.pointers():
            if path != pointer.path and not path.startswith(f"{pointer.path}/"):
                continue
            inner = self.follow(pointer)
            deeper = inner.around(path[len(pointer.path) + 1 :])
            return (f"{pointer.path}/{deeper[0]}", deeper[1]) if deeper else (pointer.path, inner)
        return None

    def beside(self, revision: str) -> "GitTree":
        """Another commit of the same repository, by its id. Raises UsageError where it is not here."""
        kind, found = self._objects.object(f"{revision}^{{commit}}", want_id=True)
        if kind != "commit" or not found.decode().startswith(revision):
            raise UsageError(
                f"{revision[:12]!r} is not a commit in {self._within.rstrip('/') or 'this clone'}."
            )
        return GitTree(self._objects, found.decode(), self._within)

    def at(self, path: str) -> "tuple[GitTree, _Pointer, str]":
        """The submodule at a path of the whole tree: its tree, its pointer, and the url around it."""
        for pointer in self._ls()[1]:
            if path == pointer.path:
                return self.follow(pointer), pointer, self._objects.origin()
            if path.startswith(f"{pointer.path}/"):
                return self.follow(pointer).at(path[len(pointer.path) + 1 :])
        raise WorldError(f"{path} is no submodule of commit {self._commit[:12]}.")


def _below(prefix: str, changes: Iterator[FileChange]) -> Iterator[FileChange]:
    for one in changes:
        yield FileChange(f"{prefix}/{one.path}", one.old_mode, one.new_mode, one.old_id, one.new_id)


def _merged(changes: Iterator[FileChange]) -> Sequence[FileChange]:
    """One change a path: a folder that becomes a submodule of the same files has not changed."""
    merged: dict[str, FileChange] = {}
    for one in changes:
        other = merged.get(one.path)
        if other is None or one.is_submodule:
            merged[one.path] = one
            continue
        gone, come = (one, other) if set(one.new_id) == {"0"} else (other, one)
        merged[one.path] = FileChange(one.path, gone.old_mode, come.new_mode, gone.old_id, come.new_id)
    return [one for one in merged.values() if (one.old_mode, one.old_id) != (one.new_mode, one.new_id)]


class GitRepository:
    """A repository found from a directory inside it.

    Raises UsageError for a directory that is no repository and for unknown revisions.
    """

    def __init__(self, directory: Path) -> None:
        try:
            is_directory = directory.is_dir()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise UsageError(
                f"{directory} cannot be read: {why}.", hint="Give the checkout with --repo DIR."
            ) from error
        if not is_directory:
            raise UsageError(f"{directory} is not a directory.", hint="Give the checkout with --repo DIR.")
        self._directory = directory
        environment = scrubbed(ENVIRONMENT)
        found = run(
            ["git", "rev-parse", "--show-toplevel", "--absolute-git-dir", "--git-common-dir"],
            cwd=directory,
            env=environment,
        )
        if found.code != 0:
            raise UsageError(
                f"{directory} is not inside a git repository: {_last_line(found)}",
                hint="Give the checkout with --repo DIR, or run `git init` and commit there.",
            )
        top, git_dir, common = (Path(line) for line in found.out.splitlines()[:3])
        self._root = top
        self._objects = Objects(
            list(dict.fromkeys([git_dir, (directory / common).resolve()])), self._root, {}
        )

        self._trees: dict[str, GitTree] = {}

    def __enter__(self) -> "GitRepository":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the reader processes. A closed repository opens new ones when asked again."""
        self._objects.close()

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
        return self._objects.git(*arguments, timeout_seconds=timeout_seconds)

    def try_git(self, *arguments: str, timeout_seconds: float = 60.0) -> Result:
        """Run git where a failure is an answer."""
        return self._objects.try_git(*arguments, timeout_seconds=timeout_seconds)

    def object(self, name: str, *, want_id: bool = False) -> tuple[str, bytes]:
        """Kind and content of an object, or of `want_id` its id. A missing one has the kind `missing`."""
        return self._objects.object(name, want_id=want_id)

    def history(self, commit: str, limit: int) -> Sequence[str]:
        out = self.git("rev-list", "--first-parent", f"--max-count={limit}", commit).out
        return tuple(out.split())

    def is_ancestor(self, older: str, newer: str) -> bool:
        return self.try_git("merge-base", "--is-ancestor", older, newer).code == 0

    def has(self, commit: str) -> bool:
        """Is the commit in this clone."""
        return not commit.startswith("-") and self._objects.has(commit)

    @property
    def is_shallow(self) -> bool:
        """Does this clone lack the older part of its history."""
        return self.try_git("rev-parse", "--is-shallow-repository").out.strip() == "true"

    def resolve(self, revisions: Sequence[str]) -> tuple[str, ...]:
        """Commit ids of revisions. Raises UsageError that names the first unknown one."""
        return tuple(self._resolve(one) for one in revisions)

    def _resolve(self, revision: str) -> str:
        if not revision or revision.startswith("-"):
            raise UsageError(f"{revision!r} is not a revision.", hint="Give a commit, a branch or a tag.")
        kind, content = self.object(f"{revision}^{{commit}}", want_id=True)
        if kind == "commit":
            return content.decode()
        if not self.try_git("rev-list", "--all", "--max-count=1").out.strip():
            raise UsageError(
                f"{self._root} has no commits yet, so there is nothing to compare.",
                hint="Commit the compose file first.",
            )
        if self.is_shallow:
            raise UsageError(
                f"{revision!r} is not a commit in {self._root}, which is a shallow clone.",
                hint="Deepen it: git fetch --unshallow (in GitHub Actions: fetch-depth: 0 for the checkout).",
            )
        raise UsageError(
            f"{revision!r} is not a commit in {self._root}.",
            hint="Check the name with `git log --all`, or fetch it: git fetch origin",
        )

    def tree(self, commit: str) -> GitTree:
        """The tree of a commit; asked again, the same one with what it knows already."""
        return self._trees.setdefault(commit, GitTree(self._objects, commit))

    def changed(self, base: str, head: str) -> Sequence[FileChange]:
        """Every path that differs, in submodules too. Raises UsageError for a submodule's commit not here."""
        return _merged(self.tree(head).changed_from(self.tree(base)))

    def submodules(self, base: str, head: str, changes: Sequence[FileChange]) -> Sequence[SubmoduleMove]:
        """The submodules whose pointer is among the changes between two commits."""
        if not any(one.is_submodule for one in changes):
            return ()
        return tuple(self.tree(head).moves_from(self.tree(base), changes))

    def submodule_around(self, commit: str, path: str) -> tuple[str, str] | None:
        """The innermost submodule that a path of a commit lies in, with the commit pointed to."""
        found = self.tree(commit).around(path)
        return None if found is None else (found[0], found[1].commit)

    def changed_inside(self, commit: str, submodule: str, revision: str) -> Sequence[FileChange]:
        """What differs below a submodule between a revision of its own and the commit pointed to."""
        found = self.tree(commit).around(submodule)
        if found is None:
            raise UsageError(f"{submodule} is no submodule of commit {commit[:12]}.")
        path, tree = found
        return _merged(_below(path, tree.changed_from(tree.beside(revision))))


def _last_line(result: Result) -> str:
    lines = result.err.strip().splitlines()
    return lines[-1] if lines else f"exit code {result.code}"
