"""What `detect` foretells, against what a real `docker compose up` does on a real engine.

Hypothesis draws chains of projects. The first is started; each next one is applied by `up -d`, and the
containers that were really replaced, restarted, created or removed must be those that were foretold.
Foretelling less than compose does would leave a change undone or surprise its owner: never allowed.
Foretelling more is allowed only where compose is known to be blind.
"""

import json
import os
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from dual_update.adapters.compose import ComposeRenderer
from dual_update.adapters.git import GitRepository
from dual_update.adapters.ignore import sent_to_build
from dual_update.core.decision import Decision
from dual_update.usecases.detect import DetectRequest, detect
from tests.integration.pairs import Choices, chains
from tests.integration.world import Cluster, Container, World

PAIRS_IN_CHAIN = 5
CHAINS_IN_CI = 12  # times five pairs: 60 in CI, 2,000 in a sweep
CHAINS_IN_SWEEP = 440  # chains end early where compose itself cannot go on
CHAINS_IN_CHUNK = 2
AT_ONCE = 4

BLIND = frozenset(
    {
        "config.definition",
        "config.content",
        "secret.definition",
        "secret.content",
        "file.content",
        "model.definition",
        "network.definition",  # compose makes the network anew and restarts its users
        "volume.definition",
        "service.profiles",  # newly behind a profile: compose leaves it running and stale
        "service.build",
        "code.context",
    }
)
"""Rules for what compose does not see or not finish (facts in docs/rules.md)."""


@dataclass
class Tally:
    """How a sweep went."""

    pairs: int = 0
    services: int = 0
    kinds: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Seen:
    """One service on the engine: container ids with their start times, and whether one of them is down."""

    containers: Mapping[str, str]
    is_down: bool = False

    @classmethod
    def all(cls, containers: list[Container]) -> dict[str, "Seen"]:
        found: dict[str, dict[str, str]] = {}
        for one in containers:
            found.setdefault(one.service, {})[one.id] = one.started_at
        down = {one.service for one in containers if one.state != "running"}
        return {name: cls(ids, name in down) for name, ids in found.items()}


def happened(before: Seen | None, after: Seen | None) -> str:
    if before is None or after is None:
        return "untouched" if before is after else "created" if before is None else "removed"
    stayed = before.containers.keys() & after.containers.keys()
    if not stayed:
        return "recreated"
    if any(before.containers[one] != after.containers[one] for one in stayed):
        # Two services in one network cannot both have the port; whoever lost ended, and every up starts it.
        return "started again" if before.is_down else "restarted"
    return "untouched" if before.containers.keys() == after.containers.keys() else "scaled"


EXPECTED = {
    "none": {"untouched"},
    "record": {"untouched"},
    "scale": {"scaled"},
    "roll": {"recreated"},
    "recreate": {"recreated"},
    "rebuild": {"recreated"},
    "create": {"created"},
    "remove": {"removed"},
}


def wrong(decision: Decision, name: str, what: str) -> str | None:
    """Why an outcome contradicts the prediction, or None."""
    one = decision.services.get(name)
    action = one.action if one else "none"
    if what in EXPECTED[action]:
        return None
    rules = {f.rule.id for f in decision.findings if f.change.name == name or name in f.change.users}
    is_light = action in {"none", "record", "scale"}
    if not is_light and what in {"untouched", "restarted", "scaled"} and rules & BLIND:
        return None
    if action == "scale" and what == "untouched":
        return None  # as many as before, said in another way
    return (
        f"{'DANGEROUS' if is_light else 'too much'}: {name} was foretold {action}, compose: {what}; {rules}"
    )


def applied(cluster: Cluster) -> bool:
    """`up -d`. Compose 2.40.3 fails where a network is made anew while a service moves onto it, and where the
    engine forgot an endpoint on it."""
    command = ("docker", "compose", "up", "-d", "--remove-orphans", "-t", "2")
    done = subprocess.run(command, cwd=cluster.directory, capture_output=True, text=True, check=False)
    known = ("is not connected to the network", "has active endpoints")
    assert done.returncode == 0 or any(one in done.stderr for one in known), done.stderr
    return done.returncode == 0


def judge(cluster: Cluster, base: str, head: str) -> Decision:
    with GitRepository(cluster.directory) as repository:
        request = DetectRequest(head=head, base=base)
        return detect(request, repository, ComposeRenderer(), sent_to_build).decision


def walk(
    chain: list[Choices], world: World, images: Mapping[str, str], cluster: Cluster, tally: Tally
) -> None:
    """Applies a chain to the engine; raises AssertionError with the first pair that went otherwise."""
    base: str | None = None
    stale: set[str] = set()  # left running behind a profile: compose forgets them, and may find them again
    for choices in chain:
        cluster.write(dict(choices.files(images, cluster.project)))
        head = cluster.commit()
        before = Seen.all(cluster.containers())
        if not applied(cluster):
            tally.kinds["compose could not"] += 1
            return
        after = Seen.all(cluster.containers())
        if base is not None:
            decision = judge(cluster, base, head)
            tally.pairs += 1
            for name in sorted({*decision.services, *before, *after}):
                what = happened(before.get(name), after.get(name))
                is_told = name not in stale and what != "started again"
                problem = wrong(decision, name, what) if is_told else None
                tally.services += 1
                tally.kinds[
                    f"{decision.services[name].action if name in decision.services else 'none'}: {what}"
                ] += 1
                assert problem is None, f"{problem}\n{cluster.git('diff', base, head)}"
            stale = {
                name
                for name in stale | {n for n, one in decision.services.items() if one.action == "remove"}
                if name in after
            }
        base = head


def examine(world: World, chunks: Sequence[int], chains_to_walk: int) -> Tally:
    """Walks the chains that these seeds stand for, the same ones each time, at once: the engine is slow."""
    first = world.images.push("app:1", has_healthcheck=False)
    second = world.images.push("app:2", has_healthcheck=False)
    images = {"@1": first.ref, "@2": second.ref, "@1-pinned": first.pinned}
    clusters = [world.repo({"README": "one\n"}) for _ in chunks]
    tally = Tally()

    def of_seed(chunk: int, cluster: Cluster) -> None:
        @seed(chunk)
        @settings(
            max_examples=chains_to_walk,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(chains(PAIRS_IN_CHAIN))
        def walk_one(chain: list[Choices]) -> None:
            try:
                walk(chain, world, images, cluster, tally)
            finally:
                world.broom.sweep(lambda project: project.startswith(cluster.project))

        walk_one()

    with ThreadPoolExecutor(len(chunks)) as pool:
        for done in [pool.submit(of_seed, *each) for each in zip(chunks, clusters, strict=True)]:
            done.result()
    return tally


@pytest.mark.timeout(600)
def test_compose_does_what_was_foretold(world: World) -> None:
    tally = examine(world, range(AT_ONCE), CHAINS_IN_CI // AT_ONCE)
    print(f"{tally.pairs} pairs, {tally.services} services: {dict(tally.kinds)}")
    assert tally.pairs >= CHAINS_IN_CI * PAIRS_IN_CHAIN * 0.8
    assert len(tally.kinds) >= 5, "the pairs are too much alike to prove anything"


@pytest.mark.sweep
@pytest.mark.timeout(0)
def test_sweep(world: World) -> None:
    """The full size, in chunks of two chains. ORACLE_STATE names a file that remembers which are done."""
    if not os.environ.get("ORACLE_STATE"):
        pytest.skip("give a file in ORACLE_STATE: the sweep takes an hour and goes on where it ended")
    state = Path(os.environ["ORACLE_STATE"])
    done = json.loads(state.read_text()) if state.exists() else {"chunks": 0, "pairs": 0, "services": 0}
    while done["chunks"] * CHAINS_IN_CHUNK < CHAINS_IN_SWEEP:
        tally = examine(world, range(1000 + done["chunks"], 1000 + done["chunks"] + AT_ONCE), CHAINS_IN_CHUNK)
        done = {
            "chunks": done["chunks"] + AT_ONCE,
            "pairs": done["pairs"] + tally.pairs,
            "services": done["services"] + tally.services,
        }
        state.write_text(json.dumps(done))
