"""A damaged database: set aside, never overwritten, and as much as can be read is kept."""

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from dual_update.adapters.store import DATABASE, SqliteStore
from dual_update.adapters.store_repair import is_sound, repair
from dual_update.core.errors import NotNow, WorldError
from tests.adapters.test_store import begin


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def filled(folder: Path, runs: int = 300) -> None:
    with SqliteStore(folder) as store:
        store.quarantine("shop", "f1", "it crashed", "r1")
        store.notes.accept_delivery("d1", "push")
        for number in range(runs):
            begin(store, f"r{number}", snapshot="x" * 900)
            if number < runs - 1:
                store.finish(f"r{number}", "succeeded", {"duration_seconds": 3})
        store.prune("shop", runs=runs - 100, backups=1)
    with sqlite3.connect(folder / DATABASE) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def hit(folder: Path, share: float) -> bytes:
    """Spoil one page, somewhere in the file."""
    path = folder / DATABASE
    content = bytearray(path.read_bytes())
    place = int(len(content) * share) // 4096 * 4096
    content[place : place + 4096] = b"\xa5" * 4096
    path.write_bytes(content)
    return bytes(content)


def test_a_sound_database_is_left_alone(folder: Path) -> None:
    filled(folder, 120)
    before = (folder / DATABASE).read_bytes()
    assert repair(folder).aside is None
    assert (folder / DATABASE).read_bytes() == before
    assert repair(folder / "nowhere").aside is None


def test_wherever_it_is_hit_most_is_kept_and_the_original_stays(folder: Path, tmp_path: Path) -> None:
    filled(folder)
    kept_at_least: list[int] = []
    for place in range(1, 10):
        copy = tmp_path / f"copy{place}"
        shutil.copytree(folder, copy)
        content = hit(copy, place / 10)
        if is_sound(copy / DATABASE):
            continue  # a free page
        done = repair(copy)
        assert done.aside is not None
        assert done.aside.read_bytes() == content
        assert is_sound(copy / DATABASE)
        with SqliteStore(copy) as store:
            kept_at_least.append(len(store.runs(limit=1000)))
            store.history.page()
            store.history.totals()
            begin(store, "new")
    assert len(kept_at_least) >= 5
    assert sorted(kept_at_least)[len(kept_at_least) // 2] > 100, kept_at_least


def test_a_run_that_did_not_end_and_a_quarantine_come_along(folder: Path) -> None:
    filled(folder)
    with sqlite3.connect(folder / DATABASE) as database:
        page = database.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'history_by_time'"
        ).fetchone()[0]
        totals = database.execute("SELECT sum(runs) FROM totals").fetchone()[0]
    content = bytearray((folder / DATABASE).read_bytes())
    content[(page - 1) * 4096 : page * 4096] = b"\xa5" * 4096  # an index: no row is lost
    (folder / DATABASE).write_bytes(content)
    with SqliteStore(folder) as store, pytest.raises(WorldError, match="repair-state"):
        store.history.page()
    done = repair(folder)
    assert done.unreadable == ()
    with SqliteStore(folder) as store:
        unfinished = store.unfinished("shop")
        assert unfinished is not None
        assert unfinished["run"] == "r299"
        assert store.quarantined("shop", "f1") == "it crashed"
        assert store.notes.accept_delivery("d1", "push") is False
        assert sum(one.count for one in store.history.totals()) == totals == 299, "forgotten runs still count"


def test_no_database_at_all(folder: Path) -> None:
    folder.mkdir()
    (folder / DATABASE).write_bytes(b"not a database" * 1000)
    done = repair(folder)
    assert done.aside is not None
    assert "nothing could be read" in done.text()
    assert "may be among it" in done.text()
    with SqliteStore(folder) as store:
        assert store.runs() == ()


def test_twice_does_not_overwrite_what_was_set_aside(folder: Path) -> None:
    folder.mkdir()
    for content in (b"first" * 1000, b"second" * 1000):
        (folder / DATABASE).write_bytes(content)
        script = (
            "import sys; from pathlib import Path\n"
            "from dual_update.adapters.store_repair import repair\n"
            "repair(Path(sys.argv[1]))"
        )
        subprocess.run([sys.executable, "-c", script, str(folder)], check=True)
    found = sorted(folder.glob(f"{DATABASE}.damaged.*[0-9]"))
    assert sorted(one.read_bytes() for one in found) == [b"first" * 1000, b"second" * 1000]


def test_not_while_a_cluster_is_being_updated(folder: Path) -> None:
    with SqliteStore(folder) as store, store.lock("key", "apply", 0):
        (folder / DATABASE).write_bytes(b"not a database" * 1000)
        with pytest.raises(NotNow, match="being updated"):
            repair(folder)
    assert (folder / DATABASE).read_bytes() == b"not a database" * 1000


def test_by_the_command(folder: Path) -> None:
    folder.mkdir()
    (folder / DATABASE).write_bytes(b"not a database" * 1000)
    done = subprocess.run(
        [sys.executable, "-m", "dual_update", "repair-state", "--state-dir", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "was set aside" in done.stdout
