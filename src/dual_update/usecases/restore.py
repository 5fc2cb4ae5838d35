"""The way back: from whatever the engine shows to exactly what a snapshot says.

It reads the engine instead of trusting the journal, so it serves a failed step, an interrupt, a
killed deployer, a killed engine and a killed recovery alike; doing it twice does no harm.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from dual_update.core.cluster import Container, Observed
from dual_update.core.decision import tied_to
from dual_update.core.errors import StepFailed, WorldError
from dual_update.core.hooks import Begun
from dual_update.core.model import Rendered, has_hash_of_its_own
from dual_update.core.plan import Op, Step
from dual_update.core.running import patience
from dual_update.core.shape import Shape, bound_files, shape_of
from dual_update.core.snapshot import Snapshot, can_be_retagged, keep_reference
from dual_update.usecases.audit import Expectation, audit, was_restarted, wrong_files
from dual_update.usecases.batches import return_in_batches
from dual_update.usecases.commands import can_run, undo_commands
from dual_update.usecases.journaled import FAILED, FINISHED, STARTED, Run
from dual_update.usecases.prove import Proof, Wanted, check, prove
from dual_update.usecases.site import Site


@dataclass(frozen=True)
class Return:
    """Where to return to. `came` is the project the failed run brought up (its name may be another);
    `well_before` are the names of the checks that passed before; `commands` of the owner were begun, in this
    order."""

    snapshot: Snapshot
    came: str
    well_before: frozenset[str] = frozenset()
    commands: tuple[Begun, ...] = ()


STOPPING: frozenset[Op] = frozenset(
    {"retire", "remove", "roll", "beside", "recreate", "scale", "heal", "revamp", "return"}
)
"""Steps that ask the engine to stop containers."""

STAND_IN = "stand-in.json"
"""In a backup: references whose name is lost for good, replaced by our own names."""


def go_back(site: Site, run: Run, way: Return) -> None:
    """Return, prove and audit. Raises StepFailed or WorldError when the old state cannot be had.

    The engine may still be finishing what a dead process asked of it, so an audit that finds something
    else is answered by one more return.
    """
    snapshot = way.snapshot

    def do(op: Op, target: str, act: Callable[[], None]) -> None:
        run.do(Step(op, target, "the old state returns"), act)

    # The newest first: a command in a container that came has to be taken back while that one still runs.
    late = [c for c in way.commands if c.is_late and can_run(site, way.came, c.command)]
    left = undo_commands(site, run, way.came, late)
    do("restore", "checkout and files", lambda: _restore(site, snapshot))
    do("retag", "images", lambda: retag(site, snapshot))
    for is_last in (False, True):
        try:
            do("return", "services", partial(_return, site, run, way, in_batches=not is_last))
            do("prove", "cluster", lambda: _prove(site, way))
            do("audit", "cluster", lambda: _audit(site, run, way))
            break
        except (StepFailed, WorldError) as error:
            if is_last or isinstance(error, _NotWell):
                raise
            site.say(f"once more: {error.message}")
    rest = [c for c in way.commands if c not in late]
    left += undo_commands(site, run, snapshot.project, rest)
    do("tidy", "networks", lambda: _tidy(site, way))
    if left:
        raise StepFailed(" ".join(left))


class _NotWell(StepFailed):
    """Waiting for the old version took its whole deadline; doing it again would not help."""


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


def _return(site: Site, run: Run, way: Return, *, in_batches: bool) -> None:
    snapshot = way.snapshot
    if way.came != snapshot.project:
        _remove_all(site, way.came)
    _clear_wreckage(site, snapshot)
    if snapshot.is_empty:
        return
    observed = site.engine.observe(snapshot.project)
    for container in _dying(site, run, snapshot, observed):
        site.engine.stop(container.id)  # waits for the end that it is heading for anyway
    for container in _stale(site, snapshot):
        site.engine.stop(container.id)  # its next start mounts the files that are back
    observed = site.engine.observe(snapshot.project)
    old = _model(site, snapshot)
    anew, started = _needs(snapshot, observed, old)
    if in_batches and old is not None:
        compose = site.compose(snapshot.project, snapshot.files)
        own = [s for s in anew if s not in _without_a_name(site, snapshot)]
        anew = [s for s in anew if s not in own or not return_in_batches(site, snapshot, old, s, compose)]
    for service in anew:
        _carry_volumes(site, snapshot, service, observed.of(service))
    nameless = _without_a_name(site, snapshot)
    files = (*snapshot.files, *_stand_in(site, snapshot, nameless & set(anew)))
    compose = site.compose(snapshot.project, files)
    running = [s for s in anew if any(one.is_running for one in snapshot.of(s))]
    stopped = [s for s in anew if s not in running]
    if running:
        compose.up(running, force=True, scale=_counts(snapshot, running))
    if stopped:
        compose.up(stopped, force=True, start=False, scale=_counts(snapshot, stopped))
    named = [s for s in started if s not in nameless]
    if named:
        compose.up(named, scale=_counts(snapshot, named))
    ran = {one.id for one in snapshot.containers if one.is_running}
    mine = (one for service in nameless & set(started) for one in observed.of(service) if one.id in ran)
    for container in (*mine, *_given_up(site, snapshot)):
        site.engine.start(container.id)


def _dying(site: Site, run: Run, snapshot: Snapshot, observed: Observed) -> Iterator[Container]:
    """Old containers that still run, and that the engine may be stopping for a process that is gone.

    A stop goes on in the engine though nobody waits for it any more: what looks untouched now would be
    down some seconds later.
    """
    cut: dict[tuple[str, str], str] = {}
    for entry in site.store.journal(run.id)[:-1]:  # without the return that is under way
        key = (entry.op, entry.target)
        if entry.phase == STARTED and entry.op in STOPPING:
            cut.setdefault(key, entry.at)
        elif entry.phase == FINISHED or (entry.phase == FAILED and not _was_cut_off(entry.detail)):
            cut.pop(key, None)
    if not cut:
        return
    told = site.engine.told_to_stop(min(cut.values()))
    targets = {target for _, target in cut}
    is_anyone = not targets <= set(snapshot.services)
    for container in observed.containers:
        if not container.is_running or container.id not in snapshot.ids:
            continue
        is_suspect = is_anyone or container.service in targets
        if container.id in told if told is not None else is_suspect:
            yield container


def _stale(site: Site, snapshot: Snapshot) -> Iterator[Container]:
    """Old containers that were started again meanwhile (by the engine, by a hand), and so have mounted files
    that were there only for the failed version. Git puts new files in place: these would never follow."""
    shapes = _shapes(site, snapshot)
    for container in site.engine.observe(snapshot.project).containers:
        if not (container.is_running and was_restarted(container, snapshot.started)):
            continue
        shape = shapes.get(container.service)
        if shape and any(wrong_files(site, container, bound_files(shape))):
            yield container


def _given_up(site: Site, snapshot: Snapshot) -> Iterator[Container]:
    """Containers that nobody starts, of services that the engine started again and again: they crashed, and
    may have been waiting for something that comes."""
    for container in site.engine.observe(snapshot.project).containers:
        was_tried = any(one.is_restarting for one in snapshot.of(container.service))
        if was_tried and not container.is_oneoff and container.state in {"created", "exited"}:
            yield container


def _was_cut_off(detail: str) -> bool:
    return detail == "KeyboardInterrupt" or "did not end within" in detail


def _without_a_name(site: Site, snapshot: Snapshot) -> frozenset[str]:
    """Services whose reference the engine does not know any more, and which no tag can give back."""
    return frozenset(
        one.service for one in snapshot.containers if site.engine.image_id(one.image_ref) != one.image_id
    )


def _stand_in(site: Site, snapshot: Snapshot, services: frozenset[str] | set[str]) -> tuple[str, ...]:
    """A compose file that names the kept images of these services by our own names."""
    if not services:
        return ()
    images = {}
    for service in sorted(services):
        image_id = snapshot.of(service)[0].image_id
        reference = keep_reference(snapshot.project, image_id)
        if site.engine.image_id(reference) is None:
            if site.engine.image_id(image_id) is None:
                raise StepFailed(
                    f"The image {image_id[7:19]} that {service} ran is not on this host any more."
                )
            site.engine.tag(image_id, reference)
        images[service] = {"image": reference}
        site.say(f"{service}: its reference is lost here; the same image returns as {reference}")
    path = f"{snapshot.directory}/{STAND_IN}"
    site.disk.write(path, json.dumps({"services": images}).encode())
    return (path,)


def _counts(snapshot: Snapshot, services: Sequence[str]) -> dict[str, int]:
    return {service: len(snapshot.of(service)) for service in services}


def _clear_wreckage(site: Site, snapshot: Snapshot) -> None:
    """Remove what did not exist before: new services, and half-made containers beside the old one."""
    for container in site.engine.observe(snapshot.project).containers:
        if container.state in {"dead", "removing"}:  # the engine died while it removed it: it never starts
            site.engine.remove(container.id)
    observed = site.engine.observe(snapshot.project)
    for container in observed.containers:
        if container.is_oneoff or container.id in snapshot.ids:
            continue
        if container.service not in snapshot.services or _are_all_there(
            observed, snapshot, container.service
        ):
            site.engine.stop(container.id)
            site.engine.remove(container.id)
        elif container.state == "created" and _old_beside(observed, snapshot, container):
            site.engine.remove(container.id)


def _are_all_there(observed: Observed, snapshot: Snapshot, service: str) -> bool:
    """Every old container is still here: new ones beside them go, and the old ones need not even stop."""
    return {one.id for one in snapshot.of(service)} <= {one.id for one in observed.of(service)}


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


def _needs(snapshot: Snapshot, observed: Observed, old: Rendered | None) -> tuple[list[str], list[str]]:
    """Services to make anew, and services whose own containers only have to be started.

    Who shares a container's namespaces or volumes cannot stay with one that is gone, so it is made anew, too.
    """
    anew, started = [], []
    for service in snapshot.services:
        kept, now = snapshot.of(service), observed.of(service)
        if {one.id for one in kept} != {one.id for one in now}:
            anew.append(service)
        elif any(one.is_running for one in kept) and not all(one.is_running for one in now):
            started.append(service)
    tied = tied_to([*anew, *started], old) if old is not None else frozenset()
    anew += [service for service in snapshot.services if service in tied and service not in anew]
    return anew, [service for service in started if service not in anew]


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
    old = _model(site, snapshot)
    wanted = Wanted(snapshot.project, counts, checks=checks, patience=patience(old) if old else {})
    proof: Proof = prove(site, wanted, 0.0)
    if not proof.is_good:
        raise _NotWell(f"The old version is not healthy either: {proof.reason}.")


def _audit(site: Site, run: Run, way: Return) -> None:
    snapshot = way.snapshot
    renamed = _renamed(site, snapshot)
    if renamed:
        site.store.amend(run.id, {"stand_ins": renamed})
    by_service = {service: snapshot.of(service) for service in snapshot.services}
    old = _model(site, snapshot)
    joining = {s for s, one in old.services.items() if not has_hash_of_its_own(one)} if old else frozenset()
    expected = Expectation(
        project=snapshot.project,
        counts={service: len(kept) for service, kept in by_service.items()},
        images={service: kept[0].image_id for service, kept in by_service.items()},
        hashes={
            service: kept[0].config_hash
            for service, kept in by_service.items()
            if kept[0].config_hash and service not in renamed and service not in joining
        },
        mounts={
            service: {one.number: one.mounts for one in kept if one.mounts}
            for service, kept in by_service.items()
        },
        aliases={
            service: {n: frozenset(names) - {kept[0].name} for n, names in kept[0].aliases.items()}
            for service, kept in by_service.items()
            if kept[0].aliases
        },
        shapes={s: one for s, one in _shapes(site, snapshot).items() if s not in renamed},
        as_before=snapshot.started,
        checks=tuple(one for one in site.config.health.checks if one.name in way.well_before),
        commit=snapshot.commit or "",
        stopped=frozenset(s for s, kept in by_service.items() if not any(one.is_running for one in kept)),
    )
    complaints = audit(site, expected)
    if complaints:
        raise StepFailed(
            "After the rollback the engine shows something else: " + " ".join(map(str, complaints))
        )


def _renamed(site: Site, snapshot: Snapshot) -> dict[str, str]:
    """Services that run the old image under our own name, with the configuration hash that this gives."""
    return {
        one.service: one.config_hash
        for one in site.engine.observe(snapshot.project).containers
        if one.service in snapshot.services
        and one.image_ref == keep_reference(snapshot.project, one.image_id)
        and one.config_hash != snapshot.of(one.service)[0].config_hash
    }


def _shapes(site: Site, snapshot: Snapshot) -> dict[str, Shape]:
    """What remade containers must look like, by the model that lies in the backup. A backup from before it
    held one, or one that is damaged, has none: then hashes and images speak alone."""
    rendered = _model(site, snapshot)
    if rendered is None:
        return {}
    return {
        service: replace(
            shape_of(rendered, service, site.checkout.path), reference=snapshot.of(service)[0].image_ref
        )
        for service in snapshot.services
        if service in rendered.services
    }


def _model(site: Site, snapshot: Snapshot) -> Rendered | None:
    """The old model, as it lies in the backup."""
    content = site.disk.read(f"{snapshot.directory}/docker-compose.yml") if snapshot.directory else None
    try:
        model = json.loads(content or b"null")
    except ValueError:
        return None
    if not isinstance(model, dict):
        return None
    kinds: dict[str, Any] = {
        k: model.get(k) or {} for k in ("services", "networks", "volumes", "configs", "secrets")
    }
    return Rendered(snapshot.project, **kinds)


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
