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
def line(world: World, images: Images) -> tuple[Cluster, list[str]]:
    """A cluster at the third of three commits, deployed one after another, and the three."""
    refs = [images.push(f"web:{number}", f"web {number}").ref for number in (1, 2, 3)]
    cluster = world.repo({**compose(refs[0]), ".github/dual-update.yml": FAST})
    commits = [cluster.head]
    assert apply(cluster)["outcome"] == "succeeded"
    for ref in refs[1:]:
        commits.append(cluster.commit(compose(ref), f"to {ref}"))
        assert apply(cluster)["outcome"] == "succeeded"
    return cluster, commits


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


@pytest.mark.parametrize("approved", [(), ("--approved-by", "ada")], ids=["by rules", "by a person"])
def test_an_older_commit_is_refused_unless_going_back_is_asked(
    line: tuple[Cluster, list[str]], approved: tuple[str, ...]
) -> None:
    """Approved before the third came, begun after it: the approval was not for going back."""
    cluster, (_, second, third) = line
    words = ("--ref", second, "--expect", fingerprint(cluster, second), *approved)
    before = cluster.container("web").id
    said = apply(cluster, *words, code=5)
    assert "is older than what runs" in said["reason"]
    assert "--allow-older" in said["hint"]
    assert (said["wanted"], said["runs"], said["exit_code"]) == (second, third, 5)
    assert (cluster.container("web").id, cluster.head) == (before, third)
    ran = apply(cluster, *words, "--allow-older")
    assert (ran["outcome"], ran["from"], ran["to"]) == ("succeeded", third, second)


def test_a_commit_judged_from_another_than_runs_is_refused(
    line: tuple[Cluster, list[str]], images: Images
) -> None:
    cluster, (_, second, third) = line
    fourth = cluster.commit(compose(images.push("web:4", "web 4").ref), "to web:4")
    said = apply(cluster, "--ref", fourth, "--from", second, code=5)
    assert "judged as an update from " + second[:12] in said["reason"]
    assert said["runs"] == third
    unknown = apply(cluster, "--ref", fourth, "--from", "f" * 40, code=5)
    assert "f" * 12 in unknown["reason"]
    assert apply(cluster, "--ref", fourth, "--from", third)["outcome"] == "succeeded"
    # The job is started again: what it wanted runs, so whatever it was judged from is no matter.
    assert apply(cluster, "--ref", fourth, "--from", third)["outcome"] == "unchanged"


def test_the_mode_of_a_job_holds_on_the_host(line: tuple[Cluster, list[str]], images: Images) -> None:
    cluster, _ = line
    cluster.commit(compose(images.ref("web:3"), "    environment: {A: b}\n"), "structure")
    said = apply(cluster, "--mode", "watchtower_only", code=5)
    assert "watchtower_only never revamps" in said["reason"]
    assert apply(cluster, "--mode", "dual")["outcome"] == "succeeded"


def test_a_rollback_finds_the_checkout_by_the_clusters_name(
    line: tuple[Cluster, list[str]], tmp_path: Path
) -> None:
    """The job that rolls back has no checkout, and nobody told it where the cluster lies."""
    cluster, (_, second, third) = line
    words = ("rollback", "--auto", "--worker", "--cluster", cluster.project, "--format", "json")
    ran = json.loads(run(sys.executable, "-m", "dual_update", *words, cwd=tmp_path))
    assert (ran["kind"], ran["outcome"], ran["from"], ran["to"]) == ("rollback", "succeeded", third, second)
    assert cluster.head == second
