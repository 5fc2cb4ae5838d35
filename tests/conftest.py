"""What every test gets: a home of its own, a quiet environment, and a clear word where no engine answers."""

import os
import shutil
import subprocess
from pathlib import Path
from types import MappingProxyType

import pytest

pytest_plugins = ["tests.fake_github.fixtures"]

IS_STRICT = os.environ.get("DUAL_UPDATE_TESTS") == "strict"

# How the machine reaches its engine survives; every other setting of whoever runs the tests does not.
KEPT = frozenset(
    {"DOCKER_HOST", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY", "DUAL_UPDATE_TESTS", "DUAL_UPDATE_TEST_RUN"}
)
SCRUBBED_PREFIXES = (
    "COMPOSE_",
    "DOCKER_",
    "DUAL_UPDATE_",
    "GIT_",
    "GITHUB_",
    "INPUT_",
    "RUNNER_",
    "WATCHTOWER_",
    "WEBHOOK_",
    "XDG_",
)
GIT_IDENTITY = MappingProxyType(
    {
        "GIT_AUTHOR_NAME": "Ada Author",
        "GIT_AUTHOR_EMAIL": "ada@example.org",
        "GIT_COMMITTER_NAME": "Carl Committer",
        "GIT_COMMITTER_EMAIL": "carl@example.org",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
    }
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs the engine goes first: those are the long files, and the short ones fill the end when the
    workers of `scripts/test` get their last ones."""
    items.sort(key=lambda item: item.get_closest_marker("engine") is None)


def missing(reason: str) -> None:
    """Skips the test for want of something the machine lacks; in strict runs that is a failure."""
    if IS_STRICT:
        pytest.fail(f"{reason} (DUAL_UPDATE_TESTS=strict)", pytrace=False)
    pytest.skip(reason)


def answer(*command: str, env: dict[str, str] | None = None) -> str | None:
    """What a command prints, or None when it is missing, fails or hangs."""
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@pytest.fixture(scope="session")
def docker_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A docker client configuration without credentials, contexts or proxies, but with the compose plugin."""
    folder = tmp_path_factory.mktemp("docker-config")
    plugins = folder / "cli-plugins"
    theirs = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "cli-plugins"
    if theirs.is_dir():
        plugins.symlink_to(theirs.resolve())
    return folder


@pytest.fixture(scope="session")
def engine_host() -> str | None:
    """The engine's address where it is not the default one: DOCKER_HOST, or what the current context says."""
    if host := os.environ.get("DOCKER_HOST"):
        return host
    if shutil.which("docker") is None:
        return None
    host = answer("docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
    return None if host == "unix:///var/run/docker.sock" else host


@pytest.fixture(scope="session")
def engine(docker_config: Path, engine_host: str | None) -> None:
    """An engine and compose v2 answer; else whatever asks for this is skipped, or fails when strict."""
    environment = {**os.environ, "DOCKER_CONFIG": str(docker_config)}
    if engine_host:
        environment["DOCKER_HOST"] = engine_host
    for command, what in (
        (("docker", "version", "--format", "{{.Server.Version}}"), "docker engine"),
        (("docker", "compose", "version", "--short"), "docker compose v2"),
    ):
        if answer(*command, env=environment) is None:
            missing(f"no {what} answers to '{' '.join(command[:2])}'; run scripts/bootstrap")


@pytest.fixture(autouse=True)
def isolation(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    docker_config: Path,
    engine_host: str | None,
) -> None:
    """No test reads or writes the home, the git configuration or the docker settings of whoever runs it."""
    for name in list(os.environ):
        if name.startswith(SCRUBBED_PREFIXES) and name not in KEPT:
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for kind in ("CONFIG", "CACHE", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(home / f".{kind.lower()}"))
    monkeypatch.setenv("DUAL_UPDATE_STATE_DIR", str(home / "state"))
    monkeypatch.setenv("DOCKER_CONFIG", str(docker_config))
    if engine_host:
        monkeypatch.setenv("DOCKER_HOST", engine_host)
    for name, value in GIT_IDENTITY.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(autouse=True)
def engine_where_marked(request: pytest.FixtureRequest, isolation: None) -> None:
    if request.node.get_closest_marker("engine"):
        request.getfixturevalue("engine")
