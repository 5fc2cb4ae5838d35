"""Does a service find and reach the services it depends on: asked from inside its own container.

What the image has is used: `getent` or `nslookup` for the name, `nc` for a port that the file declares.
Where it has none of them, the engine's own books are read instead (a shared network, and the name on it),
and the reading says so: that proves the wiring, not the way.
"""

from collections.abc import Sequence

from dual_update.core.cluster import Container, Observed, Reading
from dual_update.core.errors import WorldError
from dual_update.core.shape import Link
from dual_update.usecases.site import Site

LOOK_SECONDS = 8.0
"""Longest that one question inside a container may take."""

_NO_SUCH_PROGRAM = frozenset({126, 127})
_ENDED_BY_TIMEOUT = frozenset({124, 143})
"""What coreutils' and busybox' `timeout` say."""


def reach(site: Site, observed: Observed, service: str, links: Sequence[Link]) -> list[Reading]:
    """One reading for each service that this one depends on, from its first running container."""
    running = [one for one in observed.of(service) if one.is_running]
    if not running:
        return []
    return [_reading(site, observed, running[0], link) for link in links]


def _reading(site: Site, observed: Observed, container: Container, link: Link) -> Reading:
    is_good, detail = _resolves(site, observed, container, link.service)
    if is_good:
        for port in link.ports:
            answer = _connects(site, container, link.service, port)
            if answer is False:
                is_good, detail = False, f"cannot connect to {link.service}:{port} from inside"
                break
    return Reading(f"{container.name} to {link.service}", container.service, is_good, False, detail)


def _resolves(site: Site, observed: Observed, container: Container, name: str) -> tuple[bool, str]:
    for question in (("getent", "hosts", name), ("nslookup", name)):
        try:
            code, _ = site.engine.execute(container.id, question, LOOK_SECONDS)
        except WorldError:
            continue
        if code == 0:
            return True, f"{question[0]} finds {name}"
        if code not in _NO_SUCH_PROGRAM and _is_certain(question, observed, container, name):
            return False, f"{question[0]} does not find {name} from inside"
    if _is_wired(observed, container, name):
        return True, f"{name} is on a shared network (the image has nothing to ask with)"
    return False, f"{name} is on no network that both share"


def _is_certain(question: Sequence[str], observed: Observed, container: Container, name: str) -> bool:
    """Some `nslookup`s fail where a name has no IPv6 address; then the engine's books decide."""
    return question[0] == "getent" or not _is_wired(observed, container, name)


def _is_wired(observed: Observed, container: Container, name: str) -> bool:
    return any(
        name in names
        for other in observed.of(name)
        if other.is_running
        for network, names in other.aliases.items()
        if network in container.aliases
    )


def _connects(site: Site, container: Container, name: str, port: int) -> bool | None:
    """Whether a connection is taken; None when nothing in the image can tell.

    Not every `nc` has `-z`. Without it a connection that lasts is ended by `timeout`: one that is refused,
    or not taken within two seconds, ends by itself with code 1.
    """
    for command in (("nc", "-z", "-w", "2"), ("timeout", "4", "nc", "-w", "2")):
        try:
            code, words = site.engine.execute(container.id, (*command, name, str(port)), LOOK_SECONDS)
        except WorldError:
            continue
        if code == 0 or code in _ENDED_BY_TIMEOUT:
            return True
        is_unknown = any(one in words.lower() for one in ("usage", "invalid option", "unrecognized option"))
        if code not in _NO_SUCH_PROGRAM and not is_unknown:
            return False
    return None
