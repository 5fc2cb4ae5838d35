"""Apprise against real receivers: HTTP that takes, refuses, drips, redirects; a mail server."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from dual_update.adapters import notify
from dual_update.adapters.notify import AppriseSender, secrets_of, where
from dual_update.core.errors import UsageError

CONTENT = {"title": "shop: updated", "body": "line one\nline two", "kind": "success"}
HOSTILE = 'a "b" <!channel> & 100% +x :y=z\n# ünï ✓ \\ $(id) `id` @here ?a=b&c=d'


class Receiver:
    """An HTTP server that keeps what it gets and answers as it is told."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, Any]]] = []
        self.status = 200
        self.drips = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers.get("content-length") or 0)
                receiver.got.append((self.path, json.loads(self.rfile.read(size) or b"{}")))
                self.send_response(receiver.status)
                if receiver.status in {301, 302}:
                    self.send_header("location", "http://127.0.0.1:1/elsewhere")
                self.end_headers()
                while receiver.drips.is_set():
                    self.wfile.write(b".")
                    time.sleep(0.05)

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    yield one
    one.drips.clear()
    one.server.shutdown()
    one.server.server_close()


def send(url: str, content: dict[str, str] | None = None, attempt_seconds: float = 15) -> str | None:
    sender = AppriseSender(url, attempt_seconds)
    (address,) = sender.addresses
    return sender.send(address, content or CONTENT)


def test_a_plain_hook_gets_json_that_slack_like_services_read_too(receiver: Receiver) -> None:
    assert send(f"{receiver.url}/hooks/secret-token?room=ops&x=1") is None
    ((path, got),) = receiver.got
    assert path.rstrip("/") in {"/hooks/secret-token?room=ops&x=1", "/hooks/secret-token/?room=ops&x=1"}
    assert got["title"] == "shop: updated"
    assert got["message"] == "line one\nline two"
    assert got["type"] == "success"
    assert got["text"] == "shop: updated\nline one\nline two"


def test_hostile_words_arrive_as_they_are(receiver: Receiver) -> None:
    assert send(f"{receiver.url}/x", {"title": "t", "body": HOSTILE, "kind": "failure"}) is None
    ((path, got),) = receiver.got
    assert path.rstrip("/") == "/x"
    assert (got["message"], got["text"]) == (HOSTILE, f"t\n{HOSTILE}")


@pytest.mark.parametrize("status", [401, 500, 302])
def test_an_answer_that_is_none_is_told_without_the_token(receiver: Receiver, status: int) -> None:
    receiver.status = status
    error = send(f"{receiver.url}/services/T000/B000/veryverysecret?token=alsosecret")
    assert error is not None
    assert "http://127.0.0.1" in error
    assert str(status) in error
    assert "secret" not in error


def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = send(f"http://127.0.0.1:{unused.getsockname()[1]}/veryverysecret")
    assert error is not None
    assert "secret" not in error


def test_an_answer_that_never_ends_is_cut_off(receiver: Receiver) -> None:
    receiver.drips.set()
    began = time.monotonic()
    error = send(f"{receiver.url}/x", attempt_seconds=3)
    assert time.monotonic() - began < 8
    assert error is not None
    assert "no answer within 3 seconds" in error


def test_slack_and_others_are_known_by_their_own_urls() -> None:
    slack = "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
    assert type(notify._service(slack, "")).__name__ == "NotifySlack"
    assert type(notify._service("https://example.org/hook", "")).__name__ == "NotifyJSON"
    assert len(AppriseSender(f"{slack}\n mailto://u:p@example.org?to=a@example.org ").addresses) == 2


@pytest.mark.parametrize(
    "url", ["nonsense", "ftp://x/y", "http://", "https://[bad", "slack://", "x://secret"]
)
def test_an_address_that_nobody_understands_is_said_at_once_without_it(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        AppriseSender(f"https://example.org/hook {url}")
    assert "address 2" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_no_address_is_none() -> None:
    assert AppriseSender("  ").addresses == ()


def test_an_address_has_a_name_that_tells_nothing() -> None:
    (name,) = AppriseSender("https://example.org/veryverysecret").addresses
    assert "secret" not in name
    assert AppriseSender("https://example.org/veryverysecret").addresses == (name,)
    assert where("https://example.org:8443/veryverysecret") == "https://example.org"
    assert where("slack://TOKENA/TOKENB/TOKENC") == "slack://***"


def test_what_counts_as_secret_in_an_address() -> None:
    found = secrets_of("mailtos://user%40x:pa%24sword@mail.example.org?to=ops@example.org")
    assert {"pa%24sword", "pa$sword", "ops@example.org"} <= found
    assert "mail.example.org" not in found
    assert {"TOKENA", "TOKENB"} <= secrets_of("slack://TOKENA/TOKENB/x")


# --- mail


class Mailbox:
    def __init__(self) -> None:
        self.got: list[tuple[list[str], str, str]] = []
        self.refuses = False

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.refuses:
            return "550 not here"
        message = message_from_bytes(envelope.original_content or b"", policy=policy.default)
        body = message.get_body(("plain", "html"))
        self.got.append((envelope.rcpt_tos, str(message["subject"]), body.get_content() if body else ""))
        return "250 OK"


def login(*arguments: Any) -> AuthResult:
    given = arguments[-1]
    is_right = isinstance(given, LoginPassword) and given.password == b"veryverysecret"
    return AuthResult(success=is_right, handled=False)


@pytest.fixture
def mail() -> Iterator[tuple[Mailbox, int]]:
    mailbox = Mailbox()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(
        mailbox, "127.0.0.1", port, authenticator=login, auth_require_tls=False, auth_required=True
    )
    controller.start()
    yield mailbox, port
    controller.stop()


def mailto(port: int, password: str = "veryverysecret") -> str:
    return f"mailto://ops:{password}@127.0.0.1:{port}?mode=insecure&from=bot@example.org&to=ada@example.org"


def test_a_mail_arrives(mail: tuple[Mailbox, int]) -> None:
    mailbox, port = mail
    assert send(mailto(port), {"title": "shop: updated", "body": HOSTILE, "kind": "success"}) is None
    ((to, subject, body),) = mailbox.got
    assert (to, subject) == (["ada@example.org"], "shop: updated")
    assert "<!channel>" in body
    assert "100%" in body


def test_a_subject_adds_no_header(mail: tuple[Mailbox, int]) -> None:
    mailbox, port = mail
    send(mailto(port), {"title": "shop\r\nBcc: eve@example.org\r\n\r\nbody", "body": "b", "kind": "info"})
    assert all(to == ["ada@example.org"] for to, _, _ in mailbox.got)


def test_a_mail_server_that_refuses(mail: tuple[Mailbox, int]) -> None:
    mailbox, port = mail
    mailbox.refuses = True
    error = send(mailto(port))
    assert error is not None
    assert error.startswith("mailto://127.0.0.1: ")


def test_a_wrong_password_is_not_told(mail: tuple[Mailbox, int]) -> None:
    _, port = mail
    error = send(mailto(port, "wrongwrongsecret"))
    assert error is not None
    assert "secret" not in error
