"""Nothing is touched before everything is proven. Each check names a fault in one sentence."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from dual_update.core.errors import NotNow, Refused
from dual_update.core.model import Rendered, image_of, inside_repository, is_built, replicas
from dual_update.core.strategies import Situation
from dual_update.usecases.site import Site

LEAST_FREE_BYTES = 200 * 1024 * 1024
"""Space that has to be left on the engine's disk before an update begins."""

Check = Callable[[Site, Situation], Iterator[str]]


def refuse_dirty(site: Site, situation: Situation) -> None:
    """Raise NotNow that names local edits which moving the checkout would overwrite or mix up."""
    paths = site.checkout.dirty(situation.decision.head)
    if paths:
        shown = ", ".join(paths[:10]) + (f" and {len(paths) - 10} more" if len(paths) > 10 else "")
        raise NotNow(
            f"The checkout {site.checkout.path} has local edits: {shown}.",
            hint="Commit or remove them; local work is never overwritten.",
        )


def check_before_pull(site: Site, situation: Situation) -> None:
    """Raise Refused with every fault that can be seen without fetching anything."""
    _raise([fault for check in _CHEAP for fault in check(site, situation)])


def check_after_pull(site: Site, situation: Situation, services: Sequence[str]) -> Mapping[str, str]:
    """Image id that each of these services will run. Raises Refused for what is not here or cannot run."""
    found: dict[str, str] = {}
    faults: list[str] = []
    architecture = ""
    for service in services:
        reference = image_of(situation.after.name, service, situation.after.services[service])
        image = site.engine.image_id(reference)
        if image is None:
            made = "built" if is_built(situation.after.services[service]) else "pulled"
            faults.append(f"{service}: the image {reference} is not here though it was {made}.")
            continue
        found[service] = image
        if not situation.after.services[service].get("platform"):
            architecture = architecture or site.engine.info().architecture
            platform = site.engine.image_platform(image)
            if not _fits(platform, architecture):
                faults.append(
                    f"{service}: the image {reference} is for {platform}, this engine is {architecture}."
                )
    _raise(faults)
    return found


def _raise(faults: Sequence[str]) -> None:
    if faults:
        raise Refused("\n".join(faults), hint="Nothing was touched. Mend this and try again.")


_ALIASES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


def _fits(platform: str, architecture: str) -> bool:
    """Does an image's `os/architecture` run on the engine. An image that does not say is believed."""
    _, _, wanted = platform.partition("/")
    return not wanted or wanted.split("/")[0] == _ALIASES.get(architecture, architecture)


def _missing_env_files(_: Site, situation: Situation) -> Iterator[str]:
    for path in situation.after.conditional:
        yield f"{path} is named by the compose files and is neither in git nor on this host."


def _missing_mounts(site: Site, situation: Situation) -> Iterator[str]:
    """Files that containers are made from: configs, secrets, and binds that compose would not create."""
    wanted = {*site.repository.tree(situation.decision.head).list()}
    after = situation.after
    for service in after.active:
        for what, source in _sources(after, service):
            inside = inside_repository(source)
            if inside is None:
                if not source.startswith("/outside/") and not site.disk.exists(source):
                    yield f"{service}: {what} {source} does not exist on this host."
            elif not _in_tree(inside, wanted) and not site.disk.exists(f"{site.checkout.path}/{inside}"):
                yield f"{service}: {what} {inside} is neither in the commit nor on this host."


def _sources(rendered: Rendered, service: str) -> Iterator[tuple[str, str]]:
    model = rendered.services[service]
    for volume in model.get("volumes") or ():
        is_made = (volume.get("bind") or {}).get("create_host_path", False)
        if volume.get("type") == "bind" and not is_made and volume.get("source"):
            yield "the mounted path", str(volume["source"])
    for kind, resources in (("config", rendered.configs), ("secret", rendered.secrets)):
        for use in model.get(f"{kind}s") or ():
            resource = resources.get(str(use.get("source"))) or {}
            if resource.get("file"):
                yield f"the {kind}", str(resource["file"])


def _in_tree(path: str, tree: set[str]) -> bool:
    return path == "" or path in tree or any(one.startswith(f"{path}/") for one in tree)


def _external_resources(site: Site, situation: Situation) -> Iterator[str]:
    for kind, here in (("network", site.engine.networks()), ("volume", site.engine.volumes())):
        resources: Mapping[str, Mapping[str, object]] = getattr(situation.after, f"{kind}s")
        for key, resource in resources.items():
            if resource.get("external") and str(resource.get("name") or key) not in here:
                name = resource.get("name") or key
                yield f"The external {kind} {name} does not exist: `docker {kind} create {name}` makes it."


def _taken_ports(site: Site, situation: Situation) -> Iterator[str]:
    """Host ports that someone else's container publishes already."""
    ours = {c.id for c in situation.observed.containers}
    if situation.old_project is not None:
        ours |= {c.id for c in situation.old_project.containers}
    taken = {port: owner for port, owner in site.engine.used_ports().items() if owner not in ours}
    for service in situation.after.active:
        for port in situation.after.services[service].get("ports") or ():
            published = str(port.get("published") or "")
            if not published.isdigit():
                continue
            protocol = port.get("protocol", "tcp")
            for address, owner in taken.items():
                if _collides(address, str(port.get("host_ip") or "0.0.0.0"), published, protocol):  # noqa: S104
                    yield f"{service}: host port {published}/{protocol} is taken by container {owner[:12]}."
                    break


def _collides(taken: str, host_ip: str, published: str, protocol: str) -> bool:
    address, _, rest = taken.rpartition(":")
    everywhere = {"0.0.0.0", "::", "[::]", ""}  # noqa: S104
    return rest == f"{published}/{protocol}" and (
        address == host_ip or address in everywhere or host_ip in everywhere
    )


def _impossible_replicas(_: Site, situation: Situation) -> Iterator[str]:
    for service in situation.after.active:
        model = situation.after.services[service]
        count = replicas(model)
        fixed = any("-" not in str(p.get("published") or "-") for p in model.get("ports") or ())
        if count > 1 and (model.get("container_name") or fixed):
            yield f"{service}: {count} containers cannot share one fixed name or host port."


def _disk_space(site: Site, _: Situation) -> Iterator[str]:
    root = site.engine.info().root_directory
    if root and site.disk.exists(root):
        free = site.disk.free_bytes(root)
        if free < LEAST_FREE_BYTES:
            least = LEAST_FREE_BYTES // 2**20
            yield f"Only {free // 2**20} MiB are free below {root}; at least {least} MiB are needed."


_CHEAP: tuple[Check, ...] = (
    _missing_env_files,
    _missing_mounts,
    _external_resources,
    _taken_ports,
    _impossible_replicas,
    _disk_space,
)
