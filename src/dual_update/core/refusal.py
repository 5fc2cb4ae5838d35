"""Why nothing was begun: what `apply` and `rollback` answer to machines when there was no run to report."""

from dataclasses import dataclass
from typing import Any

REFUSAL_SCHEMA = "dual-update/refusal/v1"


@dataclass(frozen=True)
class Refusal:
    """An error before any run. `runs` is the commit that the host knows to run and `run` the run that
    brought it; None where the host knows of none."""

    cluster: str
    wanted: str
    exit_code: int
    reason: str
    hint: str = ""
    runs: str | None = None
    run: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The JSON that machines read; its schema is shipped as refusal.schema.json."""
        return {
            "schema": REFUSAL_SCHEMA,
            "cluster": self.cluster,
            "wanted": self.wanted,
            "exit_code": self.exit_code,
            "reason": self.reason,
            "hint": self.hint,
            "runs": self.runs,
            "run": self.run,
        }
