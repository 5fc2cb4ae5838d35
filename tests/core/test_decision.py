"""Findings folded into one Decision: pure, so tested on values alone."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dual_update.core.decision import Decision, Sides, decide, fingerprint
from dual_update.core.diff import Change, compare
from dual_update.core.model import Rendered
from dual_update.core.rules import judge

BUILT = {"build": {"context": "/src/api"}}


def made(before: dict[str, Any], after: dict[str, Any], *more: Change, **sides: Any) -> Decision:
    old, new = Rendered("shop", services=before), Rendered("shop", services=after)
    both = Sides("shop", old, new, "b" * 40, "a" * 40, **sides)
    return decide(both, judge([*compare(old, new), *more]))


MATRIX = [
    ("image tag only", {"w": {"image": "w:1"}}, {"w": {"image": "w:2"}}, "image_only", "watchtower"),
    (
        "new service",
        {"w": {"image": "w"}},
        {"w": {"image": "w"}, "n": {"image": "n"}},
        "structural",
        "revamp",
    ),
    ("removed", {"w": {"image": "w"}, "o": {"image": "o"}}, {"w": {"image": "w"}}, "structural", "revamp"),
    ("any field", {"w": {"image": "w"}}, {"w": {"image": "w", "user": "1"}}, "structural", "revamp"),
    ("both", {"w": {"image": "w:1"}}, {"w": {"image": "w:2", "user": "1"}}, "mixed", "revamp"),
    ("image to build", {"w": {"image": "w"}}, {"w": BUILT}, "structural", "revamp"),
    ("nothing", {"w": {"image": "w"}}, {"w": {"image": "w"}}, "none", "none"),
]


@pytest.mark.parametrize(("before", "after", "update_type", "strategy"), [row[1:] for row in MATRIX],
                         ids=[row[0] for row in MATRIX])  # fmt: skip
def test_the_decision_matrix(before: Any, after: Any, update_type: str, strategy: str) -> None:
    decision = made(before, after)
    assert (decision.update_type, decision.strategy) == (update_type, strategy)
    assert decision.needs_update == (update_type != "none")


def test_code_alone_is_the_image_lane() -> None:
    decision = made({"api": BUILT}, {"api": BUILT}, Change("code", "api/a", "", "change", users=("api",)))
    assert (decision.update_type, decision.strategy) == ("image_only", "watchtower")
    assert (decision.services["api"].verdict, decision.services["api"].action) == ("image_only", "rebuild")


def test_the_heaviest_action_wins() -> None:
    moved = Change("service", "w", "image.digest", "change", users=("w",))
    assert made({"w": {"image": "w"}}, {"w": {"image": "w"}}, moved).services["w"].action == "poke"
    one = made({"w": {"image": "w", "scale": 1}}, {"w": {"image": "w", "scale": 2}}, moved)
    assert one.services["w"].action == "poke"
    one = made({"w": {"image": "w"}}, {"w": {"image": "w", "user": "1"}}, moved)
    assert one.services["w"].action == "recreate"


def test_every_service_that_needs_something_says_why() -> None:
    decision = made(
        {"a": {"image": "a:1"}, "b": {"image": "b", "network_mode": "service:a"}, "c": {"image": "c"}},
        {"a": {"image": "a:2"}, "b": {"image": "b", "network_mode": "service:a"}, "d": {"image": "d"}},
    )
    for service in decision.services.values():
        assert bool(service.reasons) == (service.action != "none")


def test_ties_in_a_circle_end() -> None:
    tied = {
        "a": {"image": "a:1", "depends_on": {"c": {"restart": True}}},
        "b": {"image": "b", "depends_on": {"a": {"restart": True}}},
        "c": {"image": "c", "depends_on": {"b": {"restart": True}}},
    }
    after = {**tied, "a": {**tied["a"], "image": "a:2"}}
    actions = {name: one.action for name, one in made(tied, after).services.items()}
    assert actions == {"a": "recreate", "b": "recreate", "c": "recreate"}


def test_a_volume_definition_asks_for_a_person() -> None:
    web = {"w": {"image": "w"}}
    decision = made(web, web, Change("volume", "data", "driver_opts.o", "change", users=("w",)))
    assert decision.needs_person == (
        "volume data: A volume's definition changed: compose either ignores that or destroys the data.",
    )
    assert decision.services["w"].action == "record"


def test_the_fingerprint_is_of_what_is_wanted_alone() -> None:
    wanted = Rendered("shop", services={"w": {"image": "w"}}, networks={"default": {"name": "shop_default"}})
    one = fingerprint("shop", "a" * 40, wanted)
    elsewhere = replace(wanted, name="clone", networks={"default": {"name": "clone_default"}})
    assert fingerprint("shop", "a" * 40, elsewhere) == one, "a checkout may be called anything"
    assert fingerprint("shop", "a" * 40, replace(wanted, warnings=("x",))) == one
    assert fingerprint("other", "a" * 40, wanted) != one
    assert fingerprint("shop", "b" * 40, wanted) != one
    assert fingerprint("shop", "a" * 40, replace(wanted, services={"w": {"image": "v"}})) != one


SERVICE = st.fixed_dictionaries(
    {"image": st.sampled_from(["x:1", "x:2"])},
    optional={
        "user": st.sampled_from(["1", "2"]),
        "scale": st.integers(0, 2),
        "build": st.just({"context": "/src"}),
    },
)
SERVICES = st.dictionaries(st.sampled_from("abcd"), SERVICE, max_size=4)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # machines are noisy
@given(SERVICES, SERVICES)
def test_nothing_is_done_exactly_where_nothing_differs(before: Any, after: Any) -> None:
    decision = made(before, after)
    assert decision.needs_update == (before != after)
    built_anew = {
        after[name]["image"] for name in {*before}.intersection(after)
        if "build" in after[name] and "build" not in before[name]
    }  # fmt: skip
    for name, one in decision.services.items():
        is_pulled = name in after and "build" not in after[name]
        follows = is_pulled and after[name]["image"] in built_anew
        assert (one.action == "none") == (before.get(name) == after.get(name) and not follows)
        assert (one.verdict == "same") == (before.get(name) == after.get(name))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # machines are noisy
@given(SERVICES, SERVICES)
def test_the_way_back_is_of_the_same_class(before: Any, after: Any) -> None:
    assert made(before, after).update_type == made(after, before).update_type
