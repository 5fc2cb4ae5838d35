"""A user's strategy: what is asked of it, and what is refused before anything is touched."""

import sys
from collections.abc import Callable

import pytest

from dual_update.core.custom import Custom
from dual_update.core.errors import NotNow, UsageError
from dual_update.core.plan import PREPARING, Plan, Step
from dual_update.core.situation import Situation
from dual_update.core.strategies import Revamp, WatchtowerLane
from dual_update.strategies import Command, run_step, usual_plan
from tests.core.test_strategies import BASE, DB, WEB1, WEB2, decision, rendered, running


@pytest.fixture
def situation() -> Situation:
    before, after = rendered(web=WEB1, db=DB), rendered(web=WEB2, db=DB)
    return Situation(decision(before, after), before, after, running("web", "db"), BASE)


class OfShape:
    """The documented shape, filled by a test."""

    def __init__(self, execute: Callable[..., object] | None = None, *, should: object = True) -> None:
        self._should = should
        self.seen: object = None
        if execute is not None:
            self.execute = execute

    def should_update(self, changes: object) -> object:
        self.seen = changes
        return self._should


def ops(plan: Plan) -> list[str]:
    return [f"{one.op} {one.target}" for one in plan.steps]


def test_it_is_asked_with_the_changes_and_the_usual_plan_follows(situation: Situation) -> None:
    mine = OfShape()
    plan = Custom("mine", mine).plan(situation)
    assert ops(plan) == ops(usual_plan(situation))
    assert plan.strategy == "mine"
    assert [(one.name, one.path) for one in mine.seen] == [("web", "image")]  # type: ignore[attr-defined]


@pytest.mark.parametrize("no", [False, 0, None, ""])
def test_while_it_says_no_nothing_happens(situation: Situation, no: object) -> None:
    mine = OfShape(should=no)
    mine.reason = "It is day."  # type: ignore[attr-defined]
    with pytest.raises(NotNow, match=r"mine says: not now\. It is day\."):
        Custom("mine", mine).plan(situation)


@pytest.mark.parametrize("built_in", [Revamp, WatchtowerLane])
def test_the_built_in_ones_enter_by_the_same_door(situation: Situation, built_in: type) -> None:
    whole = Custom("x", built_in()).plan(situation)
    assert ops(whole) == ops(built_in().plan(situation))


def test_a_step_of_its_own_stands_in_the_plan(situation: Situation) -> None:
    def execute(given: Situation) -> Plan:
        plan = usual_plan(given)
        mine = run_step("migrate", Command(("migrate",), ("back",), "db"), "a migration")
        at = next(i for i, one in enumerate(plan.steps) if one.op == "roll")
        return Plan("", (*plan.steps[:at], mine, *plan.steps[at:]))

    plan = Custom("mine", OfShape(execute)).plan(situation)
    assert "run migrate" in ops(plan)
    assert ops(plan).index("run migrate") == ops(plan).index("roll web") - 1


def test_proof_and_way_back_come_free(situation: Situation) -> None:
    """A plan of nothing but its own step gets what no plan goes without."""

    def execute() -> Plan:
        return Plan("", (Step("roll", "web", "because", "the old image again", ("web",)),))

    plan = Custom("mine", OfShape(execute)).plan(situation)
    assert ops(plan) == [
        "pull web",
        "keep running images",
        "backup compose and env files",
        "roll web",
        "prove cluster",
        "audit cluster",
        "tidy networks",
    ]
    assert [one.op in PREPARING for one in plan.steps] == [True] * 3 + [False] * 4


ROLL = Step("roll", "web", "because", "the old image again", ("web",))


@pytest.mark.parametrize(
    ("steps", "complaint"),
    [
        ((Step("roll", "web", "because", "", ("web",)),), r"step 4 \(roll web\): it has no undo"),
        ((ROLL, Step("run", "x", "because", "")), r"\(run x\): it has no undo"),
        ((ROLL, Step("run", "x", "because", "u")), r"\(run x\): it names no command"),
        ((ROLL, Step("explode", "x", "c", "u")), r"\(explode x\): there is no such step"),  # type: ignore[arg-type]
        ((ROLL, Step("return", "x", "c", "u")), r"\(return x\): there is no such step"),
        ((ROLL, Step("remove", "x", "c", "u", ("ghost",))), "there is no service ghost"),
        ((Step("roll", "db", "c", "u", ("db",)),), "web would stay as it is, and must not"),
        ((), "web would stay as it is, and must not"),
        (
            (ROLL, *[run_step("twice", Command(("a",), ("b",)), "c")] * 2),
            "two commands are called twice",
        ),
        (
            (Step("audit", "cluster", "c"), ROLL),
            "containers are touched after the audit",
        ),
    ],
)
def test_a_plan_that_cannot_be_trusted_is_refused(
    situation: Situation, steps: tuple[Step, ...], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        Custom("mine", OfShape(lambda: Plan("", steps))).plan(situation)


def test_what_it_raises_or_returns_becomes_a_sentence(situation: Situation) -> None:
    def fails() -> Plan:
        raise KeyError("where")

    with pytest.raises(UsageError, match="The strategy mine failed in execute: KeyError: 'where'"):
        Custom("mine", OfShape(fails)).plan(situation)
    with pytest.raises(UsageError, match="returned str; a Plan of known steps is meant"):
        Custom("mine", OfShape(lambda: "done")).plan(situation)


@pytest.mark.parametrize("steps", [None, "roll web", ("roll web",)])
def test_a_plan_of_anything_but_steps_is_refused(situation: Situation, steps: object) -> None:
    with pytest.raises(UsageError, match=r"returned a Plan with .*; Steps are meant"):
        Custom("mine", OfShape(lambda: Plan("", steps))).plan(situation)  # type: ignore[arg-type]


def test_a_command_is_a_list_of_words(situation: Situation) -> None:
    text = run_step("x", Command("true", ("back",)), "c")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="as a list of words"):
        Custom("mine", OfShape(lambda: Plan("", (ROLL, text)))).plan(situation)


def test_its_answer_is_a_bool_and_its_methods_are_methods(situation: Situation) -> None:
    with pytest.raises(UsageError, match="answers should_update with str; a bool is meant"):
        Custom("mine", OfShape(should="no")).plan(situation)
    with pytest.raises(UsageError, match="has execute, which is no method"):
        Custom("mine", OfShape(5)).plan(situation)  # type: ignore[arg-type]


def test_it_does_not_end_the_program(situation: Situation) -> None:
    """Else an update that was never made would end with exit code 0."""
    with pytest.raises(UsageError, match="failed in execute: SystemExit: 0"):
        Custom("mine", OfShape(lambda: sys.exit(0))).plan(situation)
