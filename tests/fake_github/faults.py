"""What can go wrong on the way to GitHub and back, scripted."""

import re
import time
from dataclasses import dataclass, field
from typing import Any

RATE_LIMIT = "API rate limit exceeded for installation ID 1."
SECONDARY = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
PAGE = "<!DOCTYPE html><html><title>Sign in</title><body>Unicorn!</body></html>"


@dataclass(frozen=True)
class Fault:
    """The next `times` requests that fit `method` and `path` (a regular expression) get this instead.

    `after`: the request is carried out first, and only its answer is lost. `status` 0 closes the connection
    without a word. `seconds` is waited before anything is said.
    """

    status: int
    message: str = ""
    method: str = "[A-Z]+"
    path: str = ".*"
    times: int = 1
    after: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    page: str = ""
    seconds: float = 0.0

    def fits(self, method: str, path: str) -> bool:
        return bool(re.fullmatch(self.method, method) and re.search(self.path, path))


@dataclass
class Faults:
    """The faults that are still to happen, first come first served."""

    waiting: list[list[Any]] = field(default_factory=list)

    def add(self, *faults: Fault) -> None:
        self.waiting += [[one, one.times] for one in faults]

    def take(self, method: str, path: str) -> Fault | None:
        for entry in self.waiting:
            fault, left = entry
            if left > 0 and fault.fits(method, path):
                entry[1] = left - 1
                return fault
        return None


def unauthorized(**more: Any) -> Fault:
    return Fault(401, "Bad credentials", **more)


def forbidden(**more: Any) -> Fault:
    return Fault(403, "Resource not accessible by integration", **more)


def rate_limited(status: int = 403, *, reset_seconds: int = 3000, **more: Any) -> Fault:
    """The primary limit: used up until the reset."""
    headers = (("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", str(int(time.time()) + reset_seconds)))
    return Fault(status, RATE_LIMIT, headers=headers, **more)


def secondary_limit(status: int = 403, *, retry_after: int | None = 120, **more: Any) -> Fault:
    headers = () if retry_after is None else (("Retry-After", str(retry_after)),)
    return Fault(status, SECONDARY, headers=headers, **more)


def bad_gateway(**more: Any) -> Fault:
    return Fault(502, "Server Error", **more)


def moved(**more: Any) -> Fault:
    """A renamed or transferred repository: GitHub redirects, and a POST is not carried out."""
    return Fault(307, "Moved Permanently", headers=(("Location", "/repositories/1/issues"),), **more)


def web_page(status: int = 200, **more: Any) -> Fault:
    return Fault(status, page=PAGE, **more)


def slow(seconds: float, **more: Any) -> Fault:
    """The answer comes too late for whoever asked; with `after`, what was asked is done."""
    return Fault(0, seconds=seconds, **more)


def lost(**more: Any) -> Fault:
    return Fault(0, **more)
