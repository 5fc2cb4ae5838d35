"""Messages about runs: what, where, result, link. Written to the outbox first, sent after, told once.

Nothing here can change a run: whoever ends one writes a row, and a deaf or slow address is met later.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from dual_update.core.errors import DualUpdateError
from dual_update.core.secrecy import masked
from dual_update.usecases.memory_ports import Outbox, Waiting
from dual_update.usecases.ports import Json

RETRY_SECONDS = (10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 10800.0)
"""Pauses between attempts: an address that is away for four hours still hears of everything."""

MOST_ATTEMPTS = len(RETRY_SECONDS) + 1
LEASE_SECONDS = 60.0
"""For so long a message belongs to the process that took it. An attempt is cut off well before."""

LONGEST_REASON = 800
"""Characters of a reason that a message quotes; the whole is behind the link."""

TITLES: Mapping[str, tuple[str, str]] = {
    "succeeded": ("updated", "success"),
    "rolled_back": ("the update failed and was taken back", "failure"),
    "refused": ("the update was refused; nothing was touched", "warning"),
    "rollback_failed": ("THE WAY BACK FAILED, a person is needed now", "failure"),
}
"""Outcome -> words and kind. A run that found nothing to do is no news."""

TITLES_OF_ROLLBACK: Mapping[str, tuple[str, str]] = {
    **TITLES,
    "succeeded": ("returned to what ran before", "success"),
    "rolled_back": ("the return failed and was taken back", "failure"),
    "refused": ("the return was refused; nothing was touched", "warning"),
}

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Message:
    """`kind` is success, failure, warning or info, as apprise knows them."""

    title: str
    body: str
    kind: str = "info"

    def to_json(self) -> dict[str, Any]:
        return {"title": self.title, "body": self.body, "kind": self.kind}


class Sender(Protocol):
    """Where messages go. An address is known by a hash: its URL holds tokens."""

    @property
    def addresses(self) -> Sequence[str]: ...
    def send(self, address: str, content: Mapping[str, Any]) -> str | None:
        """None when it was taken, else one line without a secret that says why not. Bounded in time."""
        ...


@dataclass(frozen=True)
class Courier:
    """Puts messages into the outbox and carries them out. `links` gives URLs for a run's record."""

    outbox: Outbox
    sender: Sender
    hidden: frozenset[str] = field(default=frozenset(), repr=False)
    links: Callable[[Json], Sequence[str]] = lambda _: ()
    now: Callable[[], float] = time.time

    def run_ended(self, record: Json) -> bool:
        """A message about a run that ended, unless there is nothing to tell or it was told already."""
        message = about_run(record, self.links(record))
        if message is None:
            return False
        self.tell(_name_of(record), message)
        return True

    def waits(self, cluster: str, fingerprint: str, update_type: str, commit: str, why: str) -> None:
        """A message about an update that waits for a person: once for what is wanted, by its fingerprint."""
        links = self.links({"run": "", "from": None, "to": commit})
        self.tell(f"waits:{cluster}:{fingerprint}", about_waiting(cluster, update_type, commit, why, links))

    def tell(self, name: str, message: Message) -> None:
        """A message under a name. Whoever tells it again by the same name tells nothing new."""
        clean = Message(self._clean(message.title, 200), self._clean(message.body, 4000), message.kind)
        self.outbox.put(name, self.sender.addresses, clean.to_json())

    def deliver(self, within_seconds: float) -> int:
        """Send what is due for as long as there is time. Returns how many were taken by their address."""
        end = self.now() + within_seconds
        count = 0
        while self.now() < end:
            waiting = self.outbox.take(self.sender.addresses, LEASE_SECONDS, self.now())
            if waiting is None:
                break
            count += self._attempt(waiting)
        return count

    def _attempt(self, waiting: Waiting) -> bool:
        error = self.sender.send(waiting.address, waiting.content)
        if error is None:
            self.outbox.sent(waiting.seq)
            return True
        self.outbox.failed(waiting.seq, self._clean(error, 300), self._retry_at(waiting.attempts))
        return False

    def _retry_at(self, attempts: int) -> float | None:
        return None if attempts >= MOST_ATTEMPTS else self.now() + RETRY_SECONDS[attempts - 1]

    def _clean(self, text: str, longest: int) -> str:
        found = _CONTROL.sub("", masked(text, self.hidden))
        return found if len(found) <= longest else f"{found[:longest]}…"


def _name_of(record: Json) -> str:
    """By this name a message is told once. A run has its own; an update that is tried again and again, and
    refused for the same reason each time (its image is not there yet), has one for them all."""
    if record.get("outcome") != "refused":
        return f"run:{record['run']}"
    facts = [record.get(key) for key in ("kind", "cluster", "to", "reason")]
    return f"refused:{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]}"


def about_run(record: Json, links: Iterable[str] = ()) -> Message | None:
    """What a person wants to know of a run that ended; None where that is nothing."""
    is_return = record.get("kind") == "rollback"
    titles = TITLES_OF_ROLLBACK if is_return else TITLES
    found = titles.get(str(record.get("outcome") or ""))
    if found is None:
        return None
    words, kind = found
    lines = [f"{_commit(record.get('from'))} -> {_commit(record.get('to'))}, {record.get('strategy') or '-'}"]
    seconds = record.get("duration_seconds")
    if isinstance(seconds, int | float):
        lines[0] += f", {seconds:.1f} s"
    if record.get("reason") and record["outcome"] != "succeeded":
        reason = " ".join(str(record["reason"]).split())
        lines.append(reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]}…")
    changed = _changed(record.get("services"))
    if changed and record["outcome"] == "succeeded":
        lines.append(f"Changed: {changed}")
    lines.append(f"Run {record['run']}")
    lines += links
    return Message(f"{record['cluster']}: {words}", "\n".join(lines), kind)


def about_waiting(
    cluster: str, update_type: str, commit: str, why: str, links: Iterable[str] = ()
) -> Message:
    """An update that nobody has approved yet."""
    kind = update_type.replace("_", " ")
    return Message(
        f"{cluster}: an update waits", "\n".join([f"{_commit(commit)}, {kind}", why, *links]), "info"
    )


def links_of(dashboard: str, server: str, repository: str) -> Callable[[Json], Sequence[str]]:
    """Where more is told of a run: its page, and what changed on GitHub, as far as either is known."""

    def links(record: Json) -> Sequence[str]:
        page = f"/runs/{record['run']}" if record["run"] else "/"
        found = [f"{dashboard}{page}"] if dashboard else []
        before, after = record.get("from"), record.get("to")
        if repository and before and after and before != after:
            found.append(f"{server}/{repository}/compare/{before}...{after}")
        elif repository and after:
            found.append(f"{server}/{repository}/commit/{after}")
        return found

    return links


def catch_up(courier: Courier, records: Iterable[Json]) -> int:
    """Messages about runs that others ended: a process of its own, a command without WEBHOOK_URL, or one that
    died between its last word and its message. Returns how many have something to tell."""
    return sum(courier.run_ended(record) for record in records)


def tell_quietly(courier: Courier, record: Json, say: Callable[[str], None], within_seconds: float) -> None:
    """For the end of a command: the run is over, and whatever happens here changes nothing about it."""
    try:
        if courier.run_ended(record):
            courier.deliver(within_seconds)
    except DualUpdateError as error:
        say(f"the message about this run could not be kept: {error.message}")


def _changed(services: object) -> str:
    if not isinstance(services, Mapping):
        return ""
    names = sorted(
        str(name)
        for name, one in services.items()
        if isinstance(one, Mapping) and one.get("action") not in {"none", "record", None}
    )
    shown = ", ".join(names[:10])
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown


def _commit(name: object) -> str:
    return str(name)[:12] if name else "nothing"
