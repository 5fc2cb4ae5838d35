"""The server: a stateful GitHub on loopback that holds both sides to GitHub's own description."""

import json
import subprocess
import threading
import time
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.fake_github import code, conversation, deploying
from tests.fake_github.calls import HANDLERS, Answer, Call, Failed
from tests.fake_github.cut import REPO
from tests.fake_github.faults import Fault, Faults
from tests.fake_github.repository import Repository
from tests.fake_github.spec import (
    Asked,
    Operation,
    asked,
    faults_of_answer,
    faults_of_request,
    openapi,
    operation,
)

__all__ = ["FakeGitHub", "Request", "code", "conversation", "deploying"]

BOT = "github-actions[bot]"

NEEDS = (
    ("/issues", "issues"),
    ("/labels", "issues"),
    ("/pulls", "pull_requests"),
    ("/deployments", "deployments"),
    ("/statuses", "statuses"),
    ("/environments", "actions"),
    ("/actions", "actions"),
)
"""Which permission an address asks for; everything else asks for `contents`."""


@dataclass(frozen=True)
class Request:
    """One request as it came in, for tests to count."""

    method: str
    path: str
    body: Any
    status: int


@dataclass(frozen=True)
class Token:
    """Whom a token speaks for. `permissions` None is everything; else `issues: write` and so on; so is
    `repositories`: others are not there for it."""

    login: str = BOT
    permissions: dict[str, str] | None = None
    repositories: frozenset[str] | None = None


class FakeGitHub:
    """`with FakeGitHub(folder) as github:` serves at `github.url`; `prefix` as an enterprise's `/api/v3`.

    At the end every break of GitHub's description, by whoever asked or by the fake itself, fails the test.
    """

    def __init__(self, folder: Path, *, prefix: str = "", strict: bool = True) -> None:
        self.folder, self.prefix, self.is_strict = folder, prefix, strict
        self.repositories: dict[str, Repository] = {}
        self.tokens: dict[str, Token] = {"a-token": Token()}
        self.faults = Faults()
        self.requests: list[Request] = []
        self.violations: list[str] = []
        self.lock = threading.RLock()
        self._server = _Server(("127.0.0.1", 0), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}{self.prefix}"

    def __enter__(self) -> Self:
        openapi()  # compiled before anyone waits for an answer
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        if kind is None and self.is_strict:
            assert not self.violations, "\n".join(self.violations)

    def repository(self, name: str) -> Repository:
        """The repository of that name, made at the first mention with one commit on its default branch."""
        if name not in self.repositories:
            repo = Repository(name, self.folder / f"{name.replace('/', '+')}.git", self.url)
            repo.put(repo.default_branch, {"README.md": "hello\n"}, "first")
            self.repositories[name] = repo
        return self.repositories[name]

    def written(self, path: str = "") -> list[Request]:
        """The writes that were carried out, or answered for, below this end of an address."""
        return [r for r in self.requests if r.method != "GET" and r.path.endswith(path)]

    def answer(
        self, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> tuple[Answer, dict[str, str]]:
        """Judge the request, carry it out, judge the answer."""
        parts = urlsplit(target)
        path, query = parts.path.removeprefix(self.prefix), dict(parse_qsl(parts.query))
        if self.prefix and not parts.path.startswith(self.prefix):
            return _failed(404, "Not Found"), {}
        op = operation(method, path)
        if op is None:
            self.violations.append(f"{method} {path} is not in the cut of GitHub's description")
            return _failed(404, "Not Found"), {}
        request = asked(op, self.url, query, body, headers.get("content-type", ""))
        with self.lock:
            answer, extra = self._judged(op, request, headers, query, body)
            text = b"" if answer.body is None else json.dumps(answer.body).encode()
            wrong = faults_of_answer(op, request, answer.status, text)
        if wrong:
            self.violations += [f"answer to {method} {path}: {one}" for one in wrong]
            return _failed(500, "The fake broke GitHub's description."), {}
        return answer, extra

    def _judged(
        self, op: Operation, request: Asked, headers: dict[str, str], query: dict[str, str], body: bytes
    ) -> tuple[Answer, dict[str, str]]:
        token = self.tokens.get(headers.get("authorization", "").rpartition(" ")[2])
        if token is None:
            return _failed(401, "Bad credentials"), {}
        repo = self.repositories.get(f"{op.values['owner']}/{op.values['repo']}")
        if repo is None or (token.repositories is not None and repo.name not in token.repositories):
            return _failed(404, "Not Found"), {}
        if not _permits(token, op):
            return _failed(403, "Resource not accessible by integration"), {}
        if wrong := faults_of_request(op, request):
            self.violations += [f"{op.method} {op.template}: {one}" for one in wrong]
            return _failed(422, "Invalid request.\n\n" + "; ".join(wrong)), {}
        call = Call(repo, op.values, query, (json.loads(body) if body else None) or {}, token.login)
        try:
            answer = HANDLERS[op.method, op.template](call)
        except Failed as failed:
            return failed.answer, {}
        except (
            subprocess.CalledProcessError
        ):  # git refuses what was asked: no such tree, a name it can't have
            return _failed(422, "Validation Failed"), {}
        if isinstance(answer.body, list):
            return self._page(answer, request, op, query)
        return answer, {}

    def _page(
        self, answer: Answer, request: Asked, op: Operation, query: dict[str, str]
    ) -> tuple[Answer, dict[str, str]]:
        size, number = min(int(query.get("per_page", 30)), 100), int(query.get("page", 1))
        first = (number - 1) * size
        more = answer.body[first + size :]
        path = op.template.format(**op.values)
        link = f"{self.url}{path}?{urlencode({**query, 'page': number + 1})}"
        extra = {"Link": f'<{link}>; rel="next"'} if more else {}
        return replace(answer, body=answer.body[first : first + size]), extra


def _failed(status: int, message: str) -> Answer:
    return Failed(status, message).answer


def _permits(token: Token, op: Operation) -> bool:
    if token.permissions is None:
        return True
    path = op.template.removeprefix(REPO)
    need = next((name for start, name in NEEDS if path.startswith(start)), "contents")
    has = token.permissions.get(need, "none")
    if path.startswith("/issues") and need == "issues":  # a pull request's comments are an issue's
        has = max(has, token.permissions.get("pull_requests", "none"), key=["none", "read", "write"].index)
    return has == "write" or (has == "read" and op.method == "get") or path == ""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], github: FakeGitHub) -> None:
        super().__init__(address, _Connection)
        self.github = github

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; anything else is a fault of the fake."""
        import sys

        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError):
            self.github.violations.append(f"the fake failed: {error!r}")


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: Any) -> None:
        """Tests are quiet."""

    def _serve(self) -> None:
        github = self.server.github
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {key.lower(): value for key, value in self.headers.items()}
        path = urlsplit(self.path).path
        with github.lock:
            fault = github.faults.take(self.command, path)
        answer, extra = Answer(fault.status if fault else 0), {}
        if fault is None or fault.after:
            answer, extra = github.answer(self.command, self.path, headers, body)
        told = fault.status if fault else answer.status
        parsed = json.loads(body) if body[:1] in (b"{", b"[") else None
        github.requests.append(Request(self.command, path, parsed, told))
        if fault is None:
            text = b"" if answer.body is None else json.dumps(answer.body).encode()
            self._say(answer.status, text, {"Content-Type": "application/json; charset=utf-8", **extra})
        else:
            self._fail(fault)

    def _fail(self, fault: Fault) -> None:
        time.sleep(fault.seconds)
        if fault.status == 0:
            self.close_connection = True
            self.connection.close()
            return
        text = fault.page.encode() or json.dumps({"message": fault.message, "documentation_url": ""}).encode()
        kind = "text/html" if fault.page else "application/json; charset=utf-8"
        self._say(fault.status, text, {"Content-Type": kind, **dict(fault.headers)})

    def _say(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if status != 204:
            self.wfile.write(body)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _serve  # noqa: N815 - the names that http.server calls
