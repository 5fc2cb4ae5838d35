"""Where an owner's commands stand in a plan, and which of them a dead run had begun."""

from dataclasses import replace

import pytest

from dual_update.core.command import Command
from dual_update.core.config import Hook, Hooks
from dual_update.core.errors import UsageError
from dual_update.core.hooks import Begun, begun, commands_of, run_step, with_hooks
from dual_update.core.plan import Plan, Step, text
from dual_update.core.situation import Situation
from dual_update.core.strategies import strategy_for
from tests.core.test_strategies import BASE, DB, WEB1, WEB2, decision, rendered, running

MIGRATE = Hook("migrate", Command(("migrate", "up"), ("migrate", "down"), "db", 5))
DRAIN = Hook("drain", Command(("drain",), ()))
WARM = Hook("warm", Command(("warm",), ("cool",), "web"))
HOOKS = Hooks(before=(DRAIN, MIGRATE), after=(WARM,))


def plan_of(before: dict, after: dict, *up: str) -> tuple[Plan, Situation]:
    one, other = rendered(**before), rendered(**after)
    situation = Situation(decision(one, other), one, other, running(*up), BASE)
    return strategy_for(situation.decision, situation).plan(situation), situation


def test_commands_stand_around_what_touches_containers() -> None:
    plan, _ = plan_of({"web": WEB1, "db": DB}, {"web": WEB2, "db": DB}, "web", "db")
    hooked = with_hooks(plan, HOOKS, is_first=False)
    assert [f"{s.op} {s.target}" for s in hooked.steps][3:] == [
        "checkout bbbbbbbbbbbb",
        "run drain",
        "run migrate",
        "roll web",
        "prove web",
        "prove cluster",
        "run warm",
        "audit cluster",
        "tidy networks",
    ]
    printed = text(hooked)
    assert "run migrate: before the update, in db\n      undo: `migrate ...` in db" in printed
    assert "run drain: before the update, on the host\n      undo: nothing to undo, its owner says" in printed


def test_what_is_taken_back_first_comes_after_the_first_touch() -> None:
    plan, _ = plan_of({"web": WEB1, "db": DB}, {"web": WEB2, "db": DB}, "web", "db")
    commands = commands_of(with_hooks(plan, HOOKS, is_first=False).steps)
    assert [(one.name, one.is_late) for one in commands] == [
        ("drain", False),
        ("migrate", False),
        ("warm", True),
    ]
    assert begun(commands, ["drain"]) == commands[:1]
    assert tuple(Begun.from_json(one.to_json()) for one in commands) == commands


def test_a_hook_has_another_name_than_the_commands_of_a_strategy() -> None:
    plan, _ = plan_of({"web": WEB1}, {"web": WEB2}, "web")
    step = run_step("warm", Command(("warm",), ("cool",)), "because")
    with pytest.raises(UsageError, match="The hook warm has the name of a command"):
        with_hooks(replace(plan, steps=(step, *plan.steps)), HOOKS, is_first=False)


def test_healing_and_looking_run_no_commands() -> None:
    for up in (("web",), ("web", "db")):  # one service is missing; nothing is
        plan, _ = plan_of({"web": WEB1, "db": DB}, {"web": WEB1, "db": DB}, *up)
        assert with_hooks(plan, HOOKS, is_first=False) == plan


def test_before_the_first_deployment_there_is_no_container_to_run_in() -> None:
    plan, situation = plan_of({}, {"web": WEB1, "db": DB})
    assert situation.is_first
    hooked = with_hooks(plan, HOOKS, is_first=True)
    assert [s.target for s in hooked.steps if s.op == "run"] == ["drain", "warm"]
    assert "migrate does not run: db does not exist before the first deployment." in hooked.notes


def test_another_command_is_another_plan() -> None:
    from dual_update.core.plan import Evidence, plan_fingerprint

    plan, situation = plan_of({"web": WEB1}, {"web": WEB2}, "web")
    other = Plan(plan.strategy, (*plan.steps, Step("run", "x", "c", "u", command=Command(("a",)))))
    changed = Plan(plan.strategy, (*plan.steps, Step("run", "x", "c", "u", command=Command(("b",)))))
    names = {
        plan_fingerprint(situation.decision, one, situation.observed, Evidence())
        for one in (plan, other, changed)
    }
    assert len(names) == 3
