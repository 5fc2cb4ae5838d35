"""What failed is not tried again until it is something else: content is judged, not the commit that holds it.

Two names are kept. The first is over the model and over every file that the services mount or are built
from. The second adds what the registry has under each reference: asking for that costs a question each, so it
is asked only where the first name is known to have failed.
"""

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from dual_update.core.decision import fingerprint
from dual_update.core.errors import DualUpdateError
from dual_update.core.model import (
    ImageRef,
    Rendered,
    build_secrets,
    contexts,
    ignores_of,
    image_of,
    is_built,
    service_paths,
)
from dual_update.core.origin import is_built_here
from dual_update.usecases.ports import Tree
from dual_update.usecases.site import HostTree, Site
from dual_update.usecases.situation import Seen


def content(site: Site, seen: Seen) -> str:
    """Names what is wanted, images aside. A commit on top that changes none of it has the same name."""
    situation = seen.situation
    tree = HostTree(site.repository.tree(situation.decision.head), seen.host_files.get)
    files = {path: _digest(tree, path) for path in sorted(_read(site, situation.after, tree))}
    text = json.dumps([fingerprint(site.cluster, "", situation.after), files])
    return hashlib.sha256(text.encode()).hexdigest()


def with_images(name: str, images: Mapping[str, str]) -> str:
    """The content together with what its references name."""
    return hashlib.sha256(json.dumps([name, sorted(images.items())]).encode()).hexdigest()


def offered(site: Site, seen: Seen) -> dict[str, str]:
    """Service -> digest that its reference has in the registry now, else what is here under it."""
    references = _references(seen)
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda one: _in_registry(site, one) or _here(site, one), references.values())
    return dict(zip(references, found, strict=True))


def held(site: Site, seen: Seen) -> dict[str, str]:
    """Service -> digest of what its reference names on this host, right after it was pulled."""
    return {name: _here(site, reference) for name, reference in _references(seen).items()}


def refused_before(site: Site, seen: Seen) -> str | None:
    """Why exactly this is not tried again, or None."""
    name = content(site, seen)
    if site.store.quarantined(site.cluster, name) is None:
        return None
    return site.store.quarantined(site.cluster, with_images(name, offered(site, seen)))


def _references(seen: Seen) -> dict[str, str]:
    after = seen.situation.after
    return {
        name: image_of(after.name, name, after.services[name])
        for name in after.active
        if not is_built_here(after.services[name])
    }


def _in_registry(site: Site, reference: str) -> str | None:
    pinned = ImageRef.parse(reference).digest
    if pinned or site.registry is None:
        return pinned or None
    try:
        return site.registry.digest(reference)
    except DualUpdateError:
        return None


def _here(site: Site, reference: str) -> str:
    image_id = site.engine.image_id(reference)
    if image_id is None:
        return ""
    repository = ImageRef.parse(reference).repository
    digests = [one.rpartition("@") for one in site.engine.repo_digests(image_id)]
    return next((digest for name, _, digest in digests if name == repository), image_id)


def _read(site: Site, after: Rendered, tree: Tree) -> set[str]:
    """Files of the commit that active services mount, or are built from."""
    everything = tuple(tree.list())
    found: set[str] = set()
    for name in after.active:
        service = after.services[name]
        for path in service_paths(after, name):
            found.update(one for one in everything if path in ("", one) or one.startswith(f"{path}/"))
        if is_built(service):
            found.update(build_secrets(after, name))
            for context in contexts(service):
                found.update(site.sent_to_build(tree, context, ignores_of(service, context), everything))
    return found - after.composed


def _digest(tree: Tree, path: str) -> str:
    return hashlib.sha256(tree.read(path) or b"").hexdigest()
