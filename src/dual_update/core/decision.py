"""Folds Findings into one Decision: what kind of update this is, and what each service needs."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from dual_update.core.model import NAMESPACES, Rendered, image_of, is_built, joined
from dual_update.core.origin import is_built_here, origin
from dual_update.core.rules import WEIGHT, Action, Finding
from dual_update.core.submodule import SubmoduleMove, innermost

LISTED_FILES = 3
"""How many changed files a service's reasons name; `changes` has them all."""

UpdateType = Literal["none", "image_only", "structural", "mixed"]
Verdict = Literal["same", "added", "removed", "image_only", "changed", "changed_with_image"]


@dataclass(frozen=True)
class ServiceDecision:
    """What became of one service, the least action that brings it there, and why."""

    verdict: Verdict
    action: Action
    image_before: str | None = None
    image_after: str | None = None
    reasons: tuple[str, ...] = ()

    @property
    def has_new_image(self) -> bool:
        return self.image_before != self.image_after


@dataclass(frozen=True)
class Decision:
    """The answer to "what really changed": pure, from two rendered sides and their Findings.

    `needs_person` holds the sentences for which a person must say yes: what can lose data.
    `hints` are worth saying and change nothing. `submodules` moved; `repositories` (OWNER/NAME) are
    those of them whose content makes this update. `hidden` values are for no one's eyes.
    """

    cluster: str
    base: str | None
    head: str
    update_type: UpdateType
    strategy: str
    fingerprint: str
    services: Mapping[str, ServiceDecision]
    findings: tuple[Finding, ...] = ()
    warnings: tuple[str, ...] = ()
    needs_person: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()
    submodules: tuple[SubmoduleMove, ...] = ()
    hidden: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def needs_update(self) -> bool:
        return self.update_type != "none"

    @property
    def built_anew(self) -> frozenset[str]:
        """Services whose image has to become another one: what it is built from changed, or how."""
        found: set[str] = set()
        for change in (one.change for one in self.findings if one.impact != "none"):
            if change.scope == "code":
                found.update(change.users)
            elif change.is_of_build:
                found.update(change.users or (change.name,))
        return frozenset(found)

    def needing(self, *actions: Action) -> tuple[str, ...]:
        """Services whose action is one of these, sorted."""
        return tuple(name for name, one in sorted(self.services.items()) if one.action in actions)


@dataclass(frozen=True)
class Sides:
    """The two models and the two commits a Decision is made from."""

    cluster: str
    before: Rendered
    after: Rendered
    base: str | None
    head: str
    warnings: tuple[str, ...] = field(default=())
    submodules: tuple[SubmoduleMove, ...] = field(default=())


def decide(sides: Sides, findings: Sequence[Finding]) -> Decision:
    """Fold Findings into the Decision. The update type follows contract.md: any image and any structural
    impact together are mixed; a Finding of impact `none` counts for nothing."""
    impacts = {finding.impact for finding in findings}
    update_type: UpdateType = "none"
    if impacts >= {"image", "structural"}:
        update_type = "mixed"
    elif "structural" in impacts:
        update_type = "structural"
    elif "image" in impacts:
        update_type = "image_only"
    by_service = _by_service(findings)
    names = sorted({*sides.before.services, *sides.after.services})
    services = {name: _service(name, sides, by_service.get(name, ())) for name in names}
    services = with_dependents(services, sides.after)
    return Decision(
        cluster=sides.cluster,
        base=sides.base,
        head=sides.head,
        update_type=update_type,
        strategy={"none": "none", "image_only": "watchtower"}.get(update_type, "revamp"),
        fingerprint=fingerprint(sides.cluster, sides.head, sides.after),
        services=services,
        findings=tuple(findings),
        warnings=(*sides.warnings, *_conditional(sides.after), *_lowered(findings)),
        needs_person=tuple(dict.fromkeys(
            f"{f.change.scope} {f.change.name}: {f.rule.says}" for f in findings if f.rule.needs_person
        )),
        hints=tuple(_renames(sides)),
        repositories=_repositories(sides, findings) if update_type != "none" else (),
        submodules=sides.submodules,
        hidden=sides.before.hidden | sides.after.hidden,
    )  # fmt: skip


def fingerprint(cluster: str, head: str, rendered: Rendered) -> str:
    """Names what was judged: cluster, commit and model, the same on every machine (contract.md, Rules).

    A project name that only stands for the directory is left out: a checkout may be called anything.
    """
    model = {
        "services": rendered.services,
        **{
            kind: _nameless(rendered, kind)
            for kind in ("networks", "volumes", "configs", "secrets", "models")
        },
    }
    text = json.dumps([cluster, head, model], sort_keys=True, separators=(",", ":"), default=dict)
    return hashlib.sha256(text.encode()).hexdigest()


def _nameless(rendered: Rendered, kind: str) -> dict[str, Any]:
    resources = {}
    for key, value in getattr(rendered, kind).items():
        derived = f"{rendered.name}_{key}"
        resources[key] = {k: v for k, v in (value or {}).items() if (k, v) != ("name", derived)}
    return resources


def _by_service(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    grouped: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        own = (finding.change.name,) if finding.change.scope == "service" else ()
        for user in finding.change.users or own:
            grouped[user].append(finding)
    return grouped


def _service(name: str, sides: Sides, findings: Sequence[Finding]) -> ServiceDecision:
    before, after = _image(sides.before, name), _image(sides.after, name)
    own = [f for f in findings if (f.change.scope, f.change.name) == ("service", name) and f.impact != "none"]
    code = any(f.rule.id == "code.context" and f.impact == "image" for f in findings)
    return ServiceDecision(
        verdict=_verdict(name, sides, own, has_code=code),
        action=_action(name, sides, findings),
        image_before=before,
        image_after=after,
        reasons=(*_reasons(name, findings), *_origin(name, sides, findings)),
    )


def _reasons(name: str, findings: Sequence[Finding]) -> Iterable[str]:
    """Why, a line for each field; files that one rule judges share a line."""
    files: dict[str, list[Finding]] = defaultdict(list)
    lines: dict[str, None] = {}
    for finding in findings:
        if finding.change.scope in {"code", "file"}:
            files[finding.rule.id].append(finding)
        else:
            is_of_another = finding.change.scope == "service" and finding.change.name != name
            lines[f"service {finding.change.name} " * is_of_another + reason(finding)] = None
    for same in files.values():
        names = ", ".join(one.change.name for one in same[:LISTED_FILES])
        more = f" and {len(same) - LISTED_FILES} more" if len(same) > LISTED_FILES else ""
        lines[f"{same[0].change.scope} {names}{more}: {same[0].rule.says}"] = None
    return lines


def _origin(name: str, sides: Sides, findings: Sequence[Finding]) -> Iterable[str]:
    """Where a changed image comes from, where the file leaves room for a doubt."""
    said = origin(sides.after.services.get(name, {}))
    if said and any(f.rule.action in {"roll", "rebuild", "create"} for f in findings):
        yield f"image: {said}."


def _image(rendered: Rendered, name: str) -> str | None:
    service = rendered.services.get(name)
    return None if service is None else image_of(rendered.name, name, service)


def _verdict(name: str, sides: Sides, own: Sequence[Finding], *, has_code: bool) -> Verdict:
    if name not in sides.before.services:
        return "added"
    if name not in sides.after.services:
        return "removed"
    image = has_code or any(f.impact == "image" for f in own)
    other = any(f.impact == "structural" for f in own)
    if image and other:
        return "changed_with_image"
    if other:
        return "changed"
    return "image_only" if image else "same"


def _action(name: str, sides: Sides, findings: Sequence[Finding]) -> Action:
    was = name in sides.before.services and sides.before.is_active(name)
    will = name in sides.after.services and sides.after.is_active(name)
    if was and not will:
        return "remove"
    if will and not was:
        return "create"
    actions = (f.rule.action for f in findings)
    heaviest: Action = max(actions, default="none", key=lambda one: WEIGHT[one])
    if not will:  # behind a profile on both sides: nothing runs, so nothing is done
        return "record" if heaviest != "none" else "none"
    if heaviest == "roll" and is_built_here(sides.after.services[name]):
        return "rebuild"  # a new tag for a built image: there is nothing to pull
    if heaviest == "rebuild" and not is_built(sides.after.services[name]):
        # it runs what another service builds, or no longer what was built here
        return "roll" if _image(sides.before, name) != _image(sides.after, name) else "recreate"
    return heaviest


_REPLACES: frozenset[Action] = frozenset({"poke", "roll", "recreate", "rebuild"})
"""Actions that end one container and begin another."""


def with_dependents(services: dict[str, ServiceDecision], after: Rendered) -> dict[str, ServiceDecision]:
    """Services that cannot outlive a container of another service go with it.

    `network_mode`, `ipc` and `pid: service:X` and `volumes_from` name the very container; `links` and
    `depends_on.X.restart` ask for a restart, and the least action that restarts is `recreate`
    (measured with compose 2.40.3; compose specification, depends_on).
    """
    dependents = _dependents(after)
    replaced = [name for name, one in services.items() if one.action in _REPLACES]
    while replaced:
        target = replaced.pop()
        for name, why in dependents.get(target, ()):
            one = services[name]
            if not after.is_active(name) or WEIGHT[one.action] > WEIGHT["recreate"]:
                continue
            because = f"{why}: {target} gets a new container, so this one follows."
            if because in one.reasons:
                continue
            if one.action not in _REPLACES:
                replaced.append(name)
            services[name] = replace(one, action="recreate", reasons=(*one.reasons, because))
    return services


def tied_to(services: Iterable[str], rendered: Rendered, by: Sequence[str] = ()) -> frozenset[str]:
    """All who cannot outlive a container of these services, themselves left out; `by` these fields alone."""
    dependents = _dependents(rendered)
    found, waiting = set(services), list(services)
    while waiting:
        new = {
            name
            for name, why in dependents.get(waiting.pop(), ())
            if rendered.is_active(name) and (not by or why in by)
        } - found
        found |= new
        waiting += new
    return frozenset(found).difference(services)


def _dependents(rendered: Rendered) -> Mapping[str, Sequence[tuple[str, str]]]:
    """Service -> who is tied to its very container, and by what."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    called = {
        str(model["container_name"]): name
        for name, model in rendered.services.items()
        if model.get("container_name")
    }
    for name, model in rendered.services.items():
        for target, why in (*_tied_to(model), *_tied_by_name(model, called)):
            found[target].append((name, why))
    return found


def _tied_to(model: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for kind, other in joined(model):
        yield other, kind
    for source in model.get("volumes_from") or ():
        if not str(source).startswith("container:"):
            yield str(source).partition(":")[0], "volumes_from"
    for link in model.get("links") or ():
        yield str(link).partition(":")[0], "links"
    for target, condition in (model.get("depends_on") or {}).items():
        if condition.get("restart"):
            yield target, "depends_on.restart"


def _tied_by_name(model: Mapping[str, Any], called: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """The same by `container:NAME`, where the name is one that a service of this project fixes."""
    uses = [(kind, str(model.get(kind) or "")) for kind in NAMESPACES]
    uses += [("volumes_from", str(source)) for source in model.get("volumes_from") or ()]
    for kind, use in uses:
        name = use.removeprefix("container:").partition(":")[0]
        if use.startswith("container:") and name in called:
            yield called[name], kind


def reason(finding: Finding) -> str:
    """One line that says what changed, by path, and why it matters."""
    change = finding.change
    what = change.path or change.name
    if change.scope not in {"service", "project"}:
        what = f"{change.scope} {change.name}" + (f" {change.path}" if change.path else "")
    return f"{what}: {finding.rule.says}"


def _conditional(rendered: Rendered) -> list[str]:
    return [
        f"{path} is not in git: what it holds on the host decides too, so this verdict is conditional."
        for path in rendered.conditional
    ]


def _lowered(findings: Sequence[Finding]) -> list[str]:
    """What the config has us overlook although containers go stale by it: said once a rule."""
    stale: dict[str, list[str]] = defaultdict(list)
    for finding in findings:
        if finding.leaves_stale:
            stale[finding.rule.id] += finding.change.users or (finding.change.name,)
    return [
        f"The config lowers {rule} to none: what runs goes stale ({', '.join(dict.fromkeys(names))})."
        for rule, names in sorted(stale.items())
    ]


def _repositories(sides: Sides, findings: Sequence[Finding]) -> tuple[str, ...]:
    """Repositories of the submodules that hold what changed: code, mounted files, compose files."""
    read = sides.before.consulted | sides.after.consulted
    paths = [f.change.name for f in findings if f.change.scope in {"code", "file"} and f.impact != "none"]
    paths += [path for move in sides.submodules for path in move.files if path in read]
    found = (innermost(path, sides.submodules) for path in dict.fromkeys(paths))
    return tuple(sorted({move.repository for move in found if move is not None and move.repository}))


def _renames(sides: Sides) -> Iterable[str]:
    """A service gone and one come with the same image and much the same model is probably a rename."""
    come: dict[Any, list[str]] = defaultdict(list)
    for name, service in sides.after.services.items():
        if name not in sides.before.services and service.get("image"):
            come[service["image"]].append(name)
    for old, service in sides.before.services.items():
        if old in sides.after.services:
            continue
        # A few candidates will do: where fifty services share an image, a guess is worth nothing.
        for new in come[service.get("image")][:10]:
            if _alike(service, sides.after.services[new]) >= 0.75:
                yield f"{old} was probably renamed to {new}: same image and much the same fields."


def _alike(a: Mapping[str, Any], b: Mapping[str, Any]) -> float:
    keys = {*a, *b}
    return sum(a.get(key) == b.get(key) for key in keys) / len(keys) if keys else 1.0
