"""Stories from a push to a proven deployment, with nothing pretended but GitHub itself (see act.py)."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.stage import Stage
from tests.fake_github.server import FakeGitHub
from tests.integration.action_image import action_image
from tests.integration.conftest import broom, images, registry, world  # noqa: F401 - fixtures
from tests.integration.world import Cluster, World, run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("engine")


@pytest.fixture(scope="session")
def image(engine: None) -> str:
    """The action's own image, made of this checkout's sources."""
    return action_image()


@pytest.fixture
def github(tmp_path: Path) -> Iterator[FakeGitHub]:
    (tmp_path / "github").mkdir()
    with FakeGitHub(tmp_path / "github") as server:
        yield server


@pytest.fixture
def new_stage(world: World, github: FakeGitHub, image: str, tmp_path: Path) -> Callable[..., Stage]:  # noqa: F811
    """A repository on GitHub with these files, cloned on a host whose cluster is not deployed yet."""

    def make(files: dict[str, str], name: str = "ada/shop") -> Stage:
        host: Cluster = world.repo()
        stage = Stage(tmp_path / "stage", github, host, image, name)
        stage.repository.put("main", stage.named(files), "start")
        host.git("remote", "add", "origin", str(stage.repository.git_dir))
        host.git("fetch", "--quiet", "origin")
        host.git("reset", "--quiet", "--hard", "origin/main")
        host.git("branch", "--quiet", "--set-upstream-to", "origin/main")
        run("git", "pull", "--quiet", cwd=stage.desk)
        return stage

    return make
