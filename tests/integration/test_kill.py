"""Whatever kills the deployer, and whenever: the cluster ends as it was or as wanted, and nobody has to help.

Every run of the tests strikes at moments spread over every flow; `scripts/bench kill --count 0` at all of
them.
"""

import itertools
import random

import pytest

from tests.integration.killing import FLOWS, Arena, points
from tests.integration.world import World

BLOWS_PER_FLOW = 3
SEED = 20


def chosen(every: list[str], acts: list[dict], count: int) -> list[str]:
    """Moments within what changes containers first, then any: the order is the same for the same acts."""
    order = random.Random(SEED)
    heavy = {one["act"] for one in acts if one["what"].startswith(("ComposeCli.up", "DockerEngine"))}
    within = [p for p in every if int(p.split(":")[2]) in heavy and p.split(":")[1] in {"event", "delay"}]
    others = [p for p in every if p not in within]
    picked = order.sample(within, min(len(within), (count + 1) // 2))
    return picked + order.sample(others, count - len(picked))


@pytest.mark.parametrize("flow", FLOWS)
def test_a_killed_deployer_leaves_old_or_new(world: World, flow: str) -> None:
    arena = Arena(world, flow)
    acts = arena.acts()
    moments = {side: chosen(points(one), one, BLOWS_PER_FLOW) for side, one in acts.items()}
    ended = []
    for number in range(BLOWS_PER_FLOW):
        point = moments[arena.side][number]
        by_apply = number == 1 and flow != "rollback"
        again = "KILL:before:3" if number == 2 else ""
        one = arena.blow(point, by_apply=by_apply, again=again)
        ended.append(one)
        assert not one.wrong, f"{flow} {point} {again}: {one.wrong}\n{one.said}"
    assert any(one.has_struck for one in ended), ended


def test_recovery_is_killed_at_each_of_its_own_steps(world: World) -> None:
    """The recovery of a recovery of a recovery: each blow hits one act further than the one before."""
    arena = Arena(world, "revamp")
    acts = arena.acts()[arena.side]
    up = next(one for one in acts if one["what"] == "ComposeCli.up")
    wanted, command = arena.prepare()
    point = f"KILL:event:{up['act']}:{max(1, up['events'] // 2)}"
    assert arena.run(*command, point=point).returncode == -9
    for number in itertools.count(2, 3):
        if arena.run("recover", point=f"KILL:after:{number}").returncode == 0:
            break
    assert number > 8
    arena._end(wanted, None)
    assert arena.wrong() == []
    assert arena.history()[0]["outcome"] == "rolled_back"
