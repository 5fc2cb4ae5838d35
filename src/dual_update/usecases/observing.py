"""What runs and how it is, kept fresh beside the work: whoever asks gets the newest answer at once."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from dual_update.core.errors import DualUpdateError
from dual_update.usecases.memory_ports import Notes, Reading
from dual_update.usecases.service_ports import OpenSite, Wall
from dual_update.usecases.site import Site
from dual_update.usecases.status import health, status

FRESH_SECONDS = 5.0
"""What was observed longer ago is observed again when somebody asks."""

OBSERVE_SECONDS = 60.0
"""Between two observations that nobody asked for."""

NOTED_SECONDS = 300.0
"""A service's health is written down when it changed, and at least this often."""

NOBODY: Mapping[str, Any] = {
    "schema": "dual-update/health/v1",
    "cluster": None,
    "healthy": None,
    "readings": [],
}


Observed = tuple[Mapping[str, Any], Mapping[str, Any]]
"""Status and health of a cluster."""


def observe(site: Site) -> Observed:
    """Ask the engine for both, with the digest by which a registry knows each image."""
    return _with_digests(status(site), site), health(site)


class Observer:
    """One thread that looks at the engine. A failed look leaves earlier answers, and says so."""

    def __init__(
        self, open_site: OpenSite, ask: Callable[[Site], Observed], notes: Notes, wall: Wall
    ) -> None:
        self._open_site = open_site
        self._ask = ask
        self._notes = notes
        self._wall = wall
        self._lock = threading.Lock()
        self._again = threading.Event()
        self._is_stopping = False
        self._status: Mapping[str, Any] | None = None
        self._health: Mapping[str, Any] = NOBODY
        self._observed_at = float("-inf")
        self._noted: dict[str, tuple[bool, float]] = {}
        self._thread = threading.Thread(target=self._watch, name="observer", daemon=True)
        self.complaint = ""
        self.revision = 0

    def start(self) -> None:
        self._again.set()
        self._thread.start()

    def stop(self) -> None:
        self._is_stopping = True
        self._again.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def look_again(self) -> None:
        """Something has changed: observe as soon as may be."""
        self._again.set()

    def status(self) -> Mapping[str, Any] | None:
        """The newest answer; None before the first look succeeded."""
        self.refresh_if_stale()
        return self._status

    def health(self) -> Mapping[str, Any]:
        self.refresh_if_stale()
        return self._health

    def refresh_if_stale(self) -> None:
        """Somebody asks: what was observed long ago is observed again, beside."""
        if self._wall.monotonic() - self._observed_at > FRESH_SECONDS:
            self._again.set()

    def _watch(self) -> None:
        while True:
            self._again.wait(OBSERVE_SECONDS)
            self._again.clear()
            if self._is_stopping:
                return
            self.observe()

    def observe(self) -> None:
        """Look once. Never raises: a bug must not end the thread that everybody's answers come from."""
        now: Mapping[str, Any] | None = None
        well: Mapping[str, Any] = NOBODY
        complaint = ""
        try:
            with self._open_site("HEAD") as (site, _):
                now, well = self._ask(site)
        except DualUpdateError as error:
            complaint = error.message
        except Exception as error:
            complaint = f"This is a bug ({type(error).__name__})."
        with self._lock:
            if now is not None:
                at = self._wall.now().astimezone(UTC)
                self._status = {**now, "observed_at": _rfc3339(at)}
                self._health = well
                self._note(well, at.timestamp())
            elif complaint:
                self._health = {**self._health, "healthy": None}
            self.complaint = complaint
            self._observed_at = self._wall.monotonic()
            self.revision += 1

    def _note(self, well: Mapping[str, Any], at: float) -> None:
        cluster = str(well["cluster"])
        due: list[Reading] = []
        for service, (is_good, detail) in by_service(well["readings"]).items():
            before, noted_at = self._noted.get(service, (None, float("-inf")))
            if before is not is_good or not 0 <= at - noted_at < NOTED_SECONDS:
                due.append(Reading(cluster, service, at, is_good, detail))
                self._noted[service] = (is_good, at)
        with suppress(DualUpdateError):  # a full disk: figures miss a point, nothing else
            self._notes.note_health(due)


def by_service(readings: Sequence[Mapping[str, Any]]) -> dict[str, tuple[bool, str]]:
    """Service -> is all of it well, and the first complaint."""
    found: dict[str, tuple[bool, str]] = {}
    for one in readings:
        was_good, detail = found.get(one["service"], (True, ""))
        is_good = was_good and bool(one["good"])
        found[one["service"]] = (is_good, detail if detail or is_good else str(one["detail"]))
    return found


def _with_digests(now: dict[str, Any], site: Site) -> dict[str, Any]:
    """The status with the digest by which a registry knows each running image."""
    known: dict[str, str | None] = {}
    for containers in now["services"].values():
        for one in containers:
            image = str(one["image_id"])
            if image not in known:
                try:
                    names = [one.rpartition("@")[2] for one in site.engine.repo_digests(image)]
                    known[image] = next(iter(names), None)
                except DualUpdateError:  # the image was removed under its container
                    known[image] = None
            one["digest"] = known[image]
    return now


def _rfc3339(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
