"""Asks services from outside, as a user would."""

import socket

LARGEST_BODY_BYTES = 1024 * 1024
"""How much of an answer is looked at for the wanted words."""


class HttpProber:
    """HTTP and TCP probes. A wrong answer is a sentence, never an error."""

    def http(self, url: str, status: int, body: str | None, timeout_seconds: float) -> str | None:
        import httpx

        try:
            with (
                httpx.Client(timeout=timeout_seconds, trust_env=False, follow_redirects=False) as client,
                client.stream("GET", url) as answer,
            ):
                if answer.status_code != status:
                    return f"answered {answer.status_code}, {status} is wanted"
                if body is None:
                    return None
                return None if body.encode() in _beginning(answer) else "answered without the wanted words"
        except httpx.TimeoutException:
            return f"did not answer within {timeout_seconds:g} s"
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return f"did not answer ({type(error).__name__})"

    def tcp(self, host: str, port: int, timeout_seconds: float) -> str | None:
        try:
            with socket.create_connection((host, port), timeout=timeout_seconds):
                return None
        except TimeoutError:
            return f"did not accept a connection within {timeout_seconds:g} s"
        except OSError as error:
            return f"does not accept connections ({error.strerror or type(error).__name__})"


def _beginning(answer: "object") -> bytes:
    read = bytearray()
    for chunk in answer.iter_bytes():  # type: ignore[attr-defined]
        read += chunk
        if len(read) >= LARGEST_BODY_BYTES:
            break
    return bytes(read)
