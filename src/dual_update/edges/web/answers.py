"""The shapes of the API's answers, for its OpenAPI document; tests hold the answers to them."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

JobState = Literal["queued", "running", "ended"]
JobKind = Literal["check", "apply", "rollback", "recover"]


class Open(BaseModel):
    """Further fields may come with a newer version."""

    model_config = ConfigDict(extra="allow")


class Job(Open):
    """Something that was asked for. `run` names the run in the history, once it is known."""

    id: str
    kind: JobKind
    by: str
    state: JobState
    asked_at: str
    ended_at: str | None
    sentence: str | None
    exit_code: int | None
    run: str | None


class Container(Open):
    container: str
    state: str
    health: str | None
    image: str
    image_id: str
    digest: str | None = None
    started_at: str | None
    restarts: int


class Check(Open):
    """The newest look for updates."""

    at: str
    outcome: Literal["ok", "failed"]
    sentence: str


class Short(Open):
    """What is pending, in short. `answer`: it is applied, waits for somebody or something, or never is."""

    update_type: str
    commit: str
    fingerprint: str
    plan_fingerprint: str
    answer: Literal["apply", "wait", "never"]
    why: str
    issue_url: str | None


class Pause(Open):
    since: str
    until: str | None
    reason: str
    by: str


class Paused(Open):
    paused: Pause | None


class Status(Open):
    """The cluster as it was last observed, and what the service is about."""

    schema_: str = Field(alias="schema")
    cluster: str | None
    services: dict[str, list[Container]]
    complaint: str | None = Field(description="Why the cluster could not be looked at")
    healthy: bool | None
    last_check: Check | None
    next_check_at: str
    pending: Short | None
    drift: list[str]
    job: Job | None
    queued: int
    auto_approve: bool
    paused: Pause | None


class Gate(Open):
    answer: Literal["apply", "wait", "never"]
    why: str


class Pending(Open):
    """The pending update. `decision` is what `detect --format json` prints (report.schema.json)."""

    schema_: str = Field(alias="schema")
    cluster: str
    commit: str
    update_type: str
    strategy: str
    fingerprint: str
    plan_fingerprint: str
    decision: dict[str, Any]
    steps: list[dict[str, Any]]
    outage_seconds: dict[str, float]
    notes: list[str]
    needs_person: list[str]
    drift: list[str]
    accepts_drift: bool
    quarantined: str | None
    gate: Gate
    issue_url: str | None


class Plan(Open):
    pending: Pending | None


class Health(Open):
    """`healthy` is null where nobody could look."""

    status: Literal["ok"]
    healthy: bool | None


class Line(Open):
    run: str
    kind: str | None
    cluster: str
    outcome: str | None
    reason: str | None
    update_type: str | None
    strategy: str | None
    started_at: str | None
    duration_seconds: float | None


class History(Open):
    """A page of runs. `older`, given back as `before`, leads to the next one."""

    runs: list[Line]
    page: int
    size: int
    has_more: bool
    older: str | None


class Entry(Open):
    seq: int
    op: str
    target: str
    phase: str
    at: str
    detail: str


class Run(Open):
    """A job with its run, or one of them. `journal` grows while it runs."""

    id: str
    state: JobState
    kind: str | None
    run: str | None
    job: Job | None
    cluster: str | None
    outcome: str | None
    reason: str | None
    journal: list[Entry]
    log: list[str]
