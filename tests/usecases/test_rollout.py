"""Conducting a roll-out: what is asked of clusters, told to people and written down, without a real world."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest

from dual_update.core.errors import ExitCode, NotNow
from dual_update.core.rollout import Rollout, resumed
from dual_update.usecases.rollout import Conducted, _key, begin, conduct
from tests.simulated_fleet import NEW, OLD, Died, Luck, SimulatedFleet

SIZES = (1, 2, 2)


def fleet(**luck: float) -> SimulatedFleet:
    return SimulatedFleet(1, SIZES, Luck(**luck), batch=1.0, bake_seconds=60.0)


def begun(world: SimulatedFleet, **policy: object) -> Rollout:
    return begin(world.conductor(), "r", NEW, world.stages, **policy)


def versions(world: SimulatedFleet) -> str:
    return "".join("n" if one.commit == NEW else "o" for one in world.clusters.values())


def test_all_of_it() -> None:
    world = fleet()
    done = conduct(world.conductor(), begun(world))
    assert (done.exit_code, versions(world)) == (ExitCode.DONE, "nnnnn")
    assert world.saved == done.rollout


def test_a_cluster_that_does_not_answer_keeps_it_from_beginning() -> None:
    world = fleet()
    world.clusters["c2-1"].cut = (0.0, world.now + 1)
    with pytest.raises(NotNow, match="c2-1: no answer"):
        begun(world)
    assert world.saved is None


def test_a_cluster_that_refuses_its_token_keeps_it_from_beginning() -> None:
    world = fleet()
    world.clusters["c0-0"].refusal = "its API does not take the token."
    with pytest.raises(NotNow, match="does not take the token"):
        begun(world)


def test_a_busy_cluster_keeps_it_from_beginning() -> None:
    world = fleet()
    world.clusters["c1-0"].ends_at = world.now + 100
    with pytest.raises(NotNow, match="under way on c1-0"):
        begun(world)


def test_without_approval_it_pauses_where_it_is_needed_and_goes_on_when_it_has_it() -> None:
    world = fleet()
    asked: list[Sequence[str]] = []

    def no(names: Sequence[str]) -> bool:
        asked.append(names)
        return False

    rollout = begun(world, needs_approval=frozenset({"c1-0", "c1-1"}))
    done = conduct(world.conductor(no), rollout)
    assert (done.exit_code, versions(world)) == (ExitCode.NOT_NOW, "noooo")
    assert done.unapproved == ("c1-0", "c1-1")
    assert len(asked) == 1
    again = conduct(world.conductor(), resumed(done.rollout, frozenset(done.unapproved)))
    assert (again.exit_code, versions(world)) == (ExitCode.DONE, "nnnnn")


def at(world: SimulatedFleet, moment: float, what: str) -> None:
    """Leave a wish, or interrupt, once so much time has gone by."""
    sleep, start = world.sleep, world.now

    def sleeping(seconds: float) -> None:
        sleep(seconds)
        if world.now - start >= moment and what not in world.keys_used:  # type: ignore[attr-defined]
            world.keys_used.add(what)  # type: ignore[attr-defined]
            if what == "interrupt":
                raise KeyboardInterrupt
            world.wishes.append(what)  # type: ignore[arg-type]

    world.keys_used = set()  # type: ignore[attr-defined]
    world.sleep = sleeping  # type: ignore[method-assign]


def test_pause_lets_what_is_under_way_end_and_resume_goes_on() -> None:
    world = fleet()
    at(world, 5, "pause")
    done = conduct(world.conductor(), begun(world))
    assert (done.exit_code, versions(world)) == (ExitCode.NOT_NOW, "noooo")
    assert not any(one.is_under_way for one in world.clusters.values())
    assert conduct(world.conductor(), resumed(done.rollout)).exit_code == ExitCode.DONE


@pytest.mark.parametrize(
    ("on_failure", "end", "left"), [("stop", "aborted", "n"), ("rollback_all", "rolled_back", "o")]
)
def test_abort_ends_it_as_a_failure_would(on_failure: str, end: str, left: str) -> None:
    world = fleet()
    at(world, 5, "abort")
    done = conduct(world.conductor(), begun(world, on_failure=on_failure))
    assert (done.rollout.end, versions(world)) == (end, f"{left}oooo")


def test_an_interrupt_pauses_and_the_second_one_leaves_at_once() -> None:
    world = fleet()
    at(world, 5, "interrupt")
    done = conduct(world.conductor(), begun(world))
    assert (done.exit_code, versions(world)) == (ExitCode.INTERRUPTED, "noooo")
    assert done.rollout.is_paused

    world = fleet()

    def always(_: float) -> None:
        raise KeyboardInterrupt

    world.sleep = always  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        conduct(world.conductor(), begun(world))


def test_one_lost_look_at_a_well_cluster_stops_nothing() -> None:
    """Unwell is looked at twice."""
    world = fleet()
    one = world.clusters["c0-0"]
    look, answers = one.look, iter([True] + [False] * 1000)

    def blinking() -> object:
        word = look()
        return replace(word, is_healthy=False) if word.commit == NEW and next(answers) else word

    one.look = blinking  # type: ignore[method-assign, assignment]
    assert conduct(world.conductor(), begun(world)).exit_code == ExitCode.DONE


def test_a_wish_outlives_the_coordinator_that_read_it() -> None:
    world = fleet()
    rollout = begun(world)
    world.wishes.append("abort")
    world.calls_to_death, world.deaths_left = 1, 1
    with pytest.raises(Died):
        conduct(world.conductor(), rollout)
    assert world.saved
    world.deaths_left = 0
    assert conduct(world.conductor(), world.saved).rollout.end == "aborted"


def test_what_is_tried_again_by_a_persons_word_is_a_new_wish() -> None:
    """A service answers the same wish with what came of it, and a refusal would be one for ever."""
    world = fleet()
    rollout = replace(begun(world), end="rollback_failed", direction="ended")
    name = next(rollout.clusters)
    word = world.clusters[name].look()
    first = _key(replace(rollout, direction="back"), name, "back", word)
    assert _key(resumed(rollout), name, "back", word) != first


def test_the_way_back_is_not_said_to_be_paused() -> None:
    world = fleet()
    said: list[str] = []
    world.wishes.append("pause")
    gone_wrong = replace(begun(world), direction="back", failed={"c0-0": "no"})
    done = conduct(replace(world.conductor(), say=said.append), gone_wrong)
    assert done.rollout.end == "rolled_back"
    assert said[0].startswith("the way back is not paused")


def test_the_same_wish_has_the_same_key_for_the_next_coordinator() -> None:
    """It dies right after asking; what comes next asks again, and nothing is done twice."""
    world = fleet()
    rollout = begun(world)
    world.calls_to_death = 12
    with pytest.raises(Died):
        conduct(world.conductor(), rollout)
    assert world.saved
    world.deaths_left = 0
    done: Conducted = conduct(world.conductor(), world.saved)
    assert done.exit_code == ExitCode.DONE
    assert [len(one.runs) for one in world.clusters.values()] == [1] * 5
    assert OLD != NEW


def test_closed_windows_are_waited_for() -> None:
    world = fleet()
    opens = world.now + 500

    def closed(names: Iterable[str]) -> frozenset[str]:
        return frozenset(names) & {"c1-0"} if world.now < opens else frozenset()

    done = conduct(replace(world.conductor(), closed=closed), begun(world))
    assert done.exit_code == ExitCode.DONE
    assert [moment >= opens for moment, name, _ in world.begun if name == "c1-0"] == [True]
    assert [moment < opens for moment, name, _ in world.begun if name == "c1-1"] == [True]
