"""Rounds of the postman: what is missing is written, what is due is sent, what is given up is said."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dual_update.adapters.store import SqliteStore
from dual_update.usecases import notify
from dual_update.usecases.notify import Courier
from dual_update.usecases.postman import Postman
from tests.usecases.test_notify import Addresses, Time


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(tmp_path / "state") as store:
        yield store


def ended_run(store: SqliteStore, run: str, started: str) -> None:
    store.begin({"run": run, "cluster": "shop", "to": "c2", "strategy": "revamp", "started_at": started})
    store.finish(run, "rolled_back", {"reason": "web crashed", "duration_seconds": 1})


def test_runs_that_others_ended_are_told_and_old_ones_are_not(store: SqliteStore) -> None:
    from datetime import UTC, datetime

    addresses = Addresses("a")
    postman = Postman(Courier(store.outbox, addresses), store, lambda *_, **__: None)
    ended_run(store, "old", "2020-01-01T00:00:00Z")
    ended_run(store, "new", datetime.now(UTC).isoformat())
    store.begin({"run": "under way", "cluster": "shop", "started_at": datetime.now(UTC).isoformat()})
    assert postman.round() == 1
    assert postman.round() == 0
    assert addresses.got == [("a", "shop: the update failed and was taken back")]


def test_what_is_given_up_is_said_once_and_stays_in_the_status(store: SqliteStore) -> None:
    from datetime import UTC, datetime

    said: list[str] = []

    def log(event: str, *, level: str, what: str) -> None:
        said.append(f"{level}: {event}: {what}")

    now = Time()
    postman = Postman(Courier(store.outbox, Addresses("a", error="error 500"), now=now), store, log)
    ended_run(store, "r1", datetime.now(UTC).isoformat())
    postman.round()
    assert postman.to_json() == {"waiting": 1, "dead": 0, "error": None}
    for pause in notify.RETRY_SECONDS:
        now.now += pause + 1
        postman.round()
    assert postman.to_json() == {"waiting": 0, "dead": 1, "error": "error 500"}
    assert said == ["error: a message was given up: error 500"]
    revision = postman.revision
    postman.round()
    assert (postman.revision, len(said)) == (revision, 1)
    again = Postman(Courier(store.outbox, Addresses("a"), now=now), store, log)
    again.round()
    assert again.to_json()["dead"] == 1
    assert len(said) == 1, "a restart does not say it again"


def test_an_update_that_waits_is_told_once(store: SqliteStore) -> None:
    addresses = Addresses("a")
    links = notify.links_of("http://localhost:8090", "https://github.com", "acme/shop")
    now = Time()
    postman = Postman(Courier(store.outbox, addresses, links=links, now=now), store, lambda *_, **__: None)
    for why in ("A person must agree.", "Paused: holiday."):
        postman.waits("shop", "f1", "image_only", "c" * 40, why)
    waiting = store.outbox.take(["a"], 0, now())
    assert waiting is not None
    assert waiting.content["title"] == "shop: an update waits"
    assert waiting.content["body"].splitlines() == [
        f"{'c' * 12}, image only",
        "A person must agree.",
        "http://localhost:8090/",
        f"https://github.com/acme/shop/commit/{'c' * 40}",
    ]
    postman.round()
    postman.waits("shop", "f2", "structural", "d" * 40, "A person must agree.")
    postman.round()
    assert [title for _, title in addresses.got] == ["shop: an update waits"] * 2
