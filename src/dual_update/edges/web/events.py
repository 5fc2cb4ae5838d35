"""A run's progress as server-sent events: `step` for each line of its journal, then `end`; `fault` where the
history cannot be read any more."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from fastapi import Path as InPath
from fastapi.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from dual_update.core.errors import DualUpdateError
from dual_update.edges.web.auth import Who, require_reader
from dual_update.edges.web.problems import PROBLEMS, Problem
from dual_update.usecases.service import Service

POLL_SECONDS = 0.4
ALIVE_SECONDS = 15.0
"""A comment is sent when nothing happened for so long: proxies close what is silent."""

MOST_LISTENERS = 64

router = APIRouter(prefix="/api", tags=["api"])


@router.get(
    "/runs/{name}/events",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {"schema": {}}}},
        **{code: PROBLEMS[code] for code in (401, 404, 421, 422, 429, 503)},
    },
)
async def events(
    request: Request,
    name: Annotated[str, InPath(max_length=100)],
    _: Annotated[Who, Depends(require_reader)],
    last: Annotated[str, Header(alias="Last-Event-ID", max_length=20)] = "",
) -> StreamingResponse:
    """Steps of a run as they happen; `Last-Event-ID` goes on where a lost connection ended."""
    service: Service = request.app.state.service
    after = int(last) if last.isascii() and last.isdigit() else 0
    await run_in_threadpool(service.events, name, after)  # 404 before the stream begins
    listeners: set[object] = request.app.state.__dict__.setdefault("listeners", set())
    if len(listeners) >= MOST_LISTENERS:
        raise Problem(503, "Too many are listening already.", retry_after_seconds=10)
    return StreamingResponse(
        _stream(service, name, after, listeners), media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )  # fmt: skip


async def _stream(service: Service, name: str, after: int, listeners: set[object]) -> AsyncIterator[str]:
    me = object()
    listeners.add(me)
    silent = 0.0
    try:
        while True:
            try:
                steps, has_ended = await run_in_threadpool(service.events, name, after)
            except DualUpdateError as error:  # the history cannot be read: whoever listens comes back later
                yield f"event: fault\ndata: {json.dumps({'detail': ' '.join(str(error).split())})}\n\n"
                return
            for step in steps:
                after = step["seq"]
                yield f"id: {after}\nevent: step\ndata: {json.dumps(step)}\n\n"
            if has_ended:
                run = await run_in_threadpool(service.run, name)
                end = {key: run[key] for key in ("state", "run", "outcome", "reason")}
                yield f"event: end\ndata: {json.dumps(end)}\n\n"
                return
            silent = 0.0 if steps else silent + POLL_SECONDS
            if silent >= ALIVE_SECONDS:
                silent = 0.0
                yield ": still at work\n\n"
            await asyncio.sleep(POLL_SECONDS)
    finally:
        listeners.discard(me)
