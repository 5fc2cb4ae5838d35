"""Errors as JSON that says in one sentence what is wrong (RFC 9457). Never a traceback."""

import json
from http import HTTPStatus
from typing import Any

from dual_update.core.errors import DualUpdateError, NotNow, UsageError

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """An answer with a status above 399."""

    def __init__(
        self, status: int, detail: str, *, retry_after_seconds: float = 0.0, location: str = ""
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers: dict[str, str] = {}
        if retry_after_seconds:
            self.headers["Retry-After"] = str(max(1, round(retry_after_seconds)))
        if status == HTTPStatus.UNAUTHORIZED:
            self.headers["WWW-Authenticate"] = 'Bearer realm="dual-update"'
        if location:
            self.headers["Location"] = location


def body(status: int, detail: str) -> bytes:
    """The JSON of a problem."""
    try:
        title = HTTPStatus(status).phrase
    except ValueError:
        title = "Error"
    content: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return json.dumps(content, ensure_ascii=False).encode()


def of_error(error: DualUpdateError) -> Problem:
    """What an error of ours means to a caller over HTTP."""
    if isinstance(error, NotNow):
        return Problem(409, _line(error))
    if isinstance(error, UsageError):
        return Problem(404 if error.message.startswith("There is no") else 422, _line(error))
    return Problem(503, _line(error), retry_after_seconds=10)


def _line(error: DualUpdateError) -> str:
    return " ".join(str(error).split())


SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "One sentence that says what is wrong."},
    },
}

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": words, "content": {MEDIA_TYPE: {"schema": SCHEMA}}}
    for status, words in {
        400: "It cannot be read",
        401: "The token is missing or wrong",
        403: "It is not allowed",
        404: "There is no such thing",
        405: "It is not done with this method",
        409: "Not now: something is under way, or it is not what was agreed to",
        413: "It is too large",
        415: "It is of another kind",
        421: "The service has another name",
        422: "The request is wrong",
        429: "Too many wrong tries",
        500: "A bug of ours",
        503: "A neighbour does not answer",
    }.items()
}
"""For the OpenAPI document."""
