"""A strategy is plain Python: what is wanted and what runs go in, a plan comes out. No engine is needed."""

from datetime import UTC, datetime

import pytest
from shop_strategies import AtNight, Migrating

from dual_update.core.cluster import Container, Observed
from dual_update.core.decision import Sides, decide
from dual_update.core.diff import compare
from dual_update.core.model import Rendered
from dual_update.core.rules import judge
from dual_update.strategies import Situation


def situation(**more: object) -> Situation:
    def shop(web: str) -> Rendered:
        services = {"web": {"image": web, **more}, "db": {"image": "db:1"}}
        return Rendered("shop", services=services, files=("compose.yml",))

    before, after = shop("web:1"), shop("web:2")
    running = tuple(
        Container(one, f"shop-{one}-1", one, 1, "sha256:old", f"{one}:1", "running") for one in ("web", "db")
    )
    decision = decide(Sides("shop", before, after, "a" * 40, "b" * 40), judge(compare(before, after)))
    return Situation(decision, before, after, Observed("shop", running), "a" * 40)


@pytest.mark.parametrize(("hour", "is_quiet"), [(0, False), (1, True), (4, True), (5, False), (13, False)])
def test_only_at_night(hour: int, is_quiet: bool) -> None:
    at_night = AtNight(lambda: datetime(2026, 1, 1, hour, 30, tzinfo=UTC))
    assert at_night.should_update([]) == is_quiet


def test_the_migration_comes_right_before_the_first_replacement() -> None:
    steps = [f"{one.op} {one.target}" for one in Migrating().execute(situation()).steps]
    assert steps[steps.index("run migrate") + 1] == "roll web"


def test_it_comes_before_a_replacement_without_a_gap_too() -> None:
    start_first = {"update_config": {"order": "start-first"}}
    steps = [f"{one.op} {one.target}" for one in Migrating().execute(situation(deploy=start_first)).steps]
    assert steps[steps.index("run migrate") + 1] == "beside web"
