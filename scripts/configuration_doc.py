#!/usr/bin/env python3
"""Writes docs/configuration.md from the shipped schemas. A test says when to run it again."""

import json
from pathlib import Path
from typing import Any

from dual_update.adapters.config import CONFIG_SCHEMA, MULTI_CLUSTER_SCHEMA, schema

TARGET = Path(__file__).parent.parent / "docs" / "configuration.md"

HEAD = """\
# Configuration

<!-- Written by scripts/configuration_doc.py from src/dual_update/schemas. Edit those. -->

Everything works without a config file. What a repository wants otherwise stands in
`.github/dual-update.yml`. A host reads it from the commit that is deployed, so a change of it is reviewed
like any other; the action reads it from the deploy branch, never from a pull request.

```yaml
deploy_branch: main
rules:
  service.depends-on: none
health:
  settle_seconds: 5
  services:
    database: {deadline_seconds: 300}
  checks:
    - {name: shop answers, service: web, url: "http://localhost:8082/health"}
    - {name: database listens, service: database, tcp: "localhost:5432"}
```

`dual-update config check [FILE]...` says what is wrong, with file, line, the path in the file and a
suggestion for a misspelt key (exit code 2); `dual-update config show` shows every value that holds.
Anchors, aliases and files above 256 kB are refused, because config files may come from strangers.
"""


def rows(found: dict[str, Any], root: dict[str, Any], prefix: str = "") -> list[str]:
    """One line for each key, those inside after the key that holds them."""
    lines = []
    for key, one in found.get("properties", {}).items():
        merged = {**resolved(one, root), **{k: v for k, v in one.items() if k != "$ref"}}
        default = merged.get("default")
        shown = "" if default is None else f"`{json.dumps(default)}`".replace('"', "")
        must = " **Must be given.**" if key in found.get("required", ()) else ""
        lines.append(
            f"| `{prefix}{key}` | {kind(merged, root)} | {shown} | {merged.get('description', '')}{must} |"
        )
        inner = resolved(merged.get("items", {}), root) if merged.get("type") == "array" else merged
        below = f"{prefix}{key}[]." if merged.get("type") == "array" else f"{prefix}{key}."
        lines += rows(inner, root, below)
        if isinstance(merged.get("additionalProperties"), dict):
            lines += rows(merged["additionalProperties"], root, f"{prefix}{key}.NAME.")
    return lines


def resolved(one: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in one:
        return one
    name = one["$ref"].rpartition("/")[2]
    target: dict[str, Any] = {**schema(CONFIG_SCHEMA)["$defs"], **root["$defs"]}[name]
    return target


def kind(one: dict[str, Any], root: dict[str, Any]) -> str:
    if "enum" in one:
        return ", ".join(f"`{value}`" for value in one["enum"])
    names = {"object": "keys", "string": "text", "integer": "whole number", "boolean": "`true` or `false`"}
    if one.get("type") == "array":
        return f"list of {kind(resolved(one['items'], root), root)}"
    if one.get("type") in {"integer", "number"} and "maximum" in one:
        least = one.get("minimum", f"above {one.get('exclusiveMinimum')}")
        return f"{names.get(one['type'], 'number')}, {least} to {one['maximum']}"
    return names.get(one.get("type", ""), one.get("type", ""))


def document() -> str:
    """The whole page."""
    parts = [HEAD]
    for name, title in (
        (CONFIG_SCHEMA, ".github/dual-update.yml"),
        (MULTI_CLUSTER_SCHEMA, "multi-cluster.yml"),
    ):
        root = schema(name)
        parts.append(
            f"## {title}\n\n{root['description']}\n\n| key | value | default | meaning |\n|---|---|---|---|"
        )
        parts.append("\n".join(rows(root, root)) + "\n")
    parts.append(
        f"Schemas: `src/dual_update/schemas/{CONFIG_SCHEMA}` and `{MULTI_CLUSTER_SCHEMA}` (draft 2020-12).\n"
    )
    return "\n".join(parts)


if __name__ == "__main__":
    TARGET.write_text(document(), encoding="utf-8")
