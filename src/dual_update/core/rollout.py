"""A staged roll-out, decided: what to do next, from what was written down and what the clusters say now.

Nothing here waits, asks or writes. `learn` folds what the clusters say into the record, `next_move` says
what to begin. Whoever has the record and can ask the clusters can take up a roll-out at any point: what a
cluster runs is never remembered, only what it ran before and what can not be seen any more (a failure, since
when a stage is well, a person's wish).

Rules, each held by a simulation (tests/core/test_rollout.py):
- clusters of two stages are never under way at once, and never more than a stage's batch;
- a stage begins when every cluster of the stages before is on the target, well, and has been for long enough;
- after the first failure nothing is begun but the way back, last stage first;
- every cluster is accounted for at the end.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from dual_update.core.config import BUSY_SECONDS, PATIENCE_SECONDS

OnFailure = Literal["stop", "rollback_all"]
Direction = Literal["forward", "back", "ended"]
End = Literal["succeeded", "stopped", "rolled_back", "rollback_failed", "aborted"]
Place = Literal["waiting", "updating", "unsettled", "applied", "unwell", "failed", "foreign", "silent"]

SHORTEST_SECONDS = 0.001
"""A wait below this one is over: sums of moments are not exact."""


@dataclass(frozen=True)
class Stage:
    """Clusters that go together, at most `batch` of them under way at once. The next stage waits until all
    are on the target, well, and have been so for `bake_seconds`."""

    number: int
    name: str
    clusters: tuple[str, ...]
    batch: int = 1
    bake_seconds: float = 0.0


@dataclass(frozen=True)
class Start:
    """A cluster when the roll-out began: the commit that it ran and its newest run."""

    commit: str | None = None
    run: str | None = None


@dataclass(frozen=True)
class LastRun:
    """A cluster's newest run. `was_interrupted`: it tells of its deployer, not of the version."""

    id: str
    kind: str
    outcome: str | None
    to: str | None
    came_from: str | None = None
    reason: str = ""
    was_interrupted: bool = False


@dataclass(frozen=True)
class Word:
    """What a cluster says of itself. `refusal`: why it did not do what it was asked last, nothing touched.

    `is_unsettled`: a run died there, and nobody has settled it yet. `is_unchanged`: its newest run changed
    nothing that runs, so there is nothing that could be taken back. Not `is_seen`: it answers, and does not
    say what it runs (its token is refused); `commit` is what was known before, and proves nothing.
    """

    is_reachable: bool = True
    is_seen: bool = True
    commit: str | None = None
    is_healthy: bool = True
    is_busy: bool = False
    is_unsettled: bool = False
    is_unchanged: bool = False
    run: LastRun | None = None
    refusal: str = ""
    detail: str = ""


UNHEARD = Word(is_reachable=False, detail="it was not asked yet")


@dataclass(frozen=True)
class Rollout:
    """The record of one roll-out. `failed` and `stuck` (the way back failed) hold a sentence by cluster;
    `attempt` counts how often a person had the way back tried again. Moments are seconds since 1970, by the
    clock of whoever coordinates."""

    id: str
    target: str
    stages: tuple[Stage, ...]
    starts: Mapping[str, Start]
    on_failure: OnFailure = "stop"
    needs_approval: frozenset[str] = frozenset()
    approved: frozenset[str] = frozenset()
    direction: Direction = "forward"
    end: End | None = None
    is_paused: bool = False
    is_aborted: bool = False
    failed: Mapping[str, str] = field(default_factory=dict)
    stuck: Mapping[str, str] = field(default_factory=dict)
    applied_at: Mapping[int, float] = field(default_factory=dict)
    silent_since: Mapping[str, float] = field(default_factory=dict)
    busy_since: Mapping[str, float] = field(default_factory=dict)
    patience_seconds: float = PATIENCE_SECONDS
    busy_seconds: float = BUSY_SECONDS
    attempt: int = 0

    @property
    def clusters(self) -> Iterator[str]:
        return (name for stage in self.stages for name in stage.clusters)

    @property
    def has_failed(self) -> bool:
        return bool(self.failed) or self.is_aborted

    @property
    def reason(self) -> str:
        """Why it did not go on, in one sentence."""
        if self.failed:
            name, sentence = next(iter(self.failed.items()))
            return f"{name}: {sentence}"
        return "A person ended it." if self.is_aborted else ""


@dataclass(frozen=True)
class Move:
    """What to begin now, by cluster. `is_over`: nothing is left to do; `is_held`: nothing until a person says
    so; `asks` are clusters that a person has to approve; `wait_seconds` is for nothing but time."""

    apply: tuple[str, ...] = ()
    go_back: tuple[str, ...] = ()
    settle: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    wait_seconds: float | None = None
    is_over: bool = False
    is_held: bool = False


def starts(words: Mapping[str, Word], target: str) -> dict[str, Start]:
    """What to go back to, for each cluster.

    One that is on the target already came there by an earlier, lost coordinator if it came from where others
    still are; then its way back leads there. Else it stays what it is.
    """
    ran = {word.commit for word in words.values() if word.commit != target}
    found = {}
    for name, word in words.items():
        run = word.run
        if word.commit == target and run and run.to == target and run.came_from in ran:
            found[name] = Start(run.came_from, None)
        else:
            found[name] = Start(word.commit, run.id if run else None)
    return found


def place(rollout: Rollout, name: str, word: Word) -> Place:
    """Where a cluster is on its way to the target."""
    start = rollout.starts[name]
    if not word.is_reachable:
        return "silent"
    if word.is_busy:
        return "updating"
    if word.is_unsettled:
        return "unsettled"
    if word.refusal:
        return "failed"
    if _is_broken(rollout, name, word):
        return "failed"
    if word.commit == rollout.target:
        return "applied" if word.is_healthy else "unwell"
    if _has_failed_here(rollout, name, word):
        return "failed"
    if _is_taken_back(rollout, name, word):
        return "foreign"
    return "waiting" if word.commit == start.commit else "foreign"


def _has_failed_here(rollout: Rollout, name: str, word: Word) -> bool:
    """Did the newest run try the target and end without it. One whose deployer died says nothing of it."""
    run = word.run
    if run is None or run.id == rollout.starts[name].run or run.to != rollout.target:
        return False
    return run.outcome in {"rolled_back", "refused"} and not run.was_interrupted


def _is_taken_back(rollout: Rollout, name: str, word: Word) -> bool:
    """Did somebody else return it from the target, while the roll-out still went forward."""
    run = word.run
    if rollout.direction != "forward" or run is None or run.id == rollout.starts[name].run:
        return False
    return run.kind == "rollback" and run.outcome == "succeeded" and run.came_from == rollout.target


def _is_broken(rollout: Rollout, name: str, word: Word) -> bool:
    run = word.run
    return run is not None and run.outcome == "rollback_failed" and run.id != rollout.starts[name].run


def _is_at_rest(word: Word) -> bool:
    return word.is_reachable and word.is_seen and not word.is_busy and not word.is_unsettled


def is_back(rollout: Rollout, name: str, word: Word) -> bool:
    """Is a cluster at rest on what it ran before, as its own newest run and audit say."""
    if not _is_at_rest(word) or _is_broken(rollout, name, word):
        return False
    start, run = rollout.starts[name], word.run
    if start.commit is None and run and run.id != start.run:  # it ran something that no commit was known for
        return run.kind == "rollback" and run.outcome == "succeeded"
    is_same = word.is_unchanged and run is not None and run.id != start.run
    return is_same or word.commit == start.commit


def _is_behind(rollout: Rollout, stage: Stage, now: float) -> bool:
    """Is the stage's barrier open: applied as a whole, well, and baked."""
    rest = _rest_of_bake(rollout, stage, now)
    return rest is not None and rest < SHORTEST_SECONDS


def _rest_of_bake(rollout: Rollout, stage: Stage, now: float) -> float | None:
    """Seconds that the stage still has to be watched; None while it is not applied as a whole."""
    since = rollout.applied_at.get(stage.number)
    return None if since is None else stage.bake_seconds - (now - since)


def current(rollout: Rollout, now: float) -> Stage | None:
    """The first stage whose barrier is not open yet."""
    return next((one for one in rollout.stages if not _is_behind(rollout, one, now)), None)


def in_play(rollout: Rollout, now: float) -> tuple[str, ...]:
    """Clusters whose word counts now: forward those of all stages up to the current one, else every one."""
    stage = current(rollout, now)
    if rollout.direction != "forward" or stage is None:
        return tuple(rollout.clusters)
    return tuple(name for one in rollout.stages if one.number <= stage.number for name in one.clusters)


# --- learning


def learn(rollout: Rollout, words: Mapping[str, Word], now: float) -> Rollout:
    """The record with what the clusters say now; `words` holds a fresh word of each cluster in play."""
    if rollout.direction == "ended":
        return rollout
    names = in_play(rollout, now)
    rollout = _heard(rollout, names, words, now)
    if rollout.direction == "back":
        return _back(rollout, words, now)
    return _turned(_forward(rollout, names, words, now), names, words, now)


def _heard(rollout: Rollout, names: Sequence[str], words: Mapping[str, Word], now: float) -> Rollout:
    silent, busy = dict(rollout.silent_since), dict(rollout.busy_since)
    for name in names:
        word = words[name]
        _since(silent, name, now, is_so=not word.is_reachable)
        if word.is_reachable:  # one that is not heard may be at work still
            _since(busy, name, now, is_so=word.is_busy)
    if silent == rollout.silent_since and busy == rollout.busy_since:
        return rollout
    return replace(rollout, silent_since=silent, busy_since=busy)


def _since(moments: dict[str, float], name: str, now: float, *, is_so: bool) -> None:
    if not is_so:
        moments.pop(name, None)
    elif moments.setdefault(name, now) > now:  # the clock was set back
        moments[name] = now


def _is_given_up(rollout: Rollout, name: str, word: Word, now: float) -> bool:
    """Has it been silent, or at work, for too long to wait for it."""
    silent, busy = rollout.silent_since.get(name), rollout.busy_since.get(name)
    if not word.is_reachable:
        return silent is not None and now - silent >= rollout.patience_seconds
    return word.is_busy and busy is not None and now - busy >= rollout.busy_seconds


def _forward(rollout: Rollout, names: Sequence[str], words: Mapping[str, Word], now: float) -> Rollout:
    failed, applied_at = dict(rollout.failed), dict(rollout.applied_at)
    for name in names:
        sentence = _failure(rollout, name, words[name], now)
        if sentence:
            failed.setdefault(name, sentence)
    for number, since in rollout.applied_at.items():
        if since > now:  # the clock was set back: it bakes anew
            applied_at[number] = now
    stage = current(rollout, now)
    is_new = stage is not None and stage.number not in applied_at and not failed
    if stage and is_new and all(place(rollout, name, words[name]) == "applied" for name in stage.clusters):
        applied_at[stage.number] = now
    if failed == rollout.failed and applied_at == rollout.applied_at:
        return rollout
    return replace(rollout, failed=failed, applied_at=applied_at)


def _failure(rollout: Rollout, name: str, word: Word, now: float) -> str:
    where = place(rollout, name, word)
    if where == "failed":
        return word.refusal or (word.run.reason if word.run else "") or "The update failed."
    if where == "unwell":
        return f"It runs the new version and is not well: {word.detail or 'a health check fails.'}"
    if where == "foreign":
        return f"Somebody else brought it to {(word.commit or 'nothing')[:12]} meanwhile."
    if where == "silent" and _is_given_up(rollout, name, word, now):
        return f"It did not answer for {rollout.patience_seconds:g} seconds. {word.detail}".strip()
    if where == "updating" and _is_given_up(rollout, name, word, now):
        return _endless(rollout)
    return ""


def _endless(rollout: Rollout) -> str:
    return f"It has been at work for {rollout.busy_seconds:g} seconds and came to no end."


def _turned(rollout: Rollout, names: Sequence[str], words: Mapping[str, Word], now: float) -> Rollout:
    """Forward, unless all is done, or something failed and nothing is under way any more."""
    if rollout.has_failed:
        if _under_way(rollout, names, words):
            return rollout
        has_way_back = any(start.commit != rollout.target for start in rollout.starts.values())
        if rollout.on_failure == "rollback_all" and has_way_back:
            return replace(rollout, direction="back", silent_since={})
        return replace(rollout, direction="ended", end="stopped" if rollout.failed else "aborted")
    if current(rollout, now) is None and len(names) == len(rollout.starts):
        return replace(rollout, direction="ended", end="succeeded")
    return rollout


def _under_way(rollout: Rollout, names: Sequence[str], words: Mapping[str, Word]) -> bool:
    """Is a cluster moving, or may it be for all we know."""
    for name in names:
        where = place(rollout, name, words[name])
        if where == "unsettled" or (where in {"updating", "silent"} and name not in rollout.failed):
            return True
    return False


def _back(rollout: Rollout, words: Mapping[str, Word], now: float) -> Rollout:
    stuck = dict(rollout.stuck)
    for name in rollout.clusters:
        sentence = _stuck(rollout, name, words[name], now)
        if is_back(rollout, name, words[name]):
            stuck.pop(name, None)
        elif sentence:
            stuck.setdefault(name, sentence)
    rollout = rollout if stuck == rollout.stuck else replace(rollout, stuck=stuck)
    if all(name in stuck or is_back(rollout, name, words[name]) for name in rollout.clusters):
        return replace(rollout, direction="ended", end="rollback_failed" if stuck else "rolled_back")
    return rollout


def _stuck(rollout: Rollout, name: str, word: Word, now: float) -> str:
    """Why a cluster cannot be brought back without a person, or nothing."""
    is_given_up = _is_given_up(rollout, name, word, now)
    if not word.is_reachable:
        return f"It does not answer. {word.detail}".strip() if is_given_up else ""
    if is_given_up:
        return _endless(rollout)
    if not word.is_seen:
        return word.refusal
    if not _is_at_rest(word):
        return ""
    if _is_broken(rollout, name, word):
        return (word.run.reason if word.run else "") or "Its way back failed."
    if word.commit != rollout.target:
        return f"It runs {(word.commit or 'nothing')[:12]}, which is neither the old version nor the new one."
    return word.refusal


def resumed(rollout: Rollout, approved: frozenset[str] = frozenset()) -> Rollout:
    """The record as a person's word sends it on: not paused, these clusters approved, what is stuck tried
    again."""
    approved = rollout.approved | approved
    rollout = replace(rollout, is_paused=False, approved=approved, silent_since={}, busy_since={})
    if rollout.end == "rollback_failed":
        return replace(rollout, direction="back", end=None, stuck={}, attempt=rollout.attempt + 1)
    return rollout


# --- moving


def next_move(
    rollout: Rollout, words: Mapping[str, Word], now: float, closed: frozenset[str] = frozenset()
) -> Move:
    """What to begin now. `words` are those that were learnt from; `closed` are clusters outside of their
    maintenance windows."""
    if rollout.direction == "ended":
        return Move(is_over=True)
    names = in_play(rollout, now)
    if any(name not in words for name in names):  # a barrier has opened, or the way back begins: ask them all
        return Move(wait_seconds=0.0)
    if rollout.direction == "back":
        return _move_back(rollout, words)
    stopping = rollout.has_failed or rollout.is_paused
    for stage in rollout.stages:
        lost = [n for n in stage.clusters if n in words and place(rollout, n, words[n]) == "unsettled"]
        if lost:
            return Move(settle=tuple(lost[: _room(rollout, stage, words)]))
    if stopping:
        is_held = not rollout.has_failed and not _under_way(rollout, names, words)
        return Move(is_held=is_held)
    return _move_on(rollout, words, now, closed)


def _room(rollout: Rollout, stage: Stage, words: Mapping[str, Word]) -> int:
    """How many of the stage's clusters may begin. None while one of another stage is under way; a silent one
    may be under way. Who is stuck holds nobody: that may be for ever."""
    heard = {n: words[n] for n in rollout.clusters if n in words and n not in rollout.stuck}
    if any(word.is_busy for n, word in heard.items() if n not in stage.clusters):
        return 0
    taken = sum(heard[n].is_busy or not heard[n].is_reachable for n in stage.clusters if n in heard)
    return max(0, stage.batch - taken)


def _move_on(rollout: Rollout, words: Mapping[str, Word], now: float, closed: frozenset[str]) -> Move:
    stage = current(rollout, now)
    if stage is None:
        return Move(wait_seconds=0.0)
    rest = _rest_of_bake(rollout, stage, now)
    if rest is not None:
        return Move(wait_seconds=rest)
    before = [n for one in rollout.stages if one.number < stage.number for n in one.clusters]
    if any(place(rollout, n, words[n]) != "applied" for n in before):
        return Move()  # one of them is silent, or somebody is at work on it: nothing is known to be well
    waiting = [n for n in stage.clusters if n not in closed and place(rollout, n, words[n]) == "waiting"]
    turn = waiting[: _room(rollout, stage, words)]
    asks = rollout.needs_approval - rollout.approved
    return Move(apply=tuple(n for n in turn if n not in asks), asks=tuple(n for n in turn if n in asks))


def _move_back(rollout: Rollout, words: Mapping[str, Word]) -> Move:
    """The last stage that is not back yet, and in it as many at once as went forward at once."""
    for stage in reversed(rollout.stages):
        left = [n for n in stage.clusters if n not in rollout.stuck and not is_back(rollout, n, words[n])]
        if not left:
            continue
        ready = [name for name in left if words[name].is_reachable and not words[name].is_busy]
        turn = ready[: _room(rollout, stage, words)]
        return Move(
            go_back=tuple(name for name in turn if not words[name].is_unsettled),
            settle=tuple(name for name in turn if words[name].is_unsettled),
        )
    return Move(wait_seconds=0.0)
