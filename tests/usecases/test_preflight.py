"""Checks whose faults no test can bring about on a shared engine: its versions, its disks, its host."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from dual_update.core.cluster import EngineInfo, Observed
from dual_update.core.config import Config
from dual_update.core.decision import Sides, decide
from dual_update.core.model import Rendered
from dual_update.core.situation import Situation
from dual_update.core.surroundings import Holder, Listener, Surroundings
from dual_update.usecases.preflight import CHECKS
from dual_update.usecases.scene import Scene, is_reference

GIB = 2**30


@dataclass
class Host:
    """A host that has what the test says: its engine's ports, its disks, its sockets."""

    ports: Mapping[str, str] = field(default_factory=dict)
    listeners: tuple[Listener, ...] = ()
    container: str = ""
    free: Mapping[str, int] = field(default_factory=dict)
    inodes: int | None = None
    here: frozenset[str] = frozenset({"/engine"})
    path: str = "/checkout"

    def networks(self) -> frozenset[str]:
        return frozenset()

    volumes = networks

    def used_ports(self) -> Mapping[str, str]:
        return self.ports

    def listening(self) -> tuple[Listener, ...]:
        return self.listeners

    def holder(self, _: Listener) -> Holder:
        return Holder(1, "nginx", self.container)

    def has_address(self, _: str) -> bool:
        return True

    def free_bytes(self, path: str) -> int:
        return self.free.get(path, GIB)

    def free_inodes(self, _: str) -> int | None:
        return self.inodes

    def exists(self, path: str) -> bool:
        return path in self.here

    def is_directory(self, _: str) -> bool:
        return False

    def is_writable(self, _: str) -> bool:
        return True

    def bring(self, _: str) -> tuple[str, ...]:
        return ()

    def tree(self, _: str) -> Any:
        return SimpleNamespace(list=lambda: ("compose.yml",), read=lambda _: None)


INFO = EngineInfo("id", "24.0.0", "1.43", "amd64", "/engine", "2.40.3")
AROUND = Surroundings(is_same_host=True, cpus=2, runtimes=frozenset({"runc"}))


def faults(
    host: Host | None = None,
    web: dict[str, Any] | None = None,
    info: EngineInfo = INFO,
    around: Surroundings = AROUND,
) -> list[str]:
    here = host or Host()
    after = Rendered("shop", {"web": {"image": "web:1", **(web or {})}}, files=("compose.yml",))
    decision = decide(Sides("shop", Rendered("shop"), after, None, "b" * 40), [])
    situation = Situation(decision, Rendered("shop"), after, Observed("shop"), None)
    site = SimpleNamespace(
        engine=here, disk=here, sockets=here, checkout=here, repository=here, config=Config(), shell=None
    )
    scene = Scene(site, situation, info, around, "/state")  # type: ignore[arg-type]
    return [sentence for check in CHECKS for sentence in check(scene)]


def test_a_host_that_has_everything_is_fine() -> None:
    assert faults() == []


@pytest.mark.parametrize("version", ["2.19.1", "1.29.2"])
def test_old_compose(version: str) -> None:
    (sentence,) = faults(info=replace(INFO, compose_version=version))
    assert sentence == f"The version of compose is {version}; at least 2.20 is needed."


def test_old_engine() -> None:
    (sentence,) = faults(info=replace(INFO, api_version="1.38"))
    assert "API is 1.38; at least 1.40" in sentence


def test_compose_that_does_not_say_its_version() -> None:
    (sentence,) = faults(info=replace(INFO, compose_version=""))
    assert "is not known" in sentence


def test_newer_major_versions_are_fine() -> None:
    assert faults(info=replace(INFO, compose_version="v5.0.0-rc.1", api_version="2.0")) == []


@pytest.mark.parametrize("path", ["/engine", "/checkout", "/state"])
def test_full_disk(path: str) -> None:
    (sentence,) = faults(Host(free={path: 3 * 2**20}))
    assert "Only 3.0 MiB are free" in sentence
    assert path in sentence


def test_no_inodes_left_on_any_disk() -> None:
    assert all("Only 7 more files (inodes)" in one for one in faults(Host(inodes=7)))
    assert len(faults(Host(inodes=7))) == 3


PORT = {"ports": [{"published": "8080", "target": 80, "protocol": "tcp"}]}


def test_the_engines_own_listener_for_another_container_is_told_as_the_container() -> None:
    host = Host({"0.0.0.0:8080/tcp": "c" * 64}, (Listener("0.0.0.0", 8080, "tcp"),))
    assert faults(host, PORT) == ["web: host port 8080/tcp is taken by container cccccccccccc."]


def test_a_program_on_one_address_takes_the_port_from_all() -> None:
    host = Host(listeners=(Listener("127.0.0.1", 8080, "tcp"),))
    assert faults(host, PORT) == ["web: host port 8080/tcp is taken by the program nginx (process 1)."]


@pytest.mark.parametrize("address", ["127.0.0.2", "192.0.2.1"])
def test_another_address_is_another_port(address: str) -> None:
    web = {"ports": [{"published": "8080", "target": 80, "protocol": "tcp", "host_ip": "127.0.0.1"}]}
    assert faults(Host(listeners=(Listener(address, 8080, "tcp"),)), web) == []


def test_udp_and_tcp_are_apart() -> None:
    assert faults(Host(listeners=(Listener("::", 8080, "udp"),)), PORT) == []


def test_a_range_with_one_free_port_is_fine() -> None:
    web = {"ports": [{"published": "8080-8081", "target": 80, "protocol": "tcp"}]}
    assert faults(Host(listeners=(Listener("::", 8080, "tcp"),)), web) == []
    two = {**web, "deploy": {"replicas": 2}}
    assert len(faults(Host(listeners=(Listener("::", 8080, "tcp"),)), two)) == 1


def test_an_engine_elsewhere_is_not_judged_by_this_host() -> None:
    elsewhere = replace(AROUND, is_same_host=False)
    web = {**PORT, "devices": [{"source": "/dev/nothing"}]}
    web["volumes"] = [{"type": "bind", "source": "/nowhere", "target": "/x"}]
    assert faults(Host(listeners=(Listener("::", 8080, "tcp"),)), web, around=elsewhere) == []


@pytest.mark.parametrize(
    ("text", "is_good"),
    [
        ("web", True),
        ("web:1.2-rc", True),
        ("registry.example:5000/team/web_app:1", True),
        ("[::1]:5000/web:1", True),
        (f"web@sha256:{'a' * 64}", True),
        (f"web:1@sha256:{'a' * 64}", True),
        ("Web", False),
        ("UPPER/Case:1", False),
        ("web:", False),
        ("web tag", False),
        ("", False),
    ],
)
def test_references(text: str, is_good: bool) -> None:
    assert is_reference(text) == is_good
