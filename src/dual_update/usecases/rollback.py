"""A person's rollback: back to what ran before a run, or to what a given run left behind."""

from dual_update.core.errors import NotNow, Refused, UsageError
from dual_update.core.hooks import Begun
from dual_update.core.run import Outcome, RunReport, run_id
from dual_update.core.snapshot import Snapshot, keep_reference, take
from dual_update.usecases.apply import Deaf
from dual_update.usecases.backup import write_backup
from dual_update.usecases.journaled import Run
from dual_update.usecases.ports import Json
from dual_update.usecases.recover import lock_key, recover
from dual_update.usecases.restore import Return, go_back
from dual_update.usecases.retention import forget_the_old
from dual_update.usecases.site import Site
from dual_update.usecases.situation import GOOD_OUTCOMES, last_success, see


def choose(site: Site, to: str = "") -> Json:
    """The run whose beginning is returned to. Without a name: the newest that changed the cluster, which may
    be a rollback; then what it took back returns. Raises UsageError for a run that is not known."""
    if to:
        record = site.store.run(to)
        if record is None or record.get("cluster") != site.cluster:
            raise UsageError(
                f"There is no run {to} of cluster {site.cluster}.", hint="See `dual-update history`."
            )
        if earlier(record) is None:
            raise NotNow(f"Run {to} changed nothing; there is nothing to go back to.")
        return record
    for record in site.store.runs(site.cluster, limit=1000):
        target = earlier(record)
        if record.get("outcome") == "succeeded" and target is not None and not target.is_empty:
            return record
    raise NotNow(
        f"Cluster {site.cluster} has no earlier state to go back to.", hint="See `dual-update history`."
    )


def earlier(record: Json) -> Snapshot | None:
    """What ran before a run. A rollback's own snapshot is where it went, so it keeps a second one."""
    found = record.get("undo") or (None if record.get("kind") == "rollback" else record.get("snapshot"))
    return Snapshot.from_json(found) if found else None


def rollback(site: Site, record: Json, deaf: Deaf, *, wait_seconds: float = 0.0) -> RunReport:
    """Return to what ran before `record`'s run. It is a run of its own in the history."""
    target = earlier(record)
    if target is None or target.is_empty:
        raise NotNow(f"Nothing ran before {record['run']}; there is nothing to go back to.")
    with site.store.lock(lock_key(site, target.project), "rollback", wait_seconds):
        recover(site, deaf)
        refuse_without(site, target)
        return _go(site, record, target, deaf)


def refuse_without(site: Site, target: Snapshot) -> None:
    """Raise Refused, with nothing touched, where something that the way back needs is not here any more."""
    gone = sorted({one.service for one in target.containers if site.engine.image_id(one.image_id) is None})
    if gone:
        raise Refused(
            f"The images that {', '.join(gone)} ran then are not on this host any more.",
            hint="Apply the commit that you want instead: `dual-update apply --ref COMMIT`.",
        )
    if target.commit:
        try:
            site.repository.resolve([target.commit])
        except UsageError as error:
            raise Refused(
                f"The commit {target.commit[:12]} of then is not in this checkout any more.",
                hint="Fetch it, and try again.",
            ) from error
        in_the_way = site.checkout.dirty(target.commit)
        if in_the_way:
            raise NotNow(
                f"The checkout has local edits that would be lost: {', '.join(in_the_way[:5])}.",
                hint="Commit them to the repository, or move them away; then try again.",
            )


def _keep_now(site: Site, run: Run, came: str, last: Json | None) -> Snapshot:
    """What runs now, kept so that a rollback can be taken back like any other run: images, files, backup."""
    directory = site.store.backup_directory(site.cluster, run.id)
    commit = str(last["to"]) if last else site.checkout.head() or None
    for image_id in {one.image_id for one in site.engine.observe(came).containers}:
        site.engine.tag(image_id, keep_reference(came, image_id))
    seen = see(site, commit or "HEAD", "changed", accepts_drift=True)
    before = seen.situation.before
    now = take(site.engine.observe(came), commit, before.files, directory)
    write_backup(site, seen, now)
    site.store.seal_backup(site.cluster, run.id)
    return now


def _commands_since(site: Site, record: Json) -> tuple[Begun, ...]:
    """The owner's commands of this run and of every good one after it, in order: all that is to be taken
    back. What a rollback in between took back already is left out."""
    found: list[Begun] = []
    gone: set[str] = set()
    for one in _since(site, record):
        if one.get("kind") == "rollback":
            gone |= {*(one.get("taken_back") or ())}
        elif one["run"] not in gone:
            found = [*map(Begun.from_json, one.get("commands") or ()), *found]
    return tuple(found)


def _since(site: Site, record: Json) -> list[Json]:
    """This run and every good one after it, newest first."""
    found: list[Json] = []
    for one in site.store.runs(site.cluster, limit=1000):
        if one.get("outcome") == "succeeded":
            found.append(one)
        if one["run"] == record["run"]:
            break
    return found


def _go(site: Site, record: Json, target: Snapshot, deaf: Deaf) -> RunReport:
    started_at, began = site.clock.now(), site.clock.monotonic()
    run = Run(site, run_id(started_at, site.salt()))
    last = last_success(site)
    came = str((last or record).get("project") or target.project)
    now = _keep_now(site, run, came, last)
    commands = _commands_since(site, record)
    site.store.begin(
        {
            "run": run.id,
            "kind": "rollback",
            "cluster": site.cluster,
            "checkout": site.checkout.path,
            "directory": site.project.directory,
            "project": target.project,
            "from": now.commit,
            "to": target.commit or now.commit,
            "update_type": "structural",
            "strategy": "rollback",
            "fingerprint": "",
            "started_at": started_at,
            "backup": now.directory,
            "host_files": f"{target.directory}/original",
            "snapshot": target.to_json(),
            "undo": now.to_json(),
            "came": came,
            "well_before": [],
            "plan": [],
            "commands": [one.to_json() for one in commands],
            "taken_back": [one["run"] for one in _since(site, record)],
        }
    )
    outcome: Outcome = "succeeded"
    reason = None
    with deaf():
        try:
            go_back(site, run, Return(target, came, commands=commands))
        except Exception as error:  # whatever it was, a person has to know
            outcome, reason = "rollback_failed", str(error).splitlines()[0]
    report = RunReport(
        run=run.id,
        cluster=site.cluster,
        outcome=outcome,
        reason=reason,
        update_type="structural",
        strategy="rollback",
        from_commit=now.commit,
        to_commit=str(target.commit or now.commit),
        started_at=started_at,
        duration_seconds=site.clock.monotonic() - began,
        kind="rollback",
        steps=tuple(run.steps),
    )
    site.store.finish(run.id, outcome, report.to_json())
    if outcome in GOOD_OUTCOMES:
        for name in record.get("content") or ():
            site.store.quarantine(site.cluster, str(name), "A person rolled it back.", run.id)
        forget_the_old(site, target.project)
    return report
