"""The REST API (contract.md). Long work answers 202 with the run to follow."""

import json
import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi import Path as InPath
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from dual_update.edges.web import answers
from dual_update.edges.web.auth import Who, require_reader, require_writer
from dual_update.edges.web.problems import PROBLEMS
from dual_update.usecases.service import PAGE_SIZE, Service

READS: dict[int | str, dict[str, Any]] = {code: PROBLEMS[code] for code in (401, 421, 429)}
FINDS: dict[int | str, dict[str, Any]] = {**READS, **{code: PROBLEMS[code] for code in (404, 422, 503)}}
WRITES: dict[int | str, dict[str, Any]] = {
    **READS,
    **{code: PROBLEMS[code] for code in (400, 403, 404, 409, 413, 422, 503)},
}
LOCATION = {"Location": {"description": "The run to follow", "schema": {"type": "string"}}}
ACCEPTED: dict[int | str, dict[str, Any]] = {202: {"headers": LOCATION}, **WRITES}

DEEPEST_PAGE = 1000
"""Behind it `before` leads on, which costs the same on every page."""

PLACE = r"^(\d{1,12}\.\d{1,12}-\d{1,18})?$"

router = APIRouter(prefix="/api", tags=["api"])
Reader = Annotated[Who, Depends(require_reader)]
Writer = Annotated[Who, Depends(require_writer)]
Key = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        max_length=128,
        pattern=r"^[!-~]*$",
        description="Your own name for the request: sent twice it is done once.",
    ),
]
Name = Annotated[
    str, InPath(max_length=100, description="A run of the history, or a job that was asked for.")
]
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[+-]\d\d:\d\d)?)?")


_MOMENT_SCHEMA = {"type": "string", "format": "date-time"}


def _moment(text: object) -> object:
    """Numbers are refused: whether they are seconds or milliseconds would be a guess."""
    if not isinstance(text, str) or not _MOMENT.fullmatch(text):
        raise ValueError("a moment is written like 2026-01-31T12:00:00Z")
    return text


Moment = Annotated[datetime, BeforeValidator(_moment), WithJsonSchema(_MOMENT_SCHEMA)]
Outcome = Literal["", "succeeded", "unchanged", "rolled_back", "rollback_failed", "refused", "unfinished"]


class Apply(BaseModel):
    """What to apply. `approved_by` is the person who read the plan; without one nothing that can lose data is
    applied, nothing while updates are paused, and nothing outside the maintenance windows."""

    model_config = ConfigDict(extra="forbid")
    fingerprint: str = Field(min_length=8, max_length=400, description="`plan_fingerprint` or `fingerprint`")
    approved_by: str = Field("", max_length=100)


class Rollback(BaseModel):
    """Where to: to what ran before this run; without one, before the newest change."""

    model_config = ConfigDict(extra="forbid")
    run: str = Field("", max_length=100)
    asked_by: str = Field("", max_length=100)


class Pause(BaseModel):
    """Why, and until when; without a moment until somebody resumes."""

    model_config = ConfigDict(extra="forbid")
    reason: str = Field("", max_length=500)
    until: Moment | None = None


def service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


@router.get("/status", response_model=answers.Status, responses=READS)
async def status(request: Request, _: Reader) -> Response:
    """The cluster as it was last observed, and what the service is about."""
    return _remembered(request, "status", lambda one: one.status())


@router.get("/plan", response_model=answers.Plan, responses=READS)
async def plan(request: Request, _: Reader) -> Response:
    """The pending update, with its plan and fingerprints."""
    return _remembered(request, "plan", lambda one: {"pending": one.plan()})


@router.get(
    "/health",
    response_model=answers.Health,
    responses={421: PROBLEMS[421], 429: PROBLEMS[429], 401: PROBLEMS[401]},
)
async def health(request: Request) -> Response:
    """Does the service live; and is the cluster well as it was last seen (null: nobody could look)."""
    return _remembered(request, "health", _health)


@router.get("/history", response_model=answers.History, responses=FINDS)
async def history(
    request: Request,
    _: Reader,
    cluster: Annotated[str, Query(max_length=200)] = "",
    outcome: Outcome = "",
    since: Moment | None = None,
    until: Moment | None = None,
    page: Annotated[int, Query(ge=1, le=DEEPEST_PAGE)] = 1,
    size: Annotated[int, Query(ge=1, le=200)] = PAGE_SIZE,
    before: Annotated[str, Query(pattern=PLACE, description="`older` of another page")] = "",
) -> Response:
    """Runs that began in [since, until), newest first."""
    one = service(request)
    asked = (cluster, outcome, since, until, page, size, before)
    if asked != ("", "", None, None, 1, PAGE_SIZE, ""):
        return _json(await run_in_threadpool(one.history, *asked))
    known: tuple[int, bytes] | None = request.app.state.answers.get("history")
    version = one.changes()
    if known is None or known[0] != version:
        known = (version, _bytes(await run_in_threadpool(one.history)))
        request.app.state.answers["history"] = known
    return Response(known[1], media_type="application/json")


@router.get("/runs/{name}", response_model=answers.Run, responses=FINDS)
async def run(request: Request, _: Reader, name: Name) -> Response:
    """A run, or a job that was asked for, with its steps."""
    return _json(await run_in_threadpool(service(request).run, name))


@router.post("/check", status_code=202, response_model=answers.Job, responses=ACCEPTED)
async def check(request: Request, _: Writer) -> Response:
    """Look for updates now. What was approved beforehand is applied, as at every check."""
    return await _accepted(lambda: _done(service(request).check("api")))


@router.post("/apply", status_code=202, response_model=answers.Job, responses=ACCEPTED)
async def apply(request: Request, _: Writer, wish: Apply, key: Key = "") -> Response:
    """Apply the pending update. The fingerprint must be the one that is pending."""
    by, is_person = wish.approved_by.strip() or "api", bool(wish.approved_by.strip())
    return await _accepted(
        lambda: run_in_threadpool(
            service(request).apply, wish.fingerprint, by, is_by_person=is_person, key=key
        )
    )


@router.post("/rollback", status_code=202, response_model=answers.Job, responses=ACCEPTED)
async def rollback(request: Request, _: Writer, wish: Rollback, key: Key = "") -> Response:
    """Return to what ran before."""
    by = wish.asked_by.strip() or "api"
    return await _accepted(lambda: run_in_threadpool(service(request).rollback, wish.run, by, key=key))


@router.post("/pause", response_model=answers.Paused, responses=WRITES)
async def pause(request: Request, _: Writer, wish: Pause) -> Response:
    """Apply nothing unasked, until a moment or until somebody resumes. Checks go on."""
    return _json(await run_in_threadpool(service(request).pause, "api", wish.reason, wish.until))


@router.post("/resume", response_model=answers.Paused, responses=WRITES)
async def resume(request: Request, _: Writer) -> Response:
    """Lift the pause, and look at once."""
    return _json(await run_in_threadpool(service(request).resume, "api"))


def _health(one: Service) -> dict[str, Any]:
    return {"status": "ok", "healthy": one.health()["healthy"], "readings": one.health()["readings"]}


def _remembered(request: Request, name: str, ask: Callable[[Service], Any]) -> Response:
    """An answer as bytes, made anew only when it may have become another one."""
    one = service(request)
    revision = one.revision
    known = request.app.state.answers.get(name)
    if known is None or known[0] != revision:
        known = (revision, _bytes(ask(one)))
        request.app.state.answers[name] = known
    else:
        one.touch()
    return Response(known[1], media_type="application/json")


async def _accepted(ask: Callable[[], Awaitable[dict[str, Any]]]) -> Response:
    job = await ask()
    response = _json(job, 202)
    response.headers["Location"] = f"/api/runs/{job['id']}"
    return response


async def _done(job: dict[str, Any]) -> dict[str, Any]:
    return job


def _json(content: Any, status: int = 200) -> Response:
    return Response(_bytes(content), status, media_type="application/json")


def _bytes(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def mount(app: Any) -> None:
    """What this keeps between requests."""
    app.state.answers = {}
