"""The catalogue: whole, documented, and obeyed when the config changes it."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest

from dual_update.core.diff import Change, Scope
from dual_update.core.errors import UsageError
from dual_update.core.rules import ACTIONS, RULES, WEIGHT, Action, Impact, judge, rule_for

ROOT = Path(__file__).parents[2]
IDS = [rule.id for rule in RULES]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rules_doc", ROOT / "scripts" / "rules_doc.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_document_is_what_the_catalogue_says(generator: ModuleType) -> None:
    assert (ROOT / "docs" / "rules.md").read_text() == generator.page(), "run scripts/rules_doc.py"


def test_every_rule_is_whole() -> None:
    assert len(set(IDS)) == len(IDS)
    for rule in RULES:
        assert re.fullmatch(r"[a-z]+\.[a-z-]+", rule.id)
        assert rule.says.endswith(".")
        assert rule.source
        assert rule.impact in get_args(Impact)
        re.compile(rule.field)
    assert list(WEIGHT) == list(ACTIONS) == list(get_args(Action))


@pytest.mark.parametrize("scope", get_args(Scope))
@pytest.mark.parametrize("op", ["add", "change", "remove"])
def test_nothing_goes_unjudged(scope: Scope, op: str) -> None:
    """Whatever field comes up, some rule of the scope takes it, and none lightly."""
    found = rule_for(Change(scope, "x", "a.field.nobody\nknows", op))  # type: ignore[arg-type]
    if scope not in {"code", "submodule"}:
        assert found.impact == "structural"


@pytest.mark.parametrize(
    ("change", "rule", "action"),
    [
        (Change("service", "w", "image", "change"), "service.image", "roll"),
        (Change("service", "w", "image", "remove"), "service.image-source", "rebuild"),
        (Change("service", "w", "image.digest", "change"), "registry.moved", "poke"),
        (Change("service", "w", "build.args.A", "change"), "service.build", "rebuild"),
        (Change("service", "w", "build", "add"), "service.image-source", "rebuild"),
        (Change("service", "w", "scale", "change"), "service.replicas", "scale"),
        (Change("service", "w", "deploy.replicas", "change"), "service.replicas", "scale"),
        (Change("service", "w", "deploy", "add"), "service.field", "recreate"),
        (Change("service", "w", "depends_on.db.condition", "change"), "service.depends-on", "record"),
        (Change("service", "w", "builder", "change"), "service.field", "recreate"),
        (Change("volume", "v", "driver", "change"), "volume.definition", "record"),
        (Change("volume", "v", "name", "change"), "volume.name", "recreate"),
        (Change("volume", "v", "", "remove"), "volume.removed", "record"),
        (Change("network", "n", "ipam.config", "change"), "network.definition", "recreate"),
        (Change("submodule", "s", "pointer", "change"), "submodule.pointer", "none"),
    ],
)
def test_which_rule_judges(change: Change, rule: str, action: str) -> None:
    found = rule_for(change)
    assert (found.id, found.action) == (rule, action)


@pytest.mark.parametrize("rule", RULES, ids=IDS)
def test_lowering_warns_exactly_where_containers_go_stale(rule: object) -> None:
    assert isinstance(rule, type(RULES[0]))
    sample = {"": "", ".*": "other", r"name|external": "name", "name": "name", r"build\b.*": "build.target"}
    path = sample.get(rule.field, rule.field.split("|")[0].replace(r"\b.*", "").replace("\\", ""))
    change = Change(rule.scope, "x", path, rule.ops[0])
    assert rule_for(change) == rule, "the sample does not reach the rule"
    (finding,) = judge([change], {rule.id: "none"})
    assert finding.impact == "none"
    assert finding.leaves_stale == (rule.impact != "none" and WEIGHT[rule.action] > WEIGHT["record"])
    assert WEIGHT[finding.rule.action] <= WEIGHT["record"]
    assert finding.rule.needs_person == rule.needs_person, "lowering never takes a person's word away"


def test_raising_keeps_the_action_and_lifts_the_impact() -> None:
    (moved,) = judge([Change("submodule", "lib", "pointer", "change")], {"submodule.pointer": "structural"})
    assert (moved.impact, moved.rule.action) == ("structural", "record")
    (image,) = judge([Change("service", "w", "image", "change")], {"service.image": "structural"})
    assert (image.impact, image.rule.action, image.leaves_stale) == ("structural", "roll", False)


@pytest.mark.parametrize(("wrong", "near"), [("service.imge", "service.image"), ("zzz", "The rules are: ")])
def test_an_unknown_id_is_refused(wrong: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        judge([], {wrong: "none"})
    assert near in str(caught.value)
