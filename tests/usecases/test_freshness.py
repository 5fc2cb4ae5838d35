"""Who may be left to Watchtower, of services whose image has moved in the registry."""

from types import SimpleNamespace
from typing import Any

import pytest

from dual_update.core.cluster import Container, Details, Observed
from dual_update.core.config import Config
from dual_update.core.model import Rendered
from dual_update.core.watchtower import WatchtowerPolicy
from dual_update.usecases.freshness import why_rolled

KEEPS = {"image": "shop/app:1", "volumes": [{"type": "volume", "target": "/data"}]}
MODEL = Rendered("shop", services={"web": {"image": "shop/app:1"}, "worker": KEEPS, "db": {"image": "db:1"}})


def rolled(policy: WatchtowerPolicy, *services: str) -> set[str]:
    running = [
        Container(name, f"shop-{name}-1", name, 1, "sha256:1", model["image"], "running")
        for name, model in MODEL.services.items()
    ]
    site: Any = SimpleNamespace(
        config=Config(),
        watchtower=SimpleNamespace(policy=lambda: policy),
        engine=SimpleNamespace(details=lambda _: Details()),
    )
    return {*why_rolled(site, MODEL, Observed("shop", tuple(running)), services)}


@pytest.mark.parametrize("moved", [("web", "worker", "db"), ("web", "db")])
def test_what_shares_its_image_with_one_that_must_not_be_poked_is_rolled(moved: tuple[str, ...]) -> None:
    """Watchtowers before 1.20 are asked by image alone, and would empty the worker's nameless volume."""
    assert "web" in rolled(WatchtowerPolicy(), *moved)
    assert "web" not in rolled(WatchtowerPolicy(is_known=True), *moved)
    assert "db" not in rolled(WatchtowerPolicy(), *moved)
