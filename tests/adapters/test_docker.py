"""Engines that are missing, forbidden, stuck, dying or talking nonsense; integration meets the good one."""

import hashlib
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from dual_update.adapters.docker import DockerEngine
from dual_update.core.errors import Timeout, WorldError

VERSION = {"Version": "99.1", "ApiVersion": "1.41", "MinAPIVersion": "1.24", "Arch": "amd64", "Os": "linux"}


def answer(content: object, status: str = "200 OK") -> bytes:
    body = json.dumps(content).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def silence(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.recv(1)


@contextmanager
def engine(
    after_version: "bytes | Callable[[socket.socket], None]", *, version: bool = True
) -> Iterator[str]:
    """A socket that tells its version (or not), and to every other question gives one answer."""

    def talk(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while request := connection.recv(65536):
                if version and b"/version" in request.split(b"\r\n")[0]:
                    connection.sendall(answer(VERSION))
                elif callable(after_version):
                    after_version(connection)
                    return
                else:
                    connection.sendall(after_version)

    def serve() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()

    # Paths of sockets may have no more than 108 characters.
    with tempfile.TemporaryDirectory(prefix="e") as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/docker.sock")
        listener.listen()
        acceptor = threading.Thread(target=serve, daemon=True)
        acceptor.start()
        try:
            yield f"unix://{folder}/docker.sock"
        finally:
            # Closing alone leaves accept() asleep on a number that the next socket of this process gets.
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join()


@pytest.mark.parametrize("version", [False, True], ids=["silent at once", "silent after its version"])
def test_a_stuck_engine_is_left_in_time(version: bool) -> None:
    with engine(silence, version=version) as host, DockerEngine(host, timeout_seconds=0.3) as stuck:
        began = time.monotonic()
        with pytest.raises(Timeout) as caught:
            stuck.observe("shop")
        assert time.monotonic() - began < 3
    assert caught.value.message == (
        f"The docker engine at {host} did not answer within 0.3 seconds"
        " when asked to list the containers of shop."
    )


def test_an_engine_that_stalls_in_the_middle_of_an_answer_is_left_in_time() -> None:
    def stall(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n[{")
        connection.recv(1)

    with engine(stall) as host, DockerEngine(host, timeout_seconds=0.3) as stuck, pytest.raises(Timeout):
        stuck.networks()


@pytest.mark.parametrize("host", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:1"])
def test_a_missing_engine_is_named(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = f"No docker engine answers at {host}: start it, or set DOCKER_HOST to where it is."
    with pytest.raises(WorldError) as caught:
        DockerEngine(host).info()
    assert caught.value.message == wanted
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(WorldError) as caught:
        DockerEngine().info()
    assert caught.value.message == wanted


def test_a_host_that_makes_no_sense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "gopher://x")
    with pytest.raises(WorldError, match="gopher"):
        DockerEngine().networks()


def test_a_forbidden_engine_says_what_to_do() -> None:
    with engine(answer([])) as host:
        DockerEngine(host).networks()  # all modules are read before this user changes
        Path(host.removeprefix("unix://")).chmod(0)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(65534)
        try:
            with pytest.raises(WorldError, match="may not talk to the docker engine") as caught:
                DockerEngine(host).networks()
        finally:
            if is_root:
                os.seteuid(0)
    assert "group `docker`" in caught.value.hint


def test_an_engine_that_dies_while_it_is_asked() -> None:
    with (
        engine(lambda connection: connection.close()) as host,
        DockerEngine(host) as dying,
        pytest.raises(WorldError, match="broke off when asked to list its networks"),
    ):
        dying.networks()


@pytest.mark.parametrize(
    "words", [b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n???", b"SSH-2.0-OpenSSH\r\n\r\n"]
)
def test_nonsense_is_a_sentence(words: bytes) -> None:
    with (
        engine(words) as host,
        DockerEngine(host, timeout_seconds=1) as nonsense,
        pytest.raises(WorldError, match="when asked to list its networks"),
    ):
        nonsense.networks()


def test_the_engines_own_words_are_kept() -> None:
    said = answer({"message": "no room for layer"}, "500 Internal Server Error")
    with engine(said) as host, DockerEngine(host) as refusing, pytest.raises(WorldError) as caught:
        refusing.start("abc")
    assert caught.value.message == "The docker engine could not start container abc: no room for layer"


def test_a_restarted_engine_is_asked_anew() -> None:
    with engine(answer([])) as host:
        first = DockerEngine(host)
        assert first.networks() == frozenset()
        first.close()
        assert first.networks() == frozenset()


@pytest.mark.parametrize("how", ["configured", "environment"])
def test_the_current_context_is_obeyed_as_compose_obeys_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    metadata = tmp_path / "contexts" / "meta" / hashlib.sha256(b"far").hexdigest() / "meta.json"
    metadata.parent.mkdir(parents=True)
    endpoint = {"Host": "unix:///far/docker.sock", "SkipTLSVerify": False}
    metadata.write_text(json.dumps({"Name": "far", "Metadata": {}, "Endpoints": {"docker": endpoint}}))
    settings = {"currentContext": "far"} if how == "configured" else {}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    if how == "environment":
        monkeypatch.setenv("DOCKER_CONTEXT", "far")
    with pytest.raises(WorldError, match=r"No docker engine answers at unix:///far/docker\.sock"):
        DockerEngine().networks()


def test_a_context_that_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONTEXT", "nope")
    with pytest.raises(WorldError, match="docker context 'nope' does not exist"):
        DockerEngine().networks()
