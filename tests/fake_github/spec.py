"""GitHub's description of its API: finds the operation, and judges requests and answers by it."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote, unquote

from openapi_core import OpenAPI
from openapi_core.datatypes import RequestParameters
from openapi_core.exceptions import OpenAPIError
from werkzeug.datastructures import Headers, ImmutableMultiDict

from tests.fake_github.cut import CUT, REPO

SLASHED = frozenset({"path", "ref", "basehead"})
"""Parameters that may hold slashes; OpenAPI has no word for that."""


_FOUND_RIGHT: set[object] = set()
"""Requests that have been judged: the same again need not be (a tenth of a second on a busy machine)."""


@dataclass(frozen=True)
class Operation:
    """One method on one path template, with the values that the address gave."""

    method: str
    template: str
    values: Mapping[str, str]


@dataclass(frozen=True)
class Asked:
    """A request in the shape that openapi-core reads."""

    host_url: str
    path: str
    method: str
    parameters: RequestParameters
    content_type: str
    body: bytes | None


@dataclass(frozen=True)
class Answered:
    """An answer in the shape that openapi-core reads."""

    status_code: int
    content_type: str
    headers: Headers
    data: bytes


@cache
def document() -> dict[str, Any]:
    """The cut, as JSON."""
    loaded: dict[str, Any] = json.loads(CUT.read_text("utf-8"))
    return loaded


@cache
def openapi() -> OpenAPI:
    """The cut, compiled: once a session (under two seconds)."""
    return OpenAPI.from_dict(document())


@cache
def _routes() -> tuple[tuple[re.Pattern[str], str], ...]:
    routes = []
    # The more fixed words a template has, the earlier it is tried: `issues/comments/7` is no issue.
    for template in sorted(document()["paths"], key=lambda one: (one.count("{"), -len(one))):
        pattern = re.sub(
            r"\\\{(\w+)\\\}",
            lambda m: f"(?P<{m[1]}>{'.+' if m[1] in SLASHED else '[^/]+'})",
            re.escape(template),
        )
        routes.append((re.compile(pattern), template))
    return tuple(routes)


def operation(method: str, path: str) -> Operation | None:
    """The operation that a request means, or None for what the cut does not know."""
    for pattern, template in _routes():
        found = pattern.fullmatch(path)
        if found and method.lower() in document()["paths"][template]:
            values = {name: unquote(value) for name, value in found.groupdict().items()}
            return Operation(method.lower(), template, values)
    return None


def asked(op: Operation, host: str, query: Mapping[str, str], body: bytes, content_type: str) -> Asked:
    """The request with its path values as single segments, which is how openapi-core matches."""
    path = op.template
    for name, value in op.values.items():
        path = path.replace(f"{{{name}}}", quote(value, safe=""))
    return Asked(
        host,
        path,
        op.method,
        RequestParameters(query=ImmutableMultiDict(query), path=dict(op.values)),
        content_type.partition(";")[0] or "application/json",
        body or None,
    )


def faults_of_request(op: Operation, request: Asked) -> list[str]:
    """What GitHub's description says against a request; unknown keys of the body too, which it would pass."""
    key = (op.method, request.path, tuple(request.parameters.query.items()), request.body)
    if key not in _FOUND_RIGHT:
        try:
            openapi().validate_request(request)
        except OpenAPIError as error:
            return [_words(error)]
        _FOUND_RIGHT.add(key)
    schema = _body_schema(op)
    if not request.body or schema is None:
        return []
    return [f"unknown key {key}" for key in unknown_keys(schema, json.loads(request.body), "")]


def faults_of_answer(op: Operation, request: Asked, status: int, body: bytes) -> list[str]:
    """What GitHub's description says against an answer.

    Errors are described loosely and not everywhere (no 401, hardly a 403; a 409 that is two things at
    once): of them a message is asked for.
    """
    declared = document()["paths"][op.template][op.method]["responses"]
    if status >= 400:
        return [] if isinstance(json.loads(body).get("message"), str) else [f"{status} without a message"]
    if str(status) not in declared:
        return [f"{status} is no answer to {op.method} {op.template}"]
    try:
        openapi().validate_response(request, Answered(status, "application/json", Headers(), body))
    except OpenAPIError as error:
        return [_words(error)]
    return []


def _words(error: BaseException) -> str:
    parts = [f"{type(error).__name__}: {error}"[:300]]
    cause = error.__cause__
    details = getattr(cause, "schema_errors", None) or getattr(error, "schema_errors", None) or ()
    parts += [f"{'/'.join(map(str, one.absolute_path))}: {one.message[:200]}" for one in details]
    if cause is not None and not details:
        parts.append(_words(cause))
    return "; ".join(parts)


def _resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema:
        _, _, kind, name = schema["$ref"].split("/")
        schema = document()["components"][kind][name]
    return schema


def _body_schema(op: Operation) -> Mapping[str, Any] | None:
    content = document()["paths"][op.template][op.method].get("requestBody", {}).get("content", {})
    schema: Mapping[str, Any] | None = content.get("application/json", {}).get("schema")
    return schema


def _alternatives(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    schema = _resolved(schema)
    yield schema
    for word in ("oneOf", "anyOf", "allOf"):
        for one in schema.get(word, ()):
            yield from _alternatives(one)


def unknown_keys(schema: Mapping[str, Any], value: Any, where: str) -> Iterator[str]:
    """Keys of a JSON value that no alternative of its schema names."""
    several = list(_alternatives(schema))
    if isinstance(value, list):
        items = [one["items"] for one in several if "items" in one]
        for number, element in enumerate(value):
            if items:
                yield from unknown_keys({"anyOf": items}, element, f"{where}[{number}]")
    if isinstance(value, dict):
        known: dict[str, list[Any]] = {}
        for one in several:
            for name, inner in one.get("properties", {}).items():
                known.setdefault(name, []).append(inner)
        if not known or any(one.get("additionalProperties") for one in several):
            return  # a free form: a deployment's payload, a dispatch's inputs
        for key, inner_value in value.items():
            if key not in known:
                yield f"{where}.{key}".lstrip(".")
            else:
                yield from unknown_keys({"anyOf": known[key]}, inner_value, f"{where}.{key}")


def filled(name: str, given: Mapping[str, Any], host: str) -> dict[str, Any]:
    """What is given, with neutral values for everything else that GitHub says is always there."""
    return _filled(document()["components"]["schemas"][name], given, f"{host}/unset")


def _filled(schema: Mapping[str, Any], given: Mapping[str, Any], address: str) -> dict[str, Any]:
    whole = dict(given)
    for one in _alternatives(schema):
        for key in one.get("required", ()):
            if key not in whole and key in one.get("properties", {}):
                whole[key] = _neutral(one["properties"][key], address)
    return whole


def _neutral(schema: Mapping[str, Any], address: str) -> Any:
    schema = _resolved(schema)
    if schema.get("nullable"):
        return None
    for word in ("oneOf", "anyOf", "allOf"):
        if word in schema:
            return _neutral(schema[word][0], address)
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "string" if schema.get("format") == "uri":
            return address
        case "string" if schema.get("format") == "date-time":
            return "2026-01-01T00:00:00Z"
        case "string":
            return "unset"
        case "integer" | "number":
            return 1
        case "boolean":
            return False
        case "array":
            return []
    return _filled(schema, {}, address)


__all__ = [
    "REPO",
    "Asked",
    "Operation",
    "asked",
    "faults_of_answer",
    "faults_of_request",
    "filled",
    "operation",
]
