"""The frame around every page: templates with everything escaped, navigation, faults as pages."""

import hashlib
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined

from dual_update.core.errors import DualUpdateError
from dual_update.edges.web import problems
from dual_update.edges.web.auth import csrf_token, doorman, who
from dual_update.edges.web.pages_words import Mark, When, when
from dual_update.edges.web.problems import Problem
from dual_update.usecases.memory_ports import History, Notes
from dual_update.usecases.service import Service

HERE = Path(__file__).parent
STATIC = HERE / "static"


@dataclass(frozen=True)
class Link:
    href: str
    word: str


LINKS = (Link("/", "Now"), Link("/history", "History"), Link("/figures", "Figures"))
FLEET = Link("/clusters", "Clusters")


@dataclass(frozen=True)
class Frame:
    """What every page knows: whose cluster, which page this is, who looks at it."""

    cluster: str
    here: str
    now: When | None
    csrf: str
    links: tuple[Link, ...]
    is_readable: bool
    is_signed_in: bool
    can_sign_in: bool
    version: str


@cache
def templates() -> Environment:
    """Everything is escaped, and a name that nobody gave is an error instead of an empty place."""
    return Environment(
        loader=PackageLoader("dual_update.edges.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


@cache
def version() -> str:
    """Changes with the static files, so that a browser never mixes an old style with a new page."""
    content = b"".join(path.read_bytes() for path in sorted(STATIC.iterdir()) if path.is_file())
    return hashlib.sha256(content).hexdigest()[:12]


def service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


class Memory(Protocol):
    """The part of a store that pages are made from."""

    @property
    def history(self) -> History: ...
    @property
    def notes(self) -> Notes: ...


def memory(request: Request) -> Memory:
    """The store that pages read: one of its own, so that nobody waits for a writer."""
    found: Memory = request.app.state.memory
    return found


def now() -> datetime:
    return datetime.now(UTC)


def frame(request: Request, here: str) -> Frame:
    is_known = who(request).is_known
    is_readable = is_known or request.app.state.settings.is_loopback
    cluster = ""
    with suppress(DualUpdateError):  # a page that tells of a fault must not stumble over it
        cluster = str(service(request).status().get("cluster") or "") if is_readable else ""
    return Frame(
        cluster=cluster,
        here=here,
        now=when(now(), now()),
        csrf=csrf_token(request),
        links=(*LINKS, FLEET) if getattr(request.app.state, "has_fleet_page", False) else LINKS,
        is_readable=is_readable,
        is_signed_in=who(request).kind == "session",
        can_sign_in=doorman(request).has_token,
        version=version(),
    )


def render(
    request: Request,
    template: str,
    title: str,
    *,
    here: str = "",
    page: Any = None,
    live: str = "",
    notice: Mark | None = None,
    status: int = 200,
) -> Response:
    """A page as an answer."""
    words = (
        templates()
        .get_template(template)
        .render(title=title, frame=frame(request, here), page=page, live=live, notice=notice)
    )
    return HTMLResponse(words, status)


@dataclass(frozen=True)
class Fault:
    title: str
    lines: tuple[str, ...]
    back: str = "/"
    back_word: str = "To the cluster"


_TITLES = {
    401: "Please sign in",
    403: "That may not be done from here",
    404: "There is nothing here",
    409: "Not now",
    422: "That cannot be read",
    429: "Too often",
    503: "Something does not answer",
}


def fault(request: Request, problem: Problem) -> Response:
    """What went wrong, as a page that leads back."""
    is_sign_in = problem.status == 401
    page = Fault(
        _TITLES.get(problem.status, "That did not work"),
        (problem.detail,),
        "/login" if is_sign_in else "/",
        "Sign in" if is_sign_in else "To the cluster",
    )
    answer = render(request, "fault.html", page.title, page=page, status=problem.status)
    answer.headers.update(problem.headers)
    return answer


Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class PageRoute(APIRoute):
    """A route whose faults are pages, too."""

    def get_route_handler(self) -> Handler:
        plain: Handler = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                return await plain(request)
            except Problem as problem:
                return fault(request, problem)
            except DualUpdateError as error:
                return fault(request, problems.of_error(error))
            except RequestValidationError:
                return fault(
                    request, Problem(422, "Something in the address or the form is not as it should be.")
                )

        return handler
