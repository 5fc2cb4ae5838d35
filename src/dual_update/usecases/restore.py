"""The way back: from whatever the engine shows to exactly what a snapshot says.

It reads the engine instead of trusting the journal, so it serves a failed step, an interrupt, a
killed deployer, a killed engine and a killed recovery alike; doing it twice does no harm.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dual_update.core.cluster import Container, Observed
from dual_update.core.errors import StepFailed
from dual_update.core.plan import Step
from dual_update.core.snapshot import Snapshot, can_be_retagged
from dual_update.usecases.audit import Expectation, audit
from dual_update.usecases.journaled import Run
from dual_update.usecases.prove import Proof, Wanted, check, prove
from dual_update.usecases.site import Site


@dataclass(frozen=True)
class Return:
    """Where to return to. `came` is the project the failed run brought up (its name may be another);
    `forced` are services that must be made anew even where they look right (a mounted file changed);
    `well_before` are the names of the checks that passed before."""

    snapshot: Snapshot
    came: str
    forced: frozenset[str] = frozenset()
    well_before: frozenset[str] = frozenset()


def go_back(site: Site, run: Run, way: Return) -> None:
    """Return, prove and audit. Raises StepFailed or WorldError when the old state cannot be had."""
    snapshot = way.snapshot
    steps = {
        "restore": ("checkout and files", lambda: _restore(site, snapshot)),
        "retag": ("images", lambda: retag(site, snapshot)),
        "return": ("services", lambda: _return(site, way)),
        "prove": ("cluster", lambda: _prove(site, way)),
        "audit": ("cluster", lambda: _audit(site, snapshot)),
        "tidy": ("networks", lambda: _tidy(site, way)),
    }
    for op, (target, act) in steps.items():
        run.do(Step(op, target, "the old state returns"), act)  # type: ignore[arg-type]


def retag(site: Site, snapshot: Snapshot, *, is_untouched: bool = False) -> None:
    """Point every reference back at the image that ran under it, from our own names if need be.

    `is_untouched`: no container has changed, so every name goes back to exactly what it named.
    """
    for reference, image_id in snapshot.tags.items():
        is_here = can_be_retagged(reference) and site.engine.image_id(image_id) is not None
        if is_here and site.engine.image_id(reference) != image_id:
            site.engine.tag(image_id, reference)
    if is_untouched:
        return
    for reference, image_id in snapshot.images.items():
        if not can_be_retagged(reference) or site.engine.image_id(reference) == image_id:
            continue
        if site.engine.image_id(image_id) is None:
            raise StepFailed(
                f"The image {image_id[7:19]} that ran as {reference} is not on this host any more."
            )
        site.engine.tag(image_id, reference)


def _restore(site: Site, snapshot: Snapshot) -> None:
    if snapshot.commit and site.checkout.head() != snapshot.commit:
        site.checkout.move(snapshot.commit)
    for path, content in site.disk.files(f"{snapshot.directory}/original").items():
        here = f"{site.checkout.path}/{path}"
        if site.disk.read(here) != content:
            site.disk.write(here, content)


def _return(site: Site, way: Return) -> None:
    snapshot = way.snapshot
    if way.came != snapshot.project:
        _remove_all(site, way.came)
    _clear_wreckage(site, snapshot)
    if snapshot.is_empty:
        return
    observed = site.engine.observe(snapshot.project)
    anew, started = _needs(snapshot, observed, way.forced)
    for service in anew:
        _carry_volumes(site, snapshot, service, observed.of(service))
    compose = site.compose(snapshot.project, snapshot.files)
    running = [s for s in anew if any(one.is_running for one in snapshot.of(s))]
    stopped = [s for s in anew if s not in running]
    if running:
        compose.up(running, force=True, scale=_counts(snapshot, running))
    if stopped:
        compose.up(stopped, force=True, start=False, scale=_counts(snapshot, stopped))
    if started:
        compose.up(started, scale=_counts(snapshot, started))


def _counts(snapshot: Snapshot, services: Sequence[str]) -> dict[str, int]:
    return {service: len(snapshot.of(service)) for service in services}


def _clear_wreckage(site: Site, snapshot: Snapshot) -> None:
    """Remove what did not exist before: new services, and half-made containers beside the old one."""
    observed = site.engine.observe(snapshot.project)
    for container in observed.containers:
        if container.is_oneoff or container.id in snapshot.ids:
            continue
        if container.service not in snapshot.services:
            site.engine.stop(container.id)
            site.engine.remove(container.id)
        elif container.state == "created" and _old_beside(observed, snapshot, container):
            site.engine.remove(container.id)


def _old_beside(observed: Observed, snapshot: Snapshot, new: Container) -> bool:
    return any(one.id in snapshot.ids for one in observed.of(new.service))


def _remove_all(site: Site, project: str) -> None:
    """Containers and networks of a project that did not exist before; never a volume."""
    observed = site.engine.observe(project)
    for container in observed.containers:
        site.engine.stop(container.id)
        site.engine.remove(container.id)
    for network in observed.networks:
        site.engine.remove_network(network)


def _needs(snapshot: Snapshot, observed: Observed, forced: frozenset[str]) -> tuple[list[str], list[str]]:
    """Services to make anew, and services whose own containers only have to be started."""
    anew, started = [], []
    for service in snapshot.services:
        kept, now = snapshot.of(service), observed.of(service)
        if {one.id for one in kept} != {one.id for one in now} or service in forced:
            anew.append(service)
        elif any(one.is_running for one in kept) and not all(one.is_running for one in now):
            started.append(service)
    return anew, started


def _carry_volumes(site: Site, snapshot: Snapshot, service: str, now: Sequence[Container]) -> None:
    """See to it that compose finds the nameless volumes of the old containers when it makes new ones.

    It hands on what the container mounts that it replaces. Where that one is gone or mounts others,
    a container that is never started stands in.
    """
    for kept in snapshot.of(service):
        if not kept.anonymous_volumes:
            continue
        mine = [one for one in now if one.number == kept.number]
        if any(_holds(one.anonymous_volumes, kept.anonymous_volumes) for one in mine):
            continue
        for one in mine:
            site.engine.stop(one.id)
            site.engine.remove(one.id)
        site.engine.carry(snapshot.project, service, kept.number, kept.image_id, kept.anonymous_volumes)


def _holds(now: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(now.get(path) == name for path, name in wanted.items())


def _prove(site: Site, way: Return) -> None:
    snapshot = way.snapshot
    if snapshot.is_empty:
        return
    counts = {
        service: sum(one.is_running for one in snapshot.of(service))
        for service in snapshot.services
        if any(one.is_running for one in snapshot.of(service))
    }
    checks = tuple(one for one in site.config.health.checks if one.name in way.well_before)
    proof: Proof = prove(site, Wanted(snapshot.project, counts, checks=checks))
    if not proof.is_good:
        raise StepFailed(f"The old version is not healthy either: {proof.reason}.")


def _audit(site: Site, snapshot: Snapshot) -> None:
    by_service = {service: snapshot.of(service) for service in snapshot.services}
    expected = Expectation(
        project=snapshot.project,
        counts={service: len(kept) for service, kept in by_service.items()},
        images={service: kept[0].image_id for service, kept in by_service.items()},
        hashes={service: kept[0].config_hash for service, kept in by_service.items() if kept[0].config_hash},
        stopped=frozenset(s for s, kept in by_service.items() if not any(one.is_running for one in kept)),
    )
    complaints = audit(site, expected)
    if complaints:
        raise StepFailed("After the rollback the engine shows something else: " + " ".join(complaints))


def _tidy(site: Site, way: Return) -> None:
    for project in {way.snapshot.project, way.came}:
        for network in site.engine.observe(project).networks:
            if network not in way.snapshot.networks:
                site.engine.remove_network(network)


def passing_checks(site: Site) -> frozenset[str]:
    """Names of the user's checks that pass right now: a rollback owes no more than these."""
    return frozenset(
        one.name for one in (check(site, one) for one in site.config.health.checks) if one.is_good
    )
