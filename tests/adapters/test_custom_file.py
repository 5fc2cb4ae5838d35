"""A strategy in the repository: from which commits its code is run, with real git."""

from dataclasses import replace
from pathlib import Path

import pytest

from dual_update.adapters.git import GitRepository
from dual_update.core.errors import NotNow
from dual_update.core.strategies import Strategy
from dual_update.wiring import Settings, chosen_strategy, load_config
from tests.repositories import Checkout

CODE = "class Mine:\n    def should_update(self, changes):\n        return True\n"
CONFIG = "deploy_branch: {}\nstrategy: {{file: deploy/strategy.py, class: Mine}}\n"


@pytest.fixture
def host(tmp_path: Path) -> Checkout:
    """A clone whose remote has `main`; beside it lies the fork of a contributor."""
    origin = Checkout(tmp_path / "origin")
    origin.commit({".github/dual-update.yml": CONFIG.format("main"), "deploy/strategy.py": CODE})
    origin.git("clone", "--quiet", str(origin.directory), str(tmp_path / "host"))
    return Checkout(tmp_path / "host")


def proposed(host: Checkout, branch: str) -> str:
    """A commit that nobody has merged, in whose config its own branch is the one to deploy."""
    host.git("switch", "--quiet", "--create", "proposal")
    commit = host.commit({".github/dual-update.yml": CONFIG.format(branch), "deploy/strategy.py": "1 / 0"})
    host.git("update-ref", f"refs/remotes/fork/{branch}", commit)
    host.git("update-ref", "refs/remotes/origin/proposal", commit)
    return commit


def chosen(host: Checkout, commit: str, state: Path) -> Strategy | None:
    settings = Settings(repo=host.directory, state_dir=state)
    with GitRepository(host.directory) as repository:
        config = load_config(repository, settings, commit)
        return chosen_strategy(settings, config, repository, commit)


def test_a_commit_of_the_deploy_branch_is_loaded(host: Checkout, tmp_path: Path) -> None:
    found = chosen(host, host.head, tmp_path / "state")
    assert found is not None
    assert found.name == "Mine"


@pytest.mark.parametrize("branch", ["proposal", "main"])
def test_a_proposal_does_not_say_for_itself_which_branch_is_deployed(
    host: Checkout, tmp_path: Path, branch: str
) -> None:
    commit = proposed(host, branch)
    with pytest.raises(NotNow, match="is loaded from commits of main only"):
        chosen(host, commit, tmp_path / "state")


def test_a_config_that_is_named_on_the_host_says_which_branch(host: Checkout, tmp_path: Path) -> None:
    host.git("switch", "--quiet", "--create", "trunk")
    host.git("update-ref", "refs/remotes/origin/trunk", host.head)
    file = tmp_path / "host.yml"
    file.write_text(CONFIG.format("trunk"))
    settings = replace(Settings(repo=host.directory, state_dir=tmp_path / "state"), config=file)
    with GitRepository(host.directory) as repository:
        config = load_config(repository, settings, host.head)
        assert chosen_strategy(settings, config, repository, host.head) is not None
