"""A run on disk: every step is written before it begins and after it ended."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from dual_update.core.errors import DualUpdateError
from dual_update.core.plan import Step
from dual_update.core.run import StepResult
from dual_update.usecases.site import Site

STARTED = "started"
FINISHED = "finished"
FAILED = "failed"


@dataclass
class Run:
    """The run under way. `steps` grows as steps end."""

    site: Site
    id: str
    steps: list[StepResult] = field(default_factory=list)

    def do(self, step: Step, act: Callable[[], str | None]) -> None:
        """Journal *started*, act, journal *finished* or *failed*. What the act tells joins the cause."""
        self.site.store.write(self.id, step.op, step.target, STARTED)
        self.site.say(f"{step.op} {step.target}")
        began = self.site.clock.monotonic()
        try:
            told = act() or ""
        except BaseException as error:
            detail = error.message if isinstance(error, DualUpdateError) else type(error).__name__
            self._ended(step, FAILED, began, detail)
            raise
        if told:
            self.site.say(told)
        self._ended(replace(step, cause=f"{step.cause} {told}".strip()), FINISHED, began, told)

    def _ended(self, step: Step, phase: str, began: float, detail: str) -> None:
        duration = self.site.clock.monotonic() - began
        self.steps.append(StepResult(step.op, step.target, step.cause, phase, duration))
        self.site.store.write(self.id, step.op, step.target, phase, detail)
