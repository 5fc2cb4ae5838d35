"""`dual-update rollout` and `status --all`: a fleet from the command line."""

import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dual_update.core.errors import ExitCode, NotNow, UsageError
from dual_update.wiring import Settings

if TYPE_CHECKING:
    from dual_update.adapters.rollout_record import RolloutRecord
    from dual_update.core.config import MultiCluster
    from dual_update.core.rollout import Rollout, Word
    from dual_update.usecases.rollout import Conducted, Conductor

Say = Callable[[str], None]
COMMIT_LENGTHS = {40, 64}


@dataclass(frozen=True)
class Told:
    """The record after --pause, and after --abort that another process carries out, with what the clusters
    say now."""

    rollout: "Rollout"
    words: "Mapping[str, Word]"


def rollout_options(command: Any) -> Any:
    """Flags of `rollout` beside those of every command."""
    for option in (
        click.option("--abort", is_flag=True, help="End it: as after a failure, by on_failure."),
        click.option("--pause", is_flag=True, help="Begin nothing more until --resume."),
        click.option("--resume", is_flag=True, help="Take up the roll-out that was begun."),
        click.option("--auto", is_flag=True, help="Do not ask for clusters without auto_approve."),
        click.option("--ref", help="The wanted revision [the upstream's tip, else HEAD]"),
        click.option(
            "--clusters",
            type=click.Path(path_type=Path),
            help="The fleet's file [multi-cluster.yml of the checkout]",
        ),
    ):
        command = option(command)
    return command


def fleet_file(settings: Settings, clusters: Path | None) -> Path | None:
    """The file that was named, else the checkout's own."""
    from dual_update.adapters.fleet_config import find

    return clusters or find(settings.repo)


def rollout(
    settings: Settings,
    clusters: Path | None,
    ref: str | None,
    say: Say,
    *,
    auto: bool,
    resume: bool,
    pause: bool,
    abort: bool,
) -> "Conducted | Told":
    """Do what the flags say. Returns how conducting ended, or the record that others go on with."""
    from dual_update.adapters.fleet_config import led_from_here, load_fleet
    from dual_update.wiring import open_store
    from dual_update.wiring_fleet import lock_of, open_conductor, record_of

    if sum((resume, pause, abort)) > 1:
        raise UsageError("--resume, --pause and --abort exclude each other.")
    file = fleet_file(settings, clusters)
    if file is None:
        raise UsageError("There is no multi-cluster.yml here.", hint="Name the fleet's file with --clusters.")
    fleet = led_from_here(load_fleet(file))
    record = record_of(fleet, settings)
    if pause or abort:
        record.leave("pause" if pause else "abort")
    try:
        with open_store(settings).lock(lock_of(fleet), "roll-out", 0.0):
            conductor = open_conductor(fleet, settings, say, _approve(auto=auto))
            return _lead(
                settings, fleet, conductor, record, ref, auto=auto, resume=resume, pause=pause, abort=abort
            )
    except NotNow:
        found = record.load()
        if (pause or abort) and found is not None and found.direction != "ended":
            say("told the process that leads the roll-out")
            return _told(fleet, settings, found)
        raise


def _approve(*, auto: bool) -> Callable[[Sequence[str]], bool]:
    def approve(names: Sequence[str]) -> bool:
        if auto:
            return True
        if not sys.stdin.isatty():
            return False
        return click.confirm(f"Update {', '.join(names)}?", default=False, err=True)

    return approve


def _lead(
    settings: Settings,
    fleet: "MultiCluster",
    conductor: "Conductor",
    record: "RolloutRecord",
    ref: str | None,
    *,
    auto: bool,
    resume: bool,
    pause: bool,
    abort: bool,
) -> "Conducted | Told":
    from dual_update.core.rollout import resumed
    from dual_update.usecases.rollout import conduct

    known = record.load()
    is_open = known is not None and (known.direction != "ended" or known.end == "rollback_failed")
    if known is None or not is_open:
        record.heeded()  # one that came too late is not meant for this one
        _refuse_beside(fleet, record)
        if resume or pause or abort:
            raise NotNow("No roll-out of this fleet is under way.")
        return conduct(conductor, _new(settings, fleet, conductor, ref, auto=auto))
    if pause:
        known = replace(known, is_paused=True)
        record.save(known)
        record.heeded()
        return _told(fleet, settings, known)
    if not (resume or abort):
        _refuse_another(settings, known, ref)
    waiting = known.needs_approval - known.approved
    if resume and record.wish() == "pause":
        record.heeded()  # it was left for a coordinator that died
    known = resumed(known, waiting if auto else frozenset())
    record.save(known)
    return conduct(conductor, known)


def _told(fleet: "MultiCluster", settings: Settings, known: "Rollout") -> Told:
    from dual_update.core.fleet import words_of
    from dual_update.wiring_fleet import standings

    return Told(known, words_of(standings(fleet, settings)))


def _refuse_beside(fleet: "MultiCluster", record: "RolloutRecord") -> None:
    """A fleet whose file was changed amid a roll-out has clusters that another record leads."""
    names = {one.name for one in fleet.clusters}
    for other in record.others():
        shared = sorted(names.intersection(other.clusters))
        if shared:
            led, both = ", ".join(other.clusters), ", ".join(shared[:10])
            raise NotNow(
                f"Roll-out {other.id} of {led} has not ended, and it leads {both}, too.",
                hint="End it first with the fleet's file as it was: --resume, or --abort.",
            )


def _refuse_another(settings: Settings, known: "Rollout", ref: str | None) -> None:
    """The same command again takes up what a dead coordinator left; for another commit it may not."""
    if known.is_paused:
        raise NotNow(f"Roll-out {known.id} is paused.", hint="Go on with --resume, or end it with --abort.")
    wanted = _commit(settings, ref)
    if wanted != known.target:
        raise NotNow(
            f"Roll-out {known.id} to {known.target[:12]} has not ended, and {wanted[:12]} is another commit.",
            hint="Go on with --resume, or end it with --abort.",
        )


def _new(
    settings: Settings, fleet: "MultiCluster", conductor: "Conductor", ref: str | None, *, auto: bool
) -> "Rollout":
    from dual_update.core.fleet import stages_of
    from dual_update.core.run import run_id
    from dual_update.usecases.rollout import begin

    target = _commit(settings, ref)
    name = run_id(datetime.now(UTC).isoformat(timespec="milliseconds"), secrets.token_hex(3))
    asks = frozenset(one.name for one in fleet.clusters if not one.auto_approve)
    return begin(
        conductor,
        name,
        target,
        stages_of(fleet),
        on_failure=fleet.on_failure,
        patience_seconds=fleet.patience_seconds,
        busy_seconds=fleet.busy_seconds,
        needs_approval=asks,
        approved=asks if auto else frozenset(),
    )


def _commit(settings: Settings, ref: str | None) -> str:
    """The commit that is meant: whole, or known to the checkout that the command runs in."""
    from dual_update.adapters.git import GitRepository
    from dual_update.wiring import wanted_ref

    if ref and len(ref) in COMMIT_LENGTHS and all(one in "0123456789abcdef" for one in ref):
        return ref
    with GitRepository(settings.repo) as repository:
        return repository.resolve([wanted_ref(repository, settings, ref)])[0]


def rollout_answer(done: "Conducted | Told", output_format: str, *, abort: bool) -> tuple[str, int]:
    """What to print, and the exit code."""
    import json

    from dual_update.core.fleet import rollout_json, rollout_text

    record, words = done.rollout, done.words
    code = int(ExitCode.DONE if isinstance(done, Told) else done.exit_code)
    if abort and record.end in {"aborted", "stopped", "rolled_back"}:
        code = int(ExitCode.DONE)  # that is what was asked for
    if output_format == "json":
        return json.dumps(rollout_json(record, words), indent=2, ensure_ascii=False) + "\n", code
    text = rollout_text(record, words)
    if not isinstance(done, Told) and done.unapproved:
        text += (
            f"  {', '.join(done.unapproved)}: a person has to approve; --resume asks, --resume --auto does\n"
        )
    return text, code


def fleet_status(settings: Settings, clusters: Path | None, output_format: str) -> str:
    """`status --all`: of the fleet's file, else of every cluster that this host knows."""
    import json

    from dual_update.adapters.fleet_config import load_fleet
    from dual_update.core.fleet import fleet_json, fleet_text
    from dual_update.wiring_fleet import fleet_of_this_host, record_of, standings

    file = fleet_file(settings, clusters)
    fleet = load_fleet(file) if file else fleet_of_this_host(settings)
    found = standings(fleet, settings)
    newest = record_of(fleet, settings).load()
    if output_format == "json":
        return json.dumps(fleet_json(found, newest), indent=2, ensure_ascii=False) + "\n"
    return fleet_text(found, newest)
