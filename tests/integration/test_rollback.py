"""The way back: by image id, to the very bytes, also when tags, digests, registry and files have moved on."""

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from dual_update.adapters.project import ComposeCli
from tests.integration.world import Cluster, Flavour, Image, Images, World, eventually

FAST = "health: {settle_seconds: 0.3, deadline_seconds: 20}\nretention: {runs: 50, backups: 2}\n"


def text(web: str, more: str = "", end: str = "") -> str:
    return f"""
services:
  web:
    image: {web}
    volumes: ["store:/store", "/nameless", "./conf/app.conf:/conf/app.conf:ro"]
    environment:
      PRICE: "5$$ a piece"
      WORD: "${{WORD:-none}}"
{more}
volumes:
  store: {{}}
{end}"""


@pytest.fixture
def one(world: World, images: Images) -> Cluster:
    """A deployed web with markers, whose tag `live` moves, and an ignored .env beside it."""
    first = push(images, "web:live", "one")
    cluster = world.repo(
        {
            "compose.yml": text(first.ref),
            "conf/app.conf": "setting one\n",
            ".gitignore": ".env\n",
            ".github/dual-update.yml": FAST,
        }
    )
    cluster.write({".env": "WORD=first\n"})
    cluster.first = first  # type: ignore[attr-defined]
    assert apply(cluster)["outcome"] == "succeeded"
    inside(cluster, "echo named > /store/marker; echo nameless > /nameless/marker")
    return cluster


def push(images: Images, name: str, body: str, flavour: Flavour = "good") -> Image:
    """Without a health check: what is looked at here is not health, and a busy machine makes it late."""
    return images.push(name, body, flavour, has_healthcheck=False)


def apply(cluster: Cluster, *arguments: str, code: int = 0) -> dict:
    return answer(cluster, "apply", "--auto", *arguments, code=code)


def answer(cluster: Cluster, *arguments: str, code: int = 0) -> dict:
    done = cluster.dual_update(*arguments, "--format", "json")
    assert done.returncode == code, done.stdout + done.stderr
    return {**(json.loads(done.stdout) if done.stdout else {}), "error": done.stderr}


def inside(cluster: Cluster, command: str) -> str:
    return cluster.compose("exec", "-T", "web", "sh", "-c", command).strip()


def state(cluster: Cluster) -> tuple:
    """What has to be the same before and after: image, configuration, mounts, content, files, plan."""
    web = cluster.container("web")
    content = inside(cluster, "cat /store/marker /nameless/marker /conf/app.conf; echo $WORD $PRICE")
    mounts = tuple((m.type, m.source if m.type == "volume" else "", m.destination) for m in web.mounts)
    return web.image_id, web.config_hash, web.name, mounts, content, cluster.networks(), cluster.volumes()


def clean(cluster: Cluster) -> None:
    assert cluster.git("status", "--porcelain") == ""
    assert ComposeCli(cluster.directory, ["compose.yml"], cluster.project).plans_nothing()


def local(world: World, reference: str) -> str:
    return world.engine.images.get(reference).id


def test_a_moved_tag_comes_back_by_id_here(one: Cluster, world: World, images: Images) -> None:
    """The tag names the broken image in the registry; here it names the old one again."""
    before = state(one)
    push(images, "web:live", "broken", flavour="crash")
    one.commit({"compose.yml": text(one.first.ref, "      A: b")}, "structure")
    assert apply(one, code=1)["outcome"] == "rolled_back"
    assert state(one) == before
    assert local(world, one.first.ref) == one.first.id
    clean(one)


def test_a_tag_removed_here_and_a_lost_registry_are_no_obstacle(
    one: Cluster, world: World, images: Images
) -> None:
    before = state(one)
    push(images, "web:2", "two")
    one.commit({"compose.yml": text(images.ref("web:2"))}, "two")
    assert apply(one)["outcome"] == "succeeded"
    world.engine.images.remove(one.first.ref)  # as `watchtower --cleanup` and `image prune` do
    images.registry.stop()
    try:
        assert answer(one, "rollback", "--auto")["outcome"] == "succeeded"
    finally:
        images.registry.start()
    assert state(one) == before
    clean(one)


def test_a_digest_that_lost_its_name_gets_a_stand_in(one: Cluster, world: World, images: Images) -> None:
    """`docker rmi NAME@sha256:...` cannot be undone without the registry; the image itself is still here."""
    one.commit({"compose.yml": text(one.first.pinned)}, "pinned")
    assert apply(one)["outcome"] == "succeeded"
    push(images, "web:2", "two")
    second = one.commit({"compose.yml": text(images.ref("web:2"))}, "two")
    assert apply(one)["outcome"] == "succeeded"
    world.engine.images.remove(one.first.pinned)
    done = one.dual_update("rollback", "--auto")
    assert done.returncode == 0, done.stderr
    assert "its reference is lost here" in done.stderr
    web = one.container("web")
    assert web.image_id == one.first.id
    assert web.image.startswith("dual-update/")
    assert inside(one, "cat /nameless/marker") == "nameless"
    assert answer(one, "status")["drift"] == [] if "drift" in answer(one, "status") else True
    assert apply(one, "--ref", second, code=5)["error"].count("quarantined") == 1
    assert answer(one, "release")["released"] == 2
    assert apply(one, "--ref", second)["outcome"] == "succeeded"


def test_nameless_volumes_survive_a_version_that_does_without(one: Cluster, images: Images) -> None:
    before = state(one)
    push(images, "web:2", "two")
    without = text(images.ref("web:2")).replace('"/nameless", ', "")
    one.commit({"compose.yml": without}, "no nameless volume")
    assert apply(one)["outcome"] == "succeeded"
    assert answer(one, "rollback", "--auto")["outcome"] == "succeeded"
    assert state(one) == before
    clean(one)


def test_a_removed_service_returns_with_its_data(one: Cluster, images: Images) -> None:
    before = state(one)
    push(images, "other:1", "other")
    gone = f"services:\n  other:\n    image: {images.ref('other:1')}\n"
    one.commit({"compose.yml": gone}, "another service altogether")
    report = one.dual_update("apply", "--auto")
    if report.returncode == 5:  # a person has to agree where data could be lost
        pytest.skip(report.stderr)
    assert report.returncode == 0, report.stderr
    assert answer(one, "rollback", "--auto")["outcome"] == "succeeded"
    assert state(one) == before
    clean(one)


def test_content_of_mounted_files_is_taken_back_inside_containers(one: Cluster) -> None:
    before = state(one)
    one.directory.joinpath("conf/app.conf").unlink()
    one.commit({"conf/app.conf": "setting two\n"}, "content only")
    assert apply(one)["outcome"] == "succeeded"
    assert inside(one, "cat /conf/app.conf") == "setting two"
    assert answer(one, "rollback", "--auto")["outcome"] == "succeeded"
    assert state(one) == before


def test_networks_and_replicas_and_a_new_name_come_back(one: Cluster, world: World, images: Images) -> None:
    ref = one.first.ref
    both = text(ref, "    networks: [default, back]\n    scale: 3", "networks: {back: {}}")
    one.commit({"compose.yml": both}, "three of them")
    assert apply(one)["outcome"] == "succeeded"
    three = sorted((c.name, c.config_hash, c.mounts) for c in one.containers())
    networks = one.networks()
    push(images, "web:bad", "bad", flavour="crash")
    other = text(images.ref("web:bad"), "    networks: [side]", "networks: {side: {}}")
    one.commit({"compose.yml": other}, "one, elsewhere, and broken")
    assert apply(one, code=1)["outcome"] == "rolled_back"
    assert sorted((c.name, c.config_hash, c.mounts) for c in one.containers()) == three
    assert one.networks() == networks
    one.commit({"compose.yml": f"name: {one.project}-x\n{other}"}, "renamed, and broken")
    done = one.dual_update("apply", "--auto")
    assert done.returncode in {1, 5}, done.stderr
    assert sorted((c.name, c.config_hash, c.mounts) for c in one.containers()) == three
    assert one.networks() == networks
    found = world.engine.api.containers(all=True, filters={"name": f"{one.project}-x"})
    assert found == []


def test_who_shares_the_network_of_a_service_returns_with_it(one: Cluster, images: Images) -> None:
    side = f"  side: {{image: '{one.first.ref}', network_mode: 'service:web', environment: {{PORTS: 81}}}}\n"  # type: ignore[attr-defined]
    one.commit({"compose.yml": text(one.first.ref, side)})  # type: ignore[attr-defined]
    apply(one)
    bad = push(images, "web:bad", "bad", flavour="crash")
    one.commit({"compose.yml": text(bad.ref, side)})
    assert apply(one, code=1)["outcome"] == "rolled_back"
    assert inside(one, "wget -q -O - http://127.0.0.1:81/") == "one"
    clean(one)


def test_what_was_crashing_is_tried_again_as_before(one: Cluster, images: Images) -> None:
    """It waits for a file, as others wait for a database."""
    patient = '    restart: always\n    command: ["sh", "-c", "[ -e /store/ready ] && exec /app/run"]'
    inside(one, "touch /store/ready")
    one.commit({"compose.yml": text(one.first.ref, patient)})  # type: ignore[attr-defined]
    apply(one)
    inside(one, "rm /store/ready; kill 1")
    eventually(lambda: one.container("web").state == "restarting")
    bad = push(images, "web:bad", "bad", flavour="crash")
    one.commit({"compose.yml": text(bad.ref, patient)})
    assert apply(one, code=1)["outcome"] == "rolled_back"
    web = one.container("web")
    assert web.image_id == one.first.id  # type: ignore[attr-defined]
    assert web.state in {"restarting", "running"}


def test_the_hosts_own_files_are_restored_to_the_byte(one: Cluster, images: Images) -> None:
    """An ignored .env that was edited between two runs: the way back brings the one that the old ran with,
    and the edited one lies in the backup."""
    before = state(one)
    one.write({".env": "WORD=second\n"})
    push(images, "web:bad", "bad", flavour="crash")
    one.commit({"compose.yml": text(images.ref("web:bad"))}, "broken")
    assert apply(one, code=1)["outcome"] == "rolled_back"
    assert state(one) == before
    assert (one.directory / ".env").read_text() == "WORD=first\n"
    assert (backups(one) / "latest/wanted/.env").read_text() == "WORD=second\n"
    clean(one)


def test_rollback_of_a_rollback_and_to_any_run(one: Cluster, images: Images) -> None:
    runs = []
    states = [state(one)]
    for number in (2, 3):
        push(images, f"web:{number}", str(number))
        one.commit({"compose.yml": text(images.ref(f"web:{number}"))}, str(number))
        runs.append(apply(one)["run"])
        states.append(state(one))
    assert answer(one, "rollback", "--auto")["outcome"] == "succeeded"
    assert state(one) == states[1]
    assert answer(one, "rollback", "--auto")["outcome"] == "succeeded"
    assert state(one) == states[2]
    assert answer(one, "rollback", "--auto", "--to", runs[0])["outcome"] == "succeeded"
    assert state(one) == states[0]
    clean(one)
    assert "There is no run" in answer(one, "rollback", "--auto", "--to", "nonsense", code=2)["error"]


def test_images_that_are_gone_refuse_a_rollback_before_anything_is_touched(
    one: Cluster, world: World, images: Images
) -> None:
    push(images, "web:2", "two")
    one.commit({"compose.yml": text(images.ref("web:2"))}, "two")
    apply(one)
    for tag in world.engine.images.get(one.first.id).tags:
        world.engine.images.remove(tag, force=True)
    before = one.running_hash()
    refused = answer(one, "rollback", "--auto", code=1)["error"]
    assert "not on this host any more" in refused
    assert one.running_hash() == before


def backups(cluster: Cluster) -> Path:
    return Path(os.environ["DUAL_UPDATE_STATE_DIR"]) / "clusters" / cluster.project / "backups"


def test_a_backup_is_restored_by_hand(one: Cluster, world: World, images: Images) -> None:
    """With plain compose, in the folder, after the checkout, the tag and the containers have gone."""
    before = state(one)
    original = {name: (one.directory / name).read_bytes() for name in ("compose.yml", ".env")}
    push(images, "web:2", "two")
    one.commit({"compose.yml": text(images.ref("web:2"))}, "two")
    apply(one)
    folder = (backups(one) / "latest").resolve()
    assert {name: (folder / "original" / name).read_bytes() for name in original} == original
    for path in [folder, *folder.rglob("*")]:
        mode = stat.S_IMODE(path.lstat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), f"{path} has mode {mode:o}"
    world.engine.images.remove(one.first.ref)
    one.git("checkout", "--quiet", "--detach", "HEAD~1")
    subprocess.run(
        ["docker", "compose", "up", "-d", "--wait"], cwd=folder, check=True, capture_output=True, timeout=60
    )
    after = state(one)
    assert (after[0], *after[2:]) == (before[0], *before[2:])


def test_old_backups_and_kept_images_go_but_never_what_is_needed(
    one: Cluster, world: World, images: Images
) -> None:
    for number in (2, 3, 4):
        push(images, f"web:{number}", str(number))
        one.commit({"compose.yml": text(images.ref(f"web:{number}"))}, str(number))
        assert apply(one)["outcome"] == "succeeded"
    kept = [p for p in backups(one).iterdir() if not p.is_symlink()]
    assert len(kept) == 2
    assert (backups(one) / "latest").resolve() in kept
    tags = {t for i in world.engine.images.list(f"dual-update/{one.project}") for t in i.tags}
    ours = {t for t in tags if t.startswith(f"dual-update/{one.project}:")}
    assert len(ours) == 2
    assert answer(one, "rollback", "--auto")["outcome"] == "succeeded"
    assert inside(one, "cat /app/body") == "3"


# --- quarantine


def broken(images: Images, name: str, body: str = "bad") -> Image:
    return push(images, name, body, flavour="crash")


def test_failed_content_is_not_tried_again_until_it_changes(one: Cluster, images: Images) -> None:
    bad = broken(images, "web:bad")
    one.commit({"compose.yml": text(bad.ref)}, "broken")
    assert apply(one, code=1)["outcome"] == "rolled_back"
    before = one.running_hash()
    one.git("checkout", "--quiet", "main")
    assert "quarantined" in apply(one, code=5)["error"]
    one.commit(message="nothing at all")  # another commit, the same content
    assert "quarantined" in apply(one, code=5)["error"]
    one.commit({"README": "words"}, "words that nobody mounts")
    assert "quarantined" in apply(one, code=5)["error"]
    assert one.running_hash() == before
    push(images, "web:bad", "good after all")  # the tag has other content now
    assert apply(one)["outcome"] == "succeeded"


def test_release_and_changed_content_lift_it(one: Cluster, images: Images) -> None:
    bad = broken(images, "web:bad")
    one.commit({"compose.yml": text(bad.ref)}, "broken")
    apply(one, code=1)
    one.git("checkout", "--quiet", "main")
    one.directory.joinpath("conf/app.conf").unlink()
    one.commit({"conf/app.conf": "other\n"}, "what it mounts has changed")
    assert apply(one, code=1)["outcome"] == "rolled_back"
    one.git("checkout", "--quiet", "main")
    assert "quarantined" in apply(one, code=5)["error"]
    assert answer(one, "release")["released"] > 0
    assert apply(one, code=1)["outcome"] == "rolled_back"


def test_a_kept_backup_needs_no_state(one: Cluster) -> None:
    """The folder works when copied elsewhere: nothing in it is relative to where it lay."""
    one.commit({"compose.yml": text(one.first.ref, "      A: b")}, "structure")
    apply(one)
    copy = one.directory.parent / "copy"
    shutil.copytree((backups(one) / "latest").resolve(), copy)
    done = subprocess.run(
        ["docker", "compose", "config", "--format", "json"], cwd=copy, check=True, capture_output=True
    )
    model = json.loads(done.stdout)
    assert model["name"] == one.project
    assert model["services"]["web"]["environment"]["PRICE"] == "5$$ a piece"
