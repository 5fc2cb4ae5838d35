"""A job of the service: something it was asked to do, from the request to its end."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

JobKind = Literal["check", "apply", "rollback", "recover"]
JobState = Literal["queued", "running", "ended"]


@dataclass(frozen=True)
class Job:
    """`expect` is the fingerprint that was agreed to, `ref` the commit, `to_run` the run to go back before.

    `is_by_person`: a person read the plan and said yes. `key` is the caller's own name for the request: the
    same key is the same job. `run` is the run in the history, once it is known. Moments are RFC 3339.
    """

    id: str
    kind: JobKind
    by: str
    asked_at: str
    state: JobState = "queued"
    expect: str = ""
    ref: str = ""
    to_run: str = ""
    is_by_person: bool = False
    accepts_drift: bool = False
    key: str = ""
    run: str = ""
    exit_code: int | None = None
    sentence: str = ""
    ended_at: str = ""

    def to_json(self) -> dict[str, Any]:
        """Everything, for a file."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Job":
        """The job that `to_json` wrote. Raises TypeError for anything else."""
        return cls(**data)


@dataclass(frozen=True)
class Ending:
    """How a job's process ended. `run` is empty where nothing was recorded."""

    exit_code: int
    sentence: str
    run: str = ""
    outcome: str = ""
