"""Two repositories, judged without either: each phase, its hold, and what makes the status green."""

from dataclasses import replace
from itertools import product

import pytest

from dual_update.core.coordination import Child, Parent, Proposal, judge, status

POINTER = "b" * 40
OPEN = Proposal(7, is_open=True, is_merged=False)
AGREED = replace(OPEN, is_approved=True)
MERGED = Proposal(7, is_open=False, is_merged=True, merge_commit="c" * 40)
CLOSED = Proposal(7, is_open=False, is_merged=False)
CHILD = Child("o/app", "app", POINTER, "main", does_exist=True, is_on_branch=False)
PARENT = Parent("o/shop", "a" * 40, replace(AGREED, number=3))


@pytest.mark.parametrize(
    ("child", "phase", "hold", "needs_pull", "move_to"),
    [
        (replace(CHILD, is_on_branch=True), "landed", "", False, None),
        (replace(CHILD, is_on_branch=True, pull=CLOSED), "landed", "", False, None),
        (CHILD, "proposed", "which is not on main yet: merge its pull request.", True, None),
        (replace(CHILD, pull=OPEN), "proposed", "merge o/app#7.", False, None),
        (
            replace(CHILD, pull=MERGED, is_merge_on_branch=True),
            "rewritten",
            "as another commit",
            False,
            "c" * 40,
        ),
        (replace(CHILD, pull=MERGED), "lost", "no longer has o/app@bbbbbbbbbbbb", False, None),
        (replace(CHILD, pull=CLOSED), "refused", "closed without a merge: reopen it", False, None),
        (replace(CHILD, does_exist=False), "unknown", "has no commit bbbbbbbbbbbb", False, None),
    ],
)
def test_each_phase_says_what_it_waits_for(
    child: Child, phase: str, hold: str, needs_pull: bool, move_to: str | None
) -> None:
    verdict = judge(child)
    assert (verdict.phase, verdict.needs_pull, verdict.move_to) == (phase, needs_pull, move_to)
    assert hold in verdict.hold
    assert bool(verdict.hold) == (phase != "landed")
    given_up = judge(child, is_given_up=True)
    assert (given_up.hold, given_up.needs_pull, given_up.move_to) == (verdict.hold, False, None)


def test_green_only_when_both_are_approved() -> None:
    """Over every combination: green means that each side is merged, or open and approved."""
    pulls = (None, OPEN, AGREED, MERGED, CLOSED)
    greens = 0
    for mine, theirs, is_there, is_landed in product(pulls, pulls, (True, False), (True, False)):
        parent = Parent("o/shop", "a" * 40, mine, is_on_branch=is_there)
        child = replace(CHILD, pull=theirs, is_on_branch=is_landed)
        state, words = status(parent, [child])
        assert words
        if state == "success":
            greens += 1
            assert is_there or mine in {AGREED, MERGED}
            assert is_landed or theirs is AGREED
    assert greens >= 10


def test_one_of_several_submodules_holds_all_back() -> None:
    landed = replace(CHILD, is_on_branch=True)
    other = replace(CHILD, repository="o/lib", path="lib", pull=OPEN)
    assert status(PARENT, [landed])[0] == "success"
    assert status(PARENT, [landed, other]) == ("pending", "Waiting for approval: o/lib#7.")
    refused = replace(other, pull=CLOSED)
    assert status(PARENT, [landed, refused])[0] == "failure"
    assert status(replace(PARENT, pull=CLOSED), [landed])[0] == "failure"
    assert status(replace(PARENT, pull=OPEN), [landed])[1] == "Waiting for approval: o/shop#7."
