"""What a container must look like by its model, and each way in which one does not."""

from dataclasses import replace

import pytest

from dual_update.core.cluster import Container, Details
from dual_update.core.model import Rendered
from dual_update.core.shape import Link, MountedFile, misfits, shape_of

MODEL = Rendered(
    "shop",
    services={
        "web": {
            "image": "web:1",
            "environment": {"A": "b", "PRICE": "5$$", "HOST": None},
            "networks": {"default": {"aliases": ["front"]}},
            "ports": [{"published": "8080", "target": 80, "protocol": "tcp"}, {"target": 81}],
            "volumes": [
                {"type": "volume", "source": "store", "target": "/store"},
                {"type": "volume", "target": "/nameless"},
                {"type": "bind", "source": "/src/conf", "target": "/conf"},
            ],
            "configs": [{"source": "hello", "target": "/etc/hello"}],
            "secrets": [{"source": "key"}],
            "depends_on": {"db": {"condition": "service_started"}, "job": {}, "none": {}},
        },
        "db": {"image": "db:1", "networks": {"default": None}, "expose": ["5432", "53/udp"]},
        "job": {"image": "job:1", "networks": {"other": None}},
        "none": {"image": "none:1", "networks": {"default": None}, "deploy": {"replicas": 0}},
    },
    networks={"default": {"name": "shop_default"}, "other": {"name": "shop_other"}},
    volumes={"store": {"name": "shop_store"}},
    configs={"hello": {"content": "costs 5$$"}},
    secrets={"key": {"file": "/src/key"}},
)
SHAPE = shape_of(MODEL, "web", "/srv/shop")
WELL = Container(
    "id", "shop-web-1", "web", 1, "sha256:1", "web:1", "running",
    host_ports=("0.0.0.0:8080/tcp",),
    aliases={"shop_default": ("front", "shop-web-1", "web")},
    mounts={"/store": "shop_store", "/nameless": "f" * 64, "/conf": "/srv/shop/conf"},
)  # fmt: skip
DETAILS = Details(environment={"A": "b", "PRICE": "5$", "PATH": "/bin"})


def test_a_container_that_was_made_from_its_model_fits() -> None:
    assert misfits(WELL, DETAILS, SHAPE) == []


def test_files_and_links_are_laid_out_where_the_container_and_the_host_have_them() -> None:
    assert SHAPE.files == (
        MountedFile("/etc/hello", "config hello", b"costs 5$", is_made_by_compose=True),
        MountedFile("/run/secrets/key", "secret key", host_path="/srv/shop/key"),
        MountedFile("/conf", "file conf", host_path="/srv/shop/conf"),
    )
    assert SHAPE.links == (Link("db", (5432,)),)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"image_ref": "web:0"}, "was made from web:0"),
        ({"aliases": {"shop_default": ("web",)}}, "lost its name front"),
        ({"aliases": {}}, "is not on the network shop_default"),
        ({"aliases": {**WELL.aliases, "bridge": ()}}, "is on the network bridge"),
        ({"mounts": {**WELL.mounts, "/store": "other"}}, "something else than the wanted source at /store"),
        ({"mounts": {k: v for k, v in WELL.mounts.items() if k != "/conf"}}, "mounts nothing at /conf"),
        ({"host_ports": ()}, "does not publish port 8080/tcp"),
        ({"name": "shop-web-1-old"}, "does not have the name"),
    ],
)  # fmt: skip
def test_each_misfit_is_said(change: dict, says: str) -> None:
    found = misfits(replace(WELL, **change), DETAILS, SHAPE)
    assert len(found) == 1
    assert says in found[0]


def test_a_stale_variable_is_said_without_its_value() -> None:
    found = misfits(WELL, Details(environment={"A": "stale-secret", "PRICE": "5$"}), SHAPE)
    assert found == ["shop-web-1 has other values than wanted in its environment: A."]


def test_an_engine_in_a_virtual_machine_shows_host_paths_below_a_prefix() -> None:
    inside = replace(WELL, mounts={**WELL.mounts, "/conf": "/host_mnt/srv/shop/conf"})
    assert misfits(inside, DETAILS, SHAPE) == []
