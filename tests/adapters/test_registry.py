"""What a tag names now: asked from a real registry, and from stand-ins for what that one cannot do."""

import base64
import hashlib
import json
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from dual_update.adapters.compose import ComposeRenderer
from dual_update.adapters.git import GitRepository
from dual_update.adapters.ignore import sent_to_build
from dual_update.adapters.registry import HttpRegistry, is_loopback, split
from dual_update.core.decision import Decision
from dual_update.core.errors import WorldError
from dual_update.usecases.detect import DetectRequest, detect
from tests.conftest import missing
from tests.integration.world import Images, Registry, eventually, free_port
from tests.repositories import Checkout

MANIFEST = b'{"schemaVersion": 2}'
DIGEST = "sha256:" + "a" * 64


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    for program in ("docker-registry", "busybox", "setpriv"):
        if shutil.which(program) is None:
            missing(f"{program} is not on PATH; run scripts/bootstrap --tests")
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture
def images(served: Registry, request: pytest.FixtureRequest) -> Images:
    return Images(served, f"n{abs(hash(request.node.name)) % 10**6}")


@pytest.fixture
def asked() -> Iterator[HttpRegistry]:
    with HttpRegistry() as registry:
        yield registry


def test_a_tag_names_the_digest_that_the_registry_has(images: Images, asked: HttpRegistry) -> None:
    first = images.push("app:1", "one")
    assert asked.digest(first.ref) == first.digest
    second = images.push("app:1", "two")
    assert asked.digest(first.ref) == second.digest != first.digest
    assert asked.digest(images.ref("app:none")) is None
    assert asked.digest(images.ref("nothing:1")) is None


def test_a_registry_that_is_gone_is_named(asked: HttpRegistry) -> None:
    with pytest.raises(WorldError, match=r"Registry 127\.0\.0\.1:1 does not answer"):
        asked.digest("127.0.0.1:1/app:1")


@pytest.mark.parametrize(
    "reference", ["app/../../x:1", "Up/Per:1", "host:1/a?b=c:1", "h/a:t#x", "h/a b:1", ""]
)
def test_what_is_no_reference_is_asked_nowhere(reference: str, asked: HttpRegistry) -> None:
    with pytest.raises(WorldError, match="no image reference"):
        asked.digest(reference)


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("nginx", ("docker.io", "library/nginx", "latest")),
        ("acme/app:1", ("docker.io", "acme/app", "1")),
        ("ghcr.io/acme/app", ("ghcr.io", "acme/app", "latest")),
        ("localhost/app:1", ("localhost", "app", "1")),
        ("127.0.0.1:5000/a/b/c:1", ("127.0.0.1:5000", "a/b/c", "1")),
    ],
)
def test_a_reference_in_parts(reference: str, parts: tuple[str, str, str]) -> None:
    assert split(reference) == parts


def test_only_loopback_goes_without_tls() -> None:
    assert all(map(is_loopback, ("127.0.0.1:5000", "127.9.9.9", "localhost:1", "[::1]:5000")))
    assert not any(map(is_loopback, ("10.0.0.1:5000", "registry.example", "localhost.example", "[::2]:1")))


# --- credentials ----------------------------------------------------------------------------------

USER, PASSWORD = "ada", "s3cret-pass"
# bcrypt, the only kind that the registry takes
HTPASSWD = f"{USER}:$2b$05$abcdefghijklmnopqrstuuV7fpPozvyqJfnY19y0802WTlXUm6Rjy\n"


def log_in(config: Path, settings: object, monkeypatch: pytest.MonkeyPatch) -> None:
    config.mkdir()
    (config / "config.json").write_text(json.dumps(settings))
    monkeypatch.setenv("DOCKER_CONFIG", str(config))


def test_a_registry_with_passwords_gets_dockers_own(
    tmp_path: Path, served: Registry, asked: HttpRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    settings = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"inmemory": {}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "auth": {"htpasswd": {"realm": "test", "path": str(tmp_path / "htpasswd")}},
    }
    (tmp_path / "registry.yml").write_text(json.dumps(settings))
    command = ["setpriv", "--pdeathsig", "KILL", "docker-registry", "serve", str(tmp_path / "registry.yml")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            reference = f"127.0.0.1:{port}/app:1"

            def refuses() -> bool:
                with pytest.raises(WorldError) as caught:
                    asked.digest(reference)
                return "(401); log in with: docker login" in str(caught.value)

            eventually(refuses, what="the registry asks for a password")
            auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            log_in(tmp_path / "docker", {"auths": {f"127.0.0.1:{port}": {"auth": auth}}}, monkeypatch)
            with HttpRegistry() as with_password:
                assert with_password.digest(reference) is None  # let in: there is no such tag
        finally:
            process.kill()


class TokenRegistry:
    """Bearer tokens, as the distribution project describes them; remembers how it was asked for one."""

    def __init__(self, *, names_digest: bool = True, realm: str | None = None) -> None:
        self.logins: list[tuple[str | None, dict[str, list[str]]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None: ...

            def answer(self, code: int, headers: dict[str, str], body: bytes = b"") -> None:
                self.send_response(code)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def do_GET(self) -> None:
                at = urlsplit(self.path)
                if at.path == "/token":
                    outer.logins.append((self.headers["Authorization"], parse_qs(at.query)))
                    self.answer(200, {}, b'{"token": "let-me-in"}')
                elif self.headers["Authorization"] != "Bearer let-me-in":
                    where = realm or f"http://{outer.address}/token"
                    words = f'Bearer realm="{where}",service="test",scope="repository:app:pull"'
                    self.answer(401, {"WWW-Authenticate": words})
                else:
                    self.answer(200, {"Docker-Content-Digest": DIGEST} if names_digest else {}, MANIFEST)

            do_HEAD = do_GET  # noqa: N815  the name that the server looks for

            def do_POST(self) -> None:
                form = self.rfile.read(int(self.headers["Content-Length"])).decode()
                outer.logins.append((None, parse_qs(form)))
                self.answer(200, {}, b'{"access_token": "let-me-in"}')

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "TokenRegistry":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def test_a_token_is_fetched_without_credentials_for_what_is_public(asked: HttpRegistry) -> None:
    with TokenRegistry() as registry:
        assert asked.digest(f"{registry.address}/app:1") == DIGEST
        assert registry.logins == [(None, {"service": ["test"], "scope": ["repository:app:pull"]})]


def test_a_registry_that_names_no_digest_has_its_manifest_hashed(asked: HttpRegistry) -> None:
    with TokenRegistry(names_digest=False) as registry:
        expected = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"
        assert asked.digest(f"{registry.address}/app:1") == expected


def test_a_credential_helper_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "bin" / "docker-credential-fake"
    helper.parent.mkdir()
    helper.write_text(
        f'#!/bin/sh\nread host\necho "{{\\"ServerURL\\":\\"$host\\",\\"Username\\":\\"{USER}\\",'
        f'\\"Secret\\":\\"{PASSWORD}\\"}}"\n'
    )
    helper.chmod(helper.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(helper.parent), prepend=":")
    with TokenRegistry() as registry, HttpRegistry() as asked:
        log_in(tmp_path / "docker", {"credHelpers": {registry.address: "fake"}}, monkeypatch)
        assert asked.digest(f"{registry.address}/app:1") == DIGEST
        expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        assert registry.logins[0][0] == expected


def test_an_identity_token_is_exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with TokenRegistry() as registry, HttpRegistry() as asked:
        entry = {"auth": base64.b64encode(b"<token>:x").decode(), "identitytoken": "long-lived"}
        log_in(tmp_path / "docker", {"auths": {registry.address: entry}}, monkeypatch)
        assert asked.digest(f"{registry.address}/app:1") == DIGEST
        assert registry.logins[0][1]["refresh_token"] == ["long-lived"]


def test_credentials_go_to_no_address_without_tls(tmp_path: Path, asked: HttpRegistry) -> None:
    with (
        TokenRegistry(realm="http://tokens.example/token") as registry,
        pytest.raises(WorldError, match="no https address"),
    ):
        asked.digest(f"{registry.address}/app:1")


def test_a_broken_helper_is_a_warning_with_the_registrys_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TokenRegistry() as registry, HttpRegistry() as asked:
        log_in(tmp_path / "docker", {"credHelpers": {registry.address: "not-there"}}, monkeypatch)
        with pytest.raises(WorldError, match=f"Docker's credentials for {registry.address} cannot be read"):
            asked.digest(f"{registry.address}/app:1")


# --- detect, with a registry ----------------------------------------------------------------------


@pytest.fixture
def look(tmp_path: Path, asked: HttpRegistry) -> Callable[..., Decision]:
    """Detect on one commit, twice the same, with these digests running."""

    def look(compose: str, **running: str) -> Decision:
        checkout = Checkout(tmp_path / "shop")
        head = checkout.commit({"compose.yml": compose})
        request = DetectRequest(head=head, base=head, running={k: {v} for k, v in running.items()})
        with GitRepository(checkout.directory) as repository:
            return detect(request, repository, ComposeRenderer(), sent_to_build, asked).decision

    return look


def test_new_content_under_the_same_tag_is_a_poke(images: Images, look: Callable[..., Decision]) -> None:
    runs, other = images.push("app:1", "one"), images.push("other:1", "same")
    new = images.push("app:1", "two")
    compose = (
        f"services: {{web: {{image: '{runs.ref}'}}, db: {{image: '{other.ref}'}},"
        f" pinned: {{image: '{runs.pinned}'}}, job: {{image: '{runs.ref}', profiles: [x]}}}}"
    )
    decision = look(compose, web=runs.digest, db=other.digest, pinned=runs.digest, job=runs.digest)
    assert {name: one.action for name, one in decision.services.items()} == {
        "web": "poke", "db": "none", "pinned": "none", "job": "none",
    }  # fmt: skip
    assert (decision.update_type, decision.strategy) == ("image_only", "watchtower")
    assert decision.services["web"].verdict == "image_only"
    assert [f.rule.id for f in decision.findings] == ["registry.moved"]
    assert look(compose, web=new.digest).update_type == "none"


def test_a_registry_that_does_not_answer_is_a_warning_and_not_silence(
    images: Images, look: Callable[..., Decision]
) -> None:
    decision = look("services: {web: {image: '127.0.0.1:1/app:1'}}", web=DIGEST)
    assert decision.update_type == "none"
    (warning,) = decision.warnings
    assert "127.0.0.1:1/app:1" in warning
    assert "not known" in warning


def test_a_tag_that_is_gone_is_a_warning(images: Images, look: Callable[..., Decision]) -> None:
    (warning,) = look(f"services: {{web: {{image: '{images.ref('gone:1')}'}}}}", web=DIGEST).warnings
    assert "gone:1" in warning
