"""Any sequence of updates, kills, rollbacks, recoveries and meddling ends in exactly one known version."""

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.integration.killing import Arena, Version
from tests.integration.world import World

MOMENTS = st.one_of(
    st.tuples(st.sampled_from(["before", "after"]), st.integers(1, 36), st.just("")),
    st.tuples(st.just("event"), st.integers(17, 24), st.integers(1, 12).map(str)),
    st.tuples(st.just("delay"), st.integers(1, 36), st.sampled_from(["0.02", "0.2", "0.7"])),
).map(lambda one: f"KILL:{one[0]}:{one[1]}:{one[2]}".rstrip(":"))


class Walk:
    """The cluster and every version that it has had."""

    def __init__(self, world: World) -> None:
        self.arena = Arena(world, "changed")
        self.known: dict[str, Version] = {self.arena.version.commit: self.arena.version}

    def want(self, side: int, web: str = "") -> Version:
        wanted = self.arena._commit(side, web)
        self.known[wanted.commit] = wanted
        return wanted

    def apply(self, wanted: Version, point: str = "-", *more: str) -> Any:
        return self.arena.run("apply", "--auto", "--ref", wanted.commit, *more, point=point)

    def look(self, may_be: set[str], said: str) -> None:
        head = self.arena.cluster.head
        assert head in may_be, f"the checkout stands at {head[:12]}\n{said}"
        self.arena.version = self.known[head]
        assert self.arena.wrong() == [], said


def machine(walk: Walk) -> type[RuleBasedStateMachine]:
    arena = walk.arena

    class Steps(RuleBasedStateMachine):
        @rule(scope=st.sampled_from(["cluster", "changed"]))
        def apply(self, scope: str) -> None:
            wanted = walk.want(1 - arena.side)
            done = walk.apply(wanted, "-", "--scope", scope)
            assert done.returncode == 0, done.stderr
            walk.look({wanted.commit}, done.stderr)

        @rule(point=MOMENTS, again=st.one_of(st.just(""), MOMENTS))
        def kill_and_recover(self, point: str, again: str) -> None:
            old, wanted = arena.version.commit, walk.want(1 - arena.side)
            said = walk.apply(wanted, point).stderr
            if again:
                said += arena.run("recover", point=again).stderr
            done = arena.run("recover")
            assert done.returncode == 0, said + done.stderr
            walk.look({old, wanted.commit}, said + done.stderr)

        @rule(point=MOMENTS)
        def kill_and_apply_again(self, point: str) -> None:
            wanted = walk.want(1 - arena.side)
            said = walk.apply(wanted, point).stderr
            done = walk.apply(wanted)
            assert done.returncode == 0, said + done.stderr
            walk.look({wanted.commit}, said + done.stderr)

        @rule(side=st.integers(0, 1), is_tag_moved=st.booleans())
        def broken(self, side: int, is_tag_moved: bool) -> None:
            old = arena.version.commit
            if is_tag_moved:  # somebody gives the name that runs to something else
                ref = arena.cluster.container("web").image
                arena.world.engine.images.get(arena.ids["api:1"]).tag(*ref.rsplit(":", 1))
            name = f"web:bad#{arena.number}"
            arena.images.push(name.replace("#", "-"), "bad", flavour="crash")
            done = walk.apply(walk.want(side, name))
            assert done.returncode == 1, done.stderr
            walk.look({old}, done.stderr)

        @rule()
        def rollback(self) -> None:
            done = arena.run("rollback", "--auto")
            assert done.returncode in {0, 5}, done.stderr  # 5: it was never anything else
            walk.look(set(walk.known), done.stderr)

        @rule(service=st.sampled_from(["web", "api"]), is_applied=st.booleans())
        def somebody_removes_a_container(self, service: str, is_applied: bool) -> None:
            arena.world.engine.api.remove_container(arena.cluster.container(service).id, force=True)
            done = walk.apply(arena.version if is_applied else (wanted := walk.want(1 - arena.side)))
            assert done.returncode == 0, done.stderr
            walk.look({arena.version.commit if is_applied else wanted.commit}, done.stderr)

    return Steps


def walk_on(world: World, examples: int, steps: int) -> None:
    walk = Walk(world)
    run_state_machine_as_test(
        machine(walk),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert len(walk.arena.history()) > examples, "nothing was walked"


def test_a_short_walk(world: World) -> None:
    walk_on(world, examples=2, steps=4)


@pytest.mark.sweep
@pytest.mark.timeout(0)
def test_a_long_walk(world: World) -> None:
    walk_on(world, examples=20, steps=15)
