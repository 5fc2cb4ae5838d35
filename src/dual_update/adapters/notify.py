"""Fits the port Sender: apprise, for Slack, mail and every other service that it knows by a URL.

`WEBHOOK_URL` holds one or several URLs, apart by whitespace:

    https://hooks.slack.com/services/...     Slack, and other services' own webhook URLs
    https://example.com/any/hook             any other http(s) URL: a POST of JSON with title, message, type
                                             and text (which Mattermost, Rocket.Chat and the like read)
    mailto://user:password@mail.example.com?to=ops@example.com
    any other of apprise's URLs
"""

import hashlib
import json
import logging
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from dual_update.adapters.process import run
from dual_update.core.errors import Timeout, UsageError, WorldError
from dual_update.core.secrecy import MASK, is_secret, masked

if TYPE_CHECKING:
    import apprise

SEND_SECONDS = 15.0
"""Longest attempt at one address."""

_SHORTEST_PART = 5  # parts of a URL that are shorter are words like `api`, not tokens


class AppriseSender:
    """Sends to the URLs of WEBHOOK_URL. Raises UsageError for one that nobody understands."""

    def __init__(self, urls: str, attempt_seconds: float = SEND_SECONDS) -> None:
        self._seconds = attempt_seconds
        self._urls = {_address(url): url for url in urls.split()}
        for place, url in enumerate(urls.split(), start=1):
            if _service(url, "") is None:
                raise UsageError(
                    f"WEBHOOK_URL: address {place} is none that can be written to.",
                    hint="http(s)://..., mailto://... or another URL that apprise knows is meant.",
                )

    @property
    def addresses(self) -> Sequence[str]:
        return tuple(self._urls)

    def send(self, address: str, content: Mapping[str, Any]) -> str | None:
        """One attempt, in a process of its own: apprise's threads cannot be stopped, a process can.

        The address goes there through a pipe, where nobody else on the host can read it.
        """
        url = self._urls[address]
        wish = json.dumps({"url": url, "content": dict(content)})
        environ = {name: value for name, value in os.environ.items() if not is_secret(name, value)}
        try:
            done = run(
                [sys.executable, "-m", __name__],
                env=environ,
                stdin=wish.encode(),
                timeout_seconds=self._seconds,
            )
            error = done.out if done.code == 0 else "it could not be sent"
        except Timeout:
            error = f"no answer within {self._seconds:g} seconds"
        except WorldError:
            error = "no process could be started to send it"
        return f"{where(url)}: {error}" if error else None


def where(url: str) -> str:
    """An address as it may be shown: its kind and host."""
    parts = urlsplit(url)
    if parts.scheme in {"http", "https", "mailto", "mailtos", "json", "jsons"}:
        return f"{parts.scheme}://{parts.hostname or ''}"
    return f"{parts.scheme}://{MASK}"


def secrets_of(url: str) -> frozenset[str]:
    """Everything in an address that could be a token: user, password, path, query, as written and decoded."""
    parts = urlsplit(url)
    found = {parts.username or "", parts.password or "", *parts.path.split("/")}
    found.update(value for _, value in parse_qsl(parts.query))
    if parts.scheme not in {"http", "https", "mailto", "mailtos", "json", "jsons"}:
        found.add(parts.netloc)
        found.add(parts.hostname or "")
    found |= {unquote(one) for one in found}
    return frozenset({url, *(one for one in found if len(one) >= _SHORTEST_PART)})


def _address(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def _attempt(url: str, content: Mapping[str, Any]) -> str:
    """What went wrong, in apprise's words without the address's secrets; empty when nothing did."""
    title, body = str(content["title"]), str(content["body"])
    try:
        import apprise

        target = apprise.Apprise()
        service = _service(url, f"{title}\n{body}")
        if service is None or not target.add(service):
            return "it is no address that can be written to"
        result = target.notify(
            body=body,
            title=title,
            notify_type=apprise.NotifyType(content.get("kind") or "info"),
            body_format=apprise.NotifyFormat.TEXT,
        )
    except Exception as error:  # a plug-in's bug is no reason for ours
        return f"apprise failed ({type(error).__name__})"
    if result:
        return ""
    said = masked(" ".join(one.message for one in result.logs()), secrets_of(url))
    return re.sub(r"\s+", " ", said).strip()[:200] or "it did not take the message"


def _service(url: str, text: str) -> "apprise.NotifyBase | None":
    """Apprise's service for a URL; a plain http(s) URL that is no service's own takes JSON."""
    import apprise

    logging.getLogger("apprise").propagate = False  # its lines name addresses; what they say is in our errors
    asset = apprise.AppriseAsset(storage_mode=apprise.PersistentStoreMode.MEMORY, app_id="dual-update")
    for one in (url, _as_json_hook(url, text)):
        found = apprise.Apprise.instantiate(one, asset=asset, suppress_exceptions=True) if one else None
        if isinstance(found, apprise.NotifyBase):
            return found
    return None


def _as_json_hook(url: str, text: str) -> str | None:
    """`https://host/path?a=b` as apprise writes it: its own options are apart from those that are sent on."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            return None
    except ValueError:
        return None
    sent_on = [(f"-{name}", value) for name, value in parse_qsl(parts.query, keep_blank_values=True)]
    options = [*sent_on, (":text", text), ("rto", "8"), ("cto", "5"), ("redirect", "no")]
    query = urlencode(options, quote_via=quote)
    return urlunsplit(("jsons" if parts.scheme == "https" else "json", parts.netloc, parts.path, query, ""))


def _main() -> None:
    wish = json.load(sys.stdin)
    sys.stdout.write(_attempt(wish["url"], wish["content"]))
    sys.stdout.flush()
    os._exit(0)  # without waiting for threads of apprise's that still wait for an answer


if __name__ == "__main__":
    _main()
