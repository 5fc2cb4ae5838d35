#!/usr/bin/env python3
"""Writes docs/rules.md from the catalogue of rules. A test says when to run it again."""

from pathlib import Path

from dual_update.core.rules import ACTIONS, RULES, Rule

TARGET = Path(__file__).parent.parent / "docs" / "rules.md"

HEAD = """\
# Rules

<!-- Written by scripts/rules_doc.py from src/dual_update/core/rules.py. Edit that. -->

`dual-update detect` judges each change by the first rule that matches it. The rule says what the \
change means for the update (its impact) and the least that services need because of it (its \
action). What no rule knows counts as structural.

| impact | meaning |
|---|---|
| image | other content under the same model; alone it makes the update `image_only` |
| structural | a change of the model; alone it makes the update `structural`, beside an image `mixed` |
| none | told, and nothing is done |

| action | what a service gets |
|---|---|
"""

BETWEEN = """\

A service that several rules reach gets the heaviest of their actions. A service that is tied to \
another one's container (`network_mode`, `ipc` or `pid: service:X`, `volumes_from`, `links`, \
`depends_on` with `restart: true`) is recreated when that container is replaced. A service that does \
not run, for want of its profile, is left alone; so is one that a person runs all the same.

## The catalogue

Fields are regular expressions over the path of the change; an empty one means that the whole thing \
came or went.

| rule | what changed | op | impact | action | why | source |
|---|---|---|---|---|---|---|
"""

TAIL = """\

## Raise or lower a rule

```yaml
# .github/dual-update.yml
rules:
  service.depends-on: none     # a new start order alone is no update
  service.image: structural    # every new image is a full revamp
```

Lowering a rule whose action is more than `record` leaves containers as they were made. That is \
obeyed, and each report that it touches carries a warning. What asks for a person keeps asking. An \
id that is not in the catalogue is refused.
"""


def row(rule: Rule) -> str:
    """One line of the catalogue."""
    field = f"`{rule.field.replace('|', chr(92) + '|')}`" if rule.field else "(whole)"
    says = rule.says + (" **A person must agree.**" if rule.needs_person else "")
    return (
        f"| `{rule.id}` | {rule.scope} {field} | {', '.join(rule.ops)} | {rule.impact} | {rule.action} "
        f"| {says} | {rule.source} |\n"
    )


def page() -> str:
    """The whole document."""
    actions = "".join(f"| {name} | {meaning} |\n" for name, meaning in ACTIONS.items())
    return HEAD + actions + BETWEEN + "".join(map(row, RULES)) + TAIL


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
