"""What runs and how it is: asked from the engine each time, never remembered."""

from collections.abc import Mapping, Sequence
from typing import Any

from dual_update.core.model import replicas
from dual_update.core.run import line_of
from dual_update.core.running import jobs
from dual_update.usecases.detect import DetectRequest, detect
from dual_update.usecases.ports import Store
from dual_update.usecases.prove import Wanted, look
from dual_update.usecases.site import Site
from dual_update.usecases.situation import last_success


def status(site: Site) -> dict[str, Any]:
    """The cluster now: commit, services with image, state and health, last run, unfinished run."""
    last = last_success(site)
    runs = site.store.runs(site.cluster, limit=1)
    project = str(last["project"]) if last else _wanted(site).project
    observed = site.engine.observe(project)
    services: dict[str, list[dict[str, Any]]] = {}
    for service in observed.services:
        services[service] = [
            {
                "container": one.name,
                "state": one.state,
                "health": one.health or None,
                "image": one.image_ref,
                "image_id": one.image_id,
                "started_at": one.started_at,
                "restarts": one.restart_count,
            }
            for one in observed.of(service)
        ]
    unfinished = site.store.unfinished(site.cluster)
    return {
        "schema": "dual-update/status/v1",
        "cluster": site.cluster,
        "project": project,
        "checkout": site.checkout.path,
        "commit": site.checkout.head() or None,
        "deployed": str(last["to"]) if last else None,
        "services": services,
        "last_run": line_of(runs[0]) if runs else None,
        "unfinished_run": str(unfinished["run"]) if unfinished else None,
    }


def status_text(now: Mapping[str, Any]) -> str:
    """The same for a terminal."""
    deployed = now["deployed"][:12] if now["deployed"] else "nothing of ours"
    lines = [f"{now['cluster']}: deployed {deployed}, checkout {now['checkout']}"]
    for service, containers in now["services"].items():
        for one in containers:
            health = f", {one['health']}" if one["health"] else ""
            lines.append(f"  {service}: {one['state']}{health}, {one['image']} ({one['image_id'][7:19]})")
    if not now["services"]:
        lines.append("  nothing runs")
    if now["last_run"]:
        run = now["last_run"]
        lines.append(f"  last run {run['run']}: {run['outcome'] or 'under way'} ({run['strategy']})")
    if now["unfinished_run"]:
        lines.append(f"  run {now['unfinished_run']} did not end; `dual-update recover` settles it")
    return "\n".join(lines) + "\n"


def health(site: Site) -> dict[str, Any]:
    """One look at every wanted container and check."""
    readings = look(site, _wanted(site))
    return {
        "schema": "dual-update/health/v1",
        "cluster": site.cluster,
        "healthy": all(one.is_good for one in readings),
        "readings": [
            {"name": one.name, "service": one.service, "good": one.is_good, "detail": one.detail}
            for one in readings
        ],
    }


def health_text(now: Mapping[str, Any]) -> str:
    """The same for a terminal."""
    lines = [f"{now['cluster']}: {'well' if now['healthy'] else 'not well'}"]
    lines += [
        f"  {'ok ' if one['good'] else 'BAD'} {one['name']}: {one['detail']}" for one in now["readings"]
    ]
    return "\n".join(lines) + "\n"


def _wanted(site: Site) -> Wanted:
    """What the checkout's commit wants to be well."""
    request = DetectRequest(head=site.checkout.head() or "HEAD", project=site.project, cluster=site.cluster)
    after = detect(request, site.repository, site.renderer, site.sent_to_build).after
    counts = {name: replicas(after.services[name]) for name in after.active}
    return Wanted(after.name, counts, jobs(after), site.config.health.checks)


def history(store: Store, cluster: str, limit: int) -> list[dict[str, Any]]:
    """Runs, newest first."""
    return [line_of(run) for run in store.runs(cluster, limit=limit)]


def history_text(runs: Sequence[Mapping[str, Any]]) -> str:
    """The same for a terminal, a line a run."""
    if not runs:
        return "No runs yet.\n"
    lines = []
    for run in runs:
        commits = f"{(run['from'] or 'nothing')[:12]} -> {(run['to'] or '')[:12]}"
        took = f"{run['duration_seconds']:.1f} s" if run["duration_seconds"] is not None else "under way"
        outcome = run["outcome"] or "unfinished"
        lines.append(
            f"{run['started_at']}  {outcome:<15} {run['strategy']:<10} {commits}  {took}  {run['run']}"
        )
        if run["reason"] and outcome not in {"succeeded", "unchanged"}:
            lines.append(f"    {run['reason']}")
    return "\n".join(lines) + "\n"
