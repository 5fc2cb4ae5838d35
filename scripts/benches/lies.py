"""Tells every lie in every flow, and looks whether the tool believes it.

A lie: the call returns as if all were well, and the engine shows something else. Printed is what the tool
claimed in the end, and how often the claim was false. Exit code 1 when there is a false success.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]


def main(arguments: Sequence[str]) -> int:
    from benches.kill import _quiet_environment, _world
    from tests.integration.lying import FLOWS, Arena, Told, as_json

    parser = argparse.ArgumentParser(prog="bench lies", description=__doc__.splitlines()[0])
    parser.add_argument("--flows", default=",".join(FLOWS), help="comma-separated")
    parser.add_argument("--only", default="", help="lies whose name contains this")
    parser.add_argument("--count", type=int, default=0, help="lies in each flow, chosen by --seed; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=0, help="stop after this long")
    parser.add_argument("--output", type=Path, help="a JSON line per lie")
    options = parser.parse_args(arguments)
    end = time.monotonic() + options.minutes * 60 if options.minutes else float("inf")
    results: list[Told] = []
    skipped = 0
    for flow in options.flows.split(","):
        with tempfile.TemporaryDirectory(prefix="bench-lies-") as name:
            folder = Path(name)
            _quiet_environment(folder)
            with _world(folder, f"lies-{flow}") as world:
                arena = Arena(world, flow)  # type: ignore[arg-type]
                lies = [lie for lie in FLOWS[flow] if options.only in lie.name]
                if 0 < options.count < len(lies):
                    lies = random.Random(f"{options.seed}{flow}").sample(lies, options.count)
                for lie in lies:
                    if time.monotonic() > end:
                        skipped += 1
                        continue
                    told = arena.tell(lie)
                    results.append(told)
                    mark = "FALSE" if told.is_false else "     "
                    print(
                        f"{mark} {flow:8} {lie.name:50} {told.outcome:16} {told.seconds:5.1f} s", flush=True
                    )
                    if told.is_false:
                        print(f"      {told.reason}\n      true: {told.truth}", flush=True)
                    if options.output:
                        with options.output.open("a") as file:
                            file.write(as_json(told) + "\n")
    print(
        f"\n{'flow':10} {'lies':>5} {'succeeded':>10} {'rolled back':>12} {'refused':>8}"
        f" {'said failed':>12} {'false':>6}"
    )
    for flow in dict.fromkeys(one.flow for one in results):
        mine = [one for one in results if one.flow == flow]
        ends = Counter(one.outcome for one in mine)
        print(
            f"{flow:10} {len(mine):5} {ends['succeeded']:10} {ends['rolled_back']:12} {ends['refused']:8}"
            f" {ends['rollback_failed']:12} {sum(one.is_false for one in mine):6}"
        )
    false = sum(one.is_false for one in results)
    print(f"\n{len(results)} lies told, {skipped} left out for time: {false} false claims")
    return 1 if false else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
