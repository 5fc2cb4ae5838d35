"""A fleet of isolated projects on one engine, each with a checkout and a state folder of its own, and two
bare repositories: a parent, and the submodule that its compose file mounts a file of.

Every version has a number. It stands in the parent (the image's tag and an environment variable) and in the
submodule (a file that the container sees), so that a container tells whether the two belong together.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.integration.world import Cluster, Flavour, World, http_get, run

FAST = "health: {settle_seconds: 0.2, deadline_seconds: 10}\n"
ROOT = Path(__file__).parents[2]


def compose(image: str, version: int) -> str:
    return f"""
services:
  web:
    image: {image}
    init: true
    stop_grace_period: 1s
    environment: {{PARENT: "{version}"}}
    volumes: ["./lib/version:/lib-version:ro"]
    ports: ["127.0.0.1:${{PORT}}:80"]
"""


@dataclass
class Member:
    """One cluster: its name in the fleet, its checkout, its state folder, its port."""

    name: str
    cluster: Cluster
    state: Path
    port: int
    urls: dict[str, str] = field(default_factory=dict)

    def history(self) -> list[dict[str, Any]]:
        from dual_update.adapters.store import SqliteStore

        with SqliteStore(self.state) as store:
            return [dict(one) for one in store.runs(self.name, limit=1000)]

    def versions(self) -> tuple[str, str]:
        """What the running container was given by the parent, and by the submodule."""
        return (
            http_get(self.port, "/env/PARENT", within_seconds=5).body,
            http_get(self.port, "/file/lib-version", within_seconds=5).body,
        )


class Fleet:
    """Clusters `a`, `b`, `c`, ... in stages 0, 1, 2, ...; all run version 1 of both repositories."""

    def __init__(self, world: World, names: Sequence[str] = ("a", "b", "c")) -> None:
        self.world = world
        self.number = 0
        self.commits: list[str] = []
        self.folder = world.folder
        self.state = world.folder / "coordinator"
        self.parent = world.repo({"README": "parent"})
        self.lib = world.repo({"version": "0"})
        self.bare_parent, self.bare_lib = self.folder / "parent.git", self.folder / "lib.git"
        for source, bare in ((self.parent, self.bare_parent), (self.lib, self.bare_lib)):
            run("git", "clone", "--quiet", "--bare", source.directory, bare)
            source.git("remote", "add", "origin", str(bare))
            source.git("config", "protocol.file.allow", "always")
        add = ("submodule", "--quiet", "add", str(self.bare_lib), "lib")
        self.parent.git("-c", "protocol.file.allow=always", *add)
        self.members: dict[str, Member] = {}
        self.names = tuple(names)
        self.version()
        for name in names:
            self.members[name] = self._member(name)

    def version(self, **flavours: Flavour) -> str:
        """Push the next version to both repositories. `flavours` give some clusters a bad image."""
        self.number += 1
        for name in self.names:
            flavour = flavours.get(name, "good")
            body = f"version {self.number}"
            self.world.images.push(f"web-{name}:{self.number}", body, flavour, has_healthcheck=False)
        lib = self.lib.commit({"version": f"{self.number}\n"}, f"version {self.number}")
        self.lib.git("push", "--quiet", "origin", "main")
        sub = self.parent.directory / "lib"
        run("git", "fetch", "--quiet", "origin", cwd=sub)
        run("git", "checkout", "--quiet", "--detach", lib, cwd=sub)
        image = self.world.images.ref("web-${NAME}") + f":{self.number}"
        files = {
            "compose.yml": compose(image, self.number),
            ".github/dual-update.yml": f"driver: service\n{FAST}",
            ".gitignore": ".env\n",
        }
        commit = self.parent.commit(files, f"version {self.number}")
        self.parent.git("push", "--quiet", "origin", "main")
        self.commits.append(commit)
        return commit

    def _member(self, name: str) -> Member:
        directory = self.folder / f"{self.world._prefix}fleet-{name}"
        run("git", "-c", "protocol.file.allow=always", "clone", "--quiet", "--recurse-submodules",
            self.bare_parent, directory)  # fmt: skip
        cluster = Cluster(directory, self.world.engine)
        cluster.git("config", "protocol.file.allow", "always")
        port = self.world.free_port()
        cluster.write({".env": f"PORT={port}\nNAME={name}\n"})
        state = self.folder / f"state-{name}"
        done = cluster.dual_update("apply", "--auto", "--cluster", name, "--state-dir", str(state))
        assert done.returncode == 0, done.stdout + done.stderr
        return Member(name, cluster, state, port)

    # --- the file

    def file(
        self,
        on_failure: str = "stop",
        *,
        bake_seconds: float = 0.0,
        patience_seconds: float = 5.0,
        urls: Mapping[str, str] | None = None,
        approved: bool = True,
    ) -> Path:
        """multi-cluster.yml: by path, or by the API where a url is given."""
        clusters = []
        for number, (name, one) in enumerate(self.members.items()):
            entry: dict[str, Any] = {"name": name, "stage": number, "auto_approve": approved}
            if urls and name in urls:
                entry |= {"url": urls[name], "token_env": "FLEET_TOKEN"}
            else:
                entry |= {"path": str(one.cluster.directory), "state_dir": str(one.state)}
            clusters.append(entry)
        stages = [{"stage": n, "bake_seconds": bake_seconds} for n in range(len(self.members))]
        path = self.folder / "multi-cluster.yml"
        path.write_text(
            json.dumps(
                {
                    "on_failure": on_failure,
                    "patience_seconds": patience_seconds,
                    "stages": stages,
                    "clusters": clusters,
                }
            )
        )
        return path

    # --- doing

    def start(self, *arguments: str, point: str = "-", **environment: str) -> "subprocess.Popen[str]":
        """`dual-update ARGUMENTS` with a blow at `point` (fleet_strike.py)."""
        command = [sys.executable, "-m", "tests.integration.fleet_strike", point, *arguments]
        return subprocess.Popen(
            [*command, "--state-dir", str(self.state)],
            cwd=self.parent.directory,
            env={
                **os.environ,
                "PYTHONPATH": f"{ROOT}/src:{ROOT}",
                "DUAL_UPDATE_DEBUG": "1",
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def rollout(self, *arguments: str, point: str = "-", **environment: str) -> "Done":
        process = self.start("rollout", *arguments, "--format", "json", point=point, **environment)
        out, err = process.communicate(timeout=120)
        return Done(process.returncode, json.loads(out) if out.strip() else {}, err)

    # --- what has to be so

    def runs(self, version: int) -> set[str]:
        """Clusters that run this version, by every witness: container, image, checkout, submodule, record."""
        return {name for name in self.members if self.wrong(name, version) == []}

    def wrong(self, name: str, version: int) -> list[str]:
        """What of a cluster is not exactly as this version says."""
        one, commit = self.members[name], self.commits[version - 1]
        found = []
        if one.versions() != (str(version), str(version)):
            found.append(f"{name} shows {one.versions()}")
        if one.cluster.head != commit:
            found.append(f"{name}'s checkout is at {one.cluster.head[:12]}")
        pinned = one.cluster.git("rev-parse", "HEAD:lib")
        if run("git", "rev-parse", "HEAD", cwd=one.cluster.directory / "lib") != pinned:
            found.append(f"{name}'s submodule is elsewhere")
        container = one.cluster.container("web")
        if not container.image.endswith(f"web-{name}:{version}") or container.state != "running":
            found.append(f"{name} runs {container.image} ({container.state})")
        good = next(r for r in one.history() if r["outcome"] in {"succeeded", "unchanged"})
        if good["to"] != commit:
            found.append(f"{name}'s record says {good['to'][:12]}")
        if any(r["outcome"] in {None, "rollback_failed"} for r in one.history()):
            found.append(f"{name} has a run without a good end")
        return found


@dataclass(frozen=True)
class Done:
    code: int
    told: dict[str, Any]
    said: str

    @property
    def state(self) -> str:
        return str(self.told.get("state"))

    def standing(self) -> dict[str, str]:
        return {c["name"]: c["standing"] for s in self.told["stages"] for c in s["clusters"]}


@contextmanager
def witness(fleet: Fleet) -> Iterator[list[tuple[str, str, str]]]:
    """Watches every cluster all the time: (name, the parent's version, the submodule's) where the parent is
    ahead of its submodule, which must never be."""
    seen: list[tuple[str, str, str]] = []
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.is_set():
            for one in fleet.members.values():
                parent = http_get(one.port, "/env/PARENT")
                lib = http_get(one.port, "/file/lib-version")
                again = http_get(one.port, "/env/PARENT")
                is_one_container = parent.body == again.body
                if {parent.status, lib.status, again.status} != {200} or not is_one_container:
                    continue
                if int(parent.body) > int(lib.body):
                    seen.append((one.name, parent.body, lib.body))
            time.sleep(0.4)  # each answer starts processes, and the machine has other things to do

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        is_over.set()
        thread.join(timeout=10)
