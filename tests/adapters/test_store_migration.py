"""Older databases: copied beside, led to the newest tables, and no run of theirs lost."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from dual_update.adapters.store import DATABASE, SqliteStore
from dual_update.adapters.store_schema import MIGRATIONS
from dual_update.core.errors import WorldError
from tests.adapters.test_store import begin, fill, small_disk

__all__ = ["small_disk"]  # a fixture

RECORD = (
    '{"run": "%s", "cluster": "shop", "kind": "apply", "strategy": "revamp", "to": "c2",'
    ' "started_at": "2026-01-01T00:00:00Z", "duration_seconds": 4.5, "finished_at": "2026-01-01T00:00:04.5Z"}'
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def first_version(folder: Path, padding: int = 0) -> None:
    """A database as schema 1 wrote it: two runs, one of them unfinished, a journal, a quarantine."""
    folder.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(folder / DATABASE)
    with database:
        database.execute("PRAGMA journal_mode = WAL")
        for statement in MIGRATIONS[0]:
            database.execute(statement)
        database.execute(
            "INSERT INTO runs (run, cluster, outcome, record) VALUES ('r1', 'shop', 'succeeded', ?)",
            (RECORD % "r1",),
        )
        database.execute(
            "INSERT INTO runs (run, cluster, record) VALUES ('r2', 'shop', ?)",
            (RECORD.replace("apply", "x" * padding or "apply") % "r2",),
        )
        database.execute(
            "INSERT INTO journal (run, op, target, phase, at, detail) VALUES ('r2', 'pull', '', '', '', '')"
        )
        database.execute("INSERT INTO quarantine VALUES ('shop', 'f1', 'it crashed', 'r1', '')")
        database.execute("PRAGMA user_version = 1")
    database.close()


def copies(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{DATABASE}.schema-*"))


def test_an_older_database_is_copied_and_migrated(folder: Path) -> None:
    first_version(folder)
    with SqliteStore(folder) as store:
        assert [run["run"] for run in store.runs()] == ["r2", "r1"]
        unfinished = store.unfinished("shop")
        assert unfinished is not None
        assert unfinished["run"] == "r2"
        assert len(store.journal("r2")) == 1
        assert store.quarantined("shop", "f1") == "it crashed"
        lines = store.history.page().lines
        assert [(line["run"], line["outcome"], line["duration_seconds"]) for line in lines] == [
            ("r2", None, 4.5),
            ("r1", "succeeded", 4.5),
        ]
        assert [(one.outcome, one.count, one.seconds) for one in store.history.totals()] == [
            ("succeeded", 1, 4.5)
        ]
        store.finish("r2", "rolled_back", {})
        assert len(store.history.totals()) == 2
    (copy,) = copies(folder)
    assert copy.name.startswith(f"{DATABASE}.schema-1.20")
    assert copy.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(f"file:{copy}?mode=ro&immutable=1", uri=True) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)
        assert database.execute("SELECT count(*) FROM runs").fetchone() == (2,)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_new_database_and_a_current_one_are_not_copied(folder: Path) -> None:
    for _ in range(2):
        with SqliteStore(folder) as store:
            store.runs()
    assert copies(folder) == []


def test_the_copy_holds_what_was_still_in_the_log(folder: Path) -> None:
    """The write-ahead log of a process that was killed belongs to the database."""
    first_version(folder)
    script = (
        "import os, sqlite3, sys\n"
        "d = sqlite3.connect(sys.argv[1]); d.execute('PRAGMA wal_autocheckpoint = 0')\n"
        "d.execute(\"INSERT INTO runs (run, cluster, record) VALUES ('r3', 'b', '{}')\")\n"
        "d.commit(); os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(folder / DATABASE)], check=False)
    assert (folder / f"{DATABASE}-wal").stat().st_size > 0
    with SqliteStore(folder) as store:
        assert store.run("r3") == {}
        assert store.history.count() == 3
    with sqlite3.connect(f"file:{copies(folder)[0]}?mode=ro&immutable=1", uri=True) as database:
        assert database.execute("SELECT count(*) FROM runs").fetchone() == (3,)


def test_eight_processes_migrate_once(folder: Path) -> None:
    first_version(folder)
    script = (
        "import sys; from dual_update.adapters.store import SqliteStore\n"
        "print(SqliteStore(sys.argv[1]).history.count())"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    assert [child.communicate(timeout=60)[0].strip() for child in children] == ["2"] * 8
    assert len(copies(folder)) == 1


def test_a_process_of_the_old_version_ends_its_run_after_the_migration(folder: Path) -> None:
    """It opened the database before, and knows `runs` and `journal` only."""
    first_version(folder)
    old = sqlite3.connect(folder / DATABASE, isolation_level=None)
    old.execute("SELECT count(*) FROM runs").fetchone()
    with SqliteStore(folder) as store:
        assert store.history.count(outcome="unfinished") == 1
        old.execute("UPDATE runs SET record = ? WHERE run = 'r2'", (RECORD % "r2",))
        old.execute("UPDATE runs SET outcome = 'rolled_back' WHERE run = 'r2'")
        old.execute("INSERT INTO runs (run, cluster, record) VALUES ('r9', 'shop', ?)", (RECORD % "r9",))
        assert {line["run"]: line["outcome"] for line in store.history.page().lines} == {
            "r1": "succeeded",
            "r2": "rolled_back",
            "r9": None,
        }
        assert {one.outcome: one.count for one in store.history.totals()} == {
            "succeeded": 1,
            "rolled_back": 1,
        }
    old.close()


def test_no_room_for_the_copy_changes_nothing(small_disk: Path) -> None:
    state = small_disk / "state"
    first_version(state, padding=3_000_000)
    fill(small_disk)
    with SqliteStore(state) as store, pytest.raises(WorldError, match=r"[Nn]o space|disk is full|disk I/O"):
        store.runs()
    assert copies(state) == []
    (small_disk / "filler").unlink()
    with SqliteStore(state) as store:
        assert len(store.runs()) == 2
    assert len(copies(state)) == 1


def test_a_newer_database_is_refused_and_stays(folder: Path) -> None:
    with SqliteStore(folder) as store:
        begin(store)
    with sqlite3.connect(folder / DATABASE) as database:
        database.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with SqliteStore(folder) as store, pytest.raises(WorldError, match="newer dual-update"):
        store.history.page()
    assert copies(folder) == []
