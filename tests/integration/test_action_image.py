"""The action's container for real: its image, its rights, its whole step, its end when a job is cancelled."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing
from tests.edges.actions_world import NAME, WEB, Job, git, read_file_commands
from tests.fake_github.faults import Fault
from tests.fake_github.server import FakeGitHub
from tests.integration.action_image import ROOT, SOURCES, action_image, base_image, docker
from tests.integration.world import LABEL, SESSION, World, eventually

UID = 12345
LARGEST_MB = 260
"""What our part of the image may weigh, above its base: the compose binary is 77 of it."""


@pytest.fixture(scope="session")
def image(engine: None) -> str:
    return action_image()


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Job]:
    with FakeGitHub(tmp_path, strict=False) as server:
        job = Job(server, tmp_path, monkeypatch, capsys)
        job.put({"compose.yml": WEB})
        yield job


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that another user may enter, unlike those of pytest."""
    if os.geteuid() != 0:
        missing("another user is played by root only")
    with tempfile.TemporaryDirectory(prefix="dual-update-runner-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def inside(image: str, script: str, *options: str) -> str:
    """What a shell in the image says, with the rights that the action has."""
    rights = ["--rm", "--init", "--user", f"{UID}:{UID}", "--cap-drop", "ALL", "--read-only"]
    rights += ["--tmpfs", "/tmp:mode=1777", "--label", f"{LABEL}={SESSION}", "--entrypoint", "/bin/sh"]
    return docker("run", *rights, *options, image, "-c", script)


@dataclass
class Runner:
    """A runner's folders for one step, owned by a user who is not root but may speak to the engine."""

    job: Job
    image: str
    folder: Path
    action: Path = ROOT

    def __post_init__(self) -> None:
        self.workspace = self.folder / "shop"
        git("clone", "--quiet", str(self.job.repo.git_dir), str(self.workspace))
        self.temp = self.folder / "temp"
        self.temp.mkdir()
        self.files = {name: self.temp / name for name in ("output", "summary", "event.json")}

    def start(self, payload: Mapping[str, Any], **given: str) -> "subprocess.Popen[str]":
        event = {"repository": {"full_name": NAME, "default_branch": "main"}, **payload}
        for name, file in self.files.items():
            file.write_text(json.dumps(event) if name == "event.json" else "")
            os.chown(file, UID, UID)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.temp),
            **{name: os.environ[name] for name in ("DOCKER_HOST",) if name in os.environ},
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": self.job.server.url,
            "GITHUB_REPOSITORY": NAME,
            "GITHUB_WORKSPACE": str(self.workspace),
            "GITHUB_EVENT_NAME": "push",
            "GITHUB_EVENT_PATH": str(self.files["event.json"]),
            "GITHUB_OUTPUT": str(self.files["output"]),
            "GITHUB_STEP_SUMMARY": str(self.files["summary"]),
            "GITHUB_REF": "refs/heads/main",
            "GITHUB_SHA": self.job.tip(),
            "INPUT_IMAGE": self.image,
            "INPUT_GITHUB_TOKEN": "a-token",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "a-token-of-the-job",
            "DUAL_UPDATE_NETWORK": "host",
            "DUAL_UPDATE_GITHUB_PAUSE_SECONDS": "0.01",
            **given,
        }
        group = str(Path("/var/run/docker.sock").stat().st_gid) if not os.environ.get("DOCKER_HOST") else "0"
        words = ["setpriv", "--reuid", str(UID), "--regid", str(UID), "--groups", group]
        return subprocess.Popen(
            [*words, str(self.action / "scripts/run-action")],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, payload: Mapping[str, Any], **given: str) -> tuple[int, dict[str, str], str, str]:
        process = self.start(payload, **given)
        log, _ = process.communicate(timeout=120)
        outputs = read_file_commands(self.files["output"].read_text())
        return process.returncode, outputs, self.files["summary"].read_text(), log


def test_the_image_holds_what_is_needed_and_no_build_tools(image: str) -> None:
    said = inside(
        image,
        "git --version && command -v ssh && docker-compose version --short && dual-update --version"
        " && for tool in pip pip3 gcc cc make docker; do ! command -v $tool || exit 9; done"
        " && ! python3 -m pip --version 2>/dev/null"
        " && test ! -e /build && id -u && ! touch /opt/x 2>/dev/null && touch /tmp/x && echo $HOME",
    )
    lines = said.splitlines()
    assert lines[0].startswith("git version")
    assert lines[1] == "/usr/bin/ssh"
    assert lines[2] == "2.40.3"
    assert lines[-2:] == [str(UID), "/tmp"]
    facts = json.loads(docker("image", "inspect", image))[0]
    assert facts["Config"]["Entrypoint"] == ["/opt/dual-update/program/bin/dual-update"]
    assert not facts["Config"]["User"]
    base = json.loads(docker("image", "inspect", base_image()))[0]
    assert facts["Size"] - base["Size"] < LARGEST_MB * 1_000_000


def test_the_whole_step_in_its_container_says_what_the_program_says(
    job: Job, image: str, folder: Path
) -> None:
    base = job.tip()
    job.deployed(base)
    head = job.put({"compose.yml": WEB.replace("web:1", "web:2")})
    payload = {"before": base, "after": head}
    runner = Runner(job, image, folder)
    before = git("status", "--porcelain", "--ignored", cwd=runner.workspace)
    code, outputs, summary, log = runner.run(payload)
    assert code == 0, log
    assert outputs["update-type"] == "image_only"
    assert outputs["deploy"] == "auto"
    assert json.loads(outputs["clusters"])[0]["name"] == "shop"
    assert "Images only" in summary
    assert [one["title"] for one in job.open_issues()] == ["shop: roll web"]
    assert "a-token-of-the-job" not in log
    assert git("status", "--porcelain", "--ignored", cwd=runner.workspace) == before
    outside = job.step("push", payload)
    assert outside.outputs == outputs, "what runs in the container is what runs here"


def test_a_wrong_input_ends_the_step_with_its_sentence(job: Job, image: str, folder: Path) -> None:
    code, outputs, _, log = Runner(job, image, folder).run({"before": job.tip()}, INPUT_MODE="sideways")
    assert code == 2
    assert outputs == {}
    assert "::error::dual-update: The input mode must be one of" in log
    assert "Traceback" not in log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_cancelled_job_ends_the_container(
    job: Job, image: str, folder: Path, number: signal.Signals
) -> None:
    job.server.faults.add(Fault(502, seconds=20, times=1000))
    runner = Runner(job, image, folder)
    ours = ["ps", "--all", "--quiet", "--filter", f"label=dual-update.action={folder.name}"]
    process = runner.start({"before": job.tip(), "after": job.tip()}, GITHUB_RUN_ID=folder.name)
    try:
        eventually(lambda: docker(*ours), within_seconds=60, what="the container runs")
        eventually(lambda: len(job.server.requests) or job.server.faults.waiting[0][1] < 1000,
                   within_seconds=60, what="it asks GitHub")  # fmt: skip
        began = time.monotonic()
        process.send_signal(number)
        log, _ = process.communicate(timeout=60)
        assert time.monotonic() - began < 7.5, "the runner kills what has not ended by then"
        assert process.returncode == 130, log
        eventually(lambda: docker(*ours) == "", within_seconds=10, what="the container is gone")
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def test_without_a_named_image_it_is_built_once(job: Job, image: str, folder: Path) -> None:
    action = folder / "action"  # of its own: what is being edited meanwhile must not change it
    for name in (*SOURCES, "scripts"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        (action / name).parent.mkdir(exist_ok=True)
        copy(ROOT / name, action / name)
    runner = Runner(job, "", folder, action)
    given = {"DUAL_UPDATE_BASE_IMAGE": base_image(), "DOCKER_BUILDKIT": "0"}
    made = ""
    try:
        code, outputs, _, log = runner.run({"before": job.tip(), "after": job.tip()}, **given)
        assert code == 0, log[-3000:]
        assert outputs["needs-update"] == "false", log[-3000:]
        assert "::group::dual-update: building the image" in log
        made = next(word for word in log.split() if word.startswith("dual-update-action:"))
        code, _, _, log = runner.run({"before": job.tip(), "after": job.tip()}, **given)
        assert code == 0
        assert "building the image" not in log
    finally:
        if made:
            docker("rmi", made)


@pytest.mark.parametrize("is_right", [True, False])
def test_another_compose_binary_is_taken_by_its_hash(image: str, is_right: bool) -> None:
    program = "/bin/true"  # stands for a binary of another architecture
    known = docker("run", "--rm", "--label", f"{LABEL}={SESSION}", base_image(), "sha256sum", program)
    digest = known.split()[0] if is_right else "0" * 64
    given = {"BASE_IMAGE": base_image(), "COMPOSE_URL": f"file://{program}", "COMPOSE_SHA256": digest}
    words = [word for name, value in given.items() for word in ("--build-arg", f"{name}={value}")]
    build = ["build", "--quiet", "--force-rm", "--target", "dependencies", *words, str(ROOT)]
    if is_right:
        docker("rmi", docker(*build, seconds=300))
    else:
        with pytest.raises(AssertionError, match="FAILED"):
            docker(*build, seconds=300)


def test_the_same_image_applies_on_a_host_with_nothing_but_an_engine(world: World, image: str) -> None:
    """The command line and the service are the image's other uses: the packaged compose, no docker client."""
    web = world.images.push("web:1", "one")
    compose = f"services:\n  web:\n    image: {web.ref}\n"
    policy = "health: {settle_seconds: 0.3, deadline_seconds: 20}\n"
    repo = world.repo({"compose.yml": compose, ".github/dual-update.yml": policy})
    state = repo.directory.parent / "state"
    state.mkdir(exist_ok=True)
    mounts = [
        f"type=bind,source={repo.directory},target={repo.directory}",
        f"type=bind,source={state},target=/var/lib/dual-update",
        "type=bind,source=/var/run/docker.sock,target=/var/run/docker.sock",
    ]
    words = [one for mount in mounts for one in ("--mount", mount)]
    said = docker(
        *("run", "--rm", "--init", "--read-only", "--tmpfs", "/tmp", "--network", "host"),
        *("--label", f"{LABEL}={SESSION}", *words, image),
        *("apply", "--repo", str(repo.directory), "--auto", "--format", "json"),
        seconds=120,
    )
    assert json.loads(said)["outcome"] == "succeeded"
