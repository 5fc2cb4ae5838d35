"""A service that Watchtower recreated can be returned to like any other."""

import json

import pytest

from tests.integration.test_apply import apply
from tests.integration.test_lane import TOKEN, config
from tests.integration.world import World
from tests.standins.watchtower import WatchtowerStandIn


@pytest.mark.engine
def test_an_update_that_fails_after_a_poke_is_taken_back(world: World) -> None:
    """Watchtower hands the ids of earlier containers on as names on the network; compose does not."""
    world.images.push("web:1", "one")
    token = world.folder / "token"
    token.write_text(TOKEN)
    with WatchtowerStandIn(world.engine, token=TOKEN, stop_seconds=2) as watchtower:
        text = (
            f"services:\n  web:\n    image: {world.images.ref('web:1')}\n    stop_grace_period: 1s\n"
            "    labels: {com.centurylinklabs.watchtower.enable: 'true'}\n"
        )
        settings = config(watchtower.url).replace("%s", str(token))
        cluster = world.repo({"compose.yml": text, ".github/dual-update.yml": settings})
        apply(cluster)
        pushed = world.images.push("web:1", "another")
        assert "poke" in {step["op"] for step in apply(cluster)["steps"]}
        world.images.push("web:2", "two", flavour="crash")
        cluster.commit({"compose.yml": text.replace("web:1", "web:2")})
        done = cluster.dual_update("apply", "--auto", "--format", "json")
    report = json.loads(done.stdout)
    assert (report["outcome"], done.returncode) == ("rolled_back", 1), report["reason"]
    assert cluster.container("web").image_id == pushed.id
