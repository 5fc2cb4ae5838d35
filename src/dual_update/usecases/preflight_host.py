"""What the host must have: files to mount, devices, variables, room and the right to write."""

import posixpath
import re
from collections.abc import Iterator

from dual_update.usecases.scene import Check, Scene, shown

LEAST_FREE_BYTES = 200 * 1024 * 1024
"""Space that has to be left on the engine's disk before an update begins."""

LEAST_STATE_BYTES = 16 * 1024 * 1024
"""Space for the journal and a backup, and for the files of a commit in the checkout."""

LEAST_FREE_INODES = 2000

_NOWHERE = "is neither in the commit nor on this host."

_FILES = frozenset(
    {
        "cfg",
        "cnf",
        "conf",
        "config",
        "crt",
        "cer",
        "css",
        "env",
        "html",
        "htpasswd",
        "ini",
        "js",
        "json",
        "key",
        "lua",
        "pem",
        "php",
        "properties",
        "py",
        "sh",
        "sock",
        "sql",
        "toml",
        "txt",
        "xml",
        "yaml",
        "yml",
    }
)
"""Endings by which people call files. Compose makes a directory where such a file is missing, and the
container then fails on it: so it is better said before."""


def _missing_env_files(scene: Scene) -> Iterator[str]:
    for path in scene.after.conditional:
        yield f"{path} is named by the compose files and is neither in git nor on this host."


def _mounts(scene: Scene) -> Iterator[str]:
    """Paths that are mounted: there, and a file where a file is meant."""
    for service, model in scene.services():
        for volume in model.get("volumes") or ():
            target = str(volume.get("target") or "")
            if not target.startswith("/"):
                hint = "; compose reads a name of one letter as a drive" if target[1:2] == ":" else ""
                yield f"{service}: mounts at {target}, which is no absolute path{hint}."
            source = str(volume.get("source") or "")
            if volume.get("type") != "bind" or not source:
                continue
            kind = scene.kind(source)
            is_file = _is_called_a_file(source) and _is_called_a_file(target)
            is_made = bool((volume.get("bind") or {}).get("create_host_path", False))
            if kind == "" and (not is_made or is_file):
                yield f"{service}: the mounted path {shown(source)} {_NOWHERE}"
            elif kind == "directory" and is_file:
                yield f"{service}: {shown(source)} is a directory, and a file is meant to be mounted."


def _is_called_a_file(path: str) -> bool:
    return posixpath.basename(path).rpartition(".")[2] in _FILES and "." in posixpath.basename(path)


def _configs_and_secrets(scene: Scene) -> Iterator[str]:
    for kind in ("config", "secret"):
        resources = getattr(scene.after, f"{kind}s")
        for service, model in scene.services():
            for use in model.get(f"{kind}s") or ():
                file = (resources.get(str(use.get("source"))) or {}).get("file")
                found = scene.kind(str(file)) if file else None
                if found == "":
                    yield f"{service}: the {kind} {shown(str(file))} {_NOWHERE}"
                elif found == "directory":
                    yield f"{service}: the {kind} {shown(str(file))} is a directory, and a file is meant."


_SETTING = re.compile(rb"(?m)^\s*(?:export\s+)?(\w+)\s*[=:]")


def _variables(scene: Scene) -> Iterator[str]:
    """Configs and secrets that take their value from a variable: compose looks for it in `.env` only, since
    the environment of whoever deploys is kept from it."""
    named = [
        (kind, key, str(resource["environment"]))
        for kind in ("config", "secret")
        for key, resource in getattr(scene.after, f"{kind}s").items()
        if (resource or {}).get("environment")
    ]
    if not named:
        return
    directory = scene.site.project.directory
    path = f"{directory}/.env" if directory else ".env"
    content = scene.site.repository.tree(scene.situation.decision.head).read(path)
    if content is None:
        content = scene.site.checkout.untracked([path]).get(path, b"")
    known = {name.decode() for name in _SETTING.findall(content)}
    for kind, key, variable in named:
        if variable not in known:
            yield f"The {kind} {key} takes its value from {variable}, and {path} does not set it."


def _devices(scene: Scene) -> Iterator[str]:
    if not scene.surroundings.is_same_host:
        return
    for service, model in scene.services():
        for device in model.get("devices") or ():
            source = str(device.get("source") if isinstance(device, dict) else device)
            if source.startswith("/") and not scene.site.disk.exists(source):
                yield f"{service}: the device {source} does not exist on this host."
    for key, volume in scene.after.volumes.items():
        options = (volume or {}).get("driver_opts") or {}
        device = str(options.get("device") or "")
        is_bind = "bind" in str(options.get("o") or "").split(",") or options.get("type") == "none"
        if is_bind and device and scene.kind(device) == "":
            yield f"The volume {key} is made from {shown(device)}, which does not exist."


def _room(scene: Scene) -> Iterator[str]:
    disk = scene.site.disk
    root = scene.info.root_directory
    places = [(scene.site.checkout.path, LEAST_STATE_BYTES), (scene.state, LEAST_STATE_BYTES)]
    if root and scene.surroundings.is_same_host and disk.exists(root):
        places.append((root, LEAST_FREE_BYTES))
    for path, least in places:
        if not path:
            continue
        free = disk.free_bytes(path)
        if free < least:
            yield f"Only {free / 2**20:.1f} MiB are free below {path}; at least {least // 2**20} are needed."
        inodes = disk.free_inodes(path)
        if inodes is not None and inodes < LEAST_FREE_INODES:
            yield f"Only {inodes} more files (inodes) fit below {path}; {LEAST_FREE_INODES} are needed."


def _writable(scene: Scene) -> Iterator[str]:
    for what, path in (("checkout", scene.site.checkout.path), ("state directory", scene.state)):
        if path and not scene.site.disk.is_writable(path):
            yield f"The {what} {path} cannot be written."


def _hooks(scene: Scene) -> Iterator[str]:
    """The owner's commands: a place to run them, and programs on the host."""
    hooks, situation = scene.site.config.hooks, scene.situation
    for hook in hooks.before:
        service = hook.command.service
        old = situation.old_project or situation.observed
        if service and not situation.is_first and not any(one.is_running for one in old.of(service)):
            yield f"The command {hook.name} runs in {service} before the update, and no container of it runs."
    for hook in hooks.after:
        service = hook.command.service
        if service and service not in scene.after.active:
            yield f"The command {hook.name} runs in {service} after the update, and there is no such service."
    for hook in (*hooks.before, *hooks.after):
        for program in {one[0] for one in (hook.command.argv, hook.command.undo) if one}:
            shell = scene.site.shell
            is_here = hook.command.service or shell is None or "/" in program
            if not is_here and shell is not None and not shell.has(program, scene.site.checkout.path):
                yield f"The command {hook.name} needs {program}, which is not on this host."


def _submodules(scene: Scene) -> Iterator[str]:
    yield from scene.site.checkout.bring(scene.situation.decision.head)


CHECKS: tuple[Check, ...] = (
    _missing_env_files,
    _mounts,
    _configs_and_secrets,
    _variables,
    _devices,
    _room,
    _writable,
    _hooks,
    _submodules,
)
