"""A socket proxy for tests: lets requests through whose method and path its allow-list knows, like
wollomatic/socket-proxy 1.13 (`SP_ALLOW_METHOD`, patterns that fit whole paths), and 403 for others."""

import re
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path


class SocketProxy:
    """Listens on `path` until it is closed. `refused` and `passed` hold METHOD PATH."""

    def __init__(self, path: Path, engine: str, allowed: Mapping[str, str]) -> None:
        self._engine = engine
        self._allowed = {method: re.compile(pattern) for method, pattern in allowed.items()}
        self.refused: list[str] = []
        self.passed: list[str] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """One request a connection: the engine is asked to close after it, and the client sees that."""
        with client, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                more = client.recv(65536)
                if not more:
                    return
                head += more
            lines, _, rest = head.partition(b"\r\n\r\n")
            first, *headers = lines.split(b"\r\n")
            method, target, _ = first.decode().split(" ")
            path = target.partition("?")[0]
            pattern = self._allowed.get(method)
            if pattern is None or not pattern.fullmatch(path):
                self.refused.append(f"{method} {path}")
                client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            self.passed.append(f"{method} {path}")
            if not any(line.lower().startswith(b"upgrade:") for line in headers):
                headers = [line for line in headers if not line.lower().startswith(b"connection:")]
                headers.append(b"Connection: close")
            with socket.socket(socket.AF_UNIX) as engine:
                engine.connect(self._engine)
                engine.sendall(b"\r\n".join([first, *headers]) + b"\r\n\r\n" + rest)
                back = threading.Thread(target=_pump, args=(engine, client), daemon=True)
                back.start()
                _pump(client, engine)
                back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
