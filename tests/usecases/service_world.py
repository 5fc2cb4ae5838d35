"""A world for the service: real memory, a clock that is set by hand, processes that end as they are told."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

from dual_update.adapters.store import SqliteStore
from dual_update.core.decision import Decision, ServiceDecision
from dual_update.core.errors import DualUpdateError
from dual_update.core.job import Ending, Job
from dual_update.core.permission import Permission
from dual_update.usecases.checking import Checked
from dual_update.usecases.looking import Look
from dual_update.usecases.service import Policy, Service, World

CLUSTER = "shop"
NOBODY_WAITS = Permission("wait", "AUTO_APPROVE is off, so it waits for a person.")
APPROVED = Permission("apply", "It is approved.")


class Wall:
    """Time that passes when it is told to. Its hands can be moved without time passing."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC).replace(microsecond=0)  # the memory has the host's clock
        self.passed = 0.0
        self.names = 0

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.passed

    def luck(self) -> float:
        return 0.5

    def name(self) -> str:
        self.names += 1
        return f"{self.names:012x}"

    def wait(self, seconds: float) -> None:
        self.passed += seconds
        self.at += timedelta(seconds=seconds)


class Processes:
    """Fits Hands. A started job ends at once as `endings` says, or `always`; without either it lives on."""

    def __init__(self) -> None:
        self.kept: dict[str, Job] = {}
        self.started: list[Job] = []
        self.endings: list[Ending | None] = []
        self.ended: dict[str, Ending] = {}
        self.alive: set[str] = set()
        self.complaint: DualUpdateError | None = None
        self.on_start: Any = None
        self.always: Ending | None = None

    def keep(self, job: Job) -> None:
        if self.complaint is not None:
            raise self.complaint
        self.kept[job.id] = job

    def start(self, job: Job) -> None:
        if self.complaint is not None:
            raise self.complaint
        self.started.append(job)
        if self.on_start is not None:
            self.on_start(job)
        if not self.endings and self.always is None:
            self.alive.add(job.id)
            return
        ending = self.endings.pop(0) if self.endings else self.always
        if ending is not None:
            self.ended[job.id] = ending

    def is_alive(self, job: str) -> bool:
        return job in self.alive

    def ending(self, job: str) -> Ending | None:
        return self.ended.get(job)

    def end(self, job: str, ending: Ending) -> None:
        self.ended[job] = ending

    def log(self, job: str, lines: int = 200) -> tuple[str, ...]:
        return ("roll web",) if any(one.id == job for one in self.started) else ()

    def jobs(self) -> tuple[Job, ...]:
        return tuple(reversed(self.kept.values()))

    def find(self, job: str) -> Job | None:
        return self.kept.get(job)


def looked(commit: str = "c" * 40, *, has_plan: bool = True, **more: Any) -> Look:
    """A look that found an image update, or nothing."""
    services = {"web": ServiceDecision("image_only", "roll", "web:1", "web:2")} if has_plan else {}
    decision = Decision(
        CLUSTER,
        "b" * 40,
        commit,
        "image_only" if has_plan else "none",
        "watchtower" if has_plan else "none",
        f"decision-{commit}",
        services,
    )
    step = {"op": "roll", "target": "web", "cause": "a new image", "undo": "back", "services": ["web"]}
    facts: dict[str, Any] = {
        "cluster": CLUSTER,
        "commit": commit,
        "decision": decision,
        "strategy": decision.strategy,
        "fingerprint": f"plan-{commit}",
        "steps": (step,) if has_plan else (),
        "is_news": has_plan,
        "is_base_deployed": True,
    }
    return Look(**{**facts, **more})


@dataclass
class Stage:
    """The world and how it answers: `found` is what a look finds, or the error that it ends in."""

    folder: Path
    policy: Policy = field(default_factory=Policy)
    found: Any = None
    wall: Wall = field(default_factory=Wall)
    processes: Processes = field(default_factory=Processes)
    lines: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    looks: int = 0
    memory: SqliteStore = field(init=False)
    reader: SqliteStore = field(init=False)

    def __post_init__(self) -> None:
        self.memory = SqliteStore(self.folder)
        self.reader = SqliteStore(self.folder)

    def service(self, **more: Any) -> Service:
        world = World(
            open_site=self.open_site,
            memory=self.memory,
            reader=self.reader,
            hands=self.processes,
            changes=self.reader.changes,
            wall=self.wall,
            zone=ZoneInfo,
            connect=lambda: None,
            log=lambda event, **fields: self.lines.append((event, fields)),
            check=self.check,
            observe=self.observe,
        )
        return Service(replace(world, **more), self.policy)

    @contextmanager
    def open_site(self, ref: str | None) -> Iterator[tuple[Any, str]]:
        if isinstance(self.found, DualUpdateError) and ref is None:
            raise self.found
        site = SimpleNamespace(cluster=CLUSTER, store=self.memory)
        yield site, "c" * 40

    def check(self, site: Any, commit: str, around: Any, earlier: Any) -> Checked:
        self.looks += 1
        if isinstance(self.found, Exception):
            raise self.found
        return self.found or Checked(looked(has_plan=False, is_news=False), Permission("never", "Nothing."))

    def observe(self, site: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        reading = {"name": "web", "service": "web", "good": True, "detail": "running"}
        return (
            {"cluster": CLUSTER, "commit": "b" * 40, "services": {}, "unfinished_run": None},
            {"schema": "x", "cluster": CLUSTER, "healthy": True, "readings": [reading]},
        )

    def ran(self, name: str, outcome: str | None = "succeeded", **more: Any) -> None:
        """A run of the history, as a deployment writes it."""
        record = {
            "run": name,
            "kind": "apply",
            "cluster": CLUSTER,
            "from": "a" * 40,
            "to": "b" * 40,
            "update_type": "image_only",
            "strategy": "watchtower",
            "reason": None,
            "started_at": self.wall.now().isoformat().replace("+00:00", "Z"),
            "duration_seconds": 1.5,
            "services": {},
            "steps": [],
        }
        self.memory.begin({**record, **more})
        self.memory.write(name, "roll", "web", "started")
        if outcome is not None:
            self.memory.write(name, "roll", "web", "finished")
            self.memory.finish(name, outcome, {})
