"""`--expect`: what was shown is what is done. What was tampered with in between is refused by name."""

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dual_update.adapters.project import ComposeWorkshop
from tests.integration.shop import Model, Shop
from tests.integration.world import Broom, Images, Registry, World, run

FAST = "health: {settle_seconds: 0.2, deadline_seconds: 15}\n"
ENV = "COLOR=blue\n"
KEY = "ignored/key"


@pytest.fixture(scope="module")
def shelf() -> Iterator[list[Shop]]:
    shops: list[Shop] = []
    yield shops
    for shop in shops:
        shop.world.teardown()


@pytest.fixture
def shop(
    shelf: list[Shop], tmp_path_factory: pytest.TempPathFactory, registry: Registry, broom: Broom
) -> Iterator[Shop]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    if not shelf:
        shelf.append(deployed(tmp_path_factory.mktemp("expect"), registry, broom))
    with shelf[0].stack:
        yield shelf[0]
    for number, handler in handlers.items():
        signal.signal(number, handler)


def deployed(folder: Path, registry: Registry, broom: Broom) -> Shop:
    """A cluster whose model rests on a `.env` and a secret that only the host holds."""
    images = Images(registry, "expect")
    world = World(folder, images, broom, "expect")
    for name in ("web:1", "db:1"):
        images.push(name, has_healthcheck=name == "web:1")
    cluster = world.repo({".gitignore": "ignored/\n.env\n", ".github/dual-update.yml": FAST})
    model: Model = {
        "name": cluster.project,
        "services": {
            "web": {
                "image": images.ref("web:1"),
                "environment": {"COLOR": "${COLOR}"},
                "secrets": ["key"],
            },
            "db": {"image": images.ref("db:1")},
        },
        "secrets": {"key": {"file": f"./{KEY}"}},
    }
    cluster.write({".env": ENV, KEY: "one\n"})
    shop = Shop(world, cluster, images, 0, folder / "state", model)
    shop.good = cluster.commit({"compose.yml": json.dumps(model)}, "good")
    assert shop.run("apply", "--auto") == (0, "")
    return shop


def planned(shop: Shop, ref: str, capsys: pytest.CaptureFixture[str]) -> Model:
    capsys.readouterr()
    assert shop.run("plan", "--ref", ref, "--format", "json") == (0, "")
    return json.loads(capsys.readouterr().out)


def structural(shop: Shop) -> str:
    """A wanted commit that pulls web:2 and makes every container anew."""
    shop.images.push("web:2", "web two")
    return shop.wants({"image": shop.images.ref("web:2"), "user": "0"})


@dataclass(frozen=True)
class Tamper:
    """What happens between plan and run. Gives other arguments for the run, if any."""

    name: str
    word: str
    act: Callable[[Shop], list[str] | None] = field(repr=False)


TAMPERS: list[Tamper] = []


def tamper(word: str) -> Callable[[Callable[[Shop], list[str] | None]], None]:
    def register(act: Callable[[Shop], list[str] | None]) -> None:
        TAMPERS.append(Tamper(act.__name__.replace("_", "-"), word, act))

    return register


def settle(shop: Shop) -> None:
    """Containers as the good commit wants them."""
    shop.cluster.compose("up", "--detach", "--timeout", "1", "--scale", "db=1", "--remove-orphans")


@tamper("a tag names another image")
def tag_moved_in_the_registry(shop: Shop) -> None:
    shop.images.push("web:2", "web two, again")


@tamper("a tag names another image")
def tag_withdrawn_from_the_registry(shop: Shop) -> None:
    shop.images.withdraw(shop.images.push("web:2", "web two"))


@tamper("another commit")
def other_commit(shop: Shop) -> list[str]:
    return ["--ref", shop.wants({"image": shop.images.ref("web:2"), "user": "1"})]


@tamper("another commit")
def same_files_in_another_commit(shop: Shop) -> list[str]:
    commit = shop.wants({"image": shop.images.ref("web:2"), "user": "0"}, files={"README": "other\n"})
    return ["--ref", commit]


@tamper("another commit")
def back_to_what_runs(shop: Shop) -> list[str]:
    return ["--ref", shop.good]


@tamper("running containers")
def container_removed(shop: Shop) -> None:
    shop.stack.callback(settle, shop)
    shop.world.engine.api.remove_container(shop.cluster.container("db").id, force=True)


@tamper("running containers")
def container_stopped(shop: Shop) -> None:
    shop.stack.callback(settle, shop)
    shop.world.engine.api.stop(shop.cluster.container("db").id, timeout=1)


@tamper("running containers")
def container_made_anew(shop: Shop) -> None:
    shop.cluster.compose("up", "--detach", "--timeout", "1", "--no-deps", "--force-recreate", "db")


@tamper("running containers")
def scaled_by_hand(shop: Shop) -> None:
    shop.stack.callback(settle, shop)
    shop.cluster.compose("up", "--detach", "--no-deps", "--scale", "db=2", "db")


@tamper("running containers")
def made_from_another_configuration(shop: Shop) -> None:
    shop.stack.callback(settle, shop)
    other = shop.world.folder / "by-hand.yml"
    model = json.loads((shop.cluster.directory / "compose.yml").read_text())
    model["services"] = {"db": {**model["services"]["db"], "environment": {"BY": "hand"}}}
    other.write_text(json.dumps(model))
    shop.cluster.compose("--file", str(other), "up", "--detach", "--timeout", "1", "db")


@tamper("only this host holds")
def other_env_on_the_host(shop: Shop) -> None:
    shop.stack.callback(shop.cluster.write, {".env": ENV})
    shop.cluster.write({".env": "COLOR=green\n"})


@tamper("only this host holds")
def env_gone_from_the_host(shop: Shop) -> None:
    shop.stack.callback(shop.cluster.write, {".env": ENV})
    shop.cluster.write({".env": None})


@tamper("only this host holds")
def other_secret_on_the_host(shop: Shop) -> None:
    shop.stack.callback(shop.cluster.write, {KEY: "one\n"})
    shop.cluster.write({KEY: "two\n"})


@tamper("the steps differ")
def other_scope(shop: Shop) -> list[str]:
    return ["--scope", "changed"]


@tamper("local edits")
def file_edited_in_the_checkout(shop: Shop) -> None:
    shop.stack.callback(shop.cluster.git, "checkout", "--quiet", "--", "compose.yml")
    shop.cluster.write({"compose.yml": "# mine\n"})


@tamper("not the plan that was expected")
def fingerprint_of_nothing(shop: Shop) -> list[str]:
    return ["--expect", "f" * 64]


@tamper("not the plan that was expected")
def half_a_fingerprint(shop: Shop) -> list[str]:
    return ["--expect", "abc"]


# --- the proof -------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", TAMPERS, ids=[one.name for one in TAMPERS])
def test_tampering_is_refused_by_name(shop: Shop, one: Tamper, capsys: pytest.CaptureFixture[str]) -> None:
    ref = structural(shop)
    expected = planned(shop, ref, capsys)["plan_fingerprint"]
    more = one.act(shop) or []
    before = shop.cluster.running_hash()
    code, said = shop.run("apply", "--auto", "--ref", ref, "--expect", expected, *more)
    assert (code, one.word in said) == (5, True), said
    assert shop.cluster.running_hash() == before
    assert shop.cluster.head == shop.good


def test_a_tag_that_moves_right_before_the_pull_is_refused(
    shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After everything was compared, and before the image is here."""
    ref = structural(shop)
    expected = planned(shop, ref, capsys)["plan_fingerprint"]
    before = shop.cluster.running_hash()
    pull = ComposeWorkshop.pull

    def after_a_push(self: ComposeWorkshop, *arguments: Any) -> None:
        shop.images.push("web:2", "web two, again")
        pull(self, *arguments)

    monkeypatch.setattr(ComposeWorkshop, "pull", after_a_push)
    code, said = shop.run("apply", "--auto", "--ref", ref, "--expect", expected)
    assert code == 1
    assert "web:2 names another image now than when the plan was shown" in capsys.readouterr().out + said
    assert shop.cluster.running_hash() == before


def test_at_least_twelve_ways_to_tamper() -> None:
    assert len(TAMPERS) >= 12


def test_a_decision_has_one_name_on_two_hosts(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """Hosted runner and deploy host: other directories, and another `.env`; the decision's name is one."""
    ref = structural(shop)
    here = planned(shop, ref, capsys)["decision"]["fingerprint"]
    names = set()
    for directory, env in (("one/shop", "COLOR=a\n"), ("two/other-name", "")):
        clone = shop.world.folder / directory
        shop.stack.callback(shutil.rmtree, clone)
        run("git", "clone", "--quiet", "--no-checkout", shop.cluster.directory, clone)
        run("git", "fetch", "--quiet", "origin", ref, cwd=clone)
        (clone / ".env").write_text(env)
        done = run("git", "-C", clone, "rev-parse", "FETCH_HEAD")
        assert done == ref
        assert shop.run("detect", "--repo", str(clone), "--head", ref, "--format", "json") == (0, "")
        names.add(json.loads(capsys.readouterr().out)["fingerprint"])
    assert names == {here}


def test_what_was_shown_is_done_once(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    ref = structural(shop)
    shown = planned(shop, ref, capsys)
    assert all(step["cause"] and step["undo"] for step in shown["steps"])
    assert shop.run("apply", "--auto", "--ref", ref, "--expect", shown["plan_fingerprint"]) == (0, "")
    code, said = shop.run("apply", "--auto", "--ref", ref, "--expect", shown["plan_fingerprint"])
    assert (code, "running containers" in said) == (5, True), said
    assert shop.run("apply", "--auto", "--ref", ref, "--expect", shown["decision"]["fingerprint"]) == (0, "")
    shop.run("apply", "--auto", "--ref", shop.good)
    capsys.readouterr()


def test_outage_is_foretold_from_this_clusters_own_history(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shop.run("apply", "--auto", "--ref", structural(shop)) == (0, "")
    assert shop.run("apply", "--auto", "--allow-older", "--ref", shop.good) == (0, "")
    capsys.readouterr()
    assert shop.run("history", "--format", "json", "--limit", "1") == (0, "")
    foretold = planned(shop, structural(shop), capsys)["outage_seconds"]
    assert set(foretold) == {"web", "db"}
    assert all(0.1 < seconds < 30 for seconds in foretold.values())
    assert foretold != {"web": 2.0, "db": 2.0}
    assert shop.run("plan", "--ref", structural(shop)) == (0, "")
    assert "(an estimate)" in capsys.readouterr().out
