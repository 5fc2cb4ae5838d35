"""Probes of servers that answer well, wrongly, slowly, without end, or not at all."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from dual_update.adapters.probe import HttpProber

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nall well\n"


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port whose connections are handed to `answer` after a request has come."""

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

    def talk(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        acceptor = threading.Thread(target=serve, daemon=True)
        acceptor.start()
        try:
            yield listener.getsockname()[1]
        finally:
            # Closing alone leaves accept() asleep on a number that the next socket of this process gets.
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join()


def says(content: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(content)


@pytest.mark.parametrize(
    ("answer", "status", "body", "wanted"),
    [
        (OK, 200, None, None),
        (OK, 200, "all well", None),
        (OK, 200, "splendid", "answered without the wanted words"),
        (OK, 204, None, "answered 200, 204 is wanted"),
        (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", 503, None, None),
        (
            b"HTTP/1.1 302 Found\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n",
            200,
            None,
            "answered 302, 200 is wanted",
        ),
        (b"SSH-2.0-OpenSSH\r\n", 200, None, "did not answer (RemoteProtocolError)"),
        (b"", 200, None, "did not answer (RemoteProtocolError)"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut",
            200,
            "all well",
            "did not answer (RemoteProtocolError)",
        ),
    ],
)
def test_an_answer_is_judged(answer: bytes, status: int, body: str | None, wanted: str | None) -> None:
    with server(says(answer)) as port:
        assert HttpProber().http(f"http://127.0.0.1:{port}/", status, body, 5) == wanted


def test_a_silent_server_is_left_in_time() -> None:
    with server(lambda _: time.sleep(5)) as port:
        began = time.monotonic()
        said = HttpProber().http(f"http://127.0.0.1:{port}/", 200, None, 0.3)
        assert said == "did not answer within 0.3 s"
        assert time.monotonic() - began < 2


def test_a_server_that_drips_is_left_in_time() -> None:
    """Each byte comes in time, the whole never does."""

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(100):
            connection.sendall(b".")
            time.sleep(0.1)

    with server(drip) as port:
        began = time.monotonic()
        said = HttpProber().http(f"http://127.0.0.1:{port}/", 200, "all well", 0.5)
        assert said == "did not answer within 0.5 s"
        assert time.monotonic() - began < 2


def test_an_endless_answer_is_read_only_so_far() -> None:
    sent = 0

    def pour(connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            sent += connection.send(b"x" * 65536)

    with server(pour) as port:
        assert (
            HttpProber().http(f"http://127.0.0.1:{port}/", 200, "all well", 10)
            == "answered without the wanted words"
        )
    assert sent < 20 * 1024 * 1024


def test_a_packed_answer_is_not_asked_for() -> None:
    asked: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        connection.sendall(OK)

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def once() -> None:
            connection, _ = listener.accept()
            with connection:
                asked.append(connection.recv(65536))
                serve(connection)

        thread = threading.Thread(target=once, daemon=True)
        thread.start()
        HttpProber().http(f"http://127.0.0.1:{listener.getsockname()[1]}/", 200, None, 5)
        thread.join(5)
    assert b"accept-encoding: identity" in asked[0].lower()


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1/", "nonsense", "ftp://127.0.0.1/", "http://[::bad/", "http://127.0.0.1:99999/"],
)
def test_what_cannot_be_asked_is_a_sentence(url: str) -> None:
    said = HttpProber().http(url, 200, None, 1)
    assert said is not None
    assert said.startswith("did not answer (")


def test_ports() -> None:
    prober = HttpProber()
    with server(says(b"")) as port:
        assert prober.tcp("127.0.0.1", port, 1) is None
    assert prober.tcp("127.0.0.1", port, 1) == "does not accept connections (Connection refused)"
    said = prober.tcp("does-not-exist.invalid", 80, 2)
    assert said is not None
    assert said.startswith("does not accept connections (")
