"""The service and GitHub: what waits is told, a word on the issue is heard, and the end is told too."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dual_update.adapters.github import Patience, PyGithubRepository
from tests.fake_github.server import FakeGitHub
from tests.integration.served import serving
from tests.integration.test_serve import compose, deployed, runs_new
from tests.integration.world import Images, World, eventually

NAME = "its-DeFine/shop"
QUICK = Patience(pause_seconds=0.01, between_reads_seconds=0, between_writes_seconds=0, reads=1)


@pytest.fixture
def github(tmp_path: Path) -> Iterator[FakeGitHub]:
    with FakeGitHub(tmp_path / "github") as server:
        server.repository(NAME)
        yield server


def test_a_word_on_the_issue_applies_and_the_end_is_told(
    world: World, images: Images, github: FakeGitHub
) -> None:
    cluster = deployed(world, images)
    before = cluster.container("web").image_id
    cluster.commit({"compose.yml": compose(images, "web:2")}, "two")
    environment = {
        "GITHUB_TOKEN": "a-token",
        "GITHUB_REPOSITORY": NAME,
        "GITHUB_API_URL": github.url,
    }
    repository = github.repository(NAME)
    member = PyGithubRepository(github.url, NAME, "a-token", patience=QUICK)
    with serving(cluster, cluster.directory.parent / "state", environment) as served:
        eventually(served.quiet, within_seconds=40)
        pending = served.get("/api/plan")["pending"]
        assert pending["gate"]["answer"] == "wait"
        issues = member.find_issues("<!-- dual-update issue", "dual-update")
        assert [one.is_open for one in issues] == [True]
        assert pending["issue_url"] == issues[0].url
        word = f"/dual-update apply {pending['fingerprint']}"
        assert word in issues[0].body

        written = len(github.written())
        served.check()
        assert len(github.written()) == written, "the same is not said twice"

        member.comment(issues[0].number, f"/dual-update apply {'0' * 64}", "of something else")
        served.check()
        assert not runs_new(cluster, before)

        member.comment(issues[0].number, word, "")
        served.check()
        eventually(lambda: runs_new(cluster, before), within_seconds=40)
        eventually(
            lambda: not member.find_issues("<!-- dual-update issue", "dual-update")[0].is_open,
            within_seconds=40,
            what="the issue is closed",
        )
        assert repository is not None
