"""The update-orchestrator's settings: environment variables, each of them also as NAME_FILE (contract.md)."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dual_update.core.errors import UsageError

NAMES = (
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
)
"""Every variable of the contract. The last two are read by compose, not by us."""

SECRET = frozenset({"GITHUB_TOKEN", "WEBHOOK_URL", "WEBHOOK_SECRET", "API_TOKEN", "WATCHTOWER_TOKEN"})
"""Those whose values are for no one's eyes."""

MODES = ("dual", "watchtower_only", "revamp_only")
SCOPES = ("cluster", "changed")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
LARGEST_BYTES = 64 * 1024
SHORTEST_TOKEN = 16
SHORTEST_INTERVAL_SECONDS = 5.0
_TRUE, _FALSE = {"true", "1", "yes", "on"}, {"false", "0", "no", "off"}
_REPOSITORY = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class Environment:
    """What the service was told. Empty means: as the cluster's config says, or switched off."""

    mode: str = ""
    check_interval_seconds: float = 3600.0
    is_auto_approved: bool = False
    github_token: str = field(default="", repr=False)
    github_repository: str = ""
    webhook_url: str = field(default="", repr=False)
    webhook_secret: str = field(default="", repr=False)
    api_token: str = field(default="", repr=False)
    log_level: str = "INFO"
    watchtower_url: str = ""
    watchtower_token: str = field(default="", repr=False)
    cluster_path: Path | None = None
    compose_files: tuple[str, ...] = ()
    deploy_branch: str = ""
    scope: str = ""


def environment(variables: Mapping[str, str] | None = None) -> Environment:
    """Read and check all of it. Raises UsageError with the variable's name, never with a secret's value."""
    given = os.environ if variables is None else variables
    value = {name: _value(given, name) for name in NAMES}
    path = value["CLUSTER_PATH"]
    repository = value["GITHUB_REPOSITORY"]
    if repository and not _REPOSITORY.fullmatch(repository):
        raise UsageError(f"GITHUB_REPOSITORY is {repository!r}; OWNER/NAME is meant.")
    return Environment(
        mode=_one_of("UPDATE_MODE", value["UPDATE_MODE"], MODES),
        check_interval_seconds=_interval(value["CHECK_INTERVAL"]),
        is_auto_approved=_switch("AUTO_APPROVE", value["AUTO_APPROVE"]),
        github_token=value["GITHUB_TOKEN"],
        github_repository=repository,
        webhook_url=value["WEBHOOK_URL"],
        webhook_secret=_long_enough("WEBHOOK_SECRET", value["WEBHOOK_SECRET"]),
        api_token=_long_enough("API_TOKEN", value["API_TOKEN"]),
        log_level=_one_of("LOG_LEVEL", value["LOG_LEVEL"].upper(), LEVELS) or "INFO",
        watchtower_url=value["WATCHTOWER_URL"],
        watchtower_token=value["WATCHTOWER_TOKEN"],
        cluster_path=Path(path) if path else None,
        compose_files=tuple(one for one in re.split(r"[:,\s]+", value["COMPOSE_FILES"]) if one),
        deploy_branch=value["DEPLOY_BRANCH"],
        scope=_one_of("REVAMP_SCOPE", value["REVAMP_SCOPE"], SCOPES),
    )


def variable(name: str) -> str:
    """One variable of this process, or the content of the file that NAME_FILE names; empty without either."""
    return _value(os.environ, name)


def _value(given: Mapping[str, str], name: str) -> str:
    """The variable, or the content of the file that NAME_FILE names, without the line's end."""
    plain, file = given.get(name, ""), given.get(f"{name}_FILE", "")
    if plain and file:
        raise UsageError(f"{name} and {name}_FILE are both set.", hint="Keep one of them.")
    if not file:
        return plain.strip()
    try:
        with Path(file).open("rb") as opened:
            content = opened.read(LARGEST_BYTES + 1)
        text = content.decode("utf-8").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise UsageError(f"{name}_FILE names {file}, which cannot be read: {reason}.") from None
    if len(content) > LARGEST_BYTES:
        raise UsageError(f"{name}_FILE names {file}, which is larger than {LARGEST_BYTES} bytes.")
    if not text:
        raise UsageError(f"{name}_FILE names {file}, which is empty.")
    return text


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value and value not in allowed:
        raise UsageError(f"{name} is {value!r}; one of {', '.join(allowed)} is meant.")
    return value


def _switch(name: str, value: str) -> bool:
    if value.lower() in _TRUE:
        return True
    if not value or value.lower() in _FALSE:
        return False
    raise UsageError(f"{name} is {value!r}; true or false is meant.")


def _interval(value: str) -> float:
    if not value:
        return Environment.check_interval_seconds
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not SHORTEST_INTERVAL_SECONDS <= seconds <= 10 * 365 * 86400:
        raise UsageError(
            f"CHECK_INTERVAL is {value!r}; seconds are meant, {SHORTEST_INTERVAL_SECONDS:g} at least."
        )
    return seconds


def _long_enough(name: str, value: str) -> str:
    if value and len(value) < SHORTEST_TOKEN:
        raise UsageError(
            f"{name} has {len(value)} characters; it needs {SHORTEST_TOKEN} at least.",
            hint="`openssl rand -hex 32` makes a good one.",
        )
    return value
