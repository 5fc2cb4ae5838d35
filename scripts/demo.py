"""The story of scripts/demo: five pushes to a real cluster, each with its decision and proof of its end.

Nothing is taken on trust: after every step the engine and the services themselves are asked, and the demo
fails where they say something else than the story.
"""

import argparse
import json
import os
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import docker
import docker.errors
from demo_shop import (
    BASE_IMAGE,
    CannotGoOn,
    Shop,
    containers,
    free_ports,
    http_get,
    local_busybox,
    publish,
    pulled_busybox,
    remove,
    start_registry,
)
from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

DUAL_UPDATE = str(Path(sys.executable).with_name("dual-update"))
SERVICES = ("web", "api", "store")

COMPOSE = """\
# A small shop: three services on one host.
name: {project}
services:
  web:
    image: {web}
    ports: ["127.0.0.1:{web_port}:80"]
    depends_on: [api]
    healthcheck: &well
      test: ["CMD", "busybox", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1/"]
      interval: 1s
  api:
    image: {api}
    ports: ["127.0.0.1:{api_port}:80"]
    healthcheck: *well
  store:
    image: {store}
    ports: ["127.0.0.1:{store_port}:80"]
    volumes: ["goods:/www/goods"]
    healthcheck: *well
volumes:
  goods: {{}}
"""

POLICY = """\
# When this cluster counts as well. Everything here has a default.
health:
  settle_seconds: 1
  deadline_seconds: 30
"""


class NotAsTold(Exception):
    """A step ended in another way than the story says."""


@dataclass(frozen=True)
class Step:
    """A push and what must come of it. `replaced` are the services that must have new containers after it."""

    title: str
    pushed: str
    edits: Mapping[str, str]
    exit_code: int
    outcome: str
    update_type: str
    replaced: frozenset[str]
    answers: Mapping[str, str]
    told: str


STORY = (
    Step(
        "First deployment",
        "three services",
        {},
        0,
        "succeeded",
        "structural",
        frozenset(SERVICES),
        {"web": "web 1", "api": "api 1", "store": "store 1"},
        "all three created",
    ),
    Step(
        "Comments only",
        "comments",
        {"# A small shop:": "# A small but growing shop:"},
        0,
        "unchanged",
        "none",
        frozenset(),
        {"web": "web 1", "api": "api 1", "store": "store 1"},
        "nothing touched",
    ),
    Step(
        "A new image",
        "web:1 -> web:2",
        {"web:1": "web:2"},
        0,
        "succeeded",
        "image_only",
        frozenset({"web"}),
        {"web": "web 2", "api": "api 1", "store": "store 1"},
        "only web replaced",
    ),
    Step(
        "New structure",
        "api gets a variable",
        {"  store:\n": "    environment: {GREETING: hello}\n  store:\n"},
        0,
        "succeeded",
        "structural",
        frozenset(SERVICES),
        {"web": "web 2", "api": "api 1, hello", "store": "store 1"},
        "full revamp of all three",
    ),
    Step(
        "A broken image",
        "web:3, which crashes",
        {"web:2": "web:3"},
        1,
        "rolled_back",
        "image_only",
        frozenset({"web"}),
        {"web": "web 2", "api": "api 1, hello", "store": "store 1"},
        "rolled back to web 2",
    ),
)

GOODS = "apples"
"""What is written into the named volume after the first deployment, and must be there after every step."""


class Demo:
    """One telling, from the first image to the table."""

    def __init__(self, shop: Shop, engine: docker.DockerClient, console: Console) -> None:
        self.shop = shop
        self.engine = engine
        self.console = console
        self.rows: list[tuple[str, ...]] = []
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
            "DUAL_UPDATE_STATE_DIR": str(shop.path("state")),
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_NOSYSTEM": "1",
            **{
                f"GIT_{who}_{what}": value
                for who in ("AUTHOR", "COMMITTER")
                for what, value in (("NAME", "Demo"), ("EMAIL", "demo@example.org"))
            },
        }

    # --- words ---------------------------------------------------------------------------------------

    def say(self, words: str, style: str = "") -> None:
        self.console.print(Text(words, style=style), soft_wrap=True)

    def run(self, where: str, *command: str, code: int = 0, is_quiet: bool = False) -> float:
        """Show a command and what it says; gives its seconds. Another exit code than `code` ends the demo."""
        shown = shlex.join(command)
        if not is_quiet:
            self.say(f"{where}$ {shown}", "bold cyan")
        argv = [DUAL_UPDATE, *command[1:]] if command[0] == "dual-update" else list(command)
        began = time.monotonic()
        lines: list[str] = []
        with (
            self.console.status(f"{shown} ..."),
            subprocess.Popen(
                argv,
                cwd=self.shop.path(where),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            ) as process,
        ):
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    lines.append(line)
                    if not is_quiet:
                        self.say(line.rstrip("\n"))
            except KeyboardInterrupt:
                self.say("Interrupted; waiting for the command to take back what it did.")
                be_deaf()
                process.terminate()
                try:
                    self.say(process.communicate(timeout=60)[0].rstrip("\n"))
                except subprocess.TimeoutExpired:
                    process.kill()
                raise
        if process.returncode != code:
            if is_quiet:
                self.say("".join(lines))
            raise NotAsTold(f"`{shown}` ended with exit code {process.returncode}, not {code}.")
        return time.monotonic() - began

    # --- the story -----------------------------------------------------------------------------------

    def tell(self) -> None:
        self.prepare()
        for number, step in enumerate(STORY, 1):
            self.console.print()
            self.console.print(Rule(f"{number}. {step.title}", align="left"))
            self.push(step, is_first=number == 1)
            self.deploy(step, is_first=number == 1)
        self.console.print()
        self.console.print(Rule("What the cluster remembers", align="left"))
        self.run("host", "dual-update", "history")

    def prepare(self) -> None:
        """Images in the registry, and an empty repository where the pushes go."""
        with self.console.status("publishing five images ..."):
            found = pulled_busybox(self.engine)
            if found is not None and found[1]:
                self.shop = replace(self.shop, pulled=BASE_IMAGE)
                self.shop.note()
            busybox = found[0] if found else local_busybox()
            for name in ("web:1", "api:1", "store:1", "web:2"):
                publish(self.shop, name, busybox, name.replace(":", " "))
            publish(self.shop, "web:3", busybox, None)
        origin = f"from {BASE_IMAGE}" if found else "from this machine's static busybox (no registry answers)"
        self.say(f"Five images, {origin}, are in a registry on {self.shop.registry}.")
        self.say(f"Everything else is in {self.shop.folder}: laptop/ pushes, host/ is deployed from.")
        self.shop.path("laptop").mkdir()
        for command in (
            ("git", "init", "--quiet", "--bare", "--initial-branch=main", "../origin.git"),
            ("git", "init", "--quiet", "--initial-branch=main"),
            ("git", "remote", "add", "origin", "../origin.git"),
        ):
            self.run("laptop", *command, is_quiet=True)

    def push(self, step: Step, *, is_first: bool) -> None:
        """Edit on the laptop, commit, push."""
        compose = self.shop.path("laptop") / "compose.yml"
        if is_first:
            ports = {f"{name}_port": port for name, port in self.shop.ports.items()}
            refs = {name: self.shop.ref(f"{name}:1") for name in SERVICES}
            compose.write_text(COMPOSE.format(project=self.shop.project, **refs, **ports))
            policy = self.shop.path("laptop") / ".github" / "dual-update.yml"
            policy.parent.mkdir()
            policy.write_text(POLICY)
        text = compose.read_text()
        for old, new in step.edits.items():
            if old not in text:
                raise NotAsTold(f"{old!r} is not in compose.yml; the story has a mistake.")
            text = text.replace(old, new, 1)
        compose.write_text(text)
        self.run("laptop", "git", "add", "--all", is_quiet=True)
        self.run("laptop", "git", "commit", "--quiet", "--message", step.pushed)
        self.run("laptop", "git", "push", "--quiet", "--set-upstream", "origin", "main")
        if is_first:
            self.shop.path("host").mkdir()
            self.run("host", "git", "clone", "--quiet", "../origin.git", ".")

    def deploy(self, step: Step, *, is_first: bool) -> None:
        """Plan and apply on the host, then ask everybody who can know how it ended."""
        before = containers(self.engine, self.shop)
        self.run("host", "dual-update", "plan")
        seconds = self.run("host", "dual-update", "apply", "--auto", code=step.exit_code)
        if is_first:
            self.fill_volume()
        self.check(step, before)
        answered = ", ".join(step.answers.values())
        self.say(f"Checked: {step.told}; over HTTP: {answered}; the volume holds its {GOODS}.", "green")
        self.rows.append(
            (
                step.title,
                step.pushed,
                step.update_type,
                step.told,
                f"{seconds:.1f}",
                "\n".join(step.answers.values()),
            )
        )

    def fill_volume(self) -> None:
        store = self.engine.containers.get(containers(self.engine, self.shop)["store"])
        result = store.exec_run(["busybox", "sh", "-c", f"echo {GOODS} > /www/goods/list"])
        if result.exit_code != 0:
            raise NotAsTold(f"The volume cannot be written: {result.output!r}.")

    def check(self, step: Step, before: Mapping[str, str]) -> None:
        """The history, the engine and the services must all tell the same story."""
        run = self.newest_run()
        expect("the outcome", run["outcome"], step.outcome)
        expect("the decision", run["update_type"], step.update_type)
        now = containers(self.engine, self.shop)
        expect("the services", sorted(now), sorted(SERVICES))
        expect("the replaced services", {s for s in now if now[s] != before.get(s)}, set(step.replaced))
        for service, words in step.answers.items():
            expect(f"the answer of {service}", self.answer(service, words), words)
        expect("the volume", self.answer("store", GOODS, "/goods/list"), GOODS)

    def newest_run(self) -> dict[str, str]:
        done = subprocess.run(
            [DUAL_UPDATE, "history", "--limit", "1", "--format", "json"],
            cwd=self.shop.path("host"),
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        run: dict[str, str] = json.loads(done.stdout)["runs"][0]
        return run

    def answer(self, service: str, wanted: str, path: str = "/") -> str | None:
        """What the service says: the wanted words, or whatever it says after five seconds."""
        end = time.monotonic() + 5
        while (words := http_get(self.shop.ports[service], path)) != wanted and time.monotonic() < end:
            time.sleep(0.1)
        return words

    def summary(self, seconds: float) -> None:
        table = Table(title=f"Five pushes in {seconds:.0f} seconds", title_justify="left", show_lines=True)
        for heading in ("step", "what was pushed", "decision", "what happened", "seconds", "what answered"):
            table.add_column(heading, justify="right" if heading == "seconds" else "left")
        for number, row in enumerate(self.rows, 1):
            table.add_row(f"{number}. {row[0]}", *row[1:])
        self.console.print()
        self.console.print(table)


def expect(what: str, seen: object, wanted: object) -> None:
    if seen != wanted:
        raise NotAsTold(f"Not as told: {what} should be {wanted!r} and is {seen!r}.")


def tidy(shop: Shop, engine: docker.DockerClient, console: Console) -> bool:
    """Removes the demo; says whether all of it is gone."""
    with console.status("removing everything ..."):
        left = remove(engine, shop)
    for sentence in left:
        console.print(Text(f"could not be removed: {sentence}", style="red"))
    if not left:
        console.print("Containers, network, volume, images, registry and folder of the demo are removed.")
    return not left


def say_what_is_kept(shop: Shop, console: Console) -> None:
    console.print(
        Text(
            f"\nKept. Look around:\n"
            f"  export DUAL_UPDATE_STATE_DIR={shop.path('state')}\n"
            f"  cd {shop.path('host')}\n"
            f"  {DUAL_UPDATE} status\n"
            f"  docker compose ls --filter name={shop.project}\n"
            f"  curl http://127.0.0.1:{shop.ports['web']}/\n"
            f"Remove it all:\n"
            f"  scripts/demo --remove {shop.folder}"
        )
    )


def make_shop() -> Shop:
    folder = tempfile.mkdtemp(prefix="dual-update-demo-")
    registry_port, *ports = free_ports(1 + len(SERVICES))
    project = f"shop-{secrets.token_hex(2)}"
    return Shop(folder, project, registry_port, dict(zip(SERVICES, ports, strict=True)))


def play(engine: docker.DockerClient, console: Console, *, is_kept: bool) -> int:
    began = time.monotonic()
    shop = make_shop()
    shop.note()
    demo = Demo(shop, engine, console)
    code = 0
    try:
        demo.shop = replace(shop, registry_pid=start_registry(shop, is_kept=is_kept))
        demo.shop.note()
        demo.tell()
        demo.summary(time.monotonic() - began)
    except (NotAsTold, CannotGoOn) as error:
        console.print(Text(f"\n{error}", style="bold red"))
        code = 1 if isinstance(error, NotAsTold) else 2
    except KeyboardInterrupt:
        console.print("\nInterrupted.")
        code = 130
    finally:
        be_deaf()
        if is_kept:
            say_what_is_kept(demo.shop, console)
        elif not tidy(demo.shop, engine, console):
            code = code or 1
    return code


def be_deaf() -> None:
    """A second Ctrl-C must not leave half of the demo behind."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo", description="The main job on real containers.")
    parser.add_argument(
        "--keep", action="store_true", help="leave the cluster running and say how to remove it"
    )
    parser.add_argument("--remove", type=Path, metavar="FOLDER", help="remove what --keep left")
    arguments = parser.parse_args()
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 112
    try:
        engine = docker.from_env()
        engine.ping()
    except docker.errors.DockerException:
        print("demo: no docker engine answers; run scripts/bootstrap.", file=sys.stderr)
        return 2
    if arguments.remove:
        try:
            return 0 if tidy(Shop.noted(arguments.remove.resolve()), engine, console) else 1
        except CannotGoOn as error:
            print(f"demo: {error}", file=sys.stderr)
            return 2
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGHUP, interrupt)
    return play(engine, console, is_kept=arguments.keep)


if __name__ == "__main__":
    sys.exit(main())
