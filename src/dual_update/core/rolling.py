"""How replicas are replaced one after another: the Compose Deploy Specification on plain compose.

`deploy.update_config` and `rollback_config` are swarm's words; compose itself passes over them. Read here:
`order`, `parallelism` (0: all at once), `delay`, `monitor` and `failure_action`. The specification's default
for a failure is `pause`, which leaves a service between old and new. Here a failure always ends in the way
back, at once (`rollback`, our default, and `pause`) or after the others had their turn (`continue`);
`max_failure_ratio` tolerates nothing.

`rollback_config` of the version that returns is how its replicas come back. Without one they come back all at
once, as fast as they can; and so they do where going by it would take too long or does not work out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dual_update.core.cluster import Container
from dual_update.core.durations import seconds
from dual_update.core.model import NAMESPACES, Rendered, replicas

LONGEST_ROLLBACK_SECONDS = 300.0
"""Delays and watches of a rollback that are waited for, all together; with more it comes back at once."""

OnFailure = Literal["rollback", "pause", "continue"]


@dataclass(frozen=True)
class Rolling:
    """`parallelism` containers at a time, `delay_seconds` between two batches; each batch is watched for
    `monitor_seconds` before the next."""

    is_start_first: bool = False
    parallelism: int = 1
    delay_seconds: float = 0.0
    monitor_seconds: float = 0.0
    on_failure: OnFailure = "rollback"


def rolling_of(service: Mapping[str, Any], key: str = "update_config") -> Rolling:
    """What a service's `deploy` says. Without a word: one after another, each old one stopped first."""
    settings = (service.get("deploy") or {}).get(key) or {}
    action = str(settings.get("failure_action") or "rollback")
    count = settings.get("parallelism")
    return Rolling(
        is_start_first=settings.get("order") == "start-first",
        parallelism=1 if count is None else max(int(count), 0),
        delay_seconds=seconds(settings.get("delay")),
        monitor_seconds=seconds(settings.get("monitor")),
        on_failure=action if action in ("pause", "continue") else "rollback",  # type: ignore[arg-type]
    )


def why_not_beside(service: str, rendered: Rendered, running: Sequence[Container]) -> str:
    """Why two containers of a service cannot run side by side, as a sentence; nothing when they can."""
    model = rendered.services[service]
    if any(port.get("published") for port in model.get("ports") or ()):
        return "It has a fixed host port, which two containers cannot share."
    if model.get("container_name"):
        return "It has a fixed name, which two containers cannot share."
    if model.get("network_mode") == "host":
        return "It uses the host's network, where both would want the same ports."
    if str(model.get("network_mode") or "").startswith(("service:", "container:")):
        return "It uses another container's network, where both would want the same ports."
    addresses = {"ipv4_address", "ipv6_address", "mac_address"}
    if any(addresses & set(one or {}) for one in (model, *(model.get("networks") or {}).values())):
        return "It has a fixed address, which two containers cannot share."
    return why_not_one_by_one(service, rendered, running)


def why_not_one_by_one(service: str, rendered: Rendered, running: Sequence[Container]) -> str:
    """Why containers of a service cannot be replaced but by compose itself: it hands nameless volumes on,
    and follows those that share a container."""
    model = rendered.services[service]
    nameless = any(
        one.get("type") == "volume" and not one.get("source") for one in model.get("volumes") or ()
    )
    if nameless or any(one.anonymous_volumes for one in running):
        return "It keeps data in a nameless volume, which only its successor may mount."
    for other, its in rendered.services.items():
        if any(str(its.get(key) or "") == f"service:{service}" for key in NAMESPACES):
            return f"{other} shares its very container."
    return ""


def rolling_back(
    service: str, rendered: Rendered, running: Sequence[Container], count: int
) -> Rolling | None:
    """How `count` replicas of a service return by its `rollback_config`; None: all at once.

    `rendered` is the version that returns, `running` what runs of the service now.
    """
    model = rendered.services.get(service) or {}
    if not (model.get("deploy") or {}).get("rollback_config"):
        return None
    rolling = rolling_of(model, "rollback_config")
    alone = why_not_beside if rolling.is_start_first else why_not_one_by_one
    batches = -(-count // (rolling.parallelism or max(count, 1)))
    waits = batches * rolling.monitor_seconds + max(batches - 1, 0) * rolling.delay_seconds
    if alone(service, rendered, running) or waits > LONGEST_ROLLBACK_SECONDS:
        return None
    return rolling if rolling.is_start_first or batches > 1 else None


def is_rolled_in_batches(service: str, rendered: Rendered, running: Sequence[Container]) -> bool:
    """Replicas that go one after another, the old one of each first."""
    model = rendered.services[service]
    count = replicas(model)
    rolling = rolling_of(model)
    is_partial = count > 1 and len(running) > 1 and 0 < rolling.parallelism < count
    return is_partial and not why_not_one_by_one(service, rendered, running)


def notes(service: str, rendered: Rendered, running: Sequence[Container]) -> list[str]:
    """What a reader of the plan should know about the way a service is replaced."""
    model = rendered.services[service]
    rolling = rolling_of(model)
    found = []
    if (model.get("deploy") or {}).get("rollback_config") and not rolling_back(
        service, rendered, running, replicas(model)
    ):
        found.append(f"{service}: rollback_config asks for nothing that can be had; it returns at once.")
    if rolling.is_start_first and (why := why_not_beside(service, rendered, running)):
        found.append(f"{service} asks for start-first and is stopped first. {why}")
    if ((model.get("deploy") or {}).get("update_config") or {}).get("max_failure_ratio"):
        found.append(f"{service}: max_failure_ratio is taken as 0; every replica has to be well.")
    if rolling.on_failure == "pause":
        found.append(
            f"{service}: failure_action pause is taken as rollback; nothing is left between old and new."
        )
    if rolling.on_failure == "continue":
        found.append(
            f"{service}: failure_action continue replaces the others too; the audit judges at the end."
        )
    return found
