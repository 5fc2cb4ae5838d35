"""Commands around an update on a real engine: run, timed, taken back in order, also after a kill."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.test_apply import apply
from tests.integration.world import Cluster, Images, World, eventually


def config(*, after: str = "[]", before: str = "", timeout: float = 20) -> str:
    """A migration in db, a note on the host, and what a test adds after the update."""
    return f"""
health: {{settle_seconds: 1, deadline_seconds: 15}}
hooks:
  before:
    - name: migrate
      service: db
      timeout_seconds: {timeout}
      command: [sh, -c, "echo up >>/nameless/log"]
      undo: [sh, -c, "echo down >>/nameless/log"]
    - name: note
      command: [sh, -c, "echo note >>../host.log"]
      undo: [sh, -c, "echo unnote >>../host.log"]
{before}
  after: {after}
"""


@pytest.fixture
def shop(world: World, images: Images) -> Cluster:
    images.push("web:1", "one")
    images.push("db:1", "db")
    cluster = world.repo(
        {"compose.yml": compose(images), ".github/dual-update.yml": config(), ".gitignore": "*.log\n"}
    )
    assert apply(cluster)["outcome"] == "succeeded"
    (cluster.directory.parent / "host.log").unlink()
    return cluster


def compose(images: Images, web: str = "web:1") -> str:
    return f"""
services:
  web: {{image: "{images.ref(web)}", depends_on: [db]}}
  db: {{image: "{images.ref("db:1")}", volumes: ["/nameless"]}}
"""


def log(cluster: Cluster) -> list[str]:
    return cluster.compose("exec", "-T", "db", "sh", "-c", "cat /nameless/log 2>/dev/null || :").split()


def host_log(cluster: Cluster) -> list[str]:
    path: Path = cluster.directory.parent / "host.log"
    return path.read_text().split() if path.exists() else []


def journal_of(report: dict) -> list[str]:
    return [f"{one['op']} {one['target']}" for one in report["steps"]]


def test_they_run_around_the_update_and_stand_in_plan_and_report(shop: Cluster, images: Images) -> None:
    assert log(shop) == []  # on the first deployment there was no db to migrate in
    images.push("web:2", "two")
    after = '[{name: warm, service: web, command: [sh, -c, "echo warm >/warm"], undo: []}]'
    shop.commit({"compose.yml": compose(images, "web:2"), ".github/dual-update.yml": config(after=after)})
    shown = shop.dual_update("plan").stdout
    assert "run migrate: before the update, in db" in shown
    assert "run warm: after the update, in web\n      undo: nothing to undo, its owner says" in shown
    assert log(shop) == []

    report = apply(shop)
    assert report["outcome"] == "succeeded"
    steps = journal_of(report)
    assert steps.index("run migrate") < steps.index("run note") < steps.index("roll web")
    assert steps.index("prove cluster") < steps.index("run warm") < steps.index("audit cluster")
    assert (log(shop), host_log(shop)) == (["up"], ["note"])
    assert shop.compose("exec", "-T", "web", "cat", "/warm").strip() == "warm"

    back = shop.dual_update("rollback", "--auto", "--format", "json")
    assert back.returncode == 0, back.stderr
    assert (log(shop), host_log(shop)) == (["up", "down"], ["note", "unnote"])


def test_a_command_that_fails_takes_everything_back_newest_first(
    shop: Cluster, images: Images, world: World
) -> None:
    images.push("web:2", "two")
    before = {c.service: c.image_id for c in shop.containers()}
    after = (
        '[{name: warm, service: db, command: [sh, -c, "echo warm >>/nameless/log"],'
        ' undo: [sh, -c, "echo cool >>/nameless/log"]},'
        " {name: check, service: web, command: [sh, -c, 'echo it is broken: $WORD; exit 3'], undo: []}]"
    )
    secret = compose(images, "web:2").replace("[db]", "[db], environment: {WORD: hunter2}")
    shop.commit({"compose.yml": secret, ".github/dual-update.yml": config(after=after)})
    report = apply(shop, code=1)
    assert report["outcome"] == "rolled_back"
    assert report["reason"] == "check ended with 3: it is broken: ***"
    assert {c.service: c.image_id for c in shop.containers()} == before
    assert log(shop) == ["up", "warm", "cool", "down"]
    assert host_log(shop) == ["note", "unnote"]
    undone = [one for one in journal_of(report) if one.startswith("undo")]
    assert undone == ["undo warm", "undo note", "undo migrate"]


def test_an_undo_that_fails_needs_a_person_and_the_services_are_back_all_the_same(
    shop: Cluster, images: Images
) -> None:
    images.push("web:2", "crash", "crash")
    before = {c.service: c.image_id for c in shop.containers()}
    more = '    - {name: stuck, command: ["true"], undo: ["false"]}'
    shop.commit({"compose.yml": compose(images, "web:2"), ".github/dual-update.yml": config(before=more)})
    report = apply(shop, code=4)
    assert report["outcome"] == "rollback_failed"
    assert "stuck could not be taken back: stuck ended with 1." in report["reason"]
    assert {c.service: c.image_id for c in shop.containers()} == before
    assert log(shop) == ["up", "down"]


def test_a_command_that_takes_too_long_is_ended_where_it_runs(shop: Cluster, images: Images) -> None:
    images.push("web:2", "two")
    slow = '    - {name: slow, service: db, timeout_seconds: 1, command: [sleep, "4242"], undo: []}'
    shop.commit({"compose.yml": compose(images, "web:2"), ".github/dual-update.yml": config(before=slow)})
    report = apply(shop, code=1)
    assert report["outcome"] == "rolled_back"
    assert "did not end within 1 seconds" in report["reason"]
    assert log(shop) == ["up", "down"]
    assert "4242" not in shop.compose("exec", "-T", "db", "ps")


def test_a_killed_run_is_taken_back_with_its_commands(shop: Cluster, images: Images) -> None:
    images.push("web:2", "two")
    before = {c.service: c.id for c in shop.containers()}
    slow = '    - {name: slow, command: [sleep, "60"], undo: []}'
    shop.commit({"compose.yml": compose(images, "web:2"), ".github/dual-update.yml": config(before=slow)})
    deployer = subprocess.Popen(
        [sys.executable, "-m", "dual_update", "apply", "--auto"],
        cwd=shop.directory,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    eventually(lambda: host_log(shop) == ["note"], within_seconds=60)
    time.sleep(0.3)
    deployer.send_signal(signal.SIGKILL)
    deployer.wait(timeout=10)

    settled = json.loads(shop.dual_update("recover", "--format", "json").stdout)
    assert settled["outcome"] == "rolled_back"
    assert {c.service: c.id for c in shop.containers()} == before
    assert (log(shop), host_log(shop)) == (["up", "down"], ["note", "unnote"])
    assert shop.dual_update("recover").stdout == "Nothing to recover.\n"


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("    - {name: x, command: [no-such-program], undo: []}", "[]", "needs no-such-program"),
        ('    - {name: x, service: ghost, command: ["true"], undo: []}', "[]", "no container of it runs"),
        ("", '[{name: x, service: ghost, command: ["true"], undo: []}]', "there is no such service"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_touched(
    shop: Cluster, images: Images, before: str, after: str, complaint: str
) -> None:
    images.push("web:2", "two")
    was = shop.running_hash()
    shop.commit(
        {
            "compose.yml": compose(images, "web:2"),
            ".github/dual-update.yml": config(before=before, after=after),
        }
    )
    report = apply(shop, code=1)
    assert report["outcome"] == "refused"
    assert complaint in report["reason"]
    assert shop.running_hash() == was
    assert log(shop) == []
