"""`dual-update serve`: the update-orchestrator, and the process that carries out one of its jobs."""

import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click

from dual_update.core.errors import DualUpdateError, ExitCode, UsageError
from dual_update.core.job import Ending, Job
from dual_update.wiring import Settings

if TYPE_CHECKING:
    from dual_update.adapters.environment import Environment
    from dual_update.core.run import RunReport
    from dual_update.edges.web.auth import WebSettings
    from dual_update.usecases.service import Service
    from dual_update.usecases.service_ports import Forge

JOB_COMMAND = "service-job"
MESSAGE_SECONDS = 10.0
"""Longest wait for one address of a message."""


def serve_options(command: Any) -> Any:
    """Flags of `serve` beside those of every command."""
    for option in (
        click.option("--port", type=click.IntRange(1, 65535), default=8090, help="[8090]"),
        click.option("--host", default="127.0.0.1", help="The address to listen on [127.0.0.1]"),
        click.option(
            "--allow-host", "allowed_hosts", multiple=True, help="Another name this service has; repeatable."
        ),
    ):
        command = option(command)
    return command


def serve(settings: Settings, host: str, port: int, allowed_hosts: Sequence[str]) -> int:
    """Run the service until it is told to stop."""
    from dual_update.adapters.environment import environment, variable
    from dual_update.adapters.logs import set_up
    from dual_update.edges.web.auth import WebSettings, is_loopback

    told = environment()
    set_up(told.log_level, variable("LOG_FORMAT"))
    if not is_loopback(host) and not told.api_token:
        raise UsageError(
            f"{host} can be reached from elsewhere, and API_TOKEN is not set.",
            hint="Set API_TOKEN (or API_TOKEN_FILE), or listen on 127.0.0.1.",
        )
    settings = with_environment(settings, told)
    web = WebSettings(
        host=host,
        port=port,
        api_token=told.api_token,
        webhook_secret=told.webhook_secret,
        allowed_hosts=tuple(allowed_hosts),
        deploy_branch=told.deploy_branch,
        repository=told.github_repository,
    )
    return _listen(make_service(settings, told, f"http://{host}:{port}"), web, settings)


def with_environment(settings: Settings, told: "Environment") -> Settings:
    """The settings of the flags, and beneath them what the environment says."""
    given = {"mode": told.mode, "scope": told.scope, "deploy_branch": told.deploy_branch}
    overrides: dict[str, Any] = {key: value for key, value in given.items() if value}
    if told.watchtower_url:
        from dual_update.core.config import Watchtower

        token_file = os.environ.get("WATCHTOWER_TOKEN_FILE") or None
        overrides["watchtower"] = Watchtower(told.watchtower_url, token_file)
    return replace(
        settings,
        repo=told.cluster_path if told.cluster_path and settings.repo == Path() else settings.repo,
        files=settings.files or told.compose_files,
        overrides=overrides,
    )


def make_service(settings: Settings, told: "Environment", url: str = "") -> "Service":
    """The service with everything it meets."""
    from dual_update.adapters.clock import SystemWall
    from dual_update.adapters.job_lines import TalkingJobs
    from dual_update.adapters.jobs import program
    from dual_update.adapters.store import SqliteStore
    from dual_update.usecases.service import Policy, Service, World
    from dual_update.wiring import open_courier, open_site, state_directory

    def command(job: Path) -> Sequence[str]:
        return program(JOB_COMMAND, *_flags(settings), str(job))

    state = state_directory(settings)
    github = _GitHub(settings, told)
    world = World(
        open_site=lambda ref: open_site(settings, ref, lambda _: None),
        memory=SqliteStore(state),
        reader=SqliteStore(state),
        changes=SqliteStore(state).changes,
        hands=TalkingJobs(state, command, log),
        wall=SystemWall(),
        zone=ZoneInfo,
        connect=github.connect,
        opened=github.opened,
        log=log,
        courier=open_courier(SqliteStore(state), MESSAGE_SECONDS, url, told.webhook_url),
    )
    return Service(world, Policy(told.check_interval_seconds, told.is_auto_approved, url))


class _GitHub:
    """Repositories on GitHub, when a token is there: asked late and once, since the checkout may not be here
    yet when the service starts."""

    def __init__(self, settings: Settings, told: "Environment") -> None:
        self._settings = settings
        self._told = told
        self._found: dict[str, Forge] = {}

    def connect(self) -> "Forge | None":
        """The cluster's own repository: GITHUB_REPOSITORY, else where the checkout came from."""
        if not self._told.github_token:
            return None
        return self.opened(self._told.github_repository or self._origin())

    def opened(self, name: str) -> "Forge | None":
        """A repository OWNER/NAME."""
        if not self._told.github_token or not name:
            return None
        if name not in self._found:
            from dual_update.adapters.github import PyGithubRepository

            api = os.environ.get("GITHUB_API_URL", "https://api.github.com")
            self._found[name] = PyGithubRepository(api, name, self._told.github_token)
        return self._found[name]

    def _origin(self) -> str:
        from dual_update.adapters.git import GitRepository
        from dual_update.core.submodule import owner_and_name

        with GitRepository(self._settings.repo) as repository:
            return owner_and_name(repository.try_git("remote", "get-url", "origin").out.strip())


def log(event: str, *, level: str = "info", **fields: object) -> None:
    """One line an event, on standard error (adapters/logs.py)."""
    from dual_update.adapters import logs

    logs.log(event, level=level, **fields)


def _listen(service: "Service", web: "WebSettings", settings: Settings) -> int:
    import uvicorn

    from dual_update.edges.web.app import create_app
    from dual_update.edges.web.clusters import lead

    listening = _bound(web.host, web.port)
    app = create_app(service, web, log)
    lead(app, settings)
    config = uvicorn.Config(
        app,
        log_config=None,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        limit_concurrency=256,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=3,
        lifespan="off",
    )
    server = uvicorn.Server(config)

    def leave(*_: object) -> None:
        server.should_exit = True  # uvicorn hands the signal on when it is done; there is nothing left to do

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    try:
        service.changes()  # an older database is migrated now, while nobody waits for an answer
    except DualUpdateError as error:
        log("the history cannot be read", level="error", what=error.message)
    service.start()
    log("listening", host=web.host, port=web.port)
    try:
        server.run(sockets=[listening])
    finally:
        service.stop()
    return ExitCode.DONE


def _bound(host: str, port: int) -> socket.socket:
    """A socket at this address. Raises UsageError when it is taken, or is none of this host."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except OSError as error:
        raise UsageError(
            f"{host}:{port} cannot be listened on: {error.strerror or error}.",
            hint="Stop what listens there, or give another --host or --port.",
        ) from error
    return made


# --- the process of one job


def _flags(settings: Settings) -> list[str]:
    found = ["--repo", str(settings.repo.absolute())]
    for file in settings.files:
        found += ["--file", file]
    if settings.cluster:
        found += ["--cluster", settings.cluster]
    if settings.config:
        found += ["--config", str(settings.config.absolute())]
    if settings.state_dir:
        found += ["--state-dir", str(settings.state_dir.absolute())]
    return found


def carry_out(settings: Settings, path: Path) -> int:
    """Do the job of a file, and write beside it how it ended."""
    from dual_update.adapters.environment import environment
    from dual_update.adapters.jobs import write_whole
    from dual_update.wiring import interrupt_on_termination

    interrupt_on_termination()
    job = Job.from_json(json.loads(path.read_bytes()))
    try:
        report = _carry_out(with_environment(settings, environment()), job)
        ending = _ending(report)
    except DualUpdateError as error:
        ending = Ending(int(error.exit_code), " ".join(str(error).split()))
    except KeyboardInterrupt:
        ending = Ending(ExitCode.INTERRUPTED, "Interrupted before anything was done.")
    except Exception as error:
        ending = Ending(ExitCode.BUG, f"This is a bug ({type(error).__name__}).")
    with suppress(OSError):  # a full disk: the run's own record says how it ended
        write_whole(path.with_suffix(".end"), asdict(ending))
    return ending.exit_code


def _ending(report: "RunReport | None") -> Ending:
    from dual_update.core.run import SENTENCES

    if report is None:
        return Ending(0, "Nothing to do.")
    return Ending(
        int(report.exit_code), report.reason or SENTENCES[report.outcome], report.run, report.outcome
    )


def _carry_out(settings: Settings, job: Job) -> "RunReport | None":
    from dual_update.usecases.apply import ApplyRequest, apply
    from dual_update.usecases.recover import recover_locked
    from dual_update.usecases.rollback import choose, rollback
    from dual_update.wiring import deaf, open_site

    with open_site(settings, job.ref or "HEAD", _say) as (opened, commit):
        site = replace(opened, salt=lambda: job.id)  # the run's name ends in the job's: so it is found
        if job.kind == "recover":
            return recover_locked(site, deaf)
        if job.kind == "rollback":
            return rollback(site, choose(site, job.to_run), deaf)
        request = ApplyRequest(
            commit,
            site.config.scope,
            is_approved=True,
            is_approved_by_person=job.is_by_person,
            accepts_drift=job.accepts_drift,
            expect=job.expect,
            why=f"apply, asked by {job.by}",
        )
        return apply(site, request, lambda _: False, deaf)


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
