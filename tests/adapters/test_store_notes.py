"""What the service writes down: deliveries once, pauses that end, checks, approvals, health."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dual_update.adapters import store_notes
from dual_update.adapters.store import SqliteStore
from dual_update.usecases.memory_ports import Reading


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(tmp_path / "state") as store:
        yield store


def test_a_delivery_is_new_once_also_after_a_restart_and_for_two_at_a_time(
    store: SqliteStore, tmp_path: Path
) -> None:
    assert store.notes.accept_delivery("d1", "push")
    assert not store.notes.accept_delivery("d1", "push")
    with SqliteStore(tmp_path / "state") as other:
        assert not other.notes.accept_delivery("d1", "ping")
        both = [store, other] * 10
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda one: one.notes.accept_delivery("d2", "push"), both))
    assert answers.count(True) == 1


def test_deliveries_do_not_grow_without_end(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_notes, "MOST_DELIVERIES", 10)
    for number in range(30):
        assert store.notes.accept_delivery(f"d{number}", "push")
    assert not store.notes.accept_delivery("d29", "push")
    assert not store.notes.accept_delivery("d20", "push")
    assert store._read("SELECT count(*) FROM deliveries", ()) == [(10,)]


def test_a_pause_holds_until_it_is_over_or_lifted(store: SqliteStore) -> None:
    store.notes.pause("shop", "holiday", "ada")
    store.notes.pause("blog", "later", "bob", time.time() + 3600)
    store.notes.pause("old", "over", "bob", time.time() - 1)
    assert [one.cluster for one in store.notes.pauses()] == ["blog", "shop"]
    paused = store.notes.paused("shop")
    assert paused is not None
    assert (paused.reason, paused.by_whom, paused.until) == ("holiday", "ada", None)
    assert store.notes.paused("old") is None
    assert store.notes.resume("shop")
    assert not store.notes.resume("shop")
    assert store.notes.paused("shop") is None


def test_checks_are_remembered_and_counted(store: SqliteStore) -> None:
    store.notes.note_check("shop", "ok", 1.5, {"drift": ["ü"], "needs_update": True})
    store.notes.note_check("shop", "failed", 0.1, {})
    store.notes.note_check("blog", "ok", 0.1, {})
    last, good = store.notes.last_check("shop"), store.notes.last_check("shop", "ok")
    assert last is not None
    assert good is not None
    assert last.outcome == "failed"
    assert good.facts == {"drift": ["ü"], "needs_update": True}
    assert store.notes.last_check("none") is None
    assert [one.outcome for one in store.notes.checks("shop")] == ["failed", "ok"]
    assert store.notes.check_totals() == {("shop", "ok"): 1, ("shop", "failed"): 1, ("blog", "ok"): 1}


def test_who_agreed_to_what(store: SqliteStore) -> None:
    store.notes.note_approval("shop", "apply", "f1", "ada", "dashboard")
    store.notes.note_approval("shop", "rollback", "r1", "bob", "api")
    store.notes.note_approval("blog", "apply", "f1", "eve", "issue")
    assert [(one.action, one.by_whom) for one in store.notes.approvals("shop")] == [
        ("rollback", "bob"),
        ("apply", "ada"),
    ]
    assert [one.door for one in store.notes.approvals(subject="f1")] == ["issue", "dashboard"]


def test_health_over_time_and_now(store: SqliteStore) -> None:
    now = time.time()
    store.notes.note_health([Reading("shop", "web", now - 50, True), Reading("shop", "db", now - 50, True)])
    store.notes.note_health([Reading("shop", "web", now, False, "exit 1")])
    assert [(one.at, one.is_healthy) for one in store.notes.health_since("shop", now - 60)] == [
        (now - 50, True),
        (now - 50, True),
        (now, False),
    ]
    assert {one.service: one.is_healthy for one in store.notes.health_now(now - 60)} == {
        "web": False,
        "db": True,
    }
    assert [one.service for one in store.notes.health_now(now - 10)] == ["web"]


def test_what_is_old_is_forgotten_except_what_must_be_known(store: SqliteStore) -> None:
    now = time.time()
    store.notes.note_check("shop", "ok", 1, {"n": 1})
    store.notes.note_check("shop", "ok", 1, {"n": 2})
    store.notes.note_approval("shop", "apply", "f1", "ada", "api")
    store.notes.accept_delivery("d1", "push")
    store.notes.note_health(
        [Reading("shop", "web", now - 100, True), Reading("shop", "web", now + 100, True)]
    )
    store.outbox.put("waits", ["a"], {})
    store.outbox.put("sent", ["a"], {})
    for _ in range(2):
        taken = store.outbox.take(["a"], 1000, now + 1)
        assert taken is not None
        if taken.message == "sent":
            store.outbox.sent(taken.seq)
    store.notes.forget(older_than_seconds=-10)  # everything up to ten seconds from now is old
    assert [one.facts["n"] for one in store.notes.checks("shop")] == [2], "the newest of each kind stays"
    assert store.notes.check_totals() == {("shop", "ok"): 2}
    assert len(store.notes.approvals("shop")) == 1
    assert not store.notes.accept_delivery("d1", "push")
    assert [one.at for one in store.notes.health_since("shop", 0)] == [now + 100]
    state = store.outbox.state()
    assert (state.waiting, state.sent) == (1, 1)
