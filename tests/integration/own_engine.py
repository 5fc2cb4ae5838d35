"""A docker engine of our own, which may be killed: its own data, socket, bridge names and processes.

What belongs to it is known by its folder, which every process of it names on its command line; containers
are what these processes started.
"""

import os
import random
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Self

import docker

from tests.integration.world import eventually, run


class OwnEngine:
    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="du-engine-", dir="/var/tmp"))
        self.host = f"unix://{self.root}/socket"
        self.process: subprocess.Popen[bytes] | None = None
        self.pool = f"10.{random.randint(200, 250)}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(Exception):
            client = docker.DockerClient(base_url=self.host)
            for one in client.containers.list(all=True):
                one.remove(force=True)
            for network in client.networks.list():
                if network.name not in {"none", "host", "bridge"}:
                    network.remove()
            client.close()
        kill(self.root)
        if self.process is not None:
            self.process.wait()
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        for mount in sorted((line.split()[1] for line in mounts if str(self.root) in line), reverse=True):
            subprocess.run(["umount", "-l", mount], check=False, capture_output=True)
        shutil.rmtree(self.root, ignore_errors=True)
        for line in run("ip", "-o", "-4", "addr", "show").splitlines():  # bridges outlive their engine
            name, address = line.split()[1], line.split()[3]
            if name.startswith("br-") and address.startswith(f"{self.pool}."):
                run("ip", "link", "delete", name)

    def start(self) -> None:
        """Start it, or start it again after it was killed. Its pid file may be a dead process's."""
        if self.process is not None:
            self.process.wait()
            for stale in ("pid", "run/containerd/containerd.pid", "run/containerd/containerd.sock"):
                (self.root / stale).unlink(missing_ok=True)
        with (self.root / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    "dockerd",
                    f"--data-root={self.root}/data",
                    f"--exec-root={self.root}/run",
                    f"--pidfile={self.root}/pid",
                    f"--host={self.host}",
                    "--bridge=none",
                    "--iptables=false",
                    "--ip6tables=false",
                    "--ip-masq=false",
                    f"--default-address-pool=base={self.pool}.0.0/16,size=24",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        eventually(self.answers, within_seconds=60, what=f"our engine answers ({self.root}/log)")

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.root / "log").read_text()[-3000:]
        try:
            client = docker.DockerClient(base_url=self.host, timeout=5)
            return bool(client.ping())
        except Exception:
            return False


def kill(root: str | Path) -> None:
    """SIGKILL for the engine in this folder, all that it started, and all that runs in its containers."""
    parents: dict[int, int] = {}
    chosen: set[int] = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            pid = int(entry.name)
            parents[pid] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            words = (entry / "cmdline").read_bytes()
            name = (entry / "comm").read_text().strip()
            if str(root).encode() in words and name.startswith(("dockerd", "containerd", "runc", "exe")):
                chosen.add(pid)
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in chosen} - chosen
        chosen |= more
        grown = bool(more)
    for pid in sorted(chosen - {os.getpid()}):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
