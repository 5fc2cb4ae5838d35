"""What Dockerfiles start from, and whose images these are."""

import pytest

from dual_update.core.dockerfile import images_used, starts_from
from dual_update.core.model import Rendered


@pytest.mark.parametrize(
    ("text", "used"),
    [
        ("FROM app", {"app"}),
        ("# FROM other\n  from --platform=$BUILDPLATFORM app:1 AS one\nFROM one\nFROM One as two", {"app:1"}),
        ("FROM scratch\nCOPY --chown=1:1 --from=tools:2 /a /b\nCOPY --from=0 /a /b", {"tools:2"}),
        ("FROM a\nRUN --mount=type=bind,from=tools,source=/x \\\n  # why\n  true", {"a", "tools"}),
        ("ARG BASE=app\nARG TAG\nFROM $BASE:${TAG:-9}", {"app:9"}),
        ("ARG BASE='other'\r\nFROM ${BASE}-x:${TAG}\r\n", {"other-x:3"}),
        ("", set()),
    ],
)
def test_images_are_those_that_are_no_stages(text: str, used: set[str]) -> None:
    assert images_used(text, {"TAG": "3"} if "other" in text and "ARG" in text else {}) == used


def test_what_a_stranger_multiplies_is_bounded() -> None:
    text = "ARG A=" + "a" * 10_000 + "\nFROM " + "$A" * 10_000
    assert max(map(len, images_used(text, {}))) <= 200_000


def test_an_image_is_known_by_all_its_names() -> None:
    recipes = {"base": "FROM debian", "a": "FROM shop-base", "b": "FROM tool:1", "c": "FROM debian"}
    services = {
        name: {"build": {"context": "/src", "dockerfile_inline": text}} for name, text in recipes.items()
    }
    services["base"]["build"]["tags"] = ["docker.io/library/tool:1"]
    services["d"] = {"image": "shop-base"}
    found = starts_from(Rendered("shop", services), lambda one: str(one["build"]["dockerfile_inline"]))
    assert found == {"a": ("base",), "b": ("base",)}
