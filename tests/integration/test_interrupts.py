"""One writer at a time; and a signal, whenever it comes, ends in the old version and exit code 130."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dual_update.adapters.docker import DockerEngine
from dual_update.adapters.store import SqliteStore
from dual_update.usecases.recover import lock_key
from tests.integration.killing import ROOT, Arena
from tests.integration.world import World, eventually


def start(arena: Arena, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "dual_update", *arguments],
        cwd=arena.cluster.directory,
        env={**os.environ, "DUAL_UPDATE_STATE_DIR": str(arena.state), "PYTHONPATH": f"{ROOT}/src"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def act_of(acts: list[dict[str, Any]], what: str, on: str = "") -> int:
    return next(one["act"] for one in acts if one["what"] == what and on in one["on"])


def test_a_locked_cluster_says_who_since_when_and_why_and_can_be_waited_for(world: World) -> None:
    arena = Arena(world, "image")
    wanted, command = arena.prepare()
    with DockerEngine() as engine, SqliteStore(arena.state) as store:
        key = f"{engine.info().id}-{arena.cluster.project}"
        assert lock_key.__doc__  # the key is the engine's id and the project
        with store.lock(key, "a long test", 0):
            refused = arena.run(*command)
            assert refused.returncode == 5
            for word in (str(os.getpid()), "a long test", "since 20", "--wait"):
                assert word in refused.stderr
            waiting = start(arena, *command, "--wait", "60")
            time.sleep(3)
            assert waiting.poll() is None
        out, err = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, out + err
    arena._end(wanted, None)
    assert arena.version == wanted
    assert arena.wrong() == []


def test_two_at_once_make_one_change(world: World) -> None:
    arena = Arena(world, "image")
    wanted, command = arena.prepare()
    both = [start(arena, *command, "--wait", "90", "--format", "json") for _ in range(2)]
    answers = [one.communicate(timeout=120) for one in both]
    assert [one.returncode for one in both] == [0, 0], answers
    assert sorted(json.loads(out)["outcome"] for out, _ in answers) == ["succeeded", "unchanged"]
    arena._end(wanted, None)
    assert arena.wrong() == []


PHASES = {
    "pull": ("refused", "delay", "ComposeWorkshop.pull", "", "0.05"),
    "backup": ("refused", "before", "HostDisk.write", "", ""),
    "checkout": ("rolled_back", "before", "GitCheckout.move", "", ""),
    "up": ("rolled_back", "event", "ComposeCli.up", "", "5"),
    "prove": ("rolled_back", "after", "SqliteStore.write", "prove cluster started", ""),
    "audit": ("rolled_back", "after", "SqliteStore.write", "audit cluster started", ""),
}


@pytest.mark.parametrize("blow", ["INT", "TERM"])
def test_a_signal_in_any_phase_is_taken_back(world: World, blow: str) -> None:
    arena = Arena(world, "changed")
    acts = arena.acts()
    phases = PHASES if blow == "INT" else {one: PHASES[one] for one in ("pull", "up")}
    for phase, (outcome, when, what, on, rest) in phases.items():
        before = arena.version
        number = act_of(acts[arena.side], what, on)
        wanted, command = arena.prepare()
        done = arena.run(*command, "--format", "json", point=f"{blow}:{when}:{number}:{rest}".rstrip(":"))
        assert done.returncode == 130, f"{phase}: {done.stdout}{done.stderr}"
        report = json.loads(done.stdout)
        assert report["outcome"] == outcome, phase
        assert arena.version == before
        assert arena.wrong() == [], phase
        assert arena.run("recover").stdout == "Nothing to recover.\n"
        assert wanted != before


def test_more_signals_do_not_disturb_the_way_back(world: World) -> None:
    arena = Arena(world, "revamp")
    acts = arena.acts()
    number = act_of(acts[arena.side], "ComposeCli.up")
    before = arena.version
    _, command = arena.prepare()
    sent = []

    def insist() -> None:
        with SqliteStore(arena.state) as store:
            run = None
            while run is None:
                run = store.unfinished(arena.cluster.project)
                time.sleep(0.02)
            eventually(lambda: any(e.op == "restore" for e in store.journal(run["run"])), within_seconds=60)
        for pid in pids():
            for _ in range(3):
                os.kill(pid, signal.SIGINT)
                os.kill(pid, signal.SIGTERM)
                sent.append(pid)
                time.sleep(0.05)

    def pids() -> list[int]:
        """Of the one process that was told to work on this tale."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if str(arena.tale).encode() in words:
                    found.append(int(entry.name))
        return found

    thread = threading.Thread(target=insist, daemon=True)
    thread.start()
    done = arena.run(*command, point=f"INT:event:{number}:6")
    thread.join(10)
    assert sent
    assert done.returncode == 130, done.stdout + done.stderr
    assert arena.history()[0]["outcome"] == "rolled_back"
    assert arena.version == before
    assert arena.wrong() == []
