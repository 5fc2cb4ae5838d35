"""The record of a fleet's roll-out on the coordinator's host, and the wishes that others leave beside it.

    STATE/rollouts/FLEET/rollout.json     the newest roll-out of this fleet, over or not
    STATE/rollouts/FLEET/wish             "pause" or "abort", until whoever leads it has read it

A fleet is known by the names of its clusters.
"""

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dual_update.adapters.disk import HostDisk
from dual_update.core.errors import WorldError
from dual_update.core.rollout import Rollout, Stage, Start
from dual_update.usecases.rollout import Wish

SCHEMA = "dual-update/rollout-record/v1"


def fleet_key(names: Iterable[str]) -> str:
    """What a fleet with these clusters is called on disk, and in the lock that one coordinator holds."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:16]


class RolloutRecord:
    """Fits the port Record."""

    def __init__(self, state_directory: Path, fleet: str) -> None:
        self._all = state_directory / "rollouts"
        self._directory = self._all / fleet

    def load(self) -> Rollout | None:
        """The newest roll-out, or None. Raises WorldError for a record that cannot be read."""
        try:
            content = (self._directory / "rollout.json").read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise WorldError(f"{self._directory} cannot be read: {error.strerror}.") from error
        try:
            return from_json(json.loads(content))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise WorldError(
                f"{self._directory}/rollout.json is no record of a roll-out.",
                hint="Move it away and begin anew: where the clusters are is asked from themselves.",
            ) from error

    def save(self, rollout: Rollout) -> None:
        self._make()
        HostDisk().write(str(self._directory / "rollout.json"), json.dumps(to_json(rollout)).encode())

    def leave(self, wish: Wish) -> None:
        """Leave a wish for whoever leads the roll-out."""
        self._make()
        HostDisk().write(str(self._directory / "wish"), wish.encode())

    def wish(self) -> Wish:
        try:
            found = (self._directory / "wish").read_text("utf-8")
        except (OSError, ValueError):
            return ""
        return "pause" if found == "pause" else "abort" if found == "abort" else ""

    def heeded(self) -> None:
        with suppress(OSError):
            (self._directory / "wish").unlink()

    def others(self) -> list[Rollout]:
        """Roll-outs of other fleets on this host that have not ended. A fleet whose file got one cluster more
        is another fleet. Records that cannot be read are left to those who lead them."""
        found = []
        with suppress(OSError):
            for one in sorted(self._all.iterdir()):
                if one != self._directory:
                    with suppress(WorldError):
                        found.append(RolloutRecord(self._all.parent, one.name).load())
        return [one for one in found if one is not None and one.direction != "ended"]

    def _make(self) -> None:
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise WorldError(f"{self._directory} cannot be made: {error.strerror}.") from error


def to_json(rollout: Rollout) -> dict[str, Any]:
    """Everything, as JSON."""
    found = asdict(rollout)
    for name in ("needs_approval", "approved"):
        found[name] = sorted(found[name])
    return {"schema": SCHEMA, **found}


def from_json(data: dict[str, Any]) -> Rollout:
    """The roll-out that `to_json` wrote. Raises ValueError, KeyError or TypeError for anything else."""
    fields = dict(data)
    if fields.pop("schema") != SCHEMA:
        raise ValueError(SCHEMA)
    fields["stages"] = tuple(Stage(**{**one, "clusters": tuple(one["clusters"])}) for one in data["stages"])
    fields["starts"] = {name: Start(**one) for name, one in data["starts"].items()}
    fields["applied_at"] = {int(number): float(at) for number, at in data["applied_at"].items()}
    for name in ("needs_approval", "approved"):
        fields[name] = frozenset(data[name])
    return Rollout(**fields)
