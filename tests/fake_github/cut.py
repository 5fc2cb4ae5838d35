"""Cuts the part of GitHub's own OpenAPI document that the fake speaks.

    npm pack @octokit/openapi && tar xzf octokit-openapi-*.tgz
    python tests/fake_github/cut.py package

writes `github.openapi.json` and `github.openapi.LICENSE` beside this file. Only what decides whether a
request or an answer is right is kept: descriptions, examples and vendor notes are left out, and of a
reference all that it leads to is taken along. To let the fake answer one more operation, add it to
OPERATIONS and cut again.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CUT = HERE / "github.openapi.json"
REPO = "/repos/{owner}/{repo}"

OPERATIONS: Mapping[str, tuple[str, ...]] = {
    REPO: ("get",),
    f"{REPO}/branches/{{branch}}": ("get",),
    f"{REPO}/branches/{{branch}}/protection": ("get",),
    f"{REPO}/commits/{{commit_sha}}/branches-where-head": ("get",),
    f"{REPO}/commits/{{commit_sha}}/pulls": ("get",),
    f"{REPO}/commits/{{ref}}/status": ("get",),
    f"{REPO}/compare/{{basehead}}": ("get",),
    f"{REPO}/contents/{{path}}": ("get", "put"),
    f"{REPO}/deployments": ("get", "post"),
    f"{REPO}/deployments/{{deployment_id}}": ("get",),
    f"{REPO}/deployments/{{deployment_id}}/statuses": ("get", "post"),
    f"{REPO}/dispatches": ("post",),
    f"{REPO}/actions/workflows/{{workflow_id}}/dispatches": ("post",),
    f"{REPO}/environments/{{environment_name}}": ("get",),
    f"{REPO}/git/blobs": ("post",),
    f"{REPO}/git/commits": ("post",),
    f"{REPO}/git/commits/{{commit_sha}}": ("get",),
    f"{REPO}/git/matching-refs/{{ref}}": ("get",),
    f"{REPO}/git/ref/{{ref}}": ("get",),
    f"{REPO}/git/refs": ("post",),
    f"{REPO}/git/refs/{{ref}}": ("patch", "delete"),
    f"{REPO}/git/trees": ("post",),
    f"{REPO}/git/trees/{{tree_sha}}": ("get",),
    f"{REPO}/issues": ("get", "post"),
    f"{REPO}/issues/{{issue_number}}": ("get", "patch"),
    f"{REPO}/issues/{{issue_number}}/comments": ("get", "post"),
    f"{REPO}/issues/comments/{{comment_id}}": ("get", "patch", "delete"),
    f"{REPO}/issues/{{issue_number}}/labels": ("get", "post"),
    f"{REPO}/labels": ("get", "post"),
    f"{REPO}/labels/{{name}}": ("get",),
    f"{REPO}/merges": ("post",),
    f"{REPO}/pulls": ("get", "post"),
    f"{REPO}/pulls/{{pull_number}}": ("get", "patch"),
    f"{REPO}/pulls/{{pull_number}}/files": ("get",),
    f"{REPO}/pulls/{{pull_number}}/merge": ("get", "put"),
    f"{REPO}/pulls/{{pull_number}}/reviews": ("get", "post"),
    f"{REPO}/rules/branches/{{branch}}": ("get",),
    f"{REPO}/statuses/{{sha}}": ("post",),
}

NOISE = frozenset(
    {"description", "example", "examples", "summary", "externalDocs", "tags", "title", "operationId"}
)
NAMES = frozenset({"properties", "responses", "headers", "parameters", "schemas", "patternProperties"})
LITERAL = frozenset({"enum", "required", "default", "mapping"})


def cut(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the OPERATIONS alone and all that they refer to."""
    paths = {}
    for path, methods in OPERATIONS.items():
        kept = {method: bare(document["paths"][path][method]) for method in methods}
        paths[path] = kept
    components: dict[str, dict[str, Any]] = {}
    waiting = list(references(paths))
    while waiting:
        _, _, kind, name = waiting.pop().split("/")
        if name in components.setdefault(kind, {}):
            continue
        components[kind].update(bare({name: document["components"][kind][name]}, kind))
        waiting += references(components[kind][name])
    return {
        "openapi": document["openapi"],
        "info": {
            "title": "A cut of GitHub's REST API",
            "version": document["info"]["version"],
            "license": {"name": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": dict(sorted(paths.items())),
        "components": {kind: dict(sorted(some.items())) for kind, some in sorted(components.items())},
    }  # fmt: skip


def bare(node: Any, under: str = "") -> Any:
    """The node without words for readers and vendor extensions; `under` is the key that it stands under."""
    if isinstance(node, list):
        return [bare(one) for one in node]
    if not isinstance(node, dict):
        return node
    if under in NAMES:  # keys are names here: a property may well be called `description`
        kept = {name: bare(value) for name, value in node.items()}
        if under == "responses":  # the one word that OpenAPI wants of every response
            kept = {code: one if "$ref" in one else {"description": "", **one} for code, one in kept.items()}
        return kept
    kept = {
        key: value if key in LITERAL else bare(value, key)
        for key, value in node.items()
        if key not in NOISE and not key.startswith("x-")
    }
    if kept.get("nullable") and "enum" in kept and None not in kept["enum"]:
        kept["enum"] = [*kept["enum"], None]  # OpenAPI 3.0.3 wants it said twice; GitHub says it once
    return kept


def references(node: Any) -> Iterator[str]:
    """Every `#/components/...` that a node leads to."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def main(package: Path) -> None:
    document = json.loads((package / "generated" / "api.github.com.json").read_text("utf-8"))
    text = json.dumps(cut(document), indent=None, separators=(",", ":"), ensure_ascii=False)
    CUT.write_text(text + "\n", "utf-8")
    CUT.with_suffix(".LICENSE").write_text((package / "LICENSE").read_text("utf-8"), "utf-8")
    print(f"{CUT.name}: {len(OPERATIONS)} paths, {CUT.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
