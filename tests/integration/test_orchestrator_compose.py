"""orchestrator/: a newcomer's path from that folder alone, on a real engine, with these sources' image."""

import json
import os
import re
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from dual_update.adapters.environment import NAMES
from tests.adapters.test_notify import Receiver
from tests.integration.action_image import action_image, docker, has_image
from tests.integration.world import LABEL, SESSION, Cluster, World, eventually, run

STANDIN = Path(__file__).parents[1] / "standins" / "watchtower.py"
FOLDER = Path(__file__).parents[2] / "orchestrator"
QUIET = "kind=check code=0 what=nothing to do"
FAST = "health: {settle_seconds: 1, deadline_seconds: 8}\n"

CONTRACT = {
    "UPDATE_MODE",
    "CHECK_INTERVAL",
    "AUTO_APPROVE",
    "GITHUB_TOKEN",
    "WEBHOOK_URL",
    "LOG_LEVEL",
    "WEBHOOK_SECRET",
    "API_TOKEN",
    "WATCHTOWER_URL",
    "WATCHTOWER_TOKEN",
    "CLUSTER_PATH",
    "COMPOSE_FILES",
    "DEPLOY_BRANCH",
    "GITHUB_REPOSITORY",
    "REVAMP_SCOPE",
    "DUAL_UPDATE_IMAGE",
    "WATCHTOWER_IMAGE",
}
BEYOND = {
    "LOG_FORMAT",
    "LISTEN_HOST",
    "LISTEN_PORT",
    "WATCHTOWER_PORT",
    "STATE_DIR",
    "DOCKER_SOCKET",
    "DOCKER_CONFIG_DIR",
    "SOCKET_PROXY_IMAGE",
    "BIND_MOUNTS_FROM",
}


# --- what the files say


def example() -> dict[str, str]:
    """NAME -> value of .env.example; a commented line counts, `NAME_FILE` counts as NAME."""
    found = re.findall(r"^(?:# )?([A-Z][A-Z_]+)=(.*)$", (FOLDER / ".env.example").read_text(), re.M)
    return {name.removesuffix("_FILE"): value for name, value in found}


def test_every_variable_is_in_the_contract_the_code_and_the_example() -> None:
    assert set(NAMES) == CONTRACT
    assert set(example()) == CONTRACT | BEYOND


def test_every_variable_is_explained() -> None:
    lines = (FOLDER / ".env.example").read_text().splitlines()
    names = [i for i, line in enumerate(lines) if re.match(r"(# )?[A-Z][A-Z_]+=", line)]
    for i in names:
        before = next(line for line in reversed(lines[:i]) if not re.match(r"(# )?[A-Z][A-Z_]+=", line))
        assert before.startswith("# "), lines[i]


def test_what_compose_reads_is_in_the_example() -> None:
    for file in FOLDER.glob("*.yml"):
        if file.name == "alerts.yml":
            continue
        read = set(re.findall(r"\$\{([A-Z_]+)", file.read_text()))
        assert read <= set(example()), file.name


def test_images_are_pinned_to_the_same_versions_everywhere() -> None:
    text = (FOLDER / "docker-compose.yml").read_text()
    for name in ("DUAL_UPDATE_IMAGE", "WATCHTOWER_IMAGE"):
        default = re.search(rf"\$\{{{name}:-([^}}]+)\}}", text)
        assert default is not None
        assert default[1] == example()[name]
        assert re.fullmatch(r".+:\d+\.\d+\.\d+", default[1])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of orchestrator/ as a newcomer has it: what git knows, and nothing else of the project."""
    names = run("git", "ls-files", "--cached", "--others", "--exclude-standard", ".", cwd=FOLDER).splitlines()
    copy = tmp_path / "orchestrator"
    for name in names:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(FOLDER / name, copy / name)
    return copy


def prepare(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(folder / "prepare"), *arguments], capture_output=True, text=True, check=False, timeout=20
    )


def checkout(tmp_path: Path, name: str = "a & b|c") -> Path:
    place = tmp_path / name
    place.mkdir()
    run("git", "init", "--quiet", str(place))
    return place


def config(folder: Path, *files: str) -> dict[str, Any]:
    flags = [word for file in ("docker-compose.yml", *files) for word in ("-f", file)]
    return json.loads(run("docker", "compose", *flags, "config", "--format", "json", cwd=folder))


@pytest.mark.engine
def test_compose_reads_it(folder: Path, tmp_path: Path) -> None:
    place = checkout(tmp_path)
    assert prepare(folder, str(place)).returncode == 0
    services = config(folder)["services"]
    ours, theirs = services["update_orchestrator"], services["watchtower_orchestrator"]
    assert ours["container_name"] == "update_orchestrator"
    assert theirs["container_name"] == "watchtower_orchestrator"
    assert ours["network_mode"] == "host"
    assert ours["command"][:3] == ["serve", "--host", "127.0.0.1"]
    mounts = {one["target"]: one["source"] for one in ours["volumes"]}
    assert mounts[str(place)] == str(place)
    assert mounts["/var/lib/dual-update"] == "/var/lib/dual-update"
    (port,) = theirs["ports"]
    assert (port["host_ip"], port["target"]) == ("127.0.0.1", 8080)
    assert theirs["environment"]["WATCHTOWER_LABEL_ENABLE"] == "true"
    assert theirs["environment"]["WATCHTOWER_CLEANUP"] == "false"
    for one in (ours, theirs):
        assert one["restart"] == "unless-stopped"
        assert one["read_only"]
        assert one["cap_drop"] == ["ALL"]
        assert not any(
            "token" in str(value).lower() and len(str(value)) > 60 for value in one["environment"].values()
        )


def test_the_socket_proxy_takes_the_sockets_place(folder: Path, tmp_path: Path) -> None:
    assert prepare(folder, str(checkout(tmp_path))).returncode == 0
    services = config(folder, "compose.socket-proxy.yml")["services"]
    for name in ("update_orchestrator", "watchtower_orchestrator"):
        mounts = {one["target"]: one["source"] for one in services[name]["volumes"]}
        assert mounts["/var/run/docker.sock"] == "/dev/null"
        assert services[name]["environment"]["DOCKER_HOST"] == "unix:///run/proxied/docker.sock"
        assert mounts["/run/proxied"] == "proxied"
    assert "ports" not in services["socket_proxy"]
    assert services["socket_proxy"]["network_mode"] == "none"


@pytest.mark.engine
def test_without_a_checkout_it_says_what_to_do(folder: Path) -> None:
    (folder / ".env").write_text((folder / ".env.example").read_text())
    done = subprocess.run(
        ["docker", "compose", "config"], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode != 0
    assert "set CLUSTER_PATH in .env, or run ./prepare" in done.stderr


# --- ./prepare


def test_prepare_writes_what_is_missing_and_nothing_twice(folder: Path, tmp_path: Path) -> None:
    place = checkout(tmp_path)
    assert prepare(folder, str(place)).returncode == 0
    assert f"CLUSTER_PATH={place}\n" in (folder / ".env").read_text()
    token = (folder / "secrets" / "api_token").read_text()
    assert re.fullmatch(r"[0-9a-f]{64}", token)
    assert token != (folder / "secrets" / "watchtower_token").read_text()
    for name in (".env", "secrets/api_token", "secrets"):
        assert stat.S_IMODE((folder / name).stat().st_mode) & 0o077 == 0, name
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert prepare(folder, str(place)).returncode == 0
    assert prepare(folder).returncode == 0
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("what", ["", "nowhere", "no-checkout"])
def test_prepare_refuses_what_is_no_checkout(folder: Path, tmp_path: Path, what: str) -> None:
    (tmp_path / "no-checkout").mkdir()
    done = prepare(folder, *([str(tmp_path / what)] if what else []))
    assert done.returncode == 2
    assert done.stderr.startswith("prepare: ")
    assert not (folder / ".env").exists()


def test_secrets_are_not_for_git(folder: Path, tmp_path: Path) -> None:
    run("git", "init", "--quiet", str(folder))
    prepare(folder, str(checkout(tmp_path)))
    (folder / "ssh" / "id").write_text("key")
    shown = run("git", "status", "--porcelain", "--untracked-files=all", cwd=folder)
    assert "secrets" not in shown
    assert "ssh/id" not in shown
    assert ".env\n" not in f"{shown}\n"
    assert "ssh/config" in shown


# --- on a real engine


SERVE = """
import os, sys
from http.server import ThreadingHTTPServer
import docker
sys.path.insert(0, "/standin")
import watchtower
token = open(os.environ["WATCHTOWER_HTTP_API_TOKEN"]).read().strip()
one = watchtower.WatchtowerStandIn(
    docker.from_env(), token=token, scope=os.environ["WATCHTOWER_SCOPE"],
    needs_label=os.environ["WATCHTOWER_LABEL_ENABLE"] == "true", stop_seconds=2,
)
ThreadingHTTPServer(("0.0.0.0", 8080), watchtower._handler(one)).serve_forever()
"""


def watchtower_image() -> str:
    """The stand-in as an image that reads the settings of docker-compose.yml; or the true one, if named."""
    if true := os.environ.get("DUAL_UPDATE_WATCHTOWER_IMAGE"):
        return true
    tag = f"dual-update-test-watchtower:{SESSION}"
    if not has_image(tag):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(STANDIN, folder)
            (Path(folder) / "serve.py").write_text(SERVE)
            (Path(folder) / "Dockerfile").write_text(
                f"FROM {action_image()}\nCOPY watchtower.py serve.py /standin/\n"
                'ENTRYPOINT ["/opt/dual-update/bin/python3", "/standin/serve.py"]\n'
            )
            docker("build", "--quiet", "--label", f"{LABEL}={SESSION}", "--tag", tag, folder, seconds=120)
    return tag


class Orchestrator:
    """The folder brought up under names of this test's own, beside whatever else runs on the engine."""

    def __init__(self, folder: Path, world: World, cluster: Cluster) -> None:
        self.folder = folder
        self.port = world.free_port()
        self.project = f"{cluster.project}-orchestrator"
        self.name = f"update_orchestrator-{SESSION}-{self.port}"
        self.state = folder.parent / "state"
        assert prepare(folder, str(cluster.directory)).returncode == 0
        self.token = (folder / "secrets" / "api_token").read_text()
        self.setting("LISTEN_PORT", str(self.port))
        self.setting("STATE_DIR", str(self.state))
        self.setting("DUAL_UPDATE_IMAGE", action_image())
        watchtower_port = world.free_port()
        self.setting("WATCHTOWER_IMAGE", watchtower_image())
        self.setting("WATCHTOWER_PORT", str(watchtower_port))
        self.setting("WATCHTOWER_URL", f"http://127.0.0.1:{watchtower_port}")
        self.watchtower = f"watchtower_orchestrator-{SESSION}-{self.port}"
        override = {
            "services": {
                "update_orchestrator": {
                    "container_name": self.name,
                    "labels": {LABEL: SESSION},
                    "healthcheck": {"interval": "2s", "start_period": "2s"},
                },
                "watchtower_orchestrator": {"container_name": self.watchtower, "labels": {LABEL: SESSION}},
            }
        }
        (folder / "override.yml").write_text(json.dumps(override))

    def setting(self, name: str, value: str) -> None:
        path = self.folder / ".env"
        text = re.sub(rf"^{name}=.*$", f"{name}={value}", path.read_text(), flags=re.M)
        path.write_text(text)

    def compose(self, *words: str) -> str:
        files = ["-f", "docker-compose.yml", "-f", "override.yml"]
        return run("docker", "compose", "-p", self.project, *files, *words, cwd=self.folder, timeout=180)

    def up(self) -> None:
        self.compose("up", "--detach")

    def down(self) -> None:
        self.compose("down", "--timeout", "5")

    def ask(self, method: str, path: str, **body: Any) -> httpx.Response:
        return httpx.request(
            method,
            f"http://127.0.0.1:{self.port}{path}",
            headers={"authorization": f"Bearer {self.token}"},
            json=body or None,
            timeout=20,
            trust_env=False,
        )

    def answers(self) -> bool:
        try:
            return self.ask("GET", "/api/health").status_code == 200
        except httpx.TransportError:
            return False

    def health(self) -> str:
        return run("docker", "inspect", "--format", "{{.State.Health.Status}}", self.name)

    def pending(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.ask("GET", "/api/status").json()["pending"]
        return found

    def logs(self) -> str:
        done = subprocess.run(["docker", "logs", self.name], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr


LABELS = (
    "    labels:\n      com.centurylinklabs.watchtower.enable: 'true'\n"
    "      com.centurylinklabs.watchtower.scope: dual-update\n"
)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Where the service tells how runs ended."""
    one = Receiver()
    yield one
    one.server.shutdown()
    one.server.server_close()


@pytest.fixture
def orchestrator(folder: Path, world: World, receiver: Receiver) -> Iterator[tuple[Orchestrator, Cluster]]:
    world.images.push("web:1", "one")
    cluster = world.repo(
        {
            "compose.yml": f"services:\n  web:\n    image: {world.images.ref('web:1')}\n{LABELS}",
            ".github/dual-update.yml": FAST + "driver: service\n",
        }
    )
    one = Orchestrator(folder, world, cluster)
    one.setting("WEBHOOK_URL", f"{receiver.url}/hook")
    try:
        yield one, cluster
    finally:
        one.down()


def apply_pending(one: Orchestrator, commit: str) -> str:
    """Look, agree as a person, and give the job's name."""
    assert one.ask("POST", "/api/check").status_code == 202
    eventually(lambda: (one.pending() or {}).get("commit") == commit, within_seconds=60, what=one.logs())
    plan = one.ask("GET", "/api/plan").json()["pending"]
    answer = one.ask("POST", "/api/apply", fingerprint=plan["plan_fingerprint"], approved_by="ada")
    assert answer.status_code == 202, answer.text + one.logs()
    return str(answer.json()["id"])


def ended(one: Orchestrator, job: str) -> dict[str, Any] | None:
    found = one.ask("GET", f"/api/runs/{job}").json()
    return found if found.get("state") == "ended" else None


@pytest.mark.engine
@pytest.mark.timeout(900)
def test_a_newcomers_path(
    orchestrator: tuple[Orchestrator, Cluster], world: World, receiver: Receiver
) -> None:
    """Up, healthy, a dashboard; a first deploy; a restart that loses nothing; a rough end that is settled."""
    one, cluster = orchestrator
    began = time.monotonic()
    one.up()
    eventually(one.answers, within_seconds=60, what="the dashboard answers")
    eventually(lambda: one.health() == "healthy", within_seconds=60, what="its health check is well")
    assert time.monotonic() - began < 100
    assert httpx.get(f"http://127.0.0.1:{one.port}/metrics", trust_env=False).text.count("dual_update_") > 3

    job = apply_pending(one, cluster.head)
    eventually(lambda: ended(one, job), within_seconds=90, what=one.logs())
    run_of_job = ended(one, job)
    assert run_of_job is not None
    assert run_of_job["outcome"] == "succeeded", run_of_job
    assert cluster.container("web").state == "running"
    before = cluster.running_hash()

    ending = re.compile(rf"info +ended  job={job} kind=apply code=0")
    eventually(lambda: ending.search(one.logs()), within_seconds=20, what=one.logs())
    run("docker", "restart", "--time", "5", one.name, timeout=60)
    eventually(one.answers, within_seconds=60, what="it is back")
    assert one.ask("GET", "/api/history").json()["runs"][0]["run"] == run_of_job["run"]
    assert cluster.running_hash() == before
    log = one.logs()
    assert one.token not in log
    assert "Traceback" not in log
    words = [line.split(" ", 1)[1] for line in log.splitlines()]
    assert any(line.startswith(f"info     asked  job={job} kind=apply") for line in words), log
    assert any(f"job={job}" in line and "pull" in line for line in words), "its steps are told as they go"

    # New content under the same tag goes through Watchtower, with the token that both have in a file.
    eventually(lambda: one.logs().rpartition("listening")[2].count(QUIET), within_seconds=60, what=one.logs())
    pushed = world.images.push("web:1", "another one")
    job = apply_pending(one, cluster.head)
    eventually(lambda: ended(one, job), within_seconds=90, what=one.logs())
    report = ended(one, job)
    assert report is not None
    assert (report["outcome"], report["strategy"]) == ("succeeded", "watchtower"), report
    assert "poke" in {step["op"] for step in report["journal"]}, report["journal"]
    assert cluster.container("web").image_id == pushed.id

    _a_rough_end(one, cluster, world)
    last = {"rolled_back": "the update failed and was taken back", "succeeded": "updated"}
    outcome = one.ask("GET", "/api/history").json()["runs"][0]["outcome"]
    told = lambda: [got["title"].partition(": ")[2] for _, got in receiver.got]  # noqa: E731
    eventually(lambda: last[outcome] in told()[-1:], within_seconds=60, what="it tells how that ended")
    assert told().count("updated") == 2 + (outcome == "succeeded")
    assert "an update waits" in told()


def _a_rough_end(one: Orchestrator, cluster: Cluster, world: World) -> None:
    """The container dies in the middle of a job, with every process in it; the next one settles it."""
    good = cluster.container("web").image_id
    eventually(
        lambda: one.logs().rpartition("kind=apply code=0")[2].count(QUIET), within_seconds=60, what=one.logs()
    )
    world.images.push("web:2", "two", flavour="slow")
    text = (cluster.directory / "compose.yml").read_text().replace("web:1", "web:2")
    cluster.commit({"compose.yml": text})
    job = apply_pending(one, cluster.head)

    def is_touched() -> bool:
        found = one.ask("GET", f"/api/runs/{job}").json()
        return any(step["op"] in {"roll", "recreate", "revamp"} for step in found.get("journal", ()))

    eventually(is_touched, within_seconds=60, what=one.logs())
    run("docker", "kill", "--signal", "KILL", one.name)
    run("docker", "start", one.name)
    eventually(one.answers, within_seconds=60, what="it is back")
    runs = lambda: one.ask("GET", "/api/history").json()["runs"]  # noqa: E731
    eventually(lambda: runs()[0]["outcome"] is not None, within_seconds=90, what=one.logs())
    assert runs()[0]["outcome"] in {"rolled_back", "succeeded"}, runs()[0]
    container = cluster.container("web")
    assert container.state == "running"
    assert (container.image_id == good) == (runs()[0]["outcome"] == "rolled_back")
