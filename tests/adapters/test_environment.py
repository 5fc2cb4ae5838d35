"""The service's settings: every variable of the contract, plain or in a file."""

from pathlib import Path
from typing import cast

import pytest

from dual_update.adapters.environment import NAMES, SECRET, Environment, environment
from dual_update.adapters.git import GitRepository
from dual_update.core.errors import UsageError
from dual_update.edges.serve import with_environment
from dual_update.wiring import Settings, load_config

TOKEN = "a-token-0123456789"
GOOD = {
    "UPDATE_MODE": ("revamp_only", "mode", "revamp_only"),
    "CHECK_INTERVAL": ("60", "check_interval_seconds", 60.0),
    "AUTO_APPROVE": ("true", "is_auto_approved", True),
    "GITHUB_TOKEN": (TOKEN, "github_token", TOKEN),
    "WEBHOOK_URL": ("https://hooks.example.org/x", "webhook_url", "https://hooks.example.org/x"),
    "LOG_LEVEL": ("debug", "log_level", "DEBUG"),
    "WEBHOOK_SECRET": (TOKEN, "webhook_secret", TOKEN),
    "API_TOKEN": (TOKEN, "api_token", TOKEN),
    "WATCHTOWER_URL": ("http://127.0.0.1:8080", "watchtower_url", "http://127.0.0.1:8080"),
    "WATCHTOWER_TOKEN": (TOKEN, "watchtower_token", TOKEN),
    "CLUSTER_PATH": ("/srv/shop", "cluster_path", Path("/srv/shop")),
    "COMPOSE_FILES": ("a.yml, b.yml", "compose_files", ("a.yml", "b.yml")),
    "DEPLOY_BRANCH": ("live", "deploy_branch", "live"),
    "GITHUB_REPOSITORY": ("a/b", "github_repository", "a/b"),
    "REVAMP_SCOPE": ("changed", "scope", "changed"),
}
OF_COMPOSE = {"DUAL_UPDATE_IMAGE", "WATCHTOWER_IMAGE"}


def test_the_contracts_names() -> None:
    assert set(NAMES) == GOOD.keys() | OF_COMPOSE


def test_nothing_is_said() -> None:
    assert environment({}) == Environment()
    assert environment(dict.fromkeys(NAMES, "")) == Environment()


@pytest.mark.parametrize("name", GOOD)
def test_each_is_read_plain_or_from_a_file(name: str, tmp_path: Path) -> None:
    text, field, value = GOOD[name]
    assert getattr(environment({name: text}), field) == value
    file = tmp_path / "value"
    file.write_text(f"{text}\n")
    assert getattr(environment({f"{name}_FILE": str(file)}), field) == value
    with pytest.raises(UsageError, match="both set"):
        environment({name: text, f"{name}_FILE": str(file)})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("UPDATE_MODE", "both"),
        ("CHECK_INTERVAL", "hourly"),
        ("CHECK_INTERVAL", "0"),
        ("CHECK_INTERVAL", "-1"),
        ("CHECK_INTERVAL", "nan"),
        ("CHECK_INTERVAL", "inf"),
        ("AUTO_APPROVE", "maybe"),
        ("LOG_LEVEL", "LOUD"),
        ("REVAMP_SCOPE", "all"),
        ("GITHUB_REPOSITORY", "https://github.com/a/b"),
        ("API_TOKEN", "hunter2"),
        ("WEBHOOK_SECRET", "hunter2"),
    ],
)
def test_what_is_wrong_is_named_and_secrets_are_not_quoted(name: str, text: str) -> None:
    with pytest.raises(UsageError, match=name) as raised:
        environment({name: text})
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe", b"x" * 70_000])
def test_files_that_hold_nothing_to_read(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "value"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError, match="GITHUB_TOKEN_FILE"):
        environment({"GITHUB_TOKEN_FILE": str(file)})


def test_secrets_are_in_no_repr() -> None:
    told = environment({name: text for name, (text, _, _) in GOOD.items()})
    for name in SECRET:
        assert GOOD[name][0] not in repr(told), name


def test_the_environment_decides_over_the_config() -> None:
    told = environment({name: GOOD[name][0] for name in ("UPDATE_MODE", "REVAMP_SCOPE", "DEPLOY_BRANCH")})
    settings = with_environment(Settings(), told)
    assert settings.overrides == {"mode": "revamp_only", "scope": "changed", "deploy_branch": "live"}
    assert with_environment(Settings(), environment({})).overrides == {}
    there = with_environment(Settings(), environment({"CLUSTER_PATH": "/srv/shop"}))
    assert there.repo == Path("/srv/shop")
    flag = with_environment(Settings(repo=Path("/elsewhere")), environment({"CLUSTER_PATH": "/srv/shop"}))
    assert flag.repo == Path("/elsewhere")


def test_what_it_decides_is_what_holds(tmp_path: Path) -> None:
    file = tmp_path / "dual-update.yml"
    file.write_text("mode: dual\nscope: cluster\ndriver: service\n")
    told = environment({"UPDATE_MODE": "watchtower_only", "WATCHTOWER_URL": "http://127.0.0.1:8080"})
    settings = with_environment(Settings(config=file), told)
    config = load_config(cast("GitRepository", None), settings, "")  # a file that was named needs no commit
    assert (config.mode, config.scope, config.driver) == ("watchtower_only", "cluster", "service")
    assert config.watchtower is not None
    assert config.watchtower.url == "http://127.0.0.1:8080"
