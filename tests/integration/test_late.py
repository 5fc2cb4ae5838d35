"""A deploy job that comes late: what came to the cluster meanwhile is not undone, and the host says so."""

import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from dual_update.adapters.config import schema
from tests.integration.world import Cluster, Images, World, run

FAST = "health: {settle_seconds: 0.2, deadline_seconds: 15}\n"


def compose(web: str, more: str = "") -> dict[str, str]:
    return {"compose.yml": f"services:\n  web:\n    image: {web}\n{more}"}


@pytest.fixture
def line(world: World, images: Images) -> tuple[Cluster, str, str]:
    """A cluster at the second of two commits, deployed one after the other, and the two."""
    refs = [images.push(f"web:{number}", f"web {number}").ref for number in (1, 2)]
    cluster = world.repo({**compose(refs[0]), ".github/dual-update.yml": FAST})
    first = cluster.head
    assert apply(cluster)["outcome"] == "succeeded"
    second = cluster.commit(compose(refs[1]), "to web:2")
    assert apply(cluster)["outcome"] == "succeeded"
    return cluster, first, second


def apply(cluster: Cluster, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = cluster.dual_update("apply", "--auto", *arguments, "--format", "json")
    assert done.returncode == code, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    name = "run.schema.json" if "outcome" in found else "refusal.schema.json"
    jsonschema.validate(found, schema(name))
    return found


def fingerprint(cluster: Cluster, ref: str) -> str:
    done = cluster.dual_update("detect", "--head", ref, "--format", "json")
    return str(json.loads(done.stdout)["fingerprint"])


def test_an_older_commit_is_refused_unless_going_back_is_asked(line: tuple[Cluster, str, str]) -> None:
    """Approved before the second came, begun after it: the approval was not for going back."""
    cluster, first, second = line
    words = ("--ref", first, "--expect", fingerprint(cluster, first))
    before = cluster.container("web").id
    for approved in ((), ("--approved-by", "ada")):
        said = apply(cluster, *words, *approved, code=5)
        assert "is older than what runs" in said["reason"]
        assert "--allow-older" in said["hint"]
        assert (said["wanted"], said["runs"], said["exit_code"]) == (first, second, 5)
        assert (cluster.container("web").id, cluster.head) == (before, second)
    ran = apply(cluster, *words, "--allow-older")
    assert (ran["outcome"], ran["from"], ran["to"]) == ("succeeded", second, first)


def test_what_was_judged_holds_on_the_host(line: tuple[Cluster, str, str], images: Images) -> None:
    """The commit it was judged from, and the mode it was judged in."""
    cluster, first, second = line
    third = cluster.commit(compose(images.ref("web:2"), "    environment: {A: b}\n"), "structure")
    shown = cluster.dual_update("plan", "--ref", second).stdout
    assert f"{third[:12]}, which is checked out, is newer." in shown
    said = apply(cluster, "--from", first, code=5)
    assert "judged as an update from " + first[:12] in said["reason"]
    assert said["runs"] == second
    unknown = apply(cluster, "--from", "f" * 40, code=5)
    assert "f" * 12 in unknown["reason"]
    narrow = apply(cluster, "--mode", "watchtower_only", code=5)
    assert "watchtower_only never revamps" in narrow["reason"]
    assert apply(cluster, "--from", second, "--mode", "dual")["outcome"] == "succeeded"
    # The job is started again: what it wanted runs, so whatever it was judged from is no matter.
    assert apply(cluster, "--ref", third, "--from", second)["outcome"] == "unchanged"


def test_a_rollback_finds_the_checkout_by_the_clusters_name(
    line: tuple[Cluster, str, str], tmp_path: Path
) -> None:
    """The job that rolls back has no checkout, and nobody told it where the cluster lies."""
    cluster, first, second = line
    words = ("rollback", "--auto", "--worker", "--cluster", cluster.project, "--format", "json")
    ran = json.loads(run(sys.executable, "-m", "dual_update", *words, cwd=tmp_path))
    assert (ran["kind"], ran["outcome"], ran["from"], ran["to"]) == ("rollback", "succeeded", second, first)
    assert cluster.head == first
