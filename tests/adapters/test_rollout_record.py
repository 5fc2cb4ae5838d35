"""The record of a roll-out: whole or not at all, and wishes that are read once."""

import json
from pathlib import Path

import pytest

from dual_update.adapters.rollout_record import RolloutRecord, fleet_key, from_json, to_json
from dual_update.core.errors import WorldError
from dual_update.core.rollout import Rollout, Stage, Start

WHOLE = Rollout(
    "r1",
    "2" * 40,
    (Stage(0, "staging", ("a",), 1, 60.0), Stage(1, "rest", ("b", "c"), 2)),
    {"a": Start("1" * 40, "run-1"), "b": Start(), "c": Start("1" * 40)},
    "rollback_all",
    frozenset("bc"),
    frozenset("b"),
    "back",
    None,
    is_paused=True,
    is_aborted=True,
    failed={"a": "It was unwell."},
    stuck={"c": "It does not answer."},
    applied_at={0: 12.5},
    silent_since={"c": 1.0},
    patience_seconds=7.0,
)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    record = RolloutRecord(tmp_path, fleet_key("abc"))
    assert record.load() is None
    record.save(WHOLE)
    assert record.load() == WHOLE
    assert from_json(json.loads(json.dumps(to_json(WHOLE)))) == WHOLE


def test_another_fleet_has_another_record(tmp_path: Path) -> None:
    RolloutRecord(tmp_path, fleet_key("abc")).save(WHOLE)
    assert RolloutRecord(tmp_path, fleet_key("ab")).load() is None
    assert fleet_key("abc") == fleet_key("cba")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"schema": "dual-update/rollout-record/v2"}'])
def test_a_record_that_is_none_is_said_to_be(tmp_path: Path, content: str) -> None:
    record = RolloutRecord(tmp_path, "f")
    record.save(WHOLE)
    next(tmp_path.rglob("rollout.json")).write_text(content)
    with pytest.raises(WorldError, match="no record of a roll-out"):
        record.load()


def test_a_wish_waits_until_it_is_heeded(tmp_path: Path) -> None:
    record = RolloutRecord(tmp_path, "f")
    assert record.wish() == ""
    record.leave("abort")
    assert (record.wish(), record.wish()) == ("abort", "abort")
    record.heeded()
    record.heeded()
    assert record.wish() == ""
    record.leave("dance")  # type: ignore[arg-type]
    assert record.wish() == ""
