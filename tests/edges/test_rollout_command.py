"""`dual-update rollout` and `status --all` as people type them, over services that answer by HTTP."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from dual_update.__main__ import main
from dual_update.adapters import cluster_api
from dual_update.adapters.fleet_config import load_fleet
from dual_update.wiring import Settings, open_store
from dual_update.wiring_fleet import lock_of
from tests.adapters.test_cluster_api import NEW, OLD, TOKEN, FakeService

THIRD = "3" * 40


@contextmanager
def listening(service: FakeService) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = httpx.Request(
                self.command, f"http://x{self.path}", headers=dict(self.headers.items()), content=body
            )
            answer = service(request)
            self.send_response(answer.status_code)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class World:
    """Two clusters, `a` before `b`, and the command line."""

    def __init__(self, folder: Path, urls: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        self.file = folder / "multi-cluster.yml"
        self.state = folder / "state"
        self.urls = urls
        self._capsys = capsys
        self.write()

    def write(self, on_failure: str = "stop", **more: object) -> None:
        clusters = [
            {"name": name, "stage": stage, "url": url, "token_env": "FLEET", "auto_approve": True, **more}
            for stage, (name, url) in enumerate(zip("ab", self.urls, strict=True))
        ]
        self.file.write_text(json.dumps({"on_failure": on_failure, "clusters": clusters}))

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        with pytest.MonkeyPatch.context() as patch:
            where = ["--clusters", str(self.file), "--state-dir", str(self.state)]
            patch.setattr("sys.argv", ["dual-update", *arguments, *where])
            code = main()
        out, err = self._capsys.readouterr()
        return int(code), out, err


@pytest.fixture
def services() -> dict[str, FakeService]:
    return {"a": FakeService(), "b": FakeService()}


@pytest.fixture
def world(
    services: dict[str, FakeService],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    monkeypatch.setenv("FLEET", TOKEN)
    monkeypatch.setattr(cluster_api, "FOLLOW_SECONDS", 0.01)
    with ExitStack() as stack:
        urls = [stack.enter_context(listening(one)) for one in services.values()]
        yield World(tmp_path, urls, capsys)


@pytest.fixture
def versions(services: dict[str, FakeService]) -> Callable[[], list[str]]:
    return lambda: [one.deployed for one in services.values()]


def test_a_rollout_and_the_fleet_after_it(world: World, versions: Callable[[], list[str]]) -> None:
    code, out, err = world("rollout", "--ref", NEW)
    assert (code, versions()) == (0, [NEW, NEW]), err
    assert "succeeded: Every cluster runs the new version and is well." in out
    assert "a: to 222222222222" in err
    code, out, _ = world("status", "--all")
    assert code == 0
    assert out.count("222222222222     well      no drift") == 2
    assert ": succeeded\n" in out


def test_a_failure_stops_or_takes_all_back(
    world: World, services: dict[str, FakeService], versions: Callable[[], list[str]]
) -> None:
    services["b"].outcome = "rolled_back"
    code, out, _ = world("rollout", "--ref", NEW, "--format", "json")
    told = json.loads(out)
    assert (code, told["state"], versions()) == (1, "stopped", [NEW, OLD])
    assert [c["standing"] for s in told["stages"] for c in s["clusters"]] == ["applied", "failed"]
    assert NEW not in {one["to"] for one in services["b"].runs if one["outcome"] == "succeeded"}


def test_rollback_all(
    world: World, services: dict[str, FakeService], versions: Callable[[], list[str]]
) -> None:
    world.write("rollback_all")
    services["b"].outcome = "rolled_back"
    code, out, _ = world("rollout", "--ref", NEW)
    assert (code, versions()) == (1, [OLD, OLD])
    assert out.startswith("rolled_back: ")
    assert "a: back" in out


def test_approval_another_commit_and_abort(world: World, versions: Callable[[], list[str]]) -> None:
    world.write(auto_approve=False)
    code, out, _ = world("rollout", "--ref", NEW)
    assert (code, versions()) == (5, [OLD, OLD])
    assert "a: a person has to approve" in out
    code, _, err = world("rollout", "--ref", NEW)
    assert code == 5
    assert "is paused" in err
    code, out, err = world("rollout", "--abort")
    assert (code, versions()) == (0, [OLD, OLD]), err
    assert out.startswith("aborted: ")
    code, _, err = world("rollout", "--resume")
    assert code == 5
    assert "No roll-out of this fleet is under way" in err
    code, _, err = world("rollout", "--ref", NEW, "--auto")
    assert (code, versions()) == (0, [NEW, NEW]), err


def test_a_paused_one_is_resumed(world: World, versions: Callable[[], list[str]]) -> None:
    world.write(auto_approve=False)
    world("rollout", "--ref", NEW)
    code, out, _ = world("rollout", "--pause")
    assert code == 0
    assert out.startswith("paused: ")
    code, _, err = world("rollout", "--resume", "--auto")
    assert (code, versions()) == (0, [NEW, NEW]), err


def test_a_fleet_that_gets_a_cluster_amid_a_rollout_has_to_end_it_first(world: World) -> None:
    world.write(auto_approve=False)
    world("rollout", "--ref", NEW)
    before = world.file.read_text()
    more = json.loads(before)
    more["clusters"].append({"name": "c", "path": "nowhere"})
    world.file.write_text(json.dumps(more))
    for arguments in (("--ref", NEW), ("--resume",)):
        code, _, err = world("rollout", *arguments)
        assert code == 5
        assert "of a, b has not ended" in err
    world.file.write_text(before)
    assert world("rollout", "--abort")[0] == 0


def test_status_all_shows_a_rollout_as_it_says_itself(world: World) -> None:
    code, out, _ = world("rollout", "--ref", NEW, "--format", "json")
    said = json.loads(out)
    assert (code, said["stages"][0]["clusters"][0]["standing"]) == (0, "applied")
    assert json.loads(world("status", "--all", "--format", "json")[1])["rollout"] == said


def test_a_pause_and_the_fleet_say_where_each_cluster_is(world: World) -> None:
    world.write(auto_approve=False)
    fleet = json.loads(world.file.read_text())
    fleet["clusters"][0]["auto_approve"] = True
    world.file.write_text(json.dumps(fleet))
    assert world("rollout", "--ref", NEW)[0] == 5
    _, out, _ = world("rollout", "--pause")
    assert "a: applied\n" in out
    assert "b: untouched\n" in out
    for port, one in enumerate(fleet["clusters"], 9):
        one["url"] = f"http://127.0.0.1:{port}"
    world.file.write_text(json.dumps(fleet))
    stages = json.loads(world("status", "--all", "--format", "json")[1])["rollout"]["stages"]
    assert [one["standing"] for stage in stages for one in stage["clusters"]] == ["silent", "silent"]
    out = world("status", "--all")[1]
    assert "a  unknown: http://127.0.0.1:9 does not answer" in out


def test_one_coordinator_at_a_time_and_it_is_told(world: World) -> None:
    world.write(auto_approve=False)
    world("rollout", "--ref", NEW)
    lock = lock_of(load_fleet(world.file))
    with open_store(Settings(state_dir=world.state)).lock(lock, "roll-out", 0.0):
        code, _, err = world("rollout", "--resume")
        assert code == 5
        assert "roll-out" in err
        code, _, err = world("rollout", "--abort")
        assert code == 0
        assert "told the process that leads the roll-out" in err
    wish = next(world.state.rglob("wish")).read_text()
    assert wish == "abort"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--resume", "--abort"), 2, "exclude each other"),
        (("--pause",), 5, "No roll-out of this fleet is under way"),
        (("--ref", THIRD), 1, "stopped: "),
    ],
)
def test_what_cannot_be_is_said(world: World, arguments: tuple[str, ...], code: int, says: str) -> None:
    found, out, err = world("rollout", *arguments)
    assert found == code, err
    assert says in out + err


def test_files_and_tokens_that_are_not_there(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET", "wrong")
    code, _, err = world("rollout", "--ref", NEW)
    assert code == 5
    assert "does not take the token of FLEET" in err
    assert "wrong" not in err
    monkeypatch.delenv("FLEET")
    code, _, err = world("rollout", "--ref", NEW)
    assert code == 2
    assert "FLEET is not set" in err
    world.file.write_text("clusters: [{name: a, runner: [x]}]")
    code, _, err = world("rollout", "--ref", NEW)
    assert code == 2
    assert "driven by a runner" in err
    world.file.unlink()
    assert world("rollout", "--ref", NEW)[0] == 2


def test_without_a_file_status_all_shows_the_clusters_of_this_host(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = {"run": "r1", "cluster": "shop", "checkout": str(tmp_path / "gone"), "to": OLD}
    store = open_store(Settings(state_dir=tmp_path / "state"))
    store.begin(record)
    monkeypatch.setattr(
        "sys.argv",
        ["dual-update", "status", "--all", "--repo", str(tmp_path), "--state-dir", str(tmp_path / "state")],
    )
    assert main() == 0
    assert capsys.readouterr().out.startswith("shop  unknown: ")
