"""examples/dual-repo as it lies there, run: a change in two repositories, approved in both, deployed once."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from dual_update.core.coordination import CONTEXT
from tests.e2e.act import Ran, as_act_reads_it, as_called_here, run_workflow
from tests.e2e.stage import PERSON, Stage
from tests.fake_github.repository import Repository
from tests.fake_github.server import Token
from tests.integration.world import Images, World
from tests.workflows.workflow import ROOT, SYSTEM

EXAMPLE = ROOT / "examples/dual-repo"
PATH = "services/app"
LOOKED = {"detect": "success"}
DEPLOYED = {**LOOKED, "deploy": "success", "report": "success"}

pytestmark = pytest.mark.timeout(600)


def files_of(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def shop_files(images: Images, port: int) -> dict[str, str]:
    """The example's own, on a port that is free here, with images that are here."""
    files = files_of(EXAMPLE / "shop")
    for path, old, new in (
        ("compose.yml", "name: shop", "name: @NAME@"),
        ("compose.yml", "127.0.0.1:8087", f"127.0.0.1:{port}"),
        (".github/dual-update.yml", "127.0.0.1:8087", f"127.0.0.1:{port}"),
        (".github/dual-update.yml", "settle_seconds: 5", "settle_seconds: 0.5"),
        (".github/dual-update.yml", "deadline_seconds: 120", "deadline_seconds: 30"),
    ):
        assert old in files[path], old
        files[path] = files[path].replace(old, new)
    references = {"WEB_IMAGE": images.push("web:1").ref, "APP_BASE": images.push("base:1").ref}
    files[".env"] = "".join(f"{name}={reference}\n" for name, reference in references.items())
    del files[".github/workflows/dual-update.yml"]
    files[".github/workflows/dual-update-system.yml"] = as_act_reads_it(SYSTEM.read_text())
    return files


def with_submodule(stage: Stage, app: Repository) -> None:
    """The app's main is the shop's submodule; the host has it too, and fetches it from this disk."""
    there = f"https://github.com/{app.name}.git"
    stage.repository.put("main", {".gitmodules": f'[submodule "app"]\n\tpath = {PATH}\n\turl = {there}\n'})
    tip = app.commit_of("main")
    assert tip
    stage.commit_pointer("main", PATH, tip)
    stage.host.git("fetch", "--quiet", "origin")
    stage.host.git("reset", "--quiet", "--hard", "origin/main")
    settings = {f"url.file://{app.git_dir}.insteadOf": there, "protocol.file.allow": "always"}
    words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    stage.host.git(*words, "submodule", "--quiet", "update", "--init")
    for name, value in settings.items():
        stage.host.git("-C", PATH, "config", name, value)


def agree(stage: Stage, repository: str, number: int) -> None:
    """The owner approves what we proposed."""
    url = f"{stage.github.url}/repos/{repository}/pulls/{number}/reviews"
    answer = httpx.post(
        url, json={"event": "APPROVE"}, headers={"Authorization": f"token {PERSON}"}, timeout=10
    )
    assert answer.is_success, answer.text


def state_of(repository: Repository, commit: str | None) -> str:
    ours = [one["state"] for one in repository.statuses.get(commit or "", []) if one["context"] == CONTEXT]
    return ours[-1] if ours else ""


def test_both_are_approved_and_the_deploy_waits_for_both(
    world: World, images: Images, new_stage: Callable[..., Stage]
) -> None:
    port = world.free_port()
    stage = new_stage(shop_files(images, port))
    stage.workflow_text = as_called_here((EXAMPLE / "shop/.github/workflows/dual-update.yml").read_text())
    app, shop = stage.github.repository("ada/app"), stage.repository
    app.put("main", files_of(EXAMPLE / "app"))
    with_submodule(stage, app)
    stage.github.tokens["a-token"] = Token(repositories=frozenset({"ada/shop"}))
    stage.github.tokens["of-app"] = Token(repositories=frozenset({"ada/app"}))
    stage.secrets = {"GITHUB_TOKEN": "a-token", "SUBMODULE_TOKEN": "of-app"}
    stage.deploy_first()
    assert world.http_get(port, within_seconds=10).body == "app 1"
    web = stage.host.container("web")

    # New code on a branch of the app, and a branch of the shop that points at it.
    new = app.put("feature", {"page/index.html": "app 2\n"})
    app.git("update-ref", "-d", "refs/heads/feature")  # pushed by its commit alone: nobody proposed it yet
    app.git("update-ref", "refs/heads/wip", new)
    ran = stage.point("work", PATH, new)
    assert ran.jobs == LOOKED, ran.log
    assert ran.outputs["detect.deploy"] == "no"
    [issue], [pull] = stage.issues(), stage.pulls()
    [theirs] = app.pulls.values()
    [notice] = [one for one in app.issues.values() if not one.get("pull_request")]
    assert theirs["head"]["sha"] == new
    assert f"ada/shop#{pull['number']}" in notice["body"]
    assert any(f"ada/app#{theirs['number']}" in words for words in stage.comments(pull["number"]))
    assert state_of(shop, stage.tip("work")) == state_of(app, new) == "pending"

    # Both are approved; the app's workflow tells the shop, and both turn green.
    agree(stage, "ada/shop", pull["number"])
    agree(stage, "ada/app", theirs["number"])
    ran = told_by_the_app(stage)
    assert ran.jobs["detect"] == "success", ran.log
    assert state_of(shop, stage.tip("work")) == state_of(app, new) == "success"

    # The shop is merged first: nothing is deployed.
    ran = stage.merge(pull["number"])
    assert ran.jobs == LOOKED, ran.log
    assert ran.outputs["detect.deploy"] == "no"
    assert world.http_get(port).body == "app 1"

    # The app is merged as another commit: a pull request moves the pointer to it.
    url = f"{stage.github.url}/repos/ada/app/pulls/{theirs['number']}/merge"
    merged = httpx.put(
        url, json={"merge_method": "squash"}, headers={"Authorization": f"token {PERSON}"}, timeout=10
    )
    assert merged.is_success, merged.text
    ran = told_by_the_app(stage)
    assert ran.jobs == LOOKED, ran.log
    assert world.http_get(port).body == "app 1"
    [move] = stage.pulls()
    assert move["base"]["ref"] == "main"

    # That is merged: deployed, proven, and said on both sides.
    ran = stage.merge(move["number"])
    assert ran.jobs == DEPLOYED, ran.log
    assert world.http_get(port, within_seconds=10).body == "app 2"
    assert stage.host.container("web") == web
    assert stage.deployments()[-1] == (stage.tip("main"), "success")
    assert stage.issues() == []
    assert [one for one in app.issues.values() if one["state"] == "open"] == []
    assert issue["number"] in [one["number"] for one in stage.issues("closed")]


def told_by_the_app(stage: Stage) -> Ran:
    """The app's own workflow is run, asks GitHub to start the shop's, and that is run."""
    scratch = stage.folder / f"told-{stage.runs}"
    scratch.mkdir()
    workflow = scratch / "tell-shop.yml"
    workflow.write_text((EXAMPLE / "app/.github/workflows/tell-shop.yml").read_text())
    payload = {"ref": "refs/heads/main", "repository": {"full_name": "ada/app", "default_branch": "main"}}
    told = run_workflow(
        workflow,
        stage.runner,
        "push",
        payload,
        {"GITHUB_API_URL": stage.github.url},
        {"SHOP_TOKEN": "a-token"},
        {"SHOP_REPOSITORY": "ada/shop"},
    )
    assert told.jobs == {"tell": "success"}, told.log
    asked = stage.repository.dispatches.pop(0)
    assert asked["event"] == "dual-update"
    return stage.happens("repository_dispatch", {"action": "dual-update", "client_payload": {}}, "main")
