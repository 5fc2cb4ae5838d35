"""The one room that every strategy and every way back end in. Nothing else may say "succeeded".

It waits through the settle time, in which nothing may restart, be replaced or turn unhealthy, and then
reads the engine again: image ids against the plan, against the references and against the registry's
digests; configuration hashes; networks, names, mounts, ports and variables of containers; the content of
mounted configs, secrets and files as the containers see it; services that need each other; leftovers.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from dual_update.core.cluster import Container, Observed
from dual_update.core.config import Check
from dual_update.core.errors import WorldError
from dual_update.core.shape import MountedFile, Shape, bound_files, misfits
from dual_update.usecases.prove import Wanted, prove
from dual_update.usecases.site import Site


@dataclass(frozen=True)
class Expectation:
    """What the engine has to show. Values that cannot be known are left out, never guessed.

    `counts`: containers of each service; `images`: image id of each service; `hashes`: config hash of
    each service; `untouched`: service -> (container id, started at) of what must not have moved.
    `shapes`: what the containers of a service must look like; `digests`: what the registry named the
    image when it was pulled; `mounts`: service -> number -> path -> source, as they were before.
    `checks` have to pass; `commit` is where the checkout must stand. `as_before`: containers
    that were there before -> when they were started; they are not measured by a shape, whatever they looked
    like, but one that was started again since must have the wanted files of the host. `left_alone` are
    services that a person runs beside the wanted ones.
    """

    project: str
    counts: Mapping[str, int]
    images: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    untouched: Mapping[str, frozenset[tuple[str, str]]] = field(default_factory=dict)
    jobs: frozenset[str] = frozenset()
    stopped: frozenset[str] = frozenset()
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[str, Mapping[int, Mapping[str, str]]] = field(default_factory=dict)
    aliases: Mapping[str, Mapping[str, frozenset[str]]] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    commit: str = ""
    as_before: Mapping[str, str] = field(default_factory=dict)
    left_alone: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Complaint:
    """One thing that is not as wanted. `service` is empty where it is nobody's alone."""

    service: str
    says: str

    def __str__(self) -> str:
        return self.says


def audit(site: Site, expected: Expectation, settle_seconds: float | None = None) -> tuple[Complaint, ...]:
    """Complaints, one sentence each; none means that the engine shows what was wanted, and went on showing
    it for the settle time. Once something is wrong for certain it does not wait any longer."""
    early = [*compare(site, expected)]
    if early and not _may_pass(early):
        return tuple(early)
    counts = {
        service: count
        for service, count in expected.counts.items()
        if service not in expected.stopped and count > 0
    }
    links = {s: shape.links for s, shape in expected.shapes.items() if s in counts}
    wanted = Wanted(expected.project, counts, expected.jobs, expected.checks, links)
    proof = prove(site, wanted, settle_seconds)
    failures = () if proof.is_good else proof.failures
    soaked = [Complaint(one.service, f"{one.name}: {one.detail}.") for one in failures]
    return (*soaked, *compare(site, expected))


def _may_pass(complaints: Sequence[Complaint]) -> bool:
    """Is waiting worth it: everything that is wrong is a container on its way (starting, restarting)."""
    return all(" is restarting." in one.says or " is created." in one.says for one in complaints)


def compare(site: Site, expected: Expectation) -> Iterator[Complaint]:
    """One look at everything but health over time."""
    observed = site.engine.observe(expected.project)
    if expected.commit and site.checkout.head() != expected.commit:
        yield Complaint("", f"The checkout does not stand at {expected.commit[:12]}.")
    for service, count in expected.counts.items():
        containers = observed.of(service)
        if len(containers) != count:
            yield Complaint(service, f"{service} has {len(containers)} containers, {count} are wanted.")
        if len({one.number for one in containers}) != len(containers):
            yield Complaint(service, f"{service} has two containers of one number.")
        for container in containers:
            for says in _container(container, expected):
                yield Complaint(service, says)
        yield from _image(site, service, containers, expected)
        yield from _untouched(observed, service, expected)
        if service in expected.shapes:
            for container in containers:
                for says in _looks(site, container, expected.shapes[service], expected.as_before):
                    yield Complaint(service, says)
                for says in _left_behind(observed, container, expected.shapes[service], expected.as_before):
                    yield Complaint(service, says)
    for service in observed.services:
        if service not in expected.counts and service not in expected.left_alone:
            yield Complaint(service, f"{service} still has containers, and nobody wants them.")


def _untouched(observed: Observed, service: str, expected: Expectation) -> Iterator[Complaint]:
    containers = observed.of(service)
    known = expected.untouched.get(service)
    if known is not None and {(c.id, c.started_at) for c in containers} != known:
        yield Complaint(service, f"{service} was restarted, and nothing asked for that.")
    names = expected.aliases.get(service)
    if names is not None:
        for container in containers:
            lost = [
                network for network, wanted in names.items()
                if not wanted <= set(container.aliases.get(network, ()))
            ]  # fmt: skip
            if lost and container.is_running:
                yield Complaint(service, f"{container.name} lost its names on {', '.join(sorted(lost))}.")


def _container(container: Container, expected: Expectation) -> list[str]:
    found = []
    service = container.service
    ended_well = container.state == "exited" and container.exit_code == 0 and service in expected.jobs
    if not container.is_running and not ended_well and service not in expected.stopped:
        found.append(f"{container.name} is {container.state}.")
    if container.health == "unhealthy" and container.is_running and service not in expected.stopped:
        found.append(f"{container.name} is unhealthy.")
    image = expected.images.get(service)
    if image is not None and container.image_id != image:
        found.append(f"{container.name} runs image {container.image_id[7:19]}, not {image[7:19]}.")
    config = expected.hashes.get(service)
    if config is not None and container.config_hash != config:
        found.append(f"{container.name} was made from another configuration than the wanted one.")
    mounts = expected.mounts.get(service, {}).get(container.number)
    if mounts is not None:
        other = sorted(path for path, source in mounts.items() if container.mounts.get(path) != source)
        if other:
            found.append(f"{container.name} does not mount what it mounted before at {', '.join(other)}.")
    return found


def _image(
    site: Site, service: str, containers: Sequence[Container], expected: Expectation
) -> Iterator[Complaint]:
    """The image against its reference and against the digest that the registry gave for it."""
    shape, image = expected.shapes.get(service), expected.images.get(service)
    if shape is not None and image is not None and site.engine.image_id(shape.reference) != image:
        yield Complaint(
            service, f"{service}: {shape.reference} names another image than the wanted one here."
        )
    digest = expected.digests.get(service)
    for image_id in sorted({one.image_id for one in containers}) if digest else ():
        known = [name.rpartition("@")[2] for name in site.engine.repo_digests(image_id)]
        if digest not in known:
            yield Complaint(
                service, f"{service} runs an image that is not what the registry has ({str(digest)[7:19]})."
            )


def _looks(site: Site, container: Container, shape: Shape, as_before: Mapping[str, str]) -> Iterator[str]:
    if not container.is_running:
        return
    if container.id not in as_before:
        yield from misfits(container, site.engine.details(container.id), shape)
        yield from wrong_files(site, container, shape.files)
    elif was_restarted(container, as_before):
        yield from wrong_files(site, container, bound_files(shape))


def _left_behind(
    observed: Observed, container: Container, shape: Shape, as_before: Mapping[str, str]
) -> Iterator[str]:
    """Namespaces are made anew when the service that owns them is started: who joined before has the old."""
    for service in shape.joins:
        for owner in observed.of(service):
            is_as_before = as_before.get(owner.id) == owner.started_at
            if container.is_running and not is_as_before and began(container) < began(owner):
                yield f"{container.name} lives in namespaces that {owner.name} had before its last start."


def began(container: Container) -> datetime:
    """When it was started. The engine gives nine digits, and leaves out zeros at their end."""
    return datetime.fromisoformat(container.started_at)


def was_restarted(container: Container, since: Mapping[str, str]) -> bool:
    """Was it there already (id -> when it was started), and was it started once more?"""
    before = since.get(container.id, "")
    return before not in ("", container.started_at)


def wrong_files(site: Site, container: Container, files: Iterable[MountedFile]) -> Iterator[str]:
    """Sentences about mounted files that the container sees otherwise than wanted."""
    return filter(None, (wrong_file(site, container, file) for file in files))


def wrong_file(site: Site, container: Container, file: MountedFile) -> str:
    """What is wrong with a mounted file as the container sees it, or nothing. Content is never said."""
    wanted = file.content
    if wanted is None and file.host_path:
        if site.disk.is_directory(file.host_path):
            return ""
        wanted = site.disk.read(file.host_path)
        if wanted is None:  # the engine lies elsewhere, or it is no plain file
            return ""
    try:
        seen = site.engine.read_file(container.id, file.target)
    except WorldError:  # too large, or gone: then another complaint says so
        return ""
    if seen is None:
        return f"{container.name} has no {file.what} at {file.target}."
    if wanted is not None and seen != wanted:
        return f"{container.name} sees another content than the wanted one of {file.what}."
    return ""


def verified(complaints: Sequence[Complaint], services: Sequence[str]) -> frozenset[str]:
    """Services about which nobody complains."""
    if any(not one.service for one in complaints):
        return frozenset()
    return frozenset(services) - {one.service for one in complaints}
