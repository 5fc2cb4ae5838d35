"""How a run of the service ended, told to GitHub: once, and never in the way of anything."""

from dual_update.usecases.announce import quietly
from dual_update.usecases.outcome import deploy_of, tell
from dual_update.usecases.ports import Json
from dual_update.usecases.service_ports import Forge

TOLD = frozenset({"succeeded", "unchanged", "rolled_back", "rollback_failed"})
"""Outcomes that GitHub hears of; a refused run touched nothing and is tried again."""


def tell_how_it_ended(record: Json, forge: Forge, branch: str, url: str) -> tuple[str, ...]:
    """Deployment, status, issue and pull request of a run's record. Returns what GitHub did not take."""
    if record.get("outcome") not in TOLD or not record.get("to"):
        return ()
    warnings: list[str] = []
    link = f"{url}/runs/{record['run']}" if url else ""
    deploy = deploy_of(
        record,
        str(record["cluster"]),
        branch,
        fingerprint=str(record.get("fingerprint") or ""),
        url=link,
    )
    quietly(lambda: warnings.extend(tell(record, deploy, forge).warnings), warnings.append)
    return tuple(warnings)
