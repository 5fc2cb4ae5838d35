"""Commands that run around an update: where they stand in a plan."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dual_update.core.command import Command
from dual_update.core.config import Hook, Hooks
from dual_update.core.errors import UsageError
from dual_update.core.plan import TOUCHING, Plan, Step


@dataclass(frozen=True)
class Begun:
    """A command that a run began. `is_late`: after the first container was touched; such are taken back
    first."""

    name: str
    command: Command
    is_late: bool

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "is_late": self.is_late, "command": self.command.to_json()}

    @staticmethod
    def from_json(data: Any) -> "Begun":
        return Begun(str(data["name"]), Command.from_json(data["command"]), bool(data["is_late"]))


def run_step(name: str, command: Command, cause: str) -> Step:
    """The step that runs a command. A command without an undo says so; it is its owner's word."""
    undo = f"`{command.undo[0]} ...` {command.place}" if command.undo else "nothing to undo, its owner says"
    return Step("run", name, f"{cause}, {command.place}", undo, _services(command), command=command)


def _services(command: Command) -> tuple[str, ...]:
    return (command.service,) if command.service else ()


def with_hooks(plan: Plan, hooks: Hooks, *, is_first: bool) -> Plan:
    """The plan with its cluster's hooks: `before` right before the first container is touched, `after` once
    every service is well and before the audit. A plan that only heals, or touches nothing, has none.

    A first deployment has no containers yet that a command `before` could run in: those are left out, and
    a note says so. Raises UsageError where a command of the plan has a hook's name already.
    """
    if plan.changes_nothing or plan.strategy == "none":
        return plan
    names = {step.target for step in plan.steps if step.op == "run"}
    for one in (*hooks.before, *hooks.after):
        if one.name in names:
            raise UsageError(
                f"The hook {one.name} has the name of a command of the strategy {plan.strategy}.",
                hint="Give one of them another name: the way back finds commands by their names.",
            )
    skipped = [one for one in hooks.before if one.command.service and is_first]
    before = [_step(one, "before the update") for one in hooks.before if one not in skipped]
    after = [_step(one, "after the update") for one in hooks.after]
    first = next(i for i, step in enumerate(plan.steps) if is_touching(step))
    last = next((i for i, step in enumerate(plan.steps) if step.op == "audit"), len(plan.steps))
    notes = tuple(
        f"{one.name} does not run: {one.command.service} does not exist before the first deployment."
        for one in skipped
    )
    steps = (*plan.steps[:first], *before, *plan.steps[first:last], *after, *plan.steps[last:])
    return replace(plan, steps=steps, notes=(*plan.notes, *notes))


def _step(hook: Hook, cause: str) -> Step:
    return run_step(hook.name, hook.command, cause)


def is_touching(step: Step) -> bool:
    """Does a step change a container of the old or the new cluster."""
    return step.op in TOUCHING or step.op == "retire"


def commands_of(steps: Sequence[Step]) -> tuple[Begun, ...]:
    """The commands of a plan, in order, for the record of its run."""
    found, is_late = [], False
    for step in steps:
        is_late = is_late or is_touching(step)
        if step.op == "run" and step.command is not None:
            found.append(Begun(step.target, step.command, is_late))
    return tuple(found)


def begun(commands: Iterable[Begun], started: Iterable[str]) -> tuple[Begun, ...]:
    """Those of these commands that were begun, in order. `started`: names in the journal."""
    names = frozenset(started)
    return tuple(one for one in commands if one.name in names)
