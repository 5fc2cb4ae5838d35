"""Strategies of a user's own on a real engine: the example package, and a class in the repository."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.test_apply import apply
from tests.integration.world import Cluster, Images, World

EXAMPLE = Path(__file__).parents[2] / "examples" / "custom-strategy"
FAST = "health: {settle_seconds: 1, deadline_seconds: 15}\n"

MIGRATE = """
  db:
    image: "%s"
    volumes: ["/nameless", "./migrate.sh:/bin/migrate:ro"]
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, installed as its readers would, into a directory of its own."""
    folder = tmp_path_factory.mktemp("package")
    source = shutil.copytree(EXAMPLE, folder / "source")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(folder / "site"), str(source)], check=True, timeout=120)
    return folder / "site"


@pytest.fixture
def installed(package: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
    )
    return package


@pytest.fixture
def shop(world: World, images: Images) -> Cluster:
    images.push("web:1", "one")
    images.push("db:1", "db")
    cluster = world.repo(
        {
            "compose.yml": compose(images),
            "migrate.sh": '#!/bin/sh\necho "$1" >>/nameless/log\n',
            ".github/dual-update.yml": FAST,
        }
    )
    (cluster.directory / "migrate.sh").chmod(0o755)
    cluster.commit(message="the script may be run")
    assert apply(cluster)["outcome"] == "succeeded"
    return cluster


def compose(images: Images, web: str = "web:1") -> str:
    return f'services:\n  web: {{image: "{images.ref(web)}"}}\n' + MIGRATE % images.ref("db:1")


def log(cluster: Cluster) -> list[str]:
    return cluster.compose("exec", "-T", "db", "sh", "-c", "cat /nameless/log 2>/dev/null || :").split()


def test_the_examples_own_tests(installed: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            str(EXAMPLE / "tests"),
            "-c",
            os.devnull,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 passed" in done.stdout


def test_a_migration_is_part_of_the_transaction(installed: Path, shop: Cluster, images: Images) -> None:
    images.push("web:2", "two")
    shop.commit(
        {"compose.yml": compose(images, "web:2"), ".github/dual-update.yml": FAST + "strategy: migrating\n"}
    )
    shown = shop.dual_update("plan").stdout
    assert "Plan (migrating):" in shown
    assert "run migrate: the new version needs the new tables, in db" in shown

    report = apply(shop)
    assert (report["outcome"], report["strategy"]) == ("succeeded", "migrating")
    assert log(shop) == ["up"]

    images.push("web:3", "broken", "crash")
    shop.commit({"compose.yml": compose(images, "web:3")})
    assert apply(shop, code=1)["outcome"] == "rolled_back"
    assert log(shop) == ["up", "up", "down"]


def test_by_day_nothing_happens(installed: Path, shop: Cluster, images: Images, tmp_path: Path) -> None:
    images.push("web:2", "two")
    before = shop.running_hash()
    shop.commit({"compose.yml": compose(images, "web:2")})
    # The example's clock, set: a module that Python loads at every start.
    (tmp_path / "sitecustomize.py").write_text(
        "import shop_strategies\nshop_strategies.QUIET_HOURS = range(0, 0)\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}")
        done = shop.dual_update("apply", "--auto", "--strategy", "at-night")
    assert done.returncode == 5, done.stdout + done.stderr
    assert "The strategy at-night says: not now." in done.stderr
    assert shop.running_hash() == before


IN_REPOSITORY = """
from dual_update.strategies import Plan, Step, usual_plan


class Mine:
    def should_update(self, changes):
        return True

    def execute(self, situation):
        %s
"""
NAMED = FAST + "strategy: {file: deploy/strategy.py, class: Mine}\n"


def test_a_class_in_the_repository_is_loaded_from_the_deploy_branch_alone(
    shop: Cluster, images: Images
) -> None:
    images.push("web:2", "two")
    before = shop.running_hash()
    shop.git("switch", "--quiet", "--create", "proposal")
    bad = 'open("/tmp/dual-update-was-here", "w")'
    shop.commit(
        {
            "compose.yml": compose(images, "web:2"),
            ".github/dual-update.yml": NAMED,
            "deploy/strategy.py": IN_REPOSITORY % bad,
        }
    )
    for command in (["plan"], ["apply", "--auto"]):
        done = shop.dual_update(*command, "--ref", "proposal")
        assert done.returncode == 5, done.stdout + done.stderr
        assert "is loaded from commits of main only" in done.stderr
    assert shop.dual_update("status").returncode == 0
    assert not Path("/tmp/dual-update-was-here").exists()
    assert shop.running_hash() == before

    shop.commit({"deploy/strategy.py": IN_REPOSITORY % "return usual_plan(situation)"})
    shop.git("switch", "--quiet", "main")
    shop.git("merge", "--quiet", "proposal")
    report = apply(shop)
    assert (report["outcome"], report["strategy"]) == ("succeeded", "Mine")


def test_a_step_without_an_undo_is_refused_before_anything_is_touched(shop: Cluster, images: Images) -> None:
    images.push("web:2", "two")
    before = shop.running_hash()
    body = 'return Plan("", (Step("roll", "web", "because", "", ("web",)),))'
    shop.commit(
        {
            "compose.yml": compose(images, "web:2"),
            ".github/dual-update.yml": NAMED,
            "deploy/strategy.py": IN_REPOSITORY % body,
        }
    )
    done = shop.dual_update("apply", "--auto")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "(roll web): it has no undo." in done.stderr
    assert shop.running_hash() == before
    assert shop.dual_update("apply", "--auto", "--strategy", "no-such").returncode == 2
