"""The fleet: `GET /api/clusters`, and the page beside it where the checkout has a multi-cluster.yml.

The service's own cluster is answered from what it knows anyway; the others are asked over the network, all at
once and at most every few seconds, however many people look.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict

from dual_update.core.config import ClusterEntry, MultiCluster
from dual_update.core.errors import DualUpdateError
from dual_update.core.fleet import Standing, fleet_json
from dual_update.core.rollout import Rollout, Word
from dual_update.edges.web.api import FINDS
from dual_update.edges.web.auth import Who, require_reader
from dual_update.edges.web.pages_clusters import clusters_page
from dual_update.edges.web.pages_frame import PageRoute, now, render
from dual_update.usecases.service import Service
from dual_update.wiring import Settings

FRESH_SECONDS = 10.0
"""For so long an answer about the fleet is given again."""

router = APIRouter(tags=["api"])
pages = APIRouter(route_class=PageRoute, include_in_schema=False, dependencies=[Depends(require_reader)])
Reader = Annotated[Who, Depends(require_reader)]


class Cluster(BaseModel):
    """One cluster as it was last seen. `drift` is null where nobody could compare."""

    model_config = ConfigDict(extra="allow")
    name: str
    stage: int
    reachable: bool
    version: str | None
    drift: list[str] | None
    health: str
    last_run: dict[str, Any] | None


class Fleet(BaseModel):
    """Every cluster of the fleet; without a multi-cluster.yml, the one that this service watches."""

    model_config = ConfigDict(extra="allow")
    clusters: list[Cluster]
    versions: list[str]
    rollout: dict[str, Any] | None


@dataclass
class Known:
    """The last answer, and since when it is known."""

    answer: Mapping[str, Any] | None = None
    at: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


@router.get("/api/clusters", response_model=Fleet, responses=FINDS)
async def clusters(request: Request, _: Reader) -> Response:
    """Version, drift, health and last run of every cluster of the fleet."""
    from fastapi.responses import JSONResponse

    return JSONResponse(await run_in_threadpool(fleet, request.app))


@pages.get("/clusters")
async def clusters_shown(request: Request) -> Response:
    """The fleet, as a page."""
    page = clusters_page(await run_in_threadpool(fleet, request.app), now())
    return render(request, "clusters.html", "Clusters", here="/clusters", page=page)


def mount(app: FastAPI) -> None:
    """What this keeps between requests, and the page."""
    app.state.fleet = Known()
    app.include_router(pages)


def lead(app: FastAPI, settings: Settings) -> None:
    """Tell the application where its cluster lies, and with it its fleet, whose page is then linked."""
    from dual_update.adapters.fleet_config import find

    app.state.cluster_settings = settings
    app.state.has_fleet_page = find(settings.repo) is not None


def fleet(app: Any) -> Mapping[str, Any]:
    """The fleet as it is, or was a few seconds ago. Raises UsageError for a wrong multi-cluster.yml."""
    known: Known = app.state.fleet
    with known.lock:
        if known.answer is None or time.monotonic() - known.at > FRESH_SECONDS:
            known.answer = _fleet(app.state.service, getattr(app.state, "cluster_settings", None))
            known.at = time.monotonic()
        return known.answer


def _fleet(service: Service, settings: Settings | None) -> Mapping[str, Any]:
    from dual_update.adapters.fleet_config import find, load_fleet
    from dual_update.wiring_fleet import record_of, standings

    own = own_standing(service.status())
    file = find(settings.repo) if settings else None
    if settings is None or file is None:
        return fleet_json([own])
    found = load_fleet(file)
    mine = _own_entry(found, own, settings)
    others = MultiCluster(tuple(one for one in found.clusters if one != mine))
    asked = {one.entry.name: one for one in standings(others, settings)}
    newest: Rollout | None = None
    try:
        newest = record_of(found, settings).load()
    except DualUpdateError:
        newest = None  # the record of a roll-out that nobody can read is no reason to hide the clusters
    shown = [
        asked.get(one.name) or Standing(one, own.word, own.drift, own.last_run) for one in found.clusters
    ]
    return fleet_json(shown, newest)


def _own_entry(fleet: MultiCluster, own: Standing, settings: Settings) -> ClusterEntry | None:
    """The line of this service's cluster: of its name, else of its checkout. Other hosts may have theirs at
    the same path."""
    here = [one for one in fleet.clusters if one.path and Path(one.path).resolve() == settings.repo.resolve()]
    named = [one for one in fleet.clusters if one.name == own.entry.name and (one in here or not one.path)]
    return named[0] if named else here[0] if len(here) == 1 else None


def own_standing(status: Mapping[str, Any]) -> Standing:
    """The service's own cluster, as its status tells."""
    last = status.get("last_run")
    is_known = status.get("healthy") is not None
    word = Word(
        is_reachable=is_known,
        commit=status.get("deployed"),
        is_healthy=status.get("healthy") is True,
        is_busy=status.get("job") is not None and status["job"].get("kind") != "check",
        detail="" if is_known else str(status.get("complaint") or "it was not looked at yet"),
    )
    entry = ClusterEntry(str(status.get("cluster") or "this cluster"))
    drift = tuple(status.get("drift") or ()) if is_known else None
    return Standing(entry, word, drift, last if isinstance(last, dict) else None)
