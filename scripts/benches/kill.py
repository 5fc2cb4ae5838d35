"""Kills the deployer at every step of every flow, and looks at what recovery makes of it.

For each flow the acts of an undisturbed run are counted (journal entries, calls to compose and the engine,
moves of the checkout, files). Then it is killed with its process group before, within and after each of them,
in an order that the seed gives. Every third recovery is done by the next `apply`, every fifth is killed too.
With --resume a finished blow is not struck again.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))


@contextmanager
def _world(folder: Path, name: str) -> "Iterator[object]":
    import docker
    from tests.integration.world import Broom, Images, Registry, World

    broom = Broom(docker.from_env())
    with Registry(folder) as registry:
        world = World(folder, Images(registry, name), broom, name)
        try:
            yield world
        finally:
            world.teardown()
            broom.sweep()
            broom.sweep_images()
            broom.close()


def _quiet_environment(folder: Path) -> None:
    """No settings of whoever runs it; an identity for commits."""
    for name in list(os.environ):
        if name.startswith(("COMPOSE_", "DUAL_UPDATE_", "GIT_")):
            del os.environ[name]
    os.environ.update(
        GIT_AUTHOR_NAME="Ada", GIT_AUTHOR_EMAIL="ada@example.org", GIT_COMMITTER_NAME="Ada",
        GIT_COMMITTER_EMAIL="ada@example.org", GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_NOSYSTEM="1",
        DUAL_UPDATE_STATE_DIR=str(folder / "state"),
    )  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    from tests.integration.killing import FLOWS, Arena, points

    parser = argparse.ArgumentParser(prog="bench kill", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=24, help="blows in all; 0: every one there is")
    parser.add_argument("--flows", default=",".join(FLOWS), help="comma-separated")
    parser.add_argument("--resume", type=Path, help="a file that remembers finished blows")
    parser.add_argument("--minutes", type=float, default=0, help="stop after this long")
    options = parser.parse_args(arguments)
    flows = options.flows.split(",")
    done: dict[str, dict[str, object]] = {}
    if options.resume and options.resume.exists():
        done = {(one := json.loads(line))["key"]: one for line in options.resume.read_text().splitlines()}
    end = time.monotonic() + options.minutes * 60 if options.minutes else float("inf")
    share = -(-options.count // len(flows)) if options.count else 0
    results = []
    for flow in flows:
        with tempfile.TemporaryDirectory(prefix="bench-kill-") as name:
            folder = Path(name)
            _quiet_environment(folder)
            with _world(folder, f"kill-{flow.replace('_', '-')}") as world:
                arena = Arena(world, flow)  # type: ignore[arg-type]
                acts = arena.acts()
                order = random.Random(options.seed)
                every = {side: points(one) for side, one in acts.items()}
                pending = {
                    side: order.sample(found, len(found))[: -(-share // len(every)) or None]
                    for side, found in every.items()
                }
                total = sum(map(len, pending.values()))
                of = {side: (len(acts[side]), len(every[side])) for side in acts}
                print(f"{flow}: (acts, points) by direction {of}; {total} chosen", flush=True)
                for number in range(10 * total):
                    pending = {
                        side: [p for p in left if f"{flow}/{side} {p}" not in done]
                        for side, left in pending.items()
                    }
                    if not any(pending.values()) or time.monotonic() > end:
                        break
                    side = arena.side
                    if not pending[side]:
                        arena.count()
                        continue
                    point = pending[side].pop()
                    again = f"KILL:before:{1 + number % 9}" if number % 5 == 4 else ""
                    by_apply = number % 3 == 2 and flow != "rollback"
                    key = f"{flow}/{side} {point}"
                    ended = arena.blow(point, by_apply=by_apply, again=again)
                    line = {"key": key, **asdict(ended), "again": again, "by_apply": by_apply}
                    results.append(line)
                    if options.resume:
                        with options.resume.open("a") as file:
                            file.write(json.dumps(line) + "\n")
                    if ended.wrong:
                        print(f"  WRONG {key} {again} {by_apply}: {ended.wrong}\n{ended.said}", flush=True)
                        if arena.wrong():  # a fresh cluster for what follows
                            arena = Arena(world, flow)  # type: ignore[arg-type]
        results += [one for key, one in done.items() if key.startswith(f"{flow}/")]
    _table(results)
    return 1 if any(one["wrong"] for one in results) else 0


def _table(results: list[dict[str, object]]) -> None:
    print(f"\n{'flow':14} {'blows':>6} {'old':>5} {'new':>5} {'none':>5} {'wrong':>6} {'settled in s':>22}")
    for flow in dict.fromkeys(one["flow"] for one in results):
        mine = [one for one in results if one["flow"] == flow]
        ends = Counter(one["end"] for one in mine)
        seconds = sorted(float(one["recovery_seconds"]) for one in mine)  # type: ignore[arg-type]
        wrong = sum(bool(one["wrong"]) for one in mine)
        middle = seconds[len(seconds) // 2]
        print(
            f"{flow!s:14} {len(mine):6} {ends['old']:5} {ends['new']:5} {ends['nothing']:5} {wrong:6}"
            f" {middle:18.1f}, {seconds[-1]:6.1f}"
        )
    wrong = sum(bool(one["wrong"]) for one in results)
    struck = sum(bool(one["has_struck"]) for one in results)
    again = sum(bool(one["again"]) for one in results)
    print(
        f"\n{len(results)} blows ({struck} fell before the end, {again} on the recovery, too): {wrong} wrong"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
