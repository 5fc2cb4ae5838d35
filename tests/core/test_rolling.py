"""`deploy.update_config` as it is read, and when containers may stand side by side."""

import pytest

from dual_update.core.cluster import Container
from dual_update.core.model import Rendered
from dual_update.core.rolling import (
    Rolling,
    is_rolled_in_batches,
    notes,
    rolling_back,
    rolling_of,
    why_not_beside,
)

RUNNING = tuple(
    Container(str(n), f"shop-web-{n}", "web", n, "sha256:1", "web:1", "running") for n in range(1, 4)
)


def rendered(update: dict | None = None, **more: object) -> Rendered:
    deploy = {"replicas": 3, **({"update_config": update} if update is not None else {})}
    return Rendered("shop", services={"web": {"image": "web:1", "deploy": deploy, **more}})


def test_what_the_file_says_is_read() -> None:
    settings = {"order": "start-first", "parallelism": 2, "delay": "1m", "monitor": "5s",
                "failure_action": "pause"}  # fmt: skip
    assert rolling_of(rendered(settings).services["web"]) == Rolling(True, 2, 60.0, 5.0, "pause")
    assert rolling_of({}) == Rolling(False, 1, 0.0, 0.0, "rollback")


@pytest.mark.parametrize(
    "model",
    [
        {"ports": [{"published": "80", "target": 80}]},
        {"container_name": "web"},
        {"network_mode": "host"},
        {"network_mode": "service:vpn"},
        {"network_mode": "container:vpn-1"},
        {"networks": {"default": {"ipv4_address": "10.0.0.2"}}},
        {"mac_address": "02:42:ac:11:00:02"},
        {"volumes": [{"type": "volume", "target": "/nameless"}]},
    ],
)
def test_what_two_containers_cannot_share(model: dict) -> None:
    assert why_not_beside("web", rendered(**model), RUNNING)
    assert not why_not_beside("web", rendered(), RUNNING)


def test_replicas_go_one_after_another_unless_all_at_once_is_asked() -> None:
    assert is_rolled_in_batches("web", rendered(), RUNNING)
    assert is_rolled_in_batches("web", rendered({"parallelism": 2}), RUNNING)
    assert not is_rolled_in_batches("web", rendered({"parallelism": 0}), RUNNING)
    assert not is_rolled_in_batches("web", rendered(), RUNNING[:1])


def test_a_service_whose_container_is_shared_is_left_to_compose() -> None:
    model = rendered()
    shared = Rendered("shop", services={**model.services, "side": {"network_mode": "service:web"}})
    assert not is_rolled_in_batches("web", shared, RUNNING)


def going_back(back: dict | None, **more: object) -> Rendered:
    return rendered(**{"deploy": {"rollback_config": back} if back else {}, **more})


def test_a_rollback_goes_by_its_own_settings() -> None:
    back = going_back({"order": "start-first", "parallelism": 2, "delay": "1s", "monitor": "2s"})
    assert rolling_back("web", back, RUNNING, 4) == Rolling(True, 2, 1.0, 2.0)
    assert rolling_back("web", going_back({"parallelism": 1}), RUNNING, 2) == Rolling()


@pytest.mark.parametrize(
    ("back", "more", "count"),
    [
        (None, {}, 3),
        ({"parallelism": 0}, {}, 3),  # all at once is what happens anyway
        ({"parallelism": 3}, {}, 3),
        ({"order": "start-first"}, {"container_name": "web"}, 1),
        ({"order": "start-first"}, {"network_mode": "service:vpn"}, 1),
        ({"parallelism": 1, "delay": "2m"}, {}, 4),  # six minutes of waiting
        ({"parallelism": 1, "monitor": "2m"}, {}, 3),
    ],
)
def test_what_returns_at_once(back: dict | None, more: dict, count: int) -> None:
    assert rolling_back("web", going_back(back, **more), RUNNING, count) is None


def test_the_plan_says_what_is_taken_otherwise() -> None:
    said = notes("web", rendered({"failure_action": "pause"}), RUNNING)
    assert said == ["web: failure_action pause is taken as rollback; nothing is left between old and new."]
    assert "max_failure_ratio" in notes("web", rendered({"max_failure_ratio": 0.5}), RUNNING)[0]
    asked = rendered({"order": "start-first"}, container_name="web")
    assert "stopped first. It has a fixed name" in notes("web", asked, RUNNING)[0]
