"""When to look next, and when an update may begin. Pure: the moment is always given.

A maintenance window is written `DAYS FROM-TO [ZONE]`, for example `Sat,Sun 02:00-06:00 Europe/Berlin`,
`Mon-Fri 22:00-05:00` (it ends on the next day) or `daily 03:00-04:00`. Without a zone: UTC. Hours are the
clock's on the wall, so in the night of a time change a window may be an hour longer or shorter.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from dual_update.core.errors import UsageError

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
JITTER = 0.1
"""Part of the interval by which a tick is moved, so that many hosts do not ask at once."""

FIRST_RETRY_SECONDS = 30.0

MINUTES_OF_A_DAY = 24 * 60

_WINDOW = re.compile(
    r"\s*(?P<days>[A-Za-z,\-]+)\s+(?P<h1>\d\d?):(?P<m1>\d\d)\s*-\s*(?P<h2>\d\d?):(?P<m2>\d\d)"
    r"(?:\s+(?P<zone>[A-Za-z0-9_+/\-]+))?\s*"
)

Zone = Callable[[str], tzinfo]


@dataclass(frozen=True)
class Window:
    """Days (0 is Monday) and minutes since midnight. One that ends before it begins runs over midnight."""

    days: frozenset[int]
    begin: int
    end: int
    zone: str = "UTC"
    words: str = ""

    def holds(self, local: datetime) -> bool:
        """Does the window hold this moment of its zone's clock."""
        minute, today = local.hour * 60 + local.minute, local.weekday()
        if self.begin < self.end:
            return today in self.days and self.begin <= minute < self.end
        yesterday = (today - 1) % 7
        return (today in self.days and minute >= self.begin) or (yesterday in self.days and minute < self.end)


def window(words: str) -> Window:
    """Read one window. Raises UsageError with an example where it is not one."""
    found = _WINDOW.fullmatch(words)
    begin = end = -1
    if found:
        begin = int(found["h1"]) * 60 + int(found["m1"])
        end = int(found["h2"]) * 60 + int(found["m2"])
        minutes_fit = int(found["m1"]) < 60 and int(found["m2"]) < 60
        if minutes_fit and begin < MINUTES_OF_A_DAY and 0 < end <= MINUTES_OF_A_DAY and begin != end:
            return Window(_days(found["days"], words), begin, end, found["zone"] or "UTC", words.strip())
    raise UsageError(
        f"{words!r} is no maintenance window.", hint="Write it like `Sat,Sun 02:00-06:00 Europe/Berlin`."
    )


def _days(text: str, words: str) -> frozenset[int]:
    if text.lower() == "daily":
        return frozenset(range(7))
    found: set[int] = set()
    for part in text.lower().split(","):
        first, dash, last = part.partition("-")
        begin, end = _day(first), _day(last if dash else first)
        if begin is None or end is None:
            raise UsageError(
                f"{words!r} names a day that is none: {part!r}.", hint="Mon, Tue, Wed, Thu, Fri, Sat, Sun."
            )
        found.update((begin + step) % 7 for step in range((end - begin) % 7 + 1))
    return frozenset(found)


def _day(name: str) -> int | None:
    """A day by its name or the beginning of it, three letters at least."""
    return next((n for n, day in enumerate(DAYS) if len(name) >= 3 and day.startswith(name)), None)


def is_open(windows: Sequence[Window], now: datetime, zone: Zone) -> bool:
    """May an update begin now. Without windows: always."""
    return not windows or any(one.holds(now.astimezone(zone(one.zone))) for one in windows)


def opens_at(windows: Sequence[Window], now: datetime, zone: Zone) -> datetime | None:
    """The next moment at which a window is open, to the minute; now, where one is. None: not in 8 days.

    Windows begin at their minute of a day, so only those minutes are looked at. Where the clock skips one
    (summer time), the window opens with the first minute that exists.
    """
    if is_open(windows, now, zone):
        return now
    found: list[datetime] = []
    for one in windows:
        local = now.astimezone(zone(one.zone)).replace(second=0, microsecond=0)
        for days in range(9):
            wall = (local + timedelta(days=days)).replace(hour=one.begin // 60, minute=one.begin % 60)
            moment = wall.astimezone(UTC)  # by way of UTC: an hour that the clock skips is moved behind it
            if moment > now and one.holds(moment.astimezone(zone(one.zone))):
                found.append(moment)
                break
    return min(found, default=None)


def next_tick(interval_seconds: float, luck: float) -> float:
    """Seconds until the next look: the interval, moved by up to JITTER of it. `luck` lies in [0, 1)."""
    return interval_seconds * (1 + JITTER * (2 * luck - 1))


def retry_after(failures: int, interval_seconds: float, luck: float) -> float:
    """Seconds until the next look after so many failed ones: soon at first, never later than a usual tick."""
    return next_tick(min(interval_seconds, FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 20)), luck)
