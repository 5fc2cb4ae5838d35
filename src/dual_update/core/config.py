"""The policy of a cluster, as its owner wrote it in `.github/dual-update.yml`: frozen values with defaults.

Everything works without a config file; these defaults are what holds then. Reading, checking and
pointing at mistakes is `adapters/config.py`; the keys are documented in docs/configuration.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from dual_update.core.command import Command
from dual_update.core.rules import Impact

Mode = Literal["dual", "watchtower_only", "revamp_only"]
ScopeOfRevamp = Literal["cluster", "changed"]
Driver = Literal["runner", "service"]

CONFIG_PATH = ".github/dual-update.yml"
"""Where a repository keeps it."""


@dataclass(frozen=True)
class HttpCheck:
    """A URL of a service that must answer `status`, with `body` somewhere in it when one is given."""

    name: str
    service: str
    url: str
    status: int = 200
    body: str | None = None
    timeout_seconds: float = 5.0


@dataclass(frozen=True)
class TcpCheck:
    """A port of a service that must accept a connection."""

    name: str
    service: str
    host: str
    port: int
    timeout_seconds: float = 5.0


Check = HttpCheck | TcpCheck


@dataclass(frozen=True)
class Health:
    """When a service counts as well: every check passes, and keeps passing for `settle_seconds`,
    before `deadline_seconds` are over. `services` holds other deadlines by service name."""

    settle_seconds: float = 20.0
    deadline_seconds: float = 120.0
    services: Mapping[str, float] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()

    def deadline_of(self, service: str) -> float:
        """Seconds that this service has to become healthy."""
        return self.services.get(service, self.deadline_seconds)


@dataclass(frozen=True)
class Retention:
    """How many finished runs and how many backups are kept. The newest are kept."""

    runs: int = 200
    backups: int = 10


@dataclass(frozen=True)
class Watchtower:
    """Where Watchtower's HTTP API is, and the file on the host that holds its token."""

    url: str
    token_file: str | None = None


@dataclass(frozen=True)
class Hook:
    """A command that runs around an update, with the command that takes it back."""

    name: str
    command: Command


@dataclass(frozen=True)
class Hooks:
    """`before` the first container is touched, and `after` every service is well."""

    before: tuple[Hook, ...] = ()
    after: tuple[Hook, ...] = ()


@dataclass(frozen=True)
class StrategyFile:
    """A strategy that lies in the repository: a class in a Python file."""

    file: str
    class_name: str


@dataclass(frozen=True)
class Config:
    """One cluster's policy. An empty `cluster` means the compose project's name; no `compose_files`
    means the standard ones. `rules` raises or lowers judgements by rule id. `windows` are the hours in which
    the service may apply unasked (core/schedule.py); without them: any. `strategy` names one of the entry
    point group `dual_update.strategies`, or a file of the repository; without it the Decision chooses."""

    cluster: str = ""
    compose_files: tuple[str, ...] = ()
    deploy_branch: str = "main"
    mode: Mode = "dual"
    scope: ScopeOfRevamp = "cluster"
    rules: Mapping[str, Impact] = field(default_factory=dict)
    health: Health = field(default_factory=Health)
    driver: Driver = "runner"
    windows: tuple[str, ...] = ()
    retention: Retention = field(default_factory=Retention)
    watchtower: Watchtower | None = None
    hooks: Hooks = field(default_factory=Hooks)
    strategy: str | StrategyFile = ""


@dataclass(frozen=True)
class ClusterEntry:
    """A line of multi-cluster.yml. Driven by the API at `url`, by a runner with these labels, or from here
    where its checkout at `path` lies on this machine.

    `token_env` names the variable (or secret) that holds the API's token, `state_dir` is where that cluster
    remembers, and `windows` are the hours in which a roll-out may begin there.
    """

    name: str
    url: str | None = None
    auto_approve: bool = False
    stage: int = 0
    runner: tuple[str, ...] = ()
    environment: str | None = None
    compose_files: tuple[str, ...] = ()
    path: str = ""
    health: Health | None = None
    token_env: str = ""
    state_dir: str = ""
    windows: tuple[str, ...] = ()


@dataclass(frozen=True)
class StageEntry:
    """How the clusters of one stage go: at most `batch` at once, and `bake_seconds` well before the next."""

    stage: int
    name: str = ""
    batch: int = 1
    bake_seconds: float = 0.0


PATIENCE_SECONDS = 300.0
"""How long a cluster in play may stay silent before that counts as a failure."""

BUSY_SECONDS = 7200.0
"""How long one may be at work without an end before that counts as a failure. Pulling takes its time."""


@dataclass(frozen=True)
class MultiCluster:
    """The clusters of a roll-out, in the order they were written, and how their stages go."""

    clusters: tuple[ClusterEntry, ...] = ()
    stages: tuple[StageEntry, ...] = ()
    on_failure: Literal["stop", "rollback_all"] = "stop"
    patience_seconds: float = PATIENCE_SECONDS
    busy_seconds: float = BUSY_SECONDS
