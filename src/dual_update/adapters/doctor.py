"""Looks at this machine and says what a deployment would miss."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dual_update.adapters.compose import binary
from dual_update.adapters.docker import DockerEngine
from dual_update.adapters.git import GitRepository
from dual_update.adapters.process import check
from dual_update.core.errors import DualUpdateError, WorldError

LEAST_FREE_BYTES = 1024**3


def examine(repo: Path, state: Path) -> list[dict[str, Any]]:
    """Every check by name: `good`, and in `detail` what was seen or what to do."""
    looks: Mapping[str, Callable[[], str]] = {
        "git": _git,
        "compose": _compose,
        "engine": _engine,
        "repository": lambda: _repository(repo),
        "state": lambda: _state(state),
        "disk": _disk,
    }
    findings = []
    for name, look in looks.items():
        try:
            findings.append({"name": name, "good": True, "detail": look()})
        except DualUpdateError as error:
            findings.append({"name": name, "good": False, "detail": str(error).replace("\n", " ")})
    return findings


def _git() -> str:
    return check(["git", "--version"]).out.strip()


def _compose() -> str:
    return check([binary(), "version", "--short"]).out.strip() + f" ({binary()})"


def _engine() -> str:
    with DockerEngine(timeout_seconds=10) as engine:
        info = engine.info()
        return f"docker {info.version} (API {info.api_version}), {info.architecture}"


def _repository(repo: Path) -> str:
    with GitRepository(repo) as repository:
        head = repository.try_git("rev-parse", "--short", "HEAD").out.strip()
        return f"{repository.root} at {head}" if head else f"{repository.root}, no commit yet"


def _state(state: Path) -> str:
    here = state
    while not here.exists() and here != here.parent:
        here = here.parent
    if not os.access(here, os.W_OK):
        raise WorldError(f"{state} cannot be written.", hint="Give --state-dir, or make it writable for you.")
    return f"{state} is writable"


def _disk() -> str:
    with DockerEngine(timeout_seconds=10) as engine:
        root = engine.info().root_directory
    if not Path(root).exists():
        return "the engine's disk is not visible from here"
    free = shutil.disk_usage(root).free
    if free < LEAST_FREE_BYTES:
        raise WorldError(
            f"Only {free // 2**20} MiB are free below {root}.", hint="Remove what is not needed there."
        )
    return f"{free // 2**30} GiB free below {root}"


def examine_text(findings: Sequence[Mapping[str, Any]]) -> str:
    """A line a check."""
    return "".join(
        f"  {'ok ' if one['good'] else 'BAD'} {one['name']}: {one['detail']}\n" for one in findings
    )
