"""Judgement as a catalogue: each rule has an id, a sentence, an impact, an action and its source.

`docs/rules.md` is generated from this table. Users raise or lower a rule by its id in the config.
The first rule that matches a Change judges it; the last one of a scope matches everything, because
ignorance is never light.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from dual_update.core.diff import Change, Op, Scope
from dual_update.core.errors import UsageError

Impact = Literal["none", "image", "structural"]
Action = Literal["none", "record", "scale", "poke", "roll", "recreate", "rebuild", "create", "remove"]

WEIGHT: Mapping[Action, int] = {
    "none": 0,
    "record": 1,
    "scale": 2,
    "poke": 3,
    "roll": 4,
    "recreate": 5,
    "rebuild": 6,
    "create": 7,
    "remove": 8,
}
"""Actions from least to most: of several that a service needs, the heaviest is done."""

ACTIONS: Mapping[Action, str] = {
    "none": "nothing",
    "record": "nothing; the new definition is written down as deployed",
    "scale": "more or fewer containers; those that stay are not touched",
    "poke": "Watchtower is asked to take the new content of an unchanged tag",
    "roll": "the new image is pulled and the container replaced",
    "recreate": "a new container of the same image",
    "rebuild": "the image is built (pulled, where a build elsewhere pushes it), then the container replaced",
    "create": "its first containers",
    "remove": "its containers are stopped and removed; volumes stay",
}

COMPOSE = "measured with compose 2.40.3"
HASH = "docker/compose pkg/compose/hash.go"


@dataclass(frozen=True)
class Rule:
    """One line of the catalogue.

    `field` is a regular expression over the change's path. `action` is what its users need.
    `needs_person` marks what can lose data: never applied without a person's word.
    """

    id: str
    scope: Scope
    field: str
    ops: tuple[Op, ...]
    impact: Impact
    action: Action
    says: str
    source: str
    needs_person: bool = False


@dataclass(frozen=True)
class Finding:
    """A Change and the rule that judged it. `leaves_stale`: the config overlooks what containers need."""

    change: Change
    rule: Rule
    leaves_stale: bool = False

    @property
    def impact(self) -> Impact:
        return self.rule.impact


_ANY: tuple[Op, ...] = ("add", "change", "remove")

RULES: tuple[Rule, ...] = (
    Rule("project.name", "project", r"name", _ANY, "structural", "recreate",
         "The project's name changed: a second cluster beside the first, with volumes of its own.", COMPOSE,
         needs_person=True),
    Rule("service.added", "service", r"", ("add",), "structural", "create",
         "A service was added.", COMPOSE),
    Rule("service.removed", "service", r"", ("remove",), "structural", "remove",
         "A service was removed; compose leaves its containers running unless told otherwise.", COMPOSE),
    Rule("service.image", "service", r"image", ("change",), "image", "roll",
         "The image reference changed.", HASH),
    Rule("service.image-source", "service", r"image|build", ("add", "remove"), "structural", "rebuild",
         "The image comes from somewhere else: built here before or now.", HASH),
    Rule("service.build", "service", r"build\b.*", _ANY, "structural", "rebuild",
         "How the image is built changed; compose does not look.", HASH),
    Rule("service.replicas", "service", r"scale|deploy\.replicas", _ANY, "structural", "scale",
         "The number of containers changed; those that run stay.", HASH),
    Rule("service.depends-on", "service", r"depends_on\b.*", _ANY, "structural", "record",
         "The start order changed; running containers are not touched.", HASH),
    Rule("service.pull-policy", "service", r"pull_policy", _ANY, "structural", "record",
         "When images are pulled changed; running containers are not touched.", HASH),
    Rule("service.profiles", "service", r"profiles\b.*", _ANY, "structural", "record",
         "The profiles of the service changed.", COMPOSE),
    Rule("registry.moved", "service", r"image\.digest", ("change",), "image", "poke",
         "The registry has new content under an unchanged reference.", "OCI distribution specification"),
    Rule("service.field", "service", r".*", _ANY, "structural", "recreate",
         "A field of the service changed that its containers are made from.", HASH),
    Rule("network.added", "network", r"", ("add",), "structural", "record",
         "A network was added; the services that join it say so themselves.", COMPOSE),
    Rule("network.removed", "network", r"", ("remove",), "structural", "record",
         "A network is no longer used.", COMPOSE),
    Rule("network.definition", "network", r".*", _ANY, "structural", "recreate",
         "A network's definition changed: it is made anew, and its users lose their DNS name.", COMPOSE),
    Rule("volume.added", "volume", r"", ("add",), "structural", "record",
         "A volume was added.", COMPOSE),
    Rule("volume.removed", "volume", r"", ("remove",), "structural", "record",
         "A volume is no longer used; it and its data stay on the host.", COMPOSE),
    Rule("volume.name", "volume", r"name|external", _ANY, "structural", "recreate",
         "A volume gives way to another one, which may be empty; the old one stays on the host.", COMPOSE,
         needs_person=True),
    Rule("volume.definition", "volume", r".*", _ANY, "structural", "record",
         "A volume's definition changed: compose either ignores that or destroys the data.", COMPOSE,
         needs_person=True),
    Rule("config.definition", "config", r".*", _ANY, "structural", "recreate",
         "A config changed; compose would leave the stale one in the container.", COMPOSE),
    Rule("secret.definition", "secret", r".*", _ANY, "structural", "recreate",
         "A secret changed; compose would leave the stale one in the container.", COMPOSE),
    Rule("model.definition", "model", r".*", _ANY, "structural", "recreate",
         "A model's definition changed; compose's JSON does not show it.", COMPOSE),
    Rule("file.content", "file", r".*", _ANY, "structural", "recreate",
         "A file that a container mounts changed; compose does not look into it.", COMPOSE),
    Rule("code.context", "code", r".*", _ANY, "image", "rebuild",
         "Code that the image is built from changed.", COMPOSE),
    Rule("submodule.pointer", "submodule", r".*", _ANY, "none", "none",
         "A submodule moved; what that changes is judged file by file.", "git"),
)  # fmt: skip


def judge(changes: Iterable[Change], overrides: Mapping[str, Impact] | None = None) -> tuple[Finding, ...]:
    """Find the rule for each Change. `overrides` maps rule ids to another impact.

    A lowered rule is obeyed, and each Finding that leaves a container stale by it says so. Raises
    UsageError for an id that is not in the catalogue.
    """
    overrides = overrides or {}
    check_overrides(overrides)
    return tuple(_finding(change, rule_for(change), overrides) for change in changes)


def check_overrides(overrides: Mapping[str, Impact]) -> None:
    """Every id is one of the catalogue. Raises UsageError with the nearest one."""
    known = [rule.id for rule in RULES]
    for name in overrides:
        if name not in known:
            from difflib import get_close_matches  # noqa: PLC0415  only an error needs it

            near = get_close_matches(name, known, n=1)
            raise UsageError(
                f"There is no rule {name!r}.",
                hint=f"Did you mean {near[0]}?" if near else f"The rules are: {', '.join(known)}.",
            )


def rule_for(change: Change) -> Rule:
    """The first rule of the catalogue that matches; a Change no rule knows counts as structural."""
    for rule in RULES:
        if (
            rule.scope == change.scope
            and change.op in rule.ops
            and re.fullmatch(rule.field, change.path, re.S)
        ):
            return rule
    return Rule(
        "unknown", change.scope, ".*", _ANY, "structural", "recreate", "Not known to the rules.", "caution"
    )


def _finding(change: Change, rule: Rule, overrides: Mapping[str, Impact]) -> Finding:
    impact = overrides.get(rule.id, rule.impact)
    if impact == rule.impact:
        return Finding(change, rule)
    if impact == "none":
        return Finding(
            change,
            replace(rule, impact=impact, action="record"),
            leaves_stale=WEIGHT[rule.action] > WEIGHT["record"],
        )
    action: Action = "record" if rule.action == "none" else rule.action
    return Finding(change, replace(rule, impact=impact, action=action))
