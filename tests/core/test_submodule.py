"""Names of the repositories that submodules come from."""

import pytest

from dual_update.core.submodule import SubmoduleMove, innermost, owner_and_name


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://github.com/acme/lib.git", "acme/lib"),
        ("https://github.com/acme/lib", "acme/lib"),
        ("https://github.com/acme/lib/", "acme/lib"),
        ("https://user:token@github.com/acme/lib.git", "acme/lib"),
        ("https://github.example:8443/acme/lib.git", "acme/lib"),
        ("ssh://git@github.com/acme/lib.git", "acme/lib"),
        ("ssh://git@github.com:22/acme/lib.git", "acme/lib"),
        ("git@github.com:acme/lib.git", "acme/lib"),
        ("github.com:acme/my.lib", "acme/my.lib"),
        ("../lib.git", "acme/lib"),
        ("./../lib", "acme/lib"),
        ("../../other/lib.git", "other/lib"),
        ("/srv/git/lib.git", ""),
        ("file:///srv/git/lib.git", ""),
        ("https://gitlab.example/group/deep/lib.git", ""),
        ("https://github.com/acme", ""),
        ("https://github.com/acme/lib<script>", ""),
        ("", ""),
    ],
)
@pytest.mark.parametrize("parent", ["https://github.com/acme/shop.git", "git@github.com:acme/shop.git"])
def test_owner_and_name(url: str, name: str, parent: str) -> None:
    assert owner_and_name(url, parent) == name


def test_a_relative_url_of_a_repository_without_a_remote_names_nothing() -> None:
    assert owner_and_name("../lib.git") == ""
    assert owner_and_name("../lib.git", "/srv/shop") == ""


def test_a_file_belongs_to_the_innermost_submodule() -> None:
    outer, inner = SubmoduleMove("a", None, None), SubmoduleMove("a/b", None, None)
    assert innermost("a/b/file", [outer, inner]) == inner
    assert innermost("a/file", [outer, inner]) == outer
    assert innermost("ab/file", [outer, inner]) is None
