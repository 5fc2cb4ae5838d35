"""Tests here meet a real engine, a real registry and real git, each in a world of its own."""

import itertools
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.conftest import missing
from tests.integration.world import Images, Registry, World, leftovers, remove_images, remove_projects

_counter = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("engine")


@pytest.fixture(scope="session")
def registry(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    for program in ("docker-registry", "busybox"):
        if shutil.which(program) is None:
            missing(f"{program} is not on PATH; run scripts/bootstrap --tests")
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture(scope="session")
def clean_engine(engine: None, engine_host: str | None) -> Iterator[docker.DockerClient]:
    """The session's engine; what the tests left on it is removed after the last one, which then fails."""
    client = (
        docker.DockerClient(base_url=engine_host, timeout=60) if engine_host else docker.from_env(timeout=60)
    )
    yield client
    found = leftovers(client)
    remove_projects(client)
    remove_images(client)
    client.close()
    if found:
        pytest.fail(f"the tests left these on the engine (now removed): {found}", pytrace=False)


@pytest.fixture
def world(
    request: pytest.FixtureRequest, tmp_path: Path, registry: Registry, clean_engine: docker.DockerClient
) -> Iterator[World]:
    number = next(_counter)
    story = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower().removeprefix("test_"))[:24].strip("-")
    world = World(tmp_path, Images(registry, f"t{number}"), f"{number}-{story}")
    yield world
    world.teardown()


@pytest.fixture
def images(world: World) -> Images:
    return world.images
