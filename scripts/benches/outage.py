"""How long do services not answer during an update: ours beside what people do by hand, in one run.

Two services on a loopback port each, under an open-loop load (a request every 1/RATE seconds, whether or not
the last was answered; one line per request with --output). Scenarios: `image` (another tag, or new content
under the tag for Watchtower), `structure` (a changed variable, and an image of 100 MB to pull) and `broken`
(an image that ends at once). Printed per tool: failed requests, the longest time without an answer, and for
`broken` when the old version answered again. With --repeat the tools take turns, and the medians follow.
"""

import argparse
import asyncio
import itertools
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

BIG_BYTES = 100 * 1024 * 1024
DEADLINE_SECONDS = 10
ANSWER_SECONDS = 3.0
"""A request that is not answered by then has failed."""

TOOLS = ("ours", "up", "down-pull-up", "watchtower")
SCENARIOS = ("image", "structure", "broken")
CANNOT = (("structure", "watchtower"),)


@dataclass
class Load:
    """Open loop: what is late is not waited for."""

    ports: dict[str, int]
    rate: float
    lines: list[tuple[float, str, bool, float]] = field(default_factory=list)
    _is_over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Load":
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    async def _run(self) -> None:
        pending: set[asyncio.Task[None]] = set()
        began = time.monotonic()
        number = 0
        while not self._is_over.is_set():
            for service, port in self.ports.items():
                task = asyncio.create_task(self._ask(service, port))
                pending.add(task)
                task.add_done_callback(pending.discard)
            number += 1
            await asyncio.sleep(max(began + number / self.rate - time.monotonic(), 0))
        await asyncio.gather(*pending)

    async def _ask(self, service: str, port: int) -> None:
        asked = time.monotonic()
        is_good = False
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET / HTTP/1.0\r\n\r\n")
                answer = await reader.read()
                is_good = b" 200 " in answer.partition(b"\r\n")[0]
                writer.close()
        except (OSError, TimeoutError):
            pass
        self.lines.append((asked, service, is_good, time.monotonic() - asked))

    def failed(self, service: str, since: float) -> int:
        return sum(1 for at, name, good, _ in self.lines if name == service and not good and at >= since)

    def asked(self, service: str, since: float) -> int:
        return sum(1 for at, name, _, _ in self.lines if name == service and at >= since)

    def gap(self, service: str, since: float) -> float:
        """The longest time from one good answer to the next, by when they were asked."""
        good = sorted(at for at, name, is_good, _ in self.lines if name == service and is_good)
        good = [at for at in good if at >= since - 1]
        ends = [*good, max(at for at, *_ in self.lines)]
        return max((b - a for a, b in itertools.pairwise(ends)), default=0.0)

    def answers_again(self, service: str, since: float) -> float | None:
        """Seconds without an answer before it came back; None where it gave none at the end."""
        last = max(at for at, *_ in self.lines)
        if not any(name == service and good and at > last - 3 for at, name, good, _ in self.lines):
            return None
        return self.gap(service, since)


class Bench:
    """One cluster per tool and scenario."""

    def __init__(self, world: Any, scenario: str, tool: str, turn: int = 0) -> None:
        self.world, self.scenario, self.tool = world, scenario, tool
        self.images = world.images
        self.ports = {name: world.free_port() for name in ("web", "api")}
        self.name = f"{scenario}-{tool}-{turn}"
        self.publish("web:1", "one")
        self.publish("api:1", "api")
        self.cluster = world.repo({"compose.yml": self.text(), ".github/dual-update.yml": self.config()})
        self.must("apply", "--auto")

    def publish(self, name: str, words: str, big: bool = False, **options: Any) -> Any:
        service, _, tag = name.partition(":")
        files = {"www/index.html": words, "www/health": "well"}
        if big:
            files["big"] = random.Random(self.name).randbytes(BIG_BYTES // 2).hex()
        return self.images.push(f"{self.name}-{service}:{tag}", words, files=files, **options)

    def config(self) -> str:
        return f"health: {{settle_seconds: 2, deadline_seconds: {DEADLINE_SECONDS}}}\n"

    def text(self, tag: str = "1", value: str = "a", command: bool = True) -> str:
        serve = "sh -c \"trap 'exit 0' TERM; httpd -f -p 80 -h /www & wait\""
        parts = ["services:"]
        for service in ("web", "api"):
            its = tag if service == "web" else "1"
            parts += [
                f"  {service}:",
                f"    image: {self.images.ref(f'{self.name}-{service}:{its}')}",
                f'    ports: ["127.0.0.1:{self.ports[service]}:80"]',
                "    labels: {com.centurylinklabs.watchtower.enable: 'true'}",
            ]
            if service == "web":
                parts.append(f"    environment: {{A: {value}}}")
            if command or service == "api":
                parts.append(f"    command: {serve}")
        return "\n".join(parts) + "\n"

    def must(self, *arguments: str) -> None:
        done = self.cluster.dual_update(*arguments, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr

    def change(self) -> Callable[[], None]:
        """Commit the change, and give back the act that brings it up; pushing is not measured."""
        self.cluster.git("tag", "old")
        if self.scenario == "broken":
            tag = "1" if self.tool == "watchtower" else "2"
            self.publish(f"web:{tag}", "bad", flavour="crash")
            # the image's own command is what is broken; the old one's is as good as the one written here
            text = self.text(tag, command=False)
        elif self.scenario == "structure":
            self.publish("web:2", "two", big=True)
            text = self.text("2", "b")
        else:
            tag = "1" if self.tool == "watchtower" else "2"
            self.publish(f"web:{tag}", "two")
            text = self.text(tag)
        self.cluster.commit({"compose.yml": text})
        return {
            "ours": lambda: self._run([sys.executable, "-m", "dual_update", "apply", "--auto", "--scope",
                                       "changed"]),
            "up": lambda: self._run(["docker", "compose", "up", "-d"]),
            "down-pull-up": lambda: self._run(
                ["sh", "-c", "docker compose down && docker compose pull && docker compose up -d"]
            ),
            "watchtower": self._poke,
        }[self.tool]  # fmt: skip

    def _run(self, command: Sequence[str]) -> None:
        subprocess.run(command, cwd=self.cluster.directory, capture_output=True, check=False, timeout=300)

    def _poke(self) -> None:
        from tests.standins.watchtower import WatchtowerStandIn

        from dual_update.adapters.watchtower import Watchtower

        with WatchtowerStandIn(self.world.engine) as standin:
            name = f"{self.cluster.project}-web-1"
            image = self.images.ref(f"{self.name}-web:1")
            Watchtower(standin.url, standin.token, 120).poke([name], [image])

    def close(self) -> None:
        self.world.broom.sweep(lambda project: project == self.cluster.project)


def main(arguments: Sequence[str]) -> int:
    from benches.kill import _quiet_environment, _world

    parser = argparse.ArgumentParser(prog="bench outage", description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=100, help="requests a second, to each service")
    parser.add_argument("--scenarios", default=",".join(SCENARIOS))
    parser.add_argument("--tools", default=",".join(TOOLS))
    parser.add_argument("--repeat", type=int, default=1, help="how often each tool has its turn [1]")
    parser.add_argument(
        "--output", type=Path, help="a line per request: scenario tool time service ok seconds"
    )
    options = parser.parse_args(arguments)
    print(f"{'scenario':10} {'tool':13} {'requests':>9} {'web failed':>11} {'api failed':>11}"
          f" {'web gap s':>10} {'api gap s':>10} {'web again s':>12}", flush=True)  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="bench-outage-") as name:
        folder = Path(name)
        _quiet_environment(folder)
        with _world(folder, "outage") as world:
            for scenario in options.scenarios.split(","):
                tools = [one for one in options.tools.split(",") if (scenario, one) not in CANNOT]
                failed: dict[str, list[int]] = {tool: [] for tool in tools}
                for turn in range(options.repeat):
                    for tool in tools:
                        failed[tool].append(_measure(Bench(world, scenario, tool, turn), options))
                if options.repeat > 1:
                    _medians(scenario, failed)
    return 0


def _medians(scenario: str, failed: Mapping[str, Sequence[int]]) -> None:
    up = statistics.median(failed["up"]) if "up" in failed else 0
    for tool, counts in failed.items():
        middle = statistics.median(counts)
        ratio = f", {middle / up:.2f} of up" if up else ""
        print(f"{scenario:10} {tool:13} web failed: median {middle:g} of {len(counts)}"
              f" ({min(counts)} to {max(counts)}){ratio}", flush=True)  # fmt: skip


def _measure(bench: Bench, options: argparse.Namespace) -> int:
    """One row. Returns how many requests to the changed service failed."""
    act = bench.change()
    with Load(bench.ports, options.rate) as load:
        time.sleep(2)
        began = time.monotonic()
        act()
        time.sleep(3 if bench.scenario != "broken" else 2 * DEADLINE_SECONDS if bench.tool != "ours" else 3)
    bench.close()
    again = load.answers_again("web", began)
    print(
        f"{bench.scenario:10} {bench.tool:13} {load.asked('web', began):9} {load.failed('web', began):11}"
        f" {load.failed('api', began):11} {load.gap('web', began):10.2f} {load.gap('api', began):10.2f}"
        f" {'never' if again is None else format(again, '.2f'):>12}",
        flush=True,
    )
    if options.output:
        with options.output.open("a") as file:
            for at, service, good, seconds in load.lines:
                file.write(
                    f"{bench.scenario} {bench.tool} {at - began:.4f} {service} {int(good)} {seconds:.4f}\n"
                )
    return load.failed("web", began)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
