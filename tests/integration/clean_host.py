"""A Debian host of its own for a test: a clean root with systemd in charge, beside this machine's engine.

The root is the base that tests/integration/action_image.py makes, and systemd. The host's engine is this
machine's, by its socket, as on a host that has an engine already; the network is this machine's too. What
the guest's services do to files and processes stays inside. Two rules: nothing may start a second engine in
it (it would meddle with the network of this one), and a checkout lives below /srv: /tmp is the guest's own.
"""

import hashlib
import os
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.integration.action_image import base_image, checked, docker, has_image
from tests.integration.world import LABEL, PREFIX, SESSION

HOST = "dual-update-test-host"
SOCKET = Path("/var/run/docker.sock")
RECIPE = """\
FROM {base}
LABEL {host}=
RUN apt-get update -q && apt-get install -q -y --no-install-recommends systemd && apt-get clean \\
 && printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d
RUN systemctl mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer dpkg-db-backup.timer
"""
TREE = (
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "requirements.lock",
    "requirements-build.lock",
    "src",
    "runner",
)
ROOT = Path(__file__).parents[2]


def host_image(folder: Path) -> str:
    """The tag of the clean root with systemd, built if it is not there."""
    recipe = RECIPE.format(base=base_image(), host=HOST)
    tag = f"{HOST}:{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    if not has_image(tag):
        context = folder / "host-image"
        context.mkdir()
        (context / "Dockerfile").write_text(recipe)
        docker("build", "--quiet", "--force-rm", "--network", "host", "--tag", tag, str(context), seconds=600)
    return tag


def control_groups() -> list[str]:
    """Options that give systemd a place to keep its processes apart: below its own container, in either way
    the kernel offers (one tree for all, or one for each purpose, of which one is systemd's)."""
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        return ["--cgroupns", "host", "--volume", f"{root}:{root}:rw"]
    own = root / "systemd"
    if not own.is_dir():
        checked("mkdir", "-p", str(own))
        checked("mount", "-t", "cgroup", "-o", "none,name=systemd", "systemd", str(own))
    return ["--cgroupns", "private", "--volume", f"{own}:{own}:rw"]


class Host:
    """A running host. `run` must succeed, `try_run` may fail; both as root unless a user is named."""

    def __init__(self, name: str, folder: Path, *, has_engine: bool = True, has_systemd: bool = True) -> None:
        self.name = f"{PREFIX}{name}"
        image = host_image(folder)
        options = ["--detach", "--name", self.name, "--label", f"{LABEL}={SESSION}", "--network", "host"]
        options += ["--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp", "--env", "container=docker"]
        options += ["--volume", f"{_source_tree(folder)}:/source:ro"]
        for variable in (
            "PIP_CERT",
            "PIP_INDEX_URL",
            "SSL_CERT_FILE",
            "HTTPS_PROXY",
            "HTTP_PROXY",
            "NO_PROXY",
        ):
            if variable in os.environ:
                options += ["--env", variable]
        if has_engine:
            options += ["--volume", f"{SOCKET}:{SOCKET}"]
        if has_systemd:
            options += ["--cap-add", "SYS_ADMIN", *control_groups()]
            options += ["--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"]
        command = ["/lib/systemd/systemd", "--unit=basic.target"] if has_systemd else ["sleep", "3600"]
        docker("run", *options, image, *command)
        if has_systemd:
            self._await_systemd()
        if has_engine:
            self.run(f"groupadd --gid {SOCKET.stat().st_gid} docker")

    def try_run(
        self, command: str, *, user: str = "", stdin: str | None = None, seconds: float = 180
    ) -> subprocess.CompletedProcess[str]:
        """One shell command; as another user with that user's groups and home, as sudo would."""
        words: Sequence[str] = ["sh", "-c", command]
        if user:
            switch = ["setpriv", "--reuid", user, "--regid", user, "--init-groups"]
            words = [*switch, "env", "-C", "/", f"HOME=/srv/{user}", *words]
        interactive = ["--interactive"] if stdin is not None else []
        return subprocess.run(
            ["docker", "exec", *interactive, self.name, *words],
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def run(self, command: str, *, user: str = "", stdin: str | None = None, seconds: float = 180) -> str:
        done = self.try_run(command, user=user, stdin=stdin, seconds=seconds)
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def write(self, path: str, text: str, *, owner: str = "root:root", mode: str = "644") -> None:
        it = shlex.quote(path)
        make = f"mkdir -p $(dirname {it}) && cat >{it} && chown {owner} {it} && chmod {mode} {it}"
        self.run(make, stdin=text)

    def journal(self, unit: str) -> str:
        """What the unit said so far."""
        self.run("journalctl --sync")
        return self.run(f"journalctl --unit {unit} --output cat --no-pager")

    def close(self) -> None:
        docker("rm", "--force", "--volumes", self.name)

    def _await_systemd(self) -> None:
        end = time.monotonic() + 60
        while self.try_run("systemctl is-system-running").stdout.strip() not in {"running", "degraded"}:
            assert time.monotonic() < end, docker("logs", self.name)
            time.sleep(0.2)


def _source_tree(folder: Path) -> Path:
    """This checkout as it is now, out of reach of whoever edits it: a release is named by its content."""
    copy = folder / "source"
    if not copy.exists():
        copy.mkdir()
        without = ["--exclude=__pycache__"]
        tree = subprocess.run(
            ["tar", "-C", str(ROOT), *without, "-c", *TREE], capture_output=True, check=True, timeout=60
        )
        subprocess.run(["tar", "-C", str(copy), "-x"], input=tree.stdout, check=True, timeout=60)
    return copy
