"""The web application: one guarded FastAPI with API, webhooks and, where they exist, pages and metrics."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException

from dual_update.core.errors import DualUpdateError
from dual_update.edges.web import problems
from dual_update.edges.web.auth import Doorman, WebSettings
from dual_update.edges.web.problems import Problem
from dual_update.edges.web.security import OPEN, Guard
from dual_update.usecases.service import Service

MODULES = ("api", "events", "webhooks", "clusters", "metrics", "pages")
"""Modules beside this one with a `router`; those that are there are included, in this order."""


def _silent(*_: object, **__: object) -> None:
    return


def create_app(service: Service, settings: WebSettings, log: Callable[..., None] = _silent) -> FastAPI:
    """The application for a service. Routes find it as `request.app.state.service`, `.settings`, `.doorman`,
    and as `.memory` the host's memory, to read from.

    A module that has `mount(app)` is asked to (static files, state of its own) beside its `router`.
    """
    app = FastAPI(
        title="dual-update",
        description="Updates for docker compose clusters that end new or old, never between.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    app.state.memory = service.memory
    app.state.settings = settings
    app.state.doorman = Doorman(settings)
    app.state.log = log
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(DualUpdateError, _error)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    for name in MODULES:
        if find_spec(f"{__package__}.{name}") is None:
            continue
        module = import_module(f"{__package__}.{name}")
        if hasattr(module, "router"):
            app.include_router(module.router)
        if hasattr(module, "mount"):
            module.mount(app)
    app.openapi = lambda: _document(app, settings)  # type: ignore[method-assign]
    app.add_middleware(Guard, settings=settings, doorman=app.state.doorman, log=log)
    return app


def _document(app: FastAPI, settings: WebSettings) -> dict[str, Any]:
    """The OpenAPI document, with who may do what: on loopback reading is free, changing never is."""
    if app.openapi_schema is None:
        found = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        schemes = found.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["token"] = {"type": "http", "scheme": "bearer", "description": "API_TOKEN"}
        for path, operations in found["paths"].items():
            for method, operation in operations.items():
                needs = method not in {"get", "head"} or not settings.is_loopback
                if path in OPEN:
                    operation["security"] = []
                elif needs:
                    operation["security"] = [{"token": []}]
                else:
                    operation["security"] = [{}, {"token": []}]
        app.openapi_schema = found
    return app.openapi_schema


def answer(problem: Problem) -> Response:
    """A problem as a response."""
    return Response(
        problems.body(problem.status, problem.detail),
        problem.status,
        headers=problem.headers,
        media_type=problems.MEDIA_TYPE,
    )


async def _problem(_: Request, error: Any) -> Response:
    return answer(error)


async def _error(_: Request, error: Any) -> Response:
    return answer(problems.of_error(error))


async def _http(_: Request, error: Any) -> Response:
    if isinstance(error.__cause__, Problem):  # the body was cut off while fastapi read it
        return answer(error.__cause__)
    sentences = {404: "There is nothing here.", 405: "That is not done here with this method."}
    problem = Problem(error.status_code, sentences.get(error.status_code, str(error.detail)))
    problem.headers.update(error.headers or {})
    return answer(problem)


async def _invalid(_: Request, error: Any) -> Response:
    """Says which field, never what was sent in it."""
    found = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()[:5]]
    return answer(Problem(422, "; ".join(found) or "The request cannot be read."))
