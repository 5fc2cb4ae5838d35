"""Old runs, backups and kept images go; what a way back could need stays."""

from dual_update.core.errors import DualUpdateError
from dual_update.core.snapshot import KEEP_REPOSITORY, Snapshot, keep_reference
from dual_update.usecases.site import Site


def forget_the_old(site: Site, project: str) -> None:
    """Prune by the cluster's retention. A run that went well never fails by it.

    A name of ours is taken from an image when no remembered run leads back to it.
    """
    kept = site.config.retention
    try:
        site.store.prune(site.cluster, runs=kept.runs, backups=kept.backups)
        needed: set[str] = set()
        for run in site.store.returnable():
            snapshots = [Snapshot.from_json(one) for key in ("snapshot", "undo") if (one := run.get(key))]
            for snapshot in snapshots:
                if not run.get("outcome") or site.disk.is_directory(snapshot.directory):
                    needed |= {keep_reference(snapshot.project, one.image_id) for one in snapshot.containers}
        for name in site.engine.kept_tags(f"{KEEP_REPOSITORY}/{project}"):
            if name not in needed:
                site.engine.untag(name)
    except DualUpdateError as error:
        site.say(f"old backups could not be removed: {error.message}")
