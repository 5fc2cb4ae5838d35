"""Which content a cluster runs, in words that a registry knows."""

from collections.abc import Mapping

from dual_update.usecases.ports import Engine


def running_digests(engine: Engine, project: str) -> Mapping[str, frozenset[str]]:
    """Digests by which the image of each running service is known. Of a service whose containers run
    different images only those are told that all share: while one of them is old, the service is."""
    observed = engine.observe(project)
    found: dict[str, frozenset[str]] = {}
    for service in observed.services:
        for container in observed.of(service):
            names = engine.repo_digests(container.image_id)
            digests = frozenset(name.rpartition("@")[2] for name in names)
            found[service] = found.get(service, digests) & digests
    return found
