"""What a page calls things: every state is a word and a tone, and a tone has a shape and a colour."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from dual_update.core.figures import moment

Tone = Literal["good", "bad", "warn", "busy", "idle"]

NOTHING = "—"
"""Stands where there is no value."""

_WORST: tuple[Tone, ...] = ("bad", "warn", "busy", "good", "idle")


@dataclass(frozen=True)
class Mark:
    """A state as a page shows it. The tone chooses shape and colour; the word says the same alone."""

    tone: Tone
    word: str


OUTCOMES: Mapping[str, Mark] = {
    "succeeded": Mark("good", "Succeeded"),
    "unchanged": Mark("idle", "Nothing to do"),
    "rolled_back": Mark("warn", "Rolled back"),
    "rollback_failed": Mark("bad", "Rollback failed"),
    "refused": Mark("warn", "Refused"),
}

UPDATE_TYPES: Mapping[str, str] = {
    "none": "Nothing to do",
    "image_only": "New images",
    "structural": "Structure changes",
    "mixed": "Images and structure change",
}

STRATEGIES: Mapping[str, str] = {
    "watchtower": "service by service",
    "revamp": "full revamp",
    "rollback": "rollback",
    "none": "nothing touched",
}

ACTIONS: Mapping[str, str] = {
    "none": "stays as it is",
    "record": "is written down, stays as it is",
    "scale": "gets more or fewer containers",
    "poke": "gets the new image, replaced by Watchtower",
    "roll": "gets the new image",
    "rebuild": "is built anew and replaced",
    "recreate": "is made anew",
    "create": "is new and gets started",
    "remove": "is stopped and removed",
}

OPS: Mapping[str, str] = {
    "pull": "Fetch",
    "build": "Build",
    "keep": "Keep",
    "backup": "Back up",
    "checkout": "Move the checkout to",
    "retire": "Stop the old project",
    "remove": "Remove",
    "roll": "Replace",
    "beside": "Replace side by side",
    "poke": "Ask Watchtower to replace",
    "recreate": "Recreate",
    "create": "Start",
    "scale": "Scale",
    "heal": "Heal",
    "revamp": "Replace every container of the",
    "prove": "Prove",
    "audit": "Audit",
    "tidy": "Tidy",
    "restore": "Restore",
    "retag": "Point back the names of",
    "return": "Return",
}

PHASES: Mapping[str, Mark] = {
    "started": Mark("busy", "under way"),
    "finished": Mark("good", "done"),
    "failed": Mark("bad", "failed"),
}


def outcome_mark(outcome: object, kind: object = "apply") -> Mark:
    """How a run ended, or that it has not."""
    if not outcome:
        return Mark("busy", "Under way")
    if kind == "rollback" and outcome == "succeeded":
        return Mark("good", "Taken back")
    return OUTCOMES.get(str(outcome), Mark("idle", str(outcome)))


def container_mark(state: str, health: str | None, exit_code: int | None = None) -> Mark:
    """How a container is, by the engine's word on its state and its health check."""
    if state == "running":
        if health == "unhealthy":
            return Mark("bad", "Unhealthy")
        if health == "starting":
            return Mark("busy", "Starting")
        return Mark("good", "Healthy" if health else "Running")
    if state == "exited" and exit_code == 0:
        return Mark("idle", "Ended")
    words: Mapping[str, Mark] = {
        "exited": Mark("bad", "Stopped"),
        "dead": Mark("bad", "Dead"),
        "restarting": Mark("warn", "Restarting"),
        "paused": Mark("warn", "Paused"),
        "created": Mark("busy", "Created"),
        "removing": Mark("busy", "Leaving"),
    }
    return words.get(state, Mark("warn", state or "Unknown"))


def worst(marks: Iterable[Mark]) -> Mark:
    """The one that a person has to know of."""
    ordered = sorted(marks, key=lambda one: _WORST.index(one.tone))
    return ordered[0] if ordered else Mark("idle", "Nothing runs")


def step_words(op: str, target: str) -> str:
    """A step in words; its target is foreign text and stays as it is."""
    return f"{OPS.get(op, op)} {target}".strip()


@dataclass(frozen=True)
class When:
    """A moment three ways: for machines, as a person reads it at a glance, and exactly."""

    iso: str
    relative: str
    exact: str


def when(text: Any, now: datetime) -> When | None:
    """None for what is no time."""
    at = text if isinstance(text, datetime) else moment(text)
    if at is None or at.year < 1971:  # the engine's "never" is year 1
        return None
    exact = exactly(at.timestamp())
    return When(at.isoformat(), relative((now - at).total_seconds()), exact)


def exactly(seconds: float) -> str:
    """Seconds since 1970 as a date and a time."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%-d %B %Y, %H:%M:%S UTC")


_UNITS: tuple[tuple[float, float, str], ...] = (
    (90, 1, "second"),
    (90 * 60, 60, "minute"),
    (36 * 3600, 3600, "hour"),
    (14 * 86400, 86400, "day"),
    (60 * 86400, 7 * 86400, "week"),
    (730 * 86400, 30.4375 * 86400, "month"),
    (float("inf"), 365.25 * 86400, "year"),
)


def relative(seconds: float) -> str:
    """How long ago, or in how long, roughly: `3 hours ago`, `in 5 minutes`."""
    size = abs(seconds)
    if size < 5:
        return "just now"
    count, unit = next((round(size / one), name) for limit, one, name in _UNITS if size < limit)
    words = f"{count} {unit}" if count == 1 else f"{count} {unit}s"
    return f"{words} ago" if seconds > 0 else f"in {words}"


def lasted(seconds: object) -> str:
    """A duration: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`."""
    if not isinstance(seconds, int | float):
        return ""
    if seconds < 0.05:
        return "< 0.1 s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def percent(share: float | None) -> str:
    """A share as a whole per cent; 100 % and 0 % are said only where they are exact."""
    if share is None:
        return NOTHING
    if 0 < share < 0.005:
        return "< 1 %"
    if 0.995 <= share < 1:
        return f"{int(share * 1000) / 10:g} %"
    return f"{share * 100:.0f} %"


def short_commit(commit: object) -> str:
    return str(commit)[:10] if commit else "nothing"


def short_id(image_id: object) -> str:
    return str(image_id).removeprefix("sha256:")[:12] if image_id else "nothing"
