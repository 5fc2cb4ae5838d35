"""The checkout is moved exactly, never over a person's work, and gets up wherever it was struck down."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from dual_update.adapters.checkout import NOTE, GitCheckout
from dual_update.adapters.git import GitRepository
from dual_update.core.errors import NotNow, WorldError
from tests.repositories import Checkout


@pytest.fixture(autouse=True)
def local_remotes(isolation: None) -> None:
    """The user's own setting lets submodules come from local paths."""
    (Path.home() / ".gitconfig").write_text('[protocol "file"]\n\tallow = always\n')


@pytest.fixture
def lib(tmp_path: Path) -> Checkout:
    lib = Checkout(tmp_path / "remotes" / "lib")
    lib.commit({"app.py": "one\n", "only-old": "x"})
    return lib


class Host:
    """A checkout on a host, two commits `old` and `new` of its remote, standing on `old`."""

    def __init__(self, tmp_path: Path, lib: Checkout | None = None) -> None:
        self.remote = Checkout(tmp_path / "remotes" / "app")
        if lib is not None:
            self.remote.git("submodule", "--quiet", "add", str(lib.directory), "vendor/lib")
        self.old = self.remote.commit(
            {"a": "a1\n", "gone": "g\n", "run.sh": "#!/bin/sh\n", ".gitignore": "*.local\ndata/\n"}
        )
        if lib is not None:
            newer = lib.commit({"app.py": "two\n", "only-old": None, "only-new": "y"})
            self.remote.git("-C", "vendor/lib", "fetch", "--quiet")
            self.remote.git("-C", "vendor/lib", "checkout", "--quiet", newer)
        self.new = self.remote.commit({"a": "a2\n", "gone": None, "fresh/file": "f\n"})
        (self.remote.directory / "run.sh").chmod(0o755)
        self.new = self.remote.commit()
        self.directory = tmp_path / "srv" / "app"
        self.directory.parent.mkdir()
        self.remote.git("clone", "--quiet", str(self.remote.directory), str(self.directory))
        self.git("checkout", "--quiet", "--detach", self.old)
        self.git("submodule", "--quiet", "update", "--init", "--recursive")

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", "-c", "protocol.file.allow=always", *arguments],
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.rstrip("\n")

    @property
    def checkout(self) -> GitCheckout:
        return GitCheckout(GitRepository(self.directory), self.directory)

    def is_exactly(self, commit: str) -> bool:
        """By git alone: HEAD, index, work tree and submodules are this commit's, and no note lies there."""
        return (
            self.git("rev-parse", "HEAD") == commit
            and self.git("status", "--porcelain") == ""
            and not any(line[0] != " " for line in self.submodules())
            and not (self.directory / ".git" / NOTE).exists()
        )

    def submodules(self) -> list[str]:
        return self.git("submodule", "status", "--recursive").splitlines()

    def path(self, name: str) -> Path:
        return self.directory / name


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def with_lib(tmp_path: Path, lib: Checkout) -> Host:
    return Host(tmp_path, lib)


# --- moving


def test_there_and_back(host: Host) -> None:
    assert host.checkout.head() == host.old
    assert host.checkout.dirty(host.new) == ()
    host.checkout.move(host.new)
    assert host.is_exactly(host.new)
    assert os.access(host.path("run.sh"), os.X_OK)
    host.checkout.move(host.new)
    host.checkout.move(host.old)
    assert host.is_exactly(host.old)
    assert host.git("branch", "--show-current") == ""


def test_what_git_does_not_know_stays(host: Host) -> None:
    kept = {"data/db": "rows", "secrets.local": "s", "notes": "mine"}
    for name, content in kept.items():
        host.path(name).parent.mkdir(exist_ok=True)
        host.path(name).write_text(content)
    host.checkout.move(host.new)
    host.checkout.move(host.old)
    assert {name: host.path(name).read_text() for name in kept} == kept


def test_untracked_files_are_read_and_tracked_ones_not(host: Host) -> None:
    host.path("env.local").write_text("A=1")
    (host.directory.parent / "outside").write_text("no")
    found = host.checkout.untracked(["env.local", "a", "none", "../outside", "/etc/passwd", "data"])
    assert found == {"env.local": b"A=1"}


def test_a_commit_that_is_not_here(host: Host) -> None:
    with pytest.raises(WorldError, match="git checkout failed"):
        host.checkout.move("1" * 40)
    host.checkout.move(host.new)
    assert host.is_exactly(host.new)


def test_hooks_of_the_tree_are_not_run(host: Host) -> None:
    """`core.hooksPath` may point into the tree, where a commit can put programs."""
    trap = host.directory.parent / "trapped"
    hook = host.path("data/post-checkout")
    hook.parent.mkdir()
    hook.write_text(f"#!/bin/sh\ntouch {trap}\n")
    hook.chmod(0o755)
    host.git("config", "core.hooksPath", "data")
    host.checkout.move(host.new)
    assert not trap.exists()
    assert host.is_exactly(host.new)


# --- never over a person's work


def test_edits_are_named_and_left(host: Host) -> None:
    host.path("a").write_text("mine")
    host.path("run.sh").write_text("mine too")
    assert host.checkout.dirty(host.new) == ("a", "run.sh")
    with pytest.raises(NotNow, match=r"local edits that would be lost: a, run\.sh"):
        host.checkout.move(host.new)
    assert host.path("a").read_text() == "mine"
    assert host.git("rev-parse", "HEAD") == host.old


@pytest.mark.parametrize(
    ("name", "is_dir"),
    [("fresh/file", False), ("fresh", False), ("fresh/file", True)],
    ids=["the file itself", "a file for a directory", "a directory for a file"],
)
def test_unknown_files_in_the_way_are_named_and_left(host: Host, name: str, is_dir: bool) -> None:
    place = host.path(name) / "inner" if is_dir else host.path(name)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("mine")
    assert host.checkout.dirty(host.new) == (place.relative_to(host.directory).as_posix(),)
    with pytest.raises(NotNow):
        host.checkout.move(host.new)
    assert place.read_text() == "mine"


def test_an_ignored_file_in_the_way_counts_too(host: Host) -> None:
    """Git itself overwrites ignored files without a word."""
    host.remote.write({"env.local": "theirs"})
    host.remote.git("add", "-f", "env.local")
    commit = host.remote.commit()
    host.git("fetch", "--quiet")
    host.path("env.local").write_text("mine")
    assert host.checkout.dirty(commit) == ("env.local",)
    with pytest.raises(NotNow):
        host.checkout.move(commit)
    assert host.path("env.local").read_text() == "mine"


def test_what_the_target_holds_as_well_is_no_edit(host: Host) -> None:
    host.path("a").write_text("a2\n")
    host.path("fresh").mkdir()
    host.path("fresh/file").write_text("f\n")
    host.path("gone").unlink()
    assert host.checkout.dirty(host.new) == ()
    host.checkout.move(host.new)
    assert host.is_exactly(host.new)


def test_staged_work_is_an_edit(host: Host) -> None:
    host.path("a").write_text("staged")
    host.git("add", "a")
    host.path("a").write_text("a2\n")  # the work tree alone would be harmless
    assert host.checkout.dirty(host.new) == ("a",)


def test_a_deleted_file_is_an_edit(host: Host) -> None:
    host.path("a").unlink()
    assert host.checkout.dirty(host.new) == ("a",)


def test_a_mode_is_an_edit(host: Host) -> None:
    host.path("a").chmod(0o755)
    assert host.checkout.dirty(host.new) == ("a",)


# --- submodules


def test_submodules_follow(with_lib: Host) -> None:
    host = with_lib
    host.checkout.move(host.new)
    assert host.is_exactly(host.new)
    assert host.path("vendor/lib/app.py").read_text() == "two\n"
    assert not host.path("vendor/lib/only-old").exists()
    host.checkout.move(host.old)
    assert host.is_exactly(host.old)
    assert host.path("vendor/lib/only-old").exists()


def test_edits_inside_a_submodule_are_named(with_lib: Host) -> None:
    host = with_lib
    host.path("vendor/lib/app.py").write_text("mine")
    host.path("vendor/lib/only-new").write_text("mine as well")
    host.git("-C", "vendor/lib", "fetch", "--quiet")
    assert host.checkout.dirty(host.new) == ("vendor/lib/app.py", "vendor/lib/only-new")
    with pytest.raises(NotNow):
        host.checkout.move(host.new)
    assert host.path("vendor/lib/app.py").read_text() == "mine"
    assert host.path("a").read_text() == "a1\n"


def test_a_submodule_left_at_another_commit_is_put_right(with_lib: Host) -> None:
    host = with_lib
    host.git("checkout", "--quiet", "--detach", host.new)  # as people forget `git submodule update`
    assert host.checkout.dirty(host.new) == ()
    host.checkout.move(host.new)
    assert host.is_exactly(host.new)


def test_a_submodule_with_a_new_address(with_lib: Host, tmp_path: Path) -> None:
    host = with_lib
    moved = tmp_path / "remotes" / "moved"
    host.remote.git("clone", "--quiet", "--bare", str(tmp_path / "remotes" / "lib"), str(moved))
    host.remote.git("config", "-f", ".gitmodules", "submodule.vendor/lib.url", str(moved))
    commit = host.remote.commit(message="lib lives elsewhere")
    host.git("fetch", "--quiet")
    host.checkout.move(commit)
    assert host.is_exactly(commit)
    assert host.git("-C", "vendor/lib", "remote", "get-url", "origin") == str(moved)


def test_a_submodule_that_comes_and_goes_is_never_deinitialised(tmp_path: Path, lib: Checkout) -> None:
    host = Host(tmp_path)
    host.remote.git("submodule", "--quiet", "add", str(lib.directory), "vendor/lib")
    commit = host.remote.commit(message="with lib")
    host.git("fetch", "--quiet")
    host.checkout.move(commit)
    assert host.is_exactly(commit)
    host.path("vendor/lib/cache.bin").write_text("data of a service")
    host.checkout.move(host.new)
    assert host.checkout.head() == host.new
    assert host.path("vendor/lib/cache.bin").read_text() == "data of a service"
    host.checkout.move(commit)
    assert host.path("vendor/lib/app.py").read_text() == "one\n"


def test_a_submodule_whose_remote_is_gone(with_lib: Host, lib: Checkout) -> None:
    """What is asked for fails with git's words, and the way back needs no remote."""
    host = with_lib
    newest = lib.commit({"app.py": "three\n"})
    host.remote.git("-C", "vendor/lib", "fetch", "--quiet")
    host.remote.git("-C", "vendor/lib", "checkout", "--quiet", newest)
    commit = host.remote.commit()
    host.git("fetch", "--quiet", "--no-recurse-submodules")
    lib.directory.rename(lib.directory.with_name("lost"))
    with pytest.raises(WorldError, match="git submodule failed"):
        host.checkout.move(commit)
    host.checkout.move(host.old)
    assert host.is_exactly(host.old)


def test_a_submodule_in_a_submodule(tmp_path: Path, lib: Checkout) -> None:
    middle = Checkout(tmp_path / "remotes" / "middle")
    middle.git("submodule", "--quiet", "add", str(lib.directory), "deep")
    middle.commit({"m": "1"})
    host = Host(tmp_path)
    host.remote.git("submodule", "--quiet", "add", str(middle.directory), "middle")
    commit = host.remote.commit(message="with middle")
    host.git("fetch", "--quiet")
    host.checkout.move(commit)
    assert host.is_exactly(commit)
    assert host.path("middle/deep/app.py").read_text() == "one\n"
    host.path("middle/deep/app.py").write_text("mine")
    assert host.checkout.dirty(commit) == ("middle/deep/app.py",)


# --- struck down in the middle


@pytest.mark.parametrize("way", ["on", "back"])
def test_git_dies_between_two_files(host: Host, way: str) -> None:
    """A filter kills git in the middle of its work; then both directions are open, and edits still count."""
    commit = host.remote.commit({".gitattributes": "m* filter=deadly\n", "m1": "x", "zz": "z", "a": "a3\n"})
    host.git("fetch", "--quiet")
    host.git("config", "filter.deadly.smudge", "kill -9 $PPID; cat")
    with pytest.raises(WorldError):
        host.checkout.move(commit)
    assert (host.path(".git/index.lock")).exists()
    assert host.path("a").read_text() == "a3\n"
    assert not host.path("zz").exists()
    host.git("config", "--unset", "filter.deadly.smudge")
    target = commit if way == "on" else host.old
    host.path("run.sh").write_text("mine")
    assert host.checkout.dirty(target) == ("run.sh",)
    host.path("run.sh").write_text("#!/bin/sh\n")
    assert host.checkout.dirty(target) == ()
    host.checkout.move(target)
    assert host.is_exactly(target)


@pytest.mark.parametrize("way", ["on", "back"])
def test_half_a_file_of_gits_is_no_edit_and_a_persons_is(host: Host, way: str) -> None:
    note = host.path(".git") / NOTE
    host.path("a").write_text("a")  # the beginning of a1 and of a2
    assert host.checkout.dirty(host.new) == ("a",)
    note.write_text(json.dumps({"begun_at": time.time() - 1, "commits": [host.old, host.new]}))
    host.path("gone").unlink()
    host.path("fresh").mkdir()
    host.path("fresh/file").write_text("")
    target = host.new if way == "on" else host.old
    assert host.checkout.dirty(target) == ()
    host.path("a").write_text("a and more")
    assert host.checkout.dirty(target) == ("a",)
    host.path("a").write_text("a")
    host.checkout.move(target)
    assert host.is_exactly(target)
    assert host.path("fresh").exists() == (way == "on")


def test_an_index_ahead_of_head_is_put_right(host: Host) -> None:
    """Git writes HEAD last."""
    host.checkout.move(host.new)
    host.git("update-ref", "--no-deref", "HEAD", host.old)
    (host.path(".git") / NOTE).write_text(
        json.dumps({"begun_at": time.time(), "commits": [host.old, host.new]})
    )
    host.checkout.move(host.old)
    assert host.is_exactly(host.old)


def test_a_note_cut_off_while_it_was_written_means_nothing(host: Host) -> None:
    (host.path(".git") / NOTE).write_text('{"beg')
    host.checkout.move(host.new)
    assert host.is_exactly(host.new)


def test_a_foreign_lock_is_respected(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dual_update.adapters.checkout.LOCK_SECONDS", 0.3)
    lock = host.path(".git/index.lock")
    lock.write_text("")
    os.utime(lock, (time.time() - 3600,) * 2)
    with pytest.raises(NotNow, match=r"index\.lock exists"):
        host.checkout.move(host.new)
    assert lock.exists()


def test_a_lock_in_use_is_waited_for(host: Host) -> None:
    lock = host.path(".git/index.lock")
    script = (
        f"import time, os; file = open({str(lock)!r}, 'x')\n"
        "print(1, flush=True); time.sleep(1); os.unlink(file.name)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    (host.path(".git") / NOTE).write_text(
        json.dumps({"begun_at": time.time() - 9, "commits": [host.old, host.new]})
    )
    host.checkout.move(host.new)
    assert host.is_exactly(host.new)
    assert process.wait(10) == 0  # it found its lock as it had left it


def test_struck_down_at_any_moment(with_lib: Host) -> None:
    """The mover and its git are killed after a random time; whoever comes next ends at either commit."""
    host = with_lib
    files = {f"many/{number}": f"{number}\n" * 2000 for number in range(60)}
    old = host.remote.commit(files)
    new = host.remote.commit({name: content.upper() + "new\n" for name, content in files.items()})
    host.git("fetch", "--quiet")
    host.checkout.move(old)
    began = time.monotonic()
    host.checkout.move(new)
    whole = time.monotonic() - began
    host.checkout.move(old)
    script = (
        "import sys; from pathlib import Path\n"
        "from dual_update.adapters.checkout import GitCheckout\n"
        "from dual_update.adapters.git import GitRepository\n"
        "checkout = GitCheckout(GitRepository(Path(sys.argv[1])))\n"
        "print('go', flush=True); checkout.move(sys.argv[2])\n"
    )
    chance = random.Random(7)
    cut = 0
    for number in range(8):
        target = (new, old)[number % 2]
        mover = subprocess.Popen(
            [sys.executable, "-c", script, str(host.directory), target], stdout=subprocess.PIPE
        )
        assert mover.stdout is not None
        mover.stdout.readline()
        note = host.path(".git") / NOTE
        while not note.exists() and mover.poll() is None:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, whole * 0.6))
        kill_with_children(mover)
        cut += note.exists()
        host.checkout.move(target if number % 3 else (old, new)[number % 2])
        host.checkout.move(target)
        assert host.is_exactly(target)
    assert cut >= 2


def kill_with_children(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGSTOP)
    family = [process.pid]
    for pid in family:
        with suppress(OSError):
            family += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    for pid in family:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(10)
    assert process.stdout is not None
    process.stdout.close()
