"""Carries out a staged roll-out: ask, learn, write down, begin; again until nothing is left to do.

What to do is decided in core/rollout. Here is one round after another, and nothing is known from one round to
the next but the record: that is why another coordinator can take up where this one died.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from dual_update.core.errors import ExitCode, NotNow
from dual_update.core.rollout import (
    Direction,
    Move,
    Place,
    Rollout,
    Stage,
    Start,
    Word,
    in_play,
    learn,
    next_move,
    place,
    starts,
)
from dual_update.usecases.ports import Say

POLL_SECONDS = 1.0
BAKE_POLL_SECONDS = 10.0
"""How often clusters are looked at while a stage bakes."""

Wish = Literal["", "pause", "abort"]


class Member(Protocol):
    """A cluster of the fleet. No call raises or waits for the end of what it asks: the next look tells.

    `key` names a wish. The same wish may arrive twice and is carried out once.
    """

    def look(self) -> Word: ...
    def apply(self, commit: str, key: str) -> None: ...
    def go_back(self, start: Start, target: str, key: str) -> None: ...
    def settle(self) -> None:
        """Settle the run of a deployer that died."""
        ...


class Record(Protocol):
    """Where the coordinator writes down, and others leave their wishes."""

    def save(self, rollout: Rollout) -> None: ...
    def wish(self) -> Wish:
        """A person's wish that waits. It stays until it is `heeded`: a coordinator may die in between."""
        ...

    def heeded(self) -> None:
        """What was wished is written down, or came too late."""
        ...


Together = Callable[[Sequence[Callable[[], Word]]], Sequence[Word]]


def one_by_one(looks: Sequence[Callable[[], Word]]) -> list[Word]:
    """Look at clusters in turn."""
    return [look() for look in looks]


def never_closed(_: Iterable[str]) -> frozenset[str]:
    """No maintenance windows."""
    return frozenset()


@dataclass(frozen=True)
class Conductor:
    """A roll-out's surroundings. `time` is seconds since 1970; `approve` asks a person about clusters;
    `closed` says which of them are outside of their maintenance windows; `together` looks at several."""

    members: Mapping[str, Member]
    record: Record
    time: Callable[[], float]
    sleep: Callable[[float], None]
    say: Say
    approve: Callable[[Sequence[str]], bool]
    closed: Callable[[Iterable[str]], frozenset[str]] = never_closed
    together: Together = one_by_one
    poll_seconds: float = POLL_SECONDS


@dataclass(frozen=True)
class Conducted:
    """How conducting ended: the record, the last words of the clusters, whether it was interrupted, and
    clusters that a person was asked about and has not approved."""

    rollout: Rollout
    words: Mapping[str, Word]
    was_interrupted: bool = False
    unapproved: tuple[str, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        if self.was_interrupted and self.rollout.direction != "ended":
            return ExitCode.INTERRUPTED
        match self.rollout.end:
            case "succeeded":
                return ExitCode.DONE
            case "rollback_failed":
                return ExitCode.ROLLBACK_FAILED
            case None:
                return ExitCode.NOT_NOW
        return ExitCode.FAILED


def begin(
    conductor: Conductor,
    rollout_id: str,
    target: str,
    stages: Sequence[Stage],
    **policy: object,
) -> Rollout:
    """The record of a new roll-out. Raises NotNow, with nothing begun, while a cluster does not answer or is
    busy: what it ran before could not be known."""
    names = [name for stage in stages for name in stage.clusters]
    words = _look(conductor, names)
    silent = [f"{name}: {words[name].detail}" for name in names if not words[name].is_reachable]
    if silent:
        raise NotNow("These clusters do not answer; nothing was begun.\n" + "\n".join(silent[:10]))
    refused = [f"{name}: {words[name].refusal}" for name in names if words[name].refusal]
    if refused:
        raise NotNow("These clusters refuse; nothing was begun.\n" + "\n".join(refused[:10]))
    busy = [name for name in names if words[name].is_busy]
    if busy:
        raise NotNow(f"An update is under way on {', '.join(busy[:10])}; nothing was begun.")
    unsettled = [name for name in names if words[name].is_unsettled]
    if unsettled:
        raise NotNow(
            f"On {', '.join(unsettled[:10])} an update did not end; nothing was begun.",
            hint="Settle it there with `dual-update recover`.",
        )
    rollout = Rollout(rollout_id, target, tuple(stages), starts(words, target), **policy)  # type: ignore[arg-type]
    conductor.record.save(rollout)
    return rollout


def conduct(conductor: Conductor, rollout: Rollout) -> Conducted:
    """Go on until the roll-out is over, a person has to decide, or it is paused.

    An interrupt pauses it: what is under way comes to its end, nothing new is begun.
    """
    told: dict[str, tuple[Direction, Place]] = {}
    words: dict[str, Word] = {}
    was_interrupted = False
    unapproved: tuple[str, ...] = ()
    while True:
        try:
            known = rollout
            rollout = _wished(conductor, rollout)
            now = conductor.time()
            fresh = _surely(conductor, rollout, _look(conductor, in_play(rollout, now)))
            words |= fresh
            rollout = learn(rollout, fresh, now)
            if rollout != known:
                conductor.record.save(rollout)
            _tell(conductor, rollout, fresh, told)
            move = next_move(rollout, fresh, now, conductor.closed(fresh))
            if move.is_over or move.is_held:
                return Conducted(rollout, words, was_interrupted, unapproved)
            if move.asks:
                rollout, unapproved = _asked(conductor, rollout, move.asks)
            _begin_all(conductor, rollout, move, fresh)
            _rest(conductor, move)
        except KeyboardInterrupt:
            if was_interrupted:
                raise
            was_interrupted = True
            conductor.say(_paused_words(rollout).replace("paused:", "stopping:"))
            rollout = replace(rollout, is_paused=True)
            conductor.record.save(rollout)


def _look(conductor: Conductor, names: Sequence[str]) -> dict[str, Word]:
    words = conductor.together([conductor.members[name].look for name in names])
    return dict(zip(names, words, strict=True))


def _surely(conductor: Conductor, rollout: Rollout, words: dict[str, Word]) -> dict[str, Word]:
    """Whoever is not well on the new version is looked at twice: one lost answer shall not stop a fleet."""
    if rollout.direction != "forward":
        return words
    unwell = [name for name, word in words.items() if place(rollout, name, word) == "unwell"]
    if not unwell:
        return words
    conductor.sleep(conductor.poll_seconds)
    return {**words, **_look(conductor, unwell)}


def _wished(conductor: Conductor, rollout: Rollout) -> Rollout:
    wish = conductor.record.wish()
    if not wish:
        return rollout
    if wish == "pause" and not rollout.is_paused:
        conductor.say(_paused_words(rollout))
        rollout = replace(rollout, is_paused=True)
    if wish == "abort" and not rollout.is_aborted:
        conductor.say("aborted: nothing new is begun")
        rollout = replace(rollout, is_aborted=True)
    conductor.record.save(rollout)
    conductor.record.heeded()
    return rollout


def _paused_words(rollout: Rollout) -> str:
    """What a pause means now. The way back goes on: else a part of the fleet would stay on each version."""
    if rollout.direction == "back":
        return "the way back is not paused: clusters go on returning to what they ran"
    return "paused: what is under way comes to its end, nothing new is begun"


def _asked(conductor: Conductor, rollout: Rollout, names: tuple[str, ...]) -> tuple[Rollout, tuple[str, ...]]:
    """The record with a person's yes; without one it is paused. And the clusters that have no yes yet."""
    if conductor.approve(names):
        rollout, names = replace(rollout, approved=rollout.approved | set(names)), ()
    else:
        rollout = replace(rollout, is_paused=True)
    conductor.record.save(rollout)
    return rollout, names


def _begin_all(conductor: Conductor, rollout: Rollout, move: Move, words: Mapping[str, Word]) -> None:
    for name in move.settle:
        conductor.say(f"{name}: an update did not end there; settling it")
        conductor.members[name].settle()
    for name in move.apply:
        conductor.say(f"{name}: to {rollout.target[:12]}")
        conductor.members[name].apply(rollout.target, _key(rollout, name, "apply", words[name]))
    for name in move.go_back:
        start = rollout.starts[name]
        conductor.say(f"{name}: back to {(start.commit or 'what ran before')[:12]}")
        key = _key(rollout, name, "back", words[name])
        conductor.members[name].go_back(start, rollout.target, key)


def _key(rollout: Rollout, name: str, wish: str, word: Word) -> str:
    """The same wish has the same name, whoever utters it: this coordinator twice, or the next one. After
    another run of the cluster it is another wish, and where a person has it tried again: what was refused
    then may be possible now."""
    again = f".{rollout.attempt}" if rollout.attempt else ""
    return f"{rollout.id}.{name}.{wish}.{word.run.id if word.run else 'first'}{again}"


def _rest(conductor: Conductor, move: Move) -> None:
    if move.wait_seconds == 0.0:
        return
    seconds = conductor.poll_seconds
    if move.wait_seconds is not None:
        seconds = min(move.wait_seconds, max(seconds, BAKE_POLL_SECONDS))
    conductor.sleep(seconds)


def _tell(
    conductor: Conductor,
    rollout: Rollout,
    words: Mapping[str, Word],
    told: dict[str, tuple[Direction, Place]],
) -> None:
    """One line for each cluster whose place changed."""
    for name, word in words.items():
        where = (rollout.direction, place(rollout, name, word))
        if told.get(name) != where:
            if name in told or where[1] in {"failed", "unwell", "silent"}:
                conductor.say(f"{name}: {rollout.failed.get(name) or where[1]}")
            told[name] = where
