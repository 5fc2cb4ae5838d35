"""Composition root: settings in, use-cases with their adapters out. Heavy imports wait until needed."""

import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dual_update.adapters.compose import ComposeRenderer
from dual_update.adapters.git import GitRepository
from dual_update.adapters.ignore import sent_to_build
from dual_update.core.config import Config
from dual_update.core.errors import UsageError
from dual_update.core.model import HERE_ROOT, HOME_ROOT
from dual_update.usecases.base import find_base
from dual_update.usecases.detect import Detected, DetectRequest, Project, detect
from dual_update.usecases.ports import Store

if TYPE_CHECKING:
    from dual_update.adapters.project import ComposeCli
    from dual_update.adapters.store import SqliteStore
    from dual_update.adapters.watchtower import Watchtower
    from dual_update.core.strategies import Strategy
    from dual_update.usecases.notify import Courier
    from dual_update.usecases.site import Site


@dataclass(frozen=True)
class Settings:
    """What a door read from its flags, environment and files: once, at the start.

    `overrides` are fields of the cluster's Config that the environment decides.
    """

    repo: Path = Path()
    files: tuple[str, ...] = ()
    cluster: str = ""
    config: Path | None = None
    state_dir: Path | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    strategy: str = ""


def project_of(repository: GitRepository, files: Sequence[str]) -> Project:
    """Where the compose project lies: files are given relative to the directory the user named."""
    directory = repository.directory
    prefix = f"{directory}/" if directory else ""
    return Project(directory, tuple(os.path.normpath(prefix + file) for file in files))


def load_config(repository: GitRepository, settings: Settings, commit: str) -> Config:
    """The cluster's policy: the file that was named, else the commit's own, else the defaults."""
    from dual_update.adapters.config import load, load_file

    if settings.config is not None:
        return replace(load_file(settings.config), **settings.overrides)
    return replace(load(repository.tree(commit)), **settings.overrides)


def run_detect(settings: Settings, base: str | None, head: str, *, asks_registry: bool = False) -> Detected:
    """Detect in the repository of the settings. Without a base: the last deployment known on this host.

    With `asks_registry`, what runs on this host's engine is compared with what the registries have.
    """
    with GitRepository(settings.repo) as repository:
        commit = repository.resolve([head])[0]
        config = load_config(repository, settings, commit)
        warnings: tuple[str, ...] = ()
        if not base:
            deployed = last_deployed(settings, repository, config)
            found = find_base(repository, deployed=deployed, before=None, head=commit)
            base, warnings = found.commit, found.warnings
        request = DetectRequest(
            head=commit,
            base=base,
            warnings=warnings,
            project=project_of(repository, settings.files or config.compose_files),
            cluster=settings.cluster or config.cluster,
            overrides=config.rules,
        )
        detected = detect(request, repository, ComposeRenderer(), sent_to_build)
        if not asks_registry:
            return detected
        from dual_update.adapters.docker import DockerEngine
        from dual_update.adapters.registry import HttpRegistry
        from dual_update.usecases.running import running_digests

        with DockerEngine(timeout_seconds=engine_seconds()) as engine, HttpRegistry() as registry:
            running = running_digests(engine, detected.after.name)
            request = replace(request, running=running)
            return detect(request, repository, ComposeRenderer(), sent_to_build, registry)


def last_deployed(settings: Settings, repository: GitRepository, config: Config) -> str | None:
    """The commit of the newest good run of this checkout's cluster, if this host knows one."""
    directory = state_directory(settings)
    if not (directory / "state.sqlite3").is_file():
        return None
    cluster = settings.cluster or config.cluster or None
    for run in open_store(settings).runs(cluster or "", limit=1000):
        is_ours = cluster is not None or run.get("checkout") == repository.root
        if is_ours and run.get("outcome") in {"succeeded", "unchanged"}:
            return str(run["to"])
    return None


def state_directory(settings: Settings) -> Path:
    """Where this host remembers: the flag, DUAL_UPDATE_STATE_DIR, else the usual place."""
    from dual_update.adapters.store import default_state_directory

    return settings.state_dir or default_state_directory()


def at_its_checkout(settings: Settings) -> Settings:
    """The same settings at the checkout that the named cluster was deployed from, where no other is given."""
    if not settings.cluster or settings.repo != Path():
        return settings
    for run in open_store(settings).runs(settings.cluster, limit=1):
        if run.get("checkout"):
            return replace(settings, repo=Path(str(run["checkout"])) / str(run.get("directory") or ""))
    return settings


def open_store(settings: Settings) -> Store:
    """The memory of this host."""
    from dual_update.adapters.store import SqliteStore

    return SqliteStore(state_directory(settings))


@contextmanager
def open_site(
    settings: Settings, ref: str | None, say: Callable[[str], None]
) -> "Iterator[tuple[Site, str]]":
    """The cluster on this host with everything a transaction needs, and the commit that is meant.

    Without a ref: the tip of the deploy branch on the remote where there is one (fetched before),
    else what is checked out.
    """
    from dual_update.adapters.checkout import GitCheckout
    from dual_update.adapters.clock import SystemClock
    from dual_update.adapters.disk import HostDisk
    from dual_update.adapters.docker import DockerEngine
    from dual_update.adapters.probe import HttpProber
    from dual_update.adapters.project import ComposeCli, ComposeWorkshop
    from dual_update.adapters.registry import HttpRegistry
    from dual_update.adapters.shell import HostShell
    from dual_update.adapters.sockets import HostSockets
    from dual_update.adapters.store import SqliteStore
    from dual_update.usecases.site import Site

    with (
        GitRepository(settings.repo) as repository,
        DockerEngine(timeout_seconds=engine_seconds()) as engine,
        HttpRegistry() as registry,
        SqliteStore(state_directory(settings)) as store,
    ):
        commit = repository.resolve([wanted_ref(repository, settings, ref)])[0]
        config = load_config(repository, settings, commit)
        project = project_of(repository, settings.files or config.compose_files)
        root = Path(repository.root)
        checkout = GitCheckout(repository, root)
        if ref != "HEAD":  # its files are read before anything is moved, and so are its submodules'
            checkout.bring(commit)

        def compose(name: str, files: tuple[str, ...]) -> "ComposeCli":
            directory = root / (files[0].rpartition("/")[0] if files else project.directory)
            paths = [str(root / file) for file in files]
            return ComposeCli(
                directory,
                paths,
                name,
                runs_in=root / project.directory,
                by_env=project.is_named_by_env(files),
                set_free=engine.set_free,
            )

        site = Site(
            cluster=settings.cluster or config.cluster or _cluster_of(repository, project, store, commit),
            project=project,
            config=config,
            repository=repository,
            renderer=ComposeRenderer(),
            sent_to_build=sent_to_build,
            engine=engine,
            compose=compose,
            workshop=ComposeWorkshop(root, state_directory(settings) / "scratch", image_id=engine.image_id),
            checkout=checkout,
            store=store,
            prober=HttpProber(),
            clock=SystemClock(),
            disk=HostDisk(),
            say=say,
            salt=lambda: secrets.token_hex(3),
            sockets=HostSockets(),
            registry=registry,
            watchtower=_watchtower(config),
            shell=HostShell(),
            strategy=lambda: chosen_strategy(settings, config, repository, commit),
            words=host_words(root / project.directory),
        )
        yield site, commit


def host_words(directory: Path) -> dict[str, str]:
    """What compose takes for `$PWD` and `$HOME` when it runs on this host, in this directory."""
    return {HERE_ROOT: str(directory.resolve()), HOME_ROOT: os.environ.get("HOME", "")}


def chosen_strategy(
    settings: Settings, config: Config, repository: GitRepository, commit: str
) -> "Strategy | None":
    """The strategy that the flag or the config names, else None: then the Decision chooses."""
    wanted = settings.strategy or config.strategy
    if not wanted:
        return None
    from dual_update.adapters.custom import from_file, installed

    if isinstance(wanted, str):
        return installed(wanted)
    return from_file(repository, commit, trusted_branch(settings, repository, config), wanted)


def trusted_branch(settings: Settings, repository: GitRepository, config: Config) -> str:
    """The deploy branch as somebody says who is trusted already: the file that was named on this host, else
    the newest commit that was deployed, else the tip of the remote's own default branch.

    The commit at hand does not count: a proposal could name its own branch, and have its code run.
    """
    if settings.config is not None:
        return config.deploy_branch
    deployed = last_deployed(settings, repository, config)
    for known in (deployed, "refs/remotes/origin/HEAD"):
        if known is not None and repository.has(known):
            return load_config(repository, settings, repository.resolve([known])[0]).deploy_branch
    return Config().deploy_branch


POKE_SECONDS = 300.0
"""Longest wait for one answer of Watchtower, which pulls, stops and starts before it gives one."""


def _watchtower(config: Config) -> "Watchtower | None":
    """The client of the configured Watchtower. Its token: the configured file, else the environment."""
    from dual_update.adapters.watchtower import Watchtower, token_from

    if config.watchtower is None or config.mode == "revamp_only":
        return None
    file = config.watchtower.token_file or os.environ.get("WATCHTOWER_TOKEN_FILE")
    token = token_from(None if file else os.environ.get("WATCHTOWER_TOKEN"), file)
    return Watchtower(config.watchtower.url, token, POKE_SECONDS)


def engine_seconds() -> float:
    """How long the engine may take to answer: DUAL_UPDATE_ENGINE_SECONDS, else 60."""
    given = os.environ.get("DUAL_UPDATE_ENGINE_SECONDS", "60")
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        raise UsageError(f"DUAL_UPDATE_ENGINE_SECONDS is {given!r}; a number of seconds above 0 is meant.")
    return seconds


def wanted_ref(repository: GitRepository, settings: Settings, ref: str | None) -> str:
    """The ref that was given, or what "the newest" means here; the remote is asked where it has to be.

    Which branch is followed, the commit that is checked out may say.
    """
    from dual_update.adapters.remote import is_elsewhere, newest

    if ref and not is_elsewhere(repository, ref):
        return ref
    config = load_config(repository, settings, repository.resolve(["HEAD"])[0])
    followed = newest(repository, config.deploy_branch)
    return ref or followed


def _cluster_of(repository: GitRepository, project: Project, store: Store, commit: str) -> str:
    """The name this checkout's cluster has had, else the compose project's.

    A changed `name:` must not look like a cluster that was never deployed.
    """
    for run in store.runs(limit=1000):
        if run.get("checkout") == repository.root and run.get("directory") == project.directory:
            return str(run["cluster"])
    request = DetectRequest(head=commit, project=project)
    return detect(request, repository, ComposeRenderer(), sent_to_build).after.name


def open_courier(
    store: "SqliteStore", attempt_seconds: float, dashboard: str = "", urls: str | None = None
) -> "Courier | None":
    """Who carries messages about runs to the addresses of WEBHOOK_URL; None without one.

    `dashboard` is the base of links to runs. Raises UsageError for an address that nobody understands.
    """
    from dual_update.adapters.environment import variable

    urls = variable("WEBHOOK_URL") if urls is None else urls
    if not urls:
        return None
    from dual_update.adapters.notify import AppriseSender, secrets_of
    from dual_update.core.secrecy import is_secret
    from dual_update.usecases.notify import Courier, links_of

    sender = AppriseSender(urls, attempt_seconds)
    hidden = {value for name, value in os.environ.items() if is_secret(name, value)}
    hidden.update(*(secrets_of(url) for url in urls.split()))
    server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
    links = links_of(dashboard, server, variable("GITHUB_REPOSITORY"))
    return Courier(store.outbox, sender, frozenset(hidden), links)


def repair_state(settings: Settings) -> str:
    """Set a damaged database aside, keep what can be read, and say so."""
    from dual_update.adapters.store_repair import repair

    return repair(state_directory(settings)).text()


LAST_WORD_SECONDS = 6.0
"""How long a command may stay for its message. What is not taken by then waits in the outbox."""


def tell_of_run(settings: Settings, record: Mapping[str, object], say: Callable[[str], None]) -> None:
    """After a command's run: nothing here can change how it ended, so faults are only said."""
    from dual_update.core.errors import DualUpdateError

    if not (os.environ.get("WEBHOOK_URL") or os.environ.get("WEBHOOK_URL_FILE")):
        return
    from dual_update.adapters.store import SqliteStore
    from dual_update.usecases.notify import about_run, tell_quietly

    if about_run(record) is None:
        return

    with deaf(), SqliteStore(state_directory(settings)) as store:
        try:
            courier = open_courier(store, LAST_WORD_SECONDS)
        except DualUpdateError as error:
            say(f"nobody is told: {error.message}")
            return
        if courier is not None:
            tell_quietly(courier, record, say, LAST_WORD_SECONDS)


@contextmanager
def deaf() -> Iterator[None]:
    """Shield the way back: an impatient second signal must not leave a cluster between old and new."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: Mapping[signal.Signals, object] = {
        number: signal.signal(number, signal.SIG_IGN)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]


def interrupt_on_termination() -> None:
    """Let SIGINT, SIGTERM and SIGHUP ask for a rollback.

    SIGINT too, though Python does so by itself: whoever is started in the background of a script
    inherits it ignored, and a runner's cancel would go unheard. An ignored SIGHUP is `nohup`'s wish.
    """

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, interrupt)
