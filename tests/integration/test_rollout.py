"""Roll-outs over three isolated projects on one engine and two bare repositories, with real faults.

`a` and `c` are checkouts on this machine, each with its own state folder; `b` is behind the API of a real
`dual-update serve`, seen through a proxy that cuts, loses and refuses. They are stages 0, 1 and 2.
"""

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.integration.fleet_proxy import Proxy, proxied
from tests.integration.fleet_world import Done, Fleet, witness
from tests.integration.served import TOKEN, Served
from tests.integration.world import World, eventually

NAMES = ("a", "b", "c")


@dataclass(frozen=True)
class Fault:
    """What goes wrong. `point` kills the coordinator (fleet_strike.py), `trigger` and `network` strike b's
    proxy, `bad` has a bad image; `ends` says which clusters run the new version in the end."""

    name: str
    ends: str
    on_failure: str = "stop"
    point: str = "-"
    bad: str = ""
    trigger: str = ""
    network: str = ""
    patience_seconds: float = 20.0
    code: int = 0


ALL = "abc"
NOT_BEGUN = 5
CHECK, APPLY = "POST /api/check", "POST /api/apply"

STOPS = (
    Fault("killed as a is asked", ALL, point="apply:a:0"),
    Fault("killed while a is updated", ALL, point="apply:a:1.2"),
    Fault("killed while b is updated", ALL, point="apply:b:1.2"),
    Fault("b's answer is lost", ALL, trigger=APPLY, network="lose"),
    Fault("b is cut off while it is updated", ALL, trigger=APPLY, network="gap"),
    Fault("a's image is bad", "", bad="a", code=1),
    Fault("b's token is refused at its turn", "a", trigger=CHECK, network="refuse", code=1),
)
ROLLBACKS = tuple(
    Fault(name, "", "rollback_all", **more)  # type: ignore[arg-type]
    for name, more in (
        ("b's image is bad", {"bad": "b", "code": 1}),
        ("c's image is bad", {"bad": "c", "code": 1}),
        ("c's image is bad, killed on the way back of b", {"bad": "c", "point": "back:b:0.8", "code": 1}),
        ("c's image is bad, killed while it fails", {"bad": "c", "point": "apply:c:1.2", "code": 1}),
        (
            "b is cut off for good at its turn",
            {"trigger": CHECK, "network": "cut", "patience_seconds": 2.0, "code": 4},
        ),
    )
)


class Story:
    """A fleet that goes through one fault after the other. `runs` is each cluster's version."""

    def __init__(self, fleet: Fleet, proxy: Proxy) -> None:
        self.fleet = fleet
        self.proxy = proxy
        self.runs = dict.fromkeys(NAMES, 1)
        self.torn: list[tuple[str, str, str]] = []

    def meet(self, fault: Fault) -> Done:
        fleet = self.fleet
        before = {name: len(one.history()) for name, one in fleet.members.items()}
        commit = fleet.version(**({fault.bad: "crash"} if fault.bad else {}))  # type: ignore[arg-type]
        self.proxy.arm(fault.trigger, fault.network)
        file = fleet.file(
            fault.on_failure, patience_seconds=fault.patience_seconds, urls={"b": self.proxy.url}
        )
        arguments = ("--clusters", str(file))
        done = fleet.rollout(*arguments, "--ref", commit, point=fault.point, FLEET_TOKEN=TOKEN)
        if fault.point != "-":
            assert done.code == -signal.SIGKILL, f"{fault.name}: nobody struck\n{done.said}"
            done = fleet.rollout(*arguments, "--resume", FLEET_TOKEN=TOKEN)
        assert not fault.network or self.proxy.has_struck, f"{fault.name}: the network did no harm"
        assert done.code == fault.code, f"{fault.name}: {done.code}\n{done.told}\n{done.said}"
        if done.code == 4:  # what could not be reached is brought back as soon as it can be
            assert done.standing()["b"] == "stuck"
            self.proxy.heal()
            done = fleet.rollout(*arguments, "--resume", FLEET_TOKEN=TOKEN)
            assert (done.code, done.state) == (1, "rolled_back"), done.said
        self.proxy.heal()
        self._check(fault, done, before, commit)
        return done

    def _check(self, fault: Fault, done: Done, before: dict[str, int], commit: str) -> None:
        """Every witness of every cluster: the new version where it is meant to be, else the old one."""
        for name in fault.ends:
            self.runs[name] = self.fleet.number
        eventually(lambda: self.wrong() == [], within_seconds=20, what=f"{fault.name}: {self.wrong()}")
        reached = NAMES.index(fault.bad or ("b" if fault.network else "c"))
        for name, one in self.fleet.members.items():
            new = one.history()[: len(one.history()) - before[name]]
            if fault.on_failure == "stop" and fault.code and NAMES.index(name) > reached:
                assert new == [], f"{fault.name}: {name} was touched"
            good = [r for r in new if r["to"] == commit and r["outcome"] == "succeeded"]
            assert len(good) <= 1, f"{fault.name}: {name} was updated {len(good)} times"
            if fault.code == NOT_BEGUN:
                assert new == [], f"{fault.name}: {name} was touched"
        if fault.code == NOT_BEGUN:
            return
        standing = done.standing()
        untouched = {name for name, word in standing.items() if word == "untouched"}
        assert untouched <= set(NAMES) - set(fault.ends), standing

    def wrong(self) -> list[str]:
        return [words for name, version in self.runs.items() for words in self.fleet.wrong(name, version)]


@contextmanager
def story(world: World) -> Iterator[Story]:
    fleet = Fleet(world, NAMES)
    served = Served(fleet.members["b"].cluster, fleet.members["b"].state)
    served.start()
    try:
        with proxied(served.url) as proxy, witness(fleet) as torn:
            one = Story(fleet, proxy)
            yield one
            assert torn == [], "the parent's new commit ran with the submodule's old one"
    finally:
        served.stop()


def go_through(world: World, faults: Sequence[Fault]) -> None:
    with story(world) as told:
        for fault in faults:
            began = time.monotonic()
            done = told.meet(fault)
            state, ends = done.state if done.told else "not begun", "".join(fault.ends) or "none"
            print(f"{fault.name:<50} {state:<14} {ends:<6} {time.monotonic() - began:6.1f} s")


@pytest.mark.timeout(600)
def test_faults_stop_a_rollout_or_are_survived(world: World) -> None:
    go_through(world, STOPS)


@pytest.mark.timeout(600)
def test_faults_take_all_clusters_back(world: World) -> None:
    go_through(world, ROLLBACKS)


@pytest.mark.sweep
@pytest.mark.timeout(7200)
def test_every_fault_at_every_cluster_and_step(world: World) -> None:
    killed = [
        Fault(f"killed {seconds} s into {name}", ALL, point=f"apply:{name}:{seconds}")
        for name in NAMES
        for seconds in (0, 0.4, 0.8, 1.2, 1.6, 2.4)
    ]
    going_back = [
        Fault(
            f"killed {seconds} s into the way back of {name}",
            "",
            "rollback_all",
            bad="c",
            point=f"back:{name}:{seconds}",
            code=1,
        )
        for name in ("a", "b")
        for seconds in (0, 0.5, 1.5)
    ]
    network = [
        Fault(f"{fault} at {trigger}", ALL, trigger=trigger, network=fault)
        for fault in ("lose", "gap")
        for trigger in (CHECK, APPLY, "GET /api/runs", "GET /api/status")
        if (fault, trigger) != ("gap", "GET /api/status")
    ]
    unseen = Fault("b does not answer at the beginning", "", trigger="GET /api/status", network="gap", code=5)
    refused = Fault(
        "b's token is refused at its turn, way back",
        "",
        "rollback_all",
        trigger=CHECK,
        network="refuse",
        code=4,
    )
    go_through(world, [*ROLLBACKS, *killed, *going_back, *network, unseen, refused, *STOPS[-2:]])
