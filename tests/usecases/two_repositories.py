"""A parent and its submodule on the fake GitHub, each with a token that sees nothing of the other."""

from dataclasses import dataclass

from dual_update.adapters.github import PyGithubRepository
from dual_update.usecases.submodules import Submodule
from tests.fake_github.fixtures import QUICK
from tests.fake_github.repository import Repository
from tests.fake_github.server import FakeGitHub, Token

PARENT, CHILD, PATH = "its-DeFine/shop", "its-DeFine/app", "services/app"
GITMODULES = '[submodule "app"]\n\tpath = services/app\n\turl = ../app.git\n'


@dataclass
class Two:
    server: FakeGitHub
    parent: PyGithubRepository
    child: PyGithubRepository

    @property
    def submodules(self) -> list[Submodule]:
        return [Submodule(PATH, self.child)]

    @property
    def shop(self) -> Repository:
        return self.server.repository(PARENT)

    @property
    def app(self) -> Repository:
        return self.server.repository(CHILD)

    def point(self, branch: str, to: str) -> str:
        """One more commit in the parent that moves the pointer."""
        tip = self.shop.commit_of(branch) or self.shop.commit_of("main")
        assert tip
        tree = self.parent.moved_pointer(tip, PATH, to)
        commit = self.parent.make_commit(tree, "point", tip)
        self.shop.git("update-ref", f"refs/heads/{branch}", commit)
        return commit

    def approve(self, name: str, number: int) -> None:
        self.server.tokens["reviewer"] = Token("its-DeFine")
        reviewer = PyGithubRepository(self.server.url, name, "reviewer", patience=QUICK)
        reviewer._send("POST", f"/pulls/{number}/reviews", {"event": "APPROVE"})


def two(server: FakeGitHub) -> Two:
    server.tokens = {
        "of-parent": Token(repositories=frozenset({PARENT})),
        "of-child": Token(repositories=frozenset({CHILD})),
    }
    shop, app = server.repository(PARENT), server.repository(CHILD)
    made = Two(
        server,
        PyGithubRepository(server.url, PARENT, "of-parent", patience=QUICK),
        PyGithubRepository(server.url, CHILD, "of-child", patience=QUICK),
    )
    shop.put("main", {".gitmodules": GITMODULES})
    tip = app.commit_of("main")
    assert tip
    made.point("main", tip)
    return made
