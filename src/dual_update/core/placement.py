"""Models on a host: paths that a render wrote below `/src` become those of a checkout."""

import copy
import posixpath
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from dual_update.core.model import OUTSIDE_ROOT, SOURCE_ROOT, Rendered


def placed(rendered: Rendered, root: str) -> dict[str, Any]:
    """The model as compose takes it, with paths of the repository where it lies: below `root`.

    Only fields that hold paths of the host are rewritten: `/src` is a fine path inside a container.
    Which ones those are: compose-go, `paths/resolve.go`.
    """
    model: dict[str, Any] = {"name": rendered.name}
    for kind in ("services", "networks", "volumes", "configs", "secrets", "models"):
        content = getattr(rendered, kind)
        if content:
            model[kind] = copy.deepcopy(dict(content))
    for service in model.get("services", {}).values():
        _place_service(service, root)
    for kind in ("configs", "secrets"):
        for resource in model.get(kind, {}).values():
            _place(resource, "file", root)
    for volume in model.get("volumes", {}).values():
        if volume and volume.get("driver_opts"):
            _place(volume["driver_opts"], "device", root)
    return model


def _place_service(service: dict[str, Any], root: str) -> None:
    build = service.get("build") or {}
    for key in ("context", "dockerfile"):
        _place(build, key, root)
    for key in build.get("additional_contexts") or {}:
        _place(build["additional_contexts"], key, root)
    for volume in service.get("volumes") or ():
        if volume.get("type") == "bind":
            _place(volume, "source", root)
    for entry in service.get("env_file") or ():
        if isinstance(entry, dict):
            _place(entry, "path", root)
    if isinstance(service.get("label_file"), list):
        service["label_file"] = [at(str(one), root) for one in service["label_file"]]
    for watch in (service.get("develop") or {}).get("watch") or ():
        _place(watch, "path", root)
    _place(service.get("credential_spec") or {}, "file", root)


def _place(holder: dict[str, Any], key: str, root: str) -> None:
    if isinstance(holder.get(key), str):
        holder[key] = at(holder[key], root)


def at(path: str, root: str) -> str:
    """One path of a model where the repository lies below `root`; other paths stay as they are."""
    if path == OUTSIDE_ROOT or path.startswith(f"{OUTSIDE_ROOT}/"):
        return posixpath.normpath(PurePosixPath(root).parent / path[len(OUTSIDE_ROOT) + 1 :])
    if path == SOURCE_ROOT or path.startswith(f"{SOURCE_ROOT}/"):
        return root.rstrip("/") + path[len(SOURCE_ROOT) :] or "/"
    return path[1:] if path.startswith("//") else path  # the host's own /src, told apart from ours


def on_host(rendered: Rendered, words: Mapping[str, str]) -> Rendered:
    """The model with what this host says for the words that stand in for it (`HOME_ROOT`, `HERE_ROOT`):
    so its containers are made, and so they must look. Fingerprints are over the words."""

    def said(value: Any) -> Any:
        if isinstance(value, str):
            for word, here in words.items():
                value = value.replace(word, here)
            return value
        if isinstance(value, Mapping):
            return {key: said(one) for key, one in value.items()}
        return [said(one) for one in value] if isinstance(value, list) else value

    kinds = ("services", "networks", "volumes", "configs", "secrets", "models")
    return replace(rendered, **{kind: said(getattr(rendered, kind)) for kind in kinds})
