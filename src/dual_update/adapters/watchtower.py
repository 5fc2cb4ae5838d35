"""The Watchtower client: asks it to update some containers, and hands back what it claims.

What an answer means is known in `core/watchtower`; here are the wire, the waiting and the retries. The token
goes into one header and nowhere else: no message, log or representation holds it.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import httpx

from dual_update.core.errors import UsageError
from dual_update.core.watchtower import (
    PokeAnswer,
    WatchtowerPolicy,
    container_pattern,
    old_image_name,
    read_answer,
    read_policy,
)

UPDATE = "/v1/update"
CONNECT_SECONDS = 5.0
"""Longest wait for a connection: a Watchtower that is there takes it at once."""

LOOK_SECONDS = 5.0
"""Longest wait for an answer that only tells settings."""

PAUSE_SECONDS = 5.0
"""Wait before asking a busy Watchtower again that does not say when to come back."""

LONGEST_ANSWER = 64 * 1024
"""Bytes of an answer that are read; Watchtower's own are below one kilobyte."""


def token_from(value: str | None, file: Path | str | None = None) -> str:
    """The token, given as text or as the path of a file that holds it. A UsageError never shows it."""
    if value is not None and file is not None:
        raise UsageError("WATCHTOWER_TOKEN and WATCHTOWER_TOKEN_FILE are both set; give one of them.")
    if file is not None:
        try:
            value = Path(file).read_text("utf-8")
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise UsageError(f"WATCHTOWER_TOKEN_FILE {file} cannot be read: {why}.") from None
    return _checked_token(value or "")


class Watchtower:
    """One Watchtower's HTTP API. `url` is its base, as `http://watchtower:8080`.

    `timeout_seconds` bounds one poke as a whole, waiting for a busy Watchtower included.
    """

    def __init__(
        self,
        url: str,
        token: str,
        timeout_seconds: float,
        *,
        pause: Callable[[float], None] = time.sleep,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._base = _checked_url(url)
        self._token = _checked_token(token)
        self._timeout_seconds = timeout_seconds
        self._pause = pause
        self._transport = transport

    def __repr__(self) -> str:
        return f"Watchtower({str(self._base)!r})"

    def poke(self, containers: Sequence[str], images: Sequence[str]) -> PokeAnswer:
        """Ask for an update of these containers, which run these images; wait for the answer.

        `containers` are full names (`project-service-1`), `images` the references as the containers have
        them. Versions before 1.20 pass over the names and would update everything they watch if no image
        was given, so at least one of each is needed (ValueError). A request that arrived is repeated only
        where it is certain that nothing was begun.
        """
        if not containers or not images:
            raise ValueError("a poke needs containers and images: without them Watchtower updates everything")
        patterns = [container_pattern(name) for name in containers]
        if None in patterns or any("," in image for image in images):
            return PokeAnswer(
                "failed", "A name to poke is none that the engine would take; nothing was asked."
            )
        query = _Query(tuple(images), tuple(cast("list[str]", patterns)))
        deadline = time.monotonic() + self._timeout_seconds
        answer = self._patiently(query, deadline)
        if answer.has_report:
            return answer
        # Only 1.7.1 and its first heirs answer so, and 1.7.1 knows images without their tag.
        old_names = [old_image_name(image) for image in images]
        if None in old_names:
            return replace(
                answer,
                detail=f"{answer.detail} Version 1.7.1 cannot name an image of a registry with a port.",
            )
        return self._patiently(replace(query, images=tuple(cast("list[str]", old_names))), deadline)

    def policy(self) -> WatchtowerPolicy:
        """How this Watchtower is set up, where it tells (1.20 and later, endpoint `config`); asks only."""
        try:
            code, _, body = self._exchange("GET", "/v1/config", {}, LOOK_SECONDS)
        except httpx.HTTPError:
            return WatchtowerPolicy()
        return read_policy(body) if code == 200 else WatchtowerPolicy()

    def _patiently(self, query: "_Query", deadline: float) -> PokeAnswer:
        while True:
            answer = self._ask(query, deadline)
            if answer.status != "busy":
                return answer
            wait_seconds = PAUSE_SECONDS if answer.retry_after_seconds is None else answer.retry_after_seconds
            wait_seconds = max(wait_seconds, 0.1)
            if time.monotonic() + wait_seconds >= deadline:
                return answer
            self._pause(wait_seconds)

    def _ask(self, query: "_Query", deadline: float) -> PokeAnswer:
        try:
            code, headers, body = self._exchange(
                "POST", UPDATE, query.parameters(), deadline - time.monotonic()
            )
            if code == 405:  # a proxy that lets GET pass alone; Watchtowers before 1.16 take either
                code, headers, body = self._exchange(
                    "GET", UPDATE, query.parameters(), deadline - time.monotonic()
                )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol):
            return PokeAnswer("failed", f"Watchtower cannot be reached at {self._base}; nothing was asked.")
        except httpx.TimeoutException:
            return PokeAnswer(
                "unknown", f"Watchtower gave no answer in {self._timeout_seconds:g} seconds; it may work on."
            )
        except httpx.HTTPError:
            return PokeAnswer(
                "unknown", "The connection to Watchtower broke before its answer; it may work on."
            )
        # An answer that repeats the token, a proxy's error page for one, must not carry it into a report.
        return read_answer(code, headers, body.replace(self._token, "***"))

    def _exchange(
        self, method: str, path: str, parameters: dict[str, list[str]], timeout_seconds: float
    ) -> tuple[int, dict[str, str], str]:
        """One request: code, headers by lower-case name, and the body's beginning. No redirects, no proxies
        of the environment: the token goes to the address that was given, or nowhere."""
        deadline = time.monotonic() + max(timeout_seconds, 0.1)
        timeout = httpx.Timeout(
            max(timeout_seconds, 0.1), connect=min(CONNECT_SECONDS, max(timeout_seconds, 0.1))
        )
        headers = {"Authorization": f"Bearer {self._token}", "Accept-Encoding": "identity"}
        with (
            httpx.Client(
                transport=self._transport, timeout=timeout, follow_redirects=False, trust_env=False
            ) as client,
            client.stream(
                method,
                self._base.join(f"{self._base.path.rstrip('/')}{path}"),
                params=parameters,
                headers=headers,
            ) as response,
        ):
            body = bytearray()
            for piece in response.iter_raw():
                body += piece
                if len(body) > LONGEST_ANSWER:
                    break
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout("the answer trickles")
            text = bytes(body[:LONGEST_ANSWER]).decode("utf-8", "replace")
            return response.status_code, {k.lower(): v for k, v in response.headers.items()}, text


@dataclass(frozen=True)
class _Query:
    images: tuple[str, ...]
    patterns: tuple[str, ...]

    def parameters(self) -> dict[str, list[str]]:
        return {"image": list(self.images), "container": list(self.patterns)}


def _checked_url(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text.strip())
    except (httpx.InvalidURL, TypeError):
        raise UsageError("WATCHTOWER_URL is no address; write it as http://HOST:8080.") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise UsageError("WATCHTOWER_URL must begin with http:// or https:// and name a host.")
    if url.userinfo or url.query or url.fragment:
        raise UsageError(
            "WATCHTOWER_URL holds host, port and path alone; the token goes into WATCHTOWER_TOKEN."
        )
    return url.copy_with(path=url.path.rstrip("/").removesuffix(UPDATE) or "/")


def _checked_token(text: str) -> str:
    token = text.strip()
    if not token:
        raise UsageError("The Watchtower token is empty; set WATCHTOWER_TOKEN or WATCHTOWER_TOKEN_FILE.")
    if not all("!" <= character <= "~" for character in token):
        raise UsageError("The Watchtower token holds a space, a line break or a character outside ASCII.")
    return token
