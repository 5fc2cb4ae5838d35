"""examples/single-cluster's own workflow, run: a push that changes an image ends as a proven deployment."""

from collections.abc import Callable

from tests.e2e.act import as_act_reads_it, as_called_here
from tests.e2e.stage import Stage
from tests.integration.world import Images
from tests.workflows.workflow import ROOT, SYSTEM

EXAMPLE = ROOT / "examples/single-cluster/.github/workflows/dual-update.yml"


def test_its_workflow_deploys_a_new_image(images: Images, new_stage: Callable[..., Stage]) -> None:
    one, two = (images.push(f"agent:{n}", f"agent {n}") for n in (1, 2))
    compose = "name: @NAME@\nservices:\n  agent:\n    image: {}\n"
    files = {
        "compose.yml": compose.format(one.ref),
        ".github/dual-update.yml": "health: {settle_seconds: 0.3, deadline_seconds: 20}\n",
        ".github/workflows/dual-update-system.yml": as_act_reads_it(SYSTEM.read_text()),
    }
    stage = new_stage(files)
    stage.workflow_text = as_called_here(EXAMPLE.read_text())
    stage.deploy_first()
    ran = stage.push("main", {"compose.yml": compose.format(two.ref)})
    assert stage.deployments()[-1] == (stage.tip("main"), "success"), ran.log
    assert stage.issues() == []
    assert len(stage.issues("closed")) == 1
