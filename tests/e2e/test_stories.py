"""From a push to a proven deployment: the real workflow, action, container, git and engine; a fake GitHub."""

import json
from collections.abc import Callable

import pytest

from tests.e2e.stage import Stage
from tests.integration.world import Images

pytestmark = pytest.mark.timeout(420)

POLICY = "health: {settle_seconds: 0.5, deadline_seconds: 20}\n"
DETECTED = {"detect": "success"}
DEPLOYED = {**DETECTED, "deploy": "success", "report": "success"}


def shop(image: str, extra: str = "") -> dict[str, str]:
    text = f"name: @NAME@\nservices:\n  web:\n    image: {image}\n{extra}"
    return {"compose.yml": text, ".github/dual-update.yml": POLICY}


def test_push_issue_pull_request_merge_deploy(images: Images, new_stage: Callable[..., Stage]) -> None:
    """A first deployment by hand; then a structural change on a branch, merged, deployed, proven, closed."""
    images.push("web:1")
    stage = new_stage(shop(images.ref("web:1")))
    ran = stage.run_by_hand()
    assert ran.jobs == DETECTED, ran.log
    assert "start the deploy by Run workflow with the box approve ticked" in ran.log
    ran = stage.run_by_hand(approve="true")
    assert ran.jobs == DEPLOYED, ran.log
    first = stage.tip("main")
    assert stage.deployments() == [(first, "success")]
    before = stage.host.container("web")

    ran = stage.push("feature", shop(images.ref("web:1"), "    environment: {GREETING: marmalade}\n"))
    assert ran.jobs == DETECTED, ran.log
    assert (ran.outputs["detect.update-type"], ran.outputs["detect.deploy"]) == ("structural", "no")
    [issue], [pull] = stage.issues(), stage.pulls()
    assert f"#{issue['number']}" in pull["body"]
    assert pull["head"]["ref"] == "feature"
    assert stage.host.container("web").id == before.id

    ran = stage.merge(pull["number"])
    assert ran.jobs == DEPLOYED, ran.log
    assert ran.outputs["detect.deploy"] == "auto"
    assert stage.host.head == stage.tip("main")
    assert stage.deployments() == [(first, "success"), (stage.tip("main"), "success")]
    assert stage.host.container("web").id != before.id
    assert stage.issues() == []
    [done] = [one for one in stage.issues("closed") if one["number"] == issue["number"]]
    assert done["state_reason"] == "completed"
    for number in (issue["number"], pull["number"]):
        [words] = stage.comments(number)
        assert "### Deployed" in words
    assert "marmalade" not in stage.said() + ran.log

    again = stage.pushed("main", first)  # GitHub delivers an event twice, or a person presses "Re-run"
    assert again.jobs == DETECTED, again.log
    assert stage.issues() == []


def test_broken_image_rollback_revert(images: Images, new_stage: Callable[..., Stage]) -> None:
    """The update is taken back, the issue stays with the evidence, and one way back in git is offered."""
    images.push("web:1")
    images.push("web:2", flavour="crash")
    stage = new_stage(shop(images.ref("web:1")))
    stage.deploy_first()
    first, before = stage.tip("main"), stage.host.container("web")

    ran = stage.push("main", shop(images.ref("web:2")))
    assert ran.jobs == {**DETECTED, "deploy": "failure", "report": "success"}, ran.log
    bad = stage.tip("main")
    assert stage.host.container("web").image_id == before.image_id
    assert stage.host.head == first
    assert stage.deployments() == [(first, "success"), (bad, "failure")]
    [issue] = stage.issues()
    words = "\n".join(stage.comments(issue["number"]))
    assert "broken on purpose" in words
    assert "exited with code 1" in words
    [revert] = stage.pulls()
    assert revert["base"]["ref"] == "main"

    ran = stage.pushed("main", bad)  # run again: nothing is said twice
    assert ran.jobs["detect"] == "success"
    assert (len(stage.issues()), len(stage.pulls())) == (1, 1)

    ran = stage.merge(revert["number"])
    assert ran.jobs["detect"] == "success", ran.log
    assert "deploy" not in ran.jobs or ran.jobs["deploy"] == "success"
    assert stage.host.container("web").id
    assert stage.issues() == []


def test_image_only(images: Images, new_stage: Callable[..., Stage]) -> None:
    """A tag that moves to the next: an issue for the branch, no pull request of ours; on main it deploys."""
    for tag in ("web:1", "web:2", "api:1"):
        images.push(tag)
    api = f"  api:\n    image: {images.ref('api:1')}\n"
    stage = new_stage(shop(images.ref("web:1"), api))
    stage.deploy_first()
    before = {name: stage.host.container(name).id for name in ("web", "api")}

    ran = stage.push("feature", shop(images.ref("web:2"), api))
    assert ran.jobs == DETECTED, ran.log
    assert ran.outputs["detect.update-type"] == "image_only"
    assert (len(stage.issues()), stage.pulls()) == (1, [])

    ran = stage.merge(stage.open_pull("feature"), "squash")
    assert ran.jobs == DEPLOYED, ran.log
    [entry] = json.loads(ran.outputs["detect.clusters"])
    assert (entry["strategy"], entry["deploy"]) == ("watchtower", "auto")
    assert stage.host.container("web").id != before["web"]
    assert stage.host.container("api").id == before["api"]
    assert stage.issues() == []
