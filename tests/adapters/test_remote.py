"""Which commit is the newest: of the branch that the checkout follows, asked from its remote."""

import subprocess
from pathlib import Path

import pytest

from dual_update.adapters.git import GitRepository
from dual_update.adapters.remote import is_elsewhere, newest
from dual_update.core.errors import UsageError, WorldError
from dual_update.wiring import Settings, wanted_ref


def git(where: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=where, capture_output=True, text=True, check=True)
    return done.stdout.strip()


class Hosting:
    """A repository that somebody pushes to, and a clone on a host that follows one of its branches."""

    def __init__(self, folder: Path, branch: str) -> None:
        self.origin = folder / "origin"
        self.origin.mkdir()
        git(self.origin, "init", "--quiet", "--initial-branch=main")
        self.push("main")
        git(self.origin, "branch", "production")
        self.host = folder / "host"
        git(folder, "clone", "--quiet", "--branch", branch, str(self.origin), "host")

    def push(self, branch: str) -> str:
        if git(self.origin, "branch", "--list", branch):
            git(self.origin, "checkout", "--quiet", branch)
        git(self.origin, "commit", "--quiet", "--allow-empty", "--message", f"on {branch}")
        return git(self.origin, "rev-parse", "HEAD")

    def newest(self, deploy_branch: str = "main") -> str:
        with GitRepository(self.host) as repository:
            return repository.resolve([newest(repository, deploy_branch)])[0]


@pytest.mark.parametrize("branch", ["main", "production"])
def test_the_branch_is_followed_also_after_a_deployment_detached_it(tmp_path: Path, branch: str) -> None:
    hosting = Hosting(tmp_path, branch)
    for _ in range(3):
        hosting.push("production" if branch == "main" else "main")
        wanted = hosting.push(branch)
        assert hosting.newest() == wanted
        git(hosting.host, "checkout", "--quiet", "--detach", wanted)


def test_the_deploy_branch_decides_where_several_could_be_meant(tmp_path: Path) -> None:
    hosting = Hosting(tmp_path, "production")
    git(hosting.host, "branch", "main", "origin/main")
    git(hosting.host, "checkout", "--quiet", "--detach")
    hosting.push("main")
    wanted = hosting.push("production")
    assert hosting.newest("production") == wanted
    with pytest.raises(UsageError, match=r"could follow origin/main, origin/production"):
        hosting.newest("elsewhere")


def test_without_a_remote_the_newest_is_what_is_checked_out(tmp_path: Path) -> None:
    hosting = Hosting(tmp_path, "main")
    git(hosting.host, "remote", "remove", "origin")
    assert hosting.newest() == git(hosting.host, "rev-parse", "HEAD")


def test_a_remote_that_cannot_be_asked_is_said(tmp_path: Path) -> None:
    hosting = Hosting(tmp_path, "main")
    git(hosting.host, "remote", "set-url", "origin", "https://ada:hidden@127.0.0.1:9/shop.git")
    with pytest.raises(WorldError, match="remote origin cannot be fetched") as error:
        hosting.newest()
    assert "hidden" not in str(error.value)


def test_git_may_use_the_owners_means_to_reach_the_remote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys in an agent, or a command in their place: a private repository is an ordinary one."""
    hosting = Hosting(tmp_path, "main")
    wanted = hosting.push("main")
    command = tmp_path / "ssh"
    command.write_text(f"#!/bin/sh\nexec git upload-pack {hosting.origin}\n")
    command.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(command))
    git(hosting.host, "remote", "set-url", "origin", "git@example.org:shop.git")
    assert hosting.newest() == wanted


def test_a_commit_that_a_deploy_job_names_is_fetched(tmp_path: Path) -> None:
    """The job knows the commit by GitHub; the host's clone has not seen it yet."""
    hosting = Hosting(tmp_path, "main")
    new = hosting.push("main")
    with GitRepository(hosting.host) as repository:
        assert is_elsewhere(repository, new)
        assert repository.resolve([wanted_ref(repository, Settings(hosting.host), new)]) == (new,)
        assert not is_elsewhere(repository, new)
        assert wanted_ref(repository, Settings(hosting.host), "HEAD") == "HEAD"
