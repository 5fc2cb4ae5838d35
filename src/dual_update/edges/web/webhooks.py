"""POST /webhooks/github: a signed word that something happened. All it does is have us look sooner.

A delivery counts once. GitHub's signature covers the body and not the delivery's id, so the same body under
another id is a replay too: both are remembered, on disk.
"""

import hashlib
import hmac
import json
import re
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from dual_update.edges.web.auth import Buckets, WebSettings, address_of
from dual_update.edges.web.problems import PROBLEMS, Problem
from dual_update.usecases.memory_ports import Notes
from dual_update.usecases.service import Service

EVENTS = frozenset(
    {
        "ping",
        "push",
        "pull_request",
        "pull_request_review",
        "issue_comment",
        "workflow_run",
        "repository_dispatch",
        "registry_package",
        "package",
        "release",
        "status",
    }
)
"""What is understood; anything else is refused, so that a wrong setting is seen on GitHub's page."""

SILENT = frozenset({"ping"})
"""Understood, and nothing to look for."""

WRONG_SIGNATURES = 60
"""In a burst, from one address; then one every second."""

_DELIVERY = re.compile(r"[0-9A-Za-z-]{8,64}")
_SIGNATURE = re.compile(r"sha256=([0-9a-f]{64})")

router = APIRouter(tags=["webhooks"])


def mount(app: Any) -> None:
    """What this keeps between requests."""
    app.state.wrong_signatures = Buckets(WRONG_SIGNATURES, 1.0)


@router.post(
    "/webhooks/github",
    status_code=202,
    summary="GitHub's webhook",
    responses={
        202: {"description": "Taken"},
        **{code: PROBLEMS[code] for code in (400, 401, 403, 409, 413, 415, 422, 429, 503)},
    },
    openapi_extra={
        "security": [],
        "parameters": [
            {"name": "X-GitHub-Event", "in": "header", "required": True, "schema": {"type": "string"}},
            {"name": "X-GitHub-Delivery", "in": "header", "required": True, "schema": {"type": "string"}},
            {"name": "X-Hub-Signature-256", "in": "header", "required": True, "schema": {"type": "string"}},
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
    },
)  # fmt: skip
async def github(request: Request) -> Response:
    """Checks the signature over the very bytes that came before anything is read in them."""
    settings: WebSettings = request.app.state.settings
    if not settings.webhook_secret:
        raise Problem(403, "Webhooks are off until WEBHOOK_SECRET is set.")
    wrong: Buckets = request.app.state.wrong_signatures
    address = address_of(request.scope)
    wait = wrong.wait_seconds(address)
    if wait > 0:
        raise Problem(429, "Too many wrong signatures.", retry_after_seconds=wait)
    body = await request.body()  # bounded by Guard
    if not is_signed(settings.webhook_secret, body, request.headers.get("x-hub-signature-256", "")):
        wrong.take(address)
        raise Problem(401, "The signature does not fit.")
    event = request.headers.get("x-github-event", "")
    delivery = request.headers.get("x-github-delivery", "")
    if event not in EVENTS:
        raise Problem(422, "This event is not understood here; send pushes and pull requests.")
    if not _DELIVERY.fullmatch(delivery):
        raise Problem(400, "The delivery has no id.")
    content = _content(body)
    service: Service = request.app.state.service
    digest = hashlib.sha256(event.encode() + b"\0" + body).hexdigest()
    if not await run_in_threadpool(_is_new, service.notes, delivery, digest, event):
        raise Problem(409, "This delivery was seen before.")
    if event not in SILENT and is_ours(content, settings.repository):
        service.check("webhook")
    return Response(status_code=202)


def is_signed(secret: str, body: bytes, signature: str) -> bool:
    """Is this GitHub's HMAC-SHA-256 of the body (docs.github.com, "Validating webhook deliveries")."""
    found = _SIGNATURE.fullmatch(signature)
    wanted = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(found[1] if found else "", wanted)


def is_ours(content: dict[str, Any], repository: str) -> bool:
    """Is it about the repository that is followed; without a name every repository counts."""
    about = content.get("repository")
    name = about.get("full_name") if isinstance(about, dict) else None
    return not repository or str(name).lower() == repository.lower()


def _content(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise Problem(400, "The body is no JSON; set the content type application/json on GitHub.") from None
    if not isinstance(content, dict):
        raise Problem(400, "The body is no JSON object.")
    return content


def _is_new(notes: Notes, delivery: str, digest: str, event: str) -> bool:
    return notes.accept_delivery(delivery, event) and notes.accept_delivery(f"body-{digest}", event)
