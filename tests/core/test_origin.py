"""Where the image of a service comes from that has both `build` and `image`."""

from typing import Any

import pytest

from dual_update.core.model import Rendered
from dual_update.core.origin import (
    builders,
    could_name_commit,
    is_built_elsewhere,
    is_built_here,
    is_pulled,
    names_commit,
    origin,
)

BUILD = {"context": "/src/web"}


@pytest.mark.parametrize(
    ("model", "is_elsewhere", "words"),
    [
        ({"image": "registry.example/o/app:1", "build": BUILD}, True, "a registry's host"),
        ({"image": "localhost:5000/app", "build": BUILD}, True, "a registry's host"),
        ({"image": "127.0.0.1:5000/app", "build": BUILD}, True, "a registry's host"),
        ({"image": "localhost/app", "build": BUILD}, True, "a registry's host"),
        ({"image": "registry.example/app", "build": BUILD, "pull_policy": "missing"}, True, "host"),
        ({"image": "registry.example/app", "build": BUILD, "pull_policy": "build"}, False, "is build"),
        ({"image": "registry.example/app", "build": BUILD, "pull_policy": "never"}, False, "is never"),
        ({"image": "myorg/app", "build": BUILD}, False, "no registry's host"),
        ({"image": "myorg/app", "build": BUILD, "pull_policy": "missing"}, False, "no registry's host"),
        ({"image": "myorg/app", "build": BUILD, "pull_policy": "if_not_present"}, False, "no registry's"),
        ({"image": "myorg/app", "build": BUILD, "pull_policy": "always"}, True, "pull_policy is always"),
        ({"image": "myorg/app", "build": BUILD, "pull_policy": "daily"}, True, "pull_policy is daily"),
        ({"image": "myorg/app", "build": BUILD, "pull_policy": "every_12h"}, True, "is every_12h"),
        ({"image": "shop-web", "build": BUILD}, False, "no registry's host"),
        ({"build": BUILD, "pull_policy": "always"}, False, ""),
    ],
)
def test_what_can_be_built_is_built_here_or_pulled(
    model: dict[str, Any], is_elsewhere: bool, words: str
) -> None:
    assert (is_built_elsewhere(model), is_built_here(model)) == (is_elsewhere, not is_elsewhere)
    assert words in origin(model)
    assert bool(origin(model)) == ("image" in model)
    assert ("comes from the registry" in origin(model)) == is_elsewhere


def test_what_cannot_be_built_is_neither_and_leaves_no_doubt() -> None:
    model = {"image": "registry.example/app"}
    assert not is_built_here(model)
    assert not is_built_elsewhere(model)
    assert origin(model) == ""


def test_who_makes_the_image_that_others_run_too() -> None:
    shared = {"image": "registry.example/app:1"}
    services = {
        "api": {**shared, "build": BUILD},
        "job": {**shared, "build": BUILD},
        "worker": shared,
        "web": {"image": "web", "build": BUILD},
    }
    rendered = Rendered("shop", services)
    assert builders(rendered, "registry.example/app:1") == ("api", "job")
    assert builders(rendered, "web") == ()


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("label", "is_id", "is_it"),
    [
        (COMMIT, True, True),
        (COMMIT[:7], True, True),
        (COMMIT[:6], False, False),
        ("f" * 40, True, False),
        ("refs/heads/main", False, False),
        ("main", False, False),
        (f"{COMMIT}-dirty", False, False),
        ("", False, False),
    ],
)
def test_a_revision_is_a_commit_by_its_id(label: str, is_id: bool, is_it: bool) -> None:
    assert (could_name_commit(label), names_commit(label, COMMIT)) == (is_id, is_it)


def test_an_image_that_another_service_builds_here_is_not_pulled() -> None:
    services = {
        "api": {"image": "o/app", "build": BUILD},
        "worker": {"image": "o/app"},
        "web": {"image": "registry.example/web", "build": BUILD},
        "db": {"image": "db:1"},
        "asleep": {"image": "db:1", "build": BUILD, "profiles": ["debug"]},
    }
    rendered = Rendered("shop", services)
    assert {name for name in services if is_pulled(rendered, name)} == {"web", "db"}
