"""When to look next, and when an update may begin."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dual_update.core.errors import UsageError
from dual_update.core.schedule import JITTER, is_open, next_tick, opens_at, retry_after, window


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("words", "moment", "holds"),
    [
        ("daily 03:00-04:00", "2026-01-01T03:00", True),
        ("daily 03:00-04:00", "2026-01-01T03:59", True),
        ("daily 03:00-04:00", "2026-01-01T04:00", False),
        ("Sat,Sun 02:00-06:00", "2026-01-03T05:00", True),  # a Saturday
        ("Sat,Sun 02:00-06:00", "2026-01-05T05:00", False),
        ("saturday 02:00-06:00", "2026-01-03T05:00", True),
        ("Mon-Fri 22:00-05:00", "2026-01-03T04:59", True),  # Friday's, on Saturday morning
        ("Mon-Fri 22:00-05:00", "2026-01-04T04:59", False),
        ("Mon-Fri 22:00-05:00", "2026-01-02T22:00", True),
        ("Fri-Mon 00:00-24:00", "2026-01-04T12:00", True),
        ("Fri-Mon 00:00-24:00", "2026-01-06T12:00", False),
        ("daily 03:00-04:00 Europe/Berlin", "2026-07-01T01:30", True),  # summer: two hours ahead
        ("daily 03:00-04:00 Europe/Berlin", "2026-01-01T02:30", True),
        ("daily 03:00-04:00 Europe/Berlin", "2026-01-01T03:30", False),
    ],
)
def test_windows(words: str, moment: str, holds: bool) -> None:
    assert is_open([window(words)], at(moment), ZoneInfo) is holds


@pytest.mark.parametrize(
    "words",
    ["", "daily", "03:00-04:00", "daily 3-4", "daily 25:00-26:00", "Mun 03:00-04:00", "daily 03:61-04:00",
     "daily 03:00-03:00", "Mon- 03:00-04:00", "monkey 03:00-04:00",
     "daily 03:00-04:00 Europe/Berlin; rm", "daily 24:00-01:00"],
)  # fmt: skip
def test_what_is_no_window(words: str) -> None:
    with pytest.raises(UsageError):
        window(words)


@pytest.mark.parametrize(
    ("words", "moment", "opens"),
    [
        (["daily 03:00-04:00"], "2026-01-01T03:30", "2026-01-01T03:30"),
        (["daily 03:00-04:00"], "2026-01-01T04:00", "2026-01-02T03:00"),
        (["Sat 02:10-02:11"], "2026-01-05T00:00", "2026-01-10T02:10"),
        (["Sat 02:00-03:00", "Wed 05:00-06:00"], "2026-01-05T00:00", "2026-01-07T05:00"),
        (["daily 03:00-04:00 Europe/Berlin"], "2026-06-30T12:00", "2026-07-01T01:00"),
        # in the night when clocks go forward 02:30 does not exist; 03:30 summer time comes instead of it
        (["Sun 02:30-05:00 Europe/Berlin"], "2026-03-28T12:00", "2026-03-29T01:30"),
    ],
)
def test_the_next_opening(words: list[str], moment: str, opens: str) -> None:
    assert opens_at([window(one) for one in words], at(moment), ZoneInfo) == at(opens)


def test_without_windows_any_time_will_do() -> None:
    now = at("2026-01-01T00:00")
    assert is_open([], now, ZoneInfo)
    assert opens_at([], now, ZoneInfo) == now


DAYS = st.sampled_from(["daily", "Mon", "Sat,Sun", "Mon-Fri", "Fri-Mon"])
MINUTES = st.tuples(st.integers(0, 23), st.integers(0, 59))
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001


@given(
    DAYS,
    MINUTES,
    MINUTES,
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]),
    MOMENTS,
)
def test_the_next_opening_is_the_first_one(
    days: str, begin: tuple[int, int], end: tuple[int, int], zone: str, now: datetime
) -> None:
    """Held against looking at every quarter of an hour: no opening is missed, none is invented."""
    if end in (begin, (0, 0)):
        return
    one = window(f"{days} {begin[0]:02}:{begin[1]:02}-{end[0]:02}:{end[1]:02} {zone}")
    found = opens_at([one], now, ZoneInfo)
    assert found is not None
    assert is_open([one], found, ZoneInfo)
    step = now
    while step < found:
        assert not is_open([one], step, ZoneInfo), step
        step += timedelta(minutes=15)


@given(st.floats(5, 1e6), st.floats(0, 1, exclude_max=True))
def test_ticks_keep_near_their_interval(interval: float, luck: float) -> None:
    assert interval * (1 - JITTER) - 1e-6 <= next_tick(interval, luck) <= interval * (1 + JITTER) + 1e-6


@given(st.integers(1, 10_000), st.floats(5, 1e6), st.floats(0, 1, exclude_max=True))
def test_a_failed_look_is_repeated_soon_and_never_later_than_a_tick(
    failures: int, interval: float, luck: float
) -> None:
    wait = retry_after(failures, interval, luck)
    assert 0 < wait <= interval * (1 + JITTER) + 1e-6
    assert failures > 1 or wait <= 33.1
