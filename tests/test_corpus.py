"""82 pairs of compose files with the class that each must get, both ways round."""

import json
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from dual_update.core.decision import Decision
from dual_update.core.report import report
from tests.repositories import Checkout, tree_of

CORPUS = Path(__file__).parent / "corpus" / "compose-pairs"
PAIRS: list[dict[str, Any]] = json.loads((CORPUS / "manifest.json").read_text())
for one in PAIRS:
    one["services"] = one["services"] or {"web": "image_only"}  # 088 leaves it to its update type
NAMES = [one["pair"] for one in PAIRS]
MIRRORED = {"added": "removed", "removed": "added"}


@pytest.fixture(scope="module")
def decisions(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Decision]:
    """Each pair forward and back. All in one repository: setting one up for each would take longest."""
    repository = Checkout(tmp_path_factory.mktemp("corpus") / "project")
    trees = [tree_of(CORPUS / one["pair"] / side) for one in PAIRS for side in ("before", "after")]
    commits = repository.commits(*trees)
    asked: dict[tuple[str, str], tuple[str, str]] = {}
    for number, name in enumerate(NAMES):
        before, after = commits[2 * number : 2 * number + 2]
        asked[name, "forward"] = (before, after)
        asked[name, "back"] = (after, before)
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda revisions: repository.detect(*revisions).decision, asked.values())
        return dict(zip(asked, found, strict=True))


@pytest.mark.parametrize("pair", PAIRS, ids=NAMES)
def test_a_pair_gets_its_class(pair: dict[str, Any], decisions: dict[tuple[str, str], Decision]) -> None:
    decision = decisions[pair["pair"], "forward"]
    assert decision.update_type == pair["update_type"], pair["note"]
    assert {name: one.verdict for name, one in decision.services.items()} == pair["services"], pair["note"]


@pytest.mark.parametrize("pair", PAIRS, ids=NAMES)
def test_the_way_back_is_of_the_same_class(
    pair: dict[str, Any], decisions: dict[tuple[str, str], Decision]
) -> None:
    decision = decisions[pair["pair"], "back"]
    assert decision.update_type == pair["update_type"], pair["note"]
    expected = {name: MIRRORED.get(verdict, verdict) for name, verdict in pair["services"].items()}
    assert {name: one.verdict for name, one in decision.services.items()} == expected, pair["note"]


@pytest.mark.parametrize("way", ["forward", "back"])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_done_exactly_where_nothing_differs(
    name: str, way: str, decisions: dict[tuple[str, str], Decision]
) -> None:
    decision = decisions[name, way]
    is_same = decision.update_type == "none"
    assert is_same == (not decision.findings)
    if is_same:
        assert {one.action for one in decision.services.values()} <= {"none"}
    else:
        assert {one.action for one in decision.services.values()} - {"none"}, "a change reaches no service"


def test_every_report_fits_the_shipped_schema(decisions: dict[tuple[str, str], Decision]) -> None:
    schema = json.loads(files("dual_update").joinpath("schemas/report.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    for decision in decisions.values():
        validator.validate(json.loads(json.dumps(report(decision))))
