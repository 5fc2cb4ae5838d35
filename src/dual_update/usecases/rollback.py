"""A person's rollback: back to what ran before a run, or to what a given run left behind."""

from dual_update.core.errors import NotNow, UsageError
from dual_update.core.run import Outcome, RunReport, run_id
from dual_update.core.snapshot import Snapshot, take
from dual_update.usecases.apply import Deaf
from dual_update.usecases.journaled import Run
from dual_update.usecases.ports import Json
from dual_update.usecases.recover import lock_key, recover
from dual_update.usecases.restore import Return, go_back
from dual_update.usecases.site import Site
from dual_update.usecases.situation import GOOD_OUTCOMES, last_success


def choose(site: Site, to: str = "") -> Json:
    """The run whose snapshot is returned to. Without a name: the newest that changed the cluster."""
    if to:
        record = site.store.run(to)
        if record is None or record.get("cluster") != site.cluster:
            raise UsageError(
                f"There is no run {to} of cluster {site.cluster}.", hint="See `dual-update history`."
            )
        return record
    for record in site.store.runs(site.cluster, limit=1000):
        if record.get("outcome") == "succeeded" and (record.get("snapshot") or {}).get("containers"):
            return record
    raise NotNow(
        f"Cluster {site.cluster} has no earlier state to go back to.", hint="See `dual-update history`."
    )


def rollback(site: Site, record: Json, deaf: Deaf, *, wait_seconds: float = 0.0) -> RunReport:
    """Return to what ran before `record`'s run. It is a run of its own in the history."""
    target = Snapshot.from_json(record["snapshot"])
    if target.is_empty:
        raise NotNow(f"Nothing ran before {record['run']}; there is nothing to go back to.")
    with site.store.lock(lock_key(site, target.project), "rollback", wait_seconds):
        recover(site, deaf)
        return _go(site, record, target, deaf)


def _go(site: Site, record: Json, target: Snapshot, deaf: Deaf) -> RunReport:
    started_at, began = site.clock.now(), site.clock.monotonic()
    run = Run(site, run_id(started_at, site.salt()))
    last = last_success(site)
    came = str((last or record).get("project") or target.project)
    now = take(site.engine.observe(came), site.checkout.head() or None, target.files)
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
            "backup": target.directory,
            "host_files": f"{target.directory}/original",
            "snapshot": target.to_json(),
            "came": came,
            "well_before": [],
            "plan": [],
        }
    )
    outcome: Outcome = "succeeded"
    reason = None
    with deaf():
        try:
            go_back(site, run, Return(target, came))
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
    if outcome in GOOD_OUTCOMES and record.get("fingerprint"):
        site.store.quarantine(site.cluster, str(record["fingerprint"]), "A person rolled it back.", run.id)
    return report
