"""Any order of merge, close, reopen, force push and revert, in two repositories, leads to no half deployment.

The real use-case over repositories in memory; people do what they like, processes are killed between any two
writes. What is true is read from the commit graphs themselves, never from the code under test.
"""

import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from dual_update.core.coordination import CONTEXT
from dual_update.usecases.coordinate import Change, coordinate, holds, standing
from dual_update.usecases.submodules import Submodule
from tests.fake_github.memory import BOT, Killed, Life, Memory

PATH = "app"
BRANCHES = ("work", "other")
SIDES = st.sampled_from(["parent", "child"])
PLACES = st.sampled_from(BRANCHES)
PEOPLE = st.sampled_from(["ada", "bob"])
SOME = st.integers(0, 7)


SEEN: Counter[str] = Counter()
"""What the walks came by: a walk that never meets a case proves nothing about it."""


class TwoRepositories(RuleBasedStateMachine):
    """`deployed` are the pointers that were let through, each checked at its moment."""

    def __init__(self) -> None:
        super().__init__()
        self.life = Life()
        self.parent = Memory("its-DeFine/shop", self.life)
        self.child = Memory("its-DeFine/app", self.life)
        self.parent.put("main", {PATH: f"={self.child.branches['main']}"})
        self.submodules = [Submodule(PATH, self.child)]
        self.deployed: list[str] = []
        self.closed_by_people: set[tuple[str, int]] = set()

    def side(self, name: str) -> Memory:
        return self.parent if name == "parent" else self.child

    @initialize()
    def a_change_in_both(self) -> None:
        self.points("work", self.child.put("work", {"code": "new"}))
        self.parent.open_by("ada", "work", "main")

    # People

    @rule(branch=st.sampled_from(("main", *BRANCHES)), text=SOME)
    def commits(self, branch: str, text: int) -> None:
        self.child.put(branch, {f"code-{text % 3}": f"{text}"})

    @rule(branch=PLACES, text=SOME)
    def commits_in_parent(self, branch: str, text: int) -> None:
        self.parent.put(branch, {"compose.yml": f"{text}"})

    @rule(branch=st.sampled_from(("main", *BRANCHES)), which=SOME)
    def points_somewhere(self, branch: str, which: int) -> None:
        known = [*self.child.commits][-6:]
        self.points(branch, "0" * 40 if which == 7 else known[which % len(known)])

    def points(self, branch: str, commit: str) -> None:
        self.parent.put(branch, {PATH: f"={commit}"})

    @rule(name=SIDES, branch=PLACES, who=PEOPLE)
    def opens(self, name: str, branch: str, who: str) -> None:
        self.side(name).open_by(who, branch, "main")

    @rule(name=SIDES, which=SOME, who=PEOPLE, objects=st.booleans())
    def reviews(self, name: str, which: int, who: str, objects: bool) -> None:
        side = self.side(name)
        if side.pulls:
            side.review([*side.pulls][which % len(side.pulls)], who, objects=objects)

    @rule()
    def everyone_agrees(self) -> None:
        for side in (self.parent, self.child):
            for number in [one.number for one in side.pulls.values() if one.is_open]:
                side.review(number, "carol")

    @rule(name=SIDES, which=SOME, how=st.sampled_from(["merge", "squash"]))
    def merges(self, name: str, which: int, how: str) -> None:
        side = self.side(name)
        opened = [one.number for one in side.pulls.values() if one.is_open]
        if opened:
            side.land(opened[which % len(opened)], how)

    @rule(name=SIDES, which=SOME)
    def closes_or_opens_again(self, name: str, which: int) -> None:
        side = self.side(name)
        if side.pulls:
            number = [*side.pulls][which % len(side.pulls)]
            pull = side.pull(number)
            self.closed_by_people |= {(name, number)}
            if pull.is_open or side.may_return(pull):
                type(side).edit_pull.__wrapped__(side, number, is_open=not pull.is_open)  # type: ignore[attr-defined]

    @rule(which=SOME)
    def thinks_twice(self, which: int) -> None:
        """Closed, looked at, and opened again."""
        opened = [place for place, one in enumerate(self.parent.pulls.values()) if one.is_open]
        if opened:
            place = opened[which % len(opened)]
            number = [*self.parent.pulls][place]
            self.closes_or_opens_again("parent", place)
            self.look_at(Change(self.parent.pulls[number].head_commit, "main", number))
            self.closes_or_opens_again("parent", place)

    @rule(name=SIDES, branch=st.sampled_from(("main", *BRANCHES)), back=st.integers(1, 3))
    def force_pushes(self, name: str, branch: str, back: int) -> None:
        side = self.side(name)
        at = side.branches.get(branch)
        for _ in range(back):
            if at and side.commits[at].parents:
                at = side.commits[at].parents[0]
        if at:
            side.branches[branch] = at
            self.cut(name, branch)

    @rule(which=SOME, how=st.sampled_from(["merge", "squash"]))
    def merges_and_regrets(self, which: int, how: str) -> None:
        """Merged in the submodule, and taken off its branch by force."""
        before = self.child.branches["main"]
        self.merges("child", which, how)
        self.child.branches["main"] = before
        self.cut("child", "main")

    @rule(name=SIDES)
    def reverts(self, name: str) -> None:
        side = self.side(name)
        tip = side.branches["main"]
        if side.commits[tip].parents:
            before = side.files(side.commits[tip].parents[0])
            gone = dict.fromkeys(set(side.files(tip)) - set(before))
            side.put("main", {**before, **gone})

    @rule(name=SIDES, branch=PLACES)
    def drops(self, name: str, branch: str) -> None:
        self.side(name).branches.pop(branch, None)
        self.cut(name, branch)

    def cut(self, name: str, branch: str) -> None:
        pulls = self.side(name).pulls.values()
        self.closed_by_people |= {(name, one.number) for one in pulls if branch in (one.head, one.base)}

    # Ours

    @rule(which=SOME, dies_at=st.sampled_from([0, 0, 0, 1, 2, 3, 4, 5, 6]), after=st.booleans())
    def looks(self, which: int, dies_at: int, after: bool) -> None:
        changes = self.changes()
        change = changes[which % len(changes)]
        self.life.until(dies_at, after=after)
        try:
            self.look_at(change)
        except Killed:
            SEEN["killed"] += 1
            return
        finally:
            self.life.until(0, after=False)

    def look_at(self, change: Change) -> None:
        for link in coordinate(self.parent, change, self.submodules).links:
            SEEN[link.phase] += 1
            SEEN["moves"] += link.move is not None
        self.check_status(change)

    @rule()
    def deploys(self) -> None:
        tip = self.parent.branches["main"]
        before = len(self.parent.written) + len(self.child.written)
        held = holds(self.parent, tip, self.submodules)
        SEEN["held" if held else "deployed"] += 1
        if not held:
            pointer = self.parent.pointer(tip, PATH)
            assert self.is_whole(pointer), f"{pointer} is deployed and is not on the submodule's branch"
            self.deployed.append(str(pointer))
        assert before == len(self.parent.written) + len(self.child.written), "a question writes nothing"

    def changes(self) -> list[Change]:
        pulls = [one for one in self.parent.pulls.values() if one.base == "main"]
        found = [Change(self.parent.branches["main"], "main")]
        return found + [Change(one.head_commit, "main", one.number) for one in pulls]

    # What is true

    def is_whole(self, pointer: str | None) -> bool:
        return pointer is None or pointer in self.child.pasts[self.child.branches["main"]]

    def is_agreed(self, side: Memory, number: int) -> bool:
        pull = side.pull(number)
        if pull.is_merged:
            return True
        words = [one for one in side.reviewed.get(number, []) if one.login != pull.author]
        yes = [one for one in words if one.is_approval and one.commit == pull.head_commit]
        return pull.is_open and bool(yes) and not any(one.is_objection for one in words)

    def check_status(self, change: Change) -> None:
        """Green only when both are approved, and the same on both."""
        pull = self.parent.pull(change.pull) if change.pull else None
        head = pull.head_commit if pull and pull.is_open else change.commit
        if pull and pull.is_merged:
            return  # the deploy branch is looked at instead
        state, _ = self.parent.status(head, CONTEXT)
        pointer = self.parent.pointer(head, PATH)
        ours = [one for one in self.child.pulls.values() if one.head_commit == pointer and one.base == "main"]
        if state != "success" or pointer is None:
            return
        SEEN["green"] += 1
        tip = self.parent.branches["main"]
        is_there = head in self.parent.pasts[tip] or bool(
            pull and pull.merge_commit and pull.merge_commit in self.parent.pasts[tip]
        )
        same = [one.number for one in self.parent.pulls.values() if one.head_commit == head]
        assert is_there or any(self.is_agreed(self.parent, one) for one in same)
        assert self.is_whole(pointer) or any(self.is_agreed(self.child, one.number) for one in ours)

    @invariant()
    def nothing_stands_twice(self) -> None:
        for side in (self.parent, self.child):
            opened = [*side.issues.values(), *side.pulls.values()]
            marked = [one for one in opened if one.is_open and one.body.startswith("<!--")]
            keys = [(type(one), one.body.splitlines()[0], getattr(one, "base", "")) for one in marked]
            assert len(set(keys)) == len(keys)

    def teardown(self) -> None:
        """In the end all events have come, and people take what they are offered: then nothing waits."""
        self.life.until(0, after=False)
        self.settle()
        writes = len(self.parent.written) + len(self.child.written)
        self.settle()
        assert writes == len(self.parent.written) + len(self.child.written), "what is in line is left alone"
        self.check_nothing_is_left_over()
        for _ in range(6):
            if self.is_done():
                break
            self.people_take_what_is_offered()
            self.settle()
        assert self.is_done(), "the change is stuck"
        self.deploys()

    def is_done(self) -> bool:
        pointer = self.parent.pointer(self.parent.branches["main"], PATH)
        return self.is_whole(pointer) or pointer not in self.child.commits

    def settle(self) -> None:
        for _ in range(2):
            for change in (*self.changes(), *standing(self.parent, "main", self.submodules)):
                self.look_at(change)

    def check_nothing_is_left_over(self) -> None:
        wanted = {self.parent.pointer(self.parent.branches["main"], PATH)}
        for one in self.parent.pulls.values():
            if one.is_open:
                wanted.add(self.parent.pointer(one.head_commit, PATH))
        for pull in self.child.pulls.values():
            assert not (pull.is_open and pull.author == BOT) or pull.head_commit in wanted
        for pull in self.parent.pulls.values():
            if pull.is_open and pull.author == BOT:
                to = self.parent.pointer(pull.head_commit, PATH)
                assert f" {to} -->" in pull.body.splitlines()[0], "it moves the pointer where it says"
                assert self.is_whole(to)

        for one in self.parent.pulls.values():
            pointer = self.parent.pointer(one.head_commit, PATH)
            if one.is_open and one.base == "main" and pointer in self.child.commits:
                self.check_it_has_a_way(str(pointer))

    def check_it_has_a_way(self, pointer: str) -> None:
        pulls = [
            one for one in self.child.pulls.values() if one.head_commit == pointer and one.base == "main"
        ]
        ways = [one for one in pulls if one.is_open or one.is_merged]
        refused = [one for one in pulls if ("child", one.number) in self.closed_by_people]
        assert self.is_whole(pointer) or ways or refused, "nothing brings the pointer to its branch"

    def people_take_what_is_offered(self) -> None:
        """One step towards whole. What stands open must lead there; people begin nothing on their own but
        what the hold's sentence asks of them."""
        tip = self.parent.branches["main"]
        pointer = str(self.parent.pointer(tip, PATH))
        pulls = [
            one for one in self.child.pulls.values() if one.head_commit == pointer and one.base == "main"
        ]
        merged = [one for one in pulls if one.is_merged and self.is_whole(one.merge_commit)]
        moves = [one for one in self.parent.pulls.values() if one.is_open and one.author == BOT]
        sentence = holds(self.parent, tip, self.submodules)[0]
        if opened := [one for one in pulls if one.is_open]:
            assert "is not on main yet" in sentence
            if self.child.land(opened[0].number, "squash" if len(tip) % 2 else "merge") is None:
                self.points("main", self.child.branches["main"])  # a conflict: they begin anew
        elif merged:
            assert "merged as another commit" in sentence
            theirs = [one for one in self.parent.pulls.values() if one.author == BOT and not one.is_open]
            assert any(one.base == "main" for one in moves + theirs), "nothing moves the pointer"
            if not any(self.parent.land(one.number, "merge") for one in moves if one.base == "main"):
                self.points("main", str(merged[0].merge_commit))
        elif any(one.is_merged for one in pulls):
            assert "no longer has" in sentence
            self.points("main", self.child.branches["main"])
        else:
            assert "closed without a merge" in sentence, sentence
            assert any(("child", one.number) in self.closed_by_people for one in pulls), "nobody closed it"
            self.points("main", self.child.branches["main"])


def walk(examples: int) -> None:
    run_state_machine_as_test(
        TwoRepositories,
        settings=settings(
            max_examples=examples,
            stateful_step_count=20,
            deadline=None,
            derandomize=bool(os.environ.get("CI")),
            database=None,
            phases=[Phase.generate],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_two_thousand_interleavings_lead_to_no_half_deployment() -> None:
    SEEN.clear()
    walk(2000)
    cases = ("landed", "proposed", "rewritten", "refused", "lost", "unknown")
    events = ("deployed", "held", "green", "killed", "moves")
    assert all(SEEN[one] >= 20 for one in cases + events), SEEN


@pytest.mark.sweep
@pytest.mark.timeout(3600)
def test_ten_thousand_interleavings_lead_to_no_half_deployment() -> None:
    walk(10_000)
