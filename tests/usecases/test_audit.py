"""What the auditor sees in one look, beyond what the tests of lies show it on a real engine."""

from types import SimpleNamespace
from typing import Any

from dual_update.core.cluster import Container, Observed
from dual_update.core.model import Rendered
from dual_update.core.shape import shape_of
from dual_update.usecases.audit import Expectation, compare

MODEL = Rendered(
    "shop", services={"vpn": {"image": "v"}, "web": {"image": "w", "network_mode": "service:vpn"}}
)


def container(service: str, at: str) -> Container:
    image = service[0]
    return Container(service, f"shop-{service}-1", service, 1, image, image, "running", started_at=at)


def complaints(vpn_at: str, web_at: str, **more: Any) -> list[str]:
    observed = Observed("shop", (container("vpn", vpn_at), container("web", web_at)))
    engine = SimpleNamespace(observe=lambda _: observed, details=lambda _: None)
    site: Any = SimpleNamespace(engine=engine)
    shapes = {"web": shape_of(MODEL, "web", "/srv/shop")}
    return [
        str(one) for one in compare(site, Expectation("shop", {"vpn": 1, "web": 1}, shapes=shapes, **more))
    ]


def test_who_lives_in_namespaces_that_are_gone_is_told() -> None:
    first, then = "2026-01-01T00:00:00.12Z", "2026-01-01T00:00:00.123456789Z"
    assert complaints(first, then) == []
    assert complaints(then, first) == [
        "shop-web-1 lives in namespaces that shop-vpn-1 had before its last start."
    ]
    assert complaints(then, first, as_before={"vpn": then, "web": first}) == []  # so it was, and is no worse
