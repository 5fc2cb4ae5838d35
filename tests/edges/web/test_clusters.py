"""GET /api/clusters: the service's own cluster from what it knows, the others from themselves."""

import json
from pathlib import Path

from dual_update.edges.web import clusters
from dual_update.wiring import Settings
from tests.edges.web.conftest import MakeWeb, Web


def test_without_a_file_the_fleet_is_one_cluster(web: Web) -> None:
    found = web.client.get("/api/clusters").json()
    clusters.Fleet.model_validate(found)
    assert found["schema"] == "dual-update/fleet/v1"
    assert [one["stage"] for one in found["clusters"]] == [0]


def test_reading_needs_the_token_off_loopback(make_web: MakeWeb) -> None:
    web = make_web(host="0.0.0.0", base_url="http://127.0.0.1:8090")
    assert web.client.get("/api/clusters").status_code in {401, 421}
    assert web.as_owner("GET", "/api/clusters").status_code == 200


def test_the_fleet_of_the_checkout_and_what_cannot_be_reached(web: Web, tmp_path: Path) -> None:
    repo = tmp_path / "checkout"
    repo.mkdir()
    entries = [
        {"name": "here", "path": "."},
        {"name": "far", "stage": 1, "url": "http://127.0.0.1:9", "auto_approve": True},
        {"name": "rented", "stage": 2, "runner": ["self-hosted"]},
    ]
    (repo / "multi-cluster.yml").write_text(json.dumps({"clusters": entries}))
    web.app.state.cluster_settings = Settings(repo=repo, state_dir=tmp_path / "state")
    found = {one["name"]: one for one in web.client.get("/api/clusters").json()["clusters"]}
    assert list(found) == ["here", "far", "rented"]
    assert (found["far"]["reachable"], found["far"]["health"], found["far"]["driver"]) == (
        False,
        "unknown",
        "api",
    )
    assert "does not answer" in found["far"]["detail"]
    assert "driven by a runner" in found["rented"]["detail"]
    page = web.client.get("/clusters").text
    assert "3 clusters, no version known, 3 not reached." in page
    assert "<bdi>far</bdi>" in page
    again = web.client.get("/api/clusters")
    assert again.json()["clusters"] == list(found.values())


def test_hosts_with_the_checkout_at_the_same_path_are_not_this_one(web: Web, tmp_path: Path) -> None:
    own = web.client.get("/api/status").json()["cluster"]
    names = ["far", own, "rented"]
    entries = [{"name": name, "path": str(tmp_path), "runner": [name]} for name in names]
    (tmp_path / "multi-cluster.yml").write_text(json.dumps({"clusters": entries}))
    web.app.state.fleet.answer = None
    web.app.state.cluster_settings = Settings(repo=tmp_path, state_dir=tmp_path / "state")
    found = web.client.get("/api/clusters").json()["clusters"]
    details = {one["name"]: one["detail"] for one in found}
    assert "driven by a runner" in details["far"]
    assert "driven by a runner" in details["rented"]
    assert "driven by a runner" not in str(details[own])


def test_a_wrong_file_is_a_problem_with_its_line(web: Web, tmp_path: Path) -> None:
    (tmp_path / "multi-cluster.yml").write_text("clusters:\n  - nam: a\n")
    web.app.state.cluster_settings = Settings(repo=tmp_path)
    answer = web.client.get("/api/clusters")
    assert answer.status_code == 422
    assert "line 2" in answer.json()["detail"]


def test_names_of_strangers_are_inert_and_the_page_is_linked_where_there_is_a_fleet(
    web: Web, tmp_path: Path
) -> None:
    assert "/clusters" not in web.client.get("/").text
    (tmp_path / "multi-cluster.yml").write_text("clusters: [{name: a, runner: [x]}]")
    clusters.lead(web.app, Settings(repo=tmp_path, state_dir=tmp_path / "state"))
    assert "/clusters" in web.client.get("/").text
    evil = {
        "name": "<script>x</script>",
        "stage": 0,
        "reachable": True,
        "version": "<b>",
        "drift": ["<i>"],
        "health": "not well",
        "detail": None,
        "under_way": False,
        "last_run": {"outcome": "<u>", "started_at": "<time>"},
    }
    web.app.state.fleet.answer = {"clusters": [evil], "versions": [], "rollout": None}
    web.app.state.fleet.at = float("inf")
    page = web.client.get("/clusters").text
    assert "&lt;script&gt;x&lt;/script&gt;" in page
    for tag in ("<script>x", "<b>", "<i>", "<u>", "<time>"):
        assert tag not in page
