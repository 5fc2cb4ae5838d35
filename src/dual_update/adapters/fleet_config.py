"""What multi-cluster.yml means on this machine: where checkouts lie, which tokens the environment holds."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from dual_update.adapters.config import load_multi_cluster
from dual_update.core.config import ClusterEntry, MultiCluster
from dual_update.core.errors import UsageError
from dual_update.core.fleet import driver_of
from dual_update.core.schedule import is_open, window

MULTI_CLUSTER_FILES = ("multi-cluster.yml", ".github/multi-cluster.yml")
"""Where it is looked for in a repository."""


def find(repository: Path) -> Path | None:
    """The fleet's file of a checkout, if it has one."""
    return next((repository / one for one in MULTI_CLUSTER_FILES if (repository / one).is_file()), None)


def load_fleet(path: Path) -> MultiCluster:
    """The fleet of a file, paths in it counted from the file's own directory. Raises UsageError."""
    fleet = load_multi_cluster(path)
    here = path.absolute().parent

    def placed(one: ClusterEntry) -> ClusterEntry:
        return replace(
            one,
            path=str(here / one.path) if one.path else "",
            state_dir=str(here / one.state_dir) if one.state_dir else "",
        )

    return replace(fleet, clusters=tuple(placed(one) for one in fleet.clusters))


def led_from_here(fleet: MultiCluster) -> MultiCluster:
    """The fleet, if every cluster can be driven from here. Raises UsageError that names those that cannot."""
    others = [one.name for one in fleet.clusters if driver_of(one) == "runner"]
    if others:
        raise UsageError(
            f"{', '.join(others[:10])}: driven by a runner, which the workflow does.",
            hint="Give each a url (its update-orchestrator), or a path (a checkout here) and no runner.",
        )
    return fleet


def token_of(entry: ClusterEntry, environment: Mapping[str, str] = os.environ) -> str:
    """The token of a cluster's API, from NAME or the file that NAME_FILE names. UsageErrors never show it."""
    name = entry.token_env
    if not name:
        return ""
    value, file = environment.get(name), environment.get(f"{name}_FILE")
    if value and file:
        raise UsageError(f"{name} and {name}_FILE are both set; give one of them.")
    if file:
        try:
            value = Path(file).read_text("utf-8")
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise UsageError(f"{name}_FILE cannot be read: {why}.") from None
    token = (value or "").strip()
    if not token:
        raise UsageError(
            f"{entry.name}: {name} is not set.", hint=f"Set {name} to its token, or {name}_FILE."
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(f"{name} is no token: it holds characters that no header may hold.")
    return token


def closed(entries: Sequence[ClusterEntry], names: Iterable[str], now: datetime) -> frozenset[str]:
    """Those of these clusters that are outside of their maintenance windows."""
    windows = {one.name: [window(words) for words in one.windows] for one in entries if one.windows}
    return frozenset(name for name in names if name in windows and not is_open(windows[name], now, ZoneInfo))
