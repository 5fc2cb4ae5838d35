"""The dashboard: pages made on the server, which work without a script, a build step or a network.

`pages_*.py` beside this one: what pages show, as plain values; `templates/`: how it looks; `plots.py`:
geometry of the plots. Buttons lead to pages that say what will happen (`pages_actions.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exception_handlers import http_exception_handler
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.types import Scope

from dual_update.core.figures import Figures, Look, figures, past
from dual_update.edges.web import pages_actions
from dual_update.edges.web.auth import require_reader
from dual_update.edges.web.pages_figures import SPANS, figures_page
from dual_update.edges.web.pages_frame import STATIC, Memory, PageRoute, fault, memory, now, render, service
from dual_update.edges.web.pages_now import now_page
from dual_update.edges.web.pages_run import run_page
from dual_update.edges.web.pages_views import RunRow, run_row
from dual_update.edges.web.pages_words import OUTCOMES, Mark
from dual_update.edges.web.problems import Problem

RECENT = 5
PAGE_SIZE = 25

NOTICES: Mapping[str, Mark] = {
    "paused": Mark("good", "Paused. Nothing is applied unasked until somebody resumes."),
    "resumed": Mark("good", "Resumed."),
    "in": Mark("good", "You are signed in."),
    "out": Mark("good", "You are signed out."),
}
"""Words that an address may ask for: it names them, it does not bring them."""

router = APIRouter(route_class=PageRoute, include_in_schema=False, dependencies=[Depends(require_reader)])
router.include_router(pages_actions.router)


class _Static(StaticFiles):
    """Files whose address carries their version stay in a browser; a new version is a new address."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        answer = await super().get_response(path, scope)
        kept = "public, max-age=31536000, immutable" if scope.get("query_string") else "no-cache"
        answer.headers["cache-control"] = kept
        return answer


def mount(app: FastAPI) -> None:
    """Style, script and icon; and for a browser a page where there is nothing."""
    app.mount("/static", _Static(directory=STATIC), name="static")
    told: Any = app.exception_handlers.get(HTTPException)

    async def nothing(request: Request, error: Any) -> Response:
        if error.status_code == 404 and "text/html" in request.headers.get("accept", ""):
            return fault(request, Problem(404, "No page has this address."))
        answer: Response = await (told or http_exception_handler)(request, error)
        return answer

    app.add_exception_handler(HTTPException, nothing)


@router.get("/")
async def front(request: Request, part: str = "", said: str = "") -> Response:
    """The cluster now."""
    one = service(request)
    status = one.status()
    cluster = str(status.get("cluster") or "")
    runs = (await run_in_threadpool(one.history, cluster, size=RECENT))["runs"]
    page = now_page(status, one.plan(), one.health(), runs, now())
    template = "now_part.html" if part else "now.html"
    title = page.headline.word
    return render(request, template, title, here="/", page=page, live="poll", notice=NOTICES.get(said))


@dataclass(frozen=True)
class HistoryPage:
    """Runs that fit the filters, and the addresses of the pages around them."""

    runs: tuple[RunRow, ...]
    outcome: str
    cluster: str
    since: str
    until: str
    clusters: tuple[str, ...]
    newest: str
    older: str
    outcomes: tuple[tuple[str, Mark], ...] = tuple(OUTCOMES.items())

    @property
    def is_filtered(self) -> bool:
        return bool(self.outcome or self.cluster or self.since or self.until)


@router.get("/history")
async def history(
    request: Request,
    outcome: Annotated[str, Query(max_length=30)] = "",
    cluster: Annotated[str, Query(max_length=200)] = "",
    since: Annotated[str, Query(max_length=30)] = "",
    until: Annotated[str, Query(max_length=30)] = "",
    before: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """What was done, newest first."""
    first, last = _day(since), _day(until)
    wanted = outcome if outcome in OUTCOMES else ""
    end = last + timedelta(days=1) if last else None
    one = service(request)
    found = await run_in_threadpool(one.history, cluster, wanted, first, end, 1, PAGE_SIZE, before)
    moment = now()
    since, until = _date(first), _date(last)
    filters = {"outcome": wanted, "cluster": cluster, "since": since, "until": until}
    shown = HistoryPage(
        runs=tuple(run_row(line, moment) for line in found["runs"]),
        clusters=await run_in_threadpool(one.clusters),
        newest=_page(filters) if before else "",
        older=_page({**filters, "before": found["older"]}) if found["has_more"] else "",
        outcome=wanted,
        cluster=cluster,
        since=since,
        until=until,
    )
    return render(request, "history.html", "History", here="/history", page=shown)


def _page(filters: Mapping[str, str]) -> str:
    return "/history?" + urlencode({key: value for key, value in filters.items() if value})


def _date(day: datetime | None) -> str:
    return day.date().isoformat() if day else ""


def _day(text: str) -> datetime | None:
    """Midnight UTC of a day as a date field sends it; anything else is no filter."""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    return datetime(found.year, found.month, found.day, tzinfo=UTC)


@router.get("/runs/{name}")
async def run(request: Request, name: str, part: str = "") -> Response:
    """A run, live while it goes on."""
    found = await run_in_threadpool(service(request).run, name)
    page = run_page(found, now())
    live = "" if page.is_ended else f"/api/runs/{name}/events"
    template = "run_part.html" if part else "run.html"
    return render(request, template, page.row.mark.word, here="/history", page=page, live=live)


@router.get("/figures")
async def show_figures(request: Request, days: Annotated[int, Query(ge=1, le=366)] = SPANS[1]) -> Response:
    """Figures and plots of a span of time."""
    until = now()
    since = until - timedelta(days=days)
    cluster = str(service(request).status().get("cluster") or "")
    found = await run_in_threadpool(_figures, memory(request), cluster, since, until)
    return render(request, "figures.html", "Figures", here="/figures", page=figures_page(found, days))


def _figures(found: Memory, cluster: str, since: datetime, until: datetime) -> Figures:
    lines = found.history.lines(since.timestamp(), cluster=cluster)
    readings = found.notes.health_since(cluster, since.timestamp()) if cluster else ()
    looks = (Look(datetime.fromtimestamp(one.at, UTC), one.service, one.is_healthy) for one in readings)
    return figures((one for one in map(past, lines) if one), looks, since, until)
