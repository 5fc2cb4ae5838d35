"""The door in front of every route: who may come in, how much they may bring, and which headers go out.

Everything is refused that is not allowed here, so a route that forgets to ask is still guarded:

- the Host header names this service (a web page elsewhere must not reach it by a name of its own);
- a request that changes something carries the token, or a session from this very origin;
- off loopback, or through a proxy, reading needs the same, for every path but those in `OPEN`;
- a body is as large as its path may have it, counted while it comes in;
- whatever goes wrong inside becomes one sentence.
"""

import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

from dual_update.edges.web import problems
from dual_update.edges.web.auth import (
    ANONYMOUS,
    COOKIE,
    TOKEN,
    Doorman,
    WebSettings,
    Who,
    address_of,
    is_loopback,
)
from dual_update.edges.web.problems import Problem

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = frozenset({"/api/health", "/webhooks/github", "/login"})
"""Paths that need no token; the webhook has its signature."""

OPEN_BELOW = ("/static/",)
PROXIED = frozenset({b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"via"})
"""Headers by which a proxy tells that it asks for somebody else, who may be anywhere."""

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
LARGEST_BODY = 64 * 1024
LARGEST_BODIES = {"/webhooks/github": 5 * 1024 * 1024}
_HTML = re.compile(r"^/(?!api/|webhooks/|metrics|static/)")

HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"content-security-policy",
     b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self';"
     b" connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)  # fmt: skip


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: App, settings: WebSettings, doorman: Doorman, log: Callable[..., None]) -> None:
        self._app = app
        self._settings = settings
        self._doorman = doorman
        self._log = log
        self._hosts = hosts(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        has_begun = False
        path: str = scope["path"]

        async def dressed(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                headers = list(message.get("headers", ()))
                headers.extend(HEADERS)
                if not path.startswith("/static/") and not any(k == b"cache-control" for k, _ in headers):
                    headers.append((b"cache-control", b"no-store"))
                message["headers"] = headers
            await send(message)

        try:
            self._admit(scope)
            await self._app(scope, _bounded(receive, _largest(path)), dressed)
        except Problem as problem:
            if not has_begun:
                await _answer(dressed, problem, scope)
        except Exception as error:
            self._log("bug", level="error", what=type(error).__name__, path=path)
            if not has_begun:
                await _answer(dressed, Problem(500, f"This is a bug ({type(error).__name__})."), scope)

    def _admit(self, scope: Scope) -> None:
        """Raises Problem for whoever may not come in; says in the scope who came."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if not self._is_our_host(headers.get(b"host", b"")):
            raise Problem(421, "This service does not answer to that name.")
        path, method = scope["path"], scope["method"]
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > _largest(path):
            raise Problem(413, f"At most {_largest(path)} bytes are read here.")
        one = self._who(scope, headers)
        scope["who"] = one
        if method not in SAFE and _is_foreign_form(one, path, headers):
            raise Problem(403, "This form was sent from another site.")
        is_open = path in OPEN or path.startswith(OPEN_BELOW)
        if is_open or one.is_known:
            return
        if method not in SAFE:
            if not self._doorman.has_token:
                raise Problem(403, "Nothing can be changed here until API_TOKEN is set.")
            raise Problem(401, "This needs the API's token.")
        if not self._is_near(headers):
            raise Problem(401, "This needs the API's token.")

    def _is_near(self, headers: dict[bytes, bytes]) -> bool:
        """Is it asked on this machine: bound to loopback, by a loopback name, and by no proxy for others."""
        name = _name_of(headers.get(b"host", b"").decode("latin-1"))
        return self._settings.is_loopback and is_loopback(name) and not PROXIED & headers.keys()

    def _who(self, scope: Scope, headers: dict[bytes, bytes]) -> Who:
        given = headers.get(b"authorization", b"")
        if given:
            address = address_of(scope)
            wait = self._doorman.tries.wait_seconds(address)
            if wait > 0:
                raise Problem(429, "Too many wrong tokens. Wait a minute.", retry_after_seconds=wait)
            kind, _, token = given.partition(b" ")
            if kind.lower() == b"bearer" and self._doorman.is_token(token.strip()):
                return TOKEN
            self._doorman.tries.take(address)
            raise Problem(401, "That is not the API's token.")
        session = self._session(headers.get(b"cookie", b""))
        return Who("session", session) if session else ANONYMOUS

    def _session(self, cookies: bytes) -> str | None:
        if COOKIE.encode() not in cookies:
            return None
        try:
            cookie = SimpleCookie(cookies.decode("latin-1")).get(COOKIE)
        except CookieError:
            return None
        return self._doorman.session(cookie.value) if cookie else None

    def _is_our_host(self, host: bytes) -> bool:
        name = _name_of(host.decode("latin-1"))
        if name in self._hosts:
            return True
        return not self._settings.is_loopback and _is_address(name)  # no page can claim an address


def hosts(settings: WebSettings) -> frozenset[str]:
    """Names that a Host header may have."""
    ours: set[str] = {"localhost", "127.0.0.1", "::1", *(one.lower() for one in settings.allowed_hosts)}
    if not settings.is_loopback:
        ours |= {socket.gethostname().lower(), socket.getfqdn().lower()}
    return frozenset({*ours, _name_of(settings.host)} - {"", "0.0.0.0", "::"})  # noqa: S104


def _name_of(host: str) -> str:
    """The name without port and brackets."""
    found = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::\d+)?|([^:]*)(?::\d+)?|([0-9A-Fa-f:.]+)", host.strip())
    return next((one.lower() for one in found.groups() if one), "") if found else ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_foreign_form(one: Who, path: str, headers: dict[bytes, bytes]) -> bool:
    """A session's form from elsewhere, or a login that another site sends to have its own session used."""
    if one.kind == "session":
        return not _is_same_origin(headers)
    is_told = b"origin" in headers or b"sec-fetch-site" in headers
    return path == "/login" and is_told and not _is_same_origin(headers)


def _is_same_origin(headers: dict[bytes, bytes]) -> bool:
    """Browsers say where a form was sent from; one that says nothing of it is too old to be trusted."""
    site = headers.get(b"sec-fetch-site", b"")
    if site:
        return site == b"same-origin"
    origin = headers.get(b"origin", b"").partition(b"://")[2]
    return bool(origin) and origin == headers.get(b"host", b"")


def _largest(path: str) -> int:
    return LARGEST_BODIES.get(path, LARGEST_BODY)


def _bounded(receive: Receive, most: int) -> Receive:
    """Counts what comes in: a body may come without a length, or with a wrong one."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > most:
            raise Problem(413, f"At most {most} bytes are read here.")
        return message

    return counted


async def _answer(send: Send, problem: Problem, scope: Scope) -> None:
    """A problem as JSON; a browser that may not see a page is led to the login instead."""
    headers: Iterable[tuple[str, str]] = problem.headers.items()
    if problem.status == 401 and scope["method"] in {"GET", "POST"} and _HTML.match(scope["path"]):
        raw = [(b"location", b"/login"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 303, "headers": raw})
        await send({"type": "http.response.body", "body": b""})
        return
    content = problems.body(problem.status, problem.detail)
    raw = [
        (b"content-type", problems.MEDIA_TYPE.encode()),
        (b"content-length", str(len(content)).encode()),
        *((k.lower().encode(), v.encode("latin-1")) for k, v in headers),
    ]
    await send({"type": "http.response.start", "status": problem.status, "headers": raw})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content})
