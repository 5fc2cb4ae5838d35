"""What changes the cluster ends with the deployer, however the deployer ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

CHILD = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
DEPLOYER = """
import sys
from dual_update.adapters.process import run
run([sys.executable, "-c", sys.argv[3], sys.argv[1]], dies_with_us=sys.argv[2] == "yes")
"""


def child_of_a_killed_deployer(note: Path, dies: str) -> int:
    deployer = subprocess.Popen([sys.executable, "-c", DEPLOYER, str(note), dies, CHILD])
    end = time.monotonic() + 30
    while not (note.exists() and note.read_text().strip()):
        assert time.monotonic() < end
        time.sleep(0.02)
    deployer.kill()
    deployer.wait()
    return int(note.read_text())


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_child_dies_with_a_killed_deployer(tmp_path: Path) -> None:
    pid = child_of_a_killed_deployer(tmp_path / "note", "yes")
    end = time.monotonic() + 5
    while is_alive(pid):
        assert time.monotonic() < end, "it outlived the deployer"
        time.sleep(0.02)


def test_a_child_that_only_reads_may_outlive_it(tmp_path: Path) -> None:
    """The other half: without being told so nothing is killed, so the test above can fail."""
    pid = child_of_a_killed_deployer(tmp_path / "note", "no")
    time.sleep(0.3)
    assert is_alive(pid)
    os.kill(pid, signal.SIGKILL)
