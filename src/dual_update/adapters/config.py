"""Config files: read with line numbers, checked against the shipped schemas, made into frozen values."""

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from os.path import normpath
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dual_update.adapters.marked_yaml import LARGEST_BYTES, Marked, read
from dual_update.adapters.marked_yaml import Path as PathIn
from dual_update.core.command import Command
from dual_update.core.config import (
    CONFIG_PATH,
    Check,
    ClusterEntry,
    Config,
    Health,
    Hook,
    Hooks,
    HttpCheck,
    MultiCluster,
    Retention,
    StageEntry,
    StrategyFile,
    TcpCheck,
    Watchtower,
)
from dual_update.core.errors import UsageError
from dual_update.core.rules import RULES
from dual_update.usecases.ports import Tree

CONFIG_SCHEMA = "config.schema.json"
MULTI_CLUSTER_SCHEMA = "multi-cluster.schema.json"
MOST_COMPLAINTS = 10


def load(tree: Tree) -> Config:
    """The policy that a commit holds, or the defaults. Raises UsageError with file, line and path."""
    content = tree.read(CONFIG_PATH)
    return Config() if content is None else parse(content, CONFIG_PATH)


def load_file(path: Path) -> Config:
    """The policy in a file. Raises UsageError when it cannot be read or is wrong."""
    return parse(_bytes(path), str(path))


def load_multi_cluster(path: Path) -> MultiCluster:
    """The clusters in a multi-cluster.yml. Raises UsageError when it cannot be read or is wrong."""
    return parse_multi_cluster(_bytes(path), str(path))


def check_file(path: Path) -> str:
    """Check either kind of file, told apart by its name or its `clusters` key, and say what it is."""
    content = _bytes(path)
    marked = read(content, str(path))
    is_fleet = isinstance(marked.value, dict) and "clusters" in marked.value
    if is_fleet or path.stem == "multi-cluster":
        found = parse_multi_cluster(content, str(path))
        return f"{path}: {len(found.clusters)} cluster(s), no mistakes."
    parse(content, str(path))
    return f"{path}: no mistakes."


def parse(content: bytes, where: str) -> Config:
    """Config from the bytes of a file that messages call `where`."""
    marked = read(content, where)
    _check(marked, CONFIG_SCHEMA, where, _config_complaints(marked))
    data = marked.value
    watchtower = data.get("watchtower")
    return Config(
        **{key: data[key] for key in ("cluster", "deploy_branch", "mode", "scope", "driver") if key in data},
        compose_files=tuple(data.get("compose_files", ())),
        windows=tuple(data.get("windows", ())),
        rules=dict(data.get("rules", {})),
        health=_health(data.get("health", {})),
        retention=Retention(**data.get("retention", {})),
        watchtower=Watchtower(**watchtower) if watchtower else None,
        hooks=_hooks(data.get("hooks", {})),
        strategy=_strategy(data.get("strategy", "")),
    )


def parse_multi_cluster(content: bytes, where: str) -> MultiCluster:
    """Clusters from the bytes of a file that messages call `where`."""
    marked = read(content, where)
    _check(marked, MULTI_CLUSTER_SCHEMA, where, _cluster_complaints(marked))
    data = marked.value
    return MultiCluster(
        tuple(_cluster(one) for one in data["clusters"]),
        tuple(StageEntry(**one) for one in data.get("stages", ())),
        data.get("on_failure", "stop"),
        **{name: float(data[name]) for name in ("patience_seconds", "busy_seconds") if name in data},
    )


def schema(name: str) -> dict[str, Any]:
    """A schema that the package ships."""
    from importlib.resources import files

    found: dict[str, Any] = json.loads(files("dual_update").joinpath("schemas", name).read_text("utf-8"))
    return found


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no such path"
        raise UsageError(f"{path} cannot be read: {reason}.") from None


def _cluster(data: Mapping[str, Any]) -> ClusterEntry:
    fields = dict(data)
    for key in ("runner", "compose_files", "windows"):
        fields[key] = tuple(data.get(key, ()))
    if "health" in data:
        fields["health"] = _health(data["health"])
    return ClusterEntry(**fields)


def _health(data: Mapping[str, Any]) -> Health:
    times = {key: float(data[key]) for key in ("settle_seconds", "deadline_seconds") if key in data}
    return Health(
        **times,
        services={name: float(one["deadline_seconds"]) for name, one in data.get("services", {}).items()},
        checks=tuple(_one_check(one) for one in data.get("checks", ())),
    )


def _hooks(data: Mapping[str, Any]) -> Hooks:
    def of(key: str) -> tuple[Hook, ...]:
        return tuple(_hook(one) for one in data.get(key, ()))

    return Hooks(of("before"), of("after"))


def _hook(data: Mapping[str, Any]) -> Hook:
    seconds = float(data.get("timeout_seconds", 60))
    argv, undo = tuple(data["command"]), tuple(data["undo"])
    return Hook(data["name"], Command(argv, undo, data.get("service", ""), seconds))


def _strategy(data: str | Mapping[str, str]) -> str | StrategyFile:
    return data if isinstance(data, str) else StrategyFile(data["file"], data["class"])


def _one_check(data: Mapping[str, Any]) -> Check:
    timeout = float(data.get("timeout_seconds", 5))
    if "tcp" in data:
        host, _, port = data["tcp"].rpartition(":")
        return TcpCheck(data["name"], data["service"], host.strip("[]"), int(port), timeout)
    status, body = data.get("status", 200), data.get("body")
    return HttpCheck(data["name"], data["service"], data["url"], status, body, timeout)


# --- complaints --------------------------------------------------------------------------------------

Complaint = tuple[int, str]


def _check(marked: Marked, name: str, where: str, more: Iterable[Complaint]) -> None:
    found = sorted({*_schema_complaints(marked, name)} or {*more})
    if not found:
        return
    lines = [f"{where}, line {line}, {what}" for line, what in found[:MOST_COMPLAINTS]]
    if len(found) > MOST_COMPLAINTS:
        lines.append(f"... and {len(found) - MOST_COMPLAINTS} more.")
    raise UsageError("\n".join(lines))


def _schema_complaints(marked: Marked, name: str) -> Iterator[Complaint]:
    for error in _validator(name).iter_errors(marked.value):
        path: PathIn = tuple(error.absolute_path)
        if error.validator == "additionalProperties" and error.validator_value is False:
            known = list(error.schema.get("properties", {}))
            for key in error.instance:
                if key not in known:
                    here = (*path, key)
                    yield marked.line(here), f"{_shown(here)}: unknown key.{_suggestion(key, known)}"
        else:
            yield marked.line(path), f"{_shown(path)}: {_sentence(error)}"


@cache
def _validator(name: str) -> Any:
    from jsonschema import Draft202012Validator
    from referencing import Registry, Resource

    resource: Resource[Any] = Resource.from_contents(schema(CONFIG_SCHEMA))
    registry: Registry[Any] = Registry().with_resource(schema(CONFIG_SCHEMA)["$id"], resource)
    return Draft202012Validator(schema(name), registry=registry)


_TYPES = {
    "object": "keys with values",
    "array": "a list",
    "string": "text (put it in quotes)",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
}


_A_NAME = "may hold letters, digits, dots, dashes and underscores only."
_PATTERNS = {
    "https?": "must be an http:// or https:// address without a user or password.",
    "[0-9]{1,5}": "must be HOST:PORT.",
    "^[A-Z][A-Z0-9_]*$": "must be the name of a variable, in capital letters, like US_TOKEN.",
}
"""What the patterns of the schemas mean, told by a part of them."""


def _sentence(error: Any) -> str:
    """What is wrong and what is right instead. The value is not quoted: it might be a secret."""
    want = error.validator_value
    match error.validator:
        case "type":
            return f"must be {_TYPES[want]}."
        case "enum":
            near = _suggestion(str(error.instance), want)
            return f"must be one of {', '.join(want)}.{near}"
        case "required":
            missing = [key for key in want if key not in error.instance]
            return f"{' and '.join(missing)} must be given."
        case "oneOf":
            is_check = "check" in str(error.absolute_path)
            return "give either url or tcp." if is_check else "must be a name, or a file and a class."
        case "minimum":
            return f"must be at least {want}."
        case "exclusiveMinimum":
            return f"must be more than {want}."
        case "maximum":
            return f"must be at most {want}."
        case "pattern":
            return next((words for part, words in _PATTERNS.items() if part in want), _A_NAME)
        case "minLength" | "minItems":
            return "must not be empty."
        case _:
            return "is too long."


def _suggestion(word: str, known: Iterable[str]) -> str:
    import difflib

    near = difflib.get_close_matches(word.lower()[:100], list(known), n=1, cutoff=0.6)
    return f" Did you mean {near[0]}?" if near else ""


def _shown(path: PathIn) -> str:
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            clean = step[:60] if step.isprintable() else "?"
            text += f".{clean}" if text else clean
    return text or "the whole file"


def _config_complaints(marked: Marked) -> Iterator[Complaint]:
    """What a schema cannot say: rule ids, ports, names used twice, paths that lead out."""
    data = marked.value
    ids = [rule.id for rule in RULES]
    for rule in data.get("rules", {}):
        if rule not in ids:
            path: PathIn = ("rules", rule)
            yield marked.line(path), f"{_shown(path)}: unknown rule.{_suggestion(rule, ids)}"
    yield from _paths(marked, ("compose_files",), data.get("compose_files", ()))
    yield from _window_complaints(marked, ("windows",), data.get("windows", ()))
    yield from _health_complaints(marked, ("health",), data.get("health", {}))
    yield from _hook_complaints(marked, data.get("hooks", {}))
    if isinstance(strategy := data.get("strategy"), dict):
        yield from _paths(marked, ("strategy",), [strategy["file"]], key="file")


def _window_complaints(marked: Marked, where: PathIn, windows: Iterable[str]) -> Iterator[Complaint]:
    from dual_update.core.schedule import window

    for number, words in enumerate(windows):
        path: PathIn = (*where, number)
        try:
            found = window(words)
            ZoneInfo(found.zone)
        except UsageError as error:
            yield marked.line(path), f"{_shown(path)}: {' '.join(str(error).split())}"
        except (ZoneInfoNotFoundError, ValueError, OSError):
            yield marked.line(path), f"{_shown(path)}: its time zone is not known on this host."


def _hook_complaints(marked: Marked, hooks: Mapping[str, Any]) -> Iterator[Complaint]:
    seen: set[str] = set()
    for kind in ("before", "after"):
        for number, one in enumerate(hooks.get(kind, ())):
            here = ("hooks", kind, number, "name")
            if one["name"] in seen:
                yield marked.line(here), f"{_shown(here)}: another hook has this name."
            seen.add(one["name"])


def _cluster_complaints(marked: Marked) -> Iterator[Complaint]:
    if not isinstance(marked.value, dict):
        return
    seen: set[str] = set()
    for number, one in enumerate(marked.value.get("clusters", ())):
        path: PathIn = ("clusters", number)
        if one["name"] in seen:
            yield marked.line((*path, "name")), f"{_shown((*path, 'name'))}: another cluster has this name."
        seen.add(one["name"])
        yield from _paths(marked, (*path, "compose_files"), one.get("compose_files", ()))
        yield from _health_complaints(marked, (*path, "health"), one.get("health", {}))
        yield from _window_complaints(marked, (*path, "windows"), one.get("windows", ()))
        if "token_env" in one and _is_told_in_the_open(one.get("url", "")):
            here = (*path, "url")
            yield marked.line(here), f"{_shown(here)}: a token is sent by https only, or within this machine."
    yield from _shared_places(marked)
    yield from _stage_complaints(marked)


def _shared_places(marked: Marked) -> Iterator[Complaint]:
    """Two names for one cluster: each would undo what the other did. Runners have disks of their own."""
    seen: dict[object, str] = {}
    for number, one in enumerate(marked.value.get("clusters", ())):
        key, place = "url", one.get("url", "").rstrip("/").lower()
        if not place and "path" in one and not one.get("runner"):
            key, place = "path", (normpath(one["path"]), *one.get("compose_files", ()))
        if not place:
            continue
        if place in seen:
            here = ("clusters", number, key)
            yield marked.line(here), f"{_shown(here)}: {seen[place]} has the same one; give each its own."
        seen.setdefault(place, one["name"])


def _is_told_in_the_open(url: str) -> bool:
    """Would a token that is sent there pass over a network unencrypted."""
    host = url.removeprefix("http://").partition("/")[0].lower()
    name = host[: host.index("]") + 1] if "]" in host else host.partition(":")[0]
    return url.startswith("http://") and name not in {"localhost", "127.0.0.1", "[::1]"}


def _stage_complaints(marked: Marked) -> Iterator[Complaint]:
    used = {one.get("stage", 0) for one in marked.value.get("clusters", ())}
    seen: set[int] = set()
    for number, one in enumerate(marked.value.get("stages", ())):
        here: PathIn = ("stages", number, "stage")
        if one["stage"] in seen:
            yield marked.line(here), f"{_shown(here)}: this stage is there already."
        elif one["stage"] not in used:
            yield marked.line(here), f"{_shown(here)}: no cluster has this stage."
        seen.add(one["stage"])


def _paths(marked: Marked, path: PathIn, names: Iterable[str], key: str = "") -> Iterator[Complaint]:
    for number, name in enumerate(names):
        if name.startswith(("/", "-")) or ".." in name.split("/") or not name.isprintable():
            here = (*path, key or number)
            yield marked.line(here), f"{_shown(here)}: must be a path below the repository's root."


def _health_complaints(marked: Marked, path: PathIn, health: Mapping[str, Any]) -> Iterator[Complaint]:
    seen: set[str] = set()
    for number, one in enumerate(health.get("checks", ())):
        here = (*path, "checks", number)
        if one["name"] in seen:
            yield marked.line((*here, "name")), f"{_shown((*here, 'name'))}: another check has this name."
        seen.add(one["name"])
        if "tcp" in one and not 0 < int(one["tcp"].rpartition(":")[2]) < 65536:
            yield (
                marked.line((*here, "tcp")),
                f"{_shown((*here, 'tcp'))}: a port is a number from 1 to 65535.",
            )
        for key in ("status", "body"):
            if "tcp" in one and key in one:
                yield marked.line((*here, key)), f"{_shown((*here, key))}: belongs to a url, not to tcp."
