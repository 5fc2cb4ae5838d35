"""scripts/run-action with a docker that only notes what it was asked: image, rights, words."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOKEN = "ghs_never-on-a-command-line"

DOCKER = f"""#!{sys.executable}
import json, os, sys
from pathlib import Path
here = Path(os.environ["STUB_FOLDER"])
words = sys.argv[1:]
with (here / "calls").open("a") as calls:
    calls.write(json.dumps(words) + "\\n")
if words[0] == "version":
    sys.exit(int((here / "version").read_text()))
images = (here / "images").read_text().split()
if words[:2] == ["image", "inspect"]:
    sys.exit(0 if words[2] in images else 1)
if words[0] == "pull":
    sys.exit(0 if words[-1] in (here / "registry").read_text().split() else 1)
if words[0] == "build":
    sys.exit(int((here / "build").read_text()))
if words[0] == "run":
    (here / "environment").write_text(json.dumps(dict(os.environ)))
    sys.exit(7)
"""


@dataclass
class Runner:
    """A runner with a stub for docker, and the folder of the action."""

    folder: Path
    action: Path

    def __post_init__(self) -> None:
        for name in ("bin", "work", "temp"):
            (self.folder / name).mkdir()
        self.stub("docker", DOCKER)
        self.stub("sleep", "#!/bin/sh\n")
        for name, text in (("images", ""), ("registry", ""), ("build", "0"), ("version", "0"), ("calls", "")):
            (self.folder / name).write_text(text)
        for name in ("output", "summary", "event.json"):
            (self.folder / "temp" / name).write_text("")

    def stub(self, name: str, text: str) -> None:
        file = self.folder / "bin" / name
        file.write_text(text)
        file.chmod(0o755)

    def run(self, path: str = "", **given: str) -> "subprocess.CompletedProcess[str]":
        environment = {
            "PATH": path or f"{self.folder / 'bin'}:/usr/bin:/bin",
            "STUB_FOLDER": str(self.folder),
            "GITHUB_WORKSPACE": str(self.folder / "work"),
            "GITHUB_OUTPUT": str(self.folder / "temp" / "output"),
            "GITHUB_STEP_SUMMARY": str(self.folder / "temp" / "summary"),
            "GITHUB_EVENT_PATH": str(self.folder / "temp" / "event.json"),
            "INPUT_GITHUB_TOKEN": TOKEN,
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "a-token-of-the-job",
            **given,
        }
        return subprocess.run(
            [str(self.action / "scripts/run-action")],
            env={name: value for name, value in environment.items() if value},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def calls(self, word: str) -> list[list[str]]:
        lines = (self.folder / "calls").read_text().splitlines()
        return [words for words in map(json.loads, lines) if words[0] == word]


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    action = tmp_path / "action"
    shutil.copytree(ROOT, action, ignore=lambda folder, names: _others(Path(folder), names))
    return Runner(tmp_path, action)


def _others(folder: Path, names: list[str]) -> set[str]:
    """Everything that an action's folder needs not for these tests."""
    if folder != ROOT:
        return {name for name in names if name == "__pycache__"}
    kept = {"action.yml", "Dockerfile", ".dockerignore", "LICENSE", "README.md", "pyproject.toml", "scripts"}
    return {
        name for name in names if name not in kept | {"requirements.lock", "requirements-build.lock", "src"}
    }


def options(words: list[str]) -> Mapping[str, list[str]]:
    """The options of a `docker run`, by name."""
    found: dict[str, list[str]] = {}
    at = 1
    while words[at].startswith("--"):
        has_value = words[at] not in {"--rm", "--init", "--read-only"}
        found.setdefault(words[at], []).append(words[at + 1] if has_value else "")
        at += 2 if has_value else 1
    found["image"] = words[at:]
    return found


def test_the_container_gets_what_it_needs_and_no_more(runner: Runner) -> None:
    (runner.folder / "images").write_text("mine")
    done = runner.run(INPUT_IMAGE="mine")
    assert done.returncode == 7, "the container's exit code is the step's"
    [words] = runner.calls("run")
    given = options(words)
    assert given["image"] == ["mine", "action"]
    assert {"--rm", "--init", "--read-only"} <= given.keys()
    assert given["--user"] == [f"{os.getuid()}:{os.getgid()}"]
    assert given["--cap-drop"] == ["ALL"]
    assert given["--security-opt"] == ["no-new-privileges"]
    assert given["--tmpfs"] == ["/tmp:mode=1777"]
    work, temp = runner.folder / "work", runner.folder / "temp"
    assert given["--mount"] == [
        f"type=bind,source={work},target={work},readonly",
        f"type=bind,source={temp / 'output'},target={temp / 'output'}",
        f"type=bind,source={temp / 'summary'},target={temp / 'summary'}",
        f"type=bind,source={temp / 'event.json'},target={temp / 'event.json'},readonly",
    ]
    assert "--network" not in given
    assert "--privileged" not in words
    assert not any("docker.sock" in one for one in words)


def test_values_stay_off_the_command_line_and_the_jobs_own_tokens_out_of_the_container(
    runner: Runner,
) -> None:
    (runner.folder / "images").write_text("mine")
    runner.run(INPUT_IMAGE="mine", INPUT_COMPOSE_FILES="a.yml\n$(touch x) --privileged")
    [words] = runner.calls("run")
    assert not any(TOKEN in one or "--privileged" in one for one in words)
    names = options(words)["--env"]
    assert "INPUT_GITHUB_TOKEN" in names
    assert not any("=" in one or one.startswith("ACTIONS_") for one in names)
    assert json.loads((runner.folder / "environment").read_text())["INPUT_GITHUB_TOKEN"] == TOKEN


def test_an_image_that_is_named_is_pulled_and_nothing_is_built(runner: Runner) -> None:
    (runner.folder / "registry").write_text("registry.example/du@sha256:1")
    runner.run(INPUT_IMAGE="registry.example/du@sha256:1")
    assert len(runner.calls("pull")) == 1
    assert options(runner.calls("run")[0])["image"][0] == "registry.example/du@sha256:1"
    done = runner.run(INPUT_IMAGE="registry.example/other")
    assert done.returncode == 2
    assert len(runner.calls("pull")) == 4, "a registry gets three chances"
    assert done.stdout.count("::error") == 1
    assert runner.calls("build") == []


def test_a_release_runs_the_image_of_its_digest_file(runner: Runner) -> None:
    (runner.action / "image.digest").write_text("registry.example/du@sha256:2\n")
    (runner.folder / "registry").write_text("registry.example/du@sha256:2")
    runner.run()
    assert options(runner.calls("run")[0])["image"][0] == "registry.example/du@sha256:2"


def test_where_the_released_image_cannot_be_had_it_is_built(runner: Runner) -> None:
    (runner.action / "image.digest").write_text("registry.example/du@sha256:2\n")
    done = runner.run()
    assert done.returncode == 7
    assert len(runner.calls("build")) == 1
    assert options(runner.calls("run")[0])["image"][0].startswith("dual-update-action:")


def test_an_image_is_built_anew_when_its_sources_change_and_only_then(runner: Runner) -> None:
    runner.run(DUAL_UPDATE_BASE_IMAGE="mirror/python:3")
    [first] = runner.calls("build")
    tag = first[first.index("--tag") + 1]
    assert first[first.index("--build-arg") + 1] == "BASE_IMAGE=mirror/python:3"
    (runner.folder / "images").write_text(tag)
    cache = runner.action / "src/dual_update/__pycache__"
    cache.mkdir()
    (cache / "x.pyc").write_text("no source")
    runner.run(DUAL_UPDATE_BASE_IMAGE="mirror/python:3")
    assert len(runner.calls("build")) == 1
    (runner.action / "src/dual_update/__init__.py").write_text("# another\n")
    runner.run(DUAL_UPDATE_BASE_IMAGE="mirror/python:3")
    assert len(runner.calls("build")) == 2
    assert runner.calls("build")[1] != first


def test_a_build_that_fails_is_one_sentence(runner: Runner) -> None:
    (runner.folder / "build").write_text("1")
    done = runner.run()
    assert done.returncode == 2
    assert "could not be built" in done.stdout
    assert runner.calls("run") == []


@pytest.mark.parametrize(
    ("uname", "workspace", "has_docker", "word"),
    [
        ("Darwin", "", True, "needs a Linux runner"),
        ("Linux", "/__w/shop/shop", True, "container:"),
        ("Linux", "", False, "needs docker"),
    ],
)
def test_where_it_cannot_work_it_says_so_in_one_sentence(
    runner: Runner, uname: str, workspace: str, has_docker: bool, word: str
) -> None:
    runner.stub("uname", f"#!/bin/sh\necho {uname}\n")
    path = ""
    if not has_docker:
        path = str(runner.folder / "bin")
        (runner.folder / "bin" / "docker").unlink()
        for name in ("bash", "dirname", "cut"):
            (runner.folder / "bin" / name).symlink_to(shutil.which(name) or name)
        runner.stub("env", '#!/bin/sh\nexec "$@"\n')
    done = runner.run(path, **({"GITHUB_WORKSPACE": workspace} if workspace else {}))
    assert done.returncode == 2, done.stderr
    assert done.stdout.startswith("::error title=dual-update::")
    assert word in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert runner.calls("run") == []


@pytest.mark.parametrize("given", [{}, {"INPUT_IMAGE": "registry.example/du"}])
def test_an_engine_that_does_not_answer_is_named(runner: Runner, given: dict[str, str]) -> None:
    for name in ("version", "build"):
        (runner.folder / name).write_text("1")
    done = runner.run(**given)
    assert done.returncode == 2
    assert "docker does not answer" in done.stdout
    assert done.stdout.count("::error") == 1


def test_outside_of_a_workflow_it_says_what_it_is_for(runner: Runner) -> None:
    done = runner.run(GITHUB_OUTPUT="")
    assert done.returncode == 2
    assert "for a step of a workflow" in done.stdout


def test_what_a_runner_with_its_own_network_needs_can_be_said(runner: Runner) -> None:
    (runner.folder / "images").write_text("mine")
    reports = runner.folder / "reports"
    reports.mkdir()
    ca = runner.folder / "ca.pem"
    ca.write_text("x")
    runner.run(
        DUAL_UPDATE_IMAGE="mine",
        DUAL_UPDATE_NETWORK="host",
        DUAL_UPDATE_REPORTS=str(reports),
        DUAL_UPDATE_CA_FILE=str(ca),
    )
    given = options(runner.calls("run")[0])
    assert given["--network"] == ["host"]
    assert f"type=bind,source={reports},target={reports},readonly" in given["--mount"]
    assert f"type=bind,source={ca},target=/ca.pem,readonly" in given["--mount"]
    assert "REQUESTS_CA_BUNDLE=/ca.pem" in given["--env"]


def test_shellcheck_finds_nothing() -> None:
    program = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run(
        [str(program), str(ROOT / "scripts/run-action")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
