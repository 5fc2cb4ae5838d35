"""The whole engine dies with every container, in the middle of an update: as after a power cut.

It is an engine of our own, never the one that the other tests use. Afterwards it is started again, and
recovery brings up what should run: restart policies are not counted on.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.conftest import missing
from tests.integration.killing import Arena
from tests.integration.own_engine import OwnEngine
from tests.integration.test_interrupts import act_of
from tests.integration.world import Broom, Images, Registry, World

MOMENTS = (
    ("KILL:event", "ComposeCli.up", "3"),
    ("KILL:event", "ComposeCli.up", "9"),
    ("KILL:after", "ComposeCli.up", ""),
    ("KILL:after", "GitCheckout.move", ""),
    ("KILL:delay", "ComposeWorkshop.pull", "0.1"),
)


@pytest.fixture
def mortal(tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple]:
    if os.geteuid() != 0 or not Path("/usr/sbin/dockerd").exists():
        missing("a second engine needs root and dockerd")
    with OwnEngine() as engine:
        monkeypatch.setenv("DOCKER_HOST", engine.host)
        monkeypatch.setenv("STRIKE_ENGINE", str(engine.root))
        broom = Broom(docker.DockerClient(base_url=engine.host))
        yield engine, World(tmp_path, Images(registry, "mortal"), broom, "mortal")


@pytest.mark.sweep
@pytest.mark.parametrize("flow", ["changed", "broken_revamp"])
def test_a_killed_engine_leaves_old_or_new(mortal: tuple, flow: str) -> None:
    engine, world = mortal
    arena = Arena(world, flow)
    acts = arena.acts()
    for moment in MOMENTS:
        _strike(engine, arena, acts, moment)


def test_containers_that_come_back_by_themselves_get_the_old_files(mortal: tuple) -> None:
    """A restart policy starts them while the new version's files lie in the checkout."""
    engine, world = mortal
    arena = Arena(world, "changed")
    acts = arena.acts()
    _strike(engine, arena, acts, ("KILL:event", "ComposeCli.up", "3"))
    _strike(engine, arena, acts, ("KILL:after", "GitCheckout.move", ""), comes_back=True)


def _strike(
    engine: OwnEngine, arena: Arena, acts: dict, moment: tuple[str, str, str], *, comes_back: bool = False
) -> None:
    blow, what, rest = moment
    before = arena.version
    number = act_of(acts[arena.side], what)
    wanted, command = arena.prepare()
    done = arena.run(*command, point=f"{blow}:{number}:{rest}".rstrip(":"))
    assert done.returncode == -9, done.stdout + done.stderr
    seen = _seen(engine, arena)
    assert not any(one.state == "running" for one in seen)
    if comes_back:
        for one in seen:
            arena.world.engine.api.start(one.id)
        web = next(one for one in seen if one.service == "web")
        assert arena.sees(web, "/conf/app.conf") == wanted.setting != before.setting
    settled = arena.run("recover")
    assert settled.returncode == 0, settled.stdout + settled.stderr
    arena._end(wanted, settled, before)
    assert arena.wrong() == [], f"{blow} {what} {rest}: {settled.stdout}{settled.stderr}"


def _seen(engine: OwnEngine, arena: Arena) -> list:
    engine.start()
    return arena.cluster.containers()
