"""The example fleet as it lies in the repository: deployed, updated, and an update that staging catches."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.world import Cluster, Images, World, http_get, run

EXAMPLE = Path(__file__).parents[2] / "examples" / "multi-cluster"
NAMES = ("staging", "europe", "america")
QUICK = (("settle_seconds: 5", "settle_seconds: 0.2"), ("deadline_seconds: 120", "deadline_seconds: 15"))


class Example:
    """The example's repository with its submodule, a checkout for each cluster, and images from here."""

    def __init__(self, world: World, images: Images) -> None:
        self.images = images
        self.state = world.folder / "state"
        self.content = world.repo({"page": "page 0\n"})
        self.parent = world.repo(self._files(1))
        allowed = ("-c", "protocol.file.allow=always")
        self.parent.git(
            *allowed, "submodule", "--quiet", "add", str(self.content.directory / ".git"), "content"
        )
        self.commit(1)
        self.clusters = {}
        file = self.parent.directory / "multi-cluster.yml"
        text = file.read_text()
        for name in NAMES:
            directory = world.folder / f"{world._prefix}{name}"
            run("git", *allowed, "clone", "--quiet", "--recurse-submodules", self.parent.directory, directory)
            cluster = Cluster(directory, world.engine)
            cluster.git("config", "protocol.file.allow", "always")
            self.clusters[name] = (cluster, world.free_port())
            cluster.write({".env": f"PORT={self.clusters[name][1]}\n"})
            cluster.git("config", "core.excludesFile", str(world.folder / "ignored"))
            assert f"../clusters/{name}" in text
            text = text.replace(f"../clusters/{name}", str(directory))
        (world.folder / "ignored").write_text(".env\n")
        self.file = world.folder / "multi-cluster.yml"
        assert text.count("bake_seconds: 5") == 2
        self.file.write_text(text.replace("bake_seconds: 5", "bake_seconds: 0.5"))

    def _files(self, version: int) -> dict[str, str]:
        found = {
            str(path.relative_to(EXAMPLE)): path.read_text() for path in EXAMPLE.rglob("*") if path.is_file()
        }
        compose = found["compose.yml"]
        for old, new in (
            ("${WEB_IMAGE:-registry.example.com/team/web:1}", self.images.ref(f"web:{version}")),
            ('PAGE: "1"', f'PAGE: "{version}"'),
        ):
            assert old in compose
            compose = compose.replace(old, new)
        for old, new in QUICK:
            assert old in found[".github/dual-update.yml"]
            found[".github/dual-update.yml"] = found[".github/dual-update.yml"].replace(old, new)
        return {**found, "compose.yml": compose}

    def commit(self, version: int, flavour: Any = "good") -> str:
        self.images.push(f"web:{version}", f"web {version}", flavour, has_healthcheck=False)
        page = self.content.commit({"page": f"page {version}\n"}, f"page {version}")
        below = self.parent.directory / "content"
        run("git", "fetch", "--quiet", "origin", cwd=below)
        run("git", "checkout", "--quiet", "--detach", page, cwd=below)
        return self.parent.commit(self._files(version), f"version {version}")

    def dual_update(self, *arguments: str) -> tuple[int, dict[str, Any], str]:
        done = subprocess.run(
            [sys.executable, "-m", "dual_update", *arguments, "--clusters", str(self.file), "--state-dir",
             str(self.state), "--format", "json"],
            cwd=self.parent.directory, capture_output=True, text=True, check=False, timeout=240,
            stdin=subprocess.DEVNULL, env=os.environ,
        )  # fmt: skip
        return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr

    def shown(self) -> set[tuple[str, str]]:
        """What the clusters answer: the parent's version, and the submodule's page."""
        return {
            (
                http_get(port, "/env/PAGE", within_seconds=5).body,
                http_get(port, "/file/page", within_seconds=5).body,
            )
            for _, port in self.clusters.values()
        }


@pytest.mark.timeout(600)
def test_the_example_fleet(world: World, images: Images) -> None:
    fleet = Example(world, images)

    code, told, said = fleet.dual_update("rollout")
    assert code == 5, said
    standing = [c["standing"] for s in told["stages"] for c in s["clusters"]]
    assert standing == ["applied", "untouched", "untouched"]
    code, told, said = fleet.dual_update("rollout", "--resume", "--auto")
    assert (code, told["state"]) == (0, "succeeded"), said
    assert fleet.shown() == {("1", "page 1")}

    second = fleet.commit(2)
    code, told, said = fleet.dual_update("rollout", "--auto")
    assert (code, told["state"]) == (0, "succeeded"), said
    assert fleet.shown() == {("2", "page 2")}

    fleet.commit(3, "crash")
    code, told, said = fleet.dual_update("rollout", "--auto")
    assert (code, told["state"]) == (1, "rolled_back"), said
    assert told["reason"].startswith("staging: ")
    assert fleet.shown() == {("2", "page 2")}

    code, status, said = fleet.dual_update("status", "--all")
    assert code == 0, said
    assert status["versions"] == [second]
    assert {(c["name"], c["health"], tuple(c["drift"])) for c in status["clusters"]} == {
        (name, "well", ()) for name in NAMES
    }
    assert status["rollout"]["state"] == "rolled_back"
