"""What a strategy of one's own needs: the words of a plan, and the plan that would be made without it.

    class AtNight:
        def should_update(self, changes):
            return datetime.now().hour < 5

        def execute(self, situation):
            plan = usual_plan(situation)
            ...
            return plan

See docs/strategies.md.
"""

from dual_update.core.command import Command
from dual_update.core.custom import usual_plan
from dual_update.core.decision import Decision
from dual_update.core.diff import Change
from dual_update.core.hooks import is_touching, run_step
from dual_update.core.plan import Plan, Step
from dual_update.core.situation import Situation
from dual_update.core.strategies import Revamp, Settle, Strategy, WatchtowerLane

__all__ = [
    "Change",
    "Command",
    "Decision",
    "Plan",
    "Revamp",
    "Settle",
    "Situation",
    "Step",
    "Strategy",
    "WatchtowerLane",
    "is_touching",
    "run_step",
    "usual_plan",
]
