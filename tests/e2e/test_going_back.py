"""Back by *Run workflow*: GitHub knows what runs then, and nothing brings back what a person left."""

import json
from collections.abc import Callable

import pytest

from tests.e2e.stage import Stage
from tests.e2e.test_stories import DEPLOYED, DETECTED, shop
from tests.integration.world import Images

pytestmark = pytest.mark.timeout(420)


def test_a_rollback_by_hand_is_told_and_stays(images: Images, new_stage: Callable[..., Stage]) -> None:
    for tag in ("web:1", "web:2", "web:3"):
        images.push(tag)
    stage = new_stage(shop(images.ref("web:1")))
    stage.deploy_first()
    first, before = stage.tip("main"), stage.host.container("web").image_id
    assert stage.push("main", shop(images.ref("web:2"))).jobs == DEPLOYED
    second = stage.tip("main")
    assert stage.host.container("web").image_id != before

    ran = stage.run_by_hand(command="rollback", cluster=stage.host.project)
    assert ran.jobs == {"rollback": "success", "report": "success"}, ran.log
    assert stage.host.container("web").image_id == before
    assert stage.host.head == first
    assert stage.deployments() == [(first, "success"), (second, "inactive"), (first, "success")]

    ran = stage.happens("schedule", {"schedule": "17 */6 * * *"}, "main")
    assert ran.jobs == DETECTED, ran.log
    assert stage.host.container("web").image_id == before, "a person went back from it"

    # Somebody goes on by hand, on the host; what GitHub judges next is judged from another commit.
    assert stage.host.dual_update("apply", "--auto", "--ref", str(second), "--approved-by", "ada",
                                  "--expect", plan(stage, str(second))).returncode == 0  # fmt: skip
    ran = stage.push("main", shop(images.ref("web:3")))
    assert ran.jobs == {**DETECTED, "deploy": "failure", "report": "success"}, ran.log
    assert "This was judged as an update from" in stage.said() + ran.log
    assert stage.deployments()[-1] == (second, "success"), "the host's word on what runs is taken"
    ran = stage.happens("schedule", {"schedule": "17 */6 * * *"}, "main")
    assert ran.jobs == DEPLOYED, ran.log
    assert stage.deployments()[-1] == (stage.tip("main"), "success")


def plan(stage: Stage, ref: str) -> str:
    """The fingerprint of what a person reads."""
    done = stage.host.dual_update("plan", "--ref", ref, "--format", "json")
    return str(json.loads(done.stdout)["plan_fingerprint"])
