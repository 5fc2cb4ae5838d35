"""A backup that works by hand: the very bytes, and beside them a resolved compose file.

`original/` holds compose and env files byte for byte. `docker-compose.yml` is the model that ran,
with its name, absolute paths and the images by names of our own: `docker compose up -d` in the
folder brings the old cluster back without this program.
"""

import json
from typing import Any

from dual_update.core.model import Rendered
from dual_update.core.placement import placed
from dual_update.core.snapshot import Snapshot, keep_reference
from dual_update.usecases.site import Site
from dual_update.usecases.situation import WANTED_DIRECTORY, Seen, served


def write_backup(site: Site, seen: Seen, snapshot: Snapshot) -> None:
    """Fill the snapshot's directory. Files that the old commit or the host does not have are left out."""
    directory = snapshot.directory
    situation = seen.situation
    for path, content in seen.host_files.items():
        site.disk.write(f"{directory}/{WANTED_DIRECTORY}/{path}", content)
    old = site.repository.tree(snapshot.commit) if snapshot.commit else None
    for path in served(situation.before):
        original = old.read(path) if old else None
        if original is None:
            original = seen.earlier_files.get(path)
        if original is not None:
            site.disk.write(f"{directory}/original/{path}", original)
    if not snapshot.is_empty:
        model = resolved(situation.before, snapshot, site.checkout.path)
        text = json.dumps(model, indent=2, ensure_ascii=False)
        site.disk.write(f"{directory}/docker-compose.yml", text.encode())


def resolved(rendered: Rendered, snapshot: Snapshot, checkout: str) -> dict[str, Any]:
    """The old model with everything in it that compose would otherwise look up. JSON is YAML."""
    images = {one.service: keep_reference(snapshot.project, one.image_id) for one in snapshot.containers}
    services = {}
    for name, service in rendered.services.items():
        if name in images:
            kept = {k: v for k, v in service.items() if k not in {"build", "pull_policy", "profiles"}}
            services[name] = {**kept, "image": images[name], "pull_policy": "never"}
    whole = Rendered(
        snapshot.project,
        services,
        networks=rendered.networks,
        volumes=rendered.volumes,
        configs=rendered.configs,
        secrets=rendered.secrets,
    )
    return placed(whole, checkout)
