"""The fake keeps to GitHub's description, remembers, and fails when told to."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fake_github import faults
from tests.fake_github.calls import HANDLERS
from tests.fake_github.cut import CUT, OPERATIONS
from tests.fake_github.server import FakeGitHub, Token

NAME = "its-DeFine/shop"


@pytest.fixture
def github(tmp_path: Path) -> Iterator[FakeGitHub]:
    with FakeGitHub(tmp_path) as server:
        server.repository(NAME)
        yield server


def ask(
    github: FakeGitHub, method: str, path: str, body: Any = None, token: str = "a-token", **query: Any
) -> Any:
    headers = {"Authorization": f"token {token}"}
    url = f"{github.url}/repos/{NAME}{path}"
    return httpx.request(method, url, json=body, params=query or None, headers=headers, timeout=10)


def made(github: FakeGitHub, path: str, body: Any, method: str = "POST") -> Any:
    answer = ask(github, method, path, body)
    assert answer.status_code in {200, 201}, answer.text
    return answer.json()


def test_every_operation_of_the_cut_has_its_handler() -> None:
    assert set(HANDLERS) == {(method, path) for path, methods in OPERATIONS.items() for method in methods}


def test_the_cut_names_no_host_but_what_its_schemas_hold() -> None:
    assert "registry" not in CUT.read_text("utf-8").replace("registry_package", "").lower()
    assert "MIT License" in CUT.with_suffix(".LICENSE").read_text("utf-8")


def test_an_issue_lives(github: FakeGitHub) -> None:
    number = made(github, "/issues", {"title": "Update", "body": "text", "labels": ["x"]})["number"]
    made(github, f"/issues/{number}/comments", {"body": "a word"})
    comment = ask(github, "GET", f"/issues/{number}/comments").json()[0]
    made(github, f"/issues/comments/{comment['id']}", {"body": "another"}, "PATCH")
    assert ask(github, "GET", f"/issues/comments/{comment['id']}").json()["body"] == "another"
    made(github, f"/issues/{number}/labels", {"labels": ["y"]})
    assert [one["name"] for one in ask(github, "GET", f"/issues/{number}/labels").json()] == ["x", "y"]
    made(github, f"/issues/{number}", {"state": "closed", "state_reason": "not_planned"}, "PATCH")
    assert ask(github, "GET", f"/issues/{number}").json()["state_reason"] == "not_planned"
    assert ask(github, "GET", "/issues").json() == []
    assert len(ask(github, "GET", "/issues", state="all", labels="x,y").json()) == 1
    assert ask(github, "DELETE", f"/issues/comments/{comment['id']}").status_code == 204
    assert made(github, "/labels", {"name": "z", "color": "ff0000"})["color"] == "ff0000"
    assert ask(github, "POST", "/labels", {"name": "Z"}).json()["errors"][0]["code"] == "already_exists"
    assert ask(github, "GET", "/labels/z").status_code == 200
    assert len(ask(github, "GET", "/labels").json()) == 3


def test_long_lists_come_in_pages(github: FakeGitHub) -> None:
    for number in range(5):
        made(github, "/issues", {"title": f"{number}"})
    answer = ask(github, "GET", "/issues", per_page=2)
    numbers = [one["number"] for one in answer.json()]
    while "next" in answer.links:
        answer = httpx.get(answer.links["next"]["url"], headers={"Authorization": "token a-token"})
        numbers += [one["number"] for one in answer.json()]
    assert numbers == [5, 4, 3, 2, 1]


def test_a_pull_request_is_reviewed_and_merged(github: FakeGitHub) -> None:
    repo = github.repository(NAME)
    head = repo.put("update/one", {"compose.yml": "services: {}\n"})
    github.tokens["ada"] = Token("ada")
    body = {"title": "One", "head": "update/one", "base": "main", "body": "text"}
    number = made(github, "/pulls", body)["number"]
    assert "already exists" in ask(github, "POST", "/pulls", body).text
    assert ask(github, "POST", f"/pulls/{number}/reviews", {"event": "APPROVE"}).status_code == 422
    assert ask(github, "POST", f"/pulls/{number}/reviews", {"event": "APPROVE"}, "ada").status_code == 200
    assert ask(github, "GET", f"/pulls/{number}/reviews").json()[0]["state"] == "APPROVED"
    assert [f["filename"] for f in ask(github, "GET", f"/pulls/{number}/files").json()] == ["compose.yml"]
    assert ask(github, "GET", "/pulls", head="its-DeFine:update/one").json()[0]["mergeable_state"] == "clean"
    assert ask(github, "GET", f"/pulls/{number}/merge").status_code == 404
    assert ask(github, "PUT", f"/pulls/{number}/merge", {"sha": "0" * 40}).status_code == 409
    sha = made(github, f"/pulls/{number}/merge", {"sha": head, "merge_method": "squash"}, "PUT")["sha"]
    assert ask(github, "GET", f"/pulls/{number}/merge").status_code == 204
    assert ask(github, "GET", f"/pulls/{number}").json()["merged"]
    assert ask(github, "GET", f"/commits/{sha}/pulls").json()[0]["number"] == number
    assert len(repo.git("rev-list", "main").split()) == 2
    made(github, f"/pulls/{number}", {"title": "Done"}, "PATCH")
    repo.may_create_pulls = False
    assert "not permitted to create" in ask(github, "POST", "/pulls", body).text


def test_code_is_written_through_git_objects(github: FakeGitHub) -> None:
    """How a submodule's pointer is moved without a clone."""
    main = ask(github, "GET", "/git/ref/heads/main").json()["object"]["sha"]
    base = ask(github, "GET", f"/git/commits/{main}").json()["tree"]["sha"]
    blob = made(github, "/git/blobs", {"content": "text\n"})["sha"]
    entries = [
        {"path": "a/b", "mode": "100644", "type": "blob", "sha": blob},
        {"path": "app", "mode": "160000", "type": "commit", "sha": "1" * 40},
    ]
    tree = made(github, "/git/trees", {"base_tree": base, "tree": entries})["sha"]
    commit = made(github, "/git/commits", {"message": "move", "tree": tree, "parents": [main]})["sha"]
    made(github, "/git/refs", {"ref": "refs/heads/update/app", "sha": commit})
    assert "already exists" in ask(github, "POST", "/git/refs", {"ref": "refs/heads/main", "sha": main}).text
    listed = ask(github, "GET", f"/git/trees/{tree}", recursive="1").json()["tree"]
    assert {one["path"]: one["type"] for one in listed}["app"] == "commit"
    compared = ask(github, "GET", "/compare/main...update/app").json()
    assert (compared["status"], compared["ahead_by"], len(compared["files"])) == ("ahead", 1, 2)
    assert ask(github, "PATCH", "/git/refs/heads/update/app", {"sha": main}).status_code == 422
    made(github, "/merges", {"base": "main", "head": "update/app"})
    assert ask(github, "POST", "/merges", {"base": "main", "head": "update/app"}).status_code == 204
    made(github, "/git/refs/heads/update/app", {"sha": main, "force": True}, "PATCH")
    assert len(ask(github, "GET", "/git/matching-refs/heads/update").json()) == 1
    assert ask(github, "DELETE", "/git/refs/heads/update/app").status_code == 204
    assert ask(github, "GET", "/git/ref/heads/update/app").status_code == 404
    text = base64.b64encode(b"new\n").decode()
    made(github, "/contents/docs/new.txt", {"message": "new", "content": text}, "PUT")
    assert base64.b64decode(ask(github, "GET", "/contents/docs/new.txt").json()["content"]) == b"new\n"
    assert ask(github, "PUT", "/contents/docs/new.txt", {"message": "n", "content": text}).status_code == 409
    assert ask(github, "GET", "/contents/docs/none").status_code == 404
    assert ask(github, "GET", "/branches/main").json()["protected"] is False
    assert ask(github, "GET", "/branches/main/protection").status_code == 404
    assert ask(github, "GET", "").json()["default_branch"] == "main"


def test_conflicting_branches_do_not_merge(github: FakeGitHub) -> None:
    repo = github.repository(NAME)
    repo.put("theirs", {"README.md": "theirs\n"})
    repo.put("main", {"README.md": "ours\n"})
    assert ask(github, "POST", "/merges", {"base": "main", "head": "theirs"}).status_code == 409
    number = made(github, "/pulls", {"title": "t", "head": "theirs", "base": "main"})["number"]
    assert ask(github, "PUT", f"/pulls/{number}/merge", {}).status_code == 405


def test_a_deployment_has_githubs_defaults(github: FakeGitHub) -> None:
    repo = github.repository(NAME)
    head = repo.put("update/one", {"x": "y"})
    assert ask(github, "POST", "/deployments", {"ref": "update/one"}).status_code == 202
    made(github, f"/statuses/{head}", {"state": "pending", "context": "dual-update"})
    assert ask(github, "GET", f"/commits/{head}/status").json()["state"] == "pending"
    body = {
        "ref": head,
        "auto_merge": False,
        "task": "dual-update",
        "payload": {"cluster": "shop", "run": "r1"},
    }
    assert ask(github, "POST", "/deployments", body).status_code == 409
    number = made(github, "/deployments", {**body, "required_contexts": []})["id"]
    made(github, f"/deployments/{number}/statuses", {"state": "in_progress"})
    made(github, f"/deployments/{number}/statuses", {"state": "success"})
    assert ask(github, "GET", f"/deployments/{number}/statuses").json()[0]["state"] == "success"
    assert ask(github, "GET", "/deployments", task="dual-update").json()[0]["payload"]["run"] == "r1"
    assert ask(github, "GET", f"/deployments/{number}").json()["sha"] == head
    assert ask(github, "GET", "/environments/production").status_code == 404
    assert ask(github, "POST", "/dispatches", {"event_type": "moved"}).status_code == 204
    ran = ask(github, "POST", "/actions/workflows/ci.yml/dispatches", {"ref": "main", "inputs": {"a": "b"}})
    assert ran.status_code == 204
    assert [one.get("event") or one["workflow"] for one in repo.dispatches] == ["moved", "ci.yml"]


@pytest.mark.parametrize(
    ("method", "path", "body", "says"),
    [
        ("POST", "/issues", {"body": "no title"}, "title"),
        ("POST", "/issues", {"title": "t", "colour": "red"}, "unknown key colour"),
        ("POST", "/pulls", {"title": "t", "head": "a"}, "base"),
        ("POST", "/git/trees", {"tree": [{"path": "a", "mod": "100644"}]}, "unknown key tree[0].mod"),
        ("POST", "/deployments", {"ref": "main", "auto_merge": "no"}, "boolean"),
        ("GET", "/milestones", None, "not in the cut"),
    ],
)
def test_what_github_does_not_know_is_refused_and_told(
    tmp_path: Path, method: str, path: str, body: Any, says: str
) -> None:
    with FakeGitHub(tmp_path, strict=False) as github:
        github.repository(NAME)
        assert ask(github, method, path, body).status_code in {404, 422}
        assert says in " ".join(github.violations)
        assert github.repository(NAME).issues == {}


def test_an_answer_against_the_description_is_told_too(tmp_path: Path) -> None:
    with FakeGitHub(tmp_path, strict=False) as github:
        repo = github.repository(NAME)
        made(github, "/issues", {"title": "t"})
        repo.issues[1]["number"] = "one"
        assert ask(github, "GET", "/issues/1").status_code == 500
        assert "answer to GET" in github.violations[0]


def test_tokens_have_permissions(github: FakeGitHub) -> None:
    github.tokens["reader"] = Token(permissions={"contents": "read", "pull_requests": "write"})
    assert ask(github, "GET", "", token="wrong").status_code == 401
    assert ask(github, "GET", "/branches/main", token="reader").status_code == 200
    refused = ask(github, "POST", "/labels", {"name": "x"}, token="reader")
    assert (refused.status_code, refused.json()["message"]) == (403, "Resource not accessible by integration")
    assert ask(github, "GET", "/deployments", token="reader").status_code == 403


def test_a_switched_off_issue_tracker_is_gone(github: FakeGitHub) -> None:
    github.repository(NAME).has_issues = False
    assert ask(github, "POST", "/issues", {"title": "t"}).status_code == 410


def test_a_plan_without_rules_refuses_to_tell_them(github: FakeGitHub) -> None:
    github.repository(NAME).has_rules = False
    for path in ("/rules/branches/main", "/branches/main/protection"):
        refused = ask(github, "GET", path)
        assert refused.status_code == 403
        assert refused.json()["message"].startswith("Upgrade to GitHub Pro")
    assert ask(github, "GET", "/branches/main").json()["protected"] is False


@pytest.mark.parametrize(("after", "left"), [(False, 0), (True, 1)])
def test_a_fault_comes_before_the_write_or_after_it(github: FakeGitHub, after: bool, left: int) -> None:
    github.faults.add(faults.bad_gateway(method="POST", path="/issues$", after=after))
    assert ask(github, "POST", "/issues", {"title": "t"}).status_code == 502
    assert len(ask(github, "GET", "/issues").json()) == left
    assert ask(github, "POST", "/issues", {"title": "t"}).status_code == 201


def test_a_lost_connection_is_lost(github: FakeGitHub) -> None:
    github.faults.add(faults.lost(method="GET"))
    with pytest.raises(httpx.RemoteProtocolError):
        ask(github, "GET", "/issues")
