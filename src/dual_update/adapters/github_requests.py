"""One repository's address, asked and written to: pauses, retries, and one sentence for every failure.

PyGithub's objects take any answer for a success: a redirected POST or a web page becomes an issue without
a number. So its requester is used below them, and status, type and content of every answer are looked at.
Reads are retried by GithubRetry. A write is sent once; when nobody knows whether it arrived (a 5xx, a
time-out, a lost connection), what it makes is looked for before it is sent again. The token is in one header
and nowhere else: no message, log or representation holds it.
"""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlencode, urlsplit

import requests
from github import Auth, Github, GithubException, GithubRetry
from requests.exceptions import ChunkedEncodingError, RetryError

from dual_update.core.errors import Timeout, UsageError, WorldError

T = TypeVar("T")
API_VERSION = "2022-11-28"


@dataclass(frozen=True)
class Patience:
    """How long GitHub is waited for, in seconds. `tries` counts the sendings of one write,
    `looks` how often it is looked for between two of them: lists lag behind writes."""

    answer_seconds: int = 15
    rate_limit_seconds: float = 60.0
    pause_seconds: float = 2.0
    between_reads_seconds: float = 0.25
    between_writes_seconds: float = 1.0
    reads: int = 3
    tries: int = 3
    looks: int = 3


class Asking:
    """One repository by name. `base_url` is as GITHUB_API_URL gives it; an enterprise's ends in `/api/v3`."""

    def __init__(
        self,
        base_url: str,
        repository: str,
        token: str,
        *,
        patience: Patience = Patience(),
    ) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+", repository):
            raise UsageError("The repository is not of the form OWNER/NAME; set GITHUB_REPOSITORY.")
        if urlsplit(base_url).scheme not in ("http", "https") or not urlsplit(base_url).hostname:
            raise UsageError("GITHUB_API_URL must begin with https:// and name a host.")
        if not token.strip() or not token.strip().isascii() or not token.strip().isprintable():
            raise UsageError("The GitHub token is empty or holds what no token does; give github-token.")
        self._name, self._token, self._patience = repository, token.strip(), patience
        self._base = base_url.rstrip("/")
        self._github = Github(
            auth=Auth.Token(self._token),
            base_url=self._base,
            timeout=patience.answer_seconds,
            retry=_Reads(
                longest_wait_seconds=patience.rate_limit_seconds,
                total=patience.reads,
                backoff_factor=patience.pause_seconds / 4,
                allowed_methods=frozenset({"GET", "HEAD"}),
                max_rate_limit_wait=patience.rate_limit_seconds,
                secondary_rate_wait=patience.rate_limit_seconds,
            ),
            seconds_between_requests=patience.between_reads_seconds,
            seconds_between_writes=patience.between_writes_seconds,
            user_agent="dual-update",
            api_version=API_VERSION,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._base!r}, {self._name!r})"

    @property
    def repository(self) -> str:
        return self._name

    def _make(
        self, path: str, body: Mapping[str, Any], read: Callable[[Any], T], found: Callable[[], T | None]
    ) -> T:
        """Send what makes something once; when nobody knows whether it arrived, look before sending again."""
        last: Unknown | None = None
        for _ in range(self._patience.tries):
            try:
                return self._read(self._send("POST", path, body), read, path)
            except Unknown as unknown:
                last = unknown
            there = self._looked_for(found)
            if there is not None:
                return there
        assert last is not None
        raise last

    def _looked_for(self, found: Callable[[], T | None]) -> T | None:
        """Look a few times: lists lag behind writes a little."""
        for look in range(self._patience.looks):
            self._pause(look + 1)
            there = found()
            if there is not None:
                return there
        return None

    def _set(self, method: str, path: str, body: Mapping[str, Any] | None, read: Callable[[Any], T]) -> T:
        """Send what sets something: the same twice is the same, so it may be repeated as it is."""
        for attempt in range(self._patience.tries):
            try:
                return self._read(self._send(method, path, body), read, path)
            except Unknown as unknown:
                last = unknown
                self._pause(attempt + 1)
        raise last

    def _pause(self, attempt: int) -> None:
        """Lists lag behind writes a little: what was written must have time to show."""
        time.sleep(self._patience.pause_seconds * attempt)

    def _get(self, path: str, **query: str) -> Any:
        return self._send("GET", f"{path}?{urlencode(query)}" if query else path, None)

    def _pages(self, path: str, *, most: int = 20, **query: str) -> Iterator[Any]:
        """Everything in a list, a hundred at a time, `most` pages at most."""
        for page in range(1, most + 1):
            listed = self._get(path, **query, per_page="100", page=str(page))
            if not isinstance(listed, list):
                raise self._error(Unreadable, f"GitHub's answer to GET {path} is no list.")
            yield from listed
            if len(listed) < 100:
                return

    def _read(self, answer: Any, read: Callable[[Any], T], path: str) -> T:
        """What the answer holds; one without it is no success, whatever its status says."""
        try:
            return read(answer)
        except (KeyError, TypeError, ValueError):
            raise self._error(Unknown, f"GitHub's answer for {path} lacks what it must hold.") from None

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        """One request; the JSON of a good answer, None for an empty one. Raises WorldError and its kin."""
        url = f"/repos/{self._name}{path}"
        try:
            status, headers, text = self._github.requester.requestJson(
                method, url, input=None if body is None else dict(body)
            )
        except GithubException as error:
            self._refuse(method, path, error.status, dict(error.headers or {}), _message(error.data))
        except requests.ConnectTimeout:
            raise self._error(Timeout, f"GitHub cannot be reached at {self._base}.") from None
        except requests.Timeout:
            seconds = self._patience.answer_seconds
            raise self._error(Unknown, f"GitHub gave no answer in {seconds} seconds.") from None
        except RetryError:
            raise self._error(Unknown, "GitHub answers with server errors; try again later.") from None
        except (requests.ConnectionError, ChunkedEncodingError) as error:
            if "NewConnectionError" in repr(error) or "NameResolution" in repr(error):
                words = f"GitHub cannot be reached at {self._base}; check GITHUB_API_URL and the network."
                raise self._error(WorldError, words) from None
            raise self._error(Unknown, "The connection to GitHub broke before its answer.") from None
        except (requests.RequestException, RuntimeError, AssertionError):
            words = f"{self._base} sends elsewhere or does not speak as GitHub does; check GITHUB_API_URL."
            raise self._error(WorldError, words) from None
        told = {name.lower(): str(value) for name, value in headers.items()}
        if not 200 <= status < 300:
            self._refuse(method, path, status, told, _message(text))
        if not text:
            return None
        try:
            return json.loads(text)
        except ValueError:
            words = f"{self._base} answered with a web page instead of JSON"
            hint = "Check GITHUB_API_URL (an enterprise's ends in /api/v3) and any proxy between."
            raise self._error(Unreadable, f"{words}.", hint) from None

    def _refuse(
        self, method: str, path: str, status: int, headers: Mapping[str, str], message: str
    ) -> NoReturn:
        """Turn an answer that is no success into one sentence with the setting to change."""
        headers = {name.lower(): value for name, value in headers.items()}
        place = path.partition("?")[0]
        is_limit = status == 429 or (status == 403 and "rate limit" in message.lower())
        if is_limit:
            raise self._error(Limited, _limit(headers))
        if status >= 500:
            raise self._error(Unknown, f"GitHub answered {status}; try again later.")
        if 300 <= status < 400:
            words = f"The repository {self._name} was renamed or moved; nothing was written."
            raise self._error(
                WorldError, words, "Use its new name (GITHUB_REPOSITORY, the workflow's clone)."
            )
        if status == 401:
            words = "GitHub does not know the token (401): it is wrong, expired or revoked."
            raise self._error(WorldError, words, "Give a valid github-token (submodule-token for the other).")
        if status == 403 and "not permitted to create" in message:
            words = "GitHub Actions may not create pull requests in this repository (403)."
            hint = "Settings, Actions, General: allow GitHub Actions to create and approve pull requests."
            raise self._error(WorldError, words, hint)
        if status == 403:
            words = f"The token may not {'read' if method == 'GET' else 'write'} {place} (403)."
            hint = f"Give the job `permissions: {_permission(method, place)}`."
            refused = self._error(Forbidden, words, hint)
            refused.said = message
            raise refused
        if status == 404:
            words = f"{self._name} has no {place}, or the token may not see it (404)."
            hint = f"Check the name and `permissions: {_permission(method, place)}`."
            error = self._error(NotThere, words, hint)
            error.said = message.lower()
            raise error
        if status == 410:
            words = f"Issues are switched off in {self._name} (410)."
            raise self._error(WorldError, words, "Settings, General, Features: switch Issues on.")
        if status == 422:
            raise self._error(Invalid, f"GitHub refuses {method} {place} (422): {message}")
        raise self._error(WorldError, f"GitHub refuses {method} {place} ({status}): {message}")

    def _error(self, kind: type["E"], message: str, hint: str = "") -> "E":
        return kind(message.replace(self._token, "***"), hint=hint.replace(self._token, "***"))


E = TypeVar("E", bound=WorldError)


class Unknown(WorldError):
    """Nobody knows whether what was asked is done."""


class Unreadable(Unknown):
    """The answer is none of GitHub's."""


class Limited(WorldError):
    """Too many requests; nothing was done."""


class NotThere(WorldError):
    """It does not exist, or not for this token. `said` is GitHub's own word for it."""

    said = ""


class Forbidden(WorldError):
    """The token is not allowed to. `said` is GitHub's own word for it."""

    said = ""


class Invalid(WorldError):
    """The request is wrong in GitHub's eyes."""


class _Reads(GithubRetry):
    """Retries of reads, with an end: a longer wait that GitHub asks for is told, not slept through."""

    def __init__(self, longest_wait_seconds: float = 60.0, **options: Any) -> None:
        self.longest_wait_seconds = longest_wait_seconds
        super().__init__(**options)

    def new(self, **options: Any) -> Any:
        options["longest_wait_seconds"] = self.longest_wait_seconds
        return super().new(**options)

    def increment(
        self, method: Any = None, url: Any = None, response: Any = None, *rest: Any, **more: Any
    ) -> Any:
        wanted = response.headers.get("Retry-After", "") if response is not None else ""
        if wanted.isdigit() and int(wanted) > self.longest_wait_seconds:
            data = {"message": "rate limit"} if response.status in (403, 429) else {}
            raise GithubException(response.status, data, dict(response.headers))
        return super().increment(method, url, response, *rest, **more)


def _limit(headers: Mapping[str, str]) -> str:
    wait = headers.get("retry-after", "")
    reset = headers.get("x-ratelimit-reset", "")
    if headers.get("x-ratelimit-remaining") == "0" and reset.isdigit():
        at = time.strftime("%H:%M:%S UTC", time.gmtime(int(reset)))
        return (
            f"The token's rate limit at GitHub is used up until {at}; run again then, or use an App's token."
        )
    again = f"in {wait} seconds" if wait.isdigit() else "in a few minutes"
    return f"GitHub limits how fast this token may ask; run again {again}."


PERMISSIONS = (
    ("/issues", "issues"),
    ("/labels", "issues"),
    ("/pulls", "pull-requests"),
    ("/deployments", "deployments"),
    ("/statuses", "statuses"),
    ("/environments", "actions"),
    ("/actions", "actions"),
)
"""Which permission of a workflow's token an address asks for."""


def _permission(method: str, path: str) -> str:
    name = next((name for start, name in PERMISSIONS if path.startswith(start)), "contents")
    if path.endswith("/status") and path.startswith("/commits"):
        name = "statuses"
    if re.match(r"/pulls/\d+/merge", path):
        name = "contents"
    return f"{name}: {'read' if method == 'GET' else 'write'}"


def _message(data: Any) -> str:
    """GitHub's own words, short and without what a terminal or a workflow log would act on."""
    if isinstance(data, str):
        try:
            data = json.loads(data)
        except ValueError:
            return ""
    if not isinstance(data, dict):
        return ""
    errors = (one if isinstance(one, dict) else {"message": one} for one in data.get("errors") or ())
    words = [str(data.get("message") or ""), *(str(e.get("message") or e.get("field")) for e in errors)]
    text = " ".join("; ".join(words).split())[:300]
    return "".join(one for one in text if one.isprintable())
