"""Runs dual-update for real and strikes it down at a chosen moment.

    python -m tests.integration.strike TALE POINT ARGUMENT...

An act is a call that changes something: the journal, the engine, compose, the checkout, a file. TALE is a
file that gets a line for each act that ended. POINT says when the blow falls:

    -                     never: the acts are only counted
    KILL:before:7         before the 7th act begins
    KILL:after:7          after it ended
    KILL:event:7:3        in the middle, at the 3rd thing that the engine says of the project meanwhile
    KILL:delay:7:0.25     in the middle, 0.25 seconds after it began

KILL ends the whole process group; INT, TERM and HUP are sent to the process alone. The program itself knows
nothing of all this: its adapters are wrapped here, and each call goes through to the real thing.
"""

import functools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TELLING = frozenset(
    {"create", "start", "kill", "die", "stop", "destroy", "rename", "connect", "disconnect", "tag", "untag"}
)
PROJECT_LABEL = "com.docker.compose.project"


@dataclass
class Striker:
    """Counts acts, and strikes."""

    tale: Path
    point: str
    project: str
    count: int = 0
    depth: int = 0
    heard: int = 0
    is_listening: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        parts = [] if self.point == "-" else self.point.split(":")
        self.blow, self.when, self.act = (parts[0], parts[1], int(parts[2])) if parts else ("", "", 0)
        self.rest = parts[3] if len(parts) > 3 else ""
        threading.Thread(target=self._listen, daemon=True).start()
        self.is_listening.wait(10)

    def wrap(self, kind: type, name: str) -> None:
        real: Callable[..., Any] = getattr(kind, name)

        @functools.wraps(real)
        def acted(itself: Any, *arguments: Any, **options: Any) -> Any:
            if self.depth:
                return real(itself, *arguments, **options)
            self.depth += 1
            try:
                return self._act(f"{kind.__name__}.{name}", real, itself, *arguments, **options)
            finally:
                self.depth -= 1

        setattr(kind, name, acted)

    def _act(self, what: str, real: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        self.count += 1
        number, heard, began = self.count, self.heard, time.monotonic()
        if self.act == number and self.when == "before":
            self.strike()
        if self.act == number and self.when == "delay":
            threading.Timer(float(self.rest), self.strike).start()
        try:
            return real(*arguments, **options)
        finally:
            said = " ".join(str(one) for one in arguments[1:] if isinstance(one, str | list | tuple))[:80]
            line = {"act": number, "what": what, "on": said, "events": self.heard - heard}
            with self.tale.open("a") as file:
                file.write(json.dumps({**line, "seconds": round(time.monotonic() - began, 3)}) + "\n")
            if self.act == number and self.when == "after":
                self.strike()

    def strike(self) -> None:
        if engine := os.environ.get("STRIKE_ENGINE"):  # an engine of our own dies too, and first
            from tests.integration.own_engine import kill

            kill(engine)
        if self.blow == "KILL":
            os.killpg(os.getpgrp(), signal.SIGKILL)
        os.kill(os.getpid(), getattr(signal, f"SIG{self.blow}"))

    def _listen(self) -> None:
        import docker

        client = docker.from_env()
        stream = client.events(decode=True)
        self.is_listening.set()
        begun = (0, 0)
        for event in stream:
            attributes = event.get("Actor", {}).get("Attributes", {})
            name = attributes.get("name", "")
            is_ours = attributes.get(PROJECT_LABEL) == self.project or self.project in name
            if event.get("Action") not in TELLING or not is_ours:
                continue
            self.heard += 1
            if begun[0] != self.count:
                begun = (self.count, self.heard - 1)
            is_now = self.count == self.act and self.depth > 0
            if self.when == "event" and is_now and self.heard - begun[1] == int(self.rest):
                self.strike()


def main() -> int:
    tale, point, *arguments = sys.argv[1:]
    from dual_update.adapters.checkout import GitCheckout
    from dual_update.adapters.disk import HostDisk
    from dual_update.adapters.docker import DockerEngine
    from dual_update.adapters.project import ComposeCli, ComposeWorkshop
    from dual_update.adapters.store import SqliteStore

    striker = Striker(Path(tale), point, os.environ["STRIKE_PROJECT"])
    acts = {
        SqliteStore: ("begin", "amend", "write", "finish", "seal_backup", "quarantine", "prune"),
        DockerEngine: ("tag", "untag", "stop", "start", "remove", "rename", "remove_network", "carry"),
        ComposeCli: ("up",),
        ComposeWorkshop: ("pull", "build"),
        GitCheckout: ("move",),
        HostDisk: ("write",),
    }
    for kind, names in acts.items():
        for name in names:
            striker.wrap(kind, name)
    from dual_update import __main__

    sys.argv = ["dual-update", *arguments]
    return __main__.main()


if __name__ == "__main__":
    sys.exit(main())
