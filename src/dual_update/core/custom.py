"""A user's own strategy behind the door that the built-in ones use.

What it may be: any object with `should_update(changes) -> bool` (nothing happens while it says no), and with
`plan(situation)` or `execute()` or `execute(situation)` that returns a Plan of known steps. Each may be left
out; without a plan of its own the usual one is carried out. Whatever it returns is checked before anything is
touched: no step without an undo, no service forgotten, and the proof at the end stays.
"""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from dual_update.core.command import Command
from dual_update.core.errors import DualUpdateError, NotNow, UsageError
from dual_update.core.hooks import is_touching
from dual_update.core.plan import PREPARING, WAYS_BACK, Op, Plan, Step, listed
from dual_update.core.running import start_order
from dual_update.core.situation import Situation
from dual_update.core.strategies import closing, prepare, strategy_for

TAKEN_BACK: frozenset[str] = frozenset({"restore", "retag", "return", "undo"})
"""Steps of the way back: no plan forward holds them."""

KNOWN: frozenset[str] = frozenset(get_args(Op)) - TAKEN_BACK


@dataclass(frozen=True)
class Custom:
    """Fits the protocol Strategy. `its` is the user's object; `name` is what reports call it."""

    name: str
    its: Any

    def plan(self, situation: Situation) -> Plan:
        """Its plan, made whole and checked.

        Raises NotNow while `should_update` says no, and UsageError for a plan that cannot be trusted or an
        error of its own.
        """
        if not self._wants(situation):
            why = str(getattr(self.its, "reason", "") or "").strip()
            raise NotNow(f"The strategy {self.name} says: not now.{f' {why}' if why else ''}")
        made = self._made(situation)
        if made is None:
            made = usual_plan(situation)
        if not isinstance(made, Plan):
            kind = type(made).__name__
            raise UsageError(f"The strategy {self.name} returned {kind}; a Plan of known steps is meant.")
        strange = _strange(made.steps)
        if strange:
            raise UsageError(f"The strategy {self.name} returned a Plan with {strange}; Steps are meant.")
        whole = _whole(made, situation)
        faults = list(_faults(whole, situation))
        if faults:
            raise UsageError(
                f"The plan of the strategy {self.name} cannot be trusted:\n" + "\n".join(faults),
                hint="Nothing was touched. Mend the strategy; docs/strategies.md has the rules.",
            )
        return replace(whole, strategy=self.name)

    def _wants(self, situation: Situation) -> bool:
        asked = getattr(self.its, "should_update", None)
        if asked is None:
            return True
        answer = self._call("should_update", asked, tuple(one.change for one in situation.decision.findings))
        if (isinstance(answer, str) and answer) or inspect.isawaitable(answer):
            kind = type(answer).__name__
            raise UsageError(f"The strategy {self.name} answers should_update with {kind}; a bool is meant.")
        return bool(answer)

    def _made(self, situation: Situation) -> object:
        for name in ("plan", "execute"):
            act = getattr(self.its, name, None)
            if act is not None:
                return self._call(name, act, *([situation] if _takes_one(act) else []))
        return None

    def _call(self, name: str, act: Any, *arguments: object) -> object:
        """A stranger's code: whatever it raises becomes one sentence, also where it would end the process."""
        if not callable(act):
            raise UsageError(f"The strategy {self.name} has {name}, which is no method.")
        try:
            return act(*arguments)
        except DualUpdateError:
            raise
        except (Exception, SystemExit) as error:
            what = " ".join(str(error).split()) or "no reason given"
            raise UsageError(
                f"The strategy {self.name} failed in {name}: {type(error).__name__}: {what}"
            ) from error


def usual_plan(situation: Situation) -> Plan:
    """The plan that would be made without a strategy of one's own: to add steps to, or to reorder."""
    return strategy_for(situation.decision, situation).plan(situation)


def _takes_one(act: Any) -> bool:
    try:
        return bool(inspect.signature(act).parameters)
    except (TypeError, ValueError):
        return False


def _strange(steps: object) -> str:
    """The kind of what should be steps and is not, or nothing."""
    if not isinstance(steps, tuple | list):
        return type(steps).__name__
    return next((type(one).__name__ for one in steps if not isinstance(one, Step)), "")


def _is_runnable(command: Command | None) -> bool:
    """Two lists of words. Text would be taken letter by letter."""
    if command is None or not command.argv:
        return False
    words = (command.argv, command.undo)
    return all(isinstance(one, tuple | list) and all(isinstance(w, str) for w in one) for one in words)


def _whole(plan: Plan, situation: Situation) -> Plan:
    """The plan with what no plan goes without: images and files kept first, proof and audit last."""
    ops = {step.op for step in plan.steps}
    touched = [s for s in start_order(situation.after) if s in _touched(plan.steps)]
    before = [step for step in prepare(situation, touched) if step.op not in ops]
    after = [step for step in closing(situation) if not any(_is_same(step, one) for one in plan.steps)]
    ready = [step for step in plan.steps if step.op in PREPARING]
    rest = [step for step in plan.steps if step.op not in PREPARING]
    return replace(plan, steps=(*before, *ready, *rest, *after))


def _is_same(one: Step, other: Step) -> bool:
    return (one.op, one.target) == (other.op, other.target)


def _touched(steps: Sequence[Step]) -> frozenset[str]:
    return frozenset(name for step in steps if is_touching(step) for name in step.services)


def _faults(plan: Plan, situation: Situation) -> Iterator[str]:
    known = {*situation.after.services, *situation.observed.services, *situation.before.services}
    if situation.old_project is not None:
        known |= {*situation.old_project.services}
    for number, step in enumerate(plan.steps, 1):
        what = f"step {number} ({step.op} {step.target})"
        if step.op not in KNOWN:
            yield f"{what}: there is no such step."
        elif not step.undo and step.op not in WAYS_BACK:
            yield f"{what}: it has no undo."
        elif step.op == "run" and not _is_runnable(step.command):
            yield f"{what}: it names no command, as a list of words."
        strangers = sorted({*step.services} - known)
        if strangers:
            yield f"{what}: there is no service {listed(strangers)}."
    names = [step.target for step in plan.steps if step.op == "run"]
    for name in sorted({one for one in names if names.count(one) > 1}):
        yield f"two commands are called {name}; the journal could not tell them apart."
    audit = next(i for i, step in enumerate(plan.steps) if step.op == "audit")
    if any(is_touching(step) for step in plan.steps[audit:]):
        yield "containers are touched after the audit."
    touched = _touched(plan.steps)
    needed = _touched(usual_plan(situation).steps)
    forgotten = sorted(needed - touched)
    if forgotten:
        yield f"{listed(forgotten)} would stay as it is, and must not."
