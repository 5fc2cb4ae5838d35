"""Has the registry new content under a reference that did not change: what only the engine and registry know.

Asked for services that run an image by tag. An image that no registry is known to have (built here, loaded
by hand) is left alone. A registry that does not answer is a warning, never a reason to touch anything.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from dual_update.core.cluster import Observed
from dual_update.core.decision import Decision, ServiceDecision, with_dependents
from dual_update.core.errors import DualUpdateError
from dual_update.core.model import ImageRef, Rendered, image_of
from dual_update.core.origin import is_built_here
from dual_update.core.watchtower import Running, why_not_poke
from dual_update.usecases.ports import Engine, Registry
from dual_update.usecases.site import Site

AT_ONCE = 8
"""Questions to registries under way at the same time."""


@dataclass(frozen=True)
class Freshness:
    """`moved`: service -> digest that the registry has now and the container does not run; `warnings`."""

    moved: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def freshness(site: Site, rendered: Rendered, observed: Observed, decision: Decision) -> Freshness:
    """Compare what runs with what the registry has, for services that nothing else replaces."""
    if site.registry is None:
        return Freshness()
    asked: dict[str, tuple[str, frozenset[str]]] = {}
    for service in rendered.active:
        model, one = rendered.services[service], decision.services.get(service)
        if one is None or one.action not in {"none", "record", "scale"} or not is_mutable(model):
            continue
        reference = image_of(rendered.name, service, model)
        known = running_digests(site.engine, observed, service, reference)
        if known:
            asked[service] = (reference, known)
    references = sorted({reference for reference, _ in asked.values()})
    registry = site.registry
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = dict(zip(references, pool.map(lambda one: _asked(registry, one), references), strict=True))
    moved: dict[str, str] = {}
    warnings: dict[str, None] = {}
    for service, (reference, known) in asked.items():
        digest, complaint = answers[reference]
        if complaint:
            warnings[complaint] = None
        elif digest and digest not in known:
            moved[service] = digest
    return Freshness(moved, tuple(warnings))


def is_mutable(model: Mapping[str, object]) -> bool:
    """Can a pull bring other content under the same reference."""
    image = str(model.get("image") or "")
    never = model.get("pull_policy") in {"never", "build"}
    return bool(image) and not is_built_here(model) and not never and not ImageRef.parse(image).is_pinned


def running_digests(engine: Engine, observed: Observed, service: str, reference: str) -> frozenset[str]:
    """Digests by which the registry of `reference` knows every running image of the service; none where one
    of them came from elsewhere."""
    repository = ImageRef.parse(reference).canonical.partition("@")[0].rpartition(":")[0]
    found: list[frozenset[str]] = []
    for image_id in {one.image_id for one in observed.of(service)}:
        try:
            names = engine.repo_digests(image_id)
        except DualUpdateError:  # the image was removed under its container
            return frozenset()
        found.append(
            frozenset(
                digest
                for name, _, digest in (one.partition("@") for one in names)
                if ImageRef.parse(name).canonical.rpartition(":")[0] == repository
            )
        )
    return frozenset.intersection(*found) if found else frozenset()


def _asked(registry: Registry, reference: str) -> tuple[str | None, str]:
    try:
        digest = registry.digest(reference)
    except DualUpdateError as error:
        return None, f"Whether {reference} has new content is not known: {error.message}"
    if digest is None:
        return None, f"The registry has no {reference} any more; what runs cannot be pulled again."
    return digest, ""


def with_moved(decision: Decision, fresh: Freshness, rendered: Rendered) -> Decision:
    """The Decision with services to poke whose image moved in the registry (contract.md, `image_only`)."""
    services: dict[str, ServiceDecision] = dict(decision.services)
    for service, digest in fresh.moved.items():
        reference = image_of(rendered.name, service, rendered.services[service])
        reason = f"The registry has new content under {reference} ({digest[7:19]})."
        one = services[service]
        services[service] = replace(
            one,
            action="poke",
            verdict="image_only" if one.verdict == "same" else one.verdict,
            reasons=(reason, *one.reasons),
        )
    update_type = decision.update_type
    if fresh.moved:
        update_type = "image_only" if update_type in {"none", "image_only"} else "mixed"
    return replace(
        decision,
        services=with_dependents(services, rendered) if fresh.moved else services,
        update_type=update_type,
        strategy={"none": "none", "image_only": "watchtower"}.get(update_type, "revamp"),
        warnings=(*decision.warnings, *fresh.warnings),
    )


def why_rolled(site: Site, rendered: Rendered, observed: Observed, services: Sequence[str]) -> dict[str, str]:
    """For each of these services that must not be poked: why, as a sentence."""
    if site.config.mode == "revamp_only":
        return dict.fromkeys(services, "The mode revamp_only never pokes.")
    if site.watchtower is None:
        return dict.fromkeys(services, "No Watchtower is configured.")
    policy = site.watchtower.policy() if services else None
    found: dict[str, str] = {}
    for service in services:
        containers = observed.of(service)
        details = site.engine.details(containers[0].id) if containers else None
        if details is None or policy is None:
            found[service] = "It has no container that Watchtower could replace."
            continue
        running = Running(
            containers[0].image_ref,
            containers[0].state,
            details.labels,
            details.image_volumes,
            details.image_environment,
        )
        why = why_not_poke(service, rendered, policy, running)
        if why is not None:
            found[service] = why
    if policy is not None and not policy.is_known:
        found |= _hit_as_well(rendered, observed, [one for one in services if one not in found])
    return found


def _hit_as_well(rendered: Rendered, observed: Observed, poked: Sequence[str]) -> dict[str, str]:
    """Services that an older Watchtower cannot be asked for alone: it goes by the image, the oldest without
    its tag, and another one that is not to be poked runs that, too."""

    def repository(service: str) -> str:
        return ImageRef.parse(image_of(rendered.name, service, rendered.services[service])).repository

    others = {
        repository(one): one for one in observed.services if one in rendered.services and one not in poked
    }
    return {
        service: f"Older Watchtowers go by the image, and {others[repository(service)]} runs it as well."
        for service in poked
        if repository(service) in others
    }
