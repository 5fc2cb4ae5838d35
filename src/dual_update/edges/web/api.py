"""The REST API (contract.md). Long work answers 202 with the run to follow."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from dual_update.edges.web.auth import Who, require_reader, require_writer
from dual_update.usecases.service import PAGE_SIZE, Service

router = APIRouter(prefix="/api", tags=["api"])
Reader = Annotated[Who, Depends(require_reader)]
Writer = Annotated[Who, Depends(require_writer)]
Key = Annotated[str, Header(alias="Idempotency-Key", max_length=128, pattern=r"^[!-~]*$")]


class Apply(BaseModel):
    """What to apply. `approved_by` is the person who read the plan; without one it counts as unattended."""

    model_config = ConfigDict(extra="forbid")
    fingerprint: str = Field(min_length=8, max_length=400)
    approved_by: str = Field("", max_length=100)


class Rollback(BaseModel):
    """Where to: to what ran before this run; without one, before the newest change."""

    model_config = ConfigDict(extra="forbid")
    run: str = Field("", max_length=100)


def service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


@router.get("/status")
async def status(request: Request, _: Reader) -> dict[str, Any]:
    """The cluster now, and what the service is about."""
    return service(request).status()


@router.get("/plan")
async def plan(request: Request, _: Reader) -> dict[str, Any]:
    """The pending update, with its plan and fingerprints."""
    return {"pending": service(request).plan()}


@router.get("/health")
async def health(request: Request) -> dict[str, Any]:
    """Does the service live, and is the cluster well as far as it was last seen."""
    return {"status": "ok", "healthy": service(request).health()["healthy"]}


@router.get("/history")
async def history(
    request: Request,
    _: Reader,
    cluster: Annotated[str, Query(max_length=200)] = "",
    outcome: Literal["", "succeeded", "unchanged", "rolled_back", "rollback_failed", "refused"] = "",
    since: datetime | None = None,
    until: datetime | None = None,
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
    size: Annotated[int, Query(ge=1, le=200)] = PAGE_SIZE,
) -> dict[str, Any]:
    """Runs, newest first."""
    return await run_in_threadpool(service(request).history, cluster, outcome, since, until, page, size)


@router.get("/runs/{name}")
async def run(request: Request, _: Reader, name: str) -> dict[str, Any]:
    """A run, or a job that was asked for, with its steps."""
    return await run_in_threadpool(service(request).run, name)


@router.post("/check", status_code=202)
async def check(request: Request, response: Response, _: Writer) -> dict[str, Any]:
    """Look for updates now."""
    return _accepted(response, service(request).check())


@router.post("/apply", status_code=202)
async def apply(
    request: Request, response: Response, _: Writer, wish: Apply, key: Key = ""
) -> dict[str, Any]:
    """Apply the pending update. The fingerprint must be the one that is pending."""
    done = service(request).apply(
        wish.fingerprint, wish.approved_by or "api", is_by_person=bool(wish.approved_by), key=key
    )
    return _accepted(response, done)


@router.post("/rollback", status_code=202)
async def rollback(
    request: Request, response: Response, _: Writer, wish: Rollback, key: Key = ""
) -> dict[str, Any]:
    """Return to what ran before."""
    return _accepted(response, await run_in_threadpool(service(request).rollback, wish.run, "api", key=key))


def _accepted(response: Response, job: dict[str, Any]) -> dict[str, Any]:
    response.headers["Location"] = f"/api/runs/{job['id']}"
    return job
