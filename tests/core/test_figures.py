"""Figures: counted as the page says they are, over windows of any size, and independent of order."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dual_update.core.figures import FAILED, Look, Past, columns, figures, moment, past, percentile

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def run(hours: float, outcome: str = "succeeded", seconds: float = 10.0, kind: str = "apply") -> Past:
    return Past(MONDAY + hours * HOUR, outcome, seconds, kind)


def test_nothing_happened() -> None:
    found = figures([], [], MONDAY, MONDAY + 6 * DAY)
    assert (found.attempts, found.success_rate, found.per_week, found.p95_seconds) == (0, None, None, None)
    assert len(found.bins) == 7
    assert found.wellness == ()


def test_what_counts_as_an_attempt() -> None:
    runs = [
        run(1),
        run(2, "unchanged"),
        run(3, "rolled_back"),
        run(4, "refused"),
        run(5, "rollback_failed"),
        run(6, "succeeded", kind="rollback"),
        run(7, "rollback_failed", kind="rollback"),
    ]
    found = figures(runs, [], MONDAY, MONDAY + DAY)
    assert (found.attempts, found.succeeded, found.failed, found.unchanged) == (4, 1, 3, 1)
    assert (found.rolled_back, found.rolled_back_by_hand, found.rollbacks, found.rollbacks_failed) == (
        1,
        1,
        2,
        2,
    )
    assert found.success_rate == 0.25
    assert found.failure_rate == 0.75


def test_only_runs_that_succeeded_say_how_long_an_update_takes() -> None:
    runs = [run(1, seconds=10), run(2, seconds=20), run(3, seconds=60), run(4, "refused", seconds=0.1)]
    found = figures(runs, [], MONDAY, MONDAY + DAY)
    assert (found.average_seconds, found.median_seconds, found.p95_seconds) == (30.0, 20.0, 60.0)
    assert [seconds for _, seconds, _, _ in found.durations] == [10, 20, 60, 0.1]


def test_p95_is_a_duration_that_occurred() -> None:
    assert percentile([float(n) for n in range(1, 101)], 95) == 95.0
    assert percentile([float(n) for n in range(1, 21)], 95) == 19.0
    assert percentile([7.0], 95) == 7.0
    with pytest.raises(ValueError, match="of nothing"):
        percentile([], 95)


def test_one_update_on_the_first_day_is_one_a_week() -> None:
    assert figures([run(1)], [], MONDAY, MONDAY + HOUR).per_week == 1.0
    two_weeks = [run(24 * day) for day in range(14)]
    assert figures(two_weeks, [], MONDAY, MONDAY + 14 * DAY).per_week == 7.0


def test_a_window_from_before_the_first_run_does_not_thin_the_frequency() -> None:
    runs = [run(24 * day) for day in range(14)]
    long_before = MONDAY - 76 * DAY
    assert figures(runs, [], long_before, MONDAY + 14 * DAY).per_week == 7.0


def test_runs_outside_the_window_are_not_counted() -> None:
    runs = [run(-1), run(1), run(49)]
    assert figures(runs, [], MONDAY, MONDAY + 2 * DAY).attempts == 1


def test_columns_are_days_and_then_weeks_that_end_today() -> None:
    until = MONDAY + 30 * DAY + 5 * HOUR
    days = columns(MONDAY + 3 * HOUR, until)
    assert len(days) == 31
    assert days[0][0] == MONDAY
    weeks = columns(until - 90 * DAY, until)
    assert len(weeks) == 13
    assert weeks[-1][1] == MONDAY + 31 * DAY
    assert weeks[0][0] <= until - 90 * DAY


def test_a_run_falls_into_the_column_of_its_day_in_utc() -> None:
    late = datetime.fromisoformat("2026-03-02T23:30:00-05:00")  # Tuesday in UTC
    found = figures([Past(late, "succeeded", 1.0)], [], MONDAY, MONDAY + 2 * DAY)
    assert [one.succeeded for one in found.bins] == [0, 1, 0]


def test_services_over_time() -> None:
    looks = [
        Look(MONDAY + HOUR, "web", is_well=True),
        Look(MONDAY + 2 * HOUR, "web", is_well=False),
        Look(MONDAY + 2 * DAY, "web", is_well=True),
        Look(MONDAY + HOUR, "api", is_well=True),
        Look(MONDAY - HOUR, "api", is_well=False),
    ]
    api, web = figures([], looks, MONDAY, MONDAY + 2 * DAY).wellness
    assert (api.service, api.share, api.shares) == ("api", 1.0, (1.0, None, None))
    assert (web.service, web.well, web.looks, web.shares) == ("web", 2, 3, (0.5, None, 1.0))


def test_a_window_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ValueError, match="ends after it begins"):
        figures([], [], MONDAY, MONDAY - HOUR)


def test_records_of_the_store() -> None:
    record = {
        "started_at": "2026-03-02T00:00:00.000Z",
        "outcome": "succeeded",
        "duration_seconds": 3,
        "run": "r",
    }
    assert past(record) == Past(MONDAY, "succeeded", 3.0, "apply", "r")
    assert past({**record, "outcome": None}) is None
    assert past({**record, "started_at": "yesterday"}) is None
    assert past({**record, "duration_seconds": None}) is None
    assert moment("2026-03-02T00:00:00") == MONDAY
    assert moment(5) is None


outcomes = st.sampled_from(["succeeded", "unchanged", *sorted(FAILED)])
histories = st.lists(
    st.builds(
        run,
        st.floats(0, 24 * 100),
        outcomes,
        st.floats(0, 1000),
        st.sampled_from(["apply", "rollback"]),
    ),
    max_size=30,
)


@given(histories, st.randoms())
def test_every_run_is_counted_once_in_any_order(runs: list[Past], shuffle: object) -> None:
    found = figures(runs, [], MONDAY, MONDAY + 101 * DAY)
    assert found.attempts == found.succeeded + found.failed == sum(one.attempts for one in found.bins)
    assert found.rollbacks == sum(one.rollbacks for one in found.bins)
    turned = list(runs)
    shuffle.shuffle(turned)  # type: ignore[attr-defined]
    again = figures(turned, [], MONDAY, MONDAY + 101 * DAY)
    assert (again.bins, again.p95_seconds, again.average_seconds, again.per_week) == (
        found.bins,
        found.p95_seconds,
        found.average_seconds,
        found.per_week,
    )
    if found.p95_seconds is not None:
        took = [one.duration_seconds for one in runs if one.kind == "apply" and one.outcome == "succeeded"]
        assert found.p95_seconds in took
        assert sum(seconds <= found.p95_seconds for seconds in took) >= 0.95 * len(took)
