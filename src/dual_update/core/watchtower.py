"""What is known of Watchtower: how to read its answers, and when it can replace a container faithfully.

Watchtower pulls the very reference a running container was made from and, when that gives another image,
stops and removes the container and makes a new one out of the old one's settings. It never reads a compose
file and never moves a tag. Its answer holds counts at most; "200" is given also when nothing was done or
everything failed. So an answer is a claim here, and whoever asked looks at the engine afterwards.

Versions told apart, by what they answer to `/v1/update`:
- containrrr 1.7.1, and nicholas-fedor before 1.12: 200 without a body, whatever happened;
- nicholas-fedor from 1.12: 200 with nested counts (`summary`), from 1.14.3 also 429 while busy;
- openserbia: 200 and 429 with flat JSON.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from dual_update.core.model import NAMESPACES, ImageRef, Rendered, replicas
from dual_update.core.origin import is_built_here

Status = Literal["done", "nothing", "busy", "failed", "unknown"]

LABEL_PREFIX = "com.centurylinklabs.watchtower"
"""Every label that steers Watchtower begins so."""

QUOTED_CHARACTERS = 120
"""As much of a neighbour's own words as one sentence bears."""

_TRUE = frozenset({"1", "t", "true"})
_CONTAINER_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")


# --- answers ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Counts:
    """How many containers Watchtower says it handled. None: this version does not count them.

    `skipped` hides pull and login errors, `updated` a container that died a second after its start, and
    an image the registry does not know counts as up to date.
    """

    scanned: int
    updated: int
    failed: int
    restarted: int | None = None
    skipped: int | None = None


@dataclass(frozen=True)
class PokeAnswer:
    """What Watchtower claims after a poke; never a proof.

    - `done`: it says that it replaced containers;
    - `nothing`: it says that it replaced none: matched none, found no news, skipped, or failed unseen;
    - `busy`: it did not begin; `retry_after_seconds` is its wish, when it gave one;
    - `failed`: it refused, could not be reached, or says that a container failed;
    - `unknown`: it may have done anything and may be at it still. Look, and look again later.

    `has_report` is False for a 200 without a body, as old versions give it always.
    """

    status: Status
    detail: str
    counts: Counts | None = None
    retry_after_seconds: float | None = None
    has_report: bool = True


def read_answer(code: int, headers: Mapping[str, str], body: str) -> PokeAnswer:
    """Judge the answer to a poke. `headers` have lower-case names."""
    if code == 200:
        return _read_ok(body)
    if code == 429:
        return PokeAnswer("busy", _busy(body), None, retry_after(headers))
    if code == 503:
        return PokeAnswer(
            "busy",
            "Watchtower did not get to it (503): another update is running.",
            None,
            retry_after(headers),
        )
    if 200 <= code < 300:
        return PokeAnswer("unknown", f"Watchtower took the request ({code}) and works on without telling.")
    if code == 408:
        return PokeAnswer(
            "unknown", "Watchtower's own time limit ended the request; its work may go on (408)."
        )
    if code >= 500:
        return PokeAnswer("unknown", f"Watchtower broke off with {code}{_said(body)}; work may have begun.")
    return PokeAnswer("failed", _refused(code, body))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a `Retry-After` asks for (RFC 9110, 10.2.3): a number, or a date counted from `Date`."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        wait = parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("date", ""))
    except (TypeError, ValueError, OverflowError):
        return None
    return max(wait.total_seconds(), 0.0)


def quoted(text: str) -> str:
    """A stranger's words, fit for one sentence: the first line without control characters, cut."""
    lines = [
        line for line in ("".join(c for c in one if c.isprintable()) for one in text.splitlines()) if line
    ]
    first = lines[0].strip() if lines else ""
    return first if len(first) <= QUOTED_CHARACTERS else f"{first[:QUOTED_CHARACTERS]}..."


def _read_ok(body: str) -> PokeAnswer:
    if not body.strip():
        return PokeAnswer(
            "unknown",
            "Watchtower answered 200 without a report, as old versions always do.",
            has_report=False,
        )
    strange = PokeAnswer("unknown", f"The answer (200) is none that Watchtower gives{_said(body)}.")
    document = _object(body)
    if document is None:
        return strange
    if document.get("status") == "skipped":
        return PokeAnswer("busy", _busy(body))
    counts = _counts(document.get("summary", document))
    if counts is None:
        return strange
    return PokeAnswer(*_judged(counts), counts)


def _judged(counts: Counts) -> tuple[Status, str]:
    told = f"updated {counts.updated} of {counts.scanned} scanned"
    told += f", skipped {counts.skipped}" if counts.skipped else ""
    if counts.failed:
        return "failed", f"Watchtower says that {counts.failed} failed ({told})."
    if counts.updated or counts.restarted:
        return "done", f"Watchtower says: {told}."
    if counts.skipped:
        return (
            "nothing",
            f"Watchtower skipped {counts.skipped}: the pull failed, or a cooldown is set ({told}).",
        )
    if not counts.scanned:
        return "nothing", "Watchtower found no container to look at, or failed before it looked (scanned 0)."
    return "nothing", f"Watchtower found no newer image ({told})."


def _counts(value: object) -> Counts | None:
    if not isinstance(value, Mapping):
        return None
    numbers: dict[str, int] = {}
    for name in ("scanned", "updated", "failed", "restarted", "skipped"):
        number = value.get(name)
        if number is None:
            continue
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            return None
        numbers[name] = number
    if not numbers.keys() >= {"scanned", "updated", "failed"}:
        return None
    return Counts(**numbers)


def _busy(body: str) -> str:
    document = _object(body) or {}
    words = document.get("error") or document.get("reason")
    if isinstance(words, str):
        return f"Watchtower is busy: {quoted(words)}."
    return "Watchtower takes no more requests for now (429)."


def _refused(code: int, body: str) -> str:
    if code in (401, 403):
        return f"Watchtower does not accept the token ({code}); compare WATCHTOWER_TOKEN on both sides."
    if code == 404:
        return (
            "No update endpoint is at this address (404); enable it in Watchtower, or correct WATCHTOWER_URL."
        )
    if 300 <= code < 400:
        return f"The address answers with a redirect ({code}); give WATCHTOWER_URL the final one."
    return f"Watchtower refused the request with {code}{_said(body)}."


def _said(body: str) -> str:
    words = quoted(body)
    return f': "{words}"' if words else ""


def _object(body: str) -> dict[str, Any] | None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


# --- requests --------------------------------------------------------------------------------------


def container_pattern(name: str) -> str | None:
    """A regular expression (Go RE2) for `container=` that means this name alone; None when it is no name.

    Watchtower wraps a pattern as `^pattern$` without a group and splits the parameter at commas. The
    engine's grammar for names leaves one character that means something in between: the dot.
    """
    return name.replace(".", r"\.") if _CONTAINER_NAME.fullmatch(name) else None


def old_image_name(reference: str) -> str | None:
    """The name under which 1.7.1 knows an image: without its tag.

    That version cuts at the first colon, so an image of a registry with a port cannot be named: None.
    """
    repository = ImageRef.parse(reference).repository
    return None if ":" in repository else repository


# --- policy ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WatchtowerPolicy:
    """How one Watchtower is set up, as far as it tells (`GET /v1/config`, from 1.20).

    `is_known` is False for a Watchtower that does not tell; such a one is taken for the oldest.
    """

    is_known: bool = False
    is_monitor_only: bool = False
    has_cleanup: bool = False
    has_no_pull: bool = False
    has_no_restart: bool = False
    needs_label: bool = False
    scope: str = ""


def read_policy(body: str) -> WatchtowerPolicy:
    """Read the answer to `GET /v1/config`; what is not understood makes an unknown policy."""
    told = (_object(body) or {}).get("config")
    if not isinstance(told, Mapping):
        return WatchtowerPolicy()
    flags = {
        name: told.get(key, False)
        for name, key in (
            ("is_monitor_only", "monitor_only"),
            ("has_cleanup", "cleanup"),
            ("has_no_pull", "no_pull"),
            ("has_no_restart", "no_restart"),
            ("needs_label", "label_enable"),
        )
    }
    scope = told.get("scope", "")
    if not isinstance(scope, str) or not all(isinstance(flag, bool) for flag in flags.values()):
        return WatchtowerPolicy()
    return WatchtowerPolicy(is_known=True, scope=scope, **flags)


def hazards(policy: WatchtowerPolicy) -> tuple[str, ...]:
    """Sentences about a set-up that endangers what comes after a poke, a rollback above all."""
    if not policy.is_known:
        return ("Watchtower does not tell its settings; if clean-up is on, it removes the way back.",)
    if policy.has_cleanup:
        return (f"{_CLEANUP} Set WATCHTOWER_CLEANUP=false.",)
    return ()


_CLEANUP = "Watchtower's clean-up removes the old image under every tag, and with it the way back."


# --- when a poke is faithful -----------------------------------------------------------------------


@dataclass(frozen=True)
class Running:
    """What the engine says of a service's container and its image, as far as a poke depends on it.

    `reference` is what the container was made from, `image_volumes` the paths of the image's VOLUMEs,
    `image_environment` its ENV. `labels` are the container's own; they win over the model's.
    """

    reference: str
    state: str = "running"
    labels: Mapping[str, str] | None = None
    image_volumes: Sequence[str] = ()
    image_environment: Mapping[str, str] = field(default_factory=dict, repr=False)


def why_not_poke(
    service: str, rendered: Rendered, policy: WatchtowerPolicy, running: Running | None = None
) -> str | None:
    """Why Watchtower cannot replace this service's container faithfully, as a sentence; None when it can.

    Without `running` only the model speaks: a service that has no container yet, or whose image declares
    volumes, is not recognised.
    """
    model = rendered.services[service]
    labels = model.get("labels") or {} if running is None or running.labels is None else running.labels
    reasons = (
        *_reference(model, running),
        *_setup(policy),
        *_control(labels, policy),
        *_lost(model, rendered),
        *_emptied(model, running),
        *_frozen(model, running),
        *_attached(service, rendered),
        *_manner(model, policy),
    )
    return reasons[0] if reasons else None


def _reference(model: Mapping[str, Any], running: Running | None) -> Iterable[str]:
    if is_built_here(model):
        yield "Its image is built here, and Watchtower only pulls."
    image = ImageRef.parse(str(model.get("image") or ""))
    if image.is_pinned:
        yield "Its image is pinned by digest, and Watchtower passes over such containers."
    if model.get("pull_policy") in ("never", "build"):
        yield f"Its pull policy is `{model['pull_policy']}`, and Watchtower pulls."
    if model.get("platform"):
        yield "It asks for a platform, which Watchtower does not name when it pulls."
    if model.get("provider"):
        yield "It is run by a provider, not as a container."
    if running is None:
        return
    if ImageRef.parse(running.reference).canonical != image.canonical:
        yield "The running container is made from another reference, and Watchtower never moves a tag."
    if running.state != "running":
        yield f"Its container is {quoted(running.state)}, and Watchtower looks at running ones only."


def _setup(policy: WatchtowerPolicy) -> Iterable[str]:
    if policy.is_monitor_only:
        yield "Watchtower only monitors."
    if policy.has_no_pull:
        yield "Watchtower is told not to pull."
    if policy.has_no_restart:
        yield "Watchtower is told not to restart containers."
    if policy.has_cleanup:
        yield _CLEANUP


def _control(labels: Mapping[str, Any], policy: WatchtowerPolicy) -> Iterable[str]:
    def label(name: str) -> str:
        return str(labels.get(f"{LABEL_PREFIX}{name}", "")).strip().lower()

    if label("") in _TRUE:
        yield "It is a Watchtower itself."
    enabled = label(".enable")
    if enabled and enabled not in _TRUE:
        yield "Its label `enable` keeps Watchtower away."
    if policy.needs_label and not enabled:
        yield "Watchtower handles labelled containers only, and the label `enable` is missing."
    if label(".monitor-only") in _TRUE:
        yield "Its label `monitor-only` keeps Watchtower from replacing it."
    if label(".no-pull") in _TRUE:
        yield "Its label `no-pull` keeps Watchtower from pulling."
    if label(".cooldown-delay"):
        yield "Its label `cooldown-delay` makes Watchtower wait until an image has aged."
    scope = str(labels.get(f"{LABEL_PREFIX}.scope") or "none")
    if policy.is_known and scope != (policy.scope or "none"):
        yield f"Its scope is `{quoted(scope)}`, Watchtower's is `{quoted(policy.scope or 'none')}`."


def _lost(model: Mapping[str, Any], rendered: Rendered) -> Iterable[str]:
    """What compose puts into a container after it made it; the engine does not know, so no copy has it."""
    for kind, resources in (("config", rendered.configs), ("secret", rendered.secrets)):
        for use in model.get(f"{kind}s") or ():
            name = str(use.get("source") if isinstance(use, Mapping) else use)
            if not (resources.get(name) or {}).get("file"):
                yield f"Its {kind} `{quoted(name)}` is no file on the host, and would be missing afterwards."
    if model.get("use_api_socket"):
        yield "Compose gives it the engine's socket and credentials, which would be missing afterwards."
    for hook in ("post_start", "pre_stop"):
        if model.get(hook):
            yield f"Its `{hook}` is run by compose alone."


def _emptied(model: Mapping[str, Any], running: Running | None) -> Iterable[str]:
    mounts = [mount for mount in model.get("volumes") or () if isinstance(mount, Mapping)]
    for mount in mounts:
        if mount.get("type", "volume") == "volume" and not mount.get("source"):
            yield f"Its anonymous volume {_path(mount.get('target'))} would be a new and empty one."
    tmpfs = model.get("tmpfs") or ()
    covered = {_trimmed(mount.get("target")) for mount in mounts}
    covered |= {
        _trimmed(str(path).partition(":")[0]) for path in ([tmpfs] if isinstance(tmpfs, str) else tmpfs)
    }
    for path in running.image_volumes if running else ():
        if _trimmed(path) not in covered:
            yield f"Its image keeps {_path(path)} in an anonymous volume, which would be a new and empty one."


def _frozen(model: Mapping[str, Any], running: Running | None) -> Iterable[str]:
    """Watchtower takes a variable that equals the old image's default for that default."""
    wanted = model.get("environment") or {}
    for name, value in sorted(running.image_environment.items()) if running else ():
        if name in wanted and wanted[name] == value:
            yield f"It sets `{quoted(name)}` to the image's own default, and would follow a new default."


def _attached(service: str, rendered: Rendered) -> Iterable[str]:
    """Services that hold on to this very container, by its id or by compose's order."""
    model = rendered.services[service]
    name = str(model.get("container_name") or f"{rendered.name}-{service}-1")
    names = {f"service:{service}", f"container:{name}"}
    for other, its in sorted(rendered.services.items()):
        if other == service or not rendered.is_active(other):
            continue
        for key in NAMESPACES:
            if its.get(key) in names:
                yield f"`{other}` shares its {key.partition('_')[0]}, and would be cut off."
        sources = [str(source) for source in its.get("volumes_from") or ()]
        if any(source.removesuffix(":ro").removesuffix(":rw") in {service, *names} for source in sources):
            yield f"`{other}` takes its volumes, and would keep the old container's."
        need = its.get("depends_on") or {}
        if isinstance(need, Mapping) and (need.get(service) or {}).get("restart"):
            yield f"`{other}` asks to be restarted with it, which Watchtower does not do."


def _manner(model: Mapping[str, Any], policy: WatchtowerPolicy) -> Iterable[str]:
    count = replicas(model)
    if count > 1:
        yield f"Watchtower would stop all {count} replicas before it starts a new one."
    deploy = model.get("deploy") or {}
    if (deploy.get("update_config") or {}).get("order") == "start-first":
        yield "It asks for start-first, and Watchtower stops first."
    if policy.is_known:
        return
    if model.get("network_mode") == "host":
        yield "It uses the host's network, where older Watchtowers may fail to make a container again."
    if _has_fixed_mac(model):
        yield "It has a fixed MAC address, with which older Watchtowers fail to make it again."
    for key in ("stop_grace_period", "stop_signal"):
        if model.get(key):
            yield f"It has a `{key}`, which older Watchtowers pass over."


def _has_fixed_mac(model: Mapping[str, Any]) -> bool:
    networks = model.get("networks") or {}
    settings = networks.values() if isinstance(networks, Mapping) else ()
    return bool(model.get("mac_address")) or any((one or {}).get("mac_address") for one in settings)


def _trimmed(path: object) -> str:
    return str(path).rstrip("/") or "/"


def _path(path: object) -> str:
    return f"`{quoted(str(path))}`"
