"""Carries messages about runs out of the outbox, beside the work: a deaf address holds nothing up."""

import threading
from collections.abc import Callable
from typing import Any

from dual_update.core.errors import DualUpdateError
from dual_update.usecases.memory_ports import History
from dual_update.usecases.notify import Courier, catch_up
from dual_update.usecases.service_ports import Memory

DELIVER_SECONDS = 30.0
"""How long one round may take; what is left waits for the next."""

ROUND_SECONDS = 10.0
LOOK_BACK_SECONDS = 3600.0
"""Runs that began so long ago may still want their message: whoever ended them died, or knew no address."""

NEWEST = 50


class Postman:
    """One thread. Nothing it does or fails to do reaches a deployment."""

    def __init__(self, courier: Courier, memory: Memory, log: Callable[..., None]) -> None:
        self._courier = courier
        self._memory = memory
        self._log = log
        self._rung = threading.Event()
        self._is_stopping = False
        self._complaint = ""
        self._dead = 0
        self._told: dict[str, Any] = {"waiting": 0, "dead": 0, "error": None}
        self.revision = 0
        self._thread = threading.Thread(target=self._go_round, name="postman", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def waits(self, cluster: str, fingerprint: str, update_type: str, commit: str, why: str) -> None:
        """Write down that an update waits for a person. Raises WorldError when the disk is full."""
        self._courier.waits(cluster, fingerprint, update_type, commit, why)
        self._rung.set()

    def ring(self) -> None:
        """A run has ended."""
        self._rung.set()

    def stop(self) -> None:
        """What was not sent waits in the outbox."""
        self._is_stopping = True
        self._rung.set()

    def _go_round(self) -> None:
        while not self._is_stopping:
            try:
                self.round()
                self._complaint = ""
            except Exception as error:  # a bug in a message must not end the thread that sends the others
                what = error.message if isinstance(error, DualUpdateError) else type(error).__name__
                if what != self._complaint:  # said once, not every ten seconds
                    self._log("messages wait", level="warning", what=what)
                self._complaint = what
            self._rung.wait(ROUND_SECONDS)
            self._rung.clear()

    def round(self) -> int:
        """Write down messages that are missing, and send what is due. Returns how many were taken."""
        since = self._courier.now() - LOOK_BACK_SECONDS
        names = ended_since(self._memory.history, since)
        records = (self._memory.run(name) for name in names)
        catch_up(self._courier, [one for one in records if one is not None])
        count = self._courier.deliver(DELIVER_SECONDS)
        self._look_back()
        return count

    def to_json(self) -> dict[str, Any]:
        """How many messages wait, how many were given up, and why the newest of these was."""
        return dict(self._told)

    def _look_back(self) -> None:
        """One that was given up is said once, in the log; and for good in the service's status."""
        state = self._courier.outbox.state()
        if state.dead > self._dead and self.revision:
            self._log("a message was given up", level="error", what=state.error)
        self._dead = state.dead
        told = {"waiting": state.waiting, "dead": state.dead, "error": state.error or None}
        if told != self._told or not self.revision:
            self._told = told
            self.revision += 1


def ended_since(history: History, since: float) -> list[str]:
    """Runs that began since then and have ended, oldest first."""
    lines = history.page(since=since, limit=NEWEST).lines
    return [str(one["run"]) for one in reversed(lines) if one["outcome"] is not None]
