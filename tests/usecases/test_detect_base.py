"""`dual-update detect` without --base: compared with the last good deployment that this host knows."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from dual_update.adapters.store import SqliteStore
from tests.repositories import Checkout, dual_update

COMPOSE = "name: shop\nservices: {web: {image: 'web:%d'}}\n"


@pytest.fixture
def repo(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "shop")


def deployed(repo: Checkout, commit: str, outcome: str = "succeeded") -> None:
    """Writes down a run, as apply does."""
    with SqliteStore(Path(os.environ["DUAL_UPDATE_STATE_DIR"])) as store:
        run = f"run-{commit[:8]}-{outcome}"
        record = {"run": run, "cluster": "shop", "checkout": str(repo.directory.resolve()), "to": commit}
        store.begin(record)
        store.finish(run, outcome, {})


def detect(repo: Checkout, *arguments: str) -> dict[str, Any]:
    done = dual_update("detect", "--format", "json", *arguments, cwd=repo.directory)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_the_base_is_the_last_deployment_and_not_the_last_commit(repo: Checkout) -> None:
    first = repo.commit({"compose.yml": COMPOSE % 1})
    second = repo.commit({"compose.yml": COMPOSE % 2})
    repo.commit({"compose.yml": COMPOSE % 2, "note": "x"})
    assert detect(repo)["base"] is None
    deployed(repo, first)
    deployed(repo, second, "rolled_back")
    report = detect(repo)
    assert (report["base"], report["update_type"]) == (first, "image_only")
    assert detect(repo, "--base", second)["update_type"] == "none"


def test_a_deployed_commit_that_is_gone_makes_all_new_and_says_so(repo: Checkout) -> None:
    """The deployment before it is no substitute: going back to that would look like nothing."""
    first = repo.commit({"compose.yml": COMPOSE % 1})
    second = repo.commit({"compose.yml": COMPOSE % 2})
    deployed(repo, first)
    deployed(repo, second)
    repo.git("reset", "--quiet", "--hard", first)
    repo.git("reflog", "expire", "--expire=now", "--all")
    repo.git("gc", "--quiet", "--prune=now")
    report = detect(repo)
    assert (report["base"], report["update_type"]) == (None, "structural")
    assert "is gone from the repository" in report["warnings"][0]


def test_a_shallow_clone_without_the_deployed_commit_says_how_to_get_it(
    repo: Checkout, tmp_path: Path
) -> None:
    first = repo.commit({"compose.yml": COMPOSE % 1})
    repo.commit({"compose.yml": COMPOSE % 2})
    clone = tmp_path / "clone"
    repo.git("clone", "--quiet", "--depth=1", f"file://{repo.directory}", str(clone))
    deployed(repo, first)
    done = dual_update("detect", "--cluster", "shop", cwd=clone)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"git fetch --depth=1 origin {first}" in done.stderr
