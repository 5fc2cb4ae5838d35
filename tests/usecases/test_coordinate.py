"""Two repositories on the fake GitHub, each with its own token: the story, and what can go wrong in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dual_update.adapters.github import PyGithubRepository
from dual_update.core.coordination import CONTEXT
from dual_update.core.errors import DualUpdateError
from dual_update.usecases.coordinate import Change, coordinate, holds, settle, standing
from dual_update.usecases.github_ports import GitHub
from dual_update.usecases.submodules import Entry, entries, submodules_of
from tests.fake_github import faults
from tests.fake_github.server import FakeGitHub
from tests.usecases.two_repositories import CHILD, PARENT, PATH, Two, two


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Two]:
    with FakeGitHub(tmp_path) as server:
        yield two(server)


def proposed(both: Two) -> tuple[Change, str]:
    """New code in the submodule on no branch any more, and a pull request of the parent that points to it."""
    new = both.app.put("feature", {"code.py": "new\n"})
    both.app.git("update-ref", "-d", "refs/heads/feature")
    head = both.point("work", new)
    number = both.parent.open_pull("", "Use new code", "text", "work", "main").number
    return Change(head, "main", number, title="shop: rebuild app"), new


def test_from_the_proposal_to_the_deploy(both: Two) -> None:
    change, new = proposed(both)
    told = coordinate(both.parent, change, both.submodules)
    link = told.links[0]
    assert link.issue is not None
    assert link.pull is not None
    assert link.pull.head_commit == new
    assert f"{PARENT}#{change.pull}" in link.issue.body
    assert f"Pull request here: #{link.pull.number}." in link.issue.body
    back = next(iter(both.shop.comments.values()))["body"]
    assert f"{CHILD}#{link.issue.number} | {CHILD}#{link.pull.number}" in back
    assert told.state == "pending"
    assert holds(both.parent, change.commit, both.submodules) == told.holds
    assert "not on main yet" in told.holds[0]

    both.approve(CHILD, link.pull.number)
    assert coordinate(both.parent, change, both.submodules).state == "pending"
    both.approve(PARENT, change.pull or 0)
    assert coordinate(both.parent, change, both.submodules).state == "success"
    assert both.parent.status(change.commit, CONTEXT)[0] == both.child.status(new, CONTEXT)[0] == "success"

    # Both are merged, the submodule's as one commit: the deploy waits until the pointer has followed.
    merged = both.parent.merge(change.pull or 0, change.commit)
    both.child._send("PUT", f"/pulls/{link.pull.number}/merge", {"merge_method": "squash"})
    later = Change(merged, "main")
    told = coordinate(both.parent, later, both.submodules)
    assert "merged as another commit" in told.holds[0]
    move = told.links[0].move
    assert move is not None
    assert (move.base, coordinate(both.parent, later, both.submodules).links[0].move) == ("main", move)
    tip = both.parent.merge(move.number, move.head_commit)
    assert both.parent.pointer(tip, PATH) == both.child.branch_commit("main")
    assert holds(both.parent, tip, both.submodules) == ()
    wanted = Change(tip, "main", waiting=frozenset({PATH}))
    issue = coordinate(both.parent, wanted, both.submodules).links[0].issue
    assert issue is not None
    settle(both.parent, tip, both.submodules, "Deployed by run r1.")
    opened = [one for one in both.app.issues.values() if one["state"] == "open"]
    assert opened == []
    assert both.app.issues[issue.number]["state_reason"] == "completed"


def test_a_pointer_is_not_moved_to_what_the_submodule_took_back_by_force(both: Two) -> None:
    change, _ = proposed(both)
    before = both.child.branch_commit("main") or ""
    link = coordinate(both.parent, change, both.submodules).links[0]
    assert link.pull is not None
    merged = both.parent.merge(change.pull or 0, change.commit)
    both.child._send("PUT", f"/pulls/{link.pull.number}/merge", {"merge_method": "squash"})
    later = Change(merged, "main")
    move = coordinate(both.parent, later, both.submodules).links[0].move
    assert move is not None
    both.app.git("update-ref", "refs/heads/main", before)
    told = coordinate(both.parent, later, both.submodules)
    assert "no longer has" in told.holds[0]
    assert both.shop.pulls[move.number]["state"] == "closed"


def test_looked_at_twice_nothing_is_written_twice(both: Two) -> None:
    change, _ = proposed(both)
    first = coordinate(both.parent, change, both.submodules)
    writes = len(both.server.written())
    assert coordinate(both.parent, change, both.submodules) == first
    assert both.server.written()[writes:] == []


def test_a_change_that_is_given_up_takes_its_things_along_and_brings_them_back(both: Two) -> None:
    change, new = proposed(both)
    pull = coordinate(both.parent, change, both.submodules).links[0].pull
    assert pull is not None
    both.parent.edit_pull(change.pull or 0, is_open=False)
    told = coordinate(both.parent, change, both.submodules)
    assert told.state == "failure"
    assert both.app.pulls[pull.number]["state"] == "closed"
    assert [one["state"] for one in both.app.issues.values()] == ["closed", "closed"]
    assert both.app.git("for-each-ref", "--format=%(refname:short)", "refs/heads").split() == ["main"]
    assert standing(both.parent, "main", both.submodules)[1:] == []
    both.parent.edit_pull(change.pull or 0, is_open=True)
    again = coordinate(both.parent, change, both.submodules).links[0]
    assert again.pull is not None
    assert (again.pull.number, again.pull.is_open, again.pull.head_commit) == (pull.number, True, new)
    assert [one.pull for one in standing(both.parent, "main", both.submodules)] == [None, change.pull]


def test_a_look_at_the_deploy_branch_sees_approvals_that_no_event_told_of(both: Two) -> None:
    change, new = proposed(both)
    pull = coordinate(both.parent, change, both.submodules).links[0].pull
    assert pull is not None
    both.approve(CHILD, pull.number)
    both.approve(PARENT, change.pull or 0)
    tip = both.parent.branch_commit("main") or ""
    coordinate(both.parent, Change(tip, "main"), both.submodules)
    assert both.parent.status(change.commit, CONTEXT)[0] == both.child.status(new, CONTEXT)[0] == "success"
    both.parent.edit_pull(change.pull or 0, is_open=False)
    coordinate(both.parent, Change(tip, "main"), both.submodules)
    assert both.app.pulls[pull.number]["state"] == "closed"


def test_a_forks_branch_is_not_ours_to_write(both: Two) -> None:
    change, _ = proposed(both)
    pull = coordinate(both.parent, change, both.submodules).links[0].pull
    assert pull is not None
    both.child._send("PUT", f"/pulls/{pull.number}/merge", {"merge_method": "squash"})
    both.shop.pulls[change.pull or 0]["head"]["repo"]["full_name"] = "mallory/shop"
    told = coordinate(both.parent, change, both.submodules)
    assert "move the pointer of services/app" in told.holds[0]
    assert len(both.shop.pulls) == 1
    both.shop.pulls[change.pull or 0]["head"]["repo"] = both.shop.described("repository")
    move = coordinate(both.parent, change, both.submodules).links[0].move
    assert move is not None
    assert move.base == "work"


def test_a_persons_pull_request_is_used_and_left_alone(both: Two) -> None:
    new = both.app.put("feature", {"code.py": "new\n"})
    theirs = both.child.open_pull("My words.", "Mine", "", "feature", "main")
    head = both.point("work", new)
    number = both.parent.open_pull("", "Use it", "text", "work", "main").number
    change = Change(head, "main", number)
    link = coordinate(both.parent, change, both.submodules).links[0]
    assert link.pull == theirs
    both.parent.edit_pull(number, is_open=False)
    coordinate(both.parent, change, both.submodules)
    assert both.app.pulls[theirs.number]["state"] == "open"


def test_a_commit_that_was_never_pushed_is_named(both: Two) -> None:
    head = both.point("work", "1" * 40)
    number = both.parent.open_pull("", "Use it", "text", "work", "main").number
    told = coordinate(both.parent, Change(head, "main", number), both.submodules)
    assert "has no commit 111111111111" in told.holds[0]
    assert told.state == "failure"
    assert both.app.pulls == {}


def test_code_on_the_branch_holds_nothing_back(both: Two) -> None:
    new = both.app.put("main", {"code.py": "new\n"})
    tip = both.point("main", new)
    told = coordinate(both.parent, Change(tip, "main", waiting=frozenset({PATH})), both.submodules)
    assert told.holds == ()
    assert told.links[0].issue is not None
    assert both.app.pulls == {}


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (
            faults.forbidden(method="POST", path="app/(pulls|git/refs)$", times=9),
            "permissions: contents: write",
        ),
        (faults.unauthorized(path="its-DeFine/app", times=99), "submodule-token"),
        (faults.bad_gateway(method="POST", path="app/pulls$", times=9), "502"),
    ],
)
def test_what_the_submodules_token_may_not_is_said_and_the_next_look_goes_on(
    both: Two, fault: faults.Fault, says: str
) -> None:
    change, _ = proposed(both)
    both.server.faults.add(fault)
    with pytest.raises(DualUpdateError) as refused:
        coordinate(both.parent, change, both.submodules)
    assert says in str(refused.value)
    both.server.faults.waiting.clear()
    assert coordinate(both.parent, change, both.submodules).state == "pending"
    assert len(both.app.pulls) == 1


def test_writes_whose_answers_are_lost_leave_one_of_each(both: Two) -> None:
    change, _ = proposed(both)
    both.app.lag = both.shop.lag = 1
    for path in ("app/pulls$", "app/issues$", "git/refs$", "shop/issues/[0-9]+/comments$"):
        both.server.faults.add(faults.bad_gateway(method="POST", path=path, after=True))
    coordinate(both.parent, change, both.submodules)
    assert len(both.app.pulls) == 1
    assert len(both.app.issues) == 2
    assert len(both.shop.comments) == 1


def test_gitmodules_are_read_as_git_reads_them(both: Two) -> None:
    text = (
        '[submodule "a b"]\n\tpath = a b\n\turl = "../lib.git"\n\tbranch = .\n'
        "[core]\n\tpath = no\n\turl = no\n"
        '[submodule "half"]\n\tpath = half\n'
        '  [submodule "c"]\n  url=https://example.org/x/c\n  path=c/\n  branch = stable\n'
    )
    assert entries(text) == (
        Entry("a b", "../lib.git", "."),
        Entry("c", "https://example.org/x/c", "stable"),
    )
    tip = both.parent.branch_commit("main") or ""
    asked: list[str] = []

    def opened(name: str) -> GitHub | None:
        asked.append(name)
        return both.child

    listed = submodules_of(both.parent, tip, "https://github.example.org/its-DeFine/shop.git", opened)
    assert ([one.path for one in listed], asked) == ([PATH], [CHILD])
    assert submodules_of(both.parent, tip, "git@github.example.org:a/b.git", lambda _: None) == ()


def test_a_stranger_who_copies_our_marker_is_not_us(both: Two) -> None:
    change, _ = proposed(both)
    told = coordinate(both.parent, change, both.submodules)
    issue = told.links[0].issue
    assert issue is not None
    both.app.issues[issue.number].update(user=both.app.user("mallory"), author_association="NONE")
    again = coordinate(both.parent, change, both.submodules).links[0].issue
    assert again is not None
    assert again.number != issue.number


def test_it_fits_the_port(both: Two) -> None:
    port: GitHub = both.parent
    assert isinstance(port, PyGithubRepository)
