"""Messages about runs: what they say, to whom, how often - with a sender that fails as it is told."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from dual_update.adapters.store import SqliteStore
from dual_update.core.errors import WorldError
from dual_update.usecases import notify
from dual_update.usecases.notify import Courier, Message, about_run, catch_up, tell_quietly

RECORD = {
    "run": "20260101T000000Z-abc",
    "cluster": "shop",
    "kind": "apply",
    "outcome": "succeeded",
    "from": "a" * 40,
    "to": "b" * 40,
    "strategy": "revamp",
    "duration_seconds": 12.34,
    "services": {"web": {"action": "recreate"}, "db": {"action": "none"}},
}


class Addresses:
    """Fits Sender: remembers what came, and answers as it is told."""

    def __init__(self, *addresses: str, error: str | None = None) -> None:
        self.addresses: Sequence[str] = addresses
        self.errors = dict.fromkeys(addresses, error)
        self.got: list[tuple[str, str]] = []

    def send(self, address: str, content: Mapping[str, Any]) -> str | None:
        self.got.append((address, content["title"]))
        return self.errors[address]


class Time:
    def __init__(self) -> None:
        self.now = time.time() + 1

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(tmp_path / "state") as store:
        yield store


def test_a_message_says_what_where_result_and_link() -> None:
    message = about_run(RECORD, ["http://localhost:8090/runs/1"])
    assert message is not None
    assert (message.title, message.kind) == ("shop: updated", "success")
    assert message.body.splitlines() == [
        f"{'a' * 12} -> {'b' * 12}, revamp, 12.3 s",
        "Changed: web",
        "Run 20260101T000000Z-abc",
        "http://localhost:8090/runs/1",
    ]


@pytest.mark.parametrize(
    ("kind", "outcome", "title", "manner"),
    [
        ("apply", "rolled_back", "the update failed and was taken back", "failure"),
        ("apply", "rollback_failed", "THE WAY BACK FAILED, a person is needed now", "failure"),
        ("apply", "refused", "the update was refused; nothing was touched", "warning"),
        ("rollback", "succeeded", "returned to what ran before", "success"),
    ],
)
def test_every_end_has_its_words(kind: str, outcome: str, title: str, manner: str) -> None:
    message = about_run({**RECORD, "kind": kind, "outcome": outcome, "reason": "web\n  crashed"})
    assert message is not None
    assert (message.title, message.kind) == (f"shop: {title}", manner)
    assert ("web crashed" in message.body) == (outcome != "succeeded")


@pytest.mark.parametrize("outcome", ["unchanged", None, "", "something new"])
def test_what_is_no_news_is_not_told(outcome: str | None) -> None:
    assert about_run({**RECORD, "outcome": outcome}) is None


def test_a_run_is_told_once_whoever_tells_it(store: SqliteStore) -> None:
    addresses = Addresses("slack", "mail")
    one, other = Courier(store.outbox, addresses), Courier(store.outbox, addresses)
    assert catch_up(one, [RECORD, RECORD]) == 2
    assert one.deliver(5) == 2
    assert other.run_ended(RECORD)
    assert other.deliver(5) == 0
    assert sorted(addresses.got) == [("mail", "shop: updated"), ("slack", "shop: updated")]


def test_the_same_refusal_is_told_once_however_often_it_is_tried(store: SqliteStore) -> None:
    addresses = Addresses("slack")
    courier = Courier(store.outbox, addresses)
    refused = {**RECORD, "outcome": "refused", "reason": "the image is not there yet"}
    catch_up(courier, [{**refused, "run": f"run-{number}"} for number in range(3)])
    assert courier.deliver(5) == 1
    catch_up(courier, [{**refused, "run": "run-4", "reason": "the disk is full"}])
    catch_up(courier, [{**refused, "run": "run-5", "to": "c" * 40}])
    assert courier.deliver(5) == 2


def test_one_deaf_address_does_not_repeat_the_others(store: SqliteStore) -> None:
    addresses, now = Addresses("good", "deaf"), Time()
    addresses.errors["deaf"] = "error 500"
    courier = Courier(store.outbox, addresses, now=now)
    courier.run_ended(RECORD)
    for _ in range(4):
        courier.deliver(5)
        now.now += notify.RETRY_SECONDS[-1] + 1
    assert addresses.got.count(("good", "shop: updated")) == 1
    assert addresses.got.count(("deaf", "shop: updated")) == 4
    addresses.errors["deaf"] = None
    assert courier.deliver(5) == 1
    assert store.outbox.state().waiting == 0


def test_pauses_grow_and_then_it_is_given_up_and_said(store: SqliteStore) -> None:
    addresses, now = Addresses("deaf", error="no answer"), Time()
    courier = Courier(store.outbox, addresses, now=now)
    courier.run_ended(RECORD)
    pauses = []
    for _ in range(notify.MOST_ATTEMPTS):
        courier.deliver(1)
        due = store.outbox.next_due(addresses.addresses)
        if due is not None:
            pauses.append(round(due - now.now))
            now.now = due - 0.5
            courier.deliver(0.1)  # too early: nothing happens
            now.now = due + 0.5
    assert pauses == list(notify.RETRY_SECONDS)
    assert len(addresses.got) == notify.MOST_ATTEMPTS
    state = store.outbox.state()
    assert (state.waiting, state.dead, state.error) == (0, 1, "no answer")
    now.now += 100_000
    courier.deliver(1)
    assert len(addresses.got) == notify.MOST_ATTEMPTS


def test_a_process_that_dies_while_it_sends_has_had_its_attempt(store: SqliteStore) -> None:
    addresses, now = Addresses("a"), Time()
    courier = Courier(store.outbox, addresses, now=now)
    courier.run_ended(RECORD)
    assert store.outbox.take(["a"], notify.LEASE_SECONDS, now()) is not None  # and dies
    assert courier.deliver(5) == 0
    now.now += notify.LEASE_SECONDS + 1
    assert courier.deliver(5) == 1
    assert len(addresses.got) == 1


def test_what_waits_survives_a_restart(tmp_path: Path) -> None:
    addresses = Addresses("a", error="away")
    with SqliteStore(tmp_path) as store:
        courier = Courier(store.outbox, addresses)
        courier.run_ended(RECORD)
        courier.deliver(1)
    addresses.errors["a"] = None
    now = Time()
    now.now += notify.RETRY_SECONDS[0]
    with SqliteStore(tmp_path) as store:
        assert Courier(store.outbox, addresses, now=now).deliver(5) == 1


@pytest.mark.parametrize("jump_seconds", [-86_400.0, -7 * 3600.0, 86_400.0])
def test_a_clock_that_jumps_holds_no_message_back(store: SqliteStore, jump_seconds: float) -> None:
    addresses, now = Addresses("a", error="away"), Time()
    courier = Courier(store.outbox, addresses, now=now)
    courier.run_ended(RECORD)
    courier.deliver(1)
    addresses.errors["a"] = None
    now.now += jump_seconds
    assert courier.deliver(1) == 1


def test_an_address_that_was_taken_from_the_settings_gets_nothing_more(store: SqliteStore) -> None:
    Courier(store.outbox, Addresses("old")).run_ended(RECORD)
    new = Addresses("new")
    assert Courier(store.outbox, new).deliver(1) == 0
    assert new.got == []


def test_secrets_and_odd_characters_are_taken_out(store: SqliteStore) -> None:
    reason = "login with hunter2hunter2 at https://user:pa55word@host failed\x1b[31m \u202eevil\x00"
    courier = Courier(store.outbox, Addresses("a"), frozenset({"hunter2hunter2"}))
    courier.run_ended(
        {**RECORD, "outcome": "rolled_back", "reason": reason, "cluster": "sh\nop hunter2hunter2"}
    )
    waiting = store.outbox.take(["a"], 60, time.time() + 1)
    assert waiting is not None
    text = str(waiting.content)
    for secret in ("hunter2", "pa55word", "\\x1b", "\\u202e", "\\x00"):
        assert secret not in text


def test_a_very_long_reason_is_cut(store: SqliteStore) -> None:
    courier = Courier(store.outbox, Addresses("a"))
    courier.run_ended({**RECORD, "outcome": "refused", "reason": "x" * 100_000})
    waiting = store.outbox.take(["a"], 60, time.time() + 1)
    assert waiting is not None
    assert len(waiting.content["body"]) < 2000


def test_two_processes_do_not_send_the_same(store: SqliteStore, tmp_path: Path) -> None:
    addresses = Addresses("a")
    for number in range(20):
        Courier(store.outbox, addresses).tell(f"m{number}", Message(f"t{number}", ""))
    with SqliteStore(tmp_path / "state") as second:
        couriers = [Courier(store.outbox, addresses), Courier(second.outbox, addresses)]
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(2) as pool:
            assert sum(pool.map(lambda one: one.deliver(20), couriers)) == 20
    assert len(addresses.got) == len(set(addresses.got)) == 20


def test_a_store_that_cannot_be_written_changes_nothing(store: SqliteStore) -> None:
    class Full:
        def put(self, *_: object) -> None:
            raise WorldError("no space is left")

    said: list[str] = []
    tell_quietly(Courier(Full(), Addresses("a")), RECORD, said.append, 1)  # type: ignore[arg-type]
    assert said == ["the message about this run could not be kept: no space is left"]
