"""Where the image of a service with `build:` comes from: this host builds it, or a build elsewhere pushes it.

Compose leaves it open: without a word about it, `up` takes what is here, else pulls, else builds (compose
specification, `build` and `pull_policy`). What a deployment runs must not depend on which of the three came
first, so here it is one or the other. Whoever wants the other one says so by compose's own `pull_policy`.
"""

import re
from collections.abc import Mapping
from typing import Any

from dual_update.core.model import ImageRef, Rendered, image_of, image_runs, is_built

REVISION = "org.opencontainers.image.revision"
"""The label by which a build says of which commit it is (OCI image specification, annotations)."""

_NEVER_PULLED = frozenset({"build", "never"})
_PULLED = re.compile(r"always|refresh|daily|weekly|every_.+")
"""Policies that ask the registry again and again: nobody writes them for an image that only this host has.
`missing`, compose's default, says nothing: it builds what cannot be pulled."""

_COMMIT = re.compile(r"[0-9a-f]{7,64}")


def is_built_elsewhere(service: Mapping[str, Any]) -> bool:
    """Is this service's image built elsewhere and pulled here, although it could be built here.

    So it is where `image` names a registry's host. A name without one (`myorg/app`) is mostly just a name for
    what is built here, so it is pulled only where `pull_policy` asks a registry (`always`, `daily`, ...). The
    policies `build` and `never` mean this host whatever the name.
    """
    image, policy = str(service.get("image") or ""), str(service.get("pull_policy") or "")
    if not is_built(service) or not image or policy in _NEVER_PULLED:
        return False
    return ImageRef.parse(image).has_host or bool(_PULLED.fullmatch(policy))


def is_built_here(service: Mapping[str, Any]) -> bool:
    """Does this host build the service's image."""
    return is_built(service) and not is_built_elsewhere(service)


def is_pulled(rendered: Rendered, name: str) -> bool:
    """Does a service's image come from a registry: neither its own build here makes it, nor that of another
    service that goes by the same `image`."""
    services = rendered.services
    if is_built_here(services[name]):
        return False
    image = image_runs(rendered, name)
    return not any(
        is_built_here(services[one]) and image_runs(rendered, one) == image for one in rendered.active
    )


def origin(service: Mapping[str, Any]) -> str:
    """Which way a service goes that has both `build` and `image`, and why; nothing for any other."""
    if not is_built(service) or not service.get("image"):
        return ""
    policy = str(service.get("pull_policy") or "")
    if policy in _NEVER_PULLED:
        return f"its image is built on this host: its pull_policy is {policy}"
    if not is_built_elsewhere(service):
        return (
            "its image is built on this host: its name has no registry's host, and no pull_policy asks for it"
        )
    has_host = ImageRef.parse(str(service["image"])).has_host
    why = "its name has a registry's host" if has_host else f"its pull_policy is {policy}"
    return f"its image comes from the registry, where a build elsewhere puts it: {why}"


def builders(rendered: Rendered, reference: str) -> tuple[str, ...]:
    """Services by whose `build` an image is made that is pulled under this reference."""
    return tuple(
        name
        for name, service in sorted(rendered.services.items())
        if is_built_elsewhere(service) and image_of(rendered.name, name, service) == reference
    )


def could_name_commit(label: str) -> bool:
    """Is this the id of a commit, whole or short. A branch or tag names another one tomorrow."""
    return bool(_COMMIT.fullmatch(label))


def names_commit(label: str, commit: str) -> bool:
    """Does a revision label name this commit."""
    return could_name_commit(label) and commit.startswith(label)
