"""What the host sees of a failed update before taking it back: the service, its health check, its log.

The containers that failed are gone a moment later, and their words with them.
"""

from collections.abc import Iterable, Mapping

from dual_update.core.cluster import Container, Details
from dual_update.core.errors import DualUpdateError
from dual_update.core.redaction import tail
from dual_update.usecases.site import Site

LOG_LINES = 40
LONGEST = 8_000
_SHORTEST_HIDDEN = 4  # as core/secrecy: a value of one letter stands everywhere and betrays nothing


def witness(site: Site, project: str, jobs: frozenset[str], hidden: Iterable[str] = ()) -> Mapping[str, str]:
    """`service`, `health` and `log` of the container that looks worst; empty when all look well.

    Values of environment variables are taken out, and what looks like a secret. Never raises for what the
    engine does: the way back must not wait for evidence.
    """
    try:
        failing = sorted(_failing(site, project, jobs), key=_rank)
        if not failing:
            return {}
        worst = failing[0]
        details = site.engine.details(worst.id)
        known = {*hidden, *given_values(details)}
        health = details.health_output if details is not None and worst.health != "healthy" else ""
        log = site.engine.log_tail(worst.id, LOG_LINES)
        return {
            "service": worst.service,
            "health": tail(health, LOG_LINES, known)[-LONGEST:],
            "log": tail(log, LOG_LINES, known)[-LONGEST:],
        }
    except DualUpdateError:
        return {}


def given_values(details: Details | None) -> frozenset[str]:
    """Values of the variables that a container was given, besides what its image holds."""
    if details is None:
        return frozenset()
    mine = set(details.environment.values()) - set(details.image_environment.values())
    return frozenset(one for one in mine if len(one) >= _SHORTEST_HIDDEN)


def _failing(site: Site, project: str, jobs: frozenset[str]) -> Iterable[Container]:
    for one in site.engine.observe(project).containers:
        is_done = one.service in jobs and one.state == "exited" and one.exit_code == 0
        if not one.is_oneoff and not is_done and _rank(one) < _WELL:
            yield one


_WELL = 4


def _rank(one: Container) -> int:
    """How bad it looks: 0 is worst."""
    if one.state in {"exited", "dead"}:
        return 0
    if one.state == "restarting" or one.restart_count:
        return 1
    if one.health == "unhealthy":
        return 2
    return 3 if one.health == "starting" or one.state != "running" else _WELL
