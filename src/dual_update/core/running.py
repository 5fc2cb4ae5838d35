"""How services run by their own words: in which order they start, which of them end, how long they take."""

from collections.abc import Mapping
from typing import Any

from dual_update.core.durations import seconds
from dual_update.core.model import Rendered

JOB_SECONDS = 1800.0
"""How long a job that others wait for may take; compose gives up no earlier when it brings it up."""

USUAL_INTERVAL_SECONDS = 30.0
"""Between two health checks where the file does not say. Source: Dockerfile reference, HEALTHCHECK."""


def jobs(rendered: Rendered) -> frozenset[str]:
    """Services that may end with exit code 0 and are done then.

    Either the file says so (a restart policy of `no` or `on-failure`, written out) or another service
    waits for its end. A service without any policy that ends is not a job: it came to a stop.
    """
    its_end = awaited(rendered)
    return frozenset(name for name, one in rendered.services.items() if name in its_end or _says_it_ends(one))


def awaited(rendered: Rendered) -> frozenset[str]:
    """Services whose end others wait for (`service_completed_successfully`): running is not enough."""
    return frozenset(
        needed
        for service in rendered.services.values()
        for needed, how in (service.get("depends_on") or {}).items()
        if (how or {}).get("condition") == "service_completed_successfully"
    )


def _says_it_ends(service: Mapping[str, Any]) -> bool:
    policy = (service.get("deploy") or {}).get("restart_policy") or {}
    restart = str(service.get("restart") or policy.get("condition") or "")
    return restart in {"no", "none"} or restart.startswith("on-failure")


def patience(rendered: Rendered) -> dict[str, float]:
    """Seconds that services may take by their own words, whatever the usual deadline: a job that others wait
    for, and the `start_period` of a health check with two intervals."""
    found = dict.fromkeys(awaited(rendered), JOB_SECONDS)
    for name, service in rendered.services.items():
        check = service.get("healthcheck") or {}
        begin = seconds(check.get("start_period"))
        if begin and name not in found:
            found[name] = begin + 2 * (seconds(check.get("interval")) or USUAL_INTERVAL_SECONDS)
    return found


def start_order(rendered: Rendered) -> list[str]:
    """Active services, each after those it depends on; by name where nothing else decides."""
    active = rendered.active
    ordered: list[str] = []
    visiting: set[str] = set()

    def visit(name: str) -> None:
        if name in ordered or name in visiting:
            return
        visiting.add(name)
        for needed in sorted(rendered.services[name].get("depends_on") or {}):
            if needed in active:
                visit(needed)
        ordered.append(name)

    for name in active:
        visit(name)
    return ordered
