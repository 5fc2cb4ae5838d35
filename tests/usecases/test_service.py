"""The service's turns, with a clock that is set by hand."""

import json
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dual_update.adapters.store_schema import MIGRATIONS
from dual_update.core.errors import NotNow, UsageError, WorldError
from dual_update.core.job import Ending
from dual_update.usecases.checking import Checked
from dual_update.usecases.service import Policy, Service
from tests.usecases.service_world import APPROVED, CLUSTER, NOBODY_WAITS, Stage, looked

DONE = Ending(0, "It is done.", "r-1", "succeeded")
REFUSED = Ending(1, "The port is taken.", "r-1", "refused")


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path / "state", Policy(check_interval_seconds=3600))


def pending(stage: Stage, **more: Any) -> Service:
    """A service that has found an update which waits for a person."""
    stage.found = Checked(looked(**more), NOBODY_WAITS)
    service = stage.service()
    service.turn()
    return service


def wait_for_turn(stage: Stage, service: Service) -> None:
    """The next look, without waiting for it."""
    at = service.status()["next_check_at"]
    left = (moment(at) - stage.wall.at).total_seconds()
    stage.wall.wait(max(0.0, left) + 1.0)
    service.turn()


def moment(text: str) -> Any:
    from datetime import datetime

    return datetime.fromisoformat(text)


def test_it_looks_at_once_and_then_every_interval(stage: Stage) -> None:
    service = stage.service()
    for look in (1, 2, 3):
        wait_for_turn(stage, service)
        assert stage.looks == look
    assert stage.wall.passed == pytest.approx(2 * 3600, abs=10)


def test_missed_ticks_are_one(stage: Stage) -> None:
    service = stage.service()
    service.turn()
    stage.wall.wait(10 * 3600)  # the host was asleep
    service.turn()
    assert stage.looks == 2
    assert moment(service.status()["next_check_at"]) > stage.wall.at + timedelta(minutes=50)


def test_failed_looks_are_repeated_soon_then_seldom(stage: Stage) -> None:
    """GitHub cannot be reached for a day: more and more patience, and the last good answers stay."""
    service = pending(stage)
    stage.found = WorldError("The remote origin cannot be fetched: no route.")
    waits = []
    for _ in range(10):
        wait_for_turn(stage, service)
        status = service.status()
        waits.append((moment(status["next_check_at"]) - stage.wall.at).total_seconds())
        assert status["last_check"]["outcome"] == "failed"
        assert "no route" in status["last_check"]["sentence"]
        assert service.plan() is not None
    assert waits[:4] == pytest.approx([30, 60, 120, 240], abs=1)
    assert waits[-1] == pytest.approx(3600, abs=1)
    stage.found = None
    wait_for_turn(stage, service)
    assert service.status()["last_check"]["outcome"] == "ok"
    totals = stage.reader.notes.check_totals()
    assert totals[CLUSTER, "failed"] == 10


def test_a_bug_in_a_look_ends_nothing(stage: Stage) -> None:
    service = pending(stage)
    stage.found = ValueError("a secret value")
    service.check()
    service.turn()
    run = service.run(service.check()["id"])
    assert run["state"] == "queued"
    assert any(event == "bug" for event, _ in stage.lines)
    assert "a secret value" not in str(stage.lines)
    stage.found = None
    service.turn()
    assert service.status()["last_check"]["outcome"] == "ok"


@pytest.mark.parametrize("jump", [timedelta(days=-3650), timedelta(days=3650), timedelta(hours=-1)])
def test_a_clock_that_jumps_moves_no_tick(stage: Stage, jump: timedelta) -> None:
    service = pending(stage)
    service.pause("Ada", "a freeze", stage.wall.at + timedelta(hours=1))
    left = moment(service.status()["next_check_at"]) - stage.wall.at
    stage.wall.at += jump
    assert moment(service.status()["next_check_at"]) - stage.wall.at == pytest.approx(
        left, abs=timedelta(seconds=2)
    )
    assert (service.status()["paused"] is None) == (jump > timedelta(hours=1))
    before = stage.looks
    service.check()
    service.turn()
    assert stage.looks == before + 1


def test_wishes_to_look_that_wait_are_one(stage: Stage) -> None:
    service = pending(stage)
    asked = {service.check("webhook")["id"] for _ in range(50)}
    assert len(asked) == 1
    service.turn()
    assert stage.looks == 2
    assert service.run(asked.pop())["state"] == "ended"


def test_an_update_is_applied_with_the_fingerprint_that_is_pending(stage: Stage) -> None:
    service = pending(stage)
    with pytest.raises(NotNow, match="another fingerprint"):
        service.apply("plan-of-yesterday")
    stage.processes.endings = [DONE]
    stage.processes.on_start = lambda job: stage.ran("r-1")
    job = service.apply("plan-" + "c" * 40, "Ada", is_by_person=True)
    service.turn()
    started = stage.processes.started[0]
    assert (started.ref, started.expect, started.is_by_person) == ("c" * 40, "plan-" + "c" * 40, True)
    run = service.run(job["id"])
    assert (run["state"], run["run"], run["outcome"]) == ("ended", "r-1", "succeeded")
    assert [one["phase"] for one in run["journal"]] == ["started", "finished"]
    assert service.events(job["id"], after=run["journal"][0]["seq"]) == ([run["journal"][1]], True)
    asked = stage.reader.notes.approvals(CLUSTER)[0]
    assert (asked.action, asked.by_whom, asked.door) == ("apply", "Ada", "api")
    before = stage.looks
    service.turn()  # what came of it is looked at right away
    assert stage.looks == before + 1


def test_a_change_under_way_keeps_others_out_and_answers_twins(stage: Stage) -> None:
    service = pending(stage)
    one = service.apply("plan-" + "c" * 40)
    assert service.apply("plan-" + "c" * 40)["id"] == one["id"]
    stage.ran("r-0")
    with pytest.raises(NotNow, match="under way"):
        service.rollback("r-0")
    assert service.check()["kind"] == "check"


def test_an_idempotency_key_holds_across_restarts(stage: Stage) -> None:
    stage.processes.endings = [DONE]
    first = pending(stage)
    one = first.apply("plan-" + "c" * 40, key="k-1")
    first.turn()
    second = stage.service()
    assert second.apply("plan-" + "c" * 40, key="k-1")["id"] == one["id"], (
        "the same, though nothing is pending"
    )
    stage.ran("r-0")
    with pytest.raises(NotNow, match="another wish"):
        second.rollback("r-0", key="k-1")
    assert len(stage.processes.started) == 1


def test_what_is_approved_is_applied_once_a_tick(stage: Stage) -> None:
    """A refused update is tried again, but not in a circle."""
    stage.found = Checked(looked(), APPROVED)
    stage.processes.endings = [REFUSED, REFUSED, REFUSED]
    service = stage.service()
    for _ in range(6):
        service.turn() if service.status()["queued"] else wait_for_turn(stage, service)
    started = len(stage.processes.started)
    assert 1 <= started <= 3
    assert stage.wall.passed >= (started - 1) * 3600 * 0.5
    assert not stage.processes.started[0].is_by_person
    assert stage.reader.notes.approvals(CLUSTER)[0].door == "auto"


def test_paused_means_nothing_unasked(stage: Stage) -> None:
    service = pending(stage)
    service.pause("Ada", "a freeze")
    assert service.status()["paused"]["by"] == "Ada"
    with pytest.raises(NotNow, match="a freeze"):
        service.apply("plan-" + "c" * 40)
    assert service.apply("plan-" + "c" * 40, "Ada", is_by_person=True)["state"] == "queued"
    assert service.resume("Ada")["paused"] is None
    assert stage.service().clusters() == ()


def test_a_pause_survives_a_restart(stage: Stage) -> None:
    pending(stage).pause("Ada", "a freeze")
    assert pending(stage).status()["paused"]["reason"] == "a freeze"


def test_a_window_that_opens_soon_moves_the_tick(stage: Stage) -> None:
    opens = stage.wall.at + timedelta(minutes=10)
    stage.found = Checked(looked(), NOBODY_WAITS, opens_at=opens)
    service = stage.service()
    service.turn()
    assert timedelta(0) <= moment(service.status()["next_check_at"]) - opens <= timedelta(seconds=2)
    with pytest.raises(NotNow, match="windows"):
        service.apply("plan-" + "c" * 40)


def test_an_unfinished_run_is_settled_before_a_look(stage: Stage) -> None:
    stage.ran("r-1", None)
    stage.processes.endings = [DONE]
    stage.processes.on_start = lambda job: stage.memory.finish("r-1", "rolled_back", {})
    service = stage.service()
    service.turn()
    assert [one.kind for one in stage.processes.started] == ["recover"]
    assert stage.looks == 1


def test_a_run_of_somebody_else_is_waited_for(stage: Stage) -> None:
    stage.ran("r-1", None)
    stage.processes.endings = [Ending(5, "The cluster is being updated by root (process 1).")]
    service = stage.service()
    service.turn()
    assert stage.looks == 0
    assert "process 1" in service.status()["last_check"]["sentence"]
    stage.memory.finish("r-1", "succeeded", {})
    wait_for_turn(stage, service)
    assert stage.looks == 1


def test_jobs_of_an_earlier_service_are_taken_up(stage: Stage) -> None:
    first = pending(stage)
    never_begun = first.apply("plan-" + "c" * 40)["id"]
    second = stage.service()
    second.take_up()
    run = second.run(never_begun)
    assert run["state"] == "ended"
    assert "ask again" in str(stage.processes.ended[never_begun].sentence)
    assert stage.processes.started == []


def test_a_process_that_died_without_a_word_is_told(stage: Stage) -> None:
    service = pending(stage)
    stage.processes.endings = [None]
    job = service.apply("plan-" + "c" * 40)
    service.turn()
    run = service.run(job["id"])
    assert run["job"]["exit_code"] == 1
    assert "died" in run["job"]["sentence"]


def test_a_full_disk_refuses_and_goes_on(stage: Stage) -> None:
    service = pending(stage)
    stage.processes.complaint = WorldError("The job cannot be written down: No space left on device.")
    with pytest.raises(WorldError, match="No space"):
        service.apply("plan-" + "c" * 40)
    assert service.status()["job"] is None
    assert service.status()["queued"] == 0
    service.check()
    service.turn()
    assert service.status()["last_check"]["outcome"] == "ok"
    stage.processes.complaint = None
    assert service.apply("plan-" + "c" * 40)["state"] == "queued"


def test_history_leads_on_from_page_to_page(stage: Stage) -> None:
    for number in range(7):
        stage.wall.wait(60)
        stage.ran(f"r-{number}", "refused" if number % 2 else "succeeded")
    service = stage.service()
    by_number = [service.history(page=page, size=3) for page in (1, 2, 3, 4)]
    names = [one["run"] for page in by_number for one in page["runs"]]
    assert names == [f"r-{number}" for number in reversed(range(7))]
    assert [page["has_more"] for page in by_number] == [True, True, False, False]
    led, before = [], ""
    while True:
        page = service.history(size=3, before=before)
        led += [one["run"] for one in page["runs"]]
        before = page["older"]
        if not before:
            break
    assert led == names
    assert len(service.history(outcome="refused")["runs"]) == 3
    span = service.history(since=stage.wall.at - timedelta(seconds=61), until=stage.wall.at)
    assert [one["run"] for one in span["runs"]] == ["r-5"]
    with pytest.raises(UsageError):
        service.history(before="nonsense")


def test_what_is_not_known_is_said(stage: Stage) -> None:
    service = stage.service()
    for ask in (lambda: service.run("no-such-run"), lambda: service.rollback("no-such-run")):
        with pytest.raises(UsageError, match="There is no run"):
            ask()
    with pytest.raises(NotNow):
        service.pause()
    with pytest.raises(NotNow, match="Nothing is pending"):
        service.apply("plan-" + "c" * 40)


def test_a_history_that_cannot_be_read_stops_neither_looks_nor_status(stage: Stage) -> None:
    stage.folder.mkdir(parents=True)
    (stage.folder / "state.sqlite3").write_bytes(b"this is no database" * 1000)
    service = stage.service()
    service.turn()
    status = service.status()
    assert status["last_check"]["outcome"] == "failed"
    assert "damaged" in status["last_check"]["sentence"]
    with pytest.raises(WorldError):
        service.history()


def test_an_older_memory_is_taken_over(stage: Stage) -> None:
    """A database of the first version, with a run in it: the service goes on from there."""
    stage.folder.mkdir(parents=True)
    database = sqlite3.connect(stage.folder / "state.sqlite3")
    for statement in MIGRATIONS[0]:
        database.execute(statement)
    record = {"run": "r-1", "kind": "apply", "cluster": CLUSTER, "from": None, "to": "b" * 40}
    record |= {"outcome": "succeeded", "reason": None}
    record |= {"started_at": "2026-01-01T00:00:00Z", "update_type": "none", "strategy": "none"}
    line = ("r-1", CLUSTER, "succeeded", json.dumps(record))
    database.execute("INSERT INTO runs (run, cluster, outcome, record) VALUES (?, ?, ?, ?)", line)
    database.execute("PRAGMA user_version = 1")
    database.commit()
    database.close()
    service = pending(stage)
    assert [one["run"] for one in service.history()["runs"]] == ["r-1"]
    assert service.run("r-1")["outcome"] == "succeeded"
    assert service.status()["last_check"]["outcome"] == "ok"
    assert list(stage.folder.glob("state.sqlite3.schema-1*")), "a copy of what it was lies beside it"
