"""What buttons do: a page that says what will happen, then the deed, then the run's page."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse

from dual_update.core.errors import NotNow
from dual_update.edges.web.auth import Who, require_writer, sign_in, sign_out, who
from dual_update.edges.web.pages_frame import PageRoute, now, render, service
from dual_update.edges.web.pages_now import newest_change
from dual_update.edges.web.pages_views import Pending, pending, result_rows
from dual_update.edges.web.pages_words import short_commit
from dual_update.edges.web.problems import Problem

router = APIRouter(route_class=PageRoute, include_in_schema=False)
Writer = Annotated[Who, Depends(require_writer)]

DOOR = "dashboard"
SESSION_HOURS = 12
_OUR_PATH = re.compile(r"/(?![/\\])[A-Za-z0-9_/?=&.%-]*")


@dataclass(frozen=True)
class Confirm:
    """A question with everything one has to know to answer it. Without a verb there is nothing to do."""

    question: str
    action: str
    verb: str
    lines: tuple[str, ...] = ()
    what: tuple[str, ...] = ()
    plan: Pending | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    choices: tuple[tuple[str, str], ...] = ()
    must_tick: str = ""
    is_grave: bool = False
    back: str = "/"


def _ask(request: Request, page: Confirm) -> Response:
    return render(request, "confirm.html", page.question, page=page)


def _key() -> str:
    """Names a form, so that sending it twice does it once."""
    return secrets.token_hex(8)


# --- check


@router.get("/check")
async def ask_check(request: Request) -> Response:
    what = (
        "The repository is fetched, and its newest commit is compared with what runs.",
        "Registries are asked whether they have new content under the tags that are used.",
        "What is found is shown here. What was approved beforehand is applied, as at every check.",
    )
    return _ask(request, Confirm("Look for updates now?", "/check", "Check now", what=what))


@router.post("/check")
async def check(request: Request, _: Writer) -> Response:
    service(request).check(DOOR)
    return _to("/")


# --- apply


@router.get("/apply")
async def ask_apply(request: Request) -> Response:
    plan = service(request).plan()
    page = pending(plan)
    if plan is None or page is None:
        seen = "The cluster runs what git wants, as far as the last check saw."
        return _ask(request, Confirm("There is nothing to apply", "/check", "", lines=(seen,)))
    lines = (
        f"From {page.came_from} to {page.goes_to}: {page.title.lower()}, {page.way}.",
        "Everything is fetched and looked at before anything is touched. If a step fails, the cluster"
        " returns to what runs now.",
    )
    return _ask(
        request,
        Confirm(
            "Apply this update?",
            "/apply",
            "Apply it",
            lines=lines,
            plan=page,
            fields={"fingerprint": page.fingerprint, "key": _key()},
            must_tick=_must_tick(page),
        ),
    )


def _must_tick(plan: Pending) -> str:
    parts = []
    if plan.needs_person:
        parts.append("what is said about data above")
    if plan.drift:
        parts.append("that changes made by hand are undone")
    if plan.quarantined:
        parts.append("that this content failed before")
    return f"I have read {' and '.join(parts)}, and it may be done." if parts else ""


@router.post("/apply")
async def apply(
    request: Request,
    _: Writer,
    fingerprint: Annotated[str, Form(min_length=8, max_length=400)],
    key: Annotated[str, Form(max_length=100)] = "",
    accepts_risk: Annotated[str, Form(max_length=10)] = "",
) -> Response:
    one = service(request)
    page = pending(one.plan())
    if page is not None and page.fingerprint == fingerprint and _must_tick(page) and not accepts_risk:
        raise NotNow("The box was not ticked; nothing was changed.")
    job = await run_in_threadpool(one.apply, fingerprint, DOOR, is_by_person=True, key=key)
    return _to_run(job)


# --- rollback


@router.get("/rollback")
async def ask_rollback(request: Request, run: str = "") -> Response:
    one = service(request)
    if not run:
        cluster = str(one.status().get("cluster") or "")
        found = newest_change((await run_in_threadpool(one.history, cluster, size=50))["runs"])
        if found is None:
            lines = ("No run is known that changed this cluster and had something before it.",)
            return _ask(request, Confirm("There is nothing to go back to", "/", "", lines=lines))
        run = str(found["run"])
    record = await run_in_threadpool(one.run, run)
    return _ask(
        request,
        Confirm(
            "Return to what ran before?",
            "/rollback",
            "Roll back",
            lines=(
                f"To what ran before run {record['run']}: commit {short_commit(record.get('from'))}"
                f" instead of {short_commit(record.get('to'))}.",
            ),
            what=tuple(_way_back(record)),
            fields={"run": run, "key": _key()},
            is_grave=True,
        ),
    )


def _way_back(record: Mapping[str, Any]) -> list[str]:
    moved = [one for one in result_rows(record) if one.before != one.after]
    return [
        *(f"{one.name} returns from image {one.after} to {one.before}." for one in moved),
        "Files, containers and images become what they were; services that differ are replaced, and are away"
        " meanwhile.",
        "What was written into volumes since then stays as it is.",
        "The content that is taken back is quarantined: it is not applied again unasked.",
        "It is a run of its own, and can be taken back in the same way.",
    ]


@router.post("/rollback")
async def rollback(
    request: Request,
    _: Writer,
    run: Annotated[str, Form(max_length=100)] = "",
    key: Annotated[str, Form(max_length=100)] = "",
) -> Response:
    return _to_run(await run_in_threadpool(service(request).rollback, run, DOOR, key=key))


# --- pause


PAUSES: Mapping[str, tuple[str, float | None]] = {
    "": ("until somebody resumes", None),
    "1h": ("for an hour", 3600.0),
    "8h": ("for 8 hours", 8 * 3600.0),
    "1d": ("for a day", 86_400.0),
    "7d": ("for a week", 7 * 86_400.0),
}
"""What a person can choose from: words, and seconds (None: no end)."""


@router.get("/pause")
async def ask_pause(request: Request) -> Response:
    what = (
        "Checks go on, and pending updates are shown.",
        "Nothing is applied unasked, whatever was approved beforehand.",
        "What a person applies here is done all the same.",
    )
    choices = tuple((value, words) for value, (words, _) in PAUSES.items())
    return _ask(request, Confirm("Pause updates?", "/pause", "Pause", what=what, choices=choices))


@router.post("/pause")
async def pause(
    request: Request,
    _: Writer,
    span: Annotated[str, Form(max_length=10)] = "",
    reason: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    seconds = PAUSES.get(span, PAUSES[""])[1]
    until = None if seconds is None else now() + timedelta(seconds=seconds)
    await run_in_threadpool(service(request).pause, DOOR, " ".join(reason.split()), until)
    return _to("/?said=paused")


@router.get("/resume")
async def ask_resume(request: Request) -> Response:
    what = ("From the next check on, what was approved beforehand is applied again.",)
    return _ask(request, Confirm("Resume updates?", "/resume", "Resume", what=what))


@router.post("/resume")
async def resume(request: Request, _: Writer) -> Response:
    await run_in_threadpool(service(request).resume, DOOR)
    return _to("/?said=resumed")


# --- who is there


@dataclass(frozen=True)
class Login:
    next: str
    fault: str = ""
    hours: int = SESSION_HOURS


@router.get("/login")
async def ask_login(request: Request, next: str = "/") -> Response:  # noqa: A002
    if who(request).is_known:
        return _to(_ours(next))
    return render(request, "login.html", "Sign in", page=Login(_ours(next)))


@router.post("/login")
async def login(
    request: Request,
    token: Annotated[str, Form(max_length=1000)],
    next: Annotated[str, Form(max_length=500)] = "/",  # noqa: A002
) -> Response:
    answer = _to(_ours(next))
    try:
        sign_in(request, answer, token)
    except Problem as problem:
        page = Login(_ours(next), problem.detail)
        shown = render(request, "login.html", "Sign in", page=page, status=problem.status)
        shown.headers.update(problem.headers)
        return shown
    return answer


@router.post("/logout")
async def logout(_: Writer) -> Response:
    answer = _to("/?said=out")
    sign_out(answer)
    return answer


def _ours(path: str) -> str:
    """A path of this service; whatever else an address asked for leads to the front page."""
    return path if _OUR_PATH.fullmatch(path) else "/"


def _to(path: str) -> Response:
    return RedirectResponse(path, 303)


def _to_run(job: Mapping[str, Any]) -> Response:
    return _to(f"/runs/{job.get('run') or job['id']}")
