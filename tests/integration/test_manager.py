"""scripts/dual_update_manager.py on a real engine: it shows, asks and does the same job."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.world import Cluster, World

SCRIPT = Path(__file__).parents[2] / "scripts" / "dual_update_manager.py"


@pytest.fixture
def shop(world: World) -> Cluster:
    web = world.images.push("web:1", "web 1").ref
    return world.repo(
        {
            "compose.yml": f"services: {{web: {{image: '{web}'}}}}\n",
            "other.yml": f"services: {{web: {{image: '{web}'}}}}\n",
            ".github/dual-update.yml": "health: {settle_seconds: 0.2, deadline_seconds: 15}\n",
        }
    )


def manager(
    *arguments: str, cwd: Path, python: str = sys.executable, stdin: int = subprocess.DEVNULL
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, str(SCRIPT), *arguments],
        cwd=cwd,
        stdin=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.engine
def test_it_shows_asks_and_does(shop: Cluster, world: World) -> None:
    shown = manager("--check-only", cwd=shop.directory)
    assert shown.returncode == 0, shown.stderr
    assert "web: added, create" in shown.stdout
    assert shop.containers() == []

    nobody = manager(cwd=shop.directory)
    assert nobody.returncode == 5
    assert "There is no terminal to ask on." in nobody.stderr
    assert shop.containers() == []

    assert answered("n", shop.directory).returncode == 5
    assert shop.containers() == []

    agreed = answered("y", shop.directory)
    assert agreed.returncode == 0, agreed.stderr
    assert "Apply this plan?" in agreed.stderr
    assert shop.container("web").state == "running"

    shop.write({"other.yml": f"services: {{web: {{image: '{world.images.push('web:2', 'web 2').ref}'}}}}\n"})
    wanted = shop.commit()
    repo = ("--repo", str(shop.directory), "--file", "other.yml", "--cluster", "a-name", "--ref", wanted)
    done = manager("--auto", *repo, cwd=world.folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("succeeded")
    assert world.images.ref("web:2") == shop.container("web").image


def answered(word: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run it without a flag, with somebody at the terminal."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, f"{word}\n".encode())
        return manager(cwd=cwd, stdin=theirs)
    finally:
        os.close(ours)
        os.close(theirs)
