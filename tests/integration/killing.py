"""A cluster that goes back and forth between two versions while the deployer is killed at chosen moments.

A flow is a way of changing it. For each blow: the other version is committed, the tool is struck down on its
way, `recover` (or the next `apply`) settles what is left, and then everything is looked at: services, images,
configuration, mounted content, networks, names, files, tags, history and lock must be those of exactly one of
the two commits.
"""

import fcntl
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dual_update.adapters.project import ComposeCli
from tests.integration.world import Container, World

FLOWS = ("image", "revamp", "changed", "first", "broken", "broken_revamp", "rollback", "stubborn")
FAST = "health: {settle_seconds: 0.3, deadline_seconds: 20}\n"
RECOVERY_SECONDS = 10.0
"""What a recovery may take on a quiet machine, health time included: services here are well at once."""

SLOWEST_SECONDS = 40.0
"""The same on a machine that is busy with other tests."""

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Version:
    """What one commit wants: image id by service, networks, and what web is to see in its mounted file."""

    commit: str
    images: dict[str, str]
    networks: frozenset[str]
    setting: str


@dataclass
class Ended:
    """How one blow ended. `wrong` is empty when everything is that of one version."""

    flow: str
    point: str
    act: str
    code: int
    end: str
    recovery_seconds: float
    wrong: list[str] = field(default_factory=list)
    said: str = ""
    has_struck: bool = True


class Arena:
    """One cluster for one flow."""

    def __init__(self, world: World, flow: str) -> None:
        self.world, self.flow, self.images = world, flow, world.images
        self.ids: dict[str, str] = {}
        flavour: Any = "stubborn" if flow == "stubborn" else "good"
        for name in ("web:1", "web:2", "api:1", "db:1", "db:2", "new:1"):
            # the second db has no VOLUME of its own, and a nameless one by the file all the same
            self.ids[name] = self.images.push(name, name, flavour=flavour, has_healthcheck=False).id
        self.ids["web:bad"] = self.images.push("web:bad", "bad", flavour="crash", has_healthcheck=False).id
        self.number = 0
        self.cluster = world.repo({"README": "x"})
        self.cluster.write({"data/marker": "bind"})
        self.state = Path(tempfile.mkdtemp(dir=world.folder, prefix="state-"))
        self.tale = world.folder / "tale"
        self.version = self._commit(0)
        if flow != "first":
            self._checked(self.run("apply", "--auto"))
            self._mark()
        if flow == "rollback":  # something to go back to, and forth
            self.version = self._commit(1)
            self._checked(self.run("apply", "--auto", "--ref", self.version.commit))

    # --- versions

    def _commit(self, side: int, web: str = "") -> Version:
        """Commit a side; the checkout stays where it is, unless it is the very first."""
        self.number += 1
        deployed = self.cluster.head if self.number > 1 else ""
        text, images, networks = self._text(side, web)
        files = {
            "compose.yml": text,
            "conf/app.conf": f"setting {side}\n",
            ".github/dual-update.yml": FAST,
            ".gitignore": "data\n",
        }
        if self.flow in {"image", "broken"}:
            files["conf/app.conf"] = "setting\n"
        # as git writes: a new file in the old one's place, which a running container goes on seeing
        (self.cluster.directory / "conf/app.conf").unlink(missing_ok=True)
        commit = self.cluster.commit(files, f"side {side}")
        if deployed:
            self.cluster.git("checkout", "--quiet", "--detach", deployed)
        return Version(commit, images, networks, files["conf/app.conf"].strip())

    def _text(self, side: int, web: str = "") -> tuple[str, dict[str, str], frozenset[str]]:
        is_image_only = self.flow in {"image", "broken"}
        web = web or f"web:{side + 1}"
        db = "db:1" if is_image_only else f"db:{side + 1}"
        images = {"web": self.ids[web.partition("#")[0]], "api": self.ids["api:1"], "db": self.ids[db]}
        networks = {f"{self.cluster.project}_default"}
        web_more = db_more = extra = nets = ""
        if not is_image_only:
            db_more = f"\n    environment: {{SIDE: '{side}', N: '{self.number}'}}"
            if side:
                images["new"] = self.ids["new:1"]
                extra = f"  new:\n    image: {self.images.ref('new:1')}\n    networks: [default, side]\n"
                nets = "networks: {side: {}}\n"
                networks.add(f"{self.cluster.project}_side")
        text = f"""
services:
  web:
    image: {self.images.ref(web.replace("#", "-"))}
    volumes: ["store:/store", "./conf/app.conf:/conf/app.conf:ro"]
    depends_on: [api]
    stop_grace_period: 2s{web_more}
  api:
    image: {self.images.ref("api:1")}
    volumes: ["./data:/data"]
    stop_grace_period: 2s
  db:
    image: {self.images.ref(db)}
    volumes: ["/nameless"]
    stop_grace_period: 2s{db_more}
{extra}volumes:
  store: {{}}
{nets}"""
        return text, images, frozenset(networks)

    @property
    def side(self) -> int:
        return int(self.version.images["web"] == self.ids["web:2"])

    # --- one blow

    def prepare(self) -> tuple[Version, tuple[str, ...]]:
        """The next change: the version that it leads to, and the command that makes it."""
        if self.flow == "first":
            self._forget()
            self.version = self._commit(0)
            return self.version, ("apply", "--auto", "--ref", self.version.commit)
        if self.flow == "rollback":
            return self.other, ("rollback", "--auto")
        if self.flow in {"broken", "broken_revamp"}:
            name = f"web:bad#{self.number}"
            self.images.push(name.replace("#", "-"), "bad", flavour="crash")
            wanted = self._commit(self.side if self.flow == "broken" else 1 - self.side, name)
            return wanted, ("apply", "--auto", "--ref", wanted.commit)
        wanted = self._commit(1 - self.side)
        scope = ("--scope", "changed") if self.flow == "changed" else ()
        return wanted, ("apply", "--auto", "--ref", wanted.commit, *scope)

    def count(self) -> list[dict[str, Any]]:
        """The acts of an undisturbed run of this flow."""
        wanted, command = self.prepare()
        self.tale.write_text("")
        done = self.run(*command)
        self._end(wanted, done)
        wrong = self.wrong()
        assert not wrong, f"an undisturbed {self.flow}: {wrong}\n{done.stdout}{done.stderr}"
        return [json.loads(line) for line in self.tale.read_text().splitlines()]

    def acts(self) -> dict[int, list[dict[str, Any]]]:
        """The acts of each direction, by the side that it starts from."""
        found: dict[int, list[dict[str, Any]]] = {}
        while self.side not in found:
            side = self.side
            found[side] = self.count()
        return found

    def blow(self, point: str, *, by_apply: bool = False, again: str = "") -> Ended:
        """Strike at `point`; settle by `recover` or the next `apply`. `again` strikes the recovery, too."""
        before = self.version
        wanted, command = self.prepare()
        self.tale.write_text("")
        done = self.run(*command, point=point)
        act = self.tale.read_text().splitlines()[-1:]
        said = done.stderr
        if again:
            said += self.run("recover", point=again).stderr
        began = time.monotonic()
        back = wanted if self.flow == "first" else before
        settled = self.run(*(("apply", "--auto", "--ref", back.commit) if by_apply else ("recover",)))
        if by_apply and settled.returncode == 1:  # it tells of a run of its own, so look at what there is now
            settled = self.run("recover")
        seconds = time.monotonic() - began
        said += settled.stdout + settled.stderr
        if self.flow == "rollback":
            self.version, self.other = before, wanted
        self._end(wanted, settled, before)
        wrong = self.wrong()
        if settled.returncode != 0:
            wrong.append(f"settling ended with {settled.returncode}")
        if seconds > SLOWEST_SECONDS and not by_apply and not again:
            wrong.append(f"settling took {seconds:.1f} s")
        end = "new" if self.version == wanted else "old"
        if self.flow == "first" and not self.cluster.containers():
            end = "nothing"
        return Ended(
            self.flow, point, "".join(act), done.returncode, end, seconds, wrong, said, done.returncode == -9
        )

    def _end(self, wanted: Version, done: Any, before: Version | None = None) -> None:
        """Which of the two is it now: the checkout says so, and everything else is held against that."""
        old = before or self.version
        if self.flow == "rollback":
            if self.cluster.head == wanted.commit:
                self.version, self.other = wanted, old
        elif self.flow != "first":
            self.version = wanted if self.cluster.head == wanted.commit and self._is_taken(wanted) else old

    def _is_taken(self, wanted: Version) -> bool:
        return wanted.images["web"] != self.ids["web:bad"]

    # --- what has to be so

    def wrong(self) -> list[str]:
        """Everything that is not exactly as the deployed version says."""
        found: list[str] = []
        containers = self.cluster.containers()
        version = self.version
        if self.flow == "first" and not containers:
            if self.cluster.networks():
                found.append(f"networks were left: {self.cluster.networks()}")
            return found + self._at_rest()
        project = self.cluster.project
        if self.cluster.head != version.commit:
            found.append(f"the checkout is at {self.cluster.head[:12]}, not {version.commit[:12]}")
        if self.cluster.git("status", "--porcelain"):
            found.append(f"the checkout is not clean: {self.cluster.git('status', '--porcelain')}")
        by_service: dict[str, list[Container]] = {}
        for one in containers:
            by_service.setdefault(one.service, []).append(one)
        if set(by_service) != set(version.images):
            found.append(f"services are {sorted(by_service)}, not {sorted(version.images)}")
        found += self._wrong_containers(containers)
        if set(self.cluster.networks()) != version.networks:
            found.append(f"networks are {self.cluster.networks()}, not {sorted(version.networks)}")
        if not found and self.flow != "first":
            found += self._content(by_service)
        compose = ComposeCli(self.cluster.directory, ["compose.yml"], project)
        if not found and not compose.plans_nothing():
            found.append("compose would change something")
        return found + self._at_rest()

    def _wrong_containers(self, containers: list[Container]) -> list[str]:
        found = []
        hashes = dict(
            line.split(" ") for line in self.cluster.compose("config", "--hash", "*").splitlines() if line
        )
        for one in containers:
            about = f"{one.name} ({one.id[:12]})"
            if one.name != f"{self.cluster.project}-{one.service}-1":
                found.append(f"{about} has no proper name")
            if one.state != "running" or one.health not in (None, "healthy", "starting"):
                found.append(f"{about} is {one.state} {one.health}")
            if one.image_id != self.version.images.get(one.service):
                found.append(f"{about} runs another image: {one.image_id[7:19]}")
            if one.config_hash != hashes.get(one.service):
                found.append(f"{about} was made from another configuration")
            tagged = self.world.engine.images.get(one.image).id
            if tagged != one.image_id:
                found.append(f"{one.image} names {tagged[7:19]} now")
        return found

    def _content(self, containers: dict[str, list[Container]]) -> list[str]:
        asked = {
            ("web", "/store/marker"): "named",
            ("api", "/data/marker"): "bind",
            ("db", "/nameless/marker"): "nameless",
            ("web", "/conf/app.conf"): self.version.setting,
        }
        found = []
        for (service, path), wanted in asked.items():
            seen = self.sees(containers[service][0], path)
            if seen != wanted:
                found.append(f"{service} sees {seen!r} in {path}, not {wanted!r}")
        return found

    def sees(self, container: Container, path: str) -> str:
        """A file as the container has it."""
        one = self.world.engine.containers.get(container.id)
        return str(one.exec_run(["cat", path]).output.decode().strip())

    def _at_rest(self) -> list[str]:
        found = []
        for lock in (self.state / "locks").glob("*.lock"):
            with lock.open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    found.append("the lock is held")
        open_runs = [one["run"] for one in self.history() if not one.get("outcome")]
        if open_runs:
            found.append(f"runs have no end: {open_runs}")
        failed = [one["run"] for one in self.history() if one.get("outcome") == "rollback_failed"]
        if failed:
            found.append(f"rollback_failed: {failed}")
        return found

    # --- doing

    def run(self, *arguments: str, point: str = "-") -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "DUAL_UPDATE_STATE_DIR": str(self.state),
            "STRIKE_PROJECT": self.cluster.project,
            "PYTHONPATH": f"{ROOT}/src:{ROOT}",
            "DUAL_UPDATE_DEBUG": "1",
        }
        return subprocess.run(
            [sys.executable, "-m", "tests.integration.strike", str(self.tale), point, *arguments],
            cwd=self.cluster.directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def history(self) -> list[dict[str, Any]]:
        from dual_update.adapters.store import SqliteStore

        with SqliteStore(self.state) as store:
            return [dict(one) for one in store.runs(limit=1000)]

    def _checked(self, done: subprocess.CompletedProcess[str]) -> None:
        assert done.returncode == 0, done.stdout + done.stderr
        self._remember()

    def _remember(self) -> None:
        if self.flow == "rollback" and self.number > 1:
            self.other = self._first

        self._first = self.version

    def _mark(self) -> None:
        for service, path in (("web", "/store/marker"), ("db", "/nameless/marker")):
            word = "named" if service == "web" else "nameless"
            self.cluster.compose("exec", "-T", service, "sh", "-c", f"echo {word} > {path}")

    def _forget(self) -> None:
        """As if it had never been deployed; volumes stay."""
        api = self.world.engine.api
        for one in self.cluster.containers():
            api.remove_container(one.id, force=True)
        for name in self.cluster.networks():
            api.remove_network(name)
        self.state = Path(tempfile.mkdtemp(dir=self.world.folder, prefix="state-"))


def points(acts: list[dict[str, Any]], blow: str = "KILL") -> list[str]:
    """Every moment of a run: before, after and within each act."""
    found = []
    for one in acts:
        found.append(f"{blow}:before:{one['act']}")
        if not one["what"].startswith("SqliteStore"):
            found += [f"{blow}:event:{one['act']}:{n}" for n in range(1, one["events"] + 1)]
            if one["seconds"] > 0.05:
                found += [
                    f"{blow}:delay:{one['act']}:{one['seconds'] * part:.3f}"
                    for part in (0.1, 0.35, 0.6, 0.85)
                ]
        found.append(f"{blow}:after:{one['act']}")
    return found
