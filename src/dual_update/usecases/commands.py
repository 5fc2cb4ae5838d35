"""Runs the commands that a cluster's owner declared, and the ones that take them back."""

from collections.abc import Iterable, Sequence

from dual_update.core.command import Command
from dual_update.core.errors import StepFailed
from dual_update.core.hooks import Begun
from dual_update.core.plan import Step
from dual_update.core.redaction import tail
from dual_update.usecases.journaled import FINISHED, Run
from dual_update.usecases.site import Site
from dual_update.usecases.witness import given_values

SHOWN_LINES = 5


def run_command(site: Site, project: str, name: str, command: Command, hidden: Iterable[str]) -> None:
    """Run it where it belongs and see it end with 0. Raises StepFailed with its last words, in which the
    `hidden` values and those of its container's variables are masked, and Timeout."""
    _run(site, project, name, command, command.argv, hidden)


def undo_commands(site: Site, run: Run, project: str, commands: Sequence[Begun]) -> list[str]:
    """Take commands back, the last one first, each once a run. Returns a sentence for each that could not be:
    the services have to return all the same."""
    done = {e.target for e in site.store.journal(run.id) if e.op == "undo" and e.phase == FINISHED}
    wrong = []
    for one in reversed(commands):
        if one.name in done or not one.command.undo:
            continue
        step = Step("undo", one.name, "the old state returns")
        try:
            run.do(step, lambda one=one: _run(site, project, one.name, one.command, one.command.undo, None))  # type: ignore[misc]
        except Exception as error:  # whatever it was: what follows must not wait for it
            wrong.append(f"{one.name} could not be taken back: {' '.join(str(error).split())}")
    return wrong


def can_run(site: Site, project: str, command: Command) -> bool:
    """Is there a place to run it: the host, or a running container of its service."""
    return not command.service or _container(site, project, command.service) is not None


def _container(site: Site, project: str, service: str) -> str | None:
    running = [one for one in site.engine.observe(project).of(service) if one.is_running]
    return min(running, key=lambda one: one.number).id if running else None


def _run(
    site: Site, project: str, name: str, command: Command, argv: Sequence[str], hidden: Iterable[str] | None
) -> None:
    """Without `hidden` nobody knows what to mask, and its words are not passed on."""
    known = set(hidden or ())
    if command.service:
        container = _container(site, project, command.service)
        if container is None:
            raise StepFailed(f"{name} runs in {command.service}, and no container of it runs.")
        code, output = site.engine.execute(container, argv, command.timeout_seconds)
        known |= given_values(site.engine.details(container)) if code != 0 else set()
    else:
        if site.shell is None:
            raise StepFailed(f"{name} runs on the host, and commands are not run on this one.")
        code, output = site.shell.run(argv, site.checkout.path, command.timeout_seconds)
    if code != 0:
        if hidden is None:
            raise StepFailed(f"{name} ended with {code}.")
        words = " / ".join(line.strip() for line in tail(output.strip(), SHOWN_LINES, known).splitlines())
        raise StepFailed(f"{name} ended with {code}: {words or 'it said nothing.'}")
