"""What `.dockerignore` leaves out of a build context, by the documented examples and by habit."""

import pytest

from dual_update.adapters.ignore import sent_to_build


class Tree:
    """A commit that holds just these files."""

    commit = "c"

    def __init__(self, files: dict[str, str]) -> None:
        self._files = files

    def read(self, path: str) -> bytes | None:
        return self._files[path].encode() if path in self._files else None

    def list(self) -> list[str]:
        return list(self._files)

    def real(self, path: str) -> str:
        return path

    def links(self, path: str) -> tuple[str, ...]:
        return ()


@pytest.mark.parametrize(
    ("before", "after", "is_sent"),
    [
        ("*\n!src\n", "# said\n\n*\n  !src\n", False),
        ("*\n!src\n", "*\n!lib\n", True),
        ("src\n", "# said\nsrc\n", True),  # it goes into the image itself
    ],
)
def test_a_comment_in_an_ignore_file_that_is_left_out_changes_nothing(
    before: str, after: str, is_sent: bool
) -> None:
    old, new = Tree({".dockerignore": before}), Tree({".dockerignore": after})
    assert bool(sent_to_build(new, "", "Dockerfile", [".dockerignore"], old)) == is_sent


@pytest.mark.parametrize(
    ("ignore", "path", "is_sent"),
    [
        ("*.md", "README.md", False),
        ("*.md", "docs/README.md", True),
        ("**/*.md", "docs/deep/README.md", False),
        ("**/*.md", "README.md", False),
        ("*.md\n!README.md", "README.md", True),
        ("!README.md\n*.md", "README.md", False),
        ("docs", "docs/a/b", False),
        ("/docs/", "docs/a", False),
        ("./docs", "docs/a", False),
        ("docs", "other/docs/a", True),
        ("**/node_modules", "a/b/node_modules/c/d.js", False),
        ("node_modules/**", "node_modules/c/d.js", False),
        ("*/temp*", "somedir/temporary.txt", False),
        ("*/temp*", "a/b/temporary.txt", True),
        ("temp?", "tempa", False),
        ("temp?", "temp/a", True),
        ("[ab].txt", "a.txt", False),
        ("[^ab].txt", "a.txt", True),
        ("[broken", "broken", True),
        (r"\*star", "*star", False),
        ("# *\n", "app", True),
        ("  *.log  ", "x.log", False),
        ("*\n!src", "src/app.py", True),
        ("*\n!src", "app.py", False),
        (".", "app.py", True),
        ("", "app.py", True),
        ("*", ".dockerignore", True),
        ("*", "Dockerfile", True),
    ],
)
@pytest.mark.parametrize("context", ["", "ctx"])
def test_what_is_sent(ignore: str, path: str, context: str, is_sent: bool) -> None:
    prefix = f"{context}/" if context else ""
    tree = Tree({f"{prefix}.dockerignore": ignore})
    sent = sent_to_build(tree, context, f"{prefix}Dockerfile", [prefix + path])
    assert sent == ((prefix + path,) if is_sent else ())


def test_the_ignore_file_of_the_dockerfile_wins() -> None:
    tree = Tree({".dockerignore": "a", "deploy/D.dockerignore": "b"})
    assert sent_to_build(tree, "", "deploy/D", ["a", "b"]) == ("a",)


def test_only_what_lies_in_the_context_or_is_its_dockerfile_is_sent() -> None:
    assert sent_to_build(Tree({}), "ctx", "D", ["ctx2/a", "D", "ctx/a", "b"]) == ("D", "ctx/a")
