"""Settles a run whose process died: the cluster ends as it was, or as wanted if that was proven already."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from dual_update.core.errors import DualUpdateError, WorldError
from dual_update.core.hooks import Begun, begun
from dual_update.core.plan import PREPARING
from dual_update.core.run import Outcome, RunReport
from dual_update.core.snapshot import Snapshot
from dual_update.usecases.journaled import FINISHED, Run
from dual_update.usecases.ports import Entry, Json
from dual_update.usecases.restore import Return, go_back, retag
from dual_update.usecases.site import Site

QUIET_SECONDS = 0.3
QUIET_LOOKS = 10


def recover(site: Site, deaf: Callable[[], AbstractContextManager[None]]) -> RunReport | None:
    """Settle the unfinished run of this cluster, if there is one. The caller holds the lock."""
    record = site.store.unfinished(site.cluster)
    if record is None:
        return None
    with deaf():
        return _settle(site, record)


def _settle(site: Site, record: Json) -> RunReport:
    site.say(f"run {record['run']} did not end; settling it first")
    began = site.clock.monotonic()
    run = Run(site, str(record["run"]))
    snapshot = Snapshot.from_json(record["snapshot"])
    journal = site.store.journal(run.id)
    is_going_back = bool(record.get("is_going_back"))
    is_proven = any(e.op == "audit" and e.phase == FINISHED for e in journal) and not is_going_back
    was_touched = any(entry.op not in PREPARING for entry in journal)
    is_rollback = record["kind"] == "rollback"
    outcome: Outcome
    reason = str(record.get("reason") or "The process that made this update died.")
    if is_proven and not is_rollback:
        _start_again(site, _should_run(site, record))
        _tidy(site, record)
        outcome = "succeeded"
    elif not was_touched:
        ran = Snapshot.from_json(record["undo"]) if record.get("undo") else snapshot
        if not is_rollback:
            retag(site, snapshot, is_untouched=True)
        _start_again(site, [one.id for one in ran.containers if one.is_running])
        outcome = "refused"
    else:
        if not is_rollback:
            site.store.amend(run.id, {"is_going_back": True, "reason": reason})
        _wait_until_quiet(site, snapshot.project)
        way = Return(
            snapshot,
            str(record["came"]),
            well_before=frozenset(record.get("well_before") or ()),
            commands=begun_of(record, journal),
        )
        try:
            go_back(site, run, way)
            outcome = "succeeded" if is_rollback else "rolled_back"
        except DualUpdateError as error:
            outcome = "rollback_failed"
            reason = f"{reason} Then: {error.message}"
    report = RunReport(
        run=run.id,
        cluster=site.cluster,
        outcome=outcome,
        reason=reason,
        update_type=str(record["update_type"]),
        strategy=str(record["strategy"]),
        from_commit=record["from"],
        to_commit=str(record["to"]),
        started_at=str(record["started_at"]),
        duration_seconds=site.clock.monotonic() - began,
        kind=str(record["kind"]),
        steps=tuple(run.steps),
    )
    site.store.finish(run.id, outcome, {**report.to_json(), "was_recovered": True})
    return report


def begun_of(record: Json, journal: Sequence[Entry]) -> tuple[Begun, ...]:
    """The owner's commands that a run began, by its record and journal. A rollback's record holds those that
    it takes back: they were begun long ago."""
    commands = [Begun.from_json(one) for one in record.get("commands") or ()]
    if record["kind"] == "rollback":
        return tuple(commands)
    return begun(commands, [entry.target for entry in journal if entry.op == "run"])


def _tidy(site: Site, record: Json) -> None:
    """What a proven run had left to do: networks that nobody wants, and the project's old name."""
    project = str(record["came"])
    retired = str(record.get("retired") or "")
    if retired and retired != project:
        for container in site.engine.observe(retired).containers:
            site.engine.remove(container.id)
        for network in site.engine.observe(retired).networks:
            site.engine.remove_network(network)
    if record.get("wanted_networks") is None:
        return
    for network in site.engine.observe(project).networks:
        if network not in record["wanted_networks"]:
            site.engine.remove_network(network)


def _should_run(site: Site, record: Json) -> list[str]:
    """Containers of a proven run that are down, jobs aside that ended well: the engine died with them."""
    jobs = frozenset(record.get("jobs") or ())
    return [
        one.id
        for one in site.engine.observe(str(record["came"])).containers
        if not one.is_oneoff and not (one.service in jobs and one.exit_code == 0)
    ]


def _start_again(site: Site, containers: Sequence[str]) -> None:
    """Start those that do not run. One that needs another's network may have to wait for that: so, twice."""
    left = list(containers)
    for is_last in (False, True):
        failed = []
        for container in left:
            try:
                site.engine.start(container)
            except WorldError:
                if is_last:
                    raise
                failed.append(container)
        left = failed


def _wait_until_quiet(site: Site, project: str) -> None:
    """The engine may still be carrying out the last wish of the process that died: let it end."""
    before = None
    for _ in range(QUIET_LOOKS):
        now = site.engine.observe(project)
        if now == before:
            return
        before = now
        site.clock.sleep(QUIET_SECONDS)


def recover_locked(site: Site, deaf: Callable[[], AbstractContextManager[None]]) -> RunReport | None:
    """`recover` for a door of its own: takes the lock, so that a run under way is never "recovered"."""
    record = site.store.unfinished(site.cluster)
    if record is None:
        return None
    with site.store.lock(lock_key(site, str(record["project"])), "recover", 0.0):
        return recover(site, deaf)


def lock_key(site: Site, project: str) -> str:
    """One writer per engine and project, whatever the cluster is called."""
    return f"{site.engine.info().id}-{project}"
