"""Names of a container on its networks, as far as somebody asked for them."""

from dual_update.adapters.docker import _container


def facts(*aliases: str) -> dict:
    return {
        "Id": "0123456789abcdef" * 4,
        "Name": "/shop-web-1",
        "Image": "sha256:1",
        "State": {"Status": "running"},
        "Config": {"Labels": {"com.docker.compose.service": "web"}, "Image": "web:1"},
        "NetworkSettings": {"Networks": {"shop_default": {"Aliases": list(aliases)}}},
    }


def test_ids_are_no_names_neither_its_own_nor_one_that_watchtower_handed_on() -> None:
    found = _container(facts("web", "shop-web-1", "0123456789ab", "feedfacecafe", "cafe"), frozenset())
    assert found.aliases == {"shop_default": ("cafe", "shop-web-1", "web")}
