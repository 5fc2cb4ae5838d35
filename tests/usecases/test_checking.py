"""A check's judgement: who has agreed to what, asked of GitHub only where that could matter."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from dual_update.adapters.github import Patience, PyGithubRepository
from dual_update.adapters.store import SqliteStore
from dual_update.core.config import Config
from dual_update.core.decision import Decision
from dual_update.usecases import checking
from dual_update.usecases.checking import Checked, Surroundings
from dual_update.usecases.looking import Look
from tests.fake_github.repository import Repository
from tests.fake_github.server import FakeGitHub
from tests.usecases.service_world import CLUSTER, looked
from tests.usecases.two_repositories import PATH, two

NAME = "its-DeFine/shop"
QUICK = Patience(pause_seconds=0.01, between_reads_seconds=0, between_writes_seconds=0, reads=1, tries=1)
DRIVEN = Config(driver="service")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeGitHub]:
    with FakeGitHub(tmp_path / "github") as github:
        github.repository(NAME)
        yield github


@pytest.fixture
def repo(server: FakeGitHub) -> Repository:
    return server.repository(NAME)


class Desk:
    """Judges looks with the real rules, the real memory and the fake GitHub."""

    def __init__(self, server: FakeGitHub, folder: Path) -> None:
        self.forge = PyGithubRepository(server.url, NAME, "a-token", patience=QUICK)
        self.store = SqliteStore(folder)
        self.has_forge = True

    def judge(
        self, look: Look, config: Config = DRIVEN, *, auto: bool = False, earlier: Checked | None = None
    ) -> Checked:
        site: Any = SimpleNamespace(cluster=CLUSTER, config=config)
        forge = self.forge if self.has_forge else None
        around = Surroundings(self.store.notes, forge, ZoneInfo, NOON, auto)
        return checking.judge(site, look, around, earlier)


@pytest.fixture
def desk(server: FakeGitHub, tmp_path: Path) -> Desk:
    return Desk(server, tmp_path / "state")


def structural(repo: Repository, *, is_reviewed: bool) -> Look:
    """A structural update to a commit that came by an approved pull request, or straight to the branch."""
    base = repo.commit_of("main")
    assert base
    if is_reviewed:
        repo.put("feature", {"compose.yml": "two\n"})
    else:
        repo.put("main", {"compose.yml": "two\n"})
    head = repo.commit_of("feature" if is_reviewed else "main")
    assert head
    decision = replace(looked(head).decision, base=base, update_type="structural", strategy="revamp")
    return looked(head, decision=decision, strategy="revamp")


def test_images_wait_for_the_switch(desk: Desk) -> None:
    assert desk.judge(looked()).permission.answer == "wait"
    assert desk.judge(looked(), auto=True).permission.may_apply


def test_structure_waits_where_nobody_reviewed_it(desk: Desk, repo: Repository) -> None:
    found = desk.judge(structural(repo, is_reviewed=False), auto=True)
    assert found.permission.answer == "wait"
    assert "without a pull request" in found.permission.why
    assert found.issue_url


def test_structure_goes_where_it_came_by_a_merged_pull_request(desk: Desk, repo: Repository) -> None:
    look = structural(repo, is_reviewed=True)
    pull = desk.forge.open_pull("<!-- x -->", "Two", "text", "feature", "main")
    repo.reviews[pull.number] = [_approval(repo, pull.head_commit)]
    merge = desk.forge.merge(pull.number, pull.head_commit)
    merged: Decision = replace(look.decision, head=merge)
    assert desk.judge(replace(look, decision=merged, commit=merge)).permission.may_apply


def _approval(repo: Repository, commit: str) -> Any:
    return repo.made(
        "pull-request-review",
        user=repo.user("grace"),
        state="APPROVED",
        commit_id=commit,
        author_association="MEMBER",
        submitted_at=repo.now(),
    )


def test_without_a_token_structure_waits_for_a_person(desk: Desk, repo: Repository) -> None:
    desk.has_forge = False
    found = desk.judge(structural(repo, is_reviewed=False))
    assert found.permission.answer == "wait"
    assert "GITHUB_TOKEN" in found.permission.why
    assert desk.judge(looked(), auto=True).permission.may_apply


def test_github_is_asked_only_where_its_word_could_matter(desk: Desk, server: FakeGitHub) -> None:
    earlier = desk.judge(looked())
    asked = len(server.requests)
    for config, look in (
        (Config(driver="runner"), looked()),
        (DRIVEN, looked(quarantined="It crashed.")),
        (DRIVEN, looked(has_plan=False, is_news=False)),
    ):
        kept = replace(earlier, look=look)
        assert not desk.judge(look, config, auto=True, earlier=kept).permission.may_apply
    assert len(server.requests) == asked


def test_the_same_is_told_once_and_a_failed_word_again(desk: Desk, server: FakeGitHub) -> None:
    first = desk.judge(looked())
    written = len(server.written())
    second = desk.judge(looked(), earlier=first)
    assert len(server.written()) == written
    assert second.issue_url == first.issue_url
    unheard = replace(first, warnings=("GitHub was not told.",))
    desk.judge(looked(), earlier=unheard)
    assert len(server.written()) == written, "it was there already"


def test_a_github_that_is_away_is_a_warning(desk: Desk) -> None:
    desk.forge = PyGithubRepository("http://127.0.0.1:1", NAME, "a-token", patience=QUICK)
    found = desk.judge(looked(), auto=True)
    assert found.permission.may_apply
    assert found.warnings
    assert "a-token" not in str(found.warnings)


def test_windows(desk: Desk) -> None:
    night = replace(DRIVEN, windows=("daily 23:00-24:00",))
    found = desk.judge(looked(), night, auto=True)
    assert found.permission.answer == "wait"
    assert found.opens_at == NOON.replace(hour=23)
    assert desk.judge(looked(), night).opens_at is None, "it waits for a person, not for the window"
    day = replace(DRIVEN, windows=("daily 11:00-13:00",))
    assert desk.judge(looked(), day, auto=True).permission.may_apply


def test_a_pause_is_seen(desk: Desk) -> None:
    desk.store.notes.pause(CLUSTER, "a freeze", "Ada")
    assert desk.judge(looked(), auto=True).permission.why == "Paused: a freeze"


def test_submodules_that_moved_on_are_offered(tmp_path: Path) -> None:
    with FakeGitHub(tmp_path / "two") as server:
        both = two(server)
        newest = both.app.put("main", {"a": "1"})
        tip = both.parent.branch_commit("main")
        assert tip

        def opened(name: str) -> Any:
            return both.child if name == both.child.repository else None

        assert checking.offer_upstream(both.parent, opened, tip, "main") == ()
        assert [one["title"] for one in both.shop.pulls.values()] == [f"Move {PATH} to {newest[:12]}"]
        assert checking.offer_upstream(both.parent, lambda _: None, tip, "main") == ()
    away = PyGithubRepository("http://127.0.0.1:1", NAME, "a-token", patience=QUICK)
    assert checking.offer_upstream(away, opened, tip, "main"), "GitHub is away: a warning"
