"""Which images a Dockerfile starts from or takes files of. Source: Dockerfile reference (FROM, ARG, COPY)."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from dual_update.core.model import ImageRef, Rendered, image_of, is_built
from dual_update.core.origin import is_built_here

_CONTINUED = re.compile(r"\\[ \t]*\n(?:[ \t]*#[^\n]*\n)*")
_FROM = re.compile(r"(?:--\S+\s+)*(?P<image>\S+)(?:\s+as\s+(?P<stage>\S+))?\s*$", re.I)
_OTHER = re.compile(r"(?:--from=|\bfrom=)(?P<image>[^\s,]+)")
_ARG = re.compile(r"(?P<name>[A-Za-z_]\w*)(?:=(?P<value>\S*))?")
_USE = re.compile(r"\$(?:\{(?P<braced>\w+)(?::?-(?P<default>[^}]*))?\}|(?P<bare>\w+))")


def images_used(text: str, arguments: Mapping[str, str]) -> frozenset[str]:
    """References that a Dockerfile takes images by, with its `ARG`s as defaults of the build's `arguments`.
    Its own stages are none."""
    known, stages, found = dict(arguments), {"scratch"}, set[str]()
    for line in _CONTINUED.sub(" ", text.replace("\r\n", "\n")).splitlines():
        word, _, rest = line.strip().partition(" ")
        match word.upper():
            case "ARG":
                for one in _ARG.finditer(rest):
                    known.setdefault(one["name"], (one["value"] or "").strip("\"'"))
            case "FROM" if named := _FROM.match(_expanded(rest.strip(), known)):
                if named["image"].lower() not in stages:
                    found.add(named["image"])
                stages.add((named["stage"] or "").lower())
            case "COPY" | "RUN":
                taken = {one["image"] for one in _OTHER.finditer(_expanded(rest, known))}
                found |= {one for one in taken if not one.isdigit() and one.lower() not in stages}
    return frozenset(found)


def _expanded(text: str, known: Mapping[str, str]) -> str:
    def value(use: re.Match[str]) -> str:
        return known.get(use["braced"] or use["bare"]) or use["default"] or ""

    return _USE.sub(value, text)


def starts_from(rendered: Rendered, recipe: Callable[[Mapping[str, Any]], str]) -> dict[str, tuple[str, ...]]:
    """Service that is built on the host -> other services of the project whose images its build takes.

    `recipe` reads a service's Dockerfile. What builds elsewhere start from is decided there.
    """
    built = {name: one for name, one in rendered.services.items() if is_built(one)}
    names = {name: _names(rendered, name) for name in built}
    found = {}
    for service, model in built.items():
        if not is_built_here(model):
            continue
        arguments = model["build"].get("args") or {}
        given = {name: str(value) for name, value in arguments.items() if value is not None}
        used = {_canonical(one) for one in images_used(recipe(model), given)}
        others = tuple(one for one in sorted(built) if one != service and names[one] & used)
        if others:
            found[service] = others
    return found


def _names(rendered: Rendered, service: str) -> frozenset[str]:
    model = rendered.services[service]
    tags = (model.get("build") or {}).get("tags") or ()
    return frozenset(map(_canonical, (image_of(rendered.name, service, model), *map(str, tags))))


def _canonical(reference: str) -> str:
    return ImageRef.parse(reference).canonical
