"""Differences between two models: named by path, keyed by identity, silent about values."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dual_update.core.diff import compare, fields
from dual_update.core.model import Rendered


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, str, Any, Any]]:
    found = compare(Rendered("p", services={"w": before}), Rendered("p", services={"w": after}))
    return [(one.path, one.op, one.before, one.after) for one in found]


def test_environment_is_named_and_never_quoted() -> None:
    before = {"environment": {"A": "old", "B": "same", "C": None}, "command": ["x"]}
    after = {"environment": {"A": "new", "B": "same", "C": ""}, "command": ["y"]}
    assert changes(before, after) == [
        ("command", "change", None, None),
        ("environment.A", "change", None, None),
        ("environment.C", "change", None, None),
    ]


def test_a_line_without_an_equals_sign_is_told_up_to_its_name() -> None:
    before = {"environment": {"PASSWORD: hunter2": None}, "labels": {"some words of mine": ""}}
    after = {"environment": {"PASSWORD: hunter3": None}, "labels": {"com.example/x": ""}}
    assert [path for path, *_ in changes(before, after)] == [
        'environment["PASSWORD***"]', 'environment["PASSWORD***"]',
        'labels["com.example/x"]', 'labels["some***"]',
    ]  # fmt: skip


def test_harmless_fields_are_shown() -> None:
    assert changes({"image": "a", "restart": "no"}, {"image": "b", "restart": "always"}) == [
        ("image", "change", "a", "b"),
        ("restart", "change", "no", "always"),
    ]


def test_ports_are_known_by_what_they_publish() -> None:
    first = {"target": 80, "published": "8080", "protocol": "tcp", "mode": "ingress"}
    second = {"target": 443, "published": "8443", "protocol": "tcp", "mode": "ingress"}
    found = changes({"ports": [first]}, {"ports": [second, first]})
    assert [(path, op) for path, op, *_ in found] == [("ports[8443->443/tcp]", "add")]
    found = changes({"ports": [first, second]}, {"ports": [second, first]})
    assert [(path, op) for path, op, *_ in found] == [("ports.order", "change")]


def test_mounts_are_known_by_their_target() -> None:
    def mount(target: str, **more: Any) -> dict[str, Any]:
        return {"type": "volume", "source": "v", "target": target, **more}

    found = changes({"volumes": [mount("/a"), mount("/b")]}, {"volumes": [mount("/a", read_only=True)]})
    assert [(path, op) for path, op, *_ in found] == [
        ("volumes[/a].read_only", "add"),
        ("volumes[/b]", "remove"),
    ]


def test_numbers_text_and_nothing_are_not_the_same() -> None:
    assert changes({"x": 1}, {"x": "1"}) == [("x", "change", None, None)]
    assert changes({"x": None}, {}) == [("x", "remove", None, None)]


def test_a_renamed_project_is_one_change_and_not_one_for_each_network() -> None:
    def side(name: str) -> Rendered:
        return Rendered(
            name,
            services={"w": {"image": "w"}},
            networks={"default": {"name": f"{name}_default"}},
            volumes={"v": {"name": f"{name}_v"}},
        )

    (one,) = compare(side("a"), side("b"))
    assert (one.scope, one.before, one.after, one.users) == ("project", "a", "b", ("w",))


@pytest.mark.parametrize("kind", ["networks", "configs", "secrets", "volumes"])
def test_users_are_those_of_either_side(kind: str) -> None:
    use: Any = {"networks": {"r": None}, "volumes": [{"type": "volume", "source": "r", "target": "/r"}]}.get(
        kind, [{"source": "r"}]
    )
    old = Rendered("p", services={"a": {kind: use}, "b": {}}, **{kind: {"r": {"labels": {"x": "1"}}}})
    new = Rendered("p", services={"a": {}, "b": {kind: use}}, **{kind: {"r": {"labels": {"x": "2"}}}})
    (one,) = [one for one in compare(old, new) if one.scope != "service"]
    assert one.users == ("a", "b")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)
MODEL = st.dictionaries(
    st.sampled_from(["image", "ports", "volumes", "environment", "networks", "x"]), JSON, max_size=4
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # machines are noisy
@given(MODEL, MODEL)
def test_a_difference_is_never_missed_and_never_invented(before: Any, after: Any) -> None:
    assert bool(list(fields(before, after))) == (before != after)
    assert not list(fields(before, before))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # machines are noisy
@given(MODEL, MODEL)
def test_the_way_back_names_the_same_paths(before: Any, after: Any) -> None:
    there = {(path, op) for path, op, *_ in fields(before, after)}
    back = {(path, op) for path, op, *_ in fields(after, before)}
    mirrored = {"add": "remove", "remove": "add", "change": "change"}
    assert there == {(path, mirrored[op]) for path, op in back}
