"""What is said on GitHub: once, true, harmless, and closed when it no longer matters."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from dual_update.adapters.github import PyGithubRepository
from dual_update.core.decision import Decision, ServiceDecision, Sides, decide
from dual_update.core.diff import compare
from dual_update.core.errors import DualUpdateError
from dual_update.core.model import Rendered
from dual_update.core.rules import judge
from dual_update.usecases.announce import (
    LONGEST_BODY,
    Announced,
    announce,
    announce_on_pull,
    body_of,
    close_done,
    issue_marker,
    offer_pull,
    quietly,
    title_of,
)
from tests.fake_github import faults
from tests.fake_github.faults import Fault
from tests.fake_github.fixtures import NAME, QUICK
from tests.fake_github.repository import Repository
from tests.fake_github.server import FakeGitHub, Token


def decision(
    before: Mapping[str, Any], after: Mapping[str, Any], cluster: str = "shop", head: str = "b" * 40
) -> Decision:
    old, new = Rendered("shop", dict(before)), Rendered("shop", dict(after))
    sides = Sides(cluster, old, new, base="a" * 40, head=head)
    return decide(sides, judge(compare(old, new)))


WEB = {"web": {"image": "web:1"}}
NEW_TAG = decision(WEB, {"web": {"image": "web:2"}})


@pytest.mark.parametrize(
    ("after", "title"),
    [
        ({"web": {"image": "web:2"}}, "shop: roll web"),
        ({**WEB, "db": {"image": "db:1"}}, "shop: create db"),
        ({}, "shop: remove web"),
        ({"web": {"image": "web:1", "ports": [{"target": 80}]}}, "shop: recreate web"),
        ({"web": {"image": "web:2"}, "db": {"image": "db:1"}}, "shop: create db, roll web"),
    ],
)
def test_each_row_of_the_matrix_opens_an_issue_whose_title_says_what_changes(
    github: PyGithubRepository, repo: Repository, after: Mapping[str, Any], title: str
) -> None:
    issue = announce(decision(WEB, after), github).issue
    assert issue is not None
    assert issue.title == title
    assert repo.issues[1]["labels"][0]["name"] == "dual-update"


def test_nothing_to_do_opens_nothing(github: PyGithubRepository, repo: Repository) -> None:
    assert announce(decision(WEB, WEB), github) == Announced(None)
    assert repo.issues == {}


def test_the_same_again_writes_nothing(server: FakeGitHub, github: PyGithubRepository) -> None:
    first = announce(NEW_TAG, github, "Apply it by hand.")
    before = len(server.written())
    assert announce(NEW_TAG, github, "Apply it by hand.") == first
    assert len(server.written()) == before


def test_a_newer_commit_supersedes_and_a_revert_closes(github: PyGithubRepository, repo: Repository) -> None:
    announce(NEW_TAG, github)
    announce(decision(WEB, WEB, cluster="other"), github)
    newer = announce(decision(WEB, {"web": {"image": "web:3"}}, head="c" * 40), github)
    assert newer.closed == (1,)
    assert (repo.issues[1]["state"], repo.issues[1]["state_reason"]) == ("closed", "not_planned")
    assert "Superseded by #2" in next(iter(repo.comments.values()))["body"]
    assert announce(decision(WEB, WEB, head="d" * 40), github).closed == (2,)
    assert "No longer needed" in list(repo.comments.values())[-1]["body"]
    back = announce(NEW_TAG, github).issue
    assert back is not None
    assert (back.number, back.is_open) == (1, True)
    assert [one["state"] for one in repo.issues.values()] == ["open", "closed"]


def test_clusters_do_not_touch_each_others_issues(github: PyGithubRepository, repo: Repository) -> None:
    for cluster in ("shop", "shop-eu", "shop 2", "shop --> x"):
        announce(replace(NEW_TAG, cluster=cluster), github)
    assert [one["state"] for one in repo.issues.values()] == ["open"] * 4
    assert announce(decision(WEB, WEB), github).closed == (1,)


def test_an_issue_that_a_person_closed_stays_closed(github: PyGithubRepository, repo: Repository) -> None:
    announce(NEW_TAG, github)
    github.edit_issue(1, is_open=False)
    announce(NEW_TAG, github)
    assert [one["state"] for one in repo.issues.values()] == ["closed"]


def test_done_is_said_and_closed_as_completed(github: PyGithubRepository, repo: Repository) -> None:
    announce(NEW_TAG, github)
    assert close_done(NEW_TAG, github, "Deployed by run r1.") == (1,)
    assert close_done(NEW_TAG, github, "Deployed by run r1.") == ()
    assert repo.issues[1]["state_reason"] == "completed"
    assert len(repo.comments) == 1


def test_a_pull_request_has_one_comment_which_follows(github: PyGithubRepository, repo: Repository) -> None:
    repo.put("update/one", {"x": "y"})
    github.open_pull("<!-- x -->", "One", "text", "update/one", "main")
    first = announce_on_pull(NEW_TAG, github, 1)
    assert announce_on_pull(decision(WEB, WEB, head="c" * 40), github, 1) == first
    assert [one["body"].count("Nothing to do") for one in repo.comments.values()] == [1]


NEW_SERVICE = decision(WEB, {**WEB, "db": {"image": "db:1"}})


def test_structural_changes_get_one_pull_request_which_follows(
    server: FakeGitHub, github: PyGithubRepository, repo: Repository
) -> None:
    repo.put("feature", {"x": "y"})
    issue = announce(NEW_SERVICE, github).issue
    server.faults.add(faults.bad_gateway(method="POST", path="/pulls$", after=True))
    pull = offer_pull(NEW_SERVICE, github, "feature", "main", issue)
    assert pull is not None
    assert pull.title == "shop: create db"
    assert "Issue: #1" in pull.body
    assert offer_pull(NEW_SERVICE, github, "feature", "main", issue) == pull
    both = decision(WEB, {"web": {"image": "web:2"}, "db": {"image": "db:1"}}, head="c" * 40)
    changed = offer_pull(both, github, "feature", "main", issue)
    assert changed is not None
    assert (changed.number, changed.title) == (pull.number, "shop: create db, roll web")
    assert offer_pull(NEW_TAG, github, "feature", "main", issue) is None
    assert [one["state"] for one in repo.pulls.values()] == ["closed"]
    assert [one["body"].count("No longer needed") for one in repo.comments.values()] == [1]


def test_images_alone_get_no_pull_request(github: PyGithubRepository, repo: Repository) -> None:
    repo.put("feature", {"x": "y"})
    assert offer_pull(NEW_TAG, github, "feature", "main") is None
    assert repo.pulls == {}


def test_a_pull_request_in_a_persons_words_is_left_so(github: PyGithubRepository, repo: Repository) -> None:
    repo.put("feature", {"x": "y"})
    theirs = github.open_pull("My words.", "Mine", "", "feature", "main")
    assert offer_pull(NEW_SERVICE, github, "feature", "main") == theirs


def test_a_repository_that_lets_actions_open_nothing_says_which_setting(
    github: PyGithubRepository, repo: Repository
) -> None:
    repo.put("feature", {"x": "y"})
    repo.may_create_pulls = False
    with pytest.raises(DualUpdateError, match="Settings, Actions, General"):
        offer_pull(NEW_SERVICE, github, "feature", "main")


def test_a_strangers_issue_with_our_marker_is_left_alone(
    server: FakeGitHub, github: PyGithubRepository, repo: Repository
) -> None:
    server.tokens["theirs"] = Token("mallory")
    stranger = PyGithubRepository(server.url, NAME, "theirs", patience=QUICK)
    theirs = announce(NEW_TAG, stranger).issue
    ours = announce(NEW_TAG, github).issue
    assert theirs is not None
    assert ours is not None
    assert ours.number != theirs.number
    assert repo.issues[theirs.number]["state"] == "open"


FAULTS: list[Callable[..., Fault]] = [
    faults.bad_gateway,
    faults.lost,
    faults.web_page,
    faults.forbidden,
    faults.rate_limited,
    faults.secondary_limit,
    faults.unauthorized,
    faults.moved,
]


def test_twenty_retries_through_every_fault_leave_exactly_one_issue(
    server: FakeGitHub, github: PyGithubRepository, repo: Repository
) -> None:
    """Whatever fails, before the write or after it: the next try finds what is there."""
    for number in range(20):
        make = FAULTS[number % len(FAULTS)]
        after = number // len(FAULTS) % 2 == 0
        server.faults.waiting.clear()
        server.faults.add(make(method="POST|PATCH", times=3, after=after))
        quietly(lambda: announce(NEW_TAG, github), lambda _: None)
    server.faults.waiting.clear()
    announce(NEW_TAG, github)
    assert [one["state"] for one in repo.issues.values()] == ["open"]
    assert repo.issues[1]["body"].startswith(issue_marker(NEW_TAG))


def test_a_list_that_lags_hides_nothing_for_long(
    server: FakeGitHub, github: PyGithubRepository, repo: Repository
) -> None:
    """The issue was made, its answer lost, and the next two lists do not show it yet."""
    repo.lag = 2
    server.faults.add(faults.bad_gateway(method="POST", path="/issues$", after=True))
    announce(NEW_TAG, github)
    assert [one["state"] for one in repo.issues.values()] == ["open"]


def test_a_list_that_lags_longer_than_anyone_waits_leaves_a_twin_for_one_run_only(
    server: FakeGitHub, github: PyGithubRepository, repo: Repository
) -> None:
    repo.lag = 12
    server.faults.add(faults.bad_gateway(method="POST", path="/issues$", after=True))
    announce(NEW_TAG, github)
    assert len(repo.issues) == 2
    repo.young.clear()
    announce(NEW_TAG, github)
    assert sorted(one["state"] for one in repo.issues.values()) == ["closed", "open"]


class Killed(BaseException):
    """The process ends here."""


class Mortal(PyGithubRepository):
    """Dies when `left` requests have been answered."""

    left = 0

    def _send(self, *what: Any) -> Any:
        answer = super()._send(*what)
        self.left -= 1
        if self.left < 0:
            raise Killed
        return answer


def test_killed_after_any_request_the_next_run_ends_with_one_open_issue(
    server: FakeGitHub, github: PyGithubRepository
) -> None:
    mortal = Mortal(server.url, NAME, "a-token", patience=QUICK)
    newer = decision(WEB, {"web": {"image": "web:3"}}, head="c" * 40)
    deaths = 0
    while True:  # one repository a death
        name = f"its-DeFine/shop-{deaths}"
        repo = server.repository(name)
        for one in (github, mortal):
            one._name = name
        announce(NEW_TAG, github)
        mortal.left = deaths
        try:
            announce(newer, mortal)
        except Killed:
            deaths += 1
        else:
            break
        announce(newer, github)
        assert [one["state"] for one in repo.issues.values()] == ["closed", "open"]
        assert len(repo.comments) == 1
    assert deaths >= 6


def test_two_runs_at_once_end_with_one_open_issue(
    server: FakeGitHub, github: PyGithubRepository, repo: Repository
) -> None:
    others = [PyGithubRepository(server.url, NAME, "a-token", patience=QUICK) for _ in range(4)]
    threads = [threading.Thread(target=announce, args=(NEW_TAG, other)) for other in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    announce(NEW_TAG, github)
    assert [one["state"] for one in repo.issues.values()].count("open") == 1


def test_a_notification_never_decides(server: FakeGitHub, github: PyGithubRepository) -> None:
    server.faults.add(faults.forbidden(times=99))
    told: list[str] = []
    quietly(lambda: announce(NEW_TAG, github), told.append)
    assert len(told) == 1
    assert "permissions: issues: read" in told[0]
    assert "\n" not in told[0]
    with pytest.raises(DualUpdateError):
        announce(NEW_TAG, github)


EVIL = "@everyone --> <img src=x> | [x](https://evil.example) ```\n::error::boo\r\n<!-- dual-update"


def test_nothing_that_a_file_holds_breaks_out(github: PyGithubRepository, repo: Repository) -> None:
    evil = replace(
        NEW_TAG,
        cluster=EVIL,
        services={EVIL: ServiceDecision("image_only", "roll", "a", EVIL, (EVIL,))},
        warnings=(EVIL,),
        hints=(EVIL,),
        needs_person=(EVIL,),
    )
    announce(evil, github)
    body, title = repo.issues[1]["body"], repo.issues[1]["title"]
    assert body.count("<!--") == body.count("-->") == 1
    assert body.index("-->") < body.index("\n")
    for text in (body, title):
        assert "@everyone" not in text
        assert "\n::error" not in text
    assert "\n" not in title
    assert "<img" not in body
    assert "](https" not in body
    assert "```" not in body
    announce(evil, github)
    assert len(repo.issues) == 1


def test_hidden_values_are_in_neither_title_nor_text() -> None:
    secret = replace(
        NEW_TAG,
        services={"web-hunter22": ServiceDecision("image_only", "roll", "web:1", "r/hunter22/web:2")},
        hidden=frozenset({"hunter22"}),
    )
    assert "hunter22" not in title_of(secret) + body_of(secret)


def test_five_thousand_services_and_a_long_footer_fit(github: PyGithubRepository, repo: Repository) -> None:
    many = decision({}, {f"service-{number:04}": {"image": "i:1"} for number in range(5000)})
    issue = announce(many, github, "footer " * 900).issue
    assert issue is not None
    body = repo.issues[1]["body"]
    assert len(body) <= LONGEST_BODY
    assert body.count("<details>") == body.count("</details>")
    assert body.rstrip().endswith("footer")
    assert "and 4997 more" in issue.title
