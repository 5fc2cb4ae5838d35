"""Workflow files read, and their expressions answered by GitHub's own evaluator."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from ruamel.yaml import YAML

from tests.conftest import missing

ROOT = Path(__file__).parents[2]
SYSTEM = ROOT / ".github/workflows/dual-update-system.yml"
HERE = Path(__file__).parent

_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)


def load(path: Path) -> dict[str, Any]:
    """A workflow as plain data. YAML 1.2, as GitHub reads it: `on` is a word."""
    return YAML(typ="safe", pure=True).load(path.read_text())


def workflow_files() -> list[Path]:
    """Every workflow of ours, the examples' included."""
    folders = [ROOT / ".github/workflows", *sorted(ROOT.glob("examples/**/.github/workflows"))]
    return [path for folder in folders for path in sorted(folder.glob("*.yml"))]


def expressions(thing: Any, key: str = "") -> Iterator[str]:
    """All expressions in a piece of a workflow: what stands in `${{ }}`, and conditions, which need none."""
    if isinstance(thing, Mapping):
        for name, value in thing.items():
            yield from expressions(value, str(name))
    elif isinstance(thing, list):
        for value in thing:
            yield from expressions(value)
    elif isinstance(thing, str):
        found = _EXPRESSION.findall(thing)
        yield from (one.strip() for one in found)
        if key == "if" and not found:
            yield thing.strip()


class Evaluator:
    """GitHub's evaluator in a process of its own (evaluate.mjs)."""

    def __init__(self) -> None:
        if shutil.which("node") is None or not (HERE / "node_modules/@actions/expressions").is_dir():
            missing("node or @actions/expressions is not here; run scripts/bootstrap --tests")
        self._process = subprocess.Popen(
            ["node", HERE / "evaluate.mjs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)

    def _ask(self, question: Mapping[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, f"{question['expression']}: {answer['error']}"
        return answer["value"]

    def value(self, expression: str, **contexts: Any) -> Any:
        return self._ask({"expression": expression, "contexts": contexts})

    def is_true(self, condition: str, status: Mapping[str, bool], **contexts: Any) -> bool:
        """What an `if:` says; one without a status function stands after `success() &&`."""
        bare = _EXPRESSION.fullmatch(condition.strip())
        words = bare.group(1) if bare else condition
        return self._ask({"expression": words, "contexts": contexts, "status": status, "condition": True})

    def filled(self, text: str, **contexts: Any) -> Any:
        """A value with its expressions answered: the bare value where nothing stands around it."""
        whole = _EXPRESSION.fullmatch(text)
        if whole:
            return self.value(whole.group(1), **contexts)
        return _EXPRESSION.sub(lambda found: str(self.value(found.group(1), **contexts) or ""), text)
