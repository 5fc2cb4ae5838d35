"""The stable checkout on the host: moved from commit to commit by git, never over anybody's edits.

What can be lost is looked at before git is asked to move: edits to tracked files, and files that git does
not know (ignored ones too) where the wanted commit has one. Content that the wanted commit holds as well
is no edit.

A move that was cut off (a killed process, a lost host) leaves files of both commits and perhaps half a file,
since git writes the files first, then its index, then HEAD. So a move writes a note into the git directory
before its first change and removes it when all is verified. While the note lies there, a file written since
then that is, or begins like, what one of the noted commits holds at its place is known to be git's work and
not a person's; the next move puts it back to HEAD, or takes it away, and starts again.

A lock file of git's index is removed only if it is younger than our note, nobody has it open and no git
works in the checkout, as far as this machine's process list shows; else a person is asked.
"""

import json
import math
import os
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dual_update.adapters.git import ENVIRONMENT, GitRepository
from dual_update.adapters.process import Result, run, scrubbed
from dual_update.core.errors import NotNow, WorldError

MOVE_SECONDS = 600.0
"""Longest wait for one git command that writes files or fetches a submodule."""

SLACK_SECONDS = 2.0
"""How coarse a file system's times may be."""

LOCK_SECONDS = 5.0
"""How long another git's lock is waited for."""

NOTE = "dual-update-move.json"

_FETCHING = ("SSH_AUTH_SOCK", "SSH_ASKPASS", "GIT_ASKPASS", "GIT_SSH", "GIT_SSH_COMMAND")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")
_SUBMODULE = "160000"
_LINK = "120000"
_ABSENT = "000000"


class GitCheckout:
    """Fits the port Checkout. `directory` is the checkout as the user names it."""

    def __init__(self, repository: GitRepository, directory: str | Path | None = None) -> None:
        self._directory = Path(directory or repository.root)
        self._root = Path(repository.root)

    @property
    def path(self) -> str:
        return str(self._directory)

    def head(self) -> str:
        return _WorkTree(self._root).head()

    def dirty(self, target: str) -> tuple[str, ...]:
        """Paths with local edits to tracked files, or files unknown to git that `target` would overwrite.

        Inside submodules too, where the target has them. A submodule at another commit is not dirty: what
        it holds is in its objects.
        """
        note = _Note(self._root)
        return tuple(sorted(set(_WorkTree(self._root).in_the_way(target, note.earlier()))))

    def move(self, commit: str) -> None:
        """Work tree and submodules to exactly this commit, detached. Ignored and unknown files stay.

        Raises NotNow for what `dirty` finds, WorldError with git's words, and where the result is not what
        was asked. Repeating it is harmless, and completes a move that was cut off.
        """
        tree = _WorkTree(self._root)
        note = _Note(self._root)
        if not note.exists() and tree.is_at(commit):
            return
        in_the_way = self.dirty(commit)
        if in_the_way:
            raise NotNow(
                f"The checkout {self.path} has local edits that would be lost: {_few(in_the_way)}.",
                hint="Commit them to the repository, or move them away; then try again.",
            )
        tree.move(commit, note.write(tree.head(), commit))
        wrong = tree.differs(commit)
        if wrong:
            raise WorldError(
                f"The checkout {self.path} is not at {commit[:12]} though git said so: {_few(wrong)}."
            )
        note.remove()

    def bring(self, commit: str) -> tuple[str, ...]:
        """Fetch what a move will need of the submodules that are here. The work tree stays as it is.

        Returns a sentence for each commit that their repositories do not give.
        """
        return tuple(_WorkTree(self._root).bring(commit))

    def untracked(self, paths: Sequence[str]) -> Mapping[str, bytes]:
        """Content of those of these paths that exist on the host and are not in git."""
        wanted = {
            path: self._root / path
            for path in paths
            if not path.startswith("/") and ".." not in Path(path).parts and (self._root / path).is_file()
        }
        if not wanted:
            return {}
        known = _WorkTree(self._root).known(wanted)
        return {path: file.read_bytes() for path, file in wanted.items() if path not in known}


@dataclass(frozen=True)
class _Earlier:
    """Moves that may have been cut off: between which commits, and when the first of them began (seconds of
    the epoch, infinite when there was none)."""

    commits: tuple[str, ...] = ()
    begun_at: float = math.inf

    def since(self, changed_at: float) -> bool:
        """May this have been written by one of them."""
        return changed_at >= self.begun_at - SLACK_SECONDS

    @property
    def is_any(self) -> bool:
        return math.isfinite(self.begun_at)


@dataclass(frozen=True)
class _Edit:
    """A path whose work tree, index and HEAD are not all the same (`git status`, porcelain version 2)."""

    path: str
    index_id: str
    index_mode: str
    is_staged: bool
    is_submodule: bool
    is_conflict: bool


class _WorkTree:
    """One repository's work tree: the checkout's, or a submodule's below it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def head(self) -> str:
        return self._git("rev-parse", "--verify", "HEAD^{commit}").out.strip()

    def is_at(self, commit: str) -> bool:
        return not self.differs(commit)

    def differs(self, commit: str) -> tuple[str, ...]:
        """What is not as this commit has it; submodules that .gitmodules does not name are left aside."""
        if self._try("rev-parse", "--verify", "HEAD^{commit}").out.strip() != commit:
            return ("HEAD",)
        found = [one.path for one in self._edits() if not one.is_submodule or one.is_staged]
        for path, wanted in self._submodules(commit).items():
            below = self._below(path)
            inner = ("(missing)",) if below is None else below.differs(wanted)
            found += [f"{path}/{one}" for one in inner]
        return tuple(found)

    def known(self, paths: Iterable[str]) -> frozenset[str]:
        """Those of these paths that the index holds."""
        return frozenset(self._names("ls-files", "-z", "--", *(f":(literal){one}" for one in paths)))

    # --- what would be lost

    def in_the_way(self, target: str, earlier: _Earlier) -> list[str]:
        """Edits that are content of neither the target nor a noted commit; unknown files in the way."""
        found = [one.path for one in self._edits() if not self._is_harmless(one, target, earlier)]
        if self._has(target):
            tracked = frozenset(self._names("ls-files", "-z"))
            for path, mode in self._entries(target).items():
                if path not in tracked:
                    found += self._occupied(path, mode, tracked, target, earlier)
        for path, wanted in self._submodules(target).items():
            below = self._below(path)
            if below is not None:
                inner = below.in_the_way(wanted, self._earlier_below(path, earlier))
                found += [f"{path}/{one}" for one in inner]
        return found

    def _earlier_below(self, path: str, earlier: _Earlier) -> _Earlier:
        commits = (self._link(one, path) for one in earlier.commits)
        return _Earlier(tuple(one for one in commits if one), earlier.begun_at)

    def _edits(self) -> list[_Edit]:
        """Changes to what git knows; files that it does not know are left out, which keeps data unread."""
        records = self._names("status", "--porcelain=v2", "-z", "--untracked-files=no", "--no-renames")
        found = []
        for record in records:
            kind, _, rest = record.partition(" ")
            if kind == "1":
                state, sub, _, index_mode, _, _, index_id, path = rest.split(" ", 7)
                is_staged, is_submodule = state[0] != ".", sub.startswith("S")
                found.append(_Edit(path, index_id, index_mode, is_staged, is_submodule, False))
            elif kind == "u":
                path = rest.split(" ", 9)[9]
                found.append(_Edit(path, "", "", True, False, True))
        return found

    def _is_harmless(self, edit: _Edit, target: str, earlier: _Earlier) -> bool:
        """Would nothing be lost if the path were put back to HEAD."""
        if edit.is_conflict or (edit.is_staged and not self._is_in_one(edit, (target, *earlier.commits))):
            return False
        # A submodule's own work tree is asked for itself.
        return edit.is_submodule or self._is_content_of(edit.path, target, earlier)

    def _is_in_one(self, edit: _Edit, commits: Sequence[str]) -> bool:
        """Does one of the commits hold what is staged."""
        entries = [self._entry(commit, edit.path) for commit in commits]
        if edit.index_mode == _ABSENT:
            return None in entries
        return (edit.index_mode, edit.index_id) in entries

    def _is_content_of(self, path: str, target: str, earlier: _Earlier) -> bool:
        """Is what lies at the path what one of the commits has there, or the beginning of it that git had
        written when it was cut off."""
        commits = (target, *earlier.commits)
        file = self._root / path
        try:
            about = file.lstat()
        except OSError:
            return earlier.is_any or any(self._entry(commit, path) is None for commit in commits)
        entries = [(commit, entry) for commit in commits if (entry := self._entry(commit, path)) is not None]
        if stat.S_ISLNK(about.st_mode):
            here = os.fsencode(file.readlink())
            return any(mode == _LINK and self._blob(commit, path) == here for commit, (mode, _) in entries)
        if not stat.S_ISREG(about.st_mode):
            return False
        is_gits = earlier.since(about.st_mtime)
        hashed = self._git("hash-object", f"--path={path}", "--", str(file)).out.strip()
        for _, (mode, blob) in entries:
            is_same_mode = (mode == "100755") == bool(about.st_mode & 0o100)
            if blob == hashed and (is_same_mode or is_gits):
                return True
        if not is_gits:
            return False
        content = file.read_bytes()
        return any(
            mode not in (_LINK, _SUBMODULE) and self._blob(commit, path, filtered=True).startswith(content)
            for commit, (mode, _) in entries
        )

    def _occupied(
        self, path: str, mode: str, tracked: frozenset[str], target: str, earlier: _Earlier
    ) -> list[str]:
        """What lies, unknown to git, where the target has a path."""
        for above in reversed(Path(path).parents[:-1]):
            is_file = (self._root / above).is_symlink() or (self._root / above).is_file()
            if is_file and str(above) not in tracked:
                return [str(above)]  # a file where the target wants a directory
        place = self._root / path
        if not os.path.lexists(place):
            return []
        if place.is_dir() and not place.is_symlink():
            if mode == _SUBMODULE and (place / ".git").exists():
                return []
            inside = sorted(one.relative_to(self._root).as_posix() for one in _files(place))
            return [one for one in inside if one not in tracked][:20]
        return [] if self._is_content_of(path, target, earlier) else [path]

    # --- moving

    def move(self, commit: str, earlier: _Earlier) -> None:
        self._free_index(earlier)
        self._put_back(commit, earlier)
        self._git("checkout", "-q", "--no-overwrite-ignore", "--detach", commit, "--")
        wanted = self._submodules(commit)
        populated = [path for path in wanted if self._below(path) is not None]
        if populated:
            self._git("submodule", "--quiet", "sync", "--", *populated)
        for path, pointer in wanted.items():
            inner = self._earlier_below(path, earlier)
            below = self._below(path)
            if below is None:
                self._fetch(path)
                below = _WorkTree(self._root / path)
            elif not below._has(pointer):
                # Its work tree first, so that git's own checkout after the fetch finds it clean.
                below._free_index(inner)
                below._put_back(pointer, inner)
                self._fetch(path)
            below.move(pointer, inner)

    def _put_back(self, commit: str, earlier: _Earlier) -> None:
        """Undo what an earlier move left half done: such paths become what HEAD has, or go.

        `in_the_way` has said before that nothing of it is a person's.
        """
        edits = [
            one
            for one in self._edits()
            if (one.is_staged or not one.is_submodule) and self._is_harmless(one, commit, earlier)
        ]
        if edits:
            paths = "\0".join(one.path for one in edits).encode("utf-8", "surrogateescape")
            self._git(
                "--literal-pathspecs",
                "restore",
                "--source=HEAD",
                "--staged",
                "--worktree",
                "--pathspec-from-file=-",
                "--pathspec-file-nul",
                stdin=paths,
            )
        self._take_away(commit, earlier)

    def _take_away(self, commit: str, earlier: _Earlier) -> None:
        """Remove files that git does not know and that are content of the target, or were written by a move
        that was cut off; git would not write over them."""
        tracked = frozenset(self._names("ls-files", "-z"))
        left = {
            path: one == commit
            for one in (*earlier.commits, commit)
            for path, mode in self._entries(one).items()
            if path not in tracked and mode != _SUBMODULE
        }
        for path, is_wanted in left.items():
            file = self._root / path
            if not os.path.lexists(file) or (file.is_dir() and not file.is_symlink()):
                continue
            is_ours = is_wanted or earlier.since(file.lstat().st_mtime)
            if is_ours and self._is_content_of(path, commit, earlier):
                file.unlink()
                for above in file.parents:
                    if above == self._root:
                        break
                    with suppress(OSError):  # others live there
                        above.rmdir()

    def _free_index(self, earlier: _Earlier) -> None:
        """Wait for another git; remove the lock of one that died in a move of ours (see the file's head)."""
        git_directory = Path(self._git("rev-parse", "--absolute-git-dir").out.strip())
        lock = git_directory / "index.lock"
        end = time.monotonic() + LOCK_SECONDS
        while lock.exists():
            try:
                is_ours = earlier.since(lock.stat().st_mtime)
            except OSError:
                return
            if is_ours and not _is_git_at_work(lock, self._root):
                lock.unlink(missing_ok=True)
                return
            if time.monotonic() > end:
                raise NotNow(
                    f"Git is at work in {self._root}, or died there: {lock} exists.",
                    hint="If no git runs there, remove that file.",
                )
            time.sleep(0.1)

    def bring(self, commit: str) -> Iterator[str]:
        """Objects of the submodules that a commit wants, nested ones too; what cannot be had is said."""
        for path, pointer in self._submodules(commit).items():
            below = self._below(path)
            if below is None:
                continue  # cloned by the move
            if not below._has(pointer):
                exact = below._try("fetch", "--quiet", "--no-tags", "origin", pointer)
                if exact.code != 0:
                    below._try("fetch", "--quiet", "--no-tags", "origin")
                if not below._has(pointer):
                    yield (
                        f"The submodule {path} is wanted at {pointer[:12]}, and its repository does not"
                        f" give that commit: {_reason(exact)}"
                    )
                    continue
            for sentence in below.bring(pointer):
                yield f"{path}: {sentence}"

    def _fetch(self, path: str) -> None:
        """Clone a submodule, or fetch the commit it lacks; the user's git settings say what is allowed."""
        self._git("submodule", "--quiet", "update", "--init", "--checkout", "--", path)

    # --- asking git

    def _has(self, commit: str) -> bool:
        return self._try("cat-file", "-e", f"{commit}^{{commit}}").code == 0

    def _below(self, path: str) -> "_WorkTree | None":
        root = self._root / path
        return _WorkTree(root) if os.path.lexists(root / ".git") and not root.is_symlink() else None

    def _submodules(self, commit: str) -> dict[str, str]:
        """Path -> commit of the submodules that a commit has and its .gitmodules names."""
        links = {path: blob for path, (mode, blob) in self._all(commit).items() if mode == _SUBMODULE}
        if not links:
            return {}
        named = self._try("config", "--blob", f"{commit}:.gitmodules", "-z", "--get-regexp", r"\.path$").out
        paths = {one.partition("\n")[2] for one in named.split("\0") if one}
        return {path: blob for path, blob in links.items() if path in paths}

    def _link(self, commit: str, path: str) -> str | None:
        entry = self._entry(commit, path)
        return entry[1] if entry is not None and entry[0] == _SUBMODULE else None

    def _entry(self, commit: str, path: str) -> tuple[str, str] | None:
        """Mode and id of a path in a commit. A commit that is not here has no paths."""
        out = self._try("--literal-pathspecs", "ls-tree", "-z", commit, "--", path).out
        meta, _, name = out.rstrip("\0").partition("\t")
        mode, _, blob = meta.split(" ") if name == path else ("", "", "")
        return (mode, blob) if mode else None

    def _entries(self, commit: str) -> dict[str, str]:
        return {path: mode for path, (mode, _) in self._all(commit).items()}

    def _all(self, commit: str) -> dict[str, tuple[str, str]]:
        result = self._try("ls-tree", "-r", "-z", commit)
        found = {}
        for record in result.out.split("\0")[:-1]:
            meta, _, path = record.partition("\t")
            mode, _, blob = meta.split(" ")
            found[path] = (mode, blob)
        return found

    def _blob(self, commit: str, path: str, *, filtered: bool = False) -> bytes:
        """Content as the commit holds it, or as a checkout would write it."""
        how = "--filters" if filtered else "blob"
        return self._git("cat-file", how, f"{commit}:{path}").raw

    def _names(self, *arguments: str) -> list[str]:
        return self._git(*arguments).out.split("\0")[:-1]

    def _git(self, *arguments: str, stdin: bytes | None = None) -> Result:
        result = self._try(*arguments, stdin=stdin)
        if result.code != 0:
            raise WorldError(f"git {_verb(arguments)} failed in {self._root}: {_reason(result)}")
        return result

    def _try(self, *arguments: str, stdin: bytes | None = None) -> Result:
        with fetching_environment(self._root) as env:
            return run(
                ["git", "-c", "core.hooksPath=/dev/null", *arguments],
                cwd=self._root,
                env=env,
                stdin=stdin,
                timeout_seconds=MOVE_SECONDS,
                dies_with_us=True,
            )


class _Note:
    """That a move is under way, and between which commits: a small file in the git directory."""

    def __init__(self, root: Path) -> None:
        found = run(["git", "rev-parse", "--absolute-git-dir"], cwd=root, env=scrubbed(ENVIRONMENT))
        self._path = Path(found.out.strip()) / NOTE

    def exists(self) -> bool:
        return self._path.exists()

    def earlier(self) -> _Earlier:
        """What the note says. One that cannot be read was cut off itself, so before the first change."""
        try:
            noted = json.loads(self._path.read_text())
            return _Earlier(tuple(str(one) for one in noted["commits"]), float(noted["begun_at"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return _Earlier()

    def write(self, head: str, target: str) -> _Earlier:
        """Add a move to the note, on disk, and return what it says now."""
        noted = self.earlier()
        commits = tuple(dict.fromkeys((*noted.commits, head, target)))
        noted = _Earlier(commits, min(noted.begun_at, time.time()))
        aside = self._path.with_suffix(".new")
        with aside.open("w") as file:
            json.dump({"begun_at": noted.begun_at, "commits": noted.commits}, file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self._path)
        _sync_directory(self._path.parent)
        return noted

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)
        _sync_directory(self._path.parent)


@contextmanager
def fetching_environment(root: Path) -> Iterator[dict[str, str]]:
    """Git's environment. Where somebody else owns the checkout, git is told by a file that this is fine:
    settings from the environment do not reach the gits that `git submodule` starts."""
    kept = {name: os.environ[name] for name in (*_FETCHING, *_PROXIES) if name in os.environ}
    env = scrubbed({**kept, **ENVIRONMENT})
    if root.stat().st_uid == os.geteuid():
        yield env
        return
    with tempfile.NamedTemporaryFile("w", prefix="dual-update-", suffix=".gitconfig") as file:
        file.write("[include]\n\tpath = /etc/gitconfig\n[safe]\n\tdirectory = *\n")
        file.flush()
        yield {**env, "GIT_CONFIG_SYSTEM": file.name}


def _is_git_at_work(lock: Path, root: Path) -> bool:
    """Has a process this lock open, or is it a git whose directory lies in this work tree."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            name = (process / "comm").read_text().strip()
            is_inside = Path(os.path.realpath(process / "cwd")).is_relative_to(os.path.realpath(root))
            if name.startswith("git") and is_inside and not _only_reads(process):
                return True
            if any(os.readlink(fd) == str(lock) for fd in (process / "fd").iterdir()):  # noqa: PTH115
                return True
        except OSError:
            continue  # it ended, or is not ours to look at
    return False


def _only_reads(process: Path) -> bool:
    """Our own readers of objects stay open in the checkout, and so does a file system monitor."""
    arguments = (process / "cmdline").read_bytes().split(b"\0")
    return b"cat-file" in arguments or b"fsmonitor--daemon" in arguments


def _files(directory: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(directory):
        for name in names:
            yield Path(folder) / name


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _verb(arguments: Sequence[str]) -> str:
    return next((one for one in arguments if not one.startswith("-")), "")


def _reason(result: Result) -> str:
    """Git's own words; the list of files that it names, in one line."""
    lines = [line.strip() for line in result.err.strip().splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("hint:", "Aborting", "Please "))]
    return " ".join(told[-6:]) or f"exit code {result.code}"


def _few(paths: Sequence[str], shown: int = 5) -> str:
    rest = len(paths) - shown
    return ", ".join(paths[:shown]) + (f" and {rest} more" if rest > 0 else "")
