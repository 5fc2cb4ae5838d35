"""Roll-outs over three isolated projects on one engine and two bare repositories, with real faults."""

from tests.integration.fleet_world import Fleet, witness
from tests.integration.world import World


def test_a_fleet_goes_stage_by_stage(world: World) -> None:
    fleet = Fleet(world)
    file = fleet.file()
    commit = fleet.version()
    with witness(fleet) as torn:
        done = fleet.rollout("--clusters", str(file), "--ref", commit)
    assert done.code == 0, done.said
    assert done.state == "succeeded"
    assert fleet.runs(2) == {"a", "b", "c"}, [fleet.wrong(n, 2) for n in fleet.members]
    assert torn == []
