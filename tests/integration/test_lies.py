"""A dozen lies; `scripts/bench lies` tells them all."""

import pytest

from tests.integration.lying import FLOWS, Arena
from tests.integration.world import World

TOLD = {
    "changed": ("compose only restarts", "the config is stale", "another volume is mounted"),
    "roll": ("the old image runs under the new labels", "the pull brings the old image", "it lost its names"),
    "poke": (
        "Watchtower does nothing",
        "the environment is stale under the same labels",
        "it crashes a while later",
    ),
    "failing": ("compose does nothing", "the container is paused", "the secret is missing"),
}


@pytest.mark.parametrize("flow", TOLD)
def test_no_lie_is_believed(world: World, monkeypatch: pytest.MonkeyPatch, flow: str) -> None:
    monkeypatch.setenv("DUAL_UPDATE_STATE_DIR", str(world.folder / "state"))
    arena = Arena(world, flow)
    lies = [lie for lie in FLOWS[flow] if lie.name in TOLD[flow]]
    assert len(lies) == len(TOLD[flow])
    told = [arena.tell(lie) for lie in lies]
    assert [(one.lie, one.outcome, one.truth) for one in told if one.is_false] == []
