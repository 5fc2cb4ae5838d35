"""Is a pulled image the one that the wanted commit asks for: asked of those that a build elsewhere pushes.

A label says of which commit an image is; where it has none, all that can be seen is whether the image moved
(contract.md, "Code and the image that CI builds from it"). Nothing is touched before this is known.
"""

from collections.abc import Mapping, Sequence

from dual_update.core.errors import DualUpdateError, Refused, UsageError
from dual_update.core.model import ImageRef, contexts, dockerfile, image_of, inside_repository
from dual_update.core.origin import REVISION, builders, could_name_commit, names_commit
from dual_update.core.plan import listed
from dual_update.core.situation import Situation
from dual_update.core.watchtower import quoted
from dual_update.usecases.freshness import running_digests
from dual_update.usecases.ports import FileChange
from dual_update.usecases.site import Site
from dual_update.usecases.situation import compared

TO_DO = "Try again when the build of {} has pushed it; with `pull_policy: build` it is built on this host."
TO_DO_WHEN_PINNED = "Its digest is fixed in the compose file: write that of the build of {} there."


def check_revisions(site: Site, situation: Situation, images: Mapping[str, str]) -> None:
    """Raise Refused for every reference whose image was built from other code than is wanted.

    `images`: service -> id of the image that it will run. Asked of services whose code changed, of new ones,
    and of those whose running image was built here; else an image may be as old as it likes.
    """
    decision, after = situation.decision, situation.after
    sharing: dict[str, list[str]] = {}
    for service in sorted(images):
        sharing.setdefault(image_of(after.name, service, after.services[service]), []).append(service)
    new = decision.needing("create")
    faults = []
    for reference, services in sorted(sharing.items()):
        made_by = builders(after, reference)
        has_changed = bool(decision.built_anew.intersection({*services, *made_by}))
        if not made_by:
            continue
        is_new = any(s in new or _was_built_here(site, situation, s, reference) for s in services)
        if not (has_changed or is_new):
            continue
        image = images[services[0]]
        label = site.engine.image_labels(image).get(REVISION, "").strip()
        if label:
            why = next((why for one in made_by if (why := _other_code(site, situation, one, label))), "")
        else:
            why = _unmoved(situation, services, image) if has_changed else ""
        if why:
            to_do = TO_DO_WHEN_PINNED if ImageRef.parse(reference).is_pinned else TO_DO
            faults.append(f"{listed(services)}: {reference} {why} {to_do.format(decision.head[:12])}")
    if faults:
        raise Refused("\n".join(faults), hint="Nothing was touched.")


def _was_built_here(site: Site, situation: Situation, service: str, reference: str) -> bool:
    """Does a service run an image that did not come from the registry of its reference."""
    ran = situation.old_project or situation.observed
    return bool(ran.of(service)) and not running_digests(site.engine, ran, service, reference)


def _unmoved(situation: Situation, services: Sequence[str], image: str) -> str:
    """The fault of an image without a label that ran before the code changed; empty where it is another."""
    ran = situation.old_project or situation.observed
    if image not in {one.image_id for service in services for one in ran.of(service)}:
        return ""
    return (
        f"still names the image that runs ({image[7:19]}, without a label {REVISION}), and its code changed."
    )


def _other_code(site: Site, situation: Situation, service: str, label: str) -> str:
    """The fault of an image whose label names other code than a service is to run; empty where it is that."""
    head = situation.decision.head
    if names_commit(label, head):
        return ""
    submodule, found = _submodule(site, situation, service), None
    wanted = head[:12]
    if submodule is not None:
        wanted += f" (or {submodule[1][:12]} of {submodule[0]})"
        if names_commit(label, submodule[1]):
            return ""
    if could_name_commit(label):
        found = _in_repository(site, service, label, head)
        if found is None and submodule is not None:
            found = _in_submodule(site, situation, service, submodule[0], label)
        if found is None:
            found = "a commit that this clone does not know"
    else:
        found = "which is no commit's id"
    if not found:
        return ""
    return f"was built from {quoted(label)} by its label {REVISION}, {found}; {wanted} is wanted."


def _in_repository(site: Site, service: str, label: str, head: str) -> str | None:
    """Does what the service's image is made from differ between the two commits. None: no such commit."""
    try:
        commit = site.repository.resolve([label])[0]
    except UsageError:
        return None
    if not commit.startswith(label):  # a branch or tag that looks like an id
        return None
    try:
        detected = compared(site, commit, head)
    except DualUpdateError as error:
        return f"which could not be compared ({error.message.rstrip('.')})"
    if service not in detected.before.services:
        return f"where {service} did not exist"
    if service in detected.decision.built_anew:
        return "whose code is not the same"
    return ""


def _submodule(site: Site, situation: Situation, service: str) -> tuple[str, str] | None:
    """The submodule that a service's build context lies in, and the commit that is wanted of it."""
    tree = site.repository.tree(situation.decision.head)
    build = situation.after.services[service].get("build") or {}
    context = inside_repository(str(build.get("context") or ""))
    if context is None:
        return None
    return site.repository.submodule_around(situation.decision.head, tree.real(context))


def _in_submodule(site: Site, situation: Situation, service: str, submodule: str, label: str) -> str | None:
    """The same question about a commit of the submodule's own. None: no such commit."""
    head, model = situation.decision.head, situation.after.services[service]
    try:
        changes: Sequence[FileChange] = site.repository.changed_inside(head, submodule, label)
    except UsageError:
        return None
    tree, recipe = site.repository.tree(head), dockerfile(model)
    paths = [one.path for one in changes]
    for context in contexts(model):
        if site.sent_to_build(tree, tree.real(context), recipe and tree.real(recipe), paths):
            return "whose code is not the same"
    return ""
