"""What a handler is given and what it hands back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.fake_github.cut import REPO
from tests.fake_github.repository import Repository


@dataclass(frozen=True)
class Call:
    """One request that has been found right."""

    repo: Repository
    values: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, Any]
    login: str

    def number(self, name: str) -> int:
        return int(self.values[name])


@dataclass(frozen=True)
class Answer:
    """`body` None is an answer without one."""

    status: int
    body: Any = None


class Failed(Exception):
    """The request is answered with an error."""

    def __init__(self, status: int, message: str, *errors: Mapping[str, str]) -> None:
        super().__init__(message)
        self.answer = Answer(
            status, {"message": message, "documentation_url": "https://docs.example.org/rest"}
        )
        if errors:
            self.answer.body["errors"] = [dict(one) for one in errors]


def invalid(resource: str, field: str, code: str = "invalid", message: str = "") -> Failed:
    """What GitHub says of a request that is well-formed and wrong."""
    error = {"resource": resource, "field": field, "code": code, **({"message": message} if message else {})}
    return Failed(422, "Validation Failed", error)


Handler = Callable[[Call], Answer]
HANDLERS: dict[tuple[str, str], Handler] = {}


def answers(method: str, path: str) -> Callable[[Handler], Handler]:
    """Register the handler of one operation, by its path below the repository."""

    def register(handler: Handler) -> Handler:
        HANDLERS[method.lower(), REPO + path] = handler
        return handler

    return register
