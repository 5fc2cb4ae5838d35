"""History in pages, and counts that outlive what they counted; 100,000 runs are turned over quickly."""

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dual_update.adapters.store import DATABASE, SqliteStore
from dual_update.core.errors import UsageError


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(tmp_path / "state") as store:
        yield store


def minute(number: int) -> str:
    return f"2026-01-{1 + number // 1440:02}T{number // 60 % 24:02}:{number % 60:02}:00.123Z"


def seconds(number: int) -> float:
    return round(1767225600.123 + 60 * number, 3)  # 2026-01-01T00:00:00.123Z


def run(
    store: SqliteStore, number: int, cluster: str = "shop", outcome: str = "succeeded", took: float = 7
) -> None:
    store.begin(
        {
            "run": f"r{number}",
            "cluster": cluster,
            "kind": "apply",
            "from": "c1",
            "to": "c2",
            "update_type": "structural",
            "strategy": "revamp",
            "started_at": minute(number),
            "snapshot": {"much": "x" * 1000},
        }
    )
    if outcome:
        store.finish(f"r{number}", outcome, {"duration_seconds": took, "reason": None})


def every_page(store: SqliteStore, limit: int, **filters: object) -> list[str]:
    found: list[str] = []
    before = ""
    for _ in range(1000):
        page = store.history.page(limit=limit, before=before, **filters)  # type: ignore[arg-type]
        assert len(page.lines) <= limit
        found += [line["run"] for line in page.lines]
        before = page.older
        if not before:
            return found
    raise AssertionError("pages without an end")


def test_a_line_tells_what_the_command_line_prints(store: SqliteStore) -> None:
    run(store, 3, took=7.25)
    assert store.history.page().lines == (
        {
            "run": "r3",
            "kind": "apply",
            "cluster": "shop",
            "outcome": "succeeded",
            "reason": None,
            "update_type": "structural",
            "strategy": "revamp",
            "from": "c1",
            "to": "c2",
            "started_at": minute(3),
            "duration_seconds": 7.25,
        },
    )


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_pages_hold_every_run_once_newest_first(store: SqliteStore, limit: int) -> None:
    for number in range(13):
        run(store, number // 2 * 2, f"c{number % 2}") if number % 2 == 0 else store.begin(
            {"run": f"twin{number}", "cluster": "c1", "started_at": minute(number // 2 * 2)}
        )
    expected = [f"r{n}" if n % 2 == 0 else f"twin{n}" for n in reversed(range(13))]
    assert every_page(store, limit) == expected


def test_runs_that_begin_while_one_turns_pages_change_no_page(store: SqliteStore) -> None:
    for number in range(6):
        run(store, number)
    first = store.history.page(limit=3)
    run(store, 6)
    second = store.history.page(limit=3, before=first.older)
    assert [line["run"] for line in (*first.lines, *second.lines)] == ["r5", "r4", "r3", "r2", "r1", "r0"]


def test_filters(store: SqliteStore) -> None:
    for number in range(12):
        run(store, number, ("shop", "blog")[number % 2], ("succeeded", "rolled_back", "")[number % 3])
    assert every_page(store, 2, cluster="blog") == ["r11", "r9", "r7", "r5", "r3", "r1"]
    assert every_page(store, 2, outcome="rolled_back") == ["r10", "r7", "r4", "r1"]
    assert every_page(store, 2, outcome="unfinished", cluster="shop") == ["r8", "r2"]
    assert every_page(store, 2, since=seconds(3), until=seconds(6)) == ["r5", "r4", "r3"]
    assert store.history.count(cluster="shop") == 6
    assert store.history.count(outcome="unfinished", since=seconds(3)) == 3
    assert [one["run"] for one in store.history.lines(seconds(9))] == ["r11", "r10", "r9"]
    assert set(store.history.unfinished()) == {"shop", "blog"}


@pytest.mark.parametrize("before", ["x", "1", "1.0", "-1.0-2", "1.0-2; DROP TABLE runs", "9" * 50, "1e5-1"])
def test_a_place_that_no_page_gave(store: SqliteStore, before: str) -> None:
    with pytest.raises(UsageError):
        store.history.page(before=before)


def test_names_in_filters_are_values(store: SqliteStore) -> None:
    run(store, 1)
    assert store.history.page(cluster="' OR 1=1 --").lines == ()


def test_totals_outlive_the_runs_they_counted(store: SqliteStore) -> None:
    for number in range(8):
        run(store, number, outcome=("succeeded", "rolled_back")[number % 2], took=number * 10)
    before = store.history.totals()
    store.prune("shop", runs=1, backups=1)
    assert store.history.count() == 2  # the newest, and the newest good one
    assert store.history.totals() == before
    by_outcome = {one.outcome: one for one in before}
    assert (by_outcome["succeeded"].count, by_outcome["succeeded"].seconds) == (4, 0 + 20 + 40 + 60)
    assert by_outcome["rolled_back"].within[10.0] == 1
    assert by_outcome["rolled_back"].within[60.0] == 3
    assert by_outcome["rolled_back"].within[3600.0] == 4
    assert by_outcome["succeeded"].within.get(1.0) == 1


def test_a_run_counts_once_however_often_it_is_amended(store: SqliteStore) -> None:
    run(store, 1)
    store.amend("r1", {"note": 1})
    store.finish("r1", "succeeded", {"note": 2})
    assert [one.count for one in store.history.totals()] == [1]


def test_last_ended_is_the_newest_of_its_kind(store: SqliteStore) -> None:
    run(store, 1)
    run(store, 2, outcome="rolled_back")
    store.amend("r1", {"finished_at": "2026-01-01T10:00:00Z"})
    ended = store.history.last_ended()
    assert ended[("shop", "succeeded")] == pytest.approx(1767225600 + 36000, abs=0.01)
    assert abs(ended[("shop", "rolled_back")] - time.time()) < 60


def test_a_hundred_thousand_runs_are_turned_over_quickly(tmp_path: Path) -> None:
    """As ratios to the same page of a history of a thousand, so that a slow machine does not matter."""

    def filled(name: str, count: int) -> SqliteStore:
        store = SqliteStore(tmp_path / name)
        store.history.count()
        with sqlite3.connect(tmp_path / name / DATABASE) as database:
            database.execute("PRAGMA synchronous = OFF")
            database.execute(
                "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ? - 1)"
                " INSERT INTO runs (run, cluster, outcome, record) SELECT 'r' || i, 'c' || (i % 3),"
                " CASE i % 5 WHEN 0 THEN 'rolled_back' ELSE 'succeeded' END,"
                " json_object('kind', 'apply', 'strategy', 'revamp', 'started_at',"
                " strftime('%Y-%m-%dT%H:%M:%SZ', 1700000000 + i * 60, 'unixepoch'), 'duration_seconds', i % 99)"  # noqa: E501
                " FROM n",
                (count,),
            )
        return store

    def fastest(store: SqliteStore, **filters: object) -> float:
        took = []
        for _ in range(15):
            began = time.perf_counter()
            assert len(store.history.page(limit=50, **filters).lines) == 50  # type: ignore[arg-type]
            took.append(time.perf_counter() - began)
        return min(took)

    with filled("small", 1_000) as small, filled("large", 100_000) as large:
        middle = {"before": "1703000000.0-50000"}
        for filters in (
            {},
            {"cluster": "c1"},
            {"outcome": "rolled_back"},
            {"cluster": "c1", "outcome": "rolled_back"},
            {"until": 1_703_000_000.0},
            middle,
            {**middle, "cluster": "c2", "outcome": "succeeded"},
        ):
            reference = fastest(small, **{k: v for k, v in filters.items() if k in ("cluster", "outcome")})
            assert fastest(large, **filters) < 5 * reference + 0.001, filters
        assert large.clusters() == ("c0", "c1", "c2")
        assert large.unfinished("c0") is None
        assert large.history.count() == 100_000
