"""Git repositories as they really are: submodules, links, shallow clones, nothing at all."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dual_update.adapters.git import GitRepository
from dual_update.core.errors import UsageError
from dual_update.usecases.base import find_base
from tests.repositories import Checkout

ZEROS = "0" * 40


@pytest.fixture
def lib(tmp_path: Path) -> Checkout:
    lib = Checkout(tmp_path / "remotes" / "lib")
    lib.commit({"app.py": "one", "conf/a": "a"}, "first of lib")
    return lib


@pytest.fixture
def parent(tmp_path: Path, lib: Checkout) -> Checkout:
    parent = Checkout(tmp_path / "parent")
    parent.git("submodule", "--quiet", "add", str(lib.directory), "vendor/lib")
    parent.commit({"README": "x"}, "with lib")
    return parent


@pytest.fixture
def opened(parent: Checkout) -> Iterator[GitRepository]:
    with GitRepository(parent.directory) as repository:
        yield repository


def move(parent: Checkout, path: str, commit: str) -> str:
    parent.git("-C", path, "fetch", "--quiet", "origin")
    parent.git("-C", path, "checkout", "--quiet", commit)
    return parent.commit(message=f"move {path}")


def paths(repository: GitRepository, base: str, head: str) -> list[str]:
    return [one.path for one in repository.changed(base, head)]


def test_a_moved_pointer_is_followed_into_the_submodule(
    parent: Checkout, lib: Checkout, opened: GitRepository
) -> None:
    base = parent.head
    new = lib.commit({"app.py": "two", "conf/a": None, "conf/b": "b"}, "second of lib")
    head = move(parent, "vendor/lib", new)
    assert paths(opened, base, head) == [
        "vendor/lib",
        "vendor/lib/app.py",
        "vendor/lib/conf/a",
        "vendor/lib/conf/b",
    ]
    (moved,) = opened.submodules(base, head, opened.changed(base, head))
    assert moved.commits == (f"{new[:7]} second of lib",)
    assert moved.files == ("vendor/lib/app.py", "vendor/lib/conf/a", "vendor/lib/conf/b")
    assert opened.tree(head).read("vendor/lib/app.py") == b"two"
    assert opened.tree(base).read("vendor/lib/app.py") == b"one"
    assert opened.tree(base).read("vendor/lib/none") is None
    assert "vendor/lib/conf/a" in opened.tree(base).list()
    assert "vendor/lib" not in opened.tree(base).list()


def test_a_pointer_moved_back_says_what_is_undone(
    parent: Checkout, lib: Checkout, opened: GitRepository
) -> None:
    old, new = lib.head, lib.commit({"app.py": "two"}, "second of lib")
    base = move(parent, "vendor/lib", new)
    head = move(parent, "vendor/lib", old)
    (moved,) = opened.submodules(base, head, opened.changed(base, head))
    assert moved.commits == (f"undone: {new[:7]} second of lib",)


def test_submodules_come_and_go_with_all_their_files(
    tmp_path: Path, lib: Checkout, parent: Checkout, opened: GitRepository
) -> None:
    base = parent.head
    parent.git("rm", "--quiet", "-r", "vendor/lib")
    gone = parent.commit(message="without lib")
    assert paths(opened, base, gone) == [
        ".gitmodules",
        "vendor/lib",
        "vendor/lib/app.py",
        "vendor/lib/conf/a",
    ]
    removed = opened.changed(base, gone)[2]
    assert (removed.old_mode, removed.new_mode) == ("100644", "000000")
    assert set(removed.new_id) == {"0"}
    back = opened.changed(gone, base)
    assert [(one.path, one.old_mode) for one in back[2:]] == [
        ("vendor/lib/app.py", "000000"),
        ("vendor/lib/conf/a", "000000"),
    ]
    (moved,) = opened.submodules(gone, base, back)
    assert (moved.before, moved.after) == (None, lib.head)
    assert moved.commits == (f"{lib.head[:7]} first of lib",)


def test_submodules_of_submodules_are_followed(tmp_path: Path, lib: Checkout) -> None:
    middle = Checkout(tmp_path / "remotes" / "middle")
    middle.git("submodule", "--quiet", "add", str(lib.directory), "lib")
    middle.commit(message="middle")
    top = Checkout(tmp_path / "top")
    top.git("submodule", "--quiet", "add", str(middle.directory), "middle")
    top.git("submodule", "--quiet", "update", "--init", "--recursive")
    base = top.commit(message="top")
    deep = lib.commit({"app.py": "two"}, "deep change")
    new_middle = move(middle, "lib", deep)
    top.git("-C", "middle", "fetch", "--quiet", "--no-recurse-submodules", "origin")
    top.git("-C", "middle", "checkout", "--quiet", new_middle)
    head = top.commit(message="move all")
    with GitRepository(top.directory) as repository:
        with pytest.raises(UsageError) as caught:  # the checkout of middle/lib never fetched it
            repository.changed(base, head)
        assert f"git -C middle/lib fetch origin {deep}" in str(caught.value)
        top.git("-C", "middle/lib", "fetch", "--quiet", "origin")
        changes = repository.changed(base, head)
        assert [one.path for one in changes] == ["middle", "middle/lib", "middle/lib/app.py"]
        outer, inner = repository.submodules(base, head, changes)
        assert outer.files == ("middle/lib", "middle/lib/app.py")
        assert inner.commits == (f"{deep[:7]} deep change",)
        assert repository.tree(head).read("middle/lib/app.py") == b"two"
        assert "middle/lib/app.py" in repository.tree(head).list()
        assert repository.submodule_around(head, "middle/lib/app.py") == ("middle/lib", deep)
        assert repository.submodule_around(head, "middle") == ("middle", new_middle)
        assert repository.submodule_around(head, "mid") is None
        before = lib.git("rev-parse", "HEAD~1")
        for named in (before, before[:7]):
            changed = repository.changed_inside(head, "middle/lib", named)
            assert [one.path for one in changed] == ["middle/lib/app.py"]
        for unknown in ("f" * 40, "HEAD", "main", "-x", ""):
            with pytest.raises(UsageError, match="is not a commit in middle/lib"):
                repository.changed_inside(head, "middle/lib", unknown)


def test_a_commit_that_is_not_here_says_how_to_fetch_it(parent: Checkout, lib: Checkout) -> None:
    base = parent.head
    new = lib.commit({"app.py": "two"}, "not fetched")
    parent.git("update-index", "--cacheinfo", f"160000,{new},vendor/lib")
    parent.git("commit", "--quiet", "-m", "points to what is not here")
    with GitRepository(parent.directory) as repository, pytest.raises(UsageError) as caught:
        repository.changed(base, "HEAD")
    assert f"Submodule vendor/lib points to commit {new}" in str(caught.value)
    assert f"git -C vendor/lib fetch origin {new}" in str(caught.value)
    parent.git("-C", "vendor/lib", "fetch", "--quiet", "origin", new)  # as the message says
    with GitRepository(parent.directory) as repository:
        assert "vendor/lib/app.py" in paths(repository, base, "HEAD")


def test_a_submodule_that_was_never_initialised_says_so(tmp_path: Path, parent: Checkout) -> None:
    clone = tmp_path / "clone"
    parent.git("clone", "--quiet", str(parent.directory), str(clone))
    with GitRepository(clone) as repository:
        commit = repository.resolve(["HEAD"])[0]
        assert "README" in repository.tree(commit).list()  # what is here can be read all the same
        with pytest.raises(UsageError) as caught:
            repository.tree(commit).read("vendor/lib/app.py")
    assert "git submodule update --init --recursive vendor/lib" in str(caught.value)


def test_a_submodule_is_read_without_its_checkout(parent: Checkout, opened: GitRepository) -> None:
    """`core.worktree` of its git directory then names a folder that does not exist."""
    shutil.rmtree(parent.directory / "vendor")
    assert opened.tree(parent.head).read("vendor/lib/app.py") == b"one"


def test_a_submodule_is_read_from_a_linked_work_tree(tmp_path: Path, parent: Checkout) -> None:
    parent.git("worktree", "add", "--quiet", str(tmp_path / "linked"), "HEAD")
    with GitRepository(tmp_path / "linked") as repository:
        assert repository.tree(parent.head).read("vendor/lib/app.py") == b"one"


def test_a_folder_that_becomes_a_submodule_of_the_same_files_has_not_changed(
    tmp_path: Path, lib: Checkout
) -> None:
    parent = Checkout(tmp_path / "p")
    base = parent.commit({"lib/app.py": "one", "lib/conf/a": "other"}, "copied in")
    parent.git("rm", "--quiet", "-r", "lib")
    parent.git("submodule", "--quiet", "add", str(lib.directory), "lib")
    head = parent.commit(message="as a submodule")
    with GitRepository(parent.directory) as repository:
        assert paths(repository, base, head) == [".gitmodules", "lib", "lib/conf/a"]


@pytest.mark.parametrize("name", ["../../outside", "/etc", "a/../../b"])
def test_a_submodule_name_that_climbs_opens_nothing(tmp_path: Path, lib: Checkout, name: str) -> None:
    outside = tmp_path / "outside"
    shutil.copytree(lib.directory / ".git", outside)
    parent = Checkout(tmp_path / "p")
    parent.write({".gitmodules": f'[submodule "{name}"]\n\tpath = lib\n\turl = x\n'})
    parent.git("update-index", "--add", "--cacheinfo", f"160000,{lib.head},lib")
    parent.git("add", ".gitmodules")
    parent.git("commit", "--quiet", "-m", "hostile")
    with GitRepository(parent.directory) as repository, pytest.raises(UsageError):
        repository.tree(parent.head).read("lib/app.py")


def test_links_are_followed_inside_the_commit_and_nowhere_else(tmp_path: Path) -> None:
    parent = Checkout(tmp_path / "p")
    parent.write({"real/compose.yml": "services: {}"})
    for name, target in (
        ("compose.yml", "real/compose.yml"),
        ("out", "../../etc/passwd"),
        ("absolute", "/etc/passwd"),
        ("dangling", "nowhere"),
        ("loop", "loop"),
    ):
        (parent.directory / name).symlink_to(target)
    head = parent.commit()
    with GitRepository(parent.directory) as repository:
        tree = repository.tree(head)
        assert tree.read("compose.yml") == b"services: {}"
        assert [tree.read(name) for name in ("out", "absolute", "dangling", "loop")] == [None] * 4
        assert tree.read("real/compose.yml") == b"services: {}"  # the reader is still in step


def test_a_path_through_links_is_found_as_the_kernel_would(tmp_path: Path) -> None:
    parent = Checkout(tmp_path / "p")
    parent.write({"real/deep/file": "x", "other/file": "y"})
    for name, target in (
        ("file", "real/deep/file"),
        ("folder", "real"),
        ("chain", "folder/deep"),
        ("real/up", "../other"),
        ("root", "."),
        ("out", "../../etc"),
        ("absolute", "/etc"),
        ("loop", "pool"),
        ("pool", "loop"),
    ):
        (parent.directory / name).symlink_to(target)
    with GitRepository(parent.directory) as repository:
        tree = repository.tree(parent.commit())
        for path, real in (
            ("file", "real/deep/file"),
            ("folder/deep/file", "real/deep/file"),
            ("chain/file", "real/deep/file"),
            ("folder/up/file", "other/file"),
            ("root/real", "real"),
            ("real/deep/file", "real/deep/file"),
            ("nowhere/at/all", "nowhere/at/all"),
            ("out/passwd", "out/passwd"),
            ("absolute/passwd", "absolute/passwd"),
            ("loop/x", "loop/x"),
        ):
            assert tree.real(path) == real


def test_a_changed_mode_is_a_change(tmp_path: Path) -> None:
    parent = Checkout(tmp_path / "p")
    base = parent.commit({"run.sh": "#!/bin/sh\n"})
    (parent.directory / "run.sh").chmod(0o755)
    head = parent.commit()
    with GitRepository(parent.directory) as repository:
        (one,) = repository.changed(base, head)
    assert (one.old_mode, one.new_mode, one.old_id) == ("100644", "100755", one.new_id)


def test_reading_leaves_the_repository_as_it_was(parent: Checkout, opened: GitRepository) -> None:
    index = (parent.directory / ".git" / "index").stat().st_mtime_ns
    before = sorted(path for path in parent.directory.rglob("*"))
    opened.changed(opened.tree(parent.head).commit, parent.head)
    opened.tree(parent.head).list()
    assert sorted(path for path in parent.directory.rglob("*")) == before
    assert (parent.directory / ".git" / "index").stat().st_mtime_ns == index


# --- the base of a comparison ---------------------------------------------------------------------


@pytest.fixture
def history(tmp_path: Path) -> Checkout:
    history = Checkout(tmp_path / "history")
    for number in range(3):
        history.commit({"file": str(number)})
    return history


def test_the_last_deployment_is_the_base_and_not_the_push(history: Checkout) -> None:
    deployed, before = history.git("rev-parse", "HEAD~2"), history.git("rev-parse", "HEAD~1")
    with GitRepository(history.directory) as clone:
        base = find_base(clone, deployed=deployed, before=before, head=history.head)
        assert base.commit == deployed
        base = find_base(clone, deployed=None, before=before, head=history.head)
        assert base.commit == before


def test_a_created_branch_has_no_base_and_a_deleted_one_no_head(history: Checkout) -> None:
    with GitRepository(history.directory) as clone:
        created = find_base(clone, deployed=None, before=ZEROS, head=history.head)
        assert (created.commit, created.is_deleted, created.warnings) == (None, False, ())
        deployed = find_base(clone, deployed=history.head, before=ZEROS, head=history.head)
        assert deployed.commit == history.head
        assert find_base(clone, deployed=history.head, before=history.head, head=ZEROS).is_deleted


def test_after_a_force_push_whose_old_commit_is_gone_all_counts_as_new(history: Checkout) -> None:
    gone = history.head
    history.git("reset", "--quiet", "--hard", "HEAD~1")
    history.commit({"file": "forced"})
    history.git("reflog", "expire", "--expire=now", "--all")
    history.git("gc", "--quiet", "--prune=now")
    with GitRepository(history.directory) as clone:
        base = find_base(clone, deployed=None, before=gone, head=history.head)
        assert base.commit is None
        assert "is gone from the repository" in base.warnings[0]
        # What was deployed is gone: the push's own base is no substitute for it.
        base = find_base(clone, deployed=gone, before=history.git("rev-parse", "HEAD~1"), head=history.head)
        assert base.commit is None


def test_a_shallow_clone_says_how_to_deepen_it(tmp_path: Path, history: Checkout) -> None:
    before = history.git("rev-parse", "HEAD~1")
    shallow = tmp_path / "shallow"
    history.git("clone", "--quiet", "--depth=1", f"file://{history.directory}", str(shallow))
    with GitRepository(shallow) as clone:
        with pytest.raises(UsageError) as caught:
            find_base(clone, deployed=None, before=before, head=history.head)
        assert f"git fetch --depth=1 origin {before}" in str(caught.value)
        with pytest.raises(UsageError, match="git fetch --unshallow"):
            clone.resolve(["HEAD~1"])
        history.git("-C", str(shallow), "fetch", "--quiet", "--depth=1", "origin", before)
        assert find_base(clone, deployed=None, before=before, head=history.head).commit == before


def test_a_merge_commit_is_compared_as_the_tree_it_is(history: Checkout) -> None:
    base = history.head
    history.git("checkout", "--quiet", "-b", "side", "HEAD~1")
    history.commit({"side": "1"})
    history.git("checkout", "--quiet", "main")
    history.commit({"main": "1"})
    history.git("merge", "--quiet", "--no-edit", "side")
    with GitRepository(history.directory) as clone:
        assert paths(clone, base, history.head) == ["main", "side"]


def test_an_unborn_branch_and_an_empty_repository_say_so(tmp_path: Path, history: Checkout) -> None:
    with (
        GitRepository(Checkout(tmp_path / "empty").directory) as clone,
        pytest.raises(UsageError, match="has no commits yet"),
    ):
        clone.resolve(["HEAD"])
    history.git("checkout", "--quiet", "--orphan", "unborn")
    with GitRepository(history.directory) as clone, pytest.raises(UsageError, match="HEAD"):
        clone.resolve(["HEAD"])


def test_links_inside_a_submodule_are_followed_too(tmp_path: Path, lib: Checkout) -> None:
    lib.write({"conf/real.conf": "x"})
    (lib.directory / "app.conf").symlink_to("conf/real.conf")
    (lib.directory / "folder").symlink_to("conf")
    (lib.directory / "up").symlink_to("../../shared")
    (lib.directory / "out").symlink_to("../../../etc")
    lib.commit(message="links")
    parent = Checkout(tmp_path / "p")
    parent.commit({"shared/file": "y"})
    parent.git("submodule", "--quiet", "add", str(lib.directory), "vendor/lib")
    (parent.directory / "conf").symlink_to("vendor/lib/folder")
    head = parent.commit(message="as a submodule")
    with GitRepository(parent.directory) as repository:
        tree = repository.tree(head)
        for path, real in (
            ("vendor/lib/app.conf", "vendor/lib/conf/real.conf"),
            ("vendor/lib/folder/real.conf", "vendor/lib/conf/real.conf"),
            ("conf/real.conf", "vendor/lib/conf/real.conf"),  # through both
            ("vendor/lib/up/file", "shared/file"),  # as the kernel would in the checkout
            ("vendor/lib/out/passwd", "vendor/lib/out/passwd"),
        ):
            assert tree.real(path) == real
        assert tree.read(tree.real("conf/real.conf")) == b"x"
