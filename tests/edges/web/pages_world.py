"""A made-up cluster for pages: its service answers as the real one does and remembers what was asked."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from dual_update.adapters.store import SqliteStore
from dual_update.core.errors import NotNow, UsageError
from dual_update.usecases.memory_ports import Reading

TOKEN = "a-token-for-tests"
FINGERPRINT = "ab" * 32
_luck = random.Random(7)

Json = dict[str, Any]


def hexadecimal(digits: int) -> str:
    return f"{_luck.getrandbits(4 * digits):0{digits}x}"


COMMITS = [hexadecimal(40) for _ in range(200)]


def ago(**span: float) -> str:
    moment = datetime.now(UTC) - timedelta(**span)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def container(image: str, health: str | None = "healthy", state: str = "running", days: float = 3) -> Json:
    return {
        "container": "shop-web-1",
        "state": state,
        "health": health,
        "image": image,
        "image_id": f"sha256:{hexadecimal(64)}",
        "digest": f"sha256:{hexadecimal(64)}",
        "started_at": ago(days=days),
        "restarts": 0,
    }


def services() -> Json:
    registry = "registry.example.org/shop"
    return {
        "api": [container(f"{registry}/api:2.3.1"), container(f"{registry}/api:2.3.1")],
        "db": [container("postgres:16.4", days=40)],
        "mail": [container(f"{registry}/mail:1.9", health=None, days=9)],
        "web": [container(f"{registry}/web:5.0.2")],
    }


def step(op: str, target: str, cause: str, undo: str, *names: str) -> Json:
    return {"op": op, "target": target, "cause": cause, "undo": undo, "services": list(names)}


def plan(**fields: Any) -> Json:
    """An update of images and structure that waits."""
    registry = "registry.example.org/shop"
    return {
        "schema": "dual-update/pending/v1",
        "cluster": "shop",
        "commit": COMMITS[0],
        "update_type": "mixed",
        "strategy": "revamp",
        "plan_fingerprint": FINGERPRINT,
        "decision": {
            "base": COMMITS[1],
            "head": COMMITS[0],
            "update_type": "mixed",
            "services": {
                "api": {
                    "action": "roll",
                    "image": {"before": f"{registry}/api:2.3.1", "after": f"{registry}/api:2.4.0"},
                    "reasons": ["image: the image reference changed"],
                },
                "cache": {
                    "action": "create",
                    "image": {"before": None, "after": "redis:7.4"},
                    "reasons": ["cache: the service is new"],
                },
                "web": {
                    "action": "recreate",
                    "image": None,
                    "reasons": [
                        "environment.FEATURE_CART: an environment variable changed",
                        "ports: published ports changed",
                    ],
                },
                "db": {"action": "none"},
                "mail": {"action": "none"},
            },
        },
        "steps": [
            step("pull", "api and cache", "images are here before anything stops", "names point as before"),
            step("keep", "running images", "the way back must not depend on a tag", "nothing to undo"),
            step("backup", "compose and env files", "they can be restored by hand", "the backup stays"),
            step(
                "checkout", COMMITS[0][:12], "compose works from this commit's files", "back to the old one"
            ),
            step("revamp", "cluster", "ports changed", "the old ones return", "api", "cache", "db", "web"),
            step("prove", "cluster", "every service is well and stays so", "it only looks"),
            step("audit", "cluster", "success is said by the engine", "it only looks"),
        ],
        "outage_seconds": {"api": 3.1, "web": 4.2},
        "notes": ["what a new version writes into volumes is not taken back by a rollback."],
        "needs_person": [],
        "drift": [],
        "quarantined": None,
        "gate": {"answer": "wait", "why": "A commit did not come through a pull request."},
        "issue_url": None,
        **fields,
    }


REASONS = {
    "rolled_back": "web: not healthy after 20 s; its last words: cannot bind 0.0.0.0:80",
    "refused": "The image registry.example.org/shop/api:2.4 is not in its registry.",
    "rollback_failed": "web did not become well. Then: the engine does not answer.",
}


def past_run(number: int) -> Json:
    """One of a long history; the same number is the same run."""
    luck = random.Random(number)
    outcome = luck.choices([*REASONS, "unchanged", "succeeded"], [12, 6, 1, 10, 71])[0]
    update_type = luck.choice(["image_only", "image_only", "structural", "mixed"])
    started = datetime.now(UTC) - timedelta(days=number * 0.9, hours=luck.randint(1, 12))
    return {
        "run": f"20261101T000000Z-{number:06x}",
        "kind": "apply",
        "cluster": "shop",
        "outcome": outcome,
        "reason": REASONS.get(outcome),
        "update_type": update_type,
        "strategy": "watchtower" if update_type == "image_only" else "revamp",
        "from": COMMITS[number + 1],
        "to": COMMITS[number],
        "started_at": started.isoformat(),
        "duration_seconds": 0.3 if outcome == "unchanged" else luck.lognormvariate(3.2, 0.5),
    }


def journal(*lines: tuple[str, str, str, float]) -> list[Json]:
    return [
        {"seq": seq, "op": op, "target": target, "phase": phase, "at": ago(seconds=100 - at), "detail": ""}
        for seq, (op, target, phase, at) in enumerate(lines, 1)
    ]


JOURNAL = (
    ("pull", "api and web", "started", 0.0),
    ("pull", "api and web", "finished", 4.2),
    ("backup", "compose and env files", "started", 4.4),
    ("backup", "compose and env files", "finished", 4.6),
    ("recreate", "api and web", "started", 5.3),
    ("recreate", "api and web", "finished", 9.9),
    ("prove", "cluster", "started", 10.0),
)


def result(action: str, before: str, after: str) -> Json:
    return {"action": action, "image_id_before": before, "image_id_after": after, "verified": True}


@dataclass
class PagesService:
    """Fits what pages ask of the service."""

    memory: SqliteStore
    pending: Json | None = field(default_factory=plan)
    running: Json = field(default_factory=services)
    runs: list[Json] = field(default_factory=lambda: [past_run(number) for number in range(60)])
    facts: Json = field(default_factory=dict)
    job: Json | None = None
    readings: list[Json] = field(default_factory=list)
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    more: list[tuple[str, str, str, float]] = field(default_factory=list)
    revision: int = 0

    def looks(self) -> list[Reading]:
        """A look at each service every three hours for a month; api and web had bad ones."""
        luck = random.Random(11)
        now = datetime.now(UTC).timestamp()
        return [
            Reading(
                "shop", name, now - 3 * 3600 * number, luck.random() > {"api": 0.03, "web": 0.02}.get(name, 0)
            )
            for name in self.running
            for number in range(8 * 30)
        ]

    def status(self) -> Json:
        return {
            "schema": "dual-update/service/v1",
            "cluster": "shop",
            "deployed": COMMITS[1],
            "services": self.running,
            "last_run": self.runs[0] if self.runs else None,
            "unfinished_run": None,
            "complaint": None,
            "healthy": all(one["good"] for one in self.readings),
            "last_check": {"at": ago(minutes=4), "outcome": "done", "sentence": "mixed update pending"},
            "next_check_at": ago(minutes=-56),
            "job": self.job,
            "queued": 0,
            "paused": self.paused(),
            **self.facts,
        }

    def paused(self) -> Json | None:
        found = self.memory.notes.paused("shop")
        if found is None:
            return None
        until = datetime.fromtimestamp(found.until, UTC).isoformat() if found.until else None
        return {"since": ago(), "until": until, "reason": found.reason, "by": found.by_whom}

    def clusters(self) -> tuple[str, ...]:
        return ("shop",)

    def touch(self) -> None:
        return

    def pause(self, by: str = "api", reason: str = "", until: datetime | None = None) -> Json:
        self.memory.notes.pause("shop", reason, by, until.timestamp() if until else None)
        return {"paused": self.paused()}

    def resume(self, by: str = "api") -> Json:
        self.memory.notes.resume("shop")
        return {"paused": None}

    def plan(self) -> Json | None:
        return self.pending

    def health(self) -> Json:
        return {"healthy": all(one["good"] for one in self.readings), "readings": self.readings}

    def history(
        self,
        cluster: str = "",
        outcome: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        page: int = 1,
        size: int = 50,
        before: str = "",
    ) -> Json:
        fitting = [
            one
            for one in self.runs
            if (not outcome or one["outcome"] == outcome)
            and (not cluster or one["cluster"] == cluster)
            and (since is None or datetime.fromisoformat(one["started_at"]) >= since)
            and (until is None or datetime.fromisoformat(one["started_at"]) < until)
        ]
        first = int(before or (page - 1) * size)
        has_more = len(fitting) > first + size
        return {
            "runs": fitting[first : first + size],
            "page": page,
            "size": size,
            "has_more": has_more,
            "older": str(first + size) if has_more else None,
        }

    def run(self, name: str) -> Json:
        if name == UNDER_WAY["id"]:  # a job is known after its end, too
            job = self.job or {**UNDER_WAY, "state": "ended", "exit_code": 0}
            return {
                **past_run(0),
                "id": name,
                "job": job,
                "state": job["state"],
                "outcome": None,
                "reason": None,
                "duration_seconds": None,
                "services": None,
                "steps": None,
                "journal": journal(*JOURNAL, *self.more),
                "log": self.log,
                **self.facts,
            }
        found = next((one for one in self.runs if one["run"] == name), None)
        if found is None:
            raise UsageError(f"There is no run {name}.")
        return {
            "id": name,
            "job": None,
            "state": "ended",
            "journal": journal(*JOURNAL, ("prove", "cluster", "finished", 22.0)),
            "log": self.log,
            "steps": [],
            "services": {
                "api": result("roll", f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"),
                "db": result("none", f"sha256:{'d' * 64}", f"sha256:{'d' * 64}"),
            },
            **found,
        }

    def events(self, name: str, after: int = 0) -> tuple[list[Json], bool]:
        run = self.run(name)
        return [one for one in run["journal"] if one["seq"] > after], run["state"] == "ended"

    def check(self, by: str = "api") -> Json:
        self.asked.append(("check", by))
        return {"id": "c" * 12, "run": None}

    def apply(self, fingerprint: str, by: str = "api", *, is_by_person: bool = False, key: str = "") -> Json:
        if self.pending is None or fingerprint != self.pending["plan_fingerprint"]:
            raise NotNow(
                "What is pending has another fingerprint.", hint="Look at the plan and decide again."
            )
        self.asked.append(("apply", fingerprint, by, is_by_person))
        return {"id": "a" * 12, "run": None}

    def rollback(self, run: str = "", by: str = "api", *, key: str = "") -> Json:
        self.asked.append(("rollback", run, by))
        return {"id": "b" * 12, "run": None}


def fleet() -> Json:
    """What `GET /api/clusters` answers in the middle of a roll-out."""

    def cluster(name: str, stage: int, health: str, commit: int, **fields: Any) -> Json:
        return {
            "name": name,
            "stage": stage,
            "reachable": health != "unknown",
            "version": COMMITS[commit] if health != "unknown" else None,
            "drift": [],
            "health": health,
            "detail": None,
            "under_way": False,
            "last_run": {"outcome": "succeeded", "started_at": ago(minutes=7)},
            **fields,
        }

    return {
        "clusters": [
            cluster("staging", 0, "well", 0),
            cluster("production-eu", 1, "well", 1, under_way=True),
            cluster("production-us", 1, "not well", 1, detail="web: unhealthy since 20 s"),
            cluster(
                "production-asia", 2, "unknown", 1, detail="It does not answer.", last_run=None, drift=None
            ),
        ],
        "versions": sorted(COMMITS[:2]),
        "rollout": {
            "state": "under_way",
            "target": COMMITS[0],
            "reason": None,
            "stages": [
                {"stage": number, "name": name}
                for number, name in enumerate(("canary", "first half", "rest"))
            ],
        },
    }


UNDER_WAY: Mapping[str, Any] = {
    "id": "a" * 12,
    "kind": "apply",
    "by": "dashboard",
    "state": "running",
    "asked_at": ago(seconds=30),
    "sentence": None,
    "exit_code": None,
    "run": None,
}
