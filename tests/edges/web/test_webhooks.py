"""Webhooks: what is not GitHub's own word, whole and new, is refused."""

import hashlib
import hmac
import json
import random
import string
from typing import Any

import httpx
import pytest

from dual_update.edges.web.auth import Buckets
from dual_update.edges.web.webhooks import is_signed
from tests.edges.web.conftest import SECRET, MakeWeb, Web

PUSH = {"ref": "refs/heads/main", "after": "c" * 40, "repository": {"full_name": "shop/cluster"}}


def signature(body: bytes, secret: str = SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def deliver(
    web: Web, body: bytes, sign: str | None, delivery: str = "d-00000001", event: str = "push"
) -> httpx.Response:
    headers = {"X-GitHub-Event": event, "X-GitHub-Delivery": delivery, "Content-Type": "application/json"}
    if sign is not None:
        headers["X-Hub-Signature-256"] = sign
    return web.client.post("/webhooks/github", content=body, headers=headers)


@pytest.fixture
def patient(web: Web) -> Web:
    """Without a limit of wrong signatures, so that each one is looked at."""
    web.app.state.wrong_signatures = Buckets(10**9, 1.0)
    return web


def test_a_signed_push_makes_it_look(web: Web) -> None:
    body = json.dumps(PUSH).encode()
    assert deliver(web, body, signature(body)).status_code == 202
    assert web.service.status()["queued"] == 1


def test_the_example_of_githubs_documentation() -> None:
    """docs.github.com, "Validating webhook deliveries", test values."""
    sign = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert is_signed("It's a Secret to Everybody", b"Hello, World!", sign)


def test_none_of_a_thousand_forged_cut_or_repeated_deliveries_is_taken(patient: Web) -> None:
    luck = random.Random(20260101)
    taken = json.dumps(PUSH).encode()
    assert deliver(patient, taken, signature(taken)).status_code == 202
    queued = patient.service.status()["queued"]
    refused = 0
    for number in range(1200):
        body = json.dumps({**PUSH, "number": number}).encode()
        good = signature(body)
        place = luck.randrange(len(body))
        other = string.hexdigits[luck.randrange(16)].lower()
        spot = luck.randrange(7, len(good))
        forgeries: list[tuple[bytes, str | None, str]] = [
            (body, None, "new"),  # not signed
            (body, "", "new"),
            (body, good[: luck.randrange(len(good))], "new"),  # a signature cut short
            (body, signature(body, SECRET[:-1]), "new"),  # another secret
            (body, signature(body, ""), "new"),
            (body, good.replace("sha256=", "sha1="), "new"),
            (body, good.upper(), "new"),
            (body, f"{good[:spot]}{other}{good[spot + 1 :]}" if good[spot] != other else good + "0", "new"),
            (body[:place], good, "new"),  # a body cut short
            (body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :], good, "new"),  # a bit turned
            (body + b" ", good, "new"),
            (taken, signature(taken), "d-00000001"),  # repeated as it was
            (taken, signature(taken), "new"),  # repeated under another name
        ]
        content, sign, name = forgeries[number % len(forgeries)]
        delivery = f"d-{number + 10:08}" if name == "new" else name
        answer = deliver(patient, content, sign, delivery)
        assert answer.status_code in {401, 409}, (number, content, sign, answer.text)
        refused += 1
    assert refused == 1200
    assert patient.service.status()["queued"] == queued == 1


def test_replays_are_known_across_a_restart(web: Web, make_web: MakeWeb) -> None:
    body = json.dumps(PUSH).encode()
    assert deliver(web, body, signature(body)).status_code == 202
    again = make_web()
    again.stage.memory.close()
    again.app.state.service = web.stage.service()
    for delivery in ("d-00000001", "d-00000002"):
        assert deliver(again, body, signature(body), delivery).status_code == 409


def test_guessing_is_held_up(web: Web) -> None:
    codes = [deliver(web, b"{}", signature(b"{}", f"guess {n}")).status_code for n in range(100)]
    assert codes.count(401) == 60
    assert codes.count(429) == 40


@pytest.mark.parametrize(
    ("body", "event", "delivery", "status"),
    [
        (b"{}", "push", "", 400),
        (b"{}", "push", "../../etc", 400),
        (b"{}", "push", "x" * 100, 400),
        (b"{}", "fork", "d-00000001", 422),
        (b"{}", "", "d-00000001", 422),
        (b"[]", "push", "d-00000001", 400),
        (b"payload=%7B%7D", "push", "d-00000001", 400),
        (b"\xff", "push", "d-00000001", 400),
        (b"[" * 100_000, "push", "d-00000001", 400),
        (b'"' + b"x" * (5 * 1024 * 1024) + b'"', "push", "d-00000001", 413),
    ],
)
def test_what_is_signed_and_still_makes_no_sense(
    web: Web, body: bytes, event: str, delivery: str, status: int
) -> None:
    answer = deliver(web, body, signature(body), delivery, event)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert web.service.status()["queued"] == 0


def test_a_body_that_never_ends_is_not_read_to_its_end(web: Web) -> None:
    def endless() -> Any:
        for _ in range(100):
            yield b"x" * 1024 * 1024

    answer = web.client.post("/webhooks/github", content=endless(), headers={"X-GitHub-Event": "push"})
    assert answer.status_code == 413


def test_other_repositories_and_pings_are_not_looked_at(make_web: MakeWeb) -> None:
    web = make_web(repository="shop/cluster")
    for number, (event, repository) in enumerate([("ping", "shop/cluster"), ("push", "other/thing")]):
        body = json.dumps({"repository": {"full_name": repository}}).encode()
        assert deliver(web, body, signature(body), f"d-0000000{number}", event).status_code == 202
    assert web.service.status()["queued"] == 0
    body = json.dumps({"repository": {"full_name": "Shop/Cluster"}}).encode()
    deliver(web, body, signature(body), "d-00000009")
    assert web.service.status()["queued"] == 1


def test_without_a_secret_webhooks_are_off(make_web: MakeWeb) -> None:
    web = make_web(webhook_secret="")
    for secret in ("", "x"):
        assert deliver(web, b"{}", signature(b"{}", secret)).status_code == 403
