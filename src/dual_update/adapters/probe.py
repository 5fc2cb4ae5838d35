"""Asks services from outside, as a user would."""

import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from httpx import Response

LARGEST_BODY_BYTES = 1024 * 1024
"""How much of an answer is looked at for the wanted words."""

_PLAINLY = {"Accept-Encoding": "identity", "Connection": "close", "User-Agent": "dual-update"}
"""A packed answer could unpack to more than this machine has."""


class HttpProber:
    """HTTP and TCP probes. A wrong answer is a sentence, never an error.

    Redirects are answers and not followed, certificates are verified, proxies of the host are not used.
    """

    def http(self, url: str, status: int, body: str | None, timeout_seconds: float) -> str | None:
        """None for the wanted status, with the wanted words within its first MiB, all of it in time."""
        import httpx

        end = time.monotonic() + timeout_seconds
        try:
            with (
                httpx.Client(timeout=timeout_seconds, trust_env=False, headers=_PLAINLY) as client,
                client.stream("GET", url) as answer,
            ):
                if answer.status_code != status:
                    return f"answered {answer.status_code}, {status} is wanted"
                if body is None or _says(answer, body.encode(), end):
                    return None
        except httpx.TimeoutException:
            return f"did not answer within {timeout_seconds:g} s"
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            return f"did not answer ({type(error).__name__})"
        if time.monotonic() >= end:
            return f"did not answer within {timeout_seconds:g} s"
        return "answered without the wanted words"

    def tcp(self, host: str, port: int, timeout_seconds: float) -> str | None:
        """None when the port accepts a connection in time."""
        try:
            with socket.create_connection((host, port), timeout=timeout_seconds):
                return None
        except TimeoutError:
            return f"did not accept a connection within {timeout_seconds:g} s"
        except OSError as error:
            return f"does not accept connections ({error.strerror or type(error).__name__})"


def _says(answer: "Response", words: bytes, end: float) -> bool:
    """Are the words in the beginning of the answer; a server that drips is left when time is up."""
    read = bytearray()
    for chunk in answer.iter_raw():
        read += chunk
        if words in read:
            return True
        if len(read) >= LARGEST_BODY_BYTES or time.monotonic() >= end:
            return False
    return False
