"""The main job on a real engine: a cluster ends as wanted and proven, or exactly as it was."""

import json

import pytest

from tests.integration.world import Cluster, Images, World, eventually

FAST = "health: {settle_seconds: 1, deadline_seconds: 15}\n"


def compose(images: Images, port: int, web: str = "web:1", extra: str = "", **tags: str) -> str:
    """Three services: web with a named volume and a port, api with a bind, db with a nameless volume."""
    refs = {name: images.ref(tags.get(name, f"{name}:1")) for name in ("api", "db")}
    return f"""
services:
  web:
    image: {images.ref(web)}
    ports: ["127.0.0.1:{port}:80"]
    volumes: ["store:/store"]
    depends_on: [api]
  api:
    image: {refs["api"]}
    volumes: ["./data:/data"]
  db:
    image: {refs["db"]}
    volumes: ["/nameless"]
{extra}
volumes:
  store: {{}}
"""


@pytest.fixture
def three(world: World, images: Images) -> Cluster:
    """A deployed three-service cluster with markers in its three kinds of volumes."""
    for name in ("web", "api", "db"):
        images.push(f"{name}:1", f"{name} one")
    port = world.free_port()
    cluster = world.repo(
        {"compose.yml": compose(images, port), "data/marker": "bind", ".github/dual-update.yml": FAST}
    )
    cluster.port = port  # type: ignore[attr-defined]
    deployed = apply(cluster)
    assert deployed["outcome"] == "succeeded"
    run_in(cluster, "web", "echo named > /store/marker")
    run_in(cluster, "db", "echo nameless > /nameless/marker")
    return cluster


def apply(cluster: Cluster, *arguments: str, code: int = 0) -> dict:
    done = cluster.dual_update("apply", "--auto", "--format", "json", *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def run_in(cluster: Cluster, service: str, command: str) -> str:
    return cluster.compose("exec", "-T", service, "sh", "-c", command)


def markers(cluster: Cluster) -> list[str]:
    return [
        run_in(cluster, "web", "cat /store/marker").strip(),
        run_in(cluster, "api", "cat /data/marker").strip(),
        run_in(cluster, "db", "cat /nameless/marker").strip(),
    ]


def seen(cluster: Cluster, *but: str) -> dict:
    return {c.service: (c.id, c.started_at) for c in cluster.containers() if c.service not in but}


KEPT = ["named", "bind", "nameless"]


def test_comment_changes_nothing(three: Cluster) -> None:
    before = three.running_hash()
    text = (three.directory / "compose.yml").read_text()
    three.commit({"compose.yml": "# a word\n" + text}, "comment")
    report = apply(three)
    assert report["outcome"] == "unchanged"
    assert report["update_type"] == "none"
    assert three.running_hash() == before
    assert apply(three)["outcome"] == "unchanged"


def test_image_change_replaces_one_service(three: Cluster, world: World, images: Images) -> None:
    images.push("web:2", "web two")
    others = seen(three, "web")
    three.commit({"compose.yml": compose(images, three.port, "web:2")}, "web 2")
    report = apply(three)
    assert (report["outcome"], report["update_type"]) == ("succeeded", "image_only")
    assert seen(three, "web") == others
    assert world.http_get(three.port, "/", within_seconds=5).body.strip() == "web two"
    assert markers(three) == KEPT


def test_structural_change_is_a_full_revamp(three: Cluster, images: Images) -> None:
    before = seen(three)
    images.push("new:1", "new")
    extra = f"    environment: {{A: b}}\n  new:\n    image: {images.ref('new:1')}"
    three.commit({"compose.yml": compose(images, three.port, extra=extra)}, "structure")
    report = apply(three)
    assert (report["outcome"], report["update_type"]) == ("succeeded", "structural")
    after = seen(three)
    assert set(after) == {"web", "api", "db", "new"}
    assert all(after[name] != before[name] for name in before)
    assert markers(three) == KEPT


def test_scope_changed_touches_only_what_changed(three: Cluster, images: Images) -> None:
    others = seen(three, "db")
    three.commit({"compose.yml": compose(images, three.port, extra="    environment: {A: b}")}, "db only")
    assert apply(three, "--scope", "changed")["outcome"] == "succeeded"
    assert seen(three, "db") == others
    assert markers(three) == KEPT


def test_removed_service_goes(three: Cluster, images: Images) -> None:
    extra = f"  extra:\n    image: {images.ref('api:1')}"
    three.commit({"compose.yml": compose(images, three.port, extra=extra)}, "add")
    assert apply(three)["outcome"] == "succeeded"
    three.commit({"compose.yml": compose(images, three.port)}, "remove")
    assert apply(three)["outcome"] == "succeeded"
    assert {c.service for c in three.containers()} == {"web", "api", "db"}
    assert markers(three) == KEPT


@pytest.mark.parametrize("flavour", ["crash", "unhealthy"])
@pytest.mark.parametrize("is_structural", [False, True])
def test_broken_image_is_taken_back(
    three: Cluster, world: World, images: Images, flavour: str, is_structural: bool
) -> None:
    images.push("web:bad", "bad", flavour=flavour)
    old = {c.service: (c.image_id, c.config_hash) for c in three.containers()}
    others = seen(three, "web")
    head = three.head
    compose_before = (three.directory / "compose.yml").read_bytes()
    extra = "    environment: {A: b}" if is_structural else ""
    three.commit({"compose.yml": compose(images, three.port, "web:bad", extra)}, "broken")
    report = apply(three, code=1)
    assert report["outcome"] == "rolled_back"
    assert {c.service: (c.image_id, c.config_hash) for c in three.containers()} == old
    if not is_structural:
        assert seen(three, "web") == others
    assert three.git("rev-parse", "HEAD").strip() == head
    assert (three.directory / "compose.yml").read_bytes() == compose_before
    assert world.http_get(three.port, "/", within_seconds=5).body.strip() == "web one"
    assert markers(three) == KEPT
    assert json.loads(three.dual_update("status", "--format", "json").stdout)["deployed"] == head


def test_failing_pull_touches_nothing(three: Cluster, images: Images) -> None:
    before = three.running_hash()
    three.commit({"compose.yml": compose(images, three.port, "web:absent")}, "absent")
    report = apply(three, code=1)
    assert report["outcome"] == "refused"
    assert "web" in report["reason"]
    assert three.running_hash() == before


def test_running_project_is_adopted_without_a_restart(world: World, images: Images) -> None:
    images.push("web:1", "one")
    text = f"services:\n  web:\n    image: {images.ref('web:1')}\n"
    cluster = world.repo({"compose.yml": text, ".github/dual-update.yml": FAST})
    cluster.up()
    before = cluster.running_hash()
    report = apply(cluster)
    assert (report["outcome"], report["services"]["web"]["verified"]) == ("unchanged", True)
    assert cluster.running_hash() == before
    run_in(cluster, "web", "mkdir -p /app/answers && printf '500\nsick\n' > /app/answers/_health")
    eventually(lambda: cluster.container("web").health == "unhealthy")
    report = apply(cluster)
    assert (report["outcome"], report["services"]["web"]["verified"]) == ("unchanged", False)
    images.push("web:2", "two")
    cluster.commit({"compose.yml": text.replace("web:1", "web:2")}, "two")
    assert apply(cluster)["update_type"] == "image_only"


def test_first_deployment_that_fails_leaves_nothing_but_volumes(world: World, images: Images) -> None:
    images.push("web:bad", "bad", flavour="crash")
    text = f"services:\n  web:\n    image: {images.ref('web:bad')}\n    volumes: ['kept:/v']\n"
    text += "volumes: {kept: {}}\n"
    cluster = world.repo({"compose.yml": text, ".github/dual-update.yml": FAST})
    report = apply(cluster, code=1)
    assert (report["outcome"], report["from"]) == ("rolled_back", None)
    assert cluster.containers() == []
    assert cluster.networks() == []
    assert len(cluster.volumes()) == 1


def test_manual_rollback_returns(three: Cluster, world: World, images: Images) -> None:
    images.push("web:2", "web two")
    three.commit({"compose.yml": compose(images, three.port, "web:2")}, "web 2")
    assert apply(three)["outcome"] == "succeeded"
    done = three.dual_update("rollback", "--auto", "--format", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert world.http_get(three.port, "/", within_seconds=5).body.strip() == "web one"
    assert markers(three) == KEPT


def test_a_cluster_is_taken_over_from_the_commit_it_was_made_from(world: World, images: Images) -> None:
    images.push("web:1", "one")
    images.push("web:2", "two")
    text = f"services:\n  web:\n    image: {images.ref('web:1')}\n"
    cluster = world.repo({"compose.yml": text, ".github/dual-update.yml": FAST})
    cluster.up()
    first = cluster.head
    cluster.commit({"note": "x"}, "a word")
    cluster.commit({"compose.yml": text.replace("web:1", "web:2")}, "two")
    report = apply(cluster)
    assert (report["outcome"], report["update_type"]) == ("succeeded", "image_only")
    assert report["from"] != report["to"]
    assert cluster.git("merge-base", "--is-ancestor", first, report["from"]) == ""


def test_what_no_commit_describes_needs_a_person(world: World, images: Images) -> None:
    images.push("web:1", "one")
    text = f"services:\n  web:\n    image: {images.ref('web:1')}\n"
    cluster = world.repo({"compose.yml": text, ".github/dual-update.yml": FAST})
    cluster.write({"compose.yml": text + "    environment: {BY: hand}\n"})
    cluster.up()
    cluster.write({"compose.yml": text})
    before = cluster.running_hash()
    refused = cluster.dual_update("apply", "--auto")
    assert refused.returncode == 5
    assert "rollback" in refused.stderr
    assert cluster.running_hash() == before
    assert apply(cluster, "--accept-drift")["outcome"] == "succeeded"


def test_foreign_edits_are_named_and_refused(three: Cluster, images: Images) -> None:
    text = (three.directory / "compose.yml").read_text()
    three.write(
        {
            "compose.yml": text.replace(
                '    volumes: ["/nameless"]', '    volumes: ["/nameless"]\n    user: "0"'
            )
        }
    )
    three.compose("up", "-d", "db")
    three.write({"compose.yml": text})
    before = three.running_hash()
    refused = three.dual_update("apply", "--auto")
    assert refused.returncode == 5
    assert "db" in refused.stderr
    assert three.running_hash() == before
    assert apply(three, "--accept-drift")["outcome"] == "succeeded"


def test_missing_and_stopped_containers_are_healed(three: Cluster) -> None:
    others = seen(three, "web")
    three.compose("stop", "web")
    assert apply(three)["outcome"] == "succeeded"
    three.compose("rm", "-sf", "web")
    assert apply(three)["outcome"] == "succeeded"
    assert seen(three, "web") == others
    assert markers(three) == KEPT


def test_what_can_lose_data_needs_the_word_of_a_person(three: Cluster, images: Images) -> None:
    before = three.running_hash()
    text = compose(images, three.port).replace("store: {}", "store: {labels: {a: b}}")
    three.commit({"compose.yml": text}, "the volume is defined in another way")
    refused = three.dual_update("apply", "--auto")
    assert (refused.returncode, "A person must agree" in refused.stderr) == (5, True)
    unread = three.dual_update("apply", "--approved-by", "ada")
    assert (unread.returncode, "--expect has to say to what" in unread.stderr) == (2, True)
    assert three.running_hash() == before
    shown = json.loads(three.dual_update("plan", "--format", "json").stdout)
    report = apply(three, "--approved-by", "ada", "--expect", shown["decision"]["fingerprint"])
    assert report["outcome"] == "unchanged"  # an existing volume stays as it was made; the checkout follows
    assert three.head == report["to"]
    assert markers(three) == KEPT
