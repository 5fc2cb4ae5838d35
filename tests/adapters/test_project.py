"""What needs no engine of compose on the host: its environment, its last words, hashes and exports."""

import os
from pathlib import Path

import pytest

from dual_update.adapters.compose import binary
from dual_update.adapters.git import GitRepository
from dual_update.adapters.process import Result
from dual_update.adapters.project import (
    ComposeCli,
    ComposeWorkshop,
    _to_build,
    _with_bases,
    environment,
    last_words,
)
from dual_update.core.errors import StepFailed
from dual_update.core.model import Rendered
from tests.repositories import Checkout


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            " b Pulling \n a Pulling \n a Error manifest for x/nope:1 not found\n b  Interrupted\n"
            "Error response from daemon: manifest for x/nope:1 not found\n",
            "Error response from daemon: manifest for x/nope:1 not found",
        ),
        (
            " Container s-db-1  Running\n Container s-web-1  Recreate\n"
            " Container s-web-1  Error response from daemon: No such image: x\n"
            "Error response from daemon: No such image: x\n",
            "Error response from daemon: No such image: x",
        ),
        (
            'time="2026-01-01T00:00:00Z" level=warning msg="No services to build"\nno such service: nope\n',
            "no such service: nope",
        ),
        (" Container s-web-1  Started\n", "exit code 7"),
        ("", "exit code 7"),
    ],
)
def test_last_words(said: str, words: str) -> None:
    assert last_words(Result(("compose",), 7, "", said)) == words


def test_only_what_leads_to_the_engine_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "DOCKER_HOST",
        "DOCKER_BUILDKIT",
        "HTTPS_PROXY",
        "COMPOSE_FILE",
        "COMPOSE_PROFILES",
        "API_TOKEN",
    ):
        monkeypatch.setenv(name, "x")
    handed = environment({"COMPOSE_BAKE": "false"})
    assert {"DOCKER_HOST", "DOCKER_BUILDKIT", "HTTPS_PROXY", "PATH", "HOME"} <= set(handed)
    assert {name for name in handed if name.startswith("COMPOSE_")} == {"COMPOSE_BAKE"}
    assert "API_TOKEN" not in handed


def test_hashes_need_no_engine_and_leave_out_what_cannot_be_foreseen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    image = {"image": "app:1"}
    model = Rendered(
        "shop",
        {
            "web": {**image, "volumes": [{"type": "bind", "source": "/src/conf", "target": "/conf"}]},
            "off": {**image, "profiles": ["never"]},
            "net": {**image, "network_mode": "service:web"},
            "ipc": {**image, "ipc": "service:web"},
            "pid": {**image, "pid": "service:web"},
            "from": {**image, "volumes_from": ["web"]},
            "host": {**image, "network_mode": "host"},
        },
    )
    here = ComposeWorkshop(tmp_path / "here", tmp_path).hashes(model)
    there = ComposeWorkshop(tmp_path / "there", tmp_path).hashes(model)
    assert sorted(here) == ["host", "off", "web"]
    assert all(len(value) == 64 for value in here.values())
    assert {name for name, value in here.items() if there[name] != value} == {"web"}  # its path is in it


def test_a_model_that_compose_refuses(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match=r"^Compose could not hash the services of shop: .+"):
        ComposeWorkshop(tmp_path, tmp_path).hashes(Rendered("shop", {"web": {"nonsense": True}}))


def test_a_project_whose_files_are_gone(tmp_path: Path) -> None:
    cli = ComposeCli(tmp_path, ["compose.yaml"], "shop")
    with pytest.raises(StepFailed, match=r"`compose up` of shop failed: .*compose\.yaml"):
        cli.up()
    with pytest.raises(StepFailed, match="A dry run of shop failed"):
        cli.plans_nothing()


@pytest.mark.parametrize("by_env", [False, True])
def test_where_compose_runs_and_which_env_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_env: bool
) -> None:
    (tmp_path / "deploy").mkdir()
    (tmp_path / ".env").write_text("TAG=root\n")
    (tmp_path / "deploy/.env").write_text("TAG=beside\n")
    (tmp_path / "deploy/a.yml").write_text("services: {web: {image: 'w:${TAG}', user: '${PWD}'}}\n")
    shows_model = tmp_path / "compose"
    shows_model.write_text(
        '#!/bin/sh\nbefore=\nfor one; do [ "$one" = up ] && break; before="$before $one"; done\n'
        f"exec {binary()} $before config >{tmp_path}/model\n"
    )
    shows_model.chmod(0o755)
    monkeypatch.setattr("dual_update.adapters.project.binary", lambda: str(shows_model))
    ComposeCli(tmp_path / "deploy", ["a.yml"], "shop", runs_in=tmp_path, by_env=by_env).up()
    model = (tmp_path / "model").read_text()
    assert f"image: w:{'root' if by_env else 'beside'}" in model
    assert f"user: {tmp_path}\n" in model


def test_a_build_from_a_submodule_that_is_not_here(tmp_path: Path) -> None:
    lib = Checkout(tmp_path / "lib")
    lib.commit({"Dockerfile": "FROM scratch\n"})
    parent = Checkout(tmp_path / "parent")
    parent.git("submodule", "--quiet", "add", str(lib.directory), "lib")
    parent.commit()
    bare = tmp_path / "clone"
    parent.git("clone", "--quiet", str(parent.directory), str(bare))
    model = Rendered("shop", {"app": {"build": {"context": "/src/lib", "dockerfile": "Dockerfile"}}})
    with GitRepository(bare) as repository:
        workshop = ComposeWorkshop(bare, tmp_path / "scratch")
        with pytest.raises(StepFailed, match="The submodule lib is not in") as caught:
            workshop.build(model, repository.tree(parent.head), ["app"])
    assert "git submodule update --init -- lib" in caught.value.hint
    assert os.listdir(tmp_path / "scratch") == []  # noqa: PTH208


def test_nothing_to_pull_or_build_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    workshop = ComposeWorkshop(tmp_path, tmp_path / "scratch", image_id=lambda _: "sha256:1")
    pinned = f"app@sha256:{'0' * 64}"
    model = Rendered(
        "shop", {"a": {"image": pinned}, "b": {"build": {"context": "/src"}}, "c": {"pull_policy": "never"}}
    )
    workshop.pull(model, ["a", "b", "c"])
    with pytest.raises(StepFailed, match=r"Pulling d \(app:1\) failed"):
        workshop.pull(Rendered("shop", {"d": {"image": "app:1"}}), ["d"])


def test_a_network_that_the_engine_holds_is_set_free_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compose passes on the engine's refusal to remove a network; what was forgotten on it is let go of."""
    compose = tmp_path / "compose"
    compose.write_text(
        "#!/bin/sh\n"
        f"echo called >>{tmp_path}/calls\n"
        f"[ -e {tmp_path}/free ] && exit 0\n"
        "echo 'Error response from daemon: error while removing network: network shop_front id 0abc1"
        " has active endpoints' >&2\nexit 1\n"
    )
    compose.chmod(0o755)
    monkeypatch.setattr("dual_update.adapters.project.binary", lambda: str(compose))
    asked: list[str] = []

    def helps(name: str) -> None:
        asked.append(name)
        (tmp_path / "free").touch()

    ComposeCli(tmp_path, ["compose.yaml"], "shop", set_free=helps).up()
    assert asked == ["shop_front"]
    assert (tmp_path / "calls").read_text() == "called\n" * 2

    (tmp_path / "free").unlink()
    with pytest.raises(StepFailed, match="has active endpoints"):  # once more is enough
        ComposeCli(tmp_path, ["compose.yaml"], "shop", set_free=asked.append).up()
    assert asked == ["shop_front"] * 2


def test_what_is_only_a_base_of_a_build_does_not_take_the_name_of_the_pulled_image() -> None:
    build = {"context": "/src/web"}
    services = {
        "web": {"image": "registry.example/web:1", "build": build},
        "child": {
            "image": "shop-child",
            "build": {**build, "additional_contexts": {"base": "service:web"}},
        },
        "other": {"image": "registry.example/other:1", "build": build},
    }
    rendered = Rendered("shop", services)
    needed = _with_bases(rendered, ["child"])
    model = _to_build(rendered, needed, Path("/export"), Path("/checkout"))
    assert {name: one.get("image") for name, one in model["services"].items()} == {
        "web": None,
        "child": "shop-child",
    }
