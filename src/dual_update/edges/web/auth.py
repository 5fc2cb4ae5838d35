"""Who asks: the API's token, or a browser's session made with it; and whether the browser meant it (CSRF).

What pages use: `csrf_token(request)` for a hidden field named `csrf`, `Depends(require_reader)` and
`Depends(require_writer)` on routes, `sign_in` and `sign_out` for the login page. `Guard` (security.py) has
refused whoever may not come in before any of these is asked.
"""

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from fastapi import Request, Response
from itsdangerous import BadSignature, URLSafeTimedSerializer

from dual_update.edges.web.problems import Problem

COOKIE = "dual_update_session"
SESSION_SECONDS = 12 * 3600
WRONG_TRIES = 10
"""Wrong tokens that one address may send in a burst; then one every REFILL_SECONDS."""

REFILL_SECONDS = 6.0
MOST_ADDRESSES = 10_000


@dataclass(frozen=True)
class WebSettings:
    """Where the service listens and what it accepts. Without an `api_token` nothing can be changed."""

    host: str = "127.0.0.1"
    port: int = 8090
    api_token: str = field(default="", repr=False)
    webhook_secret: str = field(default="", repr=False)
    allowed_hosts: tuple[str, ...] = ()
    deploy_branch: str = ""
    repository: str = ""

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)


@dataclass(frozen=True)
class Who:
    """Whoever asks: nobody in particular, the holder of the token, or a browser's session."""

    kind: str
    session: str = ""

    @property
    def is_known(self) -> bool:
        return self.kind != "anonymous"


ANONYMOUS = Who("anonymous")
TOKEN = Who("token")


def is_loopback(host: str) -> bool:
    """Is this an address of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Buckets:
    """How often each address may do something: a burst, then one every so many seconds."""

    def __init__(
        self, burst: int, refill_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst = burst
        self._refill = refill_seconds
        self._clock = clock
        self._used: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_seconds(self, key: str) -> float:
        """How long until this one may again; 0: now."""
        used, at = self._used.get(key, (0.0, 0.0))
        left = used - (self._clock() - at) / self._refill
        return max(0.0, (left - self._burst + 1) * self._refill) if left > self._burst - 1 else 0.0

    def take(self, key: str) -> None:
        """Count one."""
        now = self._clock()
        used, at = self._used.pop(key, (0.0, now))
        self._used[key] = (max(0.0, used - (now - at) / self._refill) + 1, now)
        while len(self._used) > MOST_ADDRESSES:
            self._used.popitem(last=False)


class Doorman:
    """Tells who asks. One for an application: `app.state.doorman`."""

    def __init__(self, settings: WebSettings) -> None:
        self._token = settings.api_token.encode()
        key = hashlib.sha256(b"dual-update session\0" + self._token).digest()
        self._signer = URLSafeTimedSerializer(key, salt="dual-update.session")
        self._csrf_key = hashlib.sha256(b"dual-update csrf\0" + self._token).digest()
        self.tries = Buckets(WRONG_TRIES, REFILL_SECONDS)

    @property
    def has_token(self) -> bool:
        return bool(self._token)

    def is_token(self, given: bytes) -> bool:
        """Compared in constant time, whatever its length."""
        return bool(self._token) and hmac.compare_digest(
            hashlib.sha256(given).digest(), hashlib.sha256(self._token).digest()
        )

    def session(self, cookie: str) -> str | None:
        """The id of a session that we signed and that is not over."""
        if not self._token:
            return None
        try:
            name = self._signer.loads(cookie, max_age=SESSION_SECONDS)
        except BadSignature:
            return None
        return name if isinstance(name, str) else None

    def new_session(self) -> str:
        """A cookie's value for a new session."""
        return str(self._signer.dumps(secrets.token_hex(16)))

    def csrf(self, session: str) -> str:
        """What a form of this session carries."""
        return hmac.new(self._csrf_key, session.encode(), hashlib.sha256).hexdigest()


def who(request: Request) -> Who:
    """Whoever `Guard` found out."""
    found: Who = request.scope.get("who", ANONYMOUS)
    return found


def csrf_token(request: Request) -> str:
    """For a hidden field `csrf` in every form; empty without a session."""
    session = who(request).session
    return doorman(request).csrf(session) if session else ""


def doorman(request: Request) -> Doorman:
    found: Doorman = request.app.state.doorman
    return found


async def require_reader(request: Request) -> Who:
    """Anyone whom `Guard` let in."""
    return who(request)


async def require_writer(request: Request) -> Who:
    """The token's holder, or a session whose form (or header X-CSRF-Token) carries the right `csrf`."""
    one = who(request)
    if one.kind == "token":
        return one
    if one.kind != "session":
        raise Problem(401, "This needs the API's token.")
    given = request.headers.get("x-csrf-token", "")
    if not given and _is_form(request):
        form = await request.form()
        given = str(form.get("csrf", ""))
    if not hmac.compare_digest(given.encode(), doorman(request).csrf(one.session).encode()):
        raise Problem(403, "This form is not from this session. Load the page again.")
    return one


def _is_form(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind in {"application/x-www-form-urlencoded", "multipart/form-data"}


def sign_in(request: Request, response: Response, token: str) -> None:
    """Begin a session and set its cookie on the response. Raises Problem 401 or 429."""
    door, address = doorman(request), address_of(request.scope)
    wait = door.tries.wait_seconds(address)
    if wait > 0:
        raise Problem(429, "Too many wrong tokens. Wait a minute.", retry_after_seconds=wait)
    if not door.is_token(token.strip().encode()):
        door.tries.take(address)
        raise Problem(401, "That is not the API's token.")
    response.set_cookie(
        COOKIE,
        door.new_session(),
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="strict",
        secure="https" in (request.url.scheme, request.headers.get("x-forwarded-proto")),
        path="/",
    )


def sign_out(response: Response) -> None:
    """End the session in this browser."""
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")


def address_of(scope: "dict[str, object] | object") -> str:
    """The other side's address, as the socket knows it: headers can say anything."""
    client = scope.get("client") if hasattr(scope, "get") else None
    return str(client[0]) if client else "?"
