"""Reads the engine again and says what is not as wanted. Nothing else may say "succeeded"."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dual_update.core.cluster import Container
from dual_update.usecases.site import Site


@dataclass(frozen=True)
class Expectation:
    """What the engine has to show. Values that cannot be known are left out, never guessed.

    `counts`: containers of each service; `images`: image id of each service; `hashes`: config hash of
    each service; `untouched`: service -> (container id, started at) of what must not have moved.
    """

    project: str
    counts: Mapping[str, int]
    images: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    untouched: Mapping[str, frozenset[tuple[str, str]]] = field(default_factory=dict)
    jobs: frozenset[str] = frozenset()
    stopped: frozenset[str] = frozenset()


def audit(site: Site, expected: Expectation) -> tuple[str, ...]:
    """Complaints, one sentence each; none means that the engine shows what was wanted."""
    observed = site.engine.observe(expected.project)
    complaints = []
    for service, count in expected.counts.items():
        containers = observed.of(service)
        if len(containers) != count:
            complaints.append(f"{service} has {len(containers)} containers, {count} are wanted.")
        for container in containers:
            complaints += _container(container, expected)
        known = expected.untouched.get(service)
        if known is not None and {(c.id, c.started_at) for c in containers} != known:
            complaints.append(f"{service} was restarted, and nothing asked for that.")
    for service in observed.services:
        if service not in expected.counts:
            complaints.append(f"{service} still has containers, and nobody wants them.")
    return tuple(complaints)


def _container(container: Container, expected: Expectation) -> list[str]:
    found = []
    service = container.service
    ended_well = container.state == "exited" and container.exit_code == 0 and service in expected.jobs
    if not container.is_running and not ended_well and service not in expected.stopped:
        found.append(f"{container.name} is {container.state}.")
    if container.health == "unhealthy":
        found.append(f"{container.name} is unhealthy.")
    image = expected.images.get(service)
    if image is not None and container.image_id != image:
        found.append(f"{container.name} runs image {container.image_id[7:19]}, not {image[7:19]}.")
    config = expected.hashes.get(service)
    if config is not None and container.config_hash != config:
        found.append(f"{container.name} was made from another configuration than the wanted one.")
    return found
