"""The store met by crowds, crashes, full disks and damaged files."""

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from dual_update.adapters.store import BALLAST_BYTES, DATABASE, SqliteStore, default_state_directory
from dual_update.core.errors import NotNow, WorldError
from tests.conftest import missing


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "var" / "state"


@pytest.fixture
def store(folder: Path) -> Iterator[SqliteStore]:
    with SqliteStore(folder) as store:
        yield store


def begin(store: SqliteStore, run: str = "r1", cluster: str = "shop", **more: object) -> None:
    store.begin({"run": run, "cluster": cluster, "kind": "apply", **more})


def child(folder: Path, script: str, *arguments: str) -> "subprocess.Popen[str]":
    """A process of its own with `store` at hand."""
    text = (
        "import sys, time, os\n"
        "from dual_update.adapters.store import SqliteStore\n"
        "store = SqliteStore(sys.argv[1])\n" + script
    )
    return subprocess.Popen(
        [sys.executable, "-c", text, str(folder), *arguments], stdout=subprocess.PIPE, text=True
    )


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


# --- runs and journal


def test_a_run_from_its_beginning_to_its_end(store: SqliteStore) -> None:
    begin(store, snapshot={"ü": [1]})
    store.write("r1", "pull", "web", "started")
    store.write("r1", "pull", "web", "finished", "2 s")
    store.amend("r1", {"reason": "because"})
    assert store.unfinished("shop") == {
        "run": "r1",
        "cluster": "shop",
        "kind": "apply",
        "snapshot": {"ü": [1]},
        "reason": "because",
    }
    assert [(e.op, e.target, e.phase, e.detail) for e in store.journal("r1")] == [
        ("pull", "web", "started", ""),
        ("pull", "web", "finished", "2 s"),
    ]
    store.finish("r1", "succeeded", {"outcome": "not this", "to": "c2"})
    found = store.run("r1")
    assert found is not None
    assert (found["outcome"], found["to"], found["reason"]) == ("succeeded", "c2", "because")
    assert store.unfinished("shop") is None


def test_runs_are_listed_newest_first(store: SqliteStore) -> None:
    for number in range(5):
        begin(store, f"r{number}", "shop" if number % 2 else "blog")
    assert [run["run"] for run in store.runs()] == ["r4", "r3", "r2", "r1", "r0"]
    assert [run["run"] for run in store.runs("blog", limit=2, offset=1)] == ["r2", "r0"]
    assert store.clusters() == ("blog", "shop")
    assert store.run("none") is None
    assert store.journal("none") == ()


def test_a_run_begins_once_and_an_unknown_one_never_ends(store: SqliteStore) -> None:
    begin(store)
    with pytest.raises(WorldError, match="exists already"):
        begin(store)
    with pytest.raises(WorldError, match="no run nope"):
        store.amend("nope", {})
    with pytest.raises(WorldError, match="no run nope"):
        store.finish("nope", "succeeded", {})


def test_quarantine(store: SqliteStore) -> None:
    store.quarantine("shop", "f1", "crashed", "r1")
    store.quarantine("shop", "f1", "crashed again", "r2")
    store.quarantine("shop", "f2", "bad", "r3")
    store.quarantine("blog", "f1", "bad", "r4")
    assert store.quarantined("shop", "f1") == "crashed again"
    assert store.quarantined("shop", "f9") is None
    assert store.release("shop", "f1") == 1
    assert store.quarantined("shop", "f1") is None
    assert store.release("shop") == 1
    assert store.quarantined("blog", "f1") == "bad"


# --- crowds and crashes


def test_twenty_processes_write_at_once(store: SqliteStore, folder: Path) -> None:
    """Also the making of the database is theirs to fight for."""
    script = (
        "me = sys.argv[2]\n"
        "store.begin({'run': me, 'cluster': 'shop'})\n"
        "for n in range(10): store.write(me, 'step', str(n), 'finished')\n"
        "store.finish(me, 'succeeded', {})\n"
    )
    children = [child(folder, script, f"r{number}") for number in range(20)]
    assert [process.wait(120) for process in children] == [0] * 20
    assert len(store.runs(limit=100)) == 20
    for number in range(20):
        assert [entry.target for entry in store.journal(f"r{number}")] == [str(n) for n in range(10)]


def test_what_was_written_survives_a_kill(store: SqliteStore, folder: Path) -> None:
    script = (
        "store.begin({'run': 'r1', 'cluster': 'shop'})\n"
        "n = 0\n"
        "while True:\n"
        "    store.write('r1', 'step', str(n), 'started'); print(n, flush=True); n += 1\n"
    )
    process = child(folder, script)
    lines = [first_line(process) for _ in range(30)]
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate(timeout=20)
    said = int((rest.split() or lines)[-1])
    found = [int(entry.target) for entry in store.journal("r1")]
    assert found[: said + 1] == list(range(said + 1))
    assert len(found) <= said + 2  # at most one more, written and not yet said
    assert store.unfinished("shop") is not None


def test_a_transaction_that_was_cut_off_has_not_happened(store: SqliteStore, folder: Path) -> None:
    begin(store)
    script = (
        "def change(database):\n"
        "    database.execute('DELETE FROM runs')\n"
        "    print('in', flush=True); time.sleep(60)\n"
        "store._change('test', change)\n"
    )
    process = child(folder, script)
    assert first_line(process) == "in"
    process.kill()
    process.communicate(timeout=20)
    assert store.unfinished("shop") is not None


def test_a_forked_child_uses_a_connection_of_its_own(store: SqliteStore) -> None:
    begin(store)
    pid = os.fork()
    if pid == 0:
        try:
            store.write("r1", "child", "", "started")
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    store.write("r1", "parent", "", "started")
    assert [entry.op for entry in store.journal("r1")] == ["child", "parent"]


# --- files


def test_everything_is_private(store: SqliteStore, folder: Path) -> None:
    old = os.umask(0)
    try:
        begin(store)
        store.backup_directory("shop", "r1")
        with store.lock("key", "test", 0):
            found = {path: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]}
    finally:
        os.umask(old)
    assert {mode for path, mode in found.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in found.items() if path.is_file()} == {0o600}


def test_a_directory_shared_with_a_group_stays_so(folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o2770)
    with SqliteStore(folder) as store:
        begin(store)
        store.backup_directory("shop", "r1")
        with store.lock("key", "test", 0):
            found = {path: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}
    assert {mode for path, mode in found.items() if path.is_dir()} == {0o2770}
    assert {mode for path, mode in found.items() if path.is_file()} == {0o660}


@pytest.mark.parametrize(
    "content", [b"This is no database, but it is long enough to be one." * 100, b"\0" * 4096]
)
def test_a_damaged_database_is_named(folder: Path, content: bytes) -> None:
    folder.mkdir(parents=True)
    (folder / DATABASE).write_bytes(content)
    with SqliteStore(folder) as store, pytest.raises(WorldError, match="is damaged") as caught:
        store.runs()
    assert str(folder / DATABASE) in caught.value.message
    assert (folder / DATABASE).read_bytes() == content


def test_damage_in_the_middle_is_named(folder: Path) -> None:
    with SqliteStore(folder) as store:
        for number in range(200):
            begin(store, f"r{number}", padding="x" * 500)
    content = bytearray((folder / DATABASE).read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    (folder / DATABASE).write_bytes(content)
    with SqliteStore(folder) as store, pytest.raises(WorldError, match="is damaged"):
        store.runs(limit=1000)


def test_a_newer_database_is_left_alone(folder: Path) -> None:
    folder.mkdir(parents=True)
    with sqlite3.connect(folder / DATABASE) as database:
        database.execute("PRAGMA user_version = 99")
    with SqliteStore(folder) as store, pytest.raises(WorldError, match=r"newer dual-update \(schema 99"):
        begin(store)


def test_a_file_where_the_directory_should_be(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with (
        SqliteStore(tmp_path / "state") as store,
        pytest.raises(WorldError, match="Could not make the folder"),
    ):
        begin(store)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """16 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        missing("this user may not mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def write_until_full(store: SqliteStore) -> int:
    """How many steps were journaled before the store said that it could not."""
    for number in range(10_000):
        try:
            store.write("r1", "step", str(number), "started", "x" * 200)
        except WorldError as error:
            assert "no space is left on the disk" in error.message  # noqa: PT017
            return number
    raise AssertionError("the disk never was full")


def test_a_disk_that_fills_in_mid_run_leaves_room_for_the_way_back(small_disk: Path) -> None:
    with SqliteStore(small_disk / "state") as store:
        begin(store)
        fill(small_disk)
        done = write_until_full(store)
        assert done > 100
        assert len(store.journal("r1")) == done
    with SqliteStore(small_disk / "state") as store, store.lock("key", "test", 0):
        assert len(store.journal("r1")) == done  # nothing that was said to be written is lost
        (small_disk / "filler").unlink()
        store.finish("r1", "rolled_back", {})
        begin(store, "r2")
    assert (small_disk / "state" / "ballast").stat().st_size == BALLAST_BYTES


def test_a_disk_that_was_full_before_is_said(small_disk: Path) -> None:
    fill(small_disk)
    with (
        SqliteStore(small_disk / "state") as store,
        pytest.raises(WorldError, match=r"[Nn]o space (is )?left"),
    ):
        begin(store)


# --- backups


def test_latest_is_the_newest_backup_that_is_complete(store: SqliteStore, folder: Path) -> None:
    first = Path(store.backup_directory("shop", "20260101T000000Z-aa"))
    assert first == folder / "clusters" / "shop" / "backups" / first.name
    assert str(first) == store.backup_directory("shop", "20260101T000000Z-aa")
    (first / "original").mkdir()
    (first / "original" / "compose.yaml").write_text("services: {}")
    latest = first.parent / "latest"
    assert not latest.exists()
    store.seal_backup("shop", "20260101T000000Z-aa")
    assert latest.resolve() == first
    second = Path(store.backup_directory("shop", "20260102T000000Z-bb"))
    assert latest.resolve() == first
    store.seal_backup("shop", "20260102T000000Z-bb")
    assert latest.resolve() == second
    assert sorted(path.name for path in first.parent.iterdir()) == sorted([first.name, second.name, "latest"])
    assert (latest.parent / latest.readlink()) == second  # relative: the folder can be copied elsewhere


def test_sealing_what_is_not_there(store: SqliteStore) -> None:
    with pytest.raises(WorldError, match="no backup of run r1"):
        store.seal_backup("shop", "r1")


@pytest.mark.parametrize("name", ["../../etc", "a/b", "..", ".", "", "ü" * 300, "a b", "x\0y"])
def test_a_cluster_of_any_name_stays_inside(store: SqliteStore, folder: Path, name: str) -> None:
    made = Path(store.backup_directory(name, "r1"))
    assert made.is_dir()
    assert made.resolve().parent.parent.parent == (folder / "clusters").resolve()


def test_names_that_look_alike_stay_apart(store: SqliteStore) -> None:
    names = ("a/b", "a_b", "a b", "a:b")
    assert len({store.backup_directory(name, "r1") for name in names}) == len(names)


def test_old_runs_and_backups_go_the_newest_stay(store: SqliteStore) -> None:
    runs = [f"2026010{number}T000000Z-aa" for number in range(1, 7)]
    made = {}
    for run in runs:
        begin(store, run)
        store.write(run, "step", "", "started")
        made[run] = Path(store.backup_directory("shop", run))
        if run == runs[1]:
            store.seal_backup("shop", run)
        if run != runs[0]:
            store.finish(run, "succeeded", {})
    removed = store.prune("shop", runs=3, backups=2)
    assert [run["run"] for run in store.runs("shop")] == [runs[5], runs[4], runs[3], runs[0]]
    assert store.journal(runs[1]) == ()
    assert {run for run, path in made.items() if path.exists()} == {runs[0], runs[1], runs[4], runs[5]}
    assert sorted(removed) == [str(made[runs[2]]), str(made[runs[3]])]


def test_what_a_way_back_could_need(store: SqliteStore) -> None:
    for run in ("20260101T000000Z-aa", "20260102T000000Z-bb", "odd", "gone", "none"):
        begin(store, run, "shop" if run != "odd" else "blog")
        if run not in {"gone", "none"}:
            store.backup_directory("shop" if run != "odd" else "blog", run)
        if run != "none":
            store.finish(run, "succeeded", {})
    assert sorted(one["run"] for one in store.returnable()) == [
        "20260101T000000Z-aa",
        "20260102T000000Z-bb",
        "none",
        "odd",
    ]


def test_the_newest_good_run_and_what_tells_of_a_quarantine_are_never_pruned(store: SqliteStore) -> None:
    outcomes = ["succeeded", "succeeded", "rolled_back", "rolled_back", "refused", "refused"]
    for number, outcome in enumerate(outcomes):
        store.begin({"run": f"run{number}", "cluster": "shop"})
        store.backup_directory("shop", f"run{number}")
        store.finish(f"run{number}", outcome, {})
    store.quarantine("shop", "content", "it crashed", "run2")
    removed = store.prune("shop", runs=1, backups=1)
    assert [run["run"] for run in store.runs("shop")] == ["run5", "run2", "run1"]
    assert sorted(path.rpartition("-")[2] for path in removed) == ["run0", "run3", "run4"]


# --- locks

HOLD = "with store.lock(sys.argv[2], 'apply of main', 0):\n    print('held', flush=True); time.sleep(60)\n"


def test_a_held_lock_says_who_since_when_and_why(store: SqliteStore, folder: Path) -> None:
    process = child(folder, HOLD, "key")
    assert first_line(process) == "held"
    with pytest.raises(NotNow) as caught, store.lock("key", "mine", 0):
        pass
    assert f"process {process.pid}" in caught.value.message
    assert "apply of main" in caught.value.message
    assert " since 20" in caught.value.message
    with store.lock("another", "mine", 0):
        pass
    process.kill()
    process.communicate(timeout=20)


def test_a_killed_holder_holds_no_longer(store: SqliteStore, folder: Path) -> None:
    process = child(folder, HOLD, "key")
    assert first_line(process) == "held"
    process.kill()
    process.communicate(timeout=20)
    with store.lock("key", "mine", 0):
        (path,) = (folder / "locks").iterdir()
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert path.read_text() == ""


def test_a_program_that_the_holder_started_does_not_hold(store: SqliteStore, folder: Path) -> None:
    script = (
        "import subprocess\n"
        "with store.lock('key', 'apply', 0):\n"
        "    other = subprocess.Popen(['sleep', '30'], start_new_session=True, stdout=subprocess.DEVNULL)\n"
        "    print(other.pid, flush=True); os.kill(os.getpid(), 9)\n"
    )
    process = child(folder, script)
    orphan = int(first_line(process))
    process.communicate(timeout=20)
    try:
        with store.lock("key", "mine", 0):
            pass
    finally:
        os.kill(orphan, signal.SIGKILL)


def test_whoever_waits_gets_the_lock_when_it_is_free(store: SqliteStore, folder: Path) -> None:
    process = child(folder, HOLD.replace("60", "1"), "key")
    assert first_line(process) == "held"
    began = time.monotonic()
    with store.lock("key", "mine", 20):
        assert 0.3 < time.monotonic() - began < 15
    assert process.wait(20) == 0


def test_waiting_ends(store: SqliteStore) -> None:
    with store.lock("key", "first", 0):
        began = time.monotonic()
        with pytest.raises(NotNow, match="first"), store.lock("key", "second", 0.3):
            pass
        assert 0.3 <= time.monotonic() - began < 5
    with store.lock("key", "third", 0):
        pass


def test_only_one_of_many_is_inside(store: SqliteStore, folder: Path) -> None:
    script = (
        "from pathlib import Path\n"
        "for _ in range(5):\n"
        "    with store.lock('key', 'count', 60):\n"
        "        path = Path(sys.argv[2]); number = int(path.read_text()); time.sleep(0.002)\n"
        "        path.write_text(str(number + 1))\n"
    )
    counter = folder.parent / "counter"
    counter.parent.mkdir(parents=True, exist_ok=True)
    counter.write_text("0")
    children = [child(folder, script, str(counter)) for _ in range(6)]
    assert [process.wait(100) for process in children] == [0] * 6
    assert counter.read_text() == "30"


def test_where_the_state_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DUAL_UPDATE_STATE_DIR", "/somewhere")
    assert default_state_directory() == Path("/somewhere")
    monkeypatch.delenv("DUAL_UPDATE_STATE_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    wanted = Path("/var/lib/dual-update") if os.geteuid() == 0 else tmp_path / "dual-update"
    assert default_state_directory() == wanted
