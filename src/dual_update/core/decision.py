"""Folds Findings into one Decision: what kind of update this is, and what each service needs."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dual_update.core.model import Rendered, image_of, is_built
from dual_update.core.rules import WEIGHT, Action, Finding

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
    `hints` are worth saying and change nothing.
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

    @property
    def needs_update(self) -> bool:
        return self.update_type != "none"

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
    return Decision(
        cluster=sides.cluster,
        base=sides.base,
        head=sides.head,
        update_type=update_type,
        strategy={"none": "none", "image_only": "watchtower"}.get(update_type, "revamp"),
        fingerprint=fingerprint(sides.cluster, sides.head, sides.after),
        services=services,
        findings=tuple(findings),
        warnings=(*sides.warnings, *_conditional(sides.after)),
        needs_person=tuple(dict.fromkeys(
            f"{f.change.scope} {f.change.name}: {f.rule.says}" for f in findings if f.rule.needs_person
        )),
        hints=tuple(_renames(sides)),
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
        users = (finding.change.name,) if finding.change.scope == "service" else finding.change.users
        for user in users:
            grouped[user].append(finding)
    return grouped


def _service(name: str, sides: Sides, findings: Sequence[Finding]) -> ServiceDecision:
    before, after = _image(sides.before, name), _image(sides.after, name)
    own = [f for f in findings if f.change.scope == "service" and f.impact != "none"]
    code = any(f.rule.id == "code.context" and f.impact == "image" for f in findings)
    return ServiceDecision(
        verdict=_verdict(name, sides, own, has_code=code),
        action=_action(name, sides, findings),
        image_before=before,
        image_after=after,
        reasons=tuple(dict.fromkeys(reason(f) for f in findings)),
    )


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
    if heaviest == "roll" and is_built(sides.after.services[name]):
        return "rebuild"  # a new tag for a built image: there is nothing to pull
    return heaviest


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


def _renames(sides: Sides) -> Iterable[str]:
    """A service gone and one come with the same image and much the same model is probably a rename."""
    gone = [n for n in sides.before.services if n not in sides.after.services]
    come = [n for n in sides.after.services if n not in sides.before.services]
    for old in gone:
        for new in come:
            a, b = sides.before.services[old], sides.after.services[new]
            if a.get("image") and a.get("image") == b.get("image") and _alike(a, b) >= 0.75:
                yield f"{old} was probably renamed to {new}: same image and much the same fields."


def _alike(a: Mapping[str, Any], b: Mapping[str, Any]) -> float:
    keys = {*a, *b}
    return sum(a.get(key) == b.get(key) for key in keys) / len(keys) if keys else 1.0
