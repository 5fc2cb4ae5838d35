"""fleet: what planning and status cost for 10, 100 and 1,000 clusters, as microseconds a cluster.

Planning is the file, its stages and the first moves; status is a look at every cluster through its API's
answers (in memory: the network is not ours) and the table that people read. Neither may grow worse than
linear: a cluster of 1,000 may cost no more than BOUND times one of 10.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from dual_update.adapters.cluster_api import ClusterApi
from dual_update.adapters.fleet_config import load_fleet
from dual_update.core.config import MultiCluster
from dual_update.core.fleet import Standing, fleet_json, fleet_text, stages_of
from dual_update.core.rollout import Rollout, Word, in_play, learn, next_move, starts

SIZES = (10, 100, 1000)
BOUND = 1.5
OLD, NEW = "1" * 40, "2" * 40
RUN = {"run": "r0", "kind": "apply", "outcome": "succeeded", "to": OLD, "from": None, "reason": None,
       "started_at": "2026-01-01T00:00:00Z", "duration_seconds": 3.2}  # fmt: skip
STATUS = {"deployed": OLD, "healthy": True, "job": None, "queued": 0, "drift": [], "last_run": RUN}


def file_of(folder: Path, count: int) -> Path:
    path = folder / "multi-cluster.yml"
    how = {"auto_approve": True}
    clusters = [
        {"name": f"cluster-{i}", "stage": i * 5 // count, "url": f"https://c{i}.example.com", **how}
        for i in range(count)
    ]
    stages = [{"stage": n, "batch": max(1, count // 20), "bake_seconds": 60} for n in range(5)]
    path.write_text(json.dumps({"stages": stages, "clusters": clusters}))
    return path


def plan(path: Path) -> None:
    """From the file to the first clusters that are to be updated, and one round of learning after that."""
    stages = stages_of(load_fleet(path))
    names = [name for stage in stages for name in stage.clusters]
    words = {name: Word(commit=OLD) for name in names}
    rollout = Rollout("r", NEW, stages, starts(words, NEW))
    for now in (0.0, 1.0):
        heard = {name: words[name] for name in in_play(rollout, now)}
        rollout = learn(rollout, heard, now)
        assert next_move(rollout, heard, now).apply


def answer(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"runs": [RUN]} if request.url.path == "/api/history" else STATUS)


def looker(fleet: MultiCluster) -> Callable[[], None]:
    transport = httpx.MockTransport(answer)
    members = [(one, ClusterApi(str(one.url), transport=transport)) for one in fleet.clusters]

    def look() -> None:
        found = [Standing(one, *member.stand()) for one, member in members]
        assert len(fleet_json(found)["clusters"]) == len(fleet_text(found).splitlines()) == len(members)

    return look


def seconds(act: Callable[[], None], repeat: int) -> float:
    taken = []
    for _ in range(repeat):
        began = time.process_time()
        act()
        taken.append(time.process_time() - began)
    return statistics.median(taken)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench fleet", description=__doc__)
    parser.add_argument("--clusters", type=int, nargs="*", default=list(SIZES), metavar="N")
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    print(f"{'clusters':>8}  {'plan':>10}  {'a cluster':>10}  {'status':>10}  {'a cluster':>10}")
    each: dict[str, list[float]] = {"plan": [], "status": []}
    for count in sorted(options.clusters):
        with tempfile.TemporaryDirectory(prefix="dual-update-bench-") as folder:
            path = file_of(Path(folder), count)
            plan(path)  # what is loaded at the first use is not counted
            planned = seconds(lambda path=path: plan(path), options.repeat)  # type: ignore[misc]
            look = looker(load_fleet(path))
            look()
            looked = seconds(look, options.repeat)
        each["plan"].append(planned / count)
        each["status"].append(looked / count)
        print(f"{count:>8}  {planned * 1000:>7.1f} ms  {planned / count * 1e6:>7.0f} us"
              f"  {looked * 1000:>7.1f} ms  {looked / count * 1e6:>7.0f} us")  # fmt: skip
    failed = [what for what, costs in each.items() if costs[-1] > costs[0] * BOUND]
    print("grows worse than linear: " + ", ".join(failed) if failed else "no worse than linear")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
