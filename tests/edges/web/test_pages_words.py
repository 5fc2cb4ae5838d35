"""Words and shapes of the pages: times, durations, shares, states, and the geometry of plots."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dual_update.core.figures import FAILED, Look, Past, figures
from dual_update.edges.web.pages_views import pending, step_rows
from dual_update.edges.web.pages_words import (
    Mark,
    container_mark,
    lasted,
    outcome_mark,
    percent,
    relative,
    when,
    worst,
)
from dual_update.edges.web.plots import HEIGHT, STRIP_HEIGHT, WIDTH, bars, dots, nice, strip

NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1, "just now"),
        (-1, "just now"),
        (42, "42 seconds ago"),
        (-90, "in 2 minutes"),
        (3600, "60 minutes ago"),
        (2 * 3600, "2 hours ago"),
        (3 * 86400, "3 days ago"),
        (21 * 86400, "3 weeks ago"),
        (90 * 86400, "3 months ago"),
        (1000 * 86400, "3 years ago"),
    ],
)
def test_how_long_ago(seconds: float, words: str) -> None:
    assert relative(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""),
        (0.0, "< 0.1 s"),
        (0.44, "0.4 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (7200, "2 h"),
    ],
)
def test_how_long_it_took(seconds: float | None, words: str) -> None:
    assert lasted(seconds) == words


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (None, "—"),
        (0.0, "0 %"),
        (0.001, "< 1 %"),
        (0.5, "50 %"),
        (0.99, "99 %"),
        (0.9999, "99.9 %"),
        (1.0, "100 %"),
    ],
)
def test_only_all_is_a_hundred_per_cent(share: float | None, words: str) -> None:
    assert percent(share) == words


def test_a_moment_in_three_ways() -> None:
    found = when("2026-03-20T10:00:00.123456789Z", NOW)
    assert found is not None
    assert (found.relative, found.exact) == ("2 hours ago", "20 March 2026, 10:00:00 UTC")
    assert when("0001-01-01T00:00:00Z", NOW) is None
    assert when("never", NOW) is None


@pytest.mark.parametrize(
    ("state", "health", "code", "mark"),
    [
        ("running", "healthy", None, Mark("good", "Healthy")),
        ("running", None, None, Mark("good", "Running")),
        ("running", "starting", None, Mark("busy", "Starting")),
        ("running", "unhealthy", None, Mark("bad", "Unhealthy")),
        ("exited", None, 0, Mark("idle", "Ended")),
        ("exited", None, 1, Mark("bad", "Stopped")),
        ("restarting", None, None, Mark("warn", "Restarting")),
        ("what", None, None, Mark("warn", "what")),
    ],
)
def test_containers(state: str, health: str | None, code: int | None, mark: Mark) -> None:
    assert container_mark(state, health, code) == mark


def test_the_worst_of_several_is_shown() -> None:
    good, bad, warn = Mark("good", "Healthy"), Mark("bad", "Stopped"), Mark("warn", "Restarting")
    assert worst([good, warn, bad, good]) == bad
    assert worst([good, warn]) == warn
    assert worst([]) == Mark("idle", "Nothing runs")


def test_every_outcome_has_a_word_of_its_own() -> None:
    marks = [outcome_mark(one) for one in (None, "unchanged", "succeeded", *FAILED)]
    assert len({one.word for one in marks}) == len(marks)
    assert outcome_mark("succeeded", "rollback").word == "Taken back"


def test_steps_of_a_journal() -> None:
    def line(seq: int, op: str, phase: str, at: str, detail: str = "") -> dict[str, object]:
        return {"seq": seq, "op": op, "target": "web", "phase": phase, "at": at, "detail": detail}

    rows = step_rows(
        [
            line(1, "pull", "started", "2026-03-20T10:00:00Z"),
            line(2, "pull", "finished", "2026-03-20T10:00:02Z"),
            line(3, "roll", "started", "2026-03-20T10:00:02Z"),
            line(4, "roll", "failed", "2026-03-20T10:00:05Z", "it crashed"),
            line(5, "return", "started", "2026-03-20T10:00:05Z"),
        ]
    )
    assert [(one.title, one.mark.word, one.took, one.told) for one in rows] == [
        ("Fetch web", "done", "2.0 s", ""),
        ("Replace web", "failed", "3.0 s", "it crashed"),
        ("Return web", "under way", "", ""),
    ]


def test_a_plan_without_steps_is_nothing_that_waits() -> None:
    assert pending(None) is None
    assert pending({"steps": [], "decision": {}}) is None


moments = st.floats(0, 40 * 86400).map(lambda seconds: NOW - timedelta(seconds=seconds))
runs = st.lists(
    st.builds(
        Past, moments, st.sampled_from(["succeeded", "unchanged", *sorted(FAILED)]), st.floats(0, 9000)
    ),
    max_size=40,
)


@given(runs)
def test_nothing_is_drawn_outside_its_plot(history: list[Past]) -> None:
    found = figures(history, (), NOW - timedelta(days=30), NOW)
    columns, points = bars(found), dots(found)
    assert (columns is None) == (points is None) == (found.attempts == 0)
    if columns is None or points is None:
        return
    for bar in columns.bars:
        assert 0 <= bar.x <= bar.x + bar.width <= WIDTH
        assert -0.01 <= bar.y <= bar.y + bar.height <= HEIGHT + 0.02
        assert bar.is_good == (bar.y < columns.zero)
    assert len(points.dots) == found.attempts
    for dot in points.dots:
        assert 0 <= dot.x <= WIDTH
        assert 0 <= dot.y <= HEIGHT
    for line in (points.average, points.p95):
        assert line is None or 0 <= line <= HEIGHT


@given(st.lists(st.booleans(), min_size=1, max_size=2000))
def test_one_bad_look_among_many_still_shows(looks: list[bool]) -> None:
    one = figures((), [Look(NOW, "web", is_well=is_well) for is_well in looks], NOW, NOW).wellness[0]
    cell = strip(one).cells[-1]
    assert (cell.ill > 0) == (not all(looks))
    assert cell.ill == 0 or cell.ill >= 3
    assert cell.well + cell.ill == pytest.approx(STRIP_HEIGHT)
    assert (strip(one).share == "100 %") == all(looks)


@given(st.floats(0, 1e6))
def test_an_axis_holds_its_values(value: float) -> None:
    assert nice(value) >= value
    assert nice(value) <= max(1.0, value * 3, value + 3600)
