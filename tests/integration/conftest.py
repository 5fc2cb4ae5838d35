"""Tests here meet a real engine, a real registry and real git, each in a world of its own."""

import itertools
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.conftest import missing
from tests.integration.world import Broom, Images, Registry, World

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
def broom(engine: None, engine_host: str | None) -> Iterator[Broom]:
    """What the tests left on the engine is removed after the last one, and then that one fails."""
    broom = Broom(docker.DockerClient(base_url=engine_host) if engine_host else docker.from_env())
    yield broom
    found = broom.sweep()
    broom.sweep_images()
    broom.close()
    if found:
        pytest.fail(f"the tests left these on the engine (now removed): {found}", pytrace=False)


@pytest.fixture
def world(
    request: pytest.FixtureRequest, tmp_path: Path, registry: Registry, broom: Broom
) -> Iterator[World]:
    number = next(_counter)
    story = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower().removeprefix("test_"))[:24].strip("-")
    world = World(tmp_path, Images(registry, f"t{number}"), broom, f"{number}-{story}")
    yield world
    world.teardown()


@pytest.fixture
def images(world: World) -> Images:
    return world.images
