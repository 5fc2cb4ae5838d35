"""Stands between a coordinator and a cluster's API, and does what networks do at a chosen request."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx


class Proxy:
    """Hands on to `upstream`, until a request begins with `trigger` ("POST /api/apply"); then `fault`:

    `cut`: nobody answers any more; `refuse`: no token is taken any more; `lose`: this one arrives, and its
    answer is lost; `gap`: the same, and nobody answers for `gap_seconds`.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.url = ""
        self.heal()
        self._http = httpx.Client(base_url=upstream, timeout=30, trust_env=False)

    def arm(self, trigger: str, fault: str, gap_seconds: float = 2.0) -> None:
        self.heal()
        self._trigger, self._fault, self._gap_seconds = trigger, fault, gap_seconds

    def heal(self) -> None:
        self._trigger = self._fault = ""
        self._silent_until = 0.0
        self._has_struck = self._is_refusing = False

    @property
    def has_struck(self) -> bool:
        return self._has_struck

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        line = f"{handler.command} {handler.path}"
        is_hit = bool(self._trigger) and line.startswith(self._trigger) and not self._has_struck
        if is_hit:
            self._has_struck = True
            self._is_refusing = self._fault == "refuse"
            if self._fault == "cut":
                self._silent_until = float("inf")
        if time.monotonic() < self._silent_until:
            return  # the connection ends without a word
        if self._is_refusing:
            self._send(handler, 401, b'{"detail": "The token is missing or wrong."}')
            return
        headers = {
            key: value
            for key, value in handler.headers.items()
            if key.lower() in {"authorization", "content-type", "idempotency-key"}
        }
        found = self._http.request(handler.command, handler.path, content=body, headers=headers)
        if is_hit and self._fault in {"lose", "gap"}:
            self._silent_until = time.monotonic() + (self._gap_seconds if self._fault == "gap" else 0.0)
            return
        self._send(handler, found.status_code, found.content)

    def _send(self, handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


@contextmanager
def proxied(upstream: str) -> Iterator[Proxy]:
    proxy = Proxy(upstream)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            proxy.answer(self)

        def do_POST(self) -> None:
            proxy.answer(self)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
