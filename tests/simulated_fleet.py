"""A fleet in simulated time: clusters with latencies, failures and partitions, a coordinator that dies.

What must never happen is looked at from outside, in the clusters' true state, at the moment a coordinator
begins something; what it believes plays no part.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dual_update.core.rollout import LastRun, OnFailure, Rollout, Stage, Start, Word
from dual_update.usecases.rollout import Conducted, Conductor, Wish, begin, conduct

NEVER = 1e9
OLD, NEW = "old-commit", "new-commit"
BAD = ("rolled_back", "refused", "rollback_failed")


class Died(BaseException):
    """The coordinator's process ends here."""


@dataclass
class Luck:
    """How likely things go wrong, each a probability for one cluster or one call."""

    failure: float = 0.0
    refusal: float = 0.0
    broken_way_back: float = 0.0
    sickness: float = 0.0
    partition: float = 0.0
    lost_answer: float = 0.0
    death: float = 0.0
    lost_record: float = 0.0
    endless: float = 0.0
    """Work that comes to no end, and partitions that nobody mends."""


@dataclass
class SimulatedCluster:
    """One cluster, as it truly is. It works on by itself while nobody can see it."""

    name: str
    stage: int
    world: "SimulatedFleet"
    commit: str = OLD
    is_well: bool = True
    runs: list[LastRun] = field(default_factory=list)
    ends_at: float | None = None
    ending: Callable[[], None] = lambda: None
    refusal: str = ""
    key: str = ""
    keys: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    applied_at: float | None = None
    sick_at: float | None = None
    cut: tuple[float, float] = (0.0, 0.0)

    @property
    def is_under_way(self) -> bool:
        return self.ends_at is not None

    @property
    def is_cut_off(self) -> bool:
        return self.cut[0] <= self.world.now < self.cut[1]

    def advance(self) -> None:
        if self.ends_at is not None and self.world.now >= self.ends_at:
            self.ends_at = None
            self.ending()
        if self.sick_at is not None and self.world.now >= self.sick_at and self.commit == NEW:
            self.is_well = False

    # --- the port

    def look(self) -> Word:
        self.world.may_die()
        self.advance()
        if self.is_cut_off or self.world.random.random() < self.world.luck.lost_answer:
            return Word(is_reachable=False, detail="no answer")
        run = self.runs[-1] if self.runs else None
        return Word(
            commit=self.commit,
            is_healthy=self.is_well,
            is_busy=self.is_under_way,
            run=run,
            refusal=self.refusal,
        )

    def apply(self, commit: str, key: str) -> None:
        if not self._is_heard(key):
            return
        if any(run.to == NEW and run.outcome in BAD for run in self.runs):
            self.refusal = "quarantined"  # as a cluster does with content that failed before
            self.refused.add(key)  # and says again to whoever asks again
            return
        self.world.watch_beginning(self, "apply")
        self._begin(self._applied)

    def go_back(self, start: Start, target: str, key: str) -> None:
        if self._is_heard(key):
            self.world.watch_beginning(self, "back")
            self._begin(self._returned)

    def settle(self) -> None:
        raise AssertionError("nothing is unsettled here")

    def _is_heard(self, key: str) -> bool:
        self.world.may_die()
        self.refusal = "quarantined" if key in self.refused else ""
        if self.is_cut_off or key in self.keys or self.is_under_way:
            return False
        self.keys.add(key)
        self.key = key
        return True

    def _begin(self, ending: Callable[[], None]) -> None:
        self.ending = ending
        is_endless = self.world.random.random() < self.world.luck.endless
        self.ends_at = self.world.now + (NEVER if is_endless else self.world.random.uniform(2, 60))

    # --- what comes of it

    def _applied(self) -> None:
        luck, chance = self.world.luck, self.world.random.random()
        if chance < luck.refusal:
            self.refusal = "quarantined"
            self.refused.add(self.key)
            return
        if chance < luck.refusal + luck.failure:
            is_broken = self.world.random.random() < luck.broken_way_back
            self._ran("apply", "rollback_failed" if is_broken else "rolled_back", NEW)
            return
        self._ran("apply", "succeeded", NEW)
        self.commit, self.applied_at = NEW, self.world.now
        if self.world.random.random() < luck.sickness:
            self.sick_at = self.world.now + self.world.random.uniform(0, 200)

    def _returned(self) -> None:
        if self.world.random.random() < self.world.luck.broken_way_back:
            self._ran("rollback", "rollback_failed", OLD)
            return
        self._ran("rollback", "succeeded", OLD)
        self.commit, self.is_well = OLD, True

    def _ran(self, kind: str, outcome: str, to: str) -> None:
        number = f"{self.name}-{len(self.runs)}"
        self.runs.append(LastRun(number, kind, outcome, to, OLD if to == NEW else NEW))


class SimulatedFleet:
    """The clusters of `sizes` stages and whoever coordinates them, on one clock."""

    def __init__(
        self,
        seed: int,
        sizes: Sequence[int],
        luck: Luck,
        *,
        on_failure: OnFailure = "stop",
        batch: float = 0.2,
        bake_seconds: float = 120.0,
        deaths: int = 5,
    ) -> None:
        self.random = random.Random(seed)
        self.luck = luck
        self.on_failure: OnFailure = on_failure
        self.now = 1_000_000.0
        self.deaths_left = deaths
        self.calls_to_death = self._next_death()
        self.saved: Rollout | None = None
        self.wishes: list[Wish] = []
        self.begun: list[tuple[float, str, str]] = []
        self.clusters: dict[str, SimulatedCluster] = {}
        self.stages = tuple(
            Stage(
                number,
                f"stage-{number}",
                tuple(f"c{number}-{i}" for i in range(size)),
                max(1, int(size * batch)),
                bake_seconds * self.random.random(),
            )
            for number, size in enumerate(sizes)
        )
        for stage in self.stages:
            for name in stage.clusters:
                self.clusters[name] = SimulatedCluster(name, stage.number, self)
                if self.random.random() < luck.partition:
                    start = self.now + self.random.uniform(5, 1500)
                    lasts = NEVER if self.random.random() < luck.endless else self.random.uniform(5, 250)
                    self.clusters[name].cut = (start, start + lasts)

    # --- the coordinator's world

    def save(self, rollout: Rollout) -> None:
        self.may_die()
        self.saved = rollout

    def wish(self) -> Wish:
        return self.wishes[-1] if self.wishes else ""

    def heeded(self) -> None:
        self.wishes.pop()

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for one in self.clusters.values():
            one.advance()

    def may_die(self) -> None:
        self.calls_to_death -= 1
        if self.calls_to_death == 0 and self.deaths_left:
            self.deaths_left -= 1
            self.calls_to_death = self._next_death()
            raise Died

    def _next_death(self) -> int:
        return int(self.random.expovariate(self.luck.death)) + 1 if self.luck.death else 0

    def conductor(self, approve: Callable[[Sequence[str]], bool] = lambda names: True) -> Conductor:
        return Conductor(
            members=self.clusters,
            record=self,
            time=lambda: self.now,
            sleep=self.sleep,
            say=lambda words: None,
            approve=approve,
            poll_seconds=15.0,
        )

    def run(self, **policy: object) -> Conducted:
        """To the end, however many coordinators it takes."""
        while True:
            try:
                if self.saved is None or (
                    self.saved.direction == "forward"
                    and not self.saved.failed
                    and self.random.random() < self.luck.lost_record
                ):
                    self.saved = None
                    begin(
                        self.conductor(),
                        f"r{self.now}",
                        NEW,
                        self.stages,
                        on_failure=self.on_failure,
                        **policy,
                    )
                assert self.saved
                return conduct(self.conductor(), self.saved)
            except Died:
                for one in self.clusters.values():
                    one.refusal = ""  # what was said to this process; the next one has to ask
                self.sleep(self.random.uniform(0, 90))
            except Exception as error:
                if "nothing was begun" not in str(error):
                    raise
                self.sleep(10)

    # --- what must never be

    def watch_beginning(self, one: SimulatedCluster, what: str) -> None:
        """Called by a cluster at the moment when it begins something."""
        self.begun.append((self.now, one.name, what))
        assert not one.is_under_way
        given_up = {*self.saved.failed, *self.saved.stuck} if self.saved else set()
        others = [
            c
            for c in self.clusters.values()
            if c.is_under_way and not c.is_cut_off and c.name not in given_up
        ]
        elsewhere = [c.name for c in others if c.stage != one.stage]
        assert not elsewhere, f"{one.name} begins while {elsewhere} of another stage are under way"
        batch = self.stages[one.stage].batch
        assert len(others) < batch, f"{len(others) + 1} of stage {one.stage} at once; its batch is {batch}"
        if what == "apply":
            self._watch_barrier(one)

    def _watch_barrier(self, one: SimulatedCluster) -> None:
        assert self.saved is not None
        assert not self.saved.failed, f"{one.name} begins after {self.saved.failed}"
        assert one.commit == OLD, f"{one.name} is applied twice"
        for stage in self.stages[: one.stage]:
            members = [self.clusters[name] for name in stage.clusters]
            not_well = [c.name for c in members if c.commit != NEW or not c.is_well]
            assert not not_well, f"{one.name} begins past a barrier that {not_well[:3]} has not passed"
            latest = max(c.applied_at or 0.0 for c in members)
            assert self.now - latest >= stage.bake_seconds - 0.01, f"stage {stage.number} has not baked"

    def check_end(self, ended: Conducted) -> None:
        """Every cluster is accounted for, by its true state."""
        rollout, clusters = ended.rollout, self.clusters.values()
        assert rollout.direction == "ended"
        assert set(ended.words) == set(self.clusters) or rollout.end in {"stopped", "aborted"}
        on_new = {c.name for c in clusters if c.commit == NEW}
        on_old = {c.name for c in clusters if c.commit == OLD}
        untouched = {c.name for c in clusters if not c.runs and not c.is_under_way and not c.refused}
        match rollout.end:
            case "succeeded":
                assert on_new == set(self.clusters)
            case "rolled_back":
                assert on_old == set(self.clusters)
                assert not any(c.is_under_way for c in clusters if c.name not in rollout.failed)
            case "rollback_failed":
                broken = {  # by this roll-out: one that was so before is where it was
                    c.name for c in clusters
                    if c.runs and c.runs[-1].outcome == "rollback_failed"
                    and c.runs[-1].id != rollout.starts[c.name].run
                }  # fmt: skip
                assert on_new | broken <= set(rollout.stuck), (on_new, broken, rollout.stuck)
            case _:
                # the failure may be an earlier stage's, that fell ill while a later one was under way
                reached = max((self.clusters[n].stage for n in rollout.failed), default=0)
                reached = max(reached, len(rollout.applied_at))
                behind = {c.name for c in clusters if c.stage > reached}
                behind -= {name for name, start in rollout.starts.items() if start.commit == NEW}
                assert behind <= untouched, f"{sorted(behind - untouched)[:3]} were touched after the failure"
                told = on_new | set(rollout.failed) | untouched
                assert told == set(self.clusters), set(self.clusters) - told
