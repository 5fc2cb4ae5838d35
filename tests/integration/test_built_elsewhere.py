"""Code whose image a build elsewhere pushes: that very image comes, of the wanted commit, or nothing does."""

import json
from pathlib import Path
from typing import Any

import pytest

from dual_update.core.origin import REVISION
from tests.integration.world import PREFIX, Image, Images, World

FAST = "health: {settle_seconds: 1, deadline_seconds: 15}\n"


class Shop:
    """A service with `build:` and an image in the registry, beside one that is only built.

    What this host would build answers "here NUMBER"; what `push` publishes answers what it is told.
    """

    def __init__(self, world: World, images: Images) -> None:
        self.images = images
        self.port, self.other_port = world.free_port(), world.free_port()
        self.world = world
        self.cluster = world.repo()
        self.policy = ""
        self.code(1)

    def code(self, number: int) -> str:
        """A commit of other code for both services."""
        return self.cluster.commit(
            {
                "compose.yml": self.compose(),
                ".github/dual-update.yml": FAST,
                **self.images.context(f"here {number}", "web"),
                **self.images.context(f"side {number}", "side"),
            }
        )

    def compose(self, tag: str = "latest", extra: str = "") -> str:
        ref = self.images.ref(f"web:{tag}")
        return f"""
services:
  web:
    image: {ref}
    build: ./web
    {self.policy}
    ports: ["127.0.0.1:{self.port}:80"]
{extra}
  side:
    build: ./side
    ports: ["127.0.0.1:{self.other_port}:80"]
"""

    def push(self, body: str, revision: str = "", tag: str = "latest") -> Image:
        """What CI does."""
        return self.images.push(f"web:{tag}", body, labels={REVISION: revision} if revision else {})

    def apply(self, code: int = 0) -> dict[str, Any]:
        done = self.cluster.dual_update("apply", "--auto", "--format", "json")
        assert done.returncode == code, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def refused(self) -> str:
        """Applied, refused with nothing touched; the reason."""
        before = self.cluster.running_hash()
        names = self.cluster.compose("config", "--images").split()
        ids = {one: found for one in names if (found := self.id(one))}
        ran = self.apply(code=1)
        assert ran["outcome"] == "refused"
        assert self.cluster.running_hash() == before
        assert {one: self.id(one) for one in ids} == ids, "names of images are what they were"
        return str(ran["reason"])

    def id(self, reference: str) -> str:
        found = self.world.engine.api.images(name=reference)
        return str(found[0]["Id"]) if found else ""

    @property
    def answers(self) -> tuple[str, str]:
        return (
            self.world.http_get(self.port, within_seconds=5).body,
            self.world.http_get(self.other_port, within_seconds=5).body,
        )


@pytest.fixture
def shop(world: World, images: Images) -> Shop:
    return Shop(world, images)


@pytest.fixture
def running(shop: Shop) -> Shop:
    """Its first commit is deployed, from an image that says so."""
    shop.push("ci 1", shop.cluster.head)
    assert shop.apply()["outcome"] == "succeeded"
    assert shop.answers == ("ci 1", "side 1")
    return shop


def test_the_image_of_the_wanted_commit_is_pulled_and_what_has_build_alone_is_built(running: Shop) -> None:
    head = running.code(2)
    image = running.push("ci 2", head)
    plan = json.loads(running.cluster.dual_update("plan", "--format", "json").stdout)
    assert "web: its image comes from the registry" in json.dumps(plan)
    ran = running.apply()
    steps = {step["op"]: step for step in ran["steps"]}
    assert (ran["outcome"], ran["update_type"]) == ("succeeded", "image_only")
    assert (steps["pull"]["target"], steps["build"]["target"]) == ("web", "side")
    causes = {step["target"]: step["cause"] for step in ran["steps"] if step["op"] == "roll"}
    assert "comes from the registry" in causes["web"]
    assert "registry" not in causes["side"]
    assert running.cluster.container("web").image_id == running.id(image.ref)
    assert running.answers == ("ci 2", "side 2")


def test_an_image_of_another_commit_is_refused_until_its_own_is_there(running: Shop) -> None:
    old = running.cluster.head
    head = running.code(2)
    for revision, words in (
        (old, "whose code is not the same"),
        ("f" * 40, "does not know"),
        ("refs/heads/main", "no commit's id"),
        (f"{head}-dirty", "no commit's id"),
    ):
        running.push(f"ci {revision[-5:]}", revision)
        reason = running.refused()
        assert reason.startswith("web: ")
        for part in (running.images.ref("web:latest"), revision[:20], head[:12], words, "pull_policy: build"):
            assert part in reason
    running.push("ci 2", head[:10])
    assert running.apply()["outcome"] == "succeeded", "a refusal is no failure of this content"
    assert running.answers == ("ci 2", "side 2")


def test_without_a_label_the_image_has_to_move(running: Shop) -> None:
    running.push("ci plain")
    running.code(2)
    assert running.apply()["outcome"] == "succeeded", "it moved"
    assert running.answers == ("ci plain", "side 2")
    running.code(3)
    reason = running.refused()
    assert "still names the image that runs" in reason
    assert REVISION in reason
    running.push("ci 3")
    assert running.apply()["outcome"] == "succeeded"
    assert running.answers == ("ci 3", "side 3")


def test_an_image_may_be_older_where_its_code_is_the_same(running: Shop) -> None:
    built = running.code(2)
    image = running.push("ci 2", built)
    running.cluster.commit({"README.md": "no code\n"})
    assert running.apply()["outcome"] == "succeeded"
    assert running.cluster.container("web").image_id == running.id(image.ref)
    running.cluster.commit({"compose.yml": running.compose(extra="    environment: {A: b}")})
    assert running.apply()["outcome"] == "succeeded"
    assert running.answers == ("ci 2", "side 2")
    running.push("ci 2 on a newer base", built)
    assert running.apply()["update_type"] == "image_only", "like any tag that moved"
    assert running.answers == ("ci 2 on a newer base", "side 2")


def test_code_and_reference_may_change_together(running: Shop) -> None:
    code = running.code(2)
    running.cluster.commit({"compose.yml": running.compose("2")})
    assert "manifest" in (reason := running.refused())
    assert "built elsewhere" in reason
    running.push("ci 2", code, tag="2")
    assert running.apply()["outcome"] == "succeeded"
    assert running.answers == ("ci 2", "side 2")


def test_a_first_deployment_waits_for_the_image_and_looks_at_its_label(shop: Shop) -> None:
    assert "built elsewhere" in shop.refused()
    shop.push("ci 0", "e" * 40)
    assert "does not know" in shop.refused()
    shop.push("ci plain")
    assert shop.apply()["outcome"] == "succeeded", "without a label nothing speaks against it"
    assert shop.answers == ("ci plain", "side 1")


def test_a_registry_that_does_not_answer_refuses(running: Shop) -> None:
    running.code(2)
    running.images.registry.stop()
    try:
        assert "Pulling web" in running.refused()
    finally:
        running.images.registry.start()


def test_pull_policy_build_means_this_host(shop: Shop) -> None:
    shop.policy = "pull_policy: build"
    shop.push("ci 1", shop.cluster.head)
    shop.code(2)
    ran = shop.apply()
    assert ran["outcome"] == "succeeded"
    assert shop.answers == ("here 2", "side 2")


def test_what_was_built_here_gives_way_to_the_image_of_its_own_code_only(shop: Shop) -> None:
    shop.policy = "pull_policy: build"
    shop.code(2)
    assert shop.apply()["outcome"] == "succeeded"
    shop.policy = ""
    shop.cluster.commit({"compose.yml": shop.compose(extra="    environment: {A: b}")})
    shop.push("ci old", "f" * 40)
    assert "does not know" in shop.refused()
    shop.push("ci 2", shop.cluster.head)
    assert shop.apply()["outcome"] == "succeeded"
    assert shop.answers == ("ci 2", "side 2")


def test_the_policy_that_keeps_what_is_here_does_not_keep_it_from_an_update(shop: Shop) -> None:
    shop.policy = "pull_policy: missing"
    shop.push("ci 1", shop.code(1))
    assert shop.apply()["outcome"] == "succeeded"
    shop.push("ci 2", shop.code(2))
    assert shop.apply()["outcome"] == "succeeded"
    assert shop.answers == ("ci 2", "side 2")


def test_who_runs_the_same_image_is_looked_at_too(running: Shop) -> None:
    worker = f"  worker: {{image: '{running.images.ref('web:latest')}'}}"
    running.cluster.commit({"compose.yml": running.compose(extra=worker)})
    assert running.apply()["outcome"] == "succeeded"
    running.cluster.commit({"web/body": "here 2\n"})
    reason = running.refused()
    assert reason.startswith("web and worker: ")
    image = running.push("ci 2", running.cluster.head)
    assert running.apply()["outcome"] == "succeeded"
    ids = {running.cluster.container(one).image_id for one in ("web", "worker")}
    assert ids == {running.id(image.ref)}


def test_who_runs_an_image_that_is_built_here_does_not_ask_a_registry_for_it(shop: Shop) -> None:
    name = f"{PREFIX}shared/app"
    text = f"services: {{api: {{image: '{name}', build: ./web}}, worker: {{image: '{name}'}}}}\n"
    shop.cluster.commit({"compose.yml": text})
    assert shop.apply()["outcome"] == "succeeded"
    shop.cluster.commit({"web/body": "here 2\n"})
    assert shop.apply()["outcome"] == "succeeded"
    ids = {shop.cluster.container(one).image_id for one in ("api", "worker")}
    assert ids == {shop.id(name)}


def test_who_starts_from_an_image_by_name_is_built_after_it(shop: Shop) -> None:
    name = f"{PREFIX}shared/base"
    text = f"services: {{app: {{build: ./app}}, base: {{image: '{name}', build: ./web}}}}\n"
    shop.cluster.commit({"compose.yml": text, "app/Dockerfile": f"FROM {name}\nLABEL who=app\n"})
    assert shop.apply()["outcome"] == "succeeded"
    shop.cluster.commit({"web/body": "here 2\n"})
    assert shop.apply()["outcome"] == "succeeded"
    ids = [shop.cluster.container(one).image_id for one in ("app", "base")]
    app, base = (shop.world.engine.api.inspect_image(one)["RootFS"]["Layers"] for one in ids)
    assert (app, ids[1]) == (base, shop.id(name))


def test_the_commit_of_the_submodule_that_holds_the_code_counts(
    world: World, images: Images, shop: Shop
) -> None:
    (Path.home() / ".gitconfig").write_text('[protocol "file"]\n\tallow = always\n')
    lib = world.repo(images.context("here 1"))
    cluster = world.repo()
    cluster.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(lib.directory), "lib")
    text = f"services:\n  web: {{image: '{images.ref('lib:1')}', build: ./lib}}\n"
    cluster.commit({"compose.yml": text, ".github/dual-update.yml": FAST})
    shop.cluster = cluster
    images.push("lib:1", "ci 1", labels={REVISION: lib.head})
    assert shop.apply()["outcome"] == "succeeded"
    built = lib.commit({"body": "here 2\n"})
    lib.commit({".dockerignore": "README.md\n", "README.md": "no part of the image\n"})
    ignored = lib.commit({"README.md": "still none\n"})
    cluster.git("-C", "lib", "-c", "protocol.file.allow=always", "fetch", "--quiet", "origin")
    cluster.git("-C", "lib", "checkout", "--quiet", ignored)
    cluster.commit({}, "move")
    images.push("lib:1", "ci other", labels={REVISION: built})
    assert "of lib) is wanted" in shop.refused(), "the ignore file decides what goes in"
    images.push("lib:1", "ci 2", labels={REVISION: lib.git("rev-parse", "HEAD~1")})
    assert shop.apply()["outcome"] == "succeeded"
