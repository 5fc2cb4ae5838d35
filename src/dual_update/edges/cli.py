"""The command line: flags in, words and exit codes out."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dual_update.core.errors import DualUpdateError, ExitCode, NotNow, UsageError
from dual_update.edges.rollout_command import rollout_options
from dual_update.edges.serve import serve_options
from dual_update.wiring import Settings

if TYPE_CHECKING:
    from dual_update.core.run import RunReport
    from dual_update.usecases.apply import Proposal
    from dual_update.usecases.site import Site

FORMATS = click.Choice(["text", "json", "markdown"])


def program(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code. click's own complaints become usage errors (2)."""
    try:
        result = cli.main(args=list(arguments), prog_name="dual-update", standalone_mode=False)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.exceptions.Abort:
        raise KeyboardInterrupt from None
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    return int(result or ExitCode.DONE)


def shared(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that every command on a cluster takes, defined once; they arrive as `settings`."""

    def with_settings(
        repo: Path,
        files: tuple[str, ...],
        cluster: str,
        config: Path | None,
        state_dir: Path | None,
        **rest: Any,
    ) -> Any:
        return command(Settings(repo, files, cluster, config, state_dir), **rest)

    with_settings.__doc__ = command.__doc__
    with_settings.__name__ = command.__name__
    with_settings.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    path = click.Path(path_type=Path)
    decorated: Callable[..., Any] = with_settings
    for option in (
        click.option("--format", "output_format", type=FORMATS, default="text", help="[text]"),
        click.option("--state-dir", type=path, help="Where this host remembers [DUAL_UPDATE_STATE_DIR]"),
        click.option("--config", type=path, help="The config file [.github/dual-update.yml of the commit]"),
        click.option("--cluster", default="", help="The cluster's name [the compose project's]"),
        click.option(
            "-f", "--file", "files", multiple=True, help="A compose file below it; may be repeated."
        ),
        click.option("--repo", type=path, default=Path(), help="The checkout [.]"),
    ):
        decorated = option(decorated)
    return decorated


def applying(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of `plan` and `apply`."""
    for option in (
        click.option(
            "--accept-drift", is_flag=True, help="Undo what someone changed on the running cluster."
        ),
        click.option(
            "--scope", type=click.Choice(["cluster", "changed"]), help="What a revamp replaces [cluster]"
        ),
        click.option("--strategy", default="", help="An installed strategy, by name [the change decides]"),
        click.option("--ref", help="The wanted revision [the upstream's tip, else HEAD]"),
    ):
        command = option(command)
    return command


def working(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of what changes a cluster: how it waits for others, and in which process."""
    for option in (
        click.option(
            "--wait", "wait_seconds", type=float, default=0.0, help="Seconds to wait for a locked cluster [0]"
        ),
        click.option(
            "--worker", is_flag=True, help="Run in a process that outlives this one; this one follows it."
        ),
    ):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="dual-update", message="%(version)s")
def cli() -> None:
    """Updates for docker compose clusters that end new or old, never between."""


class _Lazy(click.Group):
    """The `config` commands, loaded when one is called: they are rarely what a start waits for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return config_group().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return config_group().get_command(ctx, cmd_name)


def config_group() -> click.Group:
    """The group of `config check` and `config show`."""
    from dual_update.edges.config_command import config_group as group

    return group


cli.add_command(_Lazy("config", help="Check a config file, or show what holds."))


@cli.command("detect")
@shared
@click.option("--base", help="What runs: a revision [the last deployment; without one all is new]")
@click.option("--head", default="HEAD", help="What is wanted: a revision [HEAD]")
@click.option("--registry", "asks_registry", is_flag=True, help="Ask registries for new content, too.")
@click.option("--output", type=click.Path(path_type=Path), help="Write to this file instead.")
def detect_command(
    settings: Settings,
    output_format: str,
    base: str | None,
    head: str,
    output: Path | None,
    *,
    asks_registry: bool,
) -> int:
    """Say what really changed between two commits."""
    from dual_update.core import report
    from dual_update.wiring import run_detect

    decision = run_detect(settings, base, head, asks_registry=asks_registry).decision
    if output_format == "json":
        words = as_json(report.report(decision))
    else:
        words = report.markdown(decision) if output_format == "markdown" else report.text(decision)
    write(words, output)
    return ExitCode.DONE


@cli.command("plan")
@shared
@applying
def plan_command(
    settings: Settings,
    output_format: str,
    ref: str | None,
    scope: str | None,
    strategy: str,
    *,
    accept_drift: bool,
) -> int:
    """Show what apply would do, step by step. Touches nothing."""
    from dual_update.usecases.apply import ApplyRequest, propose
    from dual_update.wiring import open_site

    with open_site(replace(settings, strategy=strategy), ref, progress) as (site, commit):
        request = ApplyRequest(commit, _scope(scope, site.config.scope), accepts_drift=accept_drift)
        proposal = propose(site, request)
    if output_format == "json":
        write(as_json(_proposal_json(proposal)), None)
    else:
        write(_proposal_text(proposal), None)
    return ExitCode.DONE


@cli.command("apply")
@shared
@applying
@click.option("--auto", is_flag=True, help="Do not ask. What can lose data is refused all the same.")
@click.option("--check-only", is_flag=True, help="Show the plan and stop.")
@click.option(
    "--approved-by", default="", help="Who read the plan that --expect names and agreed, also to lose data."
)
@working
@click.option("--expect", default="", help="Refuse anything but the plan or decision with this fingerprint.")
@click.option("--from", "comes_from", default="", help="Refuse where another revision than this one runs.")
@click.option("--allow-older", is_flag=True, help="With --auto: also to a commit that what runs has already.")
@click.option(
    "--mode",
    type=click.Choice(["dual", "watchtower_only", "revamp_only"]),
    help="Which hands may be used [the config's]",
)
def apply_command(
    settings: Settings,
    output_format: str,
    ref: str | None,
    scope: str | None,
    strategy: str,
    approved_by: str,
    expect: str,
    comes_from: str,
    mode: str | None,
    wait_seconds: float,
    *,
    accept_drift: bool,
    allow_older: bool,
    auto: bool,
    check_only: bool,
    worker: bool,
) -> int:
    """Bring the cluster to a commit, proven, or leave it exactly as it was."""
    from dual_update.usecases.apply import ApplyRequest, apply, propose
    from dual_update.wiring import deaf, interrupt_on_termination, open_site

    interrupt_on_termination()
    approved_by = approved_by.strip()
    if approved_by and not expect:
        raise UsageError("--approved-by says who agreed, and --expect has to say to what.")
    if worker and not check_only:
        return _follow_worker(settings, is_approved=auto or bool(approved_by))
    overrides = {**settings.overrides, **({"mode": mode} if mode else {})}
    settings = replace(settings, strategy=strategy, overrides=overrides)
    with open_site(settings, ref, progress) as (site, commit), answering(output_format, site, commit):
        request = ApplyRequest(
            commit,
            _scope(scope, site.config.scope),
            is_approved=(auto or bool(approved_by)) and not check_only,
            is_approved_by_person=bool(approved_by) and not check_only,
            approved_by=approved_by,
            accepts_drift=accept_drift,
            expect=expect,
            comes_from=_known(site, comes_from),
            allows_older=allow_older,
            wait_seconds=wait_seconds,
        )
        if check_only:
            proposal = propose(site, request)
            write(
                as_json(_proposal_json(proposal)) if output_format == "json" else _proposal_text(proposal),
                None,
            )
            return ExitCode.DONE
        report = apply(site, request, ask, deaf)
    return finish(report, output_format, settings)


def _follow_worker(settings: Settings, *, is_approved: bool) -> int:
    """The same command without `--worker`, in a process of its own."""
    import secrets

    from dual_update.edges.worker import follow
    from dual_update.wiring import state_directory

    if not is_approved:
        raise NotNow("A worker has no terminal to ask on.", hint="Use --worker together with --auto.")
    arguments = [one for one in sys.argv[1:] if one != "--worker"]
    return follow(arguments, state_directory(settings) / "logs" / f"worker-{secrets.token_hex(4)}.log")


@cli.command("rollback")
@shared
@click.option("--to", default="", help="Return to what ran before this run [the newest change]")
@click.option("--auto", is_flag=True, help="Do not ask.")
@working
def rollback_command(
    settings: Settings, output_format: str, to: str, wait_seconds: float, *, auto: bool, worker: bool
) -> int:
    """Return to what ran before a run: images, files, containers. Volume contents stay as they are."""
    from dual_update.usecases.rollback import choose, earlier, rollback
    from dual_update.wiring import at_its_checkout, deaf, interrupt_on_termination, open_site

    interrupt_on_termination()
    if worker:
        return _follow_worker(settings, is_approved=auto)
    settings = at_its_checkout(settings)
    with open_site(settings, "HEAD", progress) as (site, _), answering(output_format, site):
        record = choose(site, to)
        target = earlier(record)
        before = str(target.commit or "")[:12] if target else ""
        question = f"Return {site.cluster} to what ran before run {record['run']} (commit {before})?"
        if not auto and not confirm(question):
            raise NotNow("Not approved; nothing was changed.")
        report = rollback(site, record, deaf, wait_seconds=wait_seconds)
    return finish(report, output_format, settings)


@cli.command("recover")
@shared
def recover_command(settings: Settings, output_format: str) -> int:
    """Settle a run whose process died. Does nothing when there is none."""
    from dual_update.usecases.recover import recover_locked
    from dual_update.wiring import deaf, open_site

    with open_site(settings, "HEAD", progress) as (site, _):
        report = recover_locked(site, deaf)
    if report is None:
        write(as_json({"unfinished": None}) if output_format == "json" else "Nothing to recover.\n", None)
        return ExitCode.DONE
    code = finish(report, output_format, settings)
    return ExitCode.ROLLBACK_FAILED if report.outcome == "rollback_failed" else min(code, ExitCode.DONE)


@cli.command("release")
@shared
def release_command(settings: Settings, output_format: str) -> int:
    """Lift the quarantine of content that failed before."""
    from dual_update.wiring import open_site

    with open_site(settings, "HEAD", progress) as (site, _):
        count = site.store.release(site.cluster)
    write(as_json({"released": count}) if output_format == "json" else f"{count} lifted.\n", None)
    return ExitCode.DONE


@cli.command("status")
@shared
@click.option("--all", "is_everywhere", is_flag=True, help="Of every cluster of the fleet, or of this host.")
@click.option("--clusters", type=click.Path(path_type=Path), help="With --all: the fleet's file.")
def status_command(
    settings: Settings, output_format: str, clusters: Path | None, *, is_everywhere: bool
) -> int:
    """What runs, since when, from which commit, and whether it is well."""
    from dual_update.usecases.status import status, status_text
    from dual_update.wiring import open_site

    if is_everywhere or clusters:
        from dual_update.edges.rollout_command import fleet_status

        write(fleet_status(settings, clusters, output_format), None)
        return ExitCode.DONE
    with open_site(settings, "HEAD", progress) as (site, _):
        now = status(site)
    write(as_json(now) if output_format == "json" else status_text(now), None)
    return ExitCode.DONE


@cli.command("rollout")
@shared
@rollout_options
def rollout_command(
    settings: Settings,
    output_format: str,
    clusters: Path | None,
    ref: str | None,
    *,
    auto: bool,
    resume: bool,
    pause: bool,
    abort: bool,
) -> int:
    """Bring a fleet to a commit, stage by stage; the first failure stops it, or takes all of it back."""
    from dual_update.edges.rollout_command import rollout, rollout_answer
    from dual_update.wiring import interrupt_on_termination

    interrupt_on_termination()
    done = rollout(settings, clusters, ref, progress, auto=auto, resume=resume, pause=pause, abort=abort)
    words, code = rollout_answer(done, output_format, abort=abort)
    write(words, None)
    return code


@cli.command("health")
@shared
def health_command(settings: Settings, output_format: str) -> int:
    """Look at every container and check once. Exit code 1 when something is not well."""
    from dual_update.usecases.status import health, health_text
    from dual_update.wiring import open_site

    with open_site(settings, "HEAD", progress) as (site, _):
        now = health(site)
    write(as_json(now) if output_format == "json" else health_text(now), None)
    return ExitCode.DONE if now["healthy"] else ExitCode.FAILED


@cli.command("repair-state")
@click.option("--state-dir", type=click.Path(path_type=Path), help="[DUAL_UPDATE_STATE_DIR]")
def repair_state_command(state_dir: Path | None) -> int:
    """Set a damaged state database aside and keep what can be read of it."""
    from dual_update.wiring import repair_state

    write(repair_state(Settings(state_dir=state_dir)), None)
    return ExitCode.DONE


@cli.command("ping")
@click.option("--host", default="127.0.0.1", help="Where the service listens [127.0.0.1]")
@click.option("--port", type=click.IntRange(1, 65535), default=8090, help="[8090]")
def ping_command(host: str, port: int) -> int:
    """Ask whether the update-orchestrator lives. Exit code 1 when it does not."""
    from dual_update.edges.ping import ping

    click.echo(ping(host, port))
    return ExitCode.DONE


@cli.command("history")
@shared
@click.option("--limit", type=click.IntRange(1, 1000), default=20, help="How many runs [20]")
@click.option("--all", "is_everywhere", is_flag=True, help="Of every cluster on this host.")
def history_command(settings: Settings, output_format: str, limit: int, *, is_everywhere: bool) -> int:
    """Runs of the cluster, newest first."""
    from dual_update.usecases.status import history, history_text
    from dual_update.wiring import open_site, open_store

    if is_everywhere or settings.cluster:
        runs = history(open_store(settings), settings.cluster, limit)
    else:
        with open_site(settings, "HEAD", progress) as (site, _):
            runs = history(site.store, site.cluster, limit)
    write(as_json({"runs": runs}) if output_format == "json" else history_text(runs), None)
    return ExitCode.DONE


@cli.command("doctor")
@shared
def doctor_command(settings: Settings, output_format: str) -> int:
    """Check that this machine has what deployments need, and say what to do where it has not."""
    from dual_update.adapters.doctor import examine, examine_text
    from dual_update.wiring import state_directory

    findings = examine(settings.repo, state_directory(settings))
    write(as_json({"checks": findings}) if output_format == "json" else examine_text(findings), None)
    return ExitCode.DONE if all(one["good"] for one in findings) else ExitCode.FAILED


@cli.command("serve")
@shared
@serve_options
def serve_command(
    settings: Settings,
    output_format: str,  # noqa: ARG001  it answers over HTTP
    host: str,
    port: int,
    allowed_hosts: tuple[str, ...],
) -> int:
    """Watch the cluster: look for updates, apply what is approved, answer on the API and the dashboard."""
    from dual_update.edges.serve import serve

    return serve(settings, host, port, allowed_hosts)


@cli.command("service-job", hidden=True)
@shared
@click.argument("job", type=click.Path(path_type=Path))
@click.argument("held", type=int, default=-1)
def service_job_command(settings: Settings, output_format: str, job: Path, held: int) -> int:  # noqa: ARG001
    """Carry out one job of the service; `held` keeps the job's file locked for as long as this lives."""
    from dual_update.edges.serve import carry_out

    return carry_out(settings, job)


@cli.command("action")
def action_command() -> int:
    """Run as a step of GitHub Actions; inputs come by environment variables (action.yml)."""
    from dual_update.edges.action import run
    from dual_update.wiring import interrupt_on_termination

    interrupt_on_termination()
    return run()


def _scope(flag: str | None, configured: str) -> Any:
    return flag or configured


def _known(site: "Site", revision: str) -> str:
    """The commit of a revision. One that is not in this clone is what it was called: it cannot run here."""
    try:
        return site.repository.resolve([revision])[0] if revision else ""
    except UsageError:
        return revision


@contextmanager
def answering(output_format: str, site: "Site", wanted: str = "") -> Iterator[None]:
    """Machines get an answer, too, where nothing was begun: why, and what this host knows to run."""
    from dual_update.core.refusal import Refusal
    from dual_update.usecases.situation import last_success

    try:
        yield
    except DualUpdateError as error:
        if output_format == "json":
            last = last_success(site) or {}
            refusal = Refusal(
                site.cluster,
                wanted,
                int(error.exit_code),
                error.message,
                error.hint,
                runs=last.get("to"),
                run=last.get("run"),
            )
            write(as_json(refusal.to_json()), None)
        raise


def progress(words: str) -> None:
    """One line about what is being done, on standard error: standard output is for the answer."""
    click.echo(f"  {click.style('·', dim=True)} {words}", err=True)


def ask(proposal: "Proposal") -> bool:
    """Show a plan and ask for a yes. Raises NotNow where there is no terminal to ask on."""
    click.echo(_proposal_text(proposal), nl=False, err=True)
    return confirm("Apply this plan?")


def confirm(question: str) -> bool:
    """A person's yes, from a terminal only."""
    if not sys.stdin.isatty():
        raise NotNow("There is no terminal to ask on.", hint="Use --auto to approve without asking.")
    return click.confirm(question, default=False, err=True)


def finish(report: "RunReport", output_format: str, settings: Settings) -> int:
    """Print how a run ended, tell who is to be told (WEBHOOK_URL), and give its exit code."""
    from dual_update.core import run
    from dual_update.wiring import tell_of_run

    write(as_json(report.to_json()) if output_format == "json" else run.text(report), None)
    tell_of_run(settings, report.to_json(), progress)
    return report.exit_code


def _proposal_text(proposal: "Proposal") -> str:
    from dual_update.core import plan, report

    decision = report.text(proposal.seen.situation.decision)
    return f"{decision}{plan.text(proposal.plan)}  fingerprint {proposal.fingerprint}\n"


def _proposal_json(proposal: "Proposal") -> Mapping[str, Any]:
    from dual_update.core import report

    return {
        "schema": "dual-update/plan/v1",
        "decision": report.report(proposal.seen.situation.decision),
        "strategy": proposal.plan.strategy,
        "steps": [
            {
                "op": s.op,
                "target": s.target,
                "cause": s.cause,
                "undo": s.way_back,
                "services": list(s.services),
            }
            for s in proposal.plan.steps
        ],
        "outage_seconds": dict(proposal.plan.outage_seconds),
        "notes": list(proposal.plan.notes),
        "plan_fingerprint": proposal.fingerprint,
    }


def as_json(value: Any) -> str:
    """JSON for machines: stable, whole, one document."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def write(words: str, output: Path | None) -> None:
    """To the terminal, or to a file in one piece."""
    if output is None:
        click.echo(words, nl=False)
        return
    try:
        output.write_text(words, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{output} cannot be written: {error.strerror}.", hint="Give another file with --output."
        ) from error
