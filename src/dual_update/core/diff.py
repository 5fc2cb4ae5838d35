"""Two rendered sides in, Changes out. Keyed by name, not by position where order means nothing.

No Change carries a value unless its field is on the allow-list: environment values, commands and
labels are named by path and never leave the host (docs/security.md).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from dual_update.core.model import Rendered, followers
from dual_update.core.secrecy import MASK

Scope = Literal[
    "service", "network", "volume", "config", "secret", "file", "code", "submodule", "project", "model"
]
Op = Literal["add", "change", "remove"]

SHOWN = re.compile(
    r"^(image|ports\b.*|expose|scale|replicas|restart|profiles|platform|pull_policy|container_name|hostname"
    r"|deploy\.replicas|deploy\.resources\b.*|depends_on\..*\.condition|init|read_only|privileged|tty|stdin_open"
    r"|mem_limit|mem_reservation|cpus|cpu_shares|pids_limit|shm_size|stop_signal|stop_grace_period|network_mode"
    r"|healthcheck\.(interval|timeout|retries|start_period|start_interval|disable)|driver|external|internal|name)$"
)
"""Fields whose values are harmless and may be shown. Everything else is named, not quoted."""

_NAME_END = re.compile(r"[\s:=]")
_PLAIN_KEY = re.compile(r"^[A-Za-z0-9_-]+$")


@dataclass(frozen=True)
class Change:
    """One difference between what was and what is wanted.

    `name` is the service, network, volume, ... or the path of a file. `path` is the field inside it,
    empty when the whole thing came or went. `before` and `after` are None unless the field is on
    the allow-list. `users` are the services that the change reaches, in order.
    """

    scope: Scope
    name: str
    path: str
    op: Op
    before: Any = None
    after: Any = None
    users: tuple[str, ...] = ()

    @property
    def is_of_build(self) -> bool:
        """Is it how a service's image is built."""
        return self.scope == "service" and self.path.partition(".")[0] == "build"


def compare(before: Rendered, after: Rendered) -> tuple[Change, ...]:
    """All differences between two models, in a stable order. Content of files is compared elsewhere."""
    changes: list[Change] = []
    if before.name != after.name:
        changes.append(Change("project", after.name, "name", "change", before.name, after.name, after.active))
    changes += _mappings("service", before.services, after.services, lambda name: (name,))
    changes += _switched(before, after)
    changes += _build_secrets(before, after)
    if any(one.is_of_build for one in changes):
        changes = [*_with_holders(changes, after)]
    changes += _resources("network", before, after)
    changes += _resources("volume", before, after)
    changes += _resources("config", before, after)
    changes += _resources("secret", before, after)
    changes += _resources("model", before, after)
    return tuple(changes)


def _switched(before: Rendered, after: Rendered) -> Iterator[Change]:
    """Services that `.env` switches on or off by COMPOSE_PROFILES, which no model shows."""
    for name in sorted(set(before.services).intersection(after.services)):
        was, will = before.is_active(name), after.is_active(name)
        same = before.services[name].get("profiles") == after.services[name].get("profiles")
        if same and was != will:
            yield Change("service", name, "profiles.active", "add" if will else "remove", users=(name,))


def _with_holders(changes: Iterable[Change], after: Rendered) -> Iterator[Change]:
    """A change of how an image is built reaches all whose containers hold that image."""
    who_holds = followers(after)
    for one in changes:
        others = sorted(who_holds(one.name) - {one.name}) if one.is_of_build else ()
        yield replace(one, users=(one.name, *others)) if others else one


def _build_secrets(before: Rendered, after: Rendered) -> Iterator[Change]:
    """Builds whose secret is another one now, under its old name: compose does not look."""
    for name in sorted(set(before.services).intersection(after.services)):
        for use in (after.services[name].get("build") or {}).get("secrets") or ():
            source = str(use.get("source"))
            was, will = before.secrets.get(source), after.secrets.get(source)
            if was and will and (was != will or _is_given_anew(before, after, was)):
                yield Change("service", name, f"build.secrets[{source}]", "change", users=(name,))


def _is_given_anew(before: Rendered, after: Rendered, resource: Mapping[str, Any]) -> bool:
    """Does a variable that a config or secret is taken from have another value now."""
    variable = str(resource.get("environment") or "")
    return before.given.get(variable) != after.given.get(variable)


def users_of(rendered: Rendered, kind: Scope, name: str) -> tuple[str, ...]:
    """Services that use a top-level network, volume, config, secret or model."""
    return tuple(sorted(one for one, service in rendered.services.items() if name in _used(service, kind)))


def _used(service: Mapping[str, Any], kind: Scope) -> set[str]:
    uses = service.get(f"{kind}s") or ()
    if isinstance(uses, Mapping):
        return set(uses)
    if kind == "volume":
        return {str(use.get("source")) for use in uses if use.get("type") == "volume"}
    return {str(use.get("source") if isinstance(use, Mapping) else use) for use in uses}


def _resources(kind: Scope, before: Rendered, after: Rendered) -> Iterator[Change]:
    old, new = _anonymised(before, kind), _anonymised(after, kind)

    def users(name: str) -> tuple[str, ...]:
        return tuple(sorted({*users_of(before, kind, name), *users_of(after, kind, name)}))

    yield from _mappings(kind, old, new, users)
    for name in sorted(set(old).intersection(new)):
        if old[name] == new[name] and _is_given_anew(before, after, new[name]):
            yield Change(kind, name, "environment", "change", users=users(name))


def _anonymised(rendered: Rendered, kind: Scope) -> dict[str, Mapping[str, Any]]:
    """Resources by key, with the project's own name taken out of derived names.

    A renamed project renames every network and volume. That is one change, not thirty.
    """
    derived: dict[str, Mapping[str, Any]] = {}
    for key, value in getattr(rendered, f"{kind}s").items():
        resource = dict(value or {})
        if resource.get("name") == f"{rendered.name}_{key}":
            del resource["name"]
        derived[key] = resource
    return derived


def _mappings(
    scope: Scope,
    before: Mapping[str, Mapping[str, Any]],
    after: Mapping[str, Mapping[str, Any]],
    users: Any,
) -> Iterator[Change]:
    for name in sorted({*before, *after}):
        if name not in after:
            yield Change(scope, name, "", "remove", users=users(name))
        elif name not in before:
            yield Change(scope, name, "", "add", users=users(name))
        elif before[name] != after[name]:
            for path, op, old, new in fields(before[name], after[name]):
                shown = SHOWN.match(path) is not None
                yield Change(
                    scope, name, path, op, old if shown else None, new if shown else None, users(name)
                )


def fields(before: Any, after: Any, path: str = "") -> Iterator[tuple[str, Op, Any, Any]]:
    """Differences between two JSON values as (path, op, before, after)."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}):
            here = _join(path, key)
            if key not in after:
                yield here, "remove", before[key], None
            elif key not in before:
                yield here, "add", None, after[key]
            elif before[key] != after[key]:
                yield from fields(before[key], after[key], here)
    elif isinstance(before, list) and isinstance(after, list) and _has_keys(path, before, after):
        yield from _keyed_lists(path, before, after)
    elif before != after or type(before) is not type(after):
        yield path, "change", before, after


def _join(path: str, key: str) -> str:
    """A list's line without `=` is a key as a whole (`- PASSWORD: x` in quotes): only its name is told."""
    name = _NAME_END.split(key, maxsplit=1)[0]
    step = key if _PLAIN_KEY.match(key) else f'["{key if name == key else name + MASK}"]'
    if not path:
        return step
    return f"{path}{step}" if step.startswith("[") else f"{path}.{step}"


def _element_key(path: str, element: Mapping[str, Any]) -> str:
    if path == "ports":
        host = f"{element.get('host_ip')}:" if element.get("host_ip") else ""
        return (
            f"{host}{element.get('published', '')}->{element.get('target')}/{element.get('protocol', 'tcp')}"
        )
    return str(element.get("target") or element.get("source") or "")


def _has_keys(path: str, *lists: Iterable[Any]) -> bool:
    """Lists whose elements have an identity, each used once: ports, and mounts by their target."""
    if path not in {"ports", "volumes", "configs", "secrets"}:
        return False
    for elements in lists:
        keys = [_element_key(path, one) if isinstance(one, Mapping) else "" for one in elements]
        if "" in keys or len(set(keys)) != len(keys):
            return False
    return True


def _keyed_lists(path: str, before: list[Any], after: list[Any]) -> Iterator[tuple[str, Op, Any, Any]]:
    old = {_element_key(path, one): one for one in before}
    new = {_element_key(path, one): one for one in after}
    found = False
    for key in [*old, *(key for key in new if key not in old)]:
        here = f"{path}[{key}]"
        if key not in new:
            found = True
            yield here, "remove", old[key], None
        elif key not in old:
            found = True
            yield here, "add", None, new[key]
        elif old[key] != new[key]:
            found = True
            yield from fields(old[key], new[key], here)
    if not found:  # the same elements in another order: compose hashes the order, so it recreates
        yield f"{path}.order", "change", None, None
