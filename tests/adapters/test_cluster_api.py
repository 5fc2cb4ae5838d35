"""The API of a cluster far away: late, lost, lying, refusing. A service in memory answers as the real one."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dual_update.adapters.cluster_api import LARGEST_ANSWER, ClusterApi
from dual_update.core.rollout import Start

OLD, NEW = "1" * 40, "2" * 40
TOKEN = "not-to-be-seen"


class FakeService:
    """Runs, jobs and idempotency keys, as `dual-update serve` has them. `faults` answer instead, in turn."""

    def __init__(self) -> None:
        self.runs: list[dict[str, Any]] = [run("r0", OLD)]
        self.pending = ""
        self.newest = NEW
        self.outcome = "succeeded"
        self.jobs: dict[str, dict[str, Any]] = {}
        self.keys: dict[str, str] = {}
        self.checks = 0
        self.faults: list[Callable[[httpx.Request], httpx.Response | None]] = []
        self.asked: list[httpx.Request] = []
        self.healthy = True

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if self.faults:
            answer = self.faults.pop(0)(request)
            if answer is not None:
                return answer
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return httpx.Response(401, json={"detail": "The token is missing or wrong."})
        path, body = request.url.path, json.loads(request.content or b"{}")
        if path == "/api/status":
            return httpx.Response(200, json=self.status())
        if path == "/api/history":
            return httpx.Response(200, json={"runs": self.runs})
        if path == "/api/health":
            readings = [{"name": "web", "good": self.healthy, "detail": "answers 500\x1b[2J"}]
            return httpx.Response(200, json={"status": "ok", "healthy": self.healthy, "readings": readings})
        if path == "/api/check":
            self.checks += 1
            self.pending = self.newest if self.newest != self.deployed else ""
            return httpx.Response(202, json={"id": "check", "state": "queued"})
        if path.startswith("/api/runs/"):
            return httpx.Response(200, json={"job": self.jobs[path.rpartition("/")[2]]})
        return self.job(path, body, request.headers["idempotency-key"])

    @property
    def deployed(self) -> str:
        return next(one["to"] for one in self.runs if one["outcome"] == "succeeded")

    def status(self) -> dict[str, Any]:
        pending = {"commit": self.pending, "fingerprint": "f", "plan_fingerprint": "pf"}
        return {
            "deployed": self.deployed,
            "healthy": self.healthy,
            "last_check": {"at": str(self.checks), "outcome": "ok", "sentence": ""},
            "pending": pending if self.pending else None,
            "job": None,
            "queued": 0,
            "drift": [],
            "last_run": self.runs[0],
        }

    def job(self, path: str, body: dict[str, Any], key: str) -> httpx.Response:
        if key in self.keys:
            return httpx.Response(202, json=self.jobs[self.keys[key]])
        if path == "/api/apply" and body.get("fingerprint") not in {"f", "pf"}:
            return httpx.Response(409, json={"detail": "What is pending has another fingerprint."})
        name = f"j{len(self.jobs) + 1}"
        kind, to = ("apply", self.pending) if path == "/api/apply" else ("rollback", OLD)
        self.runs.insert(0, run(f"r-{name}", to, kind, self.outcome))
        self.keys[key] = name
        self.jobs[name] = {"id": name, "state": "ended", "exit_code": 0, "run": f"r-{name}", "sentence": ""}
        return httpx.Response(202, json={**self.jobs[name], "state": "running", "run": None})


def run(name: str, to: str, kind: str = "apply", outcome: str = "succeeded") -> dict[str, Any]:
    return {"run": name, "kind": kind, "outcome": outcome, "to": to, "from": OLD, "reason": None}


@pytest.fixture
def service() -> FakeService:
    return FakeService()


def client(service: Callable[[httpx.Request], httpx.Response], token: str = TOKEN, **more: Any) -> ClusterApi:
    return ClusterApi(
        "https://us.example.com/",
        token,
        "US_TOKEN",
        pause=lambda _: time.sleep(0.001),
        transport=httpx.MockTransport(service),
        **more,
    )


def settled(api: ClusterApi) -> None:
    end = time.monotonic() + 10
    while api.look().is_busy:
        assert time.monotonic() < end
        time.sleep(0.005)


def lost(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("late", request=request)


def test_a_look(service: FakeService) -> None:
    word = client(service).look()
    assert (word.is_reachable, word.commit, word.is_healthy, word.is_busy) == (True, OLD, True, False)
    assert word.run
    assert word.run.id == "r0"


def test_what_is_not_well_is_said_in_plain_words(service: FakeService) -> None:
    service.healthy = False
    word = client(service).look()
    assert not word.is_healthy
    assert word.detail == "web: answers 500?[2J"


def test_health_that_is_older_than_the_newest_run_is_waited_for(service: FakeService) -> None:
    service.runs.insert(0, run("r1", NEW))
    status = service.status()
    service.faults.append(lambda _: httpx.Response(200, json={**status, "last_run": run("r0", OLD)}))
    api = client(service)
    assert api.look().is_busy
    assert not api.look().is_busy


def test_apply_checks_first_and_names_the_fingerprint_and_the_wish(service: FakeService) -> None:
    api = client(service)
    api.apply(NEW, "wish")
    settled(api)
    assert api.look().commit == NEW
    asked = [one for one in service.asked if one.url.path == "/api/apply"]
    assert [(json.loads(one.content), one.headers["idempotency-key"]) for one in asked] == [
        ({"fingerprint": "pf"}, "wish")
    ]


def test_a_lost_answer_is_asked_for_again_and_done_once(service: FakeService) -> None:
    def heard_and_lost(request: httpx.Request) -> httpx.Response:
        service(request)
        raise httpx.RemoteProtocolError("gone", request=request)

    def at_apply(request: httpx.Request) -> httpx.Response | None:
        if request.url.path != "/api/apply":
            service.faults.append(at_apply)
            return None
        return heard_and_lost(request)

    service.faults.append(at_apply)
    api = client(service)
    api.apply(NEW, "wish")
    settled(api)
    assert [one["to"] for one in service.runs] == [NEW, OLD]
    assert sum(one.url.path == "/api/apply" for one in service.asked) >= 2


def test_the_next_coordinator_utters_the_same_wish_and_nothing_is_done_twice(service: FakeService) -> None:
    for _ in range(2):
        service.pending = NEW
        service.newest = NEW
        api = client(service)
        api._follow("/api/apply", {"fingerprint": "pf"}, "wish")
    assert [one["to"] for one in service.runs] == [NEW, OLD]


def test_a_service_that_sees_another_commit_is_not_let_loose(service: FakeService) -> None:
    service.newest = "3" * 40
    api = client(service)
    api.apply(NEW, "wish")
    settled(api)
    assert api.look().refusal == f"Its service would apply {'3' * 12}, not {NEW[:12]}."
    assert len(service.runs) == 1


def test_there_already_is_nothing_to_do(service: FakeService) -> None:
    service.runs.insert(0, run("r1", NEW))
    api = client(service)
    api.apply(NEW, "wish")
    settled(api)
    assert api.look().refusal == ""
    assert len(service.runs) == 2


def test_the_way_back_takes_back_the_run_that_brought_it(service: FakeService) -> None:
    service.runs.insert(0, run("r1", NEW))
    api = client(service)
    api.go_back(Start(OLD, "r0"), NEW, "wish")
    settled(api)
    asked = next(one for one in service.asked if one.url.path == "/api/rollback")
    assert json.loads(asked.content)["run"] == "r1"
    assert api.look().commit == OLD


def test_nothing_to_take_back_is_a_refusal(service: FakeService) -> None:
    api = client(service)
    api.go_back(Start(OLD, "r0"), NEW, "wish")
    settled(api)
    assert "No run brought it" in api.look().refusal
    assert len(service.runs) == 1


def test_a_run_that_changed_nothing_is_told_as_one(service: FakeService) -> None:
    assert not client(service).look().is_unchanged
    service.runs.insert(0, run("r1", NEW, outcome="unchanged"))
    word = client(service).look()
    assert (word.commit, word.is_unchanged) == (NEW, True)


def test_a_wrong_token_is_named_and_not_shown(service: FakeService) -> None:
    word = client(service, "wrong-token").look()
    assert word.refusal == "https://us.example.com does not take the token of US_TOKEN."
    assert not word.is_seen
    assert "wrong-token" not in repr(client(service, "wrong-token")) + word.refusal


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (httpx.Response(200, text="<html>Sign in</html>"), "is no update-orchestrator"),
        (httpx.Response(200, json=[1]), "is no update-orchestrator"),
        (httpx.Response(200, json={"runs": [1]}), "is no update-orchestrator"),
        (httpx.Response(200, json={"runs": [{}]}), "is no update-orchestrator"),
        (httpx.Response(502, json={}), "answers 502"),
        (httpx.Response(302, headers={"location": "https://evil.example.com"}, json={}), "answers 302"),
        (httpx.Response(200, content=b"[" * (LARGEST_ANSWER + 2)), "too long"),
        (httpx.Response(200, content=b"[" * 100_000), "is no update-orchestrator"),
        (
            httpx.Response(
                200,
                json={
                    "readings": 5,
                    "healthy": False,
                    "last_run": {"run": "r1", "outcome": "succeeded"},
                    "runs": [{"run": "r1", "outcome": "succeeded", "to": NEW}],
                },
            ),
            "is no update-orchestrator",
        ),
    ],
)
def test_strange_answers_are_silence(answer: httpx.Response, says: str) -> None:
    content = answer.content

    def strange(_: httpx.Request) -> httpx.Response:
        return httpx.Response(answer.status_code, content=content, headers=answer.headers)

    word = client(strange).look()
    assert not word.is_reachable
    assert says in word.detail


def test_an_answer_that_comes_drop_by_drop_is_silence() -> None:
    class Drops(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while True:
                time.sleep(0.01)
                yield b" "

    def dripping(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Drops())

    word = client(dripping, longest_seconds=0.1, clock=time.monotonic).look()
    assert not word.is_reachable
    assert "no answer in time" in word.detail


def test_silence_ends_an_errand_without_a_refusal(service: FakeService) -> None:
    def silent(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route", request=request)

    api = client(silent, silence_seconds=0.05)
    api.apply(NEW, "wish")
    settled(api)
    word = api.look()
    assert (word.is_reachable, word.refusal) == (False, "")


def self_signed(folder: Path) -> Path:
    """A file with a key and a certificate for 127.0.0.1 that nobody has signed but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    encoding = serialization.Encoding.PEM
    path.write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(encoding)
    )
    return path


def test_a_certificate_of_a_stranger_is_not_trusted(tmp_path: Path) -> None:
    """A real handshake: the client never gets to send its token."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path))
    heard: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for _ in range(3):
            plain, _ = listener.accept()
            try:
                with context.wrap_socket(plain, server_side=True) as secure:
                    heard.append(secure.recv(10_000))
            except (ssl.SSLError, OSError):
                plain.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    api = ClusterApi(f"https://127.0.0.1:{listener.getsockname()[1]}", TOKEN, pause=lambda _: None)
    word = api.look()
    thread.join(timeout=10)
    listener.close()
    assert not word.is_reachable
    assert "its certificate is not trusted" in word.detail
    assert heard in ([], [b""] * len(heard))
