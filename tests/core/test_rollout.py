"""The rules of a staged roll-out: each by itself, and all at once in simulated time."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from dual_update.core.rollout import (
    LastRun,
    Move,
    OnFailure,
    Rollout,
    Stage,
    Start,
    Word,
    is_back,
    learn,
    next_move,
    place,
    resumed,
    starts,
)
from tests.simulated_fleet import Luck, SimulatedFleet

SIZES = (1, 9, 90, 150, 250)
SMALL_SIZES = (1, 4, 15, 30, 50)

STAGES = (Stage(0, "staging", ("a",), 1, 60), Stage(1, "rest", ("b", "c", "d"), 2))
OLD, NEW = "1" * 40, "2" * 40


def rollout(**changes: object) -> Rollout:
    values = {"id": "r", "target": NEW, "stages": STAGES, "starts": dict.fromkeys("abcd", Start(OLD, "r0"))}
    return Rollout(**{**values, **changes})  # type: ignore[arg-type]


def words(**changed: Word) -> dict[str, Word]:
    return {**dict.fromkeys("abcd", Word(commit=OLD)), **changed}


def ran(outcome: str | None, to: str = NEW, kind: str = "apply", number: str = "r1") -> LastRun:
    return LastRun(number, kind, outcome, to, OLD, reason=f"it was {outcome}")


DONE = Word(commit=NEW, run=ran("succeeded"))
FAILED = Word(commit=OLD, run=ran("rolled_back"))
BUSY = Word(commit=OLD, is_busy=True)
SILENT = Word(is_reachable=False, detail="no route")


def test_the_first_stage_goes_alone() -> None:
    assert next_move(rollout(), words(), 0) == Move(apply=("a",))
    assert next_move(rollout(), words(a=BUSY), 0) == Move()


def test_a_barrier_opens_after_baking_only() -> None:
    said = words(a=DONE)
    after = learn(rollout(), said, 100)
    assert after.applied_at == {0: 100}
    assert next_move(after, said, 110) == Move(wait_seconds=50)
    assert next_move(after, said, 160) == Move(apply=("b", "c"))


def test_a_stage_that_falls_ill_while_it_bakes_fails() -> None:
    after = learn(rollout(), words(a=DONE), 100)
    ill = learn(after, words(a=Word(commit=NEW, is_healthy=False, detail="web: 500")), 110)
    assert (ill.direction, ill.end) == ("ended", "stopped")
    assert "web: 500" in ill.reason


def test_an_earlier_stage_that_is_silent_holds_the_next() -> None:
    baked = rollout(applied_at={0: 0.0})
    assert next_move(baked, words(a=SILENT), 100) == Move()


def test_a_batch_is_as_many_at_once() -> None:
    baked = rollout(applied_at={0: 0.0})
    assert next_move(baked, words(a=DONE, b=BUSY), 100) == Move(apply=("c",))
    assert next_move(baked, words(a=DONE, b=BUSY, c=BUSY), 100) == Move()
    assert next_move(baked, words(a=DONE, b=SILENT, c=BUSY), 100) == Move()


def test_nothing_is_begun_after_a_failure_and_others_may_end() -> None:
    said = words(a=DONE, b=FAILED, c=BUSY)
    after = learn(rollout(applied_at={0: 0.0}), said, 100)
    assert (after.direction, after.reason) == ("forward", "b: it was rolled_back")
    assert next_move(after, said, 100) == Move()
    ended = learn(after, words(a=DONE, b=FAILED, c=DONE), 110)
    assert (ended.direction, ended.end) == ("ended", "stopped")
    assert next_move(ended, said, 110).is_over


def test_the_way_back_goes_last_stage_first() -> None:
    said = words(a=DONE, b=FAILED, c=DONE)
    after = learn(rollout(applied_at={0: 0.0}, on_failure="rollback_all"), said, 100)
    assert after.direction == "back"
    assert next_move(after, said, 100) == Move(go_back=("c",))
    back = Word(commit=OLD, run=ran("succeeded", OLD, "rollback", "r2"))
    said = {**said, "c": back}
    after = learn(after, said, 110)
    assert next_move(after, said, 110) == Move(go_back=("a",))
    after = learn(after, {**said, "a": back}, 120)
    assert after.end == "rolled_back"


def test_a_way_back_that_fails_needs_a_person_and_the_others_still_return() -> None:
    broken = Word(commit=NEW, run=ran("rollback_failed", OLD, "rollback", "r2"))
    said = words(a=DONE, b=broken)
    after = learn(rollout(direction="back", failed={"c": "no"}), said, 0)
    assert after.stuck == {"b": "it was rollback_failed"}
    assert next_move(after, said, 0) == Move(go_back=("a",))
    ended = learn(after, words(b=broken), 10)
    assert ended.end == "rollback_failed"
    again = resumed(ended)
    assert (again.direction, again.end, again.stuck) == ("back", None, {})


def test_silence_is_borne_for_a_while() -> None:
    said = words(a=SILENT)
    after = learn(rollout(), said, 0)
    assert not after.has_failed
    assert learn(after, words(), 100).silent_since == {}
    late = learn(after, said, 300)
    assert late.end == "stopped"
    assert "did not answer for 300 seconds. no route" in late.reason


def test_work_without_an_end_is_borne_for_a_while() -> None:
    said = words(a=BUSY)
    after = learn(rollout(), said, 0)
    assert learn(after, words(a=SILENT), 100).busy_since == {"a": 0}
    assert learn(after, words(), 100).busy_since == {}
    assert not learn(after, said, 7199).has_failed
    late = learn(after, said, 7200)
    assert (late.end, late.reason) == (
        "stopped",
        "a: It has been at work for 7200 seconds and came to no end.",
    )


@pytest.mark.parametrize("lost", [BUSY, SILENT])
def test_who_does_not_return_holds_nobody_else_of_its_stage(lost: Word) -> None:
    said = words(a=DONE, b=lost, c=DONE)
    one_by_one = (STAGES[0], replace(STAGES[1], batch=1))
    since = {"busy_since": {"b": 0}, "silent_since": {"b": 0}}
    before = rollout(stages=one_by_one, direction="back", failed={"d": "no"}, **since)
    assert next_move(learn(before, said, 100), said, 100) == Move()
    after = learn(before, said, 9000)
    assert next_move(after, said, 9000) == Move(go_back=("c",))
    said = {**said, "c": Word(commit=OLD)}
    assert next_move(learn(after, said, 9010), said, 9010) == Move(go_back=("a",))


def test_what_a_dead_deployer_left_is_settled_and_tried_again() -> None:
    wreck = Word(commit=OLD, is_unsettled=True)
    assert next_move(rollout(), words(a=wreck), 0) == Move(settle=("a",))
    interrupted = LastRun("r1", "apply", "rolled_back", NEW, was_interrupted=True)
    assert next_move(rollout(), words(a=Word(commit=OLD, run=interrupted)), 0) == Move(apply=("a",))


def test_an_old_failure_is_not_held_against_a_new_rollout() -> None:
    before = rollout(starts={**rollout().starts, "a": Start(OLD, "r1")})
    assert place(before, "a", FAILED) == "waiting"


def test_somebody_elses_hand_is_a_failure() -> None:
    after = learn(rollout(), words(a=Word(commit="3" * 40)), 0)
    assert after.end == "stopped"
    assert "Somebody else" in after.reason


def test_somebody_who_takes_a_cluster_back_meanwhile_is_not_overruled() -> None:
    taken_back = Word(commit=OLD, run=LastRun("r2", "rollback", "succeeded", OLD, NEW))
    one_is_done = rollout(applied_at={0: 0.0})
    after = learn(one_is_done, words(a=DONE, b=taken_back), 100)
    assert not next_move(after, words(a=DONE, b=taken_back), 100).apply
    assert "Somebody else brought it" in after.reason
    earlier = learn(one_is_done, words(a=taken_back), 100)
    assert earlier.end == "stopped"
    back = replace(one_is_done, direction="back", failed={"b": "no"})
    assert learn(back, words(a=taken_back), 100).end == "rolled_back"


def test_what_was_known_of_a_cluster_that_takes_no_token_proves_no_way_back() -> None:
    refusing = Word(is_seen=False, commit=OLD, refusal="It does not take the token.")
    first = {**rollout().starts, "a": Start(None, None)}
    for starts_, word in ((rollout().starts, refusing), (first, replace(refusing, commit=None))):
        after = learn(rollout(starts=starts_, direction="back", failed={"b": "no"}), words(a=word), 0)
        assert (after.end, after.stuck) == ("rollback_failed", {"a": "It does not take the token."})
    assert learn(rollout(), words(a=refusing), 0).reason == "a: It does not take the token."


def test_a_refusal_is_a_failure_with_its_own_words() -> None:
    after = learn(rollout(), words(a=Word(commit=OLD, refusal="A person must agree.")), 0)
    assert after.reason == "a: A person must agree."


def test_pause_abort_windows_and_approval() -> None:
    assert next_move(rollout(is_paused=True), words(a=BUSY), 0) == Move()
    assert next_move(rollout(is_paused=True), words(), 0).is_held
    assert learn(rollout(is_aborted=True), words(), 0).end == "aborted"
    assert learn(rollout(is_aborted=True, on_failure="rollback_all"), words(), 0).end is None
    assert next_move(rollout(), words(), 0, frozenset("a")) == Move()
    asks = rollout(needs_approval=frozenset("a"))
    assert next_move(asks, words(), 0) == Move(asks=("a",))
    assert next_move(resumed(asks, frozenset("a")), words(), 0) == Move(apply=("a",))


def test_a_lost_record_is_replaced_by_what_the_clusters_say() -> None:
    found = starts(words(a=DONE), NEW)
    assert found["a"] == Start(OLD, None)
    assert found["b"] == Start(OLD, None)
    elsewhere = Word(commit=NEW, run=LastRun("r1", "apply", "succeeded", NEW, came_from="0" * 40))
    assert starts(words(a=elsewhere), NEW)["a"] == Start(NEW, "r1")


def test_where_all_ran_the_target_before_nothing_is_said_to_be_taken_back() -> None:
    there = dict.fromkeys("abcd", Start(NEW, "r1"))
    ill = words(a=DONE, b=DONE, c=DONE, d=replace(DONE, is_healthy=False))
    baked = rollout(starts=there, applied_at={0: 0.0}, on_failure="rollback_all")
    assert learn(baked, ill, 100).end == "stopped"


def test_a_first_deployment_is_back_when_its_own_rollback_says_so() -> None:
    first = rollout(starts={**rollout().starts, "a": Start(None, None)})
    assert not is_back(first, "a", DONE)
    assert is_back(first, "a", Word(commit=OLD, run=ran("succeeded", OLD, "rollback", "r2")))


def test_an_update_that_changed_nothing_has_nothing_to_take_back() -> None:
    same = Word(commit=NEW, is_unchanged=True, run=ran("unchanged"))
    assert place(rollout(), "a", same) == "applied"
    assert is_back(rollout(), "a", same)
    old = Word(commit=OLD, is_unchanged=True, run=ran("unchanged", OLD, number="r0"))
    assert is_back(rollout(), "a", old)
    assert not is_back(rollout(), "a", DONE)


def test_a_clock_that_is_set_back_bakes_anew() -> None:
    after = learn(rollout(), words(a=DONE), 1000)
    after = learn(after, words(a=DONE), 10)
    assert after.applied_at == {0: 10}


# --- simulated time


def kinds(seed: int, size: int) -> Luck:
    """From calm to mad, by seed. Failures add up over all clusters: a single one's chance goes with size."""
    one = 1 / size
    worlds = (
        Luck(death=one / 10),
        Luck(failure=one, death=one / 40),
        Luck(failure=2 * one, broken_way_back=0.05, lost_answer=0.001),
        Luck(refusal=one, sickness=one, partition=0.02, lost_answer=0.002),
        Luck(partition=0.05, death=one / 20, lost_record=0.3),
        Luck(one, one / 4, 0.02, one / 2, 0.02, 0.001, one / 20, 0.2),
        Luck(failure=one, partition=0.02, death=one / 20, endless=one),
        Luck(one, one / 4, 0.02, one / 2, 0.02, 0.001, one / 20, endless=one / 2),
    )
    return worlds[seed % len(worlds)]


def simulate(first: int, count: int, sizes: Sequence[int]) -> Counter[str]:
    ends: Counter[str] = Counter()
    for seed in range(first, first + count):
        on_failure: OnFailure = "rollback_all" if seed // 8 % 2 else "stop"
        fleet = SimulatedFleet(seed, sizes, kinds(seed, sum(sizes)), on_failure=on_failure)
        try:
            ended = fleet.run(busy_seconds=600.0)
            fleet.check_end(ended)
        except AssertionError as error:
            raise AssertionError(f"seed {seed} of {sizes}: {error}") from error
        ends[str(ended.rollout.end)] += 1
    return ends


def test_five_hundred_clusters_in_simulated_time() -> None:
    ends = simulate(0, 36, SIZES)
    assert len(ends) >= 3, ends


def test_hundreds_of_smaller_fleets_in_simulated_time() -> None:
    ends = simulate(1000, 300, SMALL_SIZES)
    assert set(ends) == {"succeeded", "stopped", "rolled_back", "rollback_failed"}, ends
    assert min(ends.values()) >= 3, ends


@pytest.mark.sweep
@pytest.mark.timeout(7200)
def test_thousands_of_fleets_in_simulated_time() -> None:
    ends = simulate(10_000, 4000, SIZES)
    print(dict(ends))
    assert min(ends.values()) > 40, ends
