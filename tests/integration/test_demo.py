"""scripts/demo: the story ends as told, and nothing of it stays."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import docker
import pytest

from tests.integration.world import PROJECT_LABEL, Broom, Registry

DEMO = Path(__file__).parents[2] / "scripts" / "demo.py"


def left_of(project: str, engine: docker.DockerClient) -> list[str]:
    ours = {"label": f"{PROJECT_LABEL}={project}"}
    found = [*engine.api.containers(all=True, filters=ours), *engine.api.networks(filters=ours)]
    found += engine.api.volumes(filters=ours)["Volumes"] or []
    images = [name for image in engine.api.images() for name in image["RepoTags"] or ()]
    return [str(one) for one in found] + [name for name in images if f"/{project}" in name]


def start(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(DEMO), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def registries_of(folder: Path) -> list[str]:
    commands = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command and "docker-registry" in command:
            commands.append(command)
    return commands


def project_in(output: str) -> str:
    return next(
        word for word in output.replace("/", " ").replace(",", " ").split() if word.startswith("shop-")
    )


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: Registry) -> Path:
    """Where the demo makes its own folder; the registry's fixture says what a machine without one lacks."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_the_demo_ends_as_told_and_leaves_nothing(folder: Path, broom: Broom) -> None:
    with start() as demo:
        output, _ = demo.communicate(timeout=270)
    assert demo.returncode == 0, output
    for number in range(1, 6):
        assert f"│ {number}. " in output
    assert "rolled_back: " in output
    assert left_of(project_in(output), broom.engine) == []
    assert list(folder.glob("dual-update-demo-*")) == []
    assert registries_of(folder) == []


def test_an_interrupted_demo_leaves_nothing(folder: Path, broom: Broom) -> None:
    seen = ""
    with start() as demo:
        assert demo.stdout
        for line in demo.stdout:
            seen += line
            if "· revamp cluster" in line:
                break
        os.kill(demo.pid, signal.SIGTERM)
        seen += demo.communicate(timeout=90)[0]
    assert demo.returncode == 130, seen
    assert left_of(project_in(seen), broom.engine) == []
    assert list(folder.glob("dual-update-demo-*")) == []
    assert registries_of(folder) == []
