"""Which images a Dockerfile starts from or takes files of. Source: Dockerfile reference (FROM, ARG, COPY)."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from dual_update.core.model import ImageRef, Rendered, image_names, is_built
from dual_update.core.origin import is_built_here
from dual_update.core.secrecy import substituted

_CONTINUED = re.compile(r"\\[ \t]*\n(?:[ \t]*#[^\n]*\n)*")
_FROM = re.compile(r"(?:--\S+\s+)*(?P<image>\S+)(?:\s+as\s+(?P<stage>\S+))?\s*$", re.I)
_OTHER = re.compile(r"(?:--from=|\bfrom=)(?P<image>[^\s,]+)")
_ARG = re.compile(r"(?P<name>[A-Za-z_]\w*)(?:=(?P<value>\S*))?")

LARGEST_CHARACTERS = 64 * 1024
"""What is read of a Dockerfile. It may be a stranger's."""


def images_used(text: str, arguments: Mapping[str, str]) -> frozenset[str]:
    """References that a Dockerfile takes images by, with its `ARG`s as defaults of the build's `arguments`.
    Its own stages are none."""
    known, stages, found = dict(arguments), {"scratch"}, set[str]()
    for line in _CONTINUED.sub(" ", text[:LARGEST_CHARACTERS].replace("\r\n", "\n")).splitlines():
        word, _, rest = line.strip().partition(" ")
        match word.upper():
            case "ARG":
                for one in _ARG.finditer(rest):
                    if value := (one["value"] or "").strip("\"'"):
                        known.setdefault(one["name"], value)
            case "FROM" if named := _FROM.match(substituted(rest.strip(), known)):
                if named["image"].lower() not in stages:
                    found.add(named["image"])
                stages.add((named["stage"] or "").lower())
            case "COPY" | "RUN":
                taken = {one["image"] for one in _OTHER.finditer(substituted(rest, known))}
                found |= {one for one in taken if not one.isdigit() and one.lower() not in stages}
    return frozenset(found)


def starts_from(rendered: Rendered, recipe: Callable[[Mapping[str, Any]], str]) -> dict[str, tuple[str, ...]]:
    """Service that is built on the host -> other services of the project whose images its build takes.

    `recipe` reads a service's Dockerfile. What builds elsewhere start from is decided there.
    """
    holders: dict[str, list[str]] = defaultdict(list)
    for name, model in rendered.services.items():
        if is_built(model):
            for image in image_names(rendered, name):
                holders[image].append(name)
    used = cache(lambda text, arguments: images_used(text, dict(arguments)))
    found = {}
    for service, model in rendered.services.items():
        if not is_built_here(model):
            continue
        arguments = (model["build"].get("args") or {}).items()
        given = frozenset((name, str(value)) for name, value in arguments if value not in {None, ""})
        images = {ImageRef.parse(one).canonical for one in used(recipe(model), given)}
        bases = {base for image in images for base in holders.get(image, ())}
        if others := tuple(sorted(bases - {service})):
            found[service] = others
    return found
