"""Wrong input and a world that is not ready: one clear sentence, the right exit code, nothing changed."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.integration.world import Cluster, Images, World

FAST = "health: {settle_seconds: 1, deadline_seconds: 15}\n"


@pytest.fixture
def cluster(world: World, images: Images) -> Cluster:
    images.push("web:1", "one")
    text = f"services:\n  web:\n    image: {images.ref('web:1')}\n    environment: {{A: one}}\n"
    made = world.repo({"compose.yml": text, "note": "a\n", ".github/dual-update.yml": FAST})
    assert made.dual_update("apply", "--auto").returncode == 0
    return made


def refused(cluster: Cluster, code: int, *words: str, arguments: tuple[str, ...] = (), **env: str) -> None:
    """Apply, and see it refused with these words, without a traceback and without a change."""
    before = cluster.running_hash()
    done = subprocess.run(
        [sys.executable, "-m", "dual_update", "apply", "--auto", *arguments],
        cwd=cluster.directory,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **env},
    )
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    for word in words:
        assert word in said
    assert "Traceback" not in said
    assert cluster.running_hash() == before


def test_unknown_revision(cluster: Cluster) -> None:
    refused(cluster, 2, "no-such-branch", arguments=("--ref", "no-such-branch"))


def test_a_directory_that_is_no_repository(cluster: Cluster, tmp_path: Path) -> None:
    refused(cluster, 2, "not inside a git repository", arguments=("--repo", str(tmp_path)))


def test_no_compose_file(cluster: Cluster) -> None:
    cluster.commit({"compose.yml": None, "other": "x"}, "gone")
    refused(cluster, 2, "No compose file")


def test_two_compose_files(cluster: Cluster) -> None:
    cluster.commit({"compose.yaml": (cluster.directory / "compose.yml").read_text()}, "two")
    refused(cluster, 2, "More than one compose file", "compose.yaml", "compose.yml")


def test_malformed_yaml_names_the_file(cluster: Cluster) -> None:
    cluster.commit({"compose.yml": "services:\n  web: {image: x\n  b: c"}, "broken")
    refused(cluster, 2, "compose.yml")


def test_an_unknown_key_in_the_config_names_file_and_line(cluster: Cluster) -> None:
    cluster.commit({".github/dual-update.yml": "helth: {}\n"}, "typo")
    refused(cluster, 2, ".github/dual-update.yml", "helth", "health")


def test_local_edits_are_never_overwritten(cluster: Cluster) -> None:
    cluster.commit(
        {"compose.yml": (cluster.directory / "compose.yml").read_text().replace("one", "two")}, "two"
    )
    (cluster.directory / "note").write_text("my own words\n")
    refused(cluster, 5, "note", "local edits")
    assert (cluster.directory / "note").read_text() == "my own words\n"


def test_no_engine(cluster: Cluster, tmp_path: Path) -> None:
    refused(cluster, 1, "No docker engine answers", DOCKER_HOST=f"unix://{tmp_path}/none.sock")


def test_an_engine_that_never_answers(cluster: Cluster, tmp_path: Path) -> None:
    path = str(tmp_path / "mute.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(8)
        refused(cluster, 1, "did not answer", DOCKER_HOST=f"unix://{path}", DUAL_UPDATE_ENGINE_SECONDS="2")


def test_a_locked_cluster_says_who_holds_it(cluster: Cluster, images: Images) -> None:
    cluster.commit(
        {"compose.yml": (cluster.directory / "compose.yml").read_text().replace("one", "two")}, "two"
    )
    images.push("web:1", "one")
    slow = subprocess.Popen(
        [sys.executable, "-m", "dual_update", "apply", "--auto"],
        cwd=cluster.directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert slow.stderr is not None
    for line in slow.stderr:
        if "prove" in line:
            break
    threading.Thread(target=slow.stderr.read, daemon=True).start()
    done = cluster.dual_update("apply", "--auto")
    assert slow.wait(60) == 0
    assert done.returncode == 5, done.stdout + done.stderr
    assert str(slow.pid) in done.stderr


def test_no_terminal_to_ask_on(cluster: Cluster) -> None:
    cluster.commit(
        {"compose.yml": (cluster.directory / "compose.yml").read_text().replace("one", "two")}, "two"
    )
    before = cluster.running_hash()
    done = cluster.dual_update("apply")
    assert (done.returncode, cluster.running_hash()) == (5, before)
    assert "no terminal" in done.stderr


def test_wrong_usage(cluster: Cluster) -> None:
    refused(cluster, 2, "--no-such-option", arguments=("--no-such-option",))


def test_doctor_says_what_is_there(cluster: Cluster) -> None:
    done = cluster.dual_update("doctor")
    assert done.returncode == 0, done.stdout
    assert "docker" in done.stdout
