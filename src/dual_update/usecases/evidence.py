"""What a plan rests on beyond commit and cluster: images as the registry has them, the host's own files."""

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from dual_update.core.errors import DualUpdateError
from dual_update.core.model import ImageRef, image_of, inside_repository
from dual_update.core.plan import Evidence, Plan
from dual_update.usecases.scene import is_reference
from dual_update.usecases.site import Site
from dual_update.usecases.situation import Seen


def evidence(site: Site, seen: Seen, plan: Plan, *, asks_registry: bool) -> Evidence:
    """Gather it for a plan. A registry that does not answer is no error here: then what is local counts.

    Without `asks_registry` the images are left out: nobody is going to compare this plan with another.
    """
    return Evidence(
        images=wanted_digests(site, seen, plan) if asks_registry else {},
        files=_host_files(site, seen),
        hashes=dict(seen.situation.hashes),
        host=site.engine.info().id,
    )


def wanted_digests(site: Site, seen: Seen, plan: Plan) -> dict[str, str]:
    """Reference -> digest in the registry, else the id of the local image, when the plan pulls anything."""
    after = seen.situation.after
    has_pull = any(step.op == "pull" for step in plan.steps)
    references = {image_of(after.name, s, after.services[s]) for s in after.active if has_pull}
    ordered = sorted(references)
    with ThreadPoolExecutor(8) as pool:
        return dict(zip(ordered, pool.map(lambda one: _digest(site, one), ordered), strict=True))


def _digest(site: Site, reference: str) -> str:
    pinned = ImageRef.parse(reference).digest
    if pinned:
        return pinned
    if site.registry is not None:
        try:
            found = site.registry.digest(reference)
        except DualUpdateError:
            found = None
        if found:
            return found
    return (site.engine.image_id(reference) if is_reference(reference) else None) or ""


def _host_files(site: Site, seen: Seen) -> dict[str, str]:
    """Digests of files that the host holds and git does not: those the model was made from (an ignored
    `.env`), and those that configs, secrets and mounts name."""
    after = seen.situation.after
    sources = [str(volume.get("source") or "") for one in after.services.values() for volume in
               one.get("volumes") or () if volume.get("type") == "bind"]  # fmt: skip
    sources += [
        str((one or {}).get("file") or "")
        for resources in (after.configs, after.secrets)
        for one in resources.values()
    ]
    paths = sorted({path for path in map(inside_repository, sources) if path})
    contents: Mapping[str, bytes] = {**site.checkout.untracked(paths), **seen.host_files}
    return {path: hashlib.sha256(content).hexdigest() for path, content in contents.items()}
