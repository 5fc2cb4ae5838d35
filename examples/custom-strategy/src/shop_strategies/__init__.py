"""How our shop is updated: at night, and with a migration of its database."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from dual_update.strategies import Change, Command, Plan, Situation, is_touching, run_step, usual_plan

QUIET_HOURS = range(1, 5)
"""Hours of the day, in UTC, at which nobody shops."""


def utc() -> datetime:
    return datetime.now(UTC)


class AtNight:
    """The usual update, while nobody shops. By day the answer is "not now" (exit code 5)."""

    def __init__(self, now: Callable[[], datetime] = utc) -> None:
        self._now = now
        self.reason = f"Updates run from {QUIET_HOURS.start} to {QUIET_HOURS.stop} o'clock UTC."

    def should_update(self, changes: Sequence[Change]) -> bool:
        return self._now().hour in QUIET_HOURS


class Migrating:
    """The usual update, with a migration right before the first container is replaced.

    When the update fails later, the migration is taken back before the old version serves again.
    """

    migration = Command(
        argv=("/bin/migrate", "up"), undo=("/bin/migrate", "down"), service="db", timeout_seconds=30
    )

    def should_update(self, changes: Sequence[Change]) -> bool:
        return bool(changes)

    def execute(self, situation: Situation) -> Plan:
        plan = usual_plan(situation)
        place = next((at for at, step in enumerate(plan.steps) if is_touching(step)), None)
        if situation.is_first or place is None:  # an empty database is made by the application itself
            return plan
        migrate = run_step("migrate", self.migration, "the new version needs the new tables")
        return Plan(
            plan.strategy,
            (*plan.steps[:place], migrate, *plan.steps[place:]),
            plan.outage_seconds,
            plan.notes,
        )
